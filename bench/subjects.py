"""What `make bench` starts, and what each costs: processes with their CPU and memory, the broker's queues, a run of each
subject.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pika
import pyarrow.parquet

from workloads import ROOT, Workload

BENCH = Path(__file__).resolve().parent
# The defaults of `prefetch` and of `flush.rows`: what Parqueduct holds and writes at once, and so do the others.
PREFETCH, BATCH = 50_000, 35_000
POLL_SECONDS, RARE_POLL_SECONDS = 0.01, 0.1
SECONDS_MAX = 900
TICK = os.sysconf("SC_CLK_TCK")
# What `bench/src/s3.rs` knows.
S3_STORE = """[store]
url = "s3://lake/archive"
endpoint = "{endpoint}"
allow_http = true
region = "us-east-1"
access_key_id = "AKIDBENCH"
secret_access_key = "SECRETBENCH"
"""
# The conversion that one writes in a line. Its start is not counted.
DUCKDB = """
import duckdb, json, resource, sys
source, target = sys.argv[1:]
connection = duckdb.connect()
connection.execute("SET threads = 1")
# It would print to where the figure is.
connection.execute("SET enable_progress_bar = false")
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
before = cpu()
connection.execute(
    f"COPY (FROM read_json('{source}', format = 'newline_delimited')) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
)
print(json.dumps({"cpu_seconds": cpu() - before}))
"""


class Failure(Exception):
    """The bench cannot go on; the text says what, where and what to do."""


@dataclass
class Cost:
    """What one run of a subject took."""

    events: int
    # User and system time of the process itself.
    cpu_seconds: float
    # VmHWM, the most that was in memory.
    rss_bytes: int
    # From the first delivery to the last ack; without a broker, of the whole process.
    seconds: float
    archived: int = 0
    dead_lettered: int = 0
    # Of the Parquet files of good events: the columns of the events with all that is around, and those that Parqueduct adds.
    event_bytes: int = 0
    system_bytes: int = 0
    # User and system time of the broker meanwhile.
    broker_seconds: float = 0.0

    def record(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Tools:
    """The programs that are measured and measured with."""

    parqueduct: Path
    bench: Path


class Process:
    """A child with what it said, its CPU and its memory."""

    def __init__(self, command: list, log: Path, environment: dict | None = None):
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log, self.command = log, [str(part) for part in command]
        self.began = time.monotonic()
        with log.open("wb") as err, log.with_suffix(".out").open("wb") as out:
            self.child = subprocess.Popen(self.command, stdout=out, stderr=err, env=environment, cwd=ROOT)
        self.rss_bytes = 0

    def output(self) -> str:
        return self.log.with_suffix(".out").read_text(errors="replace")

    def look(self) -> None:
        """Notes the most memory so far. The kernel's own figure at the end (ru_maxrss) may be that of this process."""
        try:
            status = Path(f"/proc/{self.child.pid}/status").read_text()
        except OSError:
            return
        if found := re.search(r"VmHWM:\s*(\d+) kB", status):
            self.rss_bytes = max(self.rss_bytes, int(found[1]) * 1024)

    def ended(self) -> bool:
        """Whether it has; its CPU is then in `cpu_seconds`, and the moment in `end`."""
        if self.child.returncode is None:
            pid, status, used = os.wait4(self.child.pid, os.WNOHANG)
            if pid == 0:
                self.look()
                return False
            self.end = time.monotonic()
            self.child.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_seconds = used.ru_utime + used.ru_stime
        return True

    def wait(self, reached: Callable[[], bool], what: str, seconds_max: float = SECONDS_MAX) -> None:
        """Until `reached`; a process that ends before has failed."""
        deadline = time.monotonic() + seconds_max
        while not reached():
            if self.ended() or time.monotonic() > deadline:
                raise self.failure(f"did not {what}")
            time.sleep(POLL_SECONDS)

    def finish(self) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while not self.ended():
            if time.monotonic() > deadline:
                raise self.failure("did not end")
            time.sleep(POLL_SECONDS)
        if self.child.returncode != 0:
            raise self.failure(f"ended with {self.child.returncode}")

    def stop(self) -> None:
        self.child.send_signal(signal.SIGTERM)
        self.finish()

    def kill(self) -> None:
        if self.child.returncode is None:
            self.child.kill()
            self.child.wait()

    def failure(self, what: str) -> Failure:
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        return Failure(f"`{' '.join(self.command)}` {what}; the end of {self.log}:\n{tail}")


class Broker:
    """A RabbitMQ of the bench's own, and the queues in it."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.stop()
        shutil.rmtree(directory, ignore_errors=True)
        command = [ROOT / "scripts" / "rabbitmq", "start", "--dir", directory]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise Failure(f"no RabbitMQ: run `scripts/rabbitmq install`, or see {directory}")
        self.uri = done.stdout.strip().splitlines()[-1]
        self.pid = int((directory / "beam.pid").read_text().split()[0])
        self.connection = None
        self.connect()

    def connect(self) -> None:
        parameters = pika.URLParameters(self.uri)
        # Minutes go by without a look at this connection.
        parameters.heartbeat = 0
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()
        self.version = self.connection._impl.server_properties["version"]
        if isinstance(self.version, bytes):
            self.version = self.version.decode()

    def stop(self) -> None:
        command = [ROOT / "scripts" / "rabbitmq", "stop", "--dir", self.directory]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def queues(self, exchange: str, names: list[str]) -> None:
        """Declares queues anew that all get what is published to a fanout exchange."""
        self.delete(exchange, names)
        self.channel.exchange_declare(exchange, "fanout")
        # From 4.0 on all classic queues are of version 2, and 4.3 refuses the argument.
        version = {} if int(self.version.split(".")[0]) >= 4 else {"x-queue-version": 2}
        for name in names:
            self.channel.queue_declare(name, durable=True, arguments={"x-queue-type": "classic", **version})
            self.channel.queue_bind(name, exchange)

    def delete(self, exchange: str, names: list[str]) -> None:
        for name in names:
            self.channel.queue_delete(name)
        self.channel.exchange_delete(exchange)

    def ready(self, queue: str) -> int:
        """Messages that were not yet delivered."""
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), /proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def drained(process: Process, broker: Broker, queue: str, events: int, stop: Callable[[], None]) -> Cost:
    """The cost of a consumer that takes all of a queue; `stop` waits for its end once nothing more is to be delivered."""
    broker_before, first = broker.cpu_seconds(), None
    try:
        # A queue answers only when it has sent a whole window: the first delivery was when it was asked, not when it told.
        while True:
            asked, left = time.monotonic(), broker.ready(queue)
            if first is None and left < events:
                first = asked
            if left == 0:
                break
            # One that ended at its own end has emptied the queue since it was asked.
            too_late = time.monotonic() - process.began > SECONDS_MAX
            if too_late or (process.ended() and broker.ready(queue)):
                raise process.failure(f"left {left} of {events} events")
            # Between the two moments that count a look is only a load on the cores that are measured.
            time.sleep(POLL_SECONDS if first is None or left < PREFETCH else RARE_POLL_SECONDS)
        stop()
    finally:
        process.kill()
    seconds = process.end - (first or process.began)
    taken = broker.cpu_seconds() - broker_before
    return Cost(events, process.cpu_seconds, process.rss_bytes, seconds, broker_seconds=taken)


def noop(tools: Tools, broker: Broker, queue: str, events: int, directory: Path) -> Cost:
    command = [tools.bench, "drain", broker.uri, queue, events, PREFETCH]
    process = Process(command, directory / "noop.log")
    return drained(process, broker, queue, events, process.finish)


def python(workload: Workload | None, broker: Broker, queue: str, events: int, directory: Path) -> Cost:
    """The consumer in Python; without a workload it throws the events away."""
    archive = directory / "archive"
    shutil.rmtree(archive, ignore_errors=True)
    name, place = (workload.name, archive) if workload else ("order", "-")
    command = [sys.executable, BENCH / "consumer.py", broker.uri, queue, events, PREFETCH, BATCH, name, place]
    process = Process(command, directory / "python.log")
    cost = drained(process, broker, queue, events, process.finish)
    told = json.loads(process.output())
    cost.archived, cost.dead_lettered = told["archived"], told["dead_lettered"]
    if workload:
        cost.event_bytes, cost.system_bytes = parquet_bytes(archive / "data")
    return cost


def run(tools: Tools, workload: Workload, broker: Broker, queue: str, events: int, directory: Path, on_s3: bool) -> Cost:
    """`parqueduct run` until all events are settled. Without events: its start and stop."""
    archive = directory / "archive"
    shutil.rmtree(archive, ignore_errors=True)
    store, server = f'[store]\nurl = "{archive.as_uri()}"\n', None
    try:
        if on_s3:
            server = Process([tools.bench, "s3"], directory / "s3.log")
            server.wait(lambda: server.output().endswith("\n"), "serve", 10)
            store = S3_STORE.format(endpoint=server.output().strip())
        pipeline = Pipeline(tools, workload, broker, queue, directory, store)
        cost = drained(pipeline.process, broker, queue, events, lambda: pipeline.settle(events))
    finally:
        if server:
            server.kill()
    cost.archived, cost.dead_lettered = pipeline.told()
    if cost.archived + cost.dead_lettered != events:
        raise pipeline.process.failure(f"settled {cost.archived + cost.dead_lettered} of {events} events")
    if not on_s3:
        cost.event_bytes, cost.system_bytes = parquet_bytes(archive / "data")
    return cost


class Pipeline:
    """A running `parqueduct run` over one queue."""

    def __init__(self, tools: Tools, workload: Workload, broker: Broker, queue: str, directory: Path, store: str):
        self.listen = f"127.0.0.1:{free_port()}"
        # A slow machine may need longer than the default for what is held at the end, and would give the rest back.
        text = workload.config(directory, broker.uri, store, extra='[run]\ndrain_timeout = "10m"\n', queue=queue)
        config = directory / "run.toml"
        config.write_text(text.replace("127.0.0.1:0", self.listen))
        self.process = Process([tools.parqueduct, "run", "--config", config], directory / "run.log")

    def deliveries(self) -> int:
        return sum(int(count) for count in re.findall(r"^parqueduct_deliveries_total\S* (\d+)", self.ask("metrics"), re.MULTILINE))

    def ask(self, what: str) -> str:
        try:
            with urllib.request.urlopen(f"http://{self.listen}/{what}", timeout=30) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, OSError):
            return ""

    def settle(self, events: int) -> None:
        """Stops it when it has received all; what it holds is then written and acked before it ends."""
        reached = (lambda: self.deliveries() >= events) if events else (lambda: self.ask("readyz") != "")
        self.process.wait(reached, "receive every event")
        self.process.stop()

    def told(self) -> tuple[int, int]:
        """Events archived and dead-lettered, as the last line of the log has them."""
        text = self.process.log.read_text(errors="replace")
        figures = {name: int(count) for name, count in re.findall(r"\b(\w+)=(\d+)", text.strip().splitlines()[-1])}
        return figures["archived"], figures["dead_lettered"]


def ingest(tools: Tools, workload: Workload, events: int, directory: Path, source: Path) -> Cost:
    """`parqueduct ingest` of a file; without a broker."""
    archive = directory / "archive"
    shutil.rmtree(archive, ignore_errors=True)
    config = directory / "ingest.toml"
    config.write_text(workload.config(directory, "amqp://unused.invalid", f'[store]\nurl = "{archive.as_uri()}"\n'))
    process = Process(
        [tools.parqueduct, "ingest", "--config", config, "--pipeline", "bench", source], directory / "ingest.log"
    )
    process.finish()
    event_bytes, system_bytes = parquet_bytes(archive / "data")
    archived = parquet_rows(archive / "data")
    seconds = process.end - process.began
    # All that is not archived is dead-lettered: `ingest` ends with an error otherwise.
    return Cost(events, process.cpu_seconds, process.rss_bytes, seconds, archived, events - archived, event_bytes, system_bytes)


def duckdb(events: int, directory: Path, source: Path) -> Cost:
    target = directory / "duckdb.parquet"
    process = Process([sys.executable, "-c", DUCKDB, source, target], directory / "duckdb.log")
    process.finish()
    cpu = json.loads(process.output())["cpu_seconds"]
    return Cost(events, cpu, process.rss_bytes, process.end - process.began, archived=events, event_bytes=target.stat().st_size)


def parquet_bytes(tree: Path) -> tuple[int, int]:
    """Bytes of the files below `tree` without, and of, the column chunks that begin with an underscore."""
    whole = system = 0
    for path in tree.rglob("*.parquet"):
        whole += path.stat().st_size
        metadata = pyarrow.parquet.read_metadata(path)
        for group in range(metadata.num_row_groups):
            row_group = metadata.row_group(group)
            columns = [row_group.column(number) for number in range(row_group.num_columns)]
            system += sum(column.total_compressed_size for column in columns if column.path_in_schema.startswith("_"))
    return whole - system, system


def parquet_rows(tree: Path) -> int:
    return sum(pyarrow.parquet.read_metadata(path).num_rows for path in tree.rglob("*.parquet"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
