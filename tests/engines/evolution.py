"""Counts rows of a dataset whose later files have more columns, in DuckDB, Polars and PyArrow, as docs/query.md reads it.

    python evolution.py DIRECTORY

Prints a line for each engine: all rows, those with a `channel`, and those with a `since` of the customer.
"""

import sys
from pathlib import Path

import duckdb
import polars
import pyarrow
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet

directory = Path(sys.argv[1])
tree = f"{directory}/**/*.parquet"
files = sorted(directory.rglob("*.parquet"))

rows = f"read_parquet('{tree}', hive_partitioning = true, union_by_name = true)"
print(*duckdb.sql(f"SELECT count(*), count(channel), count(customer.since) FROM {rows}").fetchall()[0])

# The newest file's schema is that of the dataset: columns are never fewer.
newest = max(files, key=lambda file: str(pyarrow.parquet.read_schema(file).field("customer").type).count(":"))
schema = polars.read_parquet_schema(newest)
scanned = polars.scan_parquet(
    tree,
    schema=schema,
    missing_columns="insert",
    extra_columns="ignore",
    cast_options=polars.ScanCastOptions(missing_struct_fields="insert"),
)
since = polars.col("customer").struct.field("since")
print(*scanned.select(polars.len(), polars.col("channel").count(), since.count().alias("since")).collect().row(0))

unified = pyarrow.dataset.dataset(directory, format="parquet", schema=pyarrow.parquet.read_schema(newest))
table = unified.to_table(columns=["channel", "customer"])
since = pyarrow.compute.struct_field(table["customer"], "since")
print(table.num_rows, table.num_rows - table["channel"].null_count, len(since) - since.null_count)
