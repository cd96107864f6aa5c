"""Measures Parqueduct and what one would use otherwise, in turn, so that what the machine does meanwhile meets all alike.

Run by `scripts/bench`, with a Python that has `scripts/requirements-bench.txt`. Writes `target/bench/summary.json` and prints
the ratios; `--docs` also writes the figures and the plot into docs/performance.md. See there for what is measured and how.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

sys.dont_write_bytecode = True

import jsonschema_rs
import orjson

import report
import subjects
from memory import Memory
from subjects import Broker, Cost, Failure, Tools
from workloads import ALL, BY_NAME, ROOT, Workload

STATE = ROOT / "target" / "bench"
EXCHANGE = "bench"
# Long enough for some flushes of the default, and for a start to be little beside it.
EVENTS = 120_000
ROUNDS = 5
# The part of `EVENTS` that each workload gets, by what its events weigh, and who consumes it. `pika` is the Python client
# alone, as `noop` is lapin alone.
PLAN = {
    "order": (1.0, ["noop", "file", "s3", "pika", "python"]),
    "flat": (1.5, ["noop", "file", "s3", "python"]),
    "flights": (0.75, ["noop", "file", "s3", "python"]),
    "wide": (0.15, ["noop", "file", "s3", "python"]),
    "bad-1": (0.75, ["noop", "file", "python"]),
    "bad-100": (0.75, ["noop", "file", "python"]),
    "partitions": (1.0, ["noop", "file", "python"]),
}
# Of files: no broker. Where all is bad there is nothing to compare.
INGEST = ["order", "flat", "flights", "wide", "bad-1"]


def main() -> None:
    options = arguments()
    try:
        if options.memory:
            Memory(tools(options), STATE, options.memory).run()
        else:
            Bench(options).run()
    except Failure as failure:
        sys.exit(f"bench: {failure}")


def arguments() -> argparse.Namespace:
    names = [workload.name for workload in ALL]
    default = os.environ.get
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0])
    parser.add_argument("--parqueduct", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--bench", type=Path, required=True, help=argparse.SUPPRESS)
    events = int(default("PARQUEDUCT_BENCH_EVENTS", EVENTS))
    parser.add_argument("--events", type=int, default=events, help=f"of the workload `order` in each round ({EVENTS:,})")
    rounds = int(default("PARQUEDUCT_BENCH_ROUNDS", ROUNDS))
    parser.add_argument("--rounds", type=int, default=rounds, help=f"medians are of so many ({ROUNDS})")
    workloads = default("PARQUEDUCT_BENCH_WORKLOADS", ",".join(names)).split(",")
    parser.add_argument("--workloads", type=lambda text: text.split(","), default=workloads, help=f"of {','.join(names)}")
    parser.add_argument("--subjects", type=lambda text: text.split(","), help="only these consumers of queues, such as noop,file")
    parser.add_argument("--no-broker", action="store_true", help="only `ingest` of files, against DuckDB")
    parser.add_argument("--docs", action="store_true", help="write the figures and the plot into docs/performance.md")
    parser.add_argument(
        "--memory", type=int, nargs="?", const=10, metavar="MILLIONS",
        help="measure memory instead, over so many million events (10): the better part of an hour",
    )
    options = parser.parse_args()
    if unknown := set(options.workloads) - set(names):
        parser.error(f"no workload {', '.join(sorted(unknown))}: there are {', '.join(names)}")
    return options


def tools(options: argparse.Namespace) -> Tools:
    return Tools(options.parqueduct.resolve(), options.bench.resolve())


class Bench:
    """A run: each round measures each subject once with each workload."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.tools = options, tools(options)
        self.workloads = [BY_NAME[name] for name in PLAN if name in options.workloads]
        self.broker: Broker | None = None
        # By workload, subject and round.
        self.costs: dict[str, dict[str, list[Cost]]] = {}
        # A start and a stop without events, by subject.
        self.idle: dict[str, list[Cost]] = {}
        self.bytes: dict[str, int] = {}
        self.same_rows: dict[str, int] = {}

    def run(self) -> None:
        began = time.monotonic()
        for workload in self.workloads:
            self.prepare(workload)
        if not self.options.no_broker:
            self.broker = Broker(STATE / "rabbitmq")
        try:
            for number in range(self.options.rounds):
                self.round(number)
        finally:
            if self.broker:
                self.broker.stop()
        for workload in self.workloads:
            self.agree(workload)
        summary = self.summary(time.monotonic() - began)
        path = STATE / "summary.json"
        path.write_text(json.dumps(summary, indent=1) + "\n")
        print(report.text(summary))
        print(f"\nwritten to {path.relative_to(ROOT)}")
        if self.options.docs:
            report.write_docs(summary)

    def directory(self, workload: Workload) -> Path:
        return STATE / workload.name

    def source(self, workload: Workload) -> Path:
        return self.directory(workload) / "events.ndjson"

    def subjects(self, workload: Workload) -> list[str]:
        """Who consumes it."""
        wanted = self.options.subjects
        return [name for name in PLAN[workload.name][1] if not wanted or name in wanted]

    def events(self, workload: Workload) -> int:
        return max(1, round(self.options.events * PLAN[workload.name][0]))

    def prepare(self, workload: Workload) -> None:
        events = self.events(workload)
        say(f"{workload.name}: making {events:,} events ({workload.about})")
        self.bytes[workload.name] = workload.write(self.directory(workload), events)

    def round(self, number: int) -> None:
        say(f"round {number + 1} of {self.options.rounds}")
        for workload in self.workloads:
            if workload.name in INGEST:
                self.round_of_files(number, workload)
            if self.broker:
                self.round_of_queues(number, workload)
        self.round_of_starts()

    def round_of_files(self, number: int, workload: Workload) -> None:
        events, directory, source = self.events(workload), self.directory(workload), self.source(workload)
        runs = {
            "ingest": lambda: subjects.ingest(self.tools, workload, events, directory, source),
            "duckdb": lambda: subjects.duckdb(events, directory, source),
        }
        for subject in turned(list(runs), number):
            self.note(workload, subject, runs[subject]())

    def round_of_queues(self, number: int, workload: Workload) -> None:
        names = self.subjects(workload)
        queues = {subject: f"bench-{subject}" for subject in names}
        self.broker.queues(EXCHANGE, list(queues.values()))
        publish = [self.tools.bench, "publish", self.broker.uri, EXCHANGE, self.source(workload), "1"]
        if subprocess.run(list(map(str, publish))).returncode != 0:
            raise Failure("the queues could not be filled; the reason is above")
        events = self.events(workload)
        for subject in turned(names, number):
            self.note(workload, subject, self.consume(subject, workload, queues[subject], events, self.directory(workload)))
        self.broker.delete(EXCHANGE, list(queues.values()))

    def round_of_starts(self) -> None:
        """What each costs without an event, which is no cost of events. DuckDB's start is not in its figures."""
        workload = self.workloads[0]
        empty = STATE / "empty.ndjson"
        empty.touch()
        cost = subjects.ingest(self.tools, workload, 0, self.directory(workload), empty)
        self.idle.setdefault("ingest", []).append(cost)
        if not self.broker:
            return
        self.broker.queues(EXCHANGE, ["bench-idle"])
        for subject in {subject for workload in self.workloads for subject in self.subjects(workload)}:
            self.idle.setdefault(subject, []).append(self.consume(subject, workload, "bench-idle", 0, STATE / "idle"))
        self.broker.delete(EXCHANGE, ["bench-idle"])

    def consume(self, subject: str, workload: Workload, queue: str, events: int, below: Path) -> Cost:
        directory = below / subject
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "schema.json").write_text(json.dumps(workload.schema))
        match subject:
            case "noop":
                return subjects.noop(self.tools, self.broker, queue, events, directory)
            case "pika":
                return subjects.python(None, self.broker, queue, events, directory)
            case "python":
                return subjects.python(workload, self.broker, queue, events, directory)
        return subjects.run(self.tools, workload, self.broker, queue, events, directory, on_s3=subject == "s3")

    def note(self, workload: Workload, subject: str, cost: Cost) -> None:
        self.costs.setdefault(workload.name, {}).setdefault(subject, []).append(cost)
        rate, cpu = cost.events / cost.seconds, cost.cpu_seconds / cost.events * 1e6
        say(f"  {workload.name:<11}{subject:<8}{rate:>9,.0f} events/s {cpu:>8.2f} us {cost.rss_bytes >> 20:>5} MiB")

    def agree(self, workload: Workload) -> None:
        """That all that validate say the same of the events, and what DuckDB makes of those that are good."""
        validator = jsonschema_rs.validator_for(workload.schema, validate_formats=True)
        events, directory = self.events(workload), self.directory(workload)
        lines = self.source(workload).read_bytes().splitlines()
        good = [line for line in lines if validator.is_valid(orjson.loads(line))]
        for subject, costs in self.costs.get(workload.name, {}).items():
            wanted = (len(good), events - len(good))
            if subject in ("noop", "pika", "duckdb"):
                continue
            for cost in costs:
                if (cost.archived, cost.dead_lettered) != wanted:
                    told = f"{cost.archived} archived and {cost.dead_lettered} dead-lettered"
                    raise Failure(f"{workload.name}, {subject}: {told}, expected {wanted[0]} and {wanted[1]}")
        if good and workload.name in INGEST:
            source = directory / "good.ndjson"
            source.write_bytes(b"\n".join(good) + b"\n")
            self.same_rows[workload.name] = subjects.duckdb(len(good), directory, source).event_bytes

    def summary(self, seconds: float) -> dict:
        return {
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(seconds),
            "rounds": self.options.rounds,
            "machine": machine(self.broker),
            "workloads": {
                workload.name: {
                    "about": workload.about,
                    "events": self.events(workload),
                    "event_bytes": self.bytes[workload.name] / self.events(workload),
                    # Of good events, as DuckDB writes them.
                    "duckdb_bytes": self.same_rows.get(workload.name),
                    "runs": {subject: [cost.record() for cost in costs] for subject, costs in self.costs.get(workload.name, {}).items()},
                }
                for workload in self.workloads
            },
            "idle": {subject: [cost.record() for cost in costs] for subject, costs in self.idle.items()},
        }


def turned(names: list[str], number: int) -> list[str]:
    """Another one is first in each round."""
    first = number % len(names)
    return names[first:] + names[:first]


def machine(broker: Broker | None) -> dict:
    def first(path: str, pattern: str) -> str:
        found = re.search(pattern, Path(path).read_text())
        return found[1].strip() if found else "unknown"

    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return {
        "cpu": first("/proc/cpuinfo", r"model name\s*: (.*)"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int(first("/proc/meminfo", r"MemTotal:\s*(\d+)")) * 1024,
        "kernel": platform.release(),
        "commit": commit.stdout.strip() or "unknown",
        # The program may be another than that commit's.
        "named_binary": os.environ.get("PARQUEDUCT_BENCH_BINARY"),
        "rabbitmq": broker.version if broker else None,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ["pika", "orjson", "jsonschema-rs", "pyarrow", "duckdb"]},
        # Others that wanted a core when the run ended: with more than about one of them no rate is to be believed.
        "load": os.getloadavg()[2],
    }


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
