"""The events that `make bench` measures with: made from a seed, so that every run carries the same bytes.

A workload is a JSON Schema, its events as lines of JSON, and what a pipeline is told of them. `python bench/workloads.py NAME
EVENTS DIRECTORY` writes `events.ndjson`, `schema.json` and `parqueduct.toml` there, which `parqueduct ingest` takes.
"""

import gzip
import json
import random
import string
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLIGHTS = ROOT / "config" / "demo" / "flights-2013-01.ndjson.gz"
FLIGHT_SCHEMA = ROOT / "config" / "schemas" / "flight.v1.json"
BEGAN = datetime(2026, 11, 1, tzinfo=timezone.utc)
SHOPS = 1000

UUID = {"type": "string", "format": "uuid"}
TIME = {"type": "string", "format": "date-time"}
COUNTRIES = ["AT", "CZ", "DE", "DK", "ES", "FR", "IT", "NL", "PL", "SE"]
TIERS = ["basic", "silver", "gold"]
METHODS = ["card", "transfer", "wallet", "invoice"]
NAMES = ["Žofie Černá", "José Núñez", "Anna Schmidt", "Søren Kjær", "Łukasz Wójcik", "Maria Rossi", "小林 結衣", "Émile Dupont"]
TAGS = ["first", "gift", "express", "bulk", "returning"]

ORDER = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "An order of a shop",
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "type", "occurred_at", "shop", "customer", "items", "total", "currency", "payment"],
    "properties": {
        "id": UUID,
        "type": {"const": "order.placed"},
        "occurred_at": TIME,
        "shop": {"type": "string", "pattern": "^shop-[0-9]{3}$"},
        "customer": {
            "type": "object",
            "additionalProperties": False,
            "required": ["id", "name", "country", "tier"],
            "properties": {
                "id": {"type": "string", "pattern": "^C-[0-9]{8}$"},
                "name": {"type": "string", "minLength": 1, "maxLength": 100},
                "country": {"enum": COUNTRIES},
                "tier": {"enum": TIERS},
            },
        },
        "items": {
            "type": "array",
            "minItems": 1,
            "maxItems": 50,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["sku", "quantity", "price"],
                "properties": {
                    "sku": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{5}$"},
                    "quantity": {"type": "integer", "minimum": 1, "maximum": 1000},
                    "price": {"type": "number", "minimum": 0},
                },
            },
        },
        "total": {"type": "number", "minimum": 0},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "payment": {
            "type": "object",
            "additionalProperties": False,
            "required": ["method", "authorised_at", "reference"],
            "properties": {"method": {"enum": METHODS}, "authorised_at": TIME, "reference": UUID},
        },
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 10},
        "note": {"type": ["string", "null"], "maxLength": 200},
    },
}

READING = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "A reading of a sensor",
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "at", "sensor", "value", "unit", "ok", "seq"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
        "at": TIME,
        "sensor": {"type": "string", "pattern": "^s-[0-9]{3}$"},
        "value": {"type": "number", "minimum": -100, "maximum": 200},
        "unit": {"enum": ["C", "K"]},
        "ok": {"type": "boolean"},
        "seq": {"type": "integer", "minimum": 0},
    },
}

WIDE_COLUMNS = 200


def wide_schema() -> dict:
    kinds = [{"type": "integer"}, {"type": "number"}, {"type": "string", "maxLength": 20}, {"type": "boolean"}]
    # Beside the two that every event has.
    columns = {f"c{n:03}": kinds[n % 4] for n in range(WIDE_COLUMNS - 2)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of many columns",
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "at", *columns],
        "properties": {"id": UUID, "at": TIME, **columns},
    }


@dataclass(frozen=True)
class Workload:
    name: str
    about: str
    schema: dict
    event_id: str
    event_time: str
    # Of so many in a thousand events something is wrong.
    bad: int = 0
    partition_by: list[str] = field(default_factory=lambda: ["date"])

    def lines(self, events: int) -> Iterator[bytes]:
        """So many events, each a line of JSON without its end."""
        if self.name == "flights":
            yield from flights(events)
            return
        make = {"flat": reading, "wide": wide}.get(self.name, order)
        # Workloads that differ in something else have the same events.
        chance = random.Random(make.__name__)
        for n in range(events):
            event = make(chance, n)
            # Spread evenly, and the same events in every workload.
            if n * 7919 % 1000 < self.bad:
                spoil(event, n)
            yield json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()

    def config(self, directory: Path, uri: str, store: str, extra: str = "", pipeline: str = "", queue: str = "bench") -> str:
        """The pipeline as TOML; with the defaults for all that is not said. The schema is in `directory`."""
        partitions = json.dumps(self.partition_by)
        return (
            f'{extra}[rabbitmq]\nuri = "{uri}"\n{store}[http]\nlisten = "127.0.0.1:0"\n[[pipeline]]\nname = "bench"\nqueue = "{queue}"\n'
            f'format = "json"\nschema = "{directory / "schema.json"}"\nevent_id = "{self.event_id}"\nevent_time = "{self.event_time}"\n'
            f"partition_by = {partitions}\n{pipeline}"
        )

    def write(self, directory: Path, events: int) -> int:
        """Writes events and schema there; gives back the bytes of the events."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "schema.json").write_text(json.dumps(self.schema, indent=1))
        size = 0
        with (directory / "events.ndjson").open("wb") as out:
            for line in self.lines(events):
                size += len(line)
                out.write(line + b"\n")
        return size


def uuid(chance: random.Random) -> str:
    text = f"{chance.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def time(n: int, chance: random.Random) -> str:
    at = BEGAN + timedelta(milliseconds=n * 50 + chance.randrange(50))
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def order(chance: random.Random, n: int) -> dict:
    def price() -> float:
        return chance.randrange(100, 20_000) / 100

    letters = string.ascii_uppercase
    items = [
        {"sku": f"{chance.choice(letters)}{chance.choice(letters)}-{chance.randrange(100_000):05}", "quantity": chance.randint(1, 5), "price": price()}
        for _ in range(chance.choice([1, 1, 2, 2, 3]))
    ]
    event = {
        "id": uuid(chance),
        "type": "order.placed",
        "occurred_at": time(n, chance),
        "shop": f"shop-{chance.randrange(SHOPS):03}",
        "customer": {
            "id": f"C-{chance.randrange(10**8):08}",
            "name": chance.choice(NAMES),
            "country": chance.choice(COUNTRIES),
            "tier": chance.choice(TIERS),
        },
        "items": items,
        "total": round(sum(item["quantity"] * item["price"] for item in items), 2),
        "currency": "EUR" if chance.random() < 0.8 else chance.choice(["CZK", "DKK", "PLN", "SEK"]),
        "payment": {"method": chance.choice(METHODS), "authorised_at": time(n, chance), "reference": uuid(chance)},
    }
    if chance.random() < 0.5:
        event["tags"] = chance.sample(TAGS, chance.randint(1, 3))
    if chance.random() < 0.3:
        event["note"] = chance.choice(["Bitte klingeln", "leave it at the door — thanks", None])
    return event


def reading(chance: random.Random, n: int) -> dict:
    return {
        "id": f"{chance.getrandbits(64):016x}",
        "at": time(n, chance),
        "sensor": f"s-{chance.randrange(500):03}",
        "value": round(chance.gauss(20, 5), 2),
        "unit": "C",
        "ok": chance.random() < 0.99,
        "seq": n,
    }


def wide(chance: random.Random, n: int) -> dict:
    values = [
        lambda: chance.randrange(100_000),
        lambda: round(chance.random() * 1000, 3),
        lambda: chance.choice(TAGS) + str(chance.randrange(100)),
        lambda: chance.random() < 0.5,
    ]
    return {"id": uuid(chance), "at": time(n, chance), **{f"c{n:03}": values[n % 4]() for n in range(WIDE_COLUMNS - 2)}}


def spoil(event: dict, n: int) -> None:
    """What goes wrong with orders, one of four ways after the other."""
    match n % 4:
        case 0:
            event["total"] = str(event["total"])
        case 1:
            del event["currency"]
        case 2:
            event["customer"]["id"] = "unknown"
        case _:
            event["items"][0]["quantity"] = 0


def flights(events: int) -> Iterator[bytes]:
    lines = gzip.decompress(FLIGHTS.read_bytes()).splitlines()
    for n in range(events):
        yield lines[n % len(lines)]


ALL = [
    Workload("order", "nested, about 500 bytes", ORDER, "/id", "/occurred_at"),
    Workload("flat", "seven fields, about 120 bytes", READING, "/id", "/at"),
    Workload("flights", "real, 2.7 % bad", json.loads(FLIGHT_SCHEMA.read_text()), "/id", "/occurred_at"),
    Workload("wide", f"{WIDE_COLUMNS} columns", wide_schema(), "/id", "/at"),
    Workload("bad-1", "orders, 1 % bad", ORDER, "/id", "/occurred_at", bad=10),
    Workload("bad-100", "orders, all bad", ORDER, "/id", "/occurred_at", bad=1000),
    Workload("partitions", f"orders, {SHOPS:,} partitions", ORDER, "/id", "/occurred_at", partition_by=["/shop"]),
]
BY_NAME = {workload.name: workload for workload in ALL}


def main() -> None:
    name, events, directory = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]).resolve()
    workload = BY_NAME[name]
    size = workload.write(directory, events)
    store = f'[store]\nurl = "{(directory / "archive").as_uri()}"\n'
    (directory / "parqueduct.toml").write_text(workload.config(directory, "amqp://unused.invalid", store))
    print(f"{events:,} events of {size / events:.0f} bytes in {directory}")


if __name__ == "__main__":
    main()
