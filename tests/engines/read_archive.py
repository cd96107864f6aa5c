"""Reads one archive in DuckDB, Polars and PyArrow, as a hive-partitioned tree and file by file, and compares.

    python read_archive.py DIRECTORY [--order-by COLUMN]

DIRECTORY is `data/<pipeline>/v<major>`. Prints one line of JSON, `{"rows": .., "columns": {name: type}, "files": ..,
"partitions": {engine: {name: type}}, "engines": {..}, "equal": true}`, and exits with 0; or `"equal": false` with up to
twenty differences, and exits with 1.

Rows are compared in one canonical form: sorted by `_event_id`; times as microseconds since 1970 in UTC, dates as days,
decimals as their digits, floats by their bits, bytes in hexadecimal, structs as lists of fields in order. Types are
compared by canonical names, so that a column which one engine takes for another type is a difference even where its
values look the same. Partition columns are compared by their text and apart from the types: engines infer those, and do
not agree (docs/decisions/0005).
"""

import argparse
import datetime
import decimal
import json
import math
import struct
import sys
from pathlib import Path

import duckdb
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.parquet

DIFFERENCES_MAX = 20
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def main() -> int:
    parser = argparse.ArgumentParser(description="compare what three engines read of one archive")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--order-by", default="_event_id", help="the column to sort by; ties are sorted by the whole row")
    options = parser.parse_args()
    report = compare(options.directory, options.order_by)
    print(json.dumps(report))
    return 0 if report["equal"] else 1


def compare(directory: Path, order_by: str) -> dict:
    files = sorted(directory.rglob("*.parquet"))
    if not files:
        return {"rows": 0, "files": 0, "equal": False, "differences": [f"no Parquet file below {directory}"]}
    partitions = partition_names(directory, files[0])
    trees, parts = {}, {}
    for name, engine in ENGINES.items():
        try:
            trees[name] = engine.tree(directory)
            parts[name] = [engine.file(file) for file in files]
        except Exception as error:  # whatever an engine throws is a difference, with its own words
            return {"files": len(files), "equal": False, "differences": [f"{name} cannot read it: {error}"]}
    reference = next(iter(ENGINES))

    differences: list[str] = []
    for name in ENGINES:
        differences += differ(f"{name} against {reference}, tree", trees[reference], trees[name], order_by, partitions)
        for file, one, other in zip(files, parts[reference], parts[name]):
            differences += differ(f"{name} against {reference}, {file.name}", one, other, order_by, [])
        whole = Table(parts[name][0].types, [row for part in parts[name] for row in part.rows])
        differences += differ(f"{name}, tree against its files", whole, trees[name].without(partitions), order_by, [])

    return {
        "rows": len(trees[reference].rows),
        "columns": trees[reference].without(partitions).types,
        "files": len(files),
        "partitions": {name: {key: table.types.get(key) for key in partitions} for name, table in trees.items()},
        "engines": {"duckdb": duckdb.__version__, "polars": polars.__version__, "pyarrow": pyarrow.__version__},
        "equal": not differences,
        **({"differences": differences[:DIFFERENCES_MAX]} if differences else {}),
    }


def partition_names(directory: Path, file: Path) -> list[str]:
    """The partition columns, as the directories between `directory` and `file` name them."""
    return [part.split("=", 1)[0] for part in file.relative_to(directory).parts[:-1] if "=" in part]


class Table:
    """Columns with canonical types, and rows of canonical values in the order of the columns."""

    def __init__(self, types: dict[str, str], rows: list[list]):
        self.types = types
        self.rows = rows

    def column(self, name: str) -> list:
        position = list(self.types).index(name)
        return [row[position] for row in self.rows]

    def without(self, names: list[str]) -> "Table":
        kept = [position for position, name in enumerate(self.types) if name not in names]
        types = {name: kind for name, kind in self.types.items() if name not in names}
        return Table(types, [[row[position] for position in kept] for row in self.rows])

    def sorted_by(self, name: str) -> list[str]:
        """The rows as JSON text, by that column and then by themselves, for its values may be null or repeat."""
        texts = [json.dumps(row) for row in self.rows]
        if name not in self.types:
            return sorted(texts)
        return [text for _, text in sorted(zip(map(json.dumps, self.column(name)), texts))]


def differ(where: str, one: Table, other: Table, order_by: str, partitions: list[str]) -> list[str]:
    """What sets `other` apart from `one`, in words."""
    found = []
    for name in partitions:
        texts = [sorted({partition_text(value) for value in table.column(name)}) for table in (one, other)]
        if texts[0] != texts[1]:
            found.append(f"{where}: partition {name} holds {texts[1]} rather than {texts[0]}")
    one, other = one.without(partitions), other.without(partitions)
    if list(one.types) != list(other.types):
        found.append(f"{where}: columns {list(other.types)} rather than {list(one.types)}")
    for name, kind in one.types.items():
        if other.types.get(name, kind) != kind:
            found.append(f"{where}: column {name} is {other.types[name]} rather than {kind}")
    if len(one.rows) != len(other.rows):
        return [*found, f"{where}: {len(other.rows)} rows rather than {len(one.rows)}"]
    unlike = [(a, b) for a, b in zip(one.sorted_by(order_by), other.sorted_by(order_by)) if a != b]
    return found + [f"{where}: row {b} rather than {a}" for a, b in unlike[:DIFFERENCES_MAX]]


def partition_text(value) -> str:
    """The text of a partition's value: engines take `date=2013-01-07` for a date or for text."""
    if isinstance(value, list) and value[0] == "date":
        return (EPOCH + datetime.timedelta(days=value[1])).date().isoformat()
    return str(value)


# The engines


class DuckDb:
    """DuckDB, through its own Python values: nothing of Arrow is in between."""

    def tree(self, directory: Path) -> Table:
        return self.table(f"read_parquet('{directory}/**/*.parquet', hive_partitioning = true)")

    def file(self, file: Path) -> Table:
        return self.table(f"read_parquet('{file}', hive_partitioning = false)")

    def table(self, source: str) -> Table:
        with duckdb.connect() as connection:
            # How instants are shown, not what they are.
            connection.execute("SET TimeZone = 'UTC'")
            described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
            types = {name: duckdb_kind(duckdb.sqltype(kind)) for name, kind, *_ in described}
            rows = connection.execute(f"SELECT * FROM {source}").fetchall()
            return Table(types, [[canonical(value) for value in row] for row in rows])


def duckdb_kind(kind) -> str:
    name = kind.id
    if name == "struct":
        return "struct<" + ",".join(f"{field}:{duckdb_kind(child)}" for field, child in kind.children) + ">"
    if name == "list":
        return f"list<{duckdb_kind(kind.children[0][1])}>"
    if name == "decimal":
        precision, scale = (child for _, child in kind.children)
        return f"decimal({precision},{scale})"
    plain = {
        "varchar": "text",
        "bigint": "int64",
        "double": "float64",
        "boolean": "bool",
        "blob": "bytes",
        "timestamp with time zone": "timestamp(us,UTC)",
    }
    return plain.get(name, name)


class Polars:
    """Polars, through its own Python values."""

    def tree(self, directory: Path) -> Table:
        return self.table(polars.scan_parquet(directory, hive_partitioning=True).collect())

    def file(self, file: Path) -> Table:
        return self.table(polars.read_parquet(file, hive_partitioning=False))

    def table(self, frame: polars.DataFrame) -> Table:
        types = {name: polars_kind(kind) for name, kind in frame.schema.items()}
        return Table(types, [[canonical(value) for value in row] for row in frame.iter_rows()])


def polars_kind(kind) -> str:
    if isinstance(kind, polars.Struct):
        return "struct<" + ",".join(f"{field.name}:{polars_kind(field.dtype)}" for field in kind.fields) + ">"
    if isinstance(kind, polars.List):
        return f"list<{polars_kind(kind.inner)}>"
    if isinstance(kind, polars.Decimal):
        return f"decimal({kind.precision},{kind.scale})"
    if isinstance(kind, polars.Datetime):
        return f"timestamp({kind.time_unit},{kind.time_zone})"
    plain = {
        polars.String: "text",
        polars.Int64: "int64",
        polars.Float64: "float64",
        polars.Boolean: "bool",
        polars.Binary: "bytes",
        polars.Date: "date",
    }
    return plain.get(kind.base_type(), str(kind))


class PyArrow:
    """PyArrow's datasets, and its reader of single files."""

    def tree(self, directory: Path) -> Table:
        return self.table(pyarrow.dataset.dataset(directory, format="parquet", partitioning="hive").to_table())

    def file(self, file: Path) -> Table:
        with pyarrow.parquet.ParquetFile(file) as opened:
            return self.table(opened.read())

    def table(self, table: pyarrow.Table) -> Table:
        types = {field.name: arrow_kind(field.type) for field in table.schema}
        columns = [[canonical(value) for value in column.to_pylist()] for column in table.columns]
        return Table(types, [list(row) for row in zip(*columns)])


def arrow_kind(kind: pyarrow.DataType) -> str:
    if pyarrow.types.is_struct(kind):
        fields = [kind.field(position) for position in range(kind.num_fields)]
        return "struct<" + ",".join(f"{field.name}:{arrow_kind(field.type)}" for field in fields) + ">"
    if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
        return f"list<{arrow_kind(kind.value_type)}>"
    if pyarrow.types.is_dictionary(kind):
        return arrow_kind(kind.value_type)
    if pyarrow.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pyarrow.types.is_timestamp(kind):
        return f"timestamp({kind.unit},{'UTC' if kind.tz == '+00:00' else kind.tz})"
    # Sixteen bytes or any number of them: the other engines have one type for both.
    if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind) or pyarrow.types.is_fixed_size_binary(kind):
        return "bytes"
    plain = {"string": "text", "large_string": "text", "double": "float64", "date32[day]": "date"}
    return plain.get(str(kind), str(kind))


ENGINES = {"duckdb": DuckDb(), "polars": Polars(), "pyarrow": PyArrow()}


# Values


def canonical(value):
    """`value` as JSON that is the same whatever engine it came from, and not the same for values of unlike types."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        # By its bits: 0.0 and -0.0 are not the same; every NaN is.
        return ["float", "nan" if math.isnan(value) else struct.pack(">d", value).hex()]
    if isinstance(value, decimal.Decimal):
        return ["decimal", str(value)]
    if isinstance(value, datetime.datetime):
        instant = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
        micros = (instant - EPOCH) // datetime.timedelta(microseconds=1)
        return ["micros" if value.tzinfo else "micros without zone", micros]
    if isinstance(value, datetime.date):
        return ["date", (value - EPOCH.date()).days]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return ["bytes", bytes(value).hex()]
    if isinstance(value, dict):
        return ["struct", [[name, canonical(inner)] for name, inner in value.items()]]
    if isinstance(value, (list, tuple)):
        return [canonical(inner) for inner in value]
    raise TypeError(f"no canonical form for {type(value).__name__}")


if __name__ == "__main__":
    sys.exit(main())
