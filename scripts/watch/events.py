"""What is published while the stack runs: flights at an even pace, good ones but for those that a fault wants otherwise, and
messages that the broker itself gives up on.
"""

import gzip
import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Iterator

import pika

from .services import LOGIN, ROOT

EVENTS = ROOT / "config" / "demo" / "flights-2013-01.ndjson.gz"
# Where messages expire, to be dead-lettered by the broker.
BRIEF = "flights.brief"
BRIEF_MS = 200

# Queues of flights whose schema is learned, and of such as name theirs by an id of the registry.
LEARNED, FRAMED = "learned", "framed"
FRAME = b"\0\0\0\0\1"

# Ways to break a flight, each with a code of its own.
BREAKS = [
    lambda line: line.replace(b'"tailnum":"', b'"tailnum":7,"was":"', 1),
    lambda line: line.replace(b'"carrier":"', b'"carriers":"', 1),
    lambda line: line.replace(b'"occurred_at":"2', b'"occurred_at":"soon', 1),
    lambda line: line[: len(line) * 2 // 3],
    lambda line: line.replace(b'"flight":', b'"flight":"F","number":', 1),
    # Too large for the row of its letter.
    lambda line: line.replace(b'"carrier":"', b'"note":"' + b"x" * 20_000 + b'","carrier":"', 1),
]


def good_flights() -> Iterator[bytes]:
    """Flights that fit their schema, for ever; a further round over the file is of another year."""
    lines = [line for line in gzip.decompress(EVENTS.read_bytes()).splitlines() if b"null" not in line]
    for year in itertools.count(2013):
        yield from (line.replace(b"2013-", f"{year}-".encode()) for line in lines)


def past() -> list[tuple[str, list[bytes]]]:
    """Flights of some days ago, good and bad, by when they came."""
    lines = gzip.decompress(EVENTS.read_bytes()).splitlines()
    nulls = [line for line in lines if b"null" in line][:30]
    good = [line for line in lines if b"null" not in line][:1200]
    strange = [line.replace(b'"carrier":"', b'"carrier":"?', 1) for line in good[:20]]
    large = [line.replace(b'"flight":', b'"flight":99999', 1) for line in good[20:40]]
    return [("-73h", good[40:600] + nulls[:15] + strange), ("-72h", good[600:] + nulls[15:] + large)]


def broken(line: bytes, number: int) -> bytes:
    return BREAKS[number](line)


def with_news(line: bytes) -> bytes:
    return line.replace(b'"carrier":"', b'"gate":"B7","carrier":"', 1)


def same_id(line: bytes) -> bytes:
    """Another event with the same id."""
    event = json.loads(line)
    return json.dumps(event | {"air_time_min": event["air_time_min"] % 500 + 1}).encode()


class Publisher:
    """Publishes to the broker from a thread of its own, and comes back when the broker does.

    `bad` is the share of bad events, of so many of the `ways` to be so; the first event is one. `news` gives events whose schema is
    learned a field more. `again` publishes as many events of a minute ago, which are durable by now, once more:
    changed and as they were, in turn.
    """

    def __init__(self, port: int, rate: float):
        self.port, self.rate = port, rate
        self.bad, self.ways, self.owed = 0.0, 1, 1.0
        self.again, self.news = 0, False
        self.recent: deque[bytes] = deque(maxlen=round(60 * rate))
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.ended.set()
        self.thread.join(timeout=20)

    def run(self) -> None:
        flights = good_flights()
        while not self.ended.is_set():
            try:
                self.publish(flights)
            except (pika.exceptions.AMQPError, OSError):
                self.ended.wait(1)

    def publish(self, flights: Iterator[bytes]) -> None:
        login = pika.PlainCredentials(*LOGIN)
        where = pika.ConnectionParameters("127.0.0.1", self.port, credentials=login, heartbeat=0)
        with pika.BlockingConnection(where) as connection:
            channel = connection.channel()
            channel.queue_declare(BRIEF, arguments={"x-message-ttl": BRIEF_MS, "x-dead-letter-exchange": "dead"})
            due = time.monotonic()
            for turn in itertools.count(1):
                if self.ended.is_set():
                    return
                self.owed += self.bad
                line = good = next(flights)
                if self.owed >= 1:
                    self.owed -= 1
                    line = broken(line, turn % self.ways)
                else:
                    self.recent.append(line)
                self.send(channel, "events", "flight.operated", line)
                if turn % 8 == 0:
                    self.send(channel, "", LEARNED, with_news(good) if self.news else good)
                    self.send(channel, "", FRAMED, FRAME + good)
                if turn % round(10 * self.rate) == 0:
                    self.send(channel, "", BRIEF, line)
                    self.send(channel, "dead", "", line)
                # By twos: of two consumers that take turns, one would get all of them, and the other the new ones.
                for _ in range(min(self.again, 2)):
                    self.again -= 1
                    line = self.recent[self.again]
                    self.send(channel, "events", "flight.operated", same_id(line) if self.again % 2 else line)
                due = max(due + 1 / self.rate, time.monotonic() - 1)
                connection.sleep(max(due - time.monotonic(), 0))

    def send(self, channel, exchange: str, key: str, body: bytes) -> None:
        properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
        channel.basic_publish(exchange, key, body, properties)
