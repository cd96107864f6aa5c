"""Orders in MessagePack, as a producer in Python writes them, and what must become of them.

`make COUNT` writes a line of JSON for each: `id`, `body` (base64), and `note`, the value that must come back as JSON.
`check STORE FILE` compares the column `note` of the archive in STORE with those lines.
"""

import base64
import datetime
import glob
import json
import math
import random
import sys

import msgpack
import pyarrow.parquet

DEPTH = 5
TEXTS = ["", "a", "Zoë ✈ 東京", "\u0000\u001f\"\\/", "\U0001f600" * 40, "x" * 70_00, "null"]


def text(source):
    return source.choice(TEXTS) + str(source.randrange(100))


def scalar(source):
    """A value as msgpack takes it, and as JSON must have it."""
    kind = source.randrange(10)
    if kind == 0:
        return None, None
    if kind == 1:
        value = source.random() < 0.5
        return value, value
    if kind <= 3:
        # Of every width, signed and unsigned, and at every border.
        bits = source.randrange(65)
        value = min(max((1 << bits) + source.randrange(-2, 3), 0), (1 << 64) - 1)
        value = max(-value, -(1 << 63)) if source.random() < 0.5 else value
        return value, value
    if kind == 4:
        value = source.choice([0.5, -0.0, 1e300, 5e-324, math.pi, source.uniform(-1e9, 1e9)])
        return value, value
    if kind <= 6:
        value = text(source)
        return value, value
    if kind == 7:
        value = source.randbytes(source.choice([0, 1, 31, 300]))
        return value, base64.b64encode(value).decode()
    if kind == 8:
        micros = source.choice([0, 0, 500_000, 123_456])
        seconds = source.choice([0, 1_357_000_000, (1 << 32) + 5, -62_135_596_800, 253_402_300_799])
        value = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=seconds, microseconds=micros)
        shown = value.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        digits = "" if micros == 0 else f".{micros // 1000:03}" if micros % 1000 == 0 else f".{micros:06}"
        return value, f"{shown}{digits}Z"
    code, data = source.randrange(128), source.randbytes(source.choice([1, 2, 3, 4, 8, 16, 17, 300]))
    return msgpack.ExtType(code, data), {"ext": code, "data": base64.b64encode(data).decode()}


def value(source, depth):
    kind = source.randrange(4) if depth else 0
    if kind <= 1:
        return scalar(source)
    count = source.choice([0, 1, 3, 20])
    if kind == 2:
        pairs = [value(source, depth - 1) for _ in range(count)]
        return [left for left, _ in pairs], [right for _, right in pairs]
    keys = {}
    for _ in range(count):
        key = source.choice([text(source), source.randrange(-(1 << 63), 1 << 64), source.random() < 0.5])
        keys[("true" if key else "false") if isinstance(key, bool) else str(key)] = key
    pairs = {name: value(source, depth - 1) for name in keys}
    return {keys[name]: pairs[name][0] for name in keys}, {name: pairs[name][1] for name in keys}


def make(count):
    source = random.Random(20130101)
    for number in range(count):
        note, shown = value(source, DEPTH)
        when = datetime.datetime(2024, 1, 1 + number % 3, 10, tzinfo=datetime.timezone.utc)
        order = {
            "id": f"order-{number}",
            # A time may be one of the format's own.
            "occurred_at": when if number % 2 else when.isoformat().replace("+00:00", "Z"),
            "amount": number / 4,
            "count": number,
            "customer": {"email": f"c{number}@example.com", "name": None},
            "note": note,
        }
        body = msgpack.packb(order, datetime=True, use_bin_type=True)
        print(json.dumps({"id": order["id"], "body": base64.b64encode(body).decode(), "note": shown}))


def check(store, lines):
    """Exits with the first order whose note is not what it was."""
    with open(lines, encoding="utf-8") as file:
        expected = {line["id"]: line["note"] for line in map(json.loads, file)}
    files = glob.glob(f"{store}/data/**/*.parquet", recursive=True)
    found = {}
    for path in files:
        table = pyarrow.parquet.read_table(path, columns=["id", "note"], partitioning=None)
        for row in table.to_pylist():
            found[row["id"]] = None if row["note"] is None else json.loads(row["note"])
    if found.keys() != expected.keys():
        sys.exit(f"{len(found)} of {len(expected)} orders")
    for name, note in expected.items():
        same = json.dumps(found[name], sort_keys=True) == json.dumps(note, sort_keys=True)
        if not same:
            sys.exit(f"{name}: {json.dumps(found[name])[:500]}\nis not {json.dumps(note)[:500]}")
    print(len(found))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(int(sys.argv[2]))
    else:
        check(sys.argv[2], sys.argv[3])
