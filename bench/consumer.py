"""The consumer that one writes in Python: pika, orjson, jsonschema-rs and PyArrow, with batches and cumulative acks.

What `make bench` compares with. It does the least that the work asks for: events are validated, formats included; good
ones become Parquet files, one a partition and batch, compressed by zstd; bad ones become rows of their own with the first
reason; then the batch is acked. It does not survive a crash without repeats, look for repeats, or retry.

`python bench/consumer.py URI QUEUE EVENTS PREFETCH BATCH WORKLOAD DIRECTORY`; with `-` for the directory it throws the
events away, which tells what the client library costs.
"""

import io
import json
import os
import sys
from collections import defaultdict
from pathlib import Path

import jsonschema_rs
import orjson
import pika
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet

import workloads

DEAD_LETTER = pa.schema([("body", pa.binary()), ("path", pa.string()), ("message", pa.string())])


def arrow_type(schema: dict) -> pa.DataType:
    """The column for what a JSON Schema describes; null is allowed everywhere."""
    kinds = schema.get("type", "string")
    kind = kinds if isinstance(kinds, str) else next(kind for kind in kinds if kind != "null")
    match kind:
        case "object":
            return pa.struct([pa.field(name, arrow_type(member)) for name, member in schema["properties"].items()])
        case "array":
            return pa.list_(arrow_type(schema["items"]))
        case "integer":
            return pa.int64()
        case "number":
            return pa.float64()
        case "boolean":
            return pa.bool_()
    # Of instants, as dates have no time.
    return pa.timestamp("us", "UTC") if schema.get("format") == "date-time" else pa.string()


def resolved(schema: dict, root: dict) -> dict:
    """`schema` with references into the same document replaced by what they name."""
    if "$ref" in schema:
        target = root
        for name in schema["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        return resolved(target, root)
    return {
        key: {name: resolved(member, root) for name, member in value.items()}
        if key == "properties"
        else resolved(value, root)
        if key == "items"
        else value
        for key, value in schema.items()
    }


class Nothing:
    """What becomes of events that are thrown away."""

    good = bad = 0

    def write(self, bodies: list[bytes]) -> None:
        pass


class Archive:
    """Validates batches of bodies and writes them below `directory`."""

    def __init__(self, workload: workloads.Workload, directory: Path):
        self.validator = jsonschema_rs.validator_for(workload.schema, validate_formats=True)
        columns = resolved(workload.schema, workload.schema)["properties"]
        # PyArrow reads the bodies again, which costs no more than columns made of Python's objects, and far less where the
        # columns are many; instants become instants by it.
        self.options = pa.json.ParseOptions(
            explicit_schema=pa.schema([(name, arrow_type(schema)) for name, schema in columns.items()]),
            unexpected_field_behavior="ignore",
        )
        by = workload.partition_by[0].removeprefix("/")
        self.partition = (lambda event: event[self.time][:10]) if by == "date" else (lambda event: event[by])
        self.partition_name = by
        self.time = workload.event_time.removeprefix("/")
        self.directory = directory
        self.batches = self.good = self.bad = 0

    def write(self, bodies: list[bytes]) -> None:
        partitions, bad = defaultdict(list), []
        loads, is_valid, partition = orjson.loads, self.validator.is_valid, self.partition
        for body in bodies:
            try:
                event = loads(body)
            except orjson.JSONDecodeError as error:
                bad.append((body, "", str(error)))
                continue
            if is_valid(event):
                partitions[partition(event)].append(body)
            else:
                error = next(self.validator.iter_errors(event))
                bad.append((body, "/".join(map(str, error.instance_path)), error.message))
        for value, good in partitions.items():
            table = pa.json.read_json(io.BytesIO(b"\n".join(good)), parse_options=self.options)
            self.save(table, f"data/{self.partition_name}={value}")
            self.good += len(good)
        if bad:
            self.save(pa.table(list(map(list, zip(*bad))), schema=DEAD_LETTER), "dlq")
            self.bad += len(bad)
        self.batches += 1

    def save(self, table: pa.Table, place: str) -> None:
        directory = self.directory / place
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.batches:06}.parquet"
        # Whole or not at all, and on the disk before the ack.
        with open(f"{path}.part", "wb") as file:
            pa.parquet.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        os.rename(f"{path}.part", path)


def drain(uri: str, queue: str, events: int, prefetch: int, batch: int, archive: Archive | Nothing) -> None:
    """Takes so many messages from the queue, in batches that are written and then acked."""
    connection = pika.BlockingConnection(pika.URLParameters(uri))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=prefetch)
    bodies: list[bytes] = []
    received = 0

    def take(channel, method, _properties, body):
        nonlocal received
        bodies.append(body)
        received += 1
        if len(bodies) == batch or received == events:
            archive.write(bodies)
            channel.basic_ack(method.delivery_tag, multiple=True)
            bodies.clear()
        if received == events:
            channel.stop_consuming()

    if events:
        channel.basic_consume(queue, take)
        channel.start_consuming()
    connection.close()


def main() -> None:
    # One core, as the rest of this consumer: with more the same work costs more.
    pa.set_cpu_count(1)
    uri, queue, events, prefetch, batch, workload, directory = sys.argv[1:]
    archive = Nothing() if directory == "-" else Archive(workloads.BY_NAME[workload], Path(directory))
    drain(uri, queue, int(events), int(prefetch), int(batch), archive)
    print(json.dumps({"archived": archive.good, "dead_lettered": archive.bad}))


if __name__ == "__main__":
    main()
