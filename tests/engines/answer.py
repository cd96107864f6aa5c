"""Runs all recipes of one engine; `scripts/engines` compares the answers.

    python answer.py ENGINE STORE

Prints a line of JSON for each recipe as soon as it has run: `{"name": .., "kind": .., "seconds": .., "rows": [..]}`, or
`"error": ".."` in place of the rows; before them `{"version": .., "seconds": ..}`. Rows are in canonical form and sorted.
"""

import ast
import io
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import canonical
import recipes

ROOT = Path(__file__).resolve().parent.parent.parent
MEMORY_BYTES = 1_000_000_000
THREADS = 2


def main() -> None:
    name, store = sys.argv[1], Path(sys.argv[2])
    # What engines say while they start is not an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(line: dict) -> None:
        print(json.dumps(line), file=answers, flush=True)

    began = time.monotonic()
    engine = ENGINES[name]()
    say({"version": engine.version, "seconds": time.monotonic() - began})
    for recipe in recipes.read(ROOT / "docs" / "query.md", store)[name]:
        began = time.monotonic()
        try:
            result = {"rows": canonical.table(engine.run(recipe))}
        except Exception as error:  # whatever an engine throws is its answer, in its own words
            result = {"error": f"{type(error).__name__}: {error}"}
        say({"name": recipe.name, "kind": recipe.kind, "seconds": time.monotonic() - began, **result})


def statements(code: str) -> list[str]:
    """Statements of SQL; no text of a recipe holds a semicolon at the end of a line."""
    return [statement for statement in re.split(r";\s*$", code, flags=re.MULTILINE) if statement.strip()]


class Python:
    """Recipes in Python: their last expression is the answer, as in a notebook. What one defines, the next ones have."""

    def __init__(self) -> None:
        self.names: dict = {}

    def run_python(self, code: str):
        tree = ast.parse(code)
        last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "query.md", "exec"), self.names)
        return eval(compile(last, "query.md", "eval"), self.names) if last else None


class DuckDb:
    def __init__(self) -> None:
        import duckdb

        self.version = duckdb.__version__
        self.connection = duckdb.connect(config={"memory_limit": f"{MEMORY_BYTES}B", "threads": THREADS})

    def run(self, recipe: recipes.Recipe) -> list:
        for statement in statements(recipe.code):
            result = self.connection.execute(statement)
        return result.fetchall()


class Polars(Python):
    def __init__(self) -> None:
        super().__init__()
        import polars

        self.version = polars.__version__

    def run(self, recipe: recipes.Recipe) -> list:
        frame = self.run_python(recipe.code)
        return [] if frame is None else frame.rows()


class PyArrow(Python):
    def __init__(self) -> None:
        super().__init__()
        import pyarrow

        self.version = pyarrow.__version__

    def run(self, recipe: recipes.Recipe) -> list:
        return rows_of(self.run_python(recipe.code))


class ClickHouse:
    """ClickHouse in this process (chdb)."""

    def __init__(self) -> None:
        from chdb import session

        self.directory = tempfile.TemporaryDirectory()
        self.session = session.Session(self.directory.name)
        self.version = str(self.session.query("SELECT version()", "TSVRaw")).strip()
        self.session.query(f"SET max_threads = {THREADS}, max_memory_usage = {MEMORY_BYTES}")

    def run(self, recipe: recipes.Recipe) -> list:
        import pyarrow.ipc

        for statement in statements(recipe.code):
            answer = self.session.query(statement, "Arrow").bytes()
        return rows_of(pyarrow.ipc.open_file(io.BytesIO(answer)).read_all()) if answer else []


class DataFusion(Python):
    def __init__(self) -> None:
        super().__init__()
        import datafusion

        self.version = datafusion.__version__
        self.names["ctx"] = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(THREADS))

    def run(self, recipe: recipes.Recipe) -> list:
        if recipe.language == "sql":
            for statement in statements(recipe.code):
                frame = self.names["ctx"].sql(statement)
        else:
            frame = self.run_python(recipe.code)
        return [] if frame is None else rows_of(frame.to_arrow_table())


class Spark(Python):
    """Spark in local mode, its driver within 1 GB."""

    def __init__(self) -> None:
        super().__init__()
        from pyspark.sql import SparkSession

        self.directory = tempfile.TemporaryDirectory()
        session = SparkSession.builder.master(f"local[{THREADS}]").config("spark.driver.memory", "1g")
        for key, value in {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.shuffle.partitions": str(THREADS),
            "spark.sql.warehouse.dir": self.directory.name,
        }.items():
            session = session.config(key, value)
        self.session = session.getOrCreate()
        self.session.sparkContext.setLogLevel("ERROR")
        self.version = self.session.version

    def run(self, recipe: recipes.Recipe) -> list:
        for statement in statements(recipe.code):
            frame = self.session.sql(statement)
        # Instants come without their zone, in that of the process.
        return [tuple(row) for row in frame.collect()]


def rows_of(table) -> list:
    """The rows of an Arrow table, or what is a list of rows already."""
    if table is None or isinstance(table, list):
        return table or []
    # By position: two columns of an answer may have one name.
    columns = [column.to_pylist() for column in table.columns]
    return list(zip(*columns)) if columns else []


ENGINES = {
    "duckdb": DuckDb,
    "polars": Polars,
    "pyarrow": PyArrow,
    "clickhouse": ClickHouse,
    "datafusion": DataFusion,
    "spark": Spark,
}

if __name__ == "__main__":
    main()
