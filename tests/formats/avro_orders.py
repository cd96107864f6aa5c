"""Orders in Avro, as a producer in Python writes them, and what must become of them.

`schema` prints the schema. `make FRAMING COUNT` writes a line of JSON for each: `id`, `body` (base64), and `event`, the
columns that must come of it. `check STORE FILE` compares the archive in STORE with those lines.
"""

import base64
import datetime
import decimal
import io
import json
import random
import struct
import sys
import uuid

import fastavro
import typed

UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
TEXTS = ["", "a", "Zoë ✈ 東京", "\u0000\u001f\"\\/", "\U0001f600" * 40, "x" * 7000, "null"]


def logical(of, logical_type, **more):
    return {"type": of, "logicalType": logical_type, **more}


NODE = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "value", "type": "long"}, {"name": "next", "type": ["null", "Node"]}],
}
NESTED = "string"
for level in range(5):
    NESTED = {"type": "record", "name": f"Level{level}", "fields": [{"name": "inner", "type": ["null", NESTED]}, {"name": "n", "type": "int"}]}
SCHEMA = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "occurred_at", "type": logical("long", "timestamp-millis")},
        {"name": "amount", "type": "double"},
        {"name": "rate", "type": "float"},
        {"name": "price", "type": logical("bytes", "decimal", precision=38, scale=4)},
        {"name": "tax", "type": logical("fixed", "decimal", precision=12, scale=2, name="Tax", size=6)},
        {"name": "large", "type": "long"},
        {"name": "count", "type": "int"},
        {"name": "paid", "type": "boolean"},
        {"name": "blob", "type": "bytes"},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "PAID", "SENT"]}},
        {"name": "day", "type": logical("int", "date")},
        {"name": "clock", "type": logical("long", "time-micros")},
        {"name": "exact", "type": logical("long", "timestamp-nanos")},
        {"name": "micros", "type": logical("long", "timestamp-micros")},
        {"name": "local", "type": logical("long", "local-timestamp-millis")},
        {"name": "key", "type": logical("string", "uuid")},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "counts", "type": {"type": "map", "values": ["null", "long"]}},
        {"name": "note", "type": ["null", "string"]},
        {"name": "either", "type": ["null", "long", "string", {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "double"}]}]},
        {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
            {"name": "sku", "type": "string"}, {"name": "at", "type": ["null", "Point"]}]}}},
        {"name": "nested", "type": NESTED},
        {"name": "chain", "type": NODE},
    ],
}


def text(source):
    return source.choice(TEXTS) + str(source.randrange(100))


def whole(source, bits):
    """Of every size, and at every border."""
    value = (1 << source.randrange(bits)) + source.randrange(-2, 3)
    least, most = -(1 << bits - 1), (1 << bits - 1) - 1
    return max(least, min(most, -value if source.random() < 0.5 else value, source.choice([most, value])))


def amount(source, digits, scale):
    unscaled = source.choice([0, 1, -1, 10**digits - 1, -(10**digits) + 1, source.randrange(-(10**digits), 10**digits)])
    with decimal.localcontext(prec=60):
        return decimal.Decimal(max(-(10**digits) + 1, unscaled)).scaleb(-scale)


def nested(source, depth):
    if depth == 0:
        return text(source)
    return {"inner": None if source.random() < 0.1 else nested(source, depth - 1), "n": source.randrange(100)}


def order(source, number):
    """The order as fastavro takes it, and the columns that must come of it."""
    when = EPOCH + datetime.timedelta(days=19_723 + number % 3, milliseconds=source.randrange(86_400_000))
    nanos = source.choice([0, 1, -1, 1_357_035_300_123_456_789, source.randrange(-(1 << 60), 1 << 62)])
    micros = source.randrange(-(1 << 50), 1 << 50)
    chain = {"value": 0, "next": None}
    for value in range(source.randrange(4)):
        chain = {"value": value, "next": chain}
    point = {"x": source.uniform(-1e9, 1e9)}
    either, either_shown = source.choice([
        (None, None),
        (number, {"long": number}),
        ("a", {"string": "a"}),
        (point, {"Point": point}),
    ])
    blob = source.randbytes(source.choice([0, 1, 31, 300]))
    clock = datetime.time(source.randrange(24), 59, 0, source.choice([0, 1, 999_999]))
    day = datetime.date(source.choice([1, 1969, 1970, 2024, 9999]), 2, 28)
    local = datetime.datetime(2024, 5, 1, 2, 3, 4, source.randrange(1000) * 1000)
    event = {
        "id": f"order-{number}",
        "occurred_at": when,
        "amount": source.choice([0.5, -0.0, 1e300, 5e-324, source.uniform(-1e9, 1e9)]),
        "rate": struct.unpack("<f", struct.pack("<f", source.uniform(-1e3, 1e3)))[0],
        "price": amount(source, 38, 4),
        "tax": amount(source, 12, 2),
        "large": whole(source, 64),
        "count": whole(source, 32),
        "paid": source.random() < 0.5,
        "blob": blob,
        "state": source.choice(["NEW", "PAID", "SENT"]),
        "day": day,
        "clock": clock,
        "exact": nanos,
        "micros": micros,
        "local": local,
        "key": uuid.UUID(int=source.getrandbits(128)),
        "tags": [text(source) for _ in range(source.choice([0, 1, 5]))],
        "counts": {text(source): source.choice([None, whole(source, 64)]) for _ in range(source.choice([0, 1, 5]))},
        "note": source.choice([None, "", text(source)]),
        "either": either,
        "lines": [{"sku": text(source), "at": source.choice([None, point])} for _ in range(source.choice([0, 1, 4]))],
        "nested": nested(source, 5),
        "chain": chain,
    }

    def instant(count, per_second, digits):
        seconds, rest = divmod(count, per_second)
        shown = (EPOCH + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        return f"{shown}.{rest:0{digits}}Z"

    columns = typed.plain(event | {
        "blob": base64.b64encode(blob).decode(),
        "clock": f"{clock:%H:%M:%S}.{clock.microsecond:06}",
        "exact": instant(nanos // 1000, 1_000_000, 6),
        "micros": instant(micros, 1_000_000, 6),
        "local": f"{local:%Y-%m-%dT%H:%M:%S}.{local.microsecond // 1000:03}",
        "key": str(event["key"]),
        "either": either_shown,
        "price": f"{event['price']:.4f}",
        "tax": f"{event['tax']:.2f}",
    })
    # In JSON text a null stands.
    columns["counts"] = event["counts"]
    if chain["next"] is not None:
        columns["chain"]["next"] = chain["next"]
    if nanos % 1000:
        columns["_extra"] = {"exact": instant(nanos, 1_000_000_000, 9)}
    return event, columns


def make(framing, count):
    schema = fastavro.parse_schema(SCHEMA)
    fingerprint = bytes.fromhex(fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(schema), "CRC-64-AVRO"))
    source = random.Random(20130101)
    for number in range(count):
        event, columns = order(source, number)
        out = io.BytesIO()
        if framing == "single-object":
            out.write(b"\xc3\x01" + fingerprint)
        fastavro.schemaless_writer(out, schema, event)
        body = base64.b64encode(out.getvalue()).decode()
        print(json.dumps({"id": event["id"], "body": body, "event": columns}))


if __name__ == "__main__":
    if sys.argv[1] == "schema":
        print(json.dumps(SCHEMA))
    elif sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]))
    else:
        typed.check(sys.argv[2], sys.argv[3])
