"""Rows of the archive as plain JSON, for comparing them with what producers wrote."""

import datetime
import decimal
import glob
import json
import sys

import pyarrow.parquet


def plain(value):
    """A value as it is compared: without members that are null, times as text."""
    if isinstance(value, dict):
        members = ((name, plain(member)) for name, member in value.items())
        return {name: member for name, member in members if member is not None}
    if isinstance(value, list):
        return [plain(element) for element in value]
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    return value


def parsed(value, expected):
    """With columns of JSON text, however deep, as what they say: where something else than text is expected."""
    if isinstance(value, str) and not isinstance(expected, str):
        return json.loads(value)
    if isinstance(value, dict) and isinstance(expected, dict):
        return {name: parsed(member, expected.get(name)) for name, member in value.items()}
    if isinstance(value, list) and isinstance(expected, list) and len(value) == len(expected):
        return [parsed(*pair) for pair in zip(value, expected)]
    return value


def rows(dataset):
    """Events of all files below the directory, by their id; `_extra` with them."""
    found = {}
    for path in glob.glob(f"{dataset}/**/*.parquet", recursive=True):
        table = pyarrow.parquet.read_table(path, partitioning=None)
        names = [name for name in table.column_names if not name.startswith("_") or name == "_extra"]
        for row in table.select(names).to_pylist():
            extra = row.pop("_extra", None)
            found[row["id"]] = plain(row | ({"_extra": json.loads(extra)} if extra else {}))
    return found


def check(store, lines):
    """Exits with the first order that is not what it was; else prints how many there are."""
    with open(lines, encoding="utf-8") as file:
        expected = {line["id"]: line["event"] for line in map(json.loads, file)}
    found = rows(store)
    if found.keys() != expected.keys():
        sys.exit(f"{len(found)} of {len(expected)} orders")
    for name, event in expected.items():
        for member in sorted(event.keys() | found[name].keys()):
            was = event.get(member)
            now = parsed(found[name].get(member), was)
            if json.dumps(was, sort_keys=True) != json.dumps(now, sort_keys=True):
                sys.exit(f"{name}, {member}: {json.dumps(now)[:500]}\nis not {json.dumps(was)[:500]}")
    print(len(found))
