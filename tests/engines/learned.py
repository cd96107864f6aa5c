"""Holds an archive whose schema was learned against the events it was made of, by DuckDB.

    python learned.py DIRECTORY EVENTS.ndjson.gz

Each event is one row, with the same values in the same places, but for null, which is nothing; and nothing is in `_extra`.
Prints how many there are.
"""

import gzip
import json
import sys

import duckdb

SYSTEM = ["date", "_event_time", "_ingested_at", "_body_hash"]


def without_nulls(value):
    if isinstance(value, dict):
        held = {name: without_nulls(member) for name, member in value.items()}
        return {name: member for name, member in held.items() if member is not None} or None
    return value


with gzip.open(sys.argv[2], "rt") as lines:
    published = {event["id"]: event for event in map(json.loads, lines)}

time = "strftime(make_timestamp(epoch_us(occurred_at)), '%Y-%m-%dT%H:%M:%SZ') AS occurred_at"
rows = duckdb.sql(
    f"SELECT * EXCLUDE ({', '.join(SYSTEM)}) REPLACE ({time})"
    f" FROM read_parquet('{sys.argv[1]}/**/*.parquet', hive_partitioning = true, union_by_name = true)"
)
names, found = rows.columns, rows.fetchall()
for values in found:
    row = dict(zip(names, values))
    assert row["_extra"] is None and not row["_redelivered"], row
    event = without_nulls({name: value for name, value in row.items() if not name.startswith("_")})
    assert event == without_nulls(published.pop(row["id"])), event
assert not published, f"{len(published)} are not there"
print(len(found))
