"""CloudEvents as the official SDK for Python makes them, and what must become of them.

`make COUNT` writes a line of JSON for each message: `content_type`, `headers` (of each its AMQP type and value), `body`
(base64), and what must stand in the archive: `id`, `time_us`, `attributes`, `amount`.
`check STORE FILE` compares the archive in STORE, as DuckDB reads it, with those lines.
"""

import base64
import datetime
import glob
import json
import sys

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
WAYS = 6


def tagged(value):
    """A header's value with RabbitMQ's letter for the type that clients in Python give it."""
    if isinstance(value, bool):
        return ["t", value]
    if isinstance(value, int):
        return ["l", value] if abs(value) >= 1 << 31 else ["I", value]
    return ["S", value]


def micros(time):
    return (time - EPOCH) // datetime.timedelta(microseconds=1)


def rfc3339(milliseconds):
    time = EPOCH + datetime.timedelta(milliseconds=milliseconds)
    fraction = f".{milliseconds % 1000:03}" if milliseconds % 1000 else ""
    return f"{time:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def message(number):
    from cloudevents.core.bindings import amqp, rabbitmq
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    time = EPOCH + datetime.timedelta(days=19_723 + number % 3, hours=10, milliseconds=number * 37)
    if number % 4 == 3:
        time += datetime.timedelta(microseconds=7)
    order = {"id": f"in-data-{number}", "amount": number / 4, "customer": {"email": f"c{number}@example.com"}}
    attributes = {
        "id": f"order-{number}",
        "source": f"/shop/{number % 3}",
        "type": "com.example.order.placed",
        "specversion": "1.0",
        "time": time,
        "datacontenttype": "application/json",
        "subject": f"orders/{number}",
        "dataschema": "https://shop.example.org/order/1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "retries": number % 5,
        "urgent": number % 2 == 0,
    }
    if number % 7 == 0:
        del attributes["subject"]
    way = number % WAYS
    data = json.dumps(order).encode() if way == 4 else order
    event, json_format = CloudEvent(attributes=dict(attributes), data=data), JSONFormat()
    shown = {name: value for name, value in attributes.items() if name != "time"}
    time_us = micros(time)
    shown["time"] = time.isoformat().replace("+00:00", "Z")
    if way in (0, 1):
        # As the binding for RabbitMQ has it: texts under `ce-`.
        made = rabbitmq.to_binary(event, json_format)
        shown = {name: value if isinstance(value, str) else str(value) for name, value in shown.items()}
        content_type, headers, body = made.content_type, made.headers, made.body
    elif way in (2, 3):
        # As the binding for AMQP has it: types of their own under `cloudEvents_`, times as milliseconds.
        made = amqp.to_binary(event, json_format)
        content_type, headers, body = made.properties["content-type"], made.application_properties, made.application_data
        milliseconds = headers["cloudEvents_time"]
        shown["time"], time_us = rfc3339(milliseconds), milliseconds * 1000
        if way == 3:
            headers = {name.replace("cloudEvents_", "cloudEvents:"): value for name, value in headers.items()}
    else:
        # The last has its data as base64.
        made = rabbitmq.to_structured(event, json_format)
        content_type, headers, body = made.content_type, made.headers, made.body
    return {
        "id": attributes["id"],
        "content_type": content_type,
        "headers": {name: tagged(value) for name, value in headers.items()},
        "body": base64.b64encode(body).decode(),
        "time_us": time_us,
        "attributes": shown,
        "amount": order["amount"],
    }


def check(store, lines):
    """Exits with the first event that is not what it was."""
    import duckdb

    with open(lines, encoding="utf-8") as file:
        expected = {line["id"]: line for line in map(json.loads, file)}
    files = glob.glob(f"{store}/data/**/*.parquet", recursive=True)
    rows = duckdb.sql(
        "SELECT _event_id, epoch_us(_event_time), _cloudevent::VARCHAR, amount, id "
        f"FROM read_parquet({files!r}, hive_partitioning = false)"
    ).fetchall()
    found = {row[0]: row[1:] for row in rows}
    if len(rows) != len(expected) or found.keys() != expected.keys():
        sys.exit(f"{len(rows)} rows of {len(expected)} events: {sorted(found.keys() ^ expected.keys())[:5]}")
    for name, line in expected.items():
        time_us, attributes, amount, inner = found[name]
        was = (line["time_us"], line["attributes"], line["amount"], name.replace("order", "in-data"))
        now = (time_us, json.loads(attributes), amount, inner)
        if was != now:
            sys.exit(f"{name}: {now}\nis not {was}")
        if list(json.loads(attributes))[:4] != ["specversion", "id", "source", "type"]:
            sys.exit(f"{name}: {attributes}")
    print(len(found))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        for count in range(int(sys.argv[2])):
            print(json.dumps(message(count)))
    else:
        check(sys.argv[2], sys.argv[3])
