"""Orders, made up from a fixed seed: the events that every engine's answers are computed from.

Some of all that a column can be, and nulls everywhere; texts in several scripts, integers at the borders of 64 bits,
decimals with all their digits, instants with offsets, before 1970 and after 2038. Floats are eighths, so that their sums
are the same in whatever order they are added.
"""

import base64
import dataclasses
import datetime
import json
import random
import uuid

SEED = 20130107
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

DAYS = ["1969-12-31", "2024-02-29", "2026-03-28", "2026-03-29", "2026-03-30"]
# What needs care as a directory's name: a number to some engines, a space, letters beyond ASCII.
REGIONS = ["EU", "us-east", "00123", "São Paulo"]
OFFSETS = [0, 0, 330, -480]
NAMES = ["Ann", "Zoë", "Łukasz", "李小龍", "🛰 Sat", "O'Brien \"Bo\"", "e\u0301", ""]
CITIES = [("Paris", "FR"), ("München", "DE"), ("東京", "JP"), (None, "BR"), ("Oslo", None)]
SINCE = ["1900-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "2038-01-19T03:14:08.000001Z", "2299-12-31T23:59:59Z"]
DUE = ["1900-01-01", "1970-01-01", "2024-02-29", "2026-04-05", "2299-12-31"]
# The ends of what a date can be, and a day that the calendar of 1582 left out. Python cannot tell the local time of the
# first day of all.
ENDS = ["0001-01-01", "1582-10-10", "9999-12-31"]
ENDS_AT = ["0001-01-02T00:00:00.000001Z", "1582-10-10T12:00:00Z", "9999-12-31T23:59:59.999999Z"]
PICKUP = ["00:00:00Z", "09:30:00Z", "17:45:30.25Z", "23:59:59+02:00"]
TAGS = ["new", "größer", "日本", "x y", "", None]
SKUS = ["AA-1", "AA-2", "BB-1", "CC-9"]
COLOURS = ["red", "grün", "青"]


@dataclasses.dataclass
class Event:
    """An event as published, and which version of the schema it is for: 1.0, 1.1 or 2.0."""

    version: str
    value: dict
    body: bytes
    headers: dict | None = None


def make(version: str, count: int, with_headers: bool = False) -> list[Event]:
    """`count` events for that version, the same ones each time."""
    source = random.Random(f"{SEED} {version} {with_headers}")
    events = []
    for number in range(count):
        value = order(source, number, version)
        body = json.dumps(value, ensure_ascii=source.random() < 0.5).encode()
        headers = {"tenant": source.choice(["t-1", "tür"]), "attempt": source.randrange(1, 4)} if with_headers else None
        events.append(Event(version, value, body, headers))
    return events


def order(source: random.Random, number: int, version: str) -> dict:
    """One order. Each optional field is there, null or absent; `number` sees to it that the borders occur."""
    value = {
        "id": str(uuid.UUID(int=source.getrandbits(128), version=4)),
        "placed_at": instant(source),
        "region": source.choice(REGIONS),
        "state": source.choice(["new", "paid", "sent"]),
        "due": source.choice(DUE),
        "ends": source.choice(ENDS),
        "ends_at": source.choice(ENDS_AT),
        "pickup": source.choice(PICKUP),
        "reference": reference(source, number, version),
        "total": decimal(source, 16 - (2 if version == "2.0" else 0), 4 if version == "2.0" else 2),
        "balance": decimal(source, 29, 9),
        "weight_kg": source.randrange(-8_000_000, 8_000_000) / 8,
        "gift": source.random() < 0.3,
        "customer": customer(source, version),
        "tags": [source.choice(TAGS) for _ in range(source.randrange(0, 4))],
        "readings": [[source.randrange(-9, 10) for _ in range(source.randrange(0, 3))] for _ in range(source.randrange(0, 3))],
        "items": [item(source, version) for _ in range(source.randrange(0, 4))],
        "attributes": {name: source.choice(COLOURS) for name in ("colour", "trim-ß") if source.random() < 0.7},
        "payload": base64.b64encode(source.randbytes(source.randrange(0, 12))).decode(),
    }
    if version != "1.0":
        value["channel"] = source.choice(["web", "shop"])
    thin(source, value, keep=("id", "placed_at", "region"))
    if source.random() < 0.2:
        value["debug"] = {"level": source.randrange(1, 6), "note": source.choice(NAMES), "big": 2**63 - 1 - number}
    return value


def thin(source: random.Random, value: dict, keep: tuple[str, ...]) -> None:
    """Makes some fields null, and removes some."""
    for name in [name for name in value if name not in keep]:
        chance = source.random()
        if chance < 0.1:
            value[name] = None
        elif chance < 0.2:
            del value[name]


def instant(source: random.Random) -> str:
    day = datetime.datetime.fromisoformat(source.choice(DAYS) + "T00:00:00+00:00")
    at = day + datetime.timedelta(microseconds=source.randrange(86_400_000_000))
    zone = datetime.timezone(datetime.timedelta(minutes=source.choice(OFFSETS)))
    return at.astimezone(zone).isoformat()


def reference(source: random.Random, number: int, version: str):
    borders = [INT64_MIN, INT64_MAX, INT64_MAX, INT64_MAX, 2**53 + 1, 0, -1]
    chosen = borders[number % 50] if number % 50 < len(borders) else source.randrange(10**15)
    return f"R-{chosen}" if version == "2.0" else chosen


def decimal(source: random.Random, digits: int, scale: int) -> str:
    """With at most that many digits before the point, mostly fewer: sums must fit into 38 digits."""
    whole = source.randrange(10 ** source.randrange(1, min(digits, 24)))
    return f"{source.choice(['', '-'])}{whole}.{source.randrange(10**scale):0{scale}d}"


def customer(source: random.Random, version: str) -> dict:
    city, country = source.choice(CITIES)
    value = {
        "name": source.choice(NAMES),
        "address": {"city": city, "country": country, "since": source.choice(SINCE)},
    }
    if version != "1.0":
        value["tier"] = source.randrange(1, 4)
    thin(source, value["address"], keep=())
    thin(source, value, keep=())
    return value


def item(source: random.Random, version: str) -> dict:
    value = {
        "sku": source.choice(SKUS),
        "quantity": source.choice([1, 2, 3, None]),
        "price": decimal(source, 6, 2),
        "options": [source.choice(["box", "bow"]) for _ in range(source.randrange(0, 3))],
    }
    if version != "1.0":
        value["discount"] = decimal(source, 3, 2)
    if source.random() < 0.2:
        del value["price"]
    return value
