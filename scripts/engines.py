"""Six engines are asked the same of one archive, by the recipes of `docs/query.md`; what they answer is compared with what
the events say.

Run by `scripts/engines`, with a Python that has the engines, and the path of the built `parqueduct`. Prints a table of
checks and engines, and exits with 1 unless every answer is right. Everything it writes is below `.parqueduct/engines`.

The archive: orders made from a fixed seed, in two minor versions of one schema side by side and in a second major one,
partly through RabbitMQ so that there are headers; and the demo's real flights.
"""

import dataclasses
import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pika

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "engines"
sys.path.insert(0, str(TESTS))

import canonical  # noqa: E402
import expected  # noqa: E402
import orders  # noqa: E402
import recipes  # noqa: E402

STATE = ROOT / ".parqueduct" / "engines"
STORE = STATE / "archive"
GUIDE = ROOT / "docs" / "query.md"
FLIGHTS = ROOT / "config" / "demo" / "flights-2013-01.ndjson.gz"
ENGINES = ["duckdb", "polars", "pyarrow", "clickhouse", "datafusion", "spark"]

# Versions of the orders' schema, how many events of each, and in how many files.
SCHEMAS = {"1.0": "order.v1.json", "1.1": "next/order.v1.json", "2.0": "order.v2.json"}
EVENTS = {"1.0": 4_000, "1.1": 2_000, "2.0": 1_000}
FILES = 2
PUBLISHED = 600

# Spark took 114 s on two shared cores, and 300 s when they were busy.
ENGINE_SECONDS_MAX = 900
# Of all its processes together.
ENGINE_BYTES_MAX = 3 * 1024**3
SETTLE_SECONDS_MAX = 120
STOP_SECONDS_MAX = 60
DIFFERENCES_SHOWN = 3

PIPELINE = """
[rabbitmq]
uri = "{uri}"

[store]
url = "{store}"

[http]
listen = "{listen}"

[[pipeline]]
name = "{name}"
queue = "{name}"
declare = true
format = "json"
schema = "{schema}"
event_id = "/id"
event_time = "{time}"
partition_by = {keys}
keep_raw = {raw}
flush = {{ age = "1s" }}
"""


class Failure(Exception):
    """The lane cannot go on; the text says why."""


def main(binary: str) -> int:
    began = time.monotonic()
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(parents=True)

    step(3, "the archive")
    answers = make_archive(binary)
    files = len(list((STORE / "data").rglob("*.parquet")))
    print(f"   {files} files below {(STORE / 'data').relative_to(ROOT)}")
    guide = recipes.read(GUIDE, STORE)
    check_guide(guide, answers)

    step(4, "the engines")
    reports = {engine: ask(engine) for engine in ENGINES}

    step(5, "their answers, against what the events say")
    findings = [finding for report in reports.values() for finding in judge(report, guide, answers)]
    show_table(reports, answers)
    for report in reports.values():
        for sentence in report.sentences:
            print(f"   {sentence}")
    print(f"\n   {len(findings)} answers are not as they should be; {time.monotonic() - began:.0f} s" if findings else
          f"\n   every answer is right; {time.monotonic() - began:.0f} s, the build not counted")
    return 1 if findings else 0


# The archive


def make_archive(binary: str) -> dict[str, list[list]]:
    """Writes the archive; what every recipe must answer of it."""
    made = {version: orders.make(version, count) for version, count in EVENTS.items()}
    for version, events in made.items():
        config = write_config("orders", TESTS / "schemas" / SCHEMAS[version], f"orders-{version}.toml")
        for part in range(FILES):
            file = STATE / f"orders-{version}-{part}.ndjson"
            file.write_bytes(b"".join(event.body + b"\n" for event in events[part::FILES]))
            expect_archived(ingest(binary, "orders", config, file), len(events[part::FILES]), 0)

    published = orders.make("1.0", PUBLISHED, with_headers=True)
    carry(binary, published)

    with gzip.open(FLIGHTS, "rt", encoding="utf-8") as lines:
        flights = [json.loads(line) for line in lines]
    flown = [one for one in flights if one["tailnum"] is not None and one["arrival"]["delay_min"] is not None]
    config = write_config("flights", ROOT / "config" / "schemas" / "flight.v1.json", "flights.toml")
    expect_archived(ingest(binary, "flights", config, FLIGHTS), len(flown), len(flights) - len(flown))

    rows = expected.answers(made["1.0"] + made["1.1"] + published, made["2.0"], flown)
    return {name: canonical.table(answer) for name, answer in rows.items()}


def write_config(name: str, schema: Path, file: str, uri: str = "amqp://unused.invalid", listen: str = "off") -> Path:
    is_orders = name == "orders"
    text = PIPELINE.format(
        uri=uri,
        store=STORE.as_uri(),
        listen=listen,
        name=name,
        schema=schema,
        time="/placed_at" if is_orders else "/occurred_at",
        keys='["date", "/region"]' if is_orders else '["date"]',
        raw="true" if is_orders else "false",
    )
    (STATE / file).write_text(text, encoding="utf-8")
    return STATE / file


def ingest(binary: str, name: str, config: Path, file: Path) -> str:
    command = [binary, "ingest", "--config", str(config), "--pipeline", name, str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"`parqueduct ingest` of {file.name} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def expect_archived(said: str, archived: int, dead: int) -> None:
    wanted = f"received {archived + dead} = archived {archived} + dead-lettered {dead}"
    if wanted not in said:
        raise Failure(f"`parqueduct ingest` did not say `{wanted}` but:\n{said}")


def carry(binary: str, events: list[orders.Event]) -> None:
    """Takes events with headers through a RabbitMQ node of the lane's own."""
    directory = STATE / "rabbitmq"
    started = subprocess.run(
        ["scripts/rabbitmq", "start", "--dir", str(directory)], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    try:
        uri, listen = started.stdout.strip().splitlines()[-1], f"127.0.0.1:{free_port()}"
        config = write_config("orders", TESTS / "schemas" / SCHEMAS["1.0"], "orders-run.toml", uri, listen)
        publish(uri, events)
        run_until_archived(binary, config, listen, len(events))
    finally:
        subprocess.run(
            ["scripts/rabbitmq", "stop", "--dir", str(directory)],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )


def publish(uri: str, events: list[orders.Event]) -> None:
    with pika.BlockingConnection(pika.URLParameters(uri)) as connection:
        channel = connection.channel()
        channel.queue_declare("orders", durable=True, arguments={"x-queue-type": "quorum"})
        channel.confirm_delivery()
        for event in events:
            channel.basic_publish("", "orders", event.body, pika.BasicProperties(headers=event.headers, delivery_mode=2))


def run_until_archived(binary: str, config: Path, listen: str, events: int) -> None:
    log_path = STATE / "run.log"
    with log_path.open("wb") as log:
        pipeline = subprocess.Popen([binary, "run", "--config", str(config)], stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while (archived := archived_so_far(listen)) < events:
            if pipeline.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"`parqueduct run` archived {archived} of {events}; see {log_path}")
            time.sleep(0.2)
        pipeline.send_signal(signal.SIGTERM)
        if pipeline.wait(STOP_SECONDS_MAX) != 0:
            raise Failure(f"`parqueduct run` ended with {pipeline.returncode}; see {log_path}")
    finally:
        if pipeline.poll() is None:
            pipeline.kill()
            pipeline.wait()


def archived_so_far(listen: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{listen}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return 0
    return sum(int(float(value)) for value in re.findall(r"^parqueduct_archived_total(?:\{.*\})? (\S+)$", text, re.MULTILINE))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# The engines


def check_guide(guide: dict[str, list[recipes.Recipe]], answers: dict) -> None:
    """Every engine has a recipe for every check, and none that is no check."""
    if sorted(guide) != sorted(ENGINES):
        raise Failure(f"{GUIDE.name} has recipes of {sorted(guide)}, not of {sorted(ENGINES)}")
    for engine, found in guide.items():
        unlike = {recipe.name for recipe in found} ^ {"open", *answers}
        if unlike:
            raise Failure(f"{GUIDE.name}, {engine}: missing, or no recipe that is known: {sorted(unlike)}")


@dataclasses.dataclass
class Report:
    """What came of one engine."""

    engine: str
    version: str
    answers: list[dict]
    seconds: float
    bytes_max: int
    # Why it was ended, or with what it ended.
    end: str | None
    cells: dict[str, str] = dataclasses.field(default_factory=dict)
    sentences: list[str] = dataclasses.field(default_factory=list)


def ask(engine: str) -> Report:
    """Runs all recipes of one engine in a process of its own, within its time and memory."""
    began, bytes_max, end = time.monotonic(), 0, None
    said, log_path = STATE / f"{engine}.answers", STATE / f"{engine}.log"
    # In UTC, as instants that come without their zone are meant; a Python that writes bytecode would litter the tree.
    environment = {**os.environ, "TZ": "UTC", "PYTHONDONTWRITEBYTECODE": "1"}
    with said.open("wb") as answers, log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(TESTS / "answer.py"), engine, str(STORE)],
            stdout=answers, stderr=log, env=environment, cwd=STATE, start_new_session=True,
        )
        try:
            while process.poll() is None and end is None:
                bytes_max = max(bytes_max, resident(process.pid))
                if time.monotonic() - began > ENGINE_SECONDS_MAX:
                    end = f"took more than {ENGINE_SECONDS_MAX} s"
                elif bytes_max > ENGINE_BYTES_MAX:
                    end = f"took more than {ENGINE_BYTES_MAX >> 20} MiB"
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if end is None and process.returncode != 0:
        end = f"ended with {process.returncode}; see {log_path.relative_to(ROOT)}"
    lines = [json.loads(line) for line in said.read_text(encoding="utf-8").splitlines()]
    version = lines[0]["version"] if lines else "?"
    report = Report(engine, version, lines[1:], time.monotonic() - began, bytes_max, end)
    print(f"   {engine:<10}  {version:<10}  {report.seconds:4.0f} s  {bytes_max >> 20:5} MiB  {end or ''}", flush=True)
    return report


def resident(session: int) -> int:
    """Resident bytes of all processes of a session (of Linux: proc(5))."""
    pages = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # What stands in brackets is the program's name, which may hold anything.
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # It is gone.
        if int(fields[3]) == session:
            pages += int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE")


# The answers


def judge(report: Report, guide: dict[str, list[recipes.Recipe]], answers: dict) -> list[str]:
    """Fills the report's cells and sentences; the names of the recipes whose answer is not as the guide says."""
    wrong = []
    if report.end:
        wrong.append("end")
        report.sentences.append(f"{report.engine} {report.end}")
    kinds: dict[str, set[str]] = {}
    for position, recipe in enumerate(guide[report.engine]):
        said = report.answers[position] if position < len(report.answers) else {"error": "no answer"}
        fault = fault_of(recipe, said, answers)
        kinds.setdefault(recipe.name, set()).add(recipe.kind)
        if fault is None:
            report.cells.setdefault(recipe.name, "ok")
            continue
        wrong.append(recipe.name)
        report.cells[recipe.name] = "WRONG"
        marked = recipe.name if recipe.kind == "right" else f"{recipe.name}, {recipe.kind}"
        report.sentences.append(f"{report.engine}, {marked}: {fault}")
    for name, of_name in kinds.items():
        if "right" not in of_name and report.cells[name] == "ok":
            report.cells[name] = "cannot"
    return wrong


def fault_of(recipe: recipes.Recipe, said: dict, answers: dict) -> str | None:
    """What is wrong with the answer to a recipe, in words."""
    if "error" in said:
        if recipe.kind == "refused" and said["error"] != "no answer":
            return None
        return f"fails: {said['error'][:500]}"
    if recipe.kind == "refused":
        return "the guide says that it fails, and it does not"
    if recipe.name == "open":
        return None
    rows, right = said["rows"], answers[recipe.name]
    if recipe.kind == "otherwise":
        if rows == right:
            return "the guide says that the answer is not the right one, and it is"
        widths = [{len(row) for row in each} for each in (rows, right)]
        return None if widths[0] == widths[1] else "shows another thing than what it is to differ from"
    if rows == right:
        return None
    extra = [row for row in rows if row not in right][:DIFFERENCES_SHOWN]
    missing = [row for row in right if row not in rows][:DIFFERENCES_SHOWN]
    return f"{len(rows)} rows rather than {len(right)}; it has {extra} and lacks {missing}"


def show_table(reports: dict[str, Report], answers: dict) -> None:
    head = ["", *(f"{engine} {report.version}" for engine, report in reports.items())]
    rows = [[name, *(report.cells.get(name, "?") for report in reports.values())] for name in ["open", *answers]]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("   " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def step(number: int, what: str) -> None:
    print(f"== {number}. {what}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(str(Path(sys.argv[1]).resolve())))
    except Failure as failure:
        print(f"engines: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
