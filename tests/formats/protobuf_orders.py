"""Orders in Protobuf, as a producer in Python writes them, and what must become of them.

`schema FILE` writes the descriptor set. `make COUNT` writes a line of JSON for each: `id`, `body` (base64), and `event`,
the columns that must come of it. `check STORE FILE` compares the archive in STORE with those lines.
"""

import base64
import datetime
import json
import random
import struct
import sys

import typed
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory, struct_pb2, timestamp_pb2, wrappers_pb2

Field = descriptor_pb2.FieldDescriptorProto
TEXTS = ["", "a", "Zoë ✈ 東京", "\u0000\u001f\"\\/", "\U0001f600" * 40, "x" * 7000, "null"]
TYPES = {
    "bool": Field.TYPE_BOOL, "bytes": Field.TYPE_BYTES, "double": Field.TYPE_DOUBLE, "fixed32": Field.TYPE_FIXED32,
    "fixed64": Field.TYPE_FIXED64, "float": Field.TYPE_FLOAT, "int32": Field.TYPE_INT32, "int64": Field.TYPE_INT64,
    "sfixed32": Field.TYPE_SFIXED32, "sfixed64": Field.TYPE_SFIXED64, "sint32": Field.TYPE_SINT32,
    "sint64": Field.TYPE_SINT64, "string": Field.TYPE_STRING, "uint32": Field.TYPE_UINT32, "uint64": Field.TYPE_UINT64,
}
GOOGLE = ".google.protobuf."
KNOWN = [any_pb2, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2]


def add(message, name, of, repeated=False, optional=False, oneof=None):
    """A field with the next number."""
    field = message.field.add(name=name, number=len(message.field) + 1)
    field.label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
    if of in TYPES:
        field.type = TYPES[of]
    else:
        field.type = Field.TYPE_ENUM if of.endswith(".State") else Field.TYPE_MESSAGE
        field.type_name = of
    if oneof is not None:
        field.oneof_index = oneof
    if optional:
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")
    return field


def add_map(message, name, key, value):
    entry = message.nested_type.add(name=f"{name.title()}Entry")
    entry.options.map_entry = True
    add(entry, "key", key)
    add(entry, "value", value)
    add(message, name, f".shop.v1.{message.name}.{entry.name}", repeated=True)


def file(with_later_fields):
    """The file; newer producers know a field more."""
    described = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop.v1", syntax="proto3")
    described.dependency.extend(known.DESCRIPTOR.name for known in KNOWN)
    state = described.enum_type.add(name="State")
    for number, name in enumerate(["STATE_NEW", "STATE_PAID"]):
        state.value.add(name=name, number=number)
    point = described.message_type.add(name="Point")
    add(point, "x", "double")
    node = described.message_type.add(name="Node")
    add(node, "value", "int64")
    add(node, "next", ".shop.v1.Node")
    for level in range(5):
        inner = "string" if level == 0 else f".shop.v1.Level{level - 1}"
        nested = described.message_type.add(name=f"Level{level}")
        add(nested, "inner", inner)
        add(nested, "n", "int32")
    order = described.message_type.add(name="Order")
    order.oneof_decl.add(name="payment")
    add(order, "id", "string")
    add(order, "occurred_at", GOOGLE + "Timestamp")
    for of in sorted(TYPES):
        add(order, f"a_{of}", of)
    add(order, "maybe", "int64", optional=True)
    add(order, "state", ".shop.v1.State")
    add(order, "tags", "string", repeated=True)
    add(order, "numbers", "sint64", repeated=True)
    add_map(order, "counts", "int64", "uint64")
    add_map(order, "places", "string", ".shop.v1.Point")
    add(order, "card", "string", oneof=0)
    add(order, "at", ".shop.v1.Point", oneof=0)
    add(order, "nested", ".shop.v1.Level4")
    add(order, "chain", ".shop.v1.Node")
    add(order, "took", GOOGLE + "Duration")
    add(order, "wrapped", GOOGLE + "Int64Value")
    add(order, "free", GOOGLE + "Struct")
    add(order, "any", GOOGLE + "Any")
    if with_later_fields:
        add(order, "later", "string")
    return described


def bundle(with_later_fields):
    files = descriptor_pb2.FileDescriptorSet()
    for known in KNOWN:
        known.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.append(file(with_later_fields))
    return files


def text(source):
    return source.choice(TEXTS) + str(source.randrange(100))


def whole(source, bits, signed):
    """Of every size, and at every border."""
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    value = (1 << source.randrange(bits)) + source.randrange(-2, 3)
    return max(least, min(most, source.choice([value, -value, least, most])))


def instant(seconds, nanos, digits):
    shown = (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return f"{shown}.{nanos // 10 ** (9 - digits):0{digits}}Z"


def order(classes, source, number):
    """The order as a message, and the columns that must come of it."""
    made = classes["shop.v1.Order"]()
    made.id = f"order-{number}"
    seconds, nanos = 1_704_103_200 + (number % 3) * 86_400, source.choice([0, 5_000, 123_456_789])
    made.occurred_at.seconds, made.occurred_at.nanos = seconds, nanos
    columns = {"id": made.id, "occurred_at": instant(seconds, nanos, 6)}
    extra = {"occurred_at": instant(seconds, nanos, 9)} if nanos % 1000 else {}
    for of in sorted(TYPES):
        if of == "bool":
            value = shown = source.random() < 0.5
        elif of == "bytes":
            value = source.randbytes(source.choice([0, 1, 300]))
            shown = base64.b64encode(value).decode()
        elif of == "double":
            value = shown = source.choice([0.0, -0.0, 1e300, 5e-324, source.uniform(-1e9, 1e9)])
        elif of == "float":
            value = shown = struct.unpack("<f", struct.pack("<f", source.uniform(-1e3, 1e3)))[0]
        elif of == "string":
            value = shown = source.choice(["", text(source)])
        else:
            bits = 64 if of.endswith("64") else 32
            value = whole(source, bits, not of.startswith(("u", "f")))
            shown = str(value) if of in ("uint64", "fixed64") else value
        setattr(made, f"a_{of}", value)
        columns[f"a_{of}"] = shown
    if source.random() < 0.5:
        made.maybe = columns["maybe"] = source.choice([0, 7])
    made.state = source.choice([0, 1, 17])
    columns["state"] = {0: "STATE_NEW", 1: "STATE_PAID", 17: "17"}[made.state]
    columns["tags"] = [text(source) for _ in range(source.choice([0, 1, 5]))]
    columns["numbers"] = [whole(source, 64, True) for _ in range(source.choice([0, 3]))]
    made.tags.extend(columns["tags"])
    made.numbers.extend(columns["numbers"])
    counts = {whole(source, 64, True): whole(source, 64, False) for _ in range(source.choice([0, 3]))}
    for key, value in counts.items():
        made.counts[key] = value
    columns["counts"] = {str(key): value for key, value in counts.items()}
    columns["places"] = {text(source): {"x": source.uniform(-9, 9)} for _ in range(source.choice([0, 2]))}
    for key, value in columns["places"].items():
        made.places[key].x = value["x"]
    kind = source.randrange(3)
    if kind == 1:
        made.card = columns["card"] = text(source)
    elif kind == 2:
        made.at.x = 0.5
        columns["at"] = {"x": 0.5}
    inner, shown = made.nested, columns.setdefault("nested", {})
    for level in range(4):
        inner.n = shown["n"] = level
        inner, shown = inner.inner, shown.setdefault("inner", {})
    inner.inner = shown["inner"] = text(source)
    shown["n"] = 0
    if source.random() < 0.7:
        made.chain.value = 3
        made.chain.next.value = -1
        # Where the type holds itself again it is JSON text.
        columns["chain"] = {"value": 3, "next": {"value": -1}}
    if source.random() < 0.7:
        made.took.seconds, made.took.nanos, columns["took"] = source.choice([(1, 500_000_000, "1.5s"), (0, -1, "-0.000000001s"), (-3, 0, "-3s")])
    if source.random() < 0.7:
        made.wrapped.value = columns["wrapped"] = source.choice([0, 12])
    if source.random() < 0.7:
        columns["free"] = {"a": None, "b": [1.5, True, {"c": "d"}], "e": {}}
        made.free.update(columns["free"])
    if source.random() < 0.7:
        point = classes["shop.v1.Point"](x=2.5)
        if source.random() < 0.5:
            made.any.Pack(point)
            columns["any"] = {"@type": "type.googleapis.com/shop.v1.Point", "x": 2.5}
        else:
            made.any.type_url, made.any.value = "type.googleapis.com/unknown.Thing", b"\xff\x00"
            columns["any"] = {"@type": "type.googleapis.com/unknown.Thing", "value": "/wA="}
    if number % 5 == 0:
        made.later = "x"
        field = made.DESCRIPTOR.fields_by_name["later"]
        tag = field.number << 3 | 2
        extra["$unknown"] = base64.b64encode(bytes([tag & 0x7F | 0x80, tag >> 7, 1]) + b"x").decode()
    shown = typed.plain(columns)
    # In JSON text a null stands.
    if "free" in columns:
        shown["free"] = columns["free"]
    return made, shown | ({"_extra": extra} if extra else {})


def make(count):
    pool = descriptor_pool.DescriptorPool()
    for described in bundle(True).file:
        pool.Add(described)
    names = ["shop.v1.Order", "shop.v1.Point"]
    classes = {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names}
    source = random.Random(20130101)
    for number in range(count):
        made, columns = order(classes, source, number)
        body = base64.b64encode(made.SerializeToString()).decode()
        print(json.dumps({"id": made.id, "body": body, "event": columns}))


if __name__ == "__main__":
    if sys.argv[1] == "schema":
        with open(sys.argv[2], "wb") as out:
            out.write(bundle(False).SerializeToString())
    elif sys.argv[1] == "make":
        make(int(sys.argv[2]))
    else:
        typed.check(sys.argv[2], sys.argv[3])
