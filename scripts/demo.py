"""The demo: 27,004 real flights through RabbitMQ into Parquet; the 606 that break the schema explained, and recovered by a
schema that takes them; the sum checked before and after.

Run by `scripts/demo`, with a Python that has DuckDB, and the path of the built `parqueduct`. Exits with 1 if anything does
not add up. Everything it writes is below `.parqueduct/demo`.
"""

import base64
import gzip
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".parqueduct" / "demo"
ARCHIVE = STATE / "archive"
CONFIG = Path("config/demo/parqueduct.toml")
EVENTS = Path("config/demo/flights-2013-01.ndjson.gz")
CANDIDATE = Path("config/demo/candidate/flight.v1.json")
BROKER = STATE / "rabbitmq"

READY_SECONDS_MAX = 60
DRAIN_SECONDS_MAX = 180
STOP_SECONDS_MAX = 60

# Where a group of dead letters gets the sentence that only someone who knows the data can say.
ABOUT_PATHS = {
    "/arrival/delay_min": "cancelled, or diverted and landed elsewhere: there is no delay of arrival to report",
    "/tailnum": "cancelled before an aircraft was assigned: there is no tail number",
}


class Failure(Exception):
    """The demo cannot go on, or does not add up; the text says what, where and what to do."""


def main(binary: str) -> None:
    began = time.monotonic()
    os.chdir(ROOT)
    source = source_ids()
    shutil.rmtree(ARCHIVE, ignore_errors=True)
    STATE.mkdir(parents=True, exist_ok=True)

    own_broker = "PARQUEDUCT_DEMO_URI" not in os.environ
    step(3, "start RabbitMQ" if own_broker else "use the broker of PARQUEDUCT_DEMO_URI")
    if own_broker:
        stop_broker()  # one that an interrupted demo left behind
        shutil.rmtree(BROKER, ignore_errors=True)
    try:
        uri = start_broker() if own_broker else os.environ["PARQUEDUCT_DEMO_URI"]
        listen = f"127.0.0.1:{free_port()}"
        set_environment(binary, uri, listen, keep_uri=own_broker)
        ledger = carry(binary, listen, len(source))
    finally:
        if own_broker:
            stop_broker()

    step(6, "the archive")
    show_partitions()
    show_query()
    step(7, "the dead letters")
    dead_letters = [json.loads(line) for line in parqueduct(binary, "dlq", "export", "--json").splitlines()]
    groups = show_groups(binary)
    step(8, "does it add up?")
    check(source, ledger, dead_letters, groups)
    step(9, "a schema that takes them: tried, then done")
    plan = plan_and_try(binary, len(dead_letters))
    replay(binary, plan, len(dead_letters))
    check_recovered(source, dead_letters)
    telling = max(dead_letters, key=lambda letter: len(letter["issues"]))
    show_next(telling["id"], time.monotonic() - began, own_broker)


def carry(binary: str, listen: str, events: int) -> dict[str, int]:
    """Runs the pipeline while `events` events are published; its ledger, once they are settled and it has stopped."""
    log_path = STATE / "run.log"
    with log_path.open("wb") as log:
        pipeline = subprocess.Popen([binary, "run", "--config", str(CONFIG)], stdout=log, stderr=subprocess.STDOUT)
        try:
            step(4, f"publish {events:,} events")
            wait(READY_SECONDS_MAX, "become ready", pipeline, log_path, lambda: is_ready(listen))
            clock = time.monotonic()
            subprocess.run(
                [binary, "publish", "--config", CONFIG, "--exchange", "", "--routing-key", "flights", EVENTS], check=True
            )
            step(5, "judge, archive, dead-letter")
            wait(DRAIN_SECONDS_MAX, "settle every event", pipeline, log_path, lambda: is_drained(listen, events))
            ledger = read_ledger(listen)
            print(f"   all settled {time.monotonic() - clock:.1f} s after the first was published; now SIGTERM")
            pipeline.send_signal(signal.SIGTERM)
            if pipeline.wait(STOP_SECONDS_MAX) != 0:
                raise Failure(f"`parqueduct run` ended with {pipeline.returncode}, expected 0; see {log_path}")
        finally:
            if pipeline.poll() is None:
                pipeline.kill()
                pipeline.wait()
    print(
        f"   {ledger['deliveries']:,} deliveries = {ledger['archived']:,} archived + {ledger['dead_lettered']:,} dead-lettered"
        f" + {ledger['suppressed']} suppressed + {ledger['requeued']} requeued + {ledger['in_flight']} in flight"
    )
    print("   its last line says the same:")
    print("   " + log_path.read_text(errors="replace").strip().splitlines()[-1])
    return ledger


# The broker and the process


def start_broker() -> str:
    started = subprocess.run(
        ["scripts/rabbitmq", "start", "--dir", str(BROKER)], check=True, stdout=subprocess.PIPE, text=True
    )
    return started.stdout.strip().splitlines()[-1]


def stop_broker() -> None:
    subprocess.run(
        ["scripts/rabbitmq", "stop", "--dir", str(BROKER)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def set_environment(binary: str, uri: str, listen: str, keep_uri: bool) -> None:
    """Sets what the demo's configuration refers to, and writes it down for use by hand (a foreign broker's URI is not)."""
    values = {"PARQUEDUCT_DEMO_URI": uri, "PARQUEDUCT_DEMO_STORE": ARCHIVE.as_uri(), "PARQUEDUCT_DEMO_LISTEN": listen}
    os.environ.update(values)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    if not keep_uri:
        lines[0] = "# PARQUEDUCT_DEMO_URI: as you had set it"
    lines.append(f"export PATH={shlex.quote(str(Path(binary).resolve().parent))}:$PATH")
    (STATE / "env").write_text("\n".join(lines) + "\n")


def parqueduct(binary: str, *arguments: str) -> str:
    """The standard output of a command of `parqueduct` over the demo's configuration."""
    command = [binary, *arguments, "--config", str(CONFIG)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failure(f"`parqueduct {' '.join(arguments)}` ended with {done.returncode}; its message is above")
    return done.stdout


def wait(seconds_max: float, what: str, process: subprocess.Popen, log_path: Path, reached) -> None:
    deadline = time.monotonic() + seconds_max
    while not reached():
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-15:])
            why = f"ended with {process.returncode}" if ended else f"had {seconds_max} s"
            raise Failure(f"`parqueduct run` did not {what}: it {why}; the end of {log_path}:\n{tail}")
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# The ledger


def is_ready(listen: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{listen}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def is_drained(listen: str, events: int) -> bool:
    ledger = read_ledger(listen)
    return ledger["archived"] + ledger["dead_lettered"] >= events and ledger["in_flight"] == 0


def read_ledger(listen: str) -> dict[str, int]:
    """The sums over all labels of the six figures of the ledger."""
    try:
        with urllib.request.urlopen(f"http://{listen}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return Counter()
    sums: Counter[str] = Counter()
    for name, value in re.findall(r"^parqueduct_(\w+)(?:\{.*\})? (\S+)$", text, re.MULTILINE):
        sums[name] += float(value)
    names = {
        "deliveries": "deliveries_total",
        "archived": "archived_total",
        "dead_lettered": "dead_lettered_total",
        "suppressed": "duplicates_suppressed_total",
        "requeued": "requeued_total",
        "in_flight": "in_flight",
    }
    return Counter({word: int(sums[name]) for word, name in names.items()})


# What there is to see


def show_partitions() -> None:
    files = sorted((ARCHIVE / "data").rglob("*.parquet"))
    if not files:
        raise Failure(f"no Parquet file below {ARCHIVE / 'data'}")
    partitions = sorted({path.parent for path in files})
    size = sum(path.stat().st_size for path in files)
    print(f"   {len(files)} files in {len(partitions)} partitions, {size / 1e6:.1f} MB, below {ARCHIVE.relative_to(ROOT)}:")
    shown = partitions if len(partitions) <= 5 else [*partitions[:3], None, partitions[-1]]
    for partition in shown:
        if partition is None:
            print("   ...")
            continue
        inside = sorted(partition.glob("*.parquet"))
        names = inside[0].name + (f" and {len(inside) - 1} more" if len(inside) > 1 else "")
        print(f"   {partition.relative_to(ARCHIVE)}/  {names}")
    print("   The date is that of the flight's time in UTC: the last evening of January is in February.")


def data_glob() -> str:
    return str(ARCHIVE / "data" / "flights" / "v1" / "**" / "*.parquet")


def show_query() -> None:
    query = """
        SELECT carrier, count(*) AS flights, round(avg(arrival.delay_min), 1) AS late_min_mean,
               round(100.0 * count(*) FILTER (arrival.delay_min > 15) / count(*), 1) AS late_percent
        FROM read_parquet('.parqueduct/demo/archive/data/flights/v1/**/*.parquet', hive_partitioning = true)
        WHERE date BETWEEN '2013-01-07' AND '2013-01-13'
        GROUP BY carrier HAVING count(*) > 100 ORDER BY late_percent DESC"""
    print("\n   In DuckDB: who came late in the second week?")
    print(query.replace("\n        ", "\n   "))
    result = duckdb.sql(query)
    table([str(column) for column in result.columns], result.fetchall())


def show_groups(binary: str) -> list[dict]:
    """Prints the groups and what they mean; gives them back."""
    groups = [json.loads(line) for line in parqueduct(binary, "dlq", "groups", "--json").splitlines()]
    print("   COUNTED  SHOWING  WHAT IS WRONG")
    for group in groups:
        print(f"   {group['count']:7,}  {group['showing']:7,}  {group['title']}")
        if about := ABOUT_PATHS.get(group["path"]):
            print(f"                     {about}")
    print("\n   A dead letter is counted in one group, that of its first issue; each group whose issue it has shows it.")
    return groups


def table(head: list[str], rows: list[tuple]) -> None:
    cells = [head, *[["" if cell is None else str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        print("   " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print()


# Does it add up?


def source_ids() -> list[str]:
    with gzip.open(EVENTS, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["id"] for line in lines]


def check(source: list[str], ledger: dict[str, int], dead_letters: list[dict], groups: list[dict]) -> None:
    """Each published id is in exactly one place, and the process's own ledger says the same."""
    archived = [row[0] for row in duckdb.sql(f"SELECT _event_id FROM read_parquet('{data_glob()}')").fetchall()]
    dead = [json.loads(base64.b64decode(letter["body_base64"]))["id"] for letter in dead_letters]
    places = Counter(archived) + Counter(dead)
    settled = ledger["archived"] + ledger["dead_lettered"] + ledger["suppressed"] + ledger["requeued"]
    findings = [
        ("deliveries = archived + dead-lettered + suppressed + requeued + in flight",
         ledger["deliveries"] == settled + ledger["in_flight"]),
        (f"published {len(source):,} = archived {ledger['archived']:,} + dead-lettered {ledger['dead_lettered']:,}",
         len(source) == ledger["archived"] + ledger["dead_lettered"]),
        (f"DuckDB counts {len(archived):,} rows in the archive", len(archived) == ledger["archived"]),
        (f"the dead-letter store gives back {len(dead):,}", len(dead) == ledger["dead_lettered"]),
        ("the groups account for each of these once", sum(group["count"] for group in groups) == len(dead)),
        ("every published id is in exactly one of the two places", places == Counter(source)),
    ]
    for sentence, holds in findings:
        print(f"   {'yes' if holds else 'NO '}  {sentence}")
    if not all(holds for _, holds in findings):
        raise Failure(f"it does not add up; the ledger was {dict(ledger)}")


# Fix, dry-run, replay


def plan_and_try(binary: str, letters: int) -> str:
    """Plans to give the dead letters back under the candidate schema, tries it, and gives the plan's hash."""
    why = "cancelled flights have no arrival, and are to be counted as well"
    plan = json.loads(parqueduct(binary, "dlq", "plan", "--schema", str(CANDIDATE), "--why", why, "--json"))
    print(f"   {CANDIDATE} allows null where the 606 have it, and keeps the columns as they are.")
    print(f"   parqueduct dlq plan --schema {CANDIDATE}")
    print(f"      plan {plan['plan'][:12]}: {plan['letters']} letters, frozen with the schema")
    report = json.loads(parqueduct(binary, "dlq", "dry-run", plan["plan"], "--json"))
    print(f"   parqueduct dlq dry-run {plan['plan'][:12]}")
    print(f"      {report['pass']} pass, {report['fail']} fail, into {len(report['partitions'])} partitions;"
          f" {report['archived_already']['events']} are in the archive already")
    if good := report.get("good"):
        print(f"      of {good['events']:,} good events under the same schema, {good['broken']} would break")
    if report["pass"] != letters or report["fail"] or (good and good["broken"]):
        raise Failure(f"the dry run of plan {plan['plan']} does not pass: {report}")
    return plan["plan"]


def replay(binary: str, plan: str, letters: int) -> None:
    """Gives the letters back; the second time must do nothing."""
    clock = time.monotonic()
    end = json.loads(parqueduct(binary, "dlq", "replay", plan, "--yes", "--json"))
    print(f"   parqueduct dlq replay {plan[:12]}")
    print(f"      {end['status']}: {end['counts']['recovered']} recovered in {time.monotonic() - clock:.1f} s, one first,"
          " then ten, then one in a hundred, then the rest")
    if end["status"] != "finished" or end["counts"]["recovered"] != letters:
        raise Failure(f"the replay of plan {plan} recovered not all of {letters}: {end}")
    again = parqueduct(binary, "dlq", "replay", plan, "--yes")
    print(f"   and once more: {again.strip()}")


def check_recovered(source: list[str], dead_letters: list[dict]) -> None:
    """Every published id is a row now, once; and those of the letters say which letter they were."""
    columns = "_event_id, _dead_letter_id"
    rows = duckdb.sql(f"SELECT {columns} FROM read_parquet('{data_glob()}')").fetchall()
    was_dead = {letter["id"]: json.loads(base64.b64decode(letter["body_base64"]))["id"] for letter in dead_letters}
    recovered = {letter: event for event, letter in rows if letter is not None}
    findings = [
        (f"DuckDB counts {len(rows):,} rows in the archive", len(rows) == len(source)),
        ("every published id is there once", Counter(event for event, _ in rows) == Counter(source)),
        (f"{len(recovered)} rows name the dead letter they were", recovered == was_dead),
    ]
    for sentence, holds in findings:
        print(f"   {'yes' if holds else 'NO '}  {sentence}")
    if not all(holds for _, holds in findings):
        raise Failure("it does not add up after the replay")


def show_next(dead_letter: str, seconds: float, own_broker: bool) -> None:
    broker = f"""
   # the broker again (and away: stop); then ask it, and the store, whether all is there
   scripts/rabbitmq start --dir {BROKER.relative_to(ROOT)}
   parqueduct check --connect --config {CONFIG}
""" if own_broker else ""
    print(f"""
Done in {seconds:.0f} s, the build not counted. To go on:

   . .parqueduct/demo/env          # sets what the demo's configuration refers to, and the path of `parqueduct`

   # the dead letters: in groups, one a line, and one of them with every issue, its properties and its body
   parqueduct dlq groups --config {CONFIG}
   parqueduct dlq list --state recovered --limit 10 --config {CONFIG}
   parqueduct dlq show {dead_letter} --config {CONFIG}

   # what was replayed, by whom and why
   parqueduct dlq jobs --config {CONFIG}

   # the same events without a broker, into a store of their own; run it twice: the second time adds nothing
   PARQUEDUCT_DEMO_STORE="file://$PWD/.parqueduct/demo/ingested" \\
      parqueduct ingest --config {CONFIG} --pipeline flights {EVENTS}
{broker}
   # change config/schemas/flight.v1.json, then see whether it can still be used
   parqueduct check --config {CONFIG}

   # every key of the configuration, its default, its unit
   parqueduct config reference

README.md says how to point it at a broker of your own.""")


def step(number: int, what: str) -> None:
    print(f"== {number}. {what}", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Failure as failure:
        print(f"demo: {failure}", file=sys.stderr)
        sys.exit(1)
    except subprocess.CalledProcessError as failed:
        print(f"demo: {shlex.join(map(str, failed.cmd))} ended with {failed.returncode}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
