"""Writes what fuzzing begins with: a few real inputs of each target, below the directory that is given.

    scripts/venv test               prints a Python that has what this needs
    PYTHON fuzz/seeds.py fuzz/corpus

Files that are there stay: what was found since is worth more. The first byte of most inputs chooses a type, a schema or a
format by its place in the list of the target.
"""

import gzip
import hashlib
import io
import json
import pathlib
import re
import struct
import sys
import zlib

import fastavro
import msgpack

ROOT = pathlib.Path(__file__).resolve().parent


def jsons():
    yield b'{"a":[1,-0,2.50,1e-3,18446744073709551615,-9223372036854775808],"b":{"c":"x\\"\\u00e9\\ud83d\\ude00"},"d":null}'
    yield b'[true,false,null,"",{},[],0.1,1E+2,"\xc3\xa9\xf0\x9f\x98\x80"]'
    yield b' { "id" : "o-1" , "amount" : 12.50 , "tags" : [ "a" , "b" ] } '
    yield b'{"a":1,"a":2}'
    yield b'[[[[[[[[[1]]]]]]]]]'
    yield b'[1e400,-18446744073709551616]'
    yield b'"\\ud800"'
    yield b'\xef\xbb\xbf{}'
    yield b'{"a":tru'
    yield b'"' + b"x" * 40 + b'\\n' + b"y" * 40 + b'"'


def msgpacks():
    values = [
        {"a": [1, -1, 2.5, None, True], "b": {"c": "é"}, 3: b"\xff\x00"},
        [0, 127, 128, 255, 256, 65535, 65536, 2**32, 2**63, 2**64 - 1, -32, -33, -129, -32769, -(2**31) - 1, -(2**63)],
        [msgpack.ExtType(5, b"\x09"), msgpack.ExtType(7, b"x" * 20), msgpack.Timestamp(1, 0), msgpack.Timestamp(2, 5), msgpack.Timestamp(-1, 1)],
        {True: 1, "true": 2},
        [[[[[[[1]]]]]]],
        {str(n): n for n in range(18)},
        "x" * 40,
        list(range(20)),
    ]
    for value in values:
        yield msgpack.packb(value, use_bin_type=True)
    yield msgpack.packb([1.5, -0.0], use_single_float=True)
    yield b"\xdd\x00\x00\x00\x01\xc0"
    yield b"\xdf\x00\x00\x00\x01\xd9\x01a\xc2"
    yield b"\xc1"


def field_types():
    text = (ROOT / "src/avro.rs").read_text()
    listed = re.search(r"const FIELD_TYPES.*?= &\[(.*?)\n\];", text, re.S)[1]
    return re.findall(r'r#"(.*?)"#', listed, re.S)


AVRO_VALUES = {
    "boolean": [True],
    "int": [-1, 2**31 - 1],
    "long": [-(2**63), 300],
    "float": [1.5],
    "double": [-0.0],
    "bytes": [b"\xff\x00"],
    "string": ["é"],
    "F": [b"abc"],
    "E": ["B"],
    "Order": [{"id": "o-1", "count": 3, "lines": [{"sku": "s", "price": 2.5}, {"sku": "t", "price": None}], "tags": {"a": "b"}}],
    "N": [{"n": {"n": "x"}}, {"n": {"n": None}}],
}


def avros():
    for place, of in enumerate(field_types()):
        of = json.loads(of)
        schema = {"type": "record", "name": "R", "fields": [{"name": "x", "type": of}]}
        name = of if isinstance(of, str) else of.get("name") if isinstance(of, dict) else None
        logical = of.get("logicalType") if isinstance(of, dict) else None
        if logical:
            width = {"decimal": 5, "uuid": 16, "duration": 12}.get(logical, 0)
            fixed = of["type"] == "fixed"
            big = b"\x0a\x04\xff\x85\x06"
            body = big if logical == "big-decimal" else b"\x01" * width if fixed else b"\x04\xff\x85" if logical == "decimal" else b"\xd0\x0f"
            yield bytes([place]) + body
            continue
        values = AVRO_VALUES.get(name)
        if values is None:
            text = json.dumps(of)
            values = [[1, -2]] if '"items": "int"' in text else [{"a": "b", "c": None}] if '"map"' in text and "N" not in text else [{"a": 1}]
            if text.startswith("["):
                values = [None, 7, "x", [None, None]]
            if "Empty" in text:
                values = [[{}, {}]]
        for value in values:
            out = io.BytesIO()
            fastavro.schemaless_writer(out, fastavro.parse_schema(schema), {"x": value})
            yield bytes([place]) + out.getvalue()


def avro_schemas():
    for of in field_types():
        yield json.dumps({"type": "record", "name": "R", "namespace": "a.b", "fields": [{"name": "x", "type": json.loads(of), "doc": "d"}]}).encode()
    yield b'{"type":"record","name":"a.R","aliases":["S"],"fields":[{"name":"r","type":["null","R"],"default":null},{"name":"e","type":{"type":"enum","name":"E","symbols":["A"],"default":"A"}},{"name":"f","type":"E","sensitive":true}]}'
    yield b'{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}'
    yield b'"int"'


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    return varint(number << 3) + varint(value & (2**64 - 1))


def protobufs():
    new = [
        field(1, 1) + field(2, -1) + field(3, 3) + field(6, 2**64 - 1) + field(8, 1.5) + field(9, "é".encode()) + field(10, b"\xff"),
        b"\x25\x01\x00\x00\x00\x2d\xff\xff\xff\xff\x3d\x00\x00\xc0\x3f" + field(11, 2) + field(11, 9),
        field(12, field(12, field(9, b"x"))) + field(13, b"\x01\x02\x03") + field(14, b"a") + field(14, b"b"),
        field(15, field(1, b"k") + field(2, field(2, 7))) + field(16, field(1, 5) + field(2, 1)) + field(17, 0) + field(18, b"l"),
        field(19, b"") + field(20, field(1, b"t.x/All") + field(2, field(2, 1))) + field(21, field(1, 1) + field(2, 500_000_000)),
        field(20, field(1, b"t/google.protobuf.Timestamp") + field(2, field(1, 1))) + field(22, field(1, b"a.b") + field(1, b"c")),
        field(23, field(1, field(1, b"k") + field(2, field(2, 1.0)))) + field(24, field(1, 0)) + field(25, field(1, field(3, b"v"))),
        field(26, field(1, 1_356_998_400) + field(2, 5)) + field(27, field(1, 9)) + field(28, field(1, 1) + field(2, b"b")),
        field(99, 1) + field(98, b"unknown"),
    ]
    old = [
        field(1, 7) + field(2, b"n") + field(3, 1) + field(3, b"\x01\x02") + b"\x23" + field(5, 1) + b"\x24",
        field(1, 7) + field(100, b"more") + field(101, field(1, 1)),
        field(2, b"no id"),
    ]
    return [b"\0" + body for body in new] + [b"\1" + body for body in old]


PROTOS = [
    'syntax = "proto3"; package a.b; import "google/protobuf/timestamp.proto"; message M { string s = 1; repeated int32 n = 2; map<string, M> m = 3; google.protobuf.Timestamp t = 4; oneof o { bytes b = 5; E e = 6; } enum E { Z = 0; } }',
    'syntax = "proto2"; message M { required int32 a = 1 [default = 7]; optional group G = 2 { optional float f = 1; } extensions 10 to 20; reserved 5, 7 to 9; } extend M { optional string x = 10; }',
    'edition = "2023"; message M { int32 a = 1; }',
    'syntax = "proto3"; message A { message B { message C { A a = 1; } } } service S { rpc R (A) returns (stream A); }',
]


def protobuf_schemas():
    for proto in PROTOS:
        yield b"\1" + proto.encode()
    name = lambda text: field(1, text.encode())
    of = lambda number, kind, label=1, more=b"": field(2, name(f"f{number}") + field(3, number) + field(4, label) + field(5, kind) + more)
    message = field(4, name("M") + of(1, 5) + of(2, 9, 3) + of(3, 11, 1, field(6, b".p.M")))
    yield b"\0" + field(1, name("m.proto") + field(2, b"p") + message + field(12, b"proto3"))
    yield b"\0" + field(1, name("m.proto") + message)


def confluents():
    frame = lambda id, data: b"\0" + struct.pack(">I", id) + data
    yield b"\0" + frame(0, b'{"a":1}')
    yield b"\1" + frame(1, b"\x02x\x0e")
    yield b"\2" + frame(2, b"\0" + field(1, b"x") + field(2, field(1, b"y")))
    yield b"\2" + frame(2, b"\x06\x00\x00\x00" + field(1, 1))
    yield b"\2" + frame(2, b"\x02\x02" + field(1, 0))
    yield b"\1" + frame(3, b"\x02x")
    yield b"\0" + frame(9, b"{}")
    yield b"\1" + b'{"a":1}'


def contents():
    plain = b'{"a":"' + b"ab" * 20 + b'"}'
    bare = zlib.compressobj(9, zlib.DEFLATED, -15)
    zstd = bytes.fromhex("28b52ffd") + bytes.fromhex("200a510000") + b"0123456789"
    for choice, body in [
        (0, gzip.compress(plain, mtime=0)),
        (0, gzip.compress(b"{}", mtime=0) * 2),
        (0, gzip.compress(b" " * 5000, mtime=0)),
        (1, zlib.compress(plain)),
        (1, bare.compress(plain) + bare.flush()),
        (2, zstd),
        (2, zstd * 2),
        (0xF0, b"plain"),
        (0xF1, b"plain" * 9),
        (0xF2, b"plain" * 9),
    ]:
        yield bytes([choice]) + body


def json_schemas():
    text = (ROOT / "src/json_schema.rs").read_text()
    count = len(re.findall(r'^    r#+"', text, re.M))
    events = [
        b'{"a":1,"b":"xyz"}', b'[1,"a",null,{"x":[1,2.0],"y":true},0.1,1000]', b"[1,1.0,2]", b"[0.03,6,9007199254740993]",
        b'["x",null,3,4]', b'{"next":{"next":1},"c":2,"d":"e"}', b'["2013-01-01T00:00:00Z","2013-01-01","10:00:00Z","P1D","a@b.c","1.2.3.4"]',
        b'"abc"', b"7", b'{"a":[1,{"b":2.5}],"c":"\xc3\xa9"}',
    ]
    for choice in range(count):
        for event in events[choice % 3 :: 3]:
            yield bytes([choice]) + event


def mended():
    short = lambda text: bytes([len(text)]) + text
    long = lambda some: struct.pack(">I", len(some)) + some
    frame = lambda kind, channel, payload: bytes([kind, 0, channel]) + long(payload) + b"\xce"
    deliver = lambda tag, key: frame(1, 1, b"\0\x3c\0\x3c" + short(b"c") + struct.pack(">Q", tag) + b"\0" + short(b"x") + short(key))
    header = lambda section: frame(2, 1, b"\0\x3c" + bytes(9) + b"\2" + section)
    body = frame(3, 1, b"{}")
    table = short(b"k") + b"S" + long(b"v") + short(b"\xff") + b"F" + long(short(b"n") + b"A" + long(b"V" + b"I\0\0\0\1"))
    types = b"".join(short(bytes([kind])) + bytes([kind]) + bytes(width) for kind, width in [(116, 1), (98, 1), (115, 2), (73, 4), (108, 8), (102, 4), (100, 8), (68, 5), (84, 8), (86, 0)])
    nested = b"\1kV"
    for _ in range(20):
        nested = b"\1kF" + long(nested)
    for sizes, stream in [
        (b"\xff\xff\xff", deliver(1, b"key") + header(b"\x80\0" + short(b"text/plain")) + body),
        (b"\0\3\7", deliver(1, b"\xff") + header(b"\x20\0" + long(table)) + body),
        (b"\x10\x20\x30", deliver(2, b"k") + header(b"\x20\0" + long(types)) + body),
        (b"\x05\x05\x05", deliver(2, b"k") + header(b"\x20\0" + long(nested)) + body),
        (b"\x40\x01\x09", deliver(3, b"k") + header(b"\x80\0" + b"\x09too") + body + frame(8, 0, b"")),
        (b"\x07\x0c\x01", frame(1, 0, b"\0\x0a\0\x1e\7\xff\0\0\x10\0\0\x3c") + frame(1, 1, b"\0\x3c\0\x47" + bytes(8) + b"\0\0\1k\0\0\0\0")),
        (b"\x02\x02\x02", deliver(1, b"k") + header(b"\x98\x80" + short(b"t") + b"\2\5" + short(b"id\xe2\x82")) + body),
    ]:
        yield sizes + stream


def headers():
    yield b'\1{"x-source":{"S":"a\\"tc"},"x":{"l":"3"},"x":{"F":{"on":{"t":true}}},"raw":{"S":{"base64":"/w=="}}}'
    yield b'\1{"p":{"D":{"scale":2,"value":1234}},"r":{"d":1.0},"l":{"A":[{"V":null},{"x":"AQI="}]},"f":{"f":"0x7fc00000"}}'
    yield b'\1{"a":{"b":-1},"b":{"B":255},"c":{"s":-2},"d":{"u":3},"e":{"I":4},"f":{"i":5},"g":{"T":"6"},"h":{"d":"0x7ff0000000000000"}}'
    yield b"\0\3\2ab\7" + bytes(range(8)) + b"\1c\x0f\2\1d\x0e\3\0\1\x10\x0b\3x\xffz\1e\x09" + struct.pack(">d", 1e300)
    yield b"\0\1\1a\x08\x7f\xc0\0\1\1\1b\x0a\2\0\0\4\xd2"


def cloud_events():
    whole = '"specversion":"1.0","id":"a","source":"/s","type":"t"'
    for choice, members in [
        (0, whole + ',"data":{"n":1.50},"time":"2026-01-02T03:04:05Z","retries":3,"urgent":true,"subject":null'),
        (0, whole + ',"data_base64":"e30=","dataschema":"https://x/1","datacontenttype":"application/json"'),
        (2, whole + ',"datacontenttype":"text/plain; charset=utf-8","data":"{\\"n\\":1}"'),
        (4, whole + ',"datacontenttype":"application/x+json","data":"text"'),
        (6, whole + ',"data":null'),
        (2, whole + ',"data":1,"data_base64":"AA=="'),
        (0, whole.replace("1.0", "0.3") + ',"id2":[],"x":1.5,"data":1'),
        (2, '"id":"a","source":"/s","type":7,"time":5'),
        (8, whole),
        (10, whole),
    ]:
        yield bytes([choice]) + b"{" + members.encode() + b"}"
    yield b'\0[{"specversion":"1.0"}]'
    # Media types of their own, of at most eleven bytes.
    yield bytes([12, 9]) + b"text/json" + b"{" + whole.encode() + b',"data":{"n":1}}'
    yield bytes([13, 10]) + b"text/plain" + b"\4" + b"".join(bytes([place * 5, 0]) for place in range(4))
    # Prefix and name, then a text or a header of any type.
    needed = b"".join(bytes([place * 5 + prefix, 0]) for place, prefix in enumerate([0, 1, 2, 3]))
    yield b"\5\4" + needed
    yield b"\3\7" + needed + bytes([20, 1, 7]) + struct.pack(">q", 1_704_103_200_123) + bytes([40, 1, 0, 1]) + bytes([36, 2, 13, 2, 0, 255])
    yield b"\1\6" + needed + bytes([5, 1, 11, 1, 98]) + bytes([45, 0])


def pointers():
    document = b'{"a":[1,{"b/c":"x","~":null}],"":{"0":true}}'
    for pointer in [b"/a/1/b~1c", b"/a/1/~0", b"//0", b"", b"/a/01", b"/a/+1", b"/a/-", b"/a/2", b"/~2", b"a"]:
        yield pointer + b"\n" + document
    yield b"/1/0\n[0,[true]]"


def answers():
    for status, body in [
        (0, b'{"schema":"{}","schemaType":"JSON","references":[{"name":"a","subject":"b","version":1}]}'),
        (0, b'{"schema":"\\"string\\"","id":7}'),
        (0, b'{"schema":"syntax","schemaType":"PROTOBUF","references":null}'),
        (0, b'{"schema":7}'),
        (1, b'{"error_code":40403,"message":"Schema 7 not found"}'),
        (1, b'{"error_code":404,"message":"HTTP 404"}'),
        (402, b'{"error_code":40101}'),
        (502, b"busy"),
    ]:
        yield struct.pack(">H", status) + body


def fixes():
    body = b'\1{"a":{"b":"1,5","t":"2013-01-01T00:00:00Z"},"c":["x","1"],"n":12.50}'
    for text in [
        '[[step]]\ncast = { path = "/c/[*]", to = "integer" }\nwhen = { path = "/c/0", is = "present" }',
        '[[step]]\nrename = { from = "/a/b", to = "/z" }\n[[step]]\nmove = { from = "/n", to = "/a/n" }',
        '[[step]]\ndefault = { path = "/d/e", value = [1, null] }\n[[step]]\nremove = { path = "/c" }',
        '[[step]]\nparse = { path = "/a/t", as = "rfc3339", to = "unix_millis" }\n[[step]]\nparse = { path = "/a/b", as = "number_decimal_comma" }',
        '[[step]]\nscale = { path = "/n", by = "0.01" }\n[[step]]\nmap = { path = "/c/[*]", values = { x = 1 }, otherwise = "keep" }',
        '{"patch":[{"op":"add","path":"/q","value":1},{"op":"copy","from":"/a","path":"/r"},{"op":"test","path":"/n","value":12.5}]}',
        '{"header":[{"set":{"name":"x","value":1}},{"remove":{"name":"x-attempt"}},{"rename":{"from":"x-source","to":"y"}}],"property":[{"set":{"name":"type","value":"t"}}]}',
    ]:
        yield text.encode() + body


def configs():
    base = '[rabbitmq]\nurl = "amqp://u:${PASSWORD}@h/v"\n[store]\nurl = "file:///var/lib/pq"\n'
    pipeline = '[[pipeline]]\nname = "flights"\nqueue = "flights"\nformat = "json"\nschema = "s/flight.v1.json"\n'
    yield (base + pipeline).encode()
    yield (base + pipeline + 'prefetch = 5000\nmask = ["/a/b"]\n[pipeline.flush]\nrows = 1000\nbytes = "64MiB"\nage = "30s"\n').encode()
    yield (base + pipeline + '[pipeline.breaker]\n[http]\nlisten = "0.0.0.0:9000"\n[run]\ndrain_timeout = "20s"\n').encode()
    yield (base + '[registry]\nurls = ["http://r:8081"]\nusername = "u"\npassword = "${UNSET_P}"\n' + pipeline.replace("json\"", "avro\"", 1)).encode()
    yield b'[rabbitmq]\nurl = 5\n[rabbit]\nx = 1\n[store]\nurl = "s3://b/p"\nregion = "x"\n[dlq]\n[log]\nformat = "json"\n'
    yield b"[[pipeline]]\nname = \"a b\"\n[pipeline]\n"
    yield b"= nothing\n\"a\\nb\" = 1\n"


TARGETS = {
    "json": jsons, "msgpack": msgpacks, "avro": avros, "avro_schema": avro_schemas, "protobuf": protobufs,
    "protobuf_schema": protobuf_schemas, "confluent": confluents, "content": contents, "json_schema": json_schemas,
    "cloud_events": cloud_events, "mender": mended, "headers": headers, "pointer": pointers, "registry": answers, "fix": fixes, "config": configs,
}


def main():
    for name, inputs in TARGETS.items():
        directory = pathlib.Path(sys.argv[1]) / name
        directory.mkdir(parents=True, exist_ok=True)
        for seed in inputs():
            (directory / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


if __name__ == "__main__":
    main()
