"""What a run of `make bench` says: the ratios that were promised, tables, and the plot of docs/performance.md."""

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workloads import BY_NAME, ROOT

PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "images" / "performance.png"
BEGIN, END = "<!-- figures: written by `make bench BENCH=--docs` -->", "<!-- end of figures -->"
# Of runs that are published: each consumer of orders flushes twice at least.
ROUNDS_MIN, EVENTS_MIN = 5, 70_000
MIB = 1 << 20
RSS_MAX = 256 * MIB
NAMES = {
    "noop": "lapin, no-op",
    "file": "Parqueduct, file://",
    "s3": "Parqueduct, s3://",
    "pika": "pika, no-op",
    "python": "Python consumer",
    "ingest": "`parqueduct ingest`",
    "duckdb": "DuckDB, no validation",
}
# Those that write Parquet files whose bytes are known.
WRITERS = ["file", "python", "ingest"]


class Run:
    """A summary, with the arithmetic on it. Figures of a round are divided within the round: what the machine did then met
    both.
    """

    def __init__(self, summary: dict):
        self.summary = summary
        self.workloads = summary["workloads"]

    def runs(self, workload: str, subject: str) -> list[dict]:
        return self.workloads.get(workload, {}).get("runs", {}).get(subject, [])

    def cpu(self, workload: str, subject: str) -> list[float]:
        """Microseconds an event in each round, without what a start and a stop cost."""
        idle = [run["cpu_seconds"] for run in self.summary["idle"].get(subject, [])]
        start = statistics.median(idle) if idle else 0.0
        return [(run["cpu_seconds"] - start) / run["events"] * 1e6 for run in self.runs(workload, subject)]

    def rate(self, workload: str, subject: str) -> list[float]:
        return [run["events"] / run["seconds"] for run in self.runs(workload, subject)]

    def broker(self, workload: str, subject: str) -> list[float]:
        return [run["broker_seconds"] / run["events"] * 1e6 for run in self.runs(workload, subject)]

    def rss(self, workload: str, subject: str) -> float | None:
        """The most of all rounds."""
        return max((run["rss_bytes"] for run in self.runs(workload, subject)), default=None)

    def event_bytes(self, workload: str, subject: str) -> float | None:
        """Bytes of Parquet a good event, without system columns."""
        runs = [run["event_bytes"] / run["archived"] for run in self.runs(workload, subject) if run["archived"]]
        return statistics.median(runs) if runs else None

    def system_bytes(self, workload: str, subject: str) -> float | None:
        runs = [run["system_bytes"] / run["archived"] for run in self.runs(workload, subject) if run["archived"]]
        return statistics.median(runs) if runs else None

    def duckdb_bytes(self, workload: str) -> float | None:
        archived = next((run["archived"] for run in self.runs(workload, "ingest")), 0)
        whole = self.workloads.get(workload, {}).get("duckdb_bytes")
        return whole / archived if whole and archived else None


@dataclass
class Target:
    """Something that was promised."""

    what: str
    # Whether `value` is to be at least, or at most, the limit.
    at_least: bool
    limit: float
    value: float | None

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        met = self.value >= self.limit if self.at_least else self.value <= self.limit
        return "met" if met else "NOT MET"


def ratio(above: list[float], below: list[float]) -> float | None:
    ratios = [a / b for a, b in zip(above, below) if b > 0]
    return statistics.median(ratios) if ratios else None


def difference(more: list[float], less: list[float]) -> list[float]:
    return [a - b for a, b in zip(more, less)]


def targets(run: Run) -> list[Target]:
    """What issue and documentation promise, with what this run says of it."""
    noop, file = run.cpu("order", "noop"), run.cpu("order", "file")
    python, pika = run.cpu("order", "python"), run.cpu("order", "pika")
    ours = difference(file, noop)
    sizes = {name: (run.event_bytes(name, "ingest"), run.duckdb_bytes(name)) for name in run.workloads}
    largest = max((own / other for own, other in sizes.values() if own and other), default=None)
    peaks = [run.rss(name, subject) for name in run.workloads for subject in ("file", "s3")]
    peak = max((peak for peak in peaks if peak), default=None)
    found = [
        Target("drain rate / no-op lapin, order", True, 0.88, ratio(run.rate("order", "file"), run.rate("order", "noop"))),
        Target("drain rate / no-op lapin, flat", True, 0.95, ratio(run.rate("flat", "file"), run.rate("flat", "noop"))),
        Target("CPU beyond no-op lapin / no-op lapin, order", False, 0.6, ratio(ours, noop)),
        Target("CPU of the Python consumer / ours, order", True, 4.5, ratio(python, file)),
        Target("the same, each beyond its client, order", True, 8, ratio(difference(python, pika), ours)),
        Target("CPU of ingest / DuckDB's COPY, order", False, 0.67, ratio(run.cpu("order", "ingest"), run.cpu("order", "duckdb"))),
        Target("rate of 100 % bad / of good, orders", True, 0.5, ratio(run.rate("bad-100", "file"), run.rate("order", "file"))),
        Target("rate of 1,000 partitions / of one, orders", True, 0.7, ratio(run.rate("partitions", "file"), run.rate("order", "file"))),
        Target("peak RSS / 256 MiB, worst workload", False, 1.0, peak / RSS_MAX if peak else None),
        Target("Parquet bytes an event / DuckDB's, worst workload", False, 1.1, largest),
    ]
    memory = Path(ROOT / "target" / "bench" / "memory.json")
    if memory.exists():
        notes = json.loads(memory.read_text())
        grown = notes[-1]["rss_bytes_max"] / notes[0]["rss_bytes_max"]
        found.append(Target(f"peak RSS, {notes[-1]['events'] // 10**6} / 1 million events", False, 1.1, grown))
    return found


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown, with its columns aligned; those after the first to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: list[str]) -> str:
        first, *others = cells
        parts = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:]))]
        return "| " + " | ".join(parts) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def target_table(run: Run) -> str:
    rows = [
        [target.what, "-" if target.value is None else f"{target.value:.2f}", f"{'>=' if target.at_least else '<='} {target.limit:g}", target.verdict]
        for target in targets(run)
    ]
    return table(["", "measured", "target", ""], rows)


def cell(values: list[float] | float | None, form: str, scale: float = 1.0) -> str:
    if values is None or values == []:
        return "-"
    value = statistics.median(values) if isinstance(values, list) else values
    return format(value / scale, form)


def cost_table(run: Run, subjects: list[str]) -> str:
    rows = []
    for name in run.workloads:
        for subject in subjects:
            if not run.runs(name, subject):
                continue
            is_writer = subject in WRITERS
            size = run.duckdb_bytes(name) if subject == "duckdb" else run.event_bytes(name, subject) if is_writer else None
            system = run.system_bytes(name, subject) if is_writer and subject != "python" else None
            rows.append([
                name, NAMES[subject], cell(run.rate(name, subject), ",.0f"), cell(run.cpu(name, subject), ".2f"),
                cell(run.broker(name, subject) if subject not in ("ingest", "duckdb") else None, ".1f"),
                cell(run.rss(name, subject), ",.0f", MIB), cell(size, ".1f"), cell(system, ".1f"),
            ])
    head = ["workload", "", "events/s", "CPU us/event", "broker us/event", "peak MiB", "Parquet B/event", "system B/event"]
    return table(head, rows)


def machine_text(summary: dict) -> str:
    machine = summary["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    program = "a program named by PARQUEDUCT_BENCH_BINARY, the bench" if machine["named_binary"] else "commit"
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_bytes'] / (1 << 30):.0f} GiB, Linux {machine['kernel']}; "
        f"RabbitMQ {machine['rabbitmq']}, Python {machine['python']}, {packages}; {program} {machine['commit']}, {summary['at']}, "
        f"{summary['rounds']} rounds in {summary['seconds'] / 60:.0f} minutes, load average {machine['load']:.1f} at the end."
    )


def workload_table(run: Run) -> str:
    rows = [
        [name, workload["about"], f"{workload['events']:,}", f"{workload['event_bytes']:.0f}"]
        for name, workload in run.workloads.items()
    ]
    return table(["workload", "", "events a round", "bytes an event"], rows)


def parts(summary: dict) -> list[str]:
    run = Run(summary)
    return [
        machine_text(summary),
        target_table(run),
        workload_table(run),
        cost_table(run, ["noop", "file", "s3", "pika", "python"]),
        cost_table(run, ["ingest", "duckdb"]),
    ]


def text(summary: dict) -> str:
    return "\n\n".join(parts(summary))


def write_docs(summary: dict) -> None:
    """Puts the figures between their marks in docs/performance.md, and draws the plot. Only of a whole run of this tree's own
    program: anything else would be read as what it can do.
    """
    workloads = summary["workloads"]
    is_whole = set(workloads) == set(BY_NAME) and set(summary["idle"]) >= {"noop", "file", "s3", "pika", "python", "ingest"}
    is_long = summary["rounds"] >= ROUNDS_MIN and is_whole and workloads["order"]["events"] >= EVENTS_MIN
    if not is_long or summary["machine"]["named_binary"]:
        sys.exit(
            "bench: docs/performance.md takes a release build of this tree, all workloads and subjects, "
            f"{ROUNDS_MIN} rounds and {EVENTS_MIN:,} orders at least"
        )
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        sys.exit(f"bench: {PAGE} has no place for figures, between `{BEGIN}` and `{END}`")
    machine, ratios, events, queues, files = parts(summary)
    figures = "\n\n".join([
        machine,
        ratios,
        f"![CPU an event and drain rate]({PICTURE.relative_to(PAGE.parent)})",
        "Events:", events,
        "From the queue:", queues,
        "From a file:", files,
    ])
    PAGE.write_text(f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}")
    draw(Run(summary))
    print(f"written to {PAGE.relative_to(ROOT)} and {PICTURE.relative_to(ROOT)}")


def draw(run: Run) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    bars(left, run, ["order", "flat", "flights"], ["noop", "file", "s3", "python", "ingest", "duckdb"], run.cpu)
    left.set_ylabel("CPU an event, microseconds")
    left.set_title("what an event costs the process")
    bars(right, run, list(run.workloads), ["noop", "file", "python"], run.rate)
    right.set_ylabel("events a second")
    right.set_title("how fast a queue is drained, the broker on the same cores")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})


def bars(axes, run: Run, workloads: list[str], subjects: list[str], value: Callable[[str, str], list[float]]) -> None:
    workloads = [name for name in workloads if name in run.workloads]
    width = 0.8 / len(subjects)
    for number, subject in enumerate(subjects):
        values = [value(name, subject) for name in workloads]
        heights = [statistics.median(each) if each else 0 for each in values]
        places = [place + (number - (len(subjects) - 1) / 2) * width for place in range(len(workloads))]
        axes.bar(places, heights, width, label=NAMES[subject].replace("`", ""))
        # From the least to the most of the rounds.
        spread = [[height - min(each, default=0), max(each, default=0) - height] for height, each in zip(heights, values)]
        axes.errorbar(places, heights, yerr=list(zip(*spread)), fmt="none", ecolor="black", elinewidth=0.7)
    axes.set_xticks(range(len(workloads)), workloads, fontsize=8)
    axes.legend(fontsize=7)


def main() -> None:
    """Prints, or with `--docs` also writes, what the last run said."""
    summary = json.loads((ROOT / "target" / "bench" / "summary.json").read_text())
    print(text(summary))
    if "--docs" in sys.argv[1:]:
        write_docs(summary)


if __name__ == "__main__":
    main()
