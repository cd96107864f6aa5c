"""What each recipe of `docs/query.md` must answer, from the events as they were made: plain Python, no Parquet."""

import base64
import datetime
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal, localcontext

import xxhash

from orders import Event

# As the recipes of partitions ask.
RECENT = datetime.date(2026, 3, 28)
ONE_OCLOCK = datetime.datetime(2026, 3, 29, 1, tzinfo=datetime.timezone.utc)
FLIGHTS_FROM = datetime.date(2013, 1, 7)


def answers(first: list[Event], second: list[Event], flights: list[dict]) -> dict[str, list[tuple]]:
    """The rows of every recipe: `first` and `second` are what major version 1 and 2 of orders hold."""
    with localcontext() as context:
        context.prec = 100
        return {
            "flights": of_flights(flights),
            **{name: recipe(first) for name, recipe in OF_ORDERS.items()},
            "major": of_majors(first, second),
        }


def at(value, *path):
    """What stands at `path`, or `None`."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def at_all(events: Iterable[Event], *path) -> list:
    """What stands at `path`, where it is there and not null."""
    return [found for event in events if (found := at(event.value, *path)) is not None]


def instant(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).astimezone(datetime.timezone.utc)


def grouped(items: Iterable, key: Callable) -> dict:
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def directory(text: str) -> str:
    """A field's value as the name of a directory: docs/decisions/0005, for the values that orders have."""
    escaped = re.sub(rb"[^A-Za-z0-9_-]", lambda byte: b".%02X" % byte[0][0], text.encode()).decode()
    return escaped if escaped[0].isalpha() else f"_{escaped}"


def items_of(events: Iterable[Event]) -> list[dict]:
    return [item for event in events for item in event.value.get("items") or []]


def of_flights(flights: list[dict]) -> list[tuple]:
    late = [flight for flight in flights if instant(flight["occurred_at"]).date() >= FLIGHTS_FROM]
    groups = grouped(late, lambda flight: flight["carrier"])
    return [(carrier, len(group), sum(at(one, "arrival", "delay_min") for one in group)) for carrier, group in groups.items()]


def partitions(events: list[Event]) -> list[tuple]:
    groups = grouped(events, lambda event: (instant(event.value["placed_at"]).date(), directory(event.value["region"])))
    return [(*key, len(group)) for key, group in groups.items() if key[0] >= RECENT]


def numbers(events: list[Event]) -> list[tuple]:
    weights = at_all(events, "weight_kg")
    totals, balances = (sum(map(Decimal, at_all(events, name))) for name in ("total", "balance"))
    return [(totals, balances, min(weights), sum(weights))]


def integers(events: list[Event]) -> list[tuple]:
    references = at_all(events, "reference")
    return [(min(references), max(references), sum(references))]


def times(events: list[Event]) -> list[tuple]:
    placed = [instant(text) for text in at_all(events, "placed_at")]
    since = [instant(text) for text in at_all(events, "customer", "address", "since")]
    due = [datetime.date.fromisoformat(text) for text in at_all(events, "due")]
    return [
        (
            *(min(placed), max(placed), min(since), max(since), min(due), max(due), max(at_all(events, "pickup"))),
            sum(one >= ONE_OCLOCK for one in placed),
            sum(one.hour == 23 for one in placed),
        )
    ]


def ages(events: list[Event]) -> list[tuple]:
    ends = [datetime.date.fromisoformat(text) for text in at_all(events, "ends")]
    ends_at = [instant(text) for text in at_all(events, "ends_at")]
    return [(min(ends), max(ends), sum(day.year == 1582 for day in ends), min(ends_at), max(ends_at))]


def structs(events: list[Event]) -> list[tuple]:
    groups = grouped(events, lambda event: at(event.value, "customer", "address", "country"))
    return [
        (country, len(group), len(set(at_all(group, "customer", "name"))), sum(at_all(group, "gift")))
        for country, group in groups.items()
    ]


def lists(events: list[Event]) -> list[tuple]:
    tags = [tag for event in events for tag in event.value.get("tags") or []]
    return [(tag, len(group)) for tag, group in grouped(tags, lambda tag: tag).items()]


def nested(events: list[Event]) -> list[tuple]:
    readings = [reading for inner in at_all(events, "readings") for list_ in inner for reading in list_]
    return [(len(readings), sum(readings))]


def items(events: list[Event]) -> list[tuple]:
    return [
        (
            *(sku, len(group), sum(item["quantity"] or 0 for item in group)),
            sum(Decimal(item["price"]) for item in group if item.get("price")),
            sum(len(item["options"]) for item in group),
        )
        for sku, group in grouped(items_of(events), lambda item: item["sku"]).items()
    ]


def maps(events: list[Event]) -> list[tuple]:
    groups = grouped(events, lambda event: at(event.value, "attributes", "colour"))
    return [(colour, len(group), len(at_all(group, "attributes", "trim-ß"))) for colour, group in groups.items()]


def extra(events: list[Event]) -> list[tuple]:
    headers = [event.headers for event in events if event.headers]
    return [
        (
            *(len(at_all(events, "debug")), sum(at_all(events, "debug", "level"))),
            *(sum(one["attempt"] for one in headers), sum(one["tenant"] == "tür" for one in headers)),
        )
    ]


def nulls(events: list[Event]) -> list[tuple]:
    paths = [("state",), ("reference",), ("total",), ("customer", "address", "city"), ("attributes",)]
    return [tuple(len(events) - len(at_all(events, *path)) for path in paths)]


def absent(events: list[Event]) -> list[tuple]:
    paths = [("customer",), ("customer", "address"), ("tags",)]
    empty = sum(tags == [] for tags in at_all(events, "tags"))
    return [(*(len(events) - len(at_all(events, *path)) for path in paths), empty)]


def texts(events: list[Event]) -> list[tuple]:
    rows = []
    for state, group in grouped(events, lambda event: event.value.get("state")).items():
        names = at_all(group, "customer", "name")
        rows.append((state, len(group), len(set(at_all(group, "id"))), sum(map(len, names)), names.count("Zoë")))
    return rows


def bytes_(events: list[Event]) -> list[tuple]:
    hashes = {xxhash.xxh3_128_digest(event.body) for event in events}
    payloads = sum(len(base64.b64decode(text)) for text in at_all(events, "payload"))
    return [(len(hashes), min(hashes), sum(len(event.body) for event in events), payloads)]


def minor(events: list[Event]) -> list[tuple]:
    return [
        (
            *(channel, len(group), sum(at_all(group, "customer", "tier"))),
            sum(Decimal(item["discount"]) for item in items_of(group) if "discount" in item),
        )
        for channel, group in grouped(events, lambda event: event.value.get("channel")).items()
    ]


OF_ORDERS = {
    "partitions": partitions,
    "numbers": numbers,
    "integers": integers,
    "times": times,
    "ages": ages,
    "structs": structs,
    "lists": lists,
    "nested": nested,
    "items": items,
    "maps": maps,
    "extra": extra,
    "nulls": nulls,
    "absent": absent,
    "texts": texts,
    "bytes": bytes_,
    "minor": minor,
}


def of_majors(first: list[Event], second: list[Event]) -> list[tuple]:
    return [
        (
            *(schema, len(events), len({str(reference) for reference in at_all(events, "reference")})),
            sum(map(Decimal, at_all(events, "total"))),
        )
        for schema, events in (("order@1", first), ("order@2", second))
    ]
