"""Times dead letters by the million; run by `scripts/bench-dlq` with the path of a release build.

The letters are the demo's flights, broken in six ways, 15 % of them in several at once. The time of a command is that of
a whole process: start, index, answer. The page cache is warm, for a process that just wrote has warmed it.
"""

import gzip
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".parqueduct" / "bench-dlq"
LETTERS = int(os.environ.get("PARQUEDUCT_BENCH_LETTERS", "1000000"))
RUNS = 5
# Good and bad are compared over as many events.
COMPARED = min(LETTERS, 540_000)
CONFIG = "config/demo/parqueduct.toml"


def broken(line: bytes, number: int) -> bytes:
    """The event with one fault of six, or with two."""
    faults = [number * 7 % 100]
    if number % 20 < 3:
        faults.append((number * 13 + 40) % 100)
    for fault in faults:
        if fault < 40:
            line = line.replace(b'"tailnum":"', b'"tailnum":7,"was":"', 1)
        elif fault < 60:
            line = line.replace(b'"arrival":{', b'"arrival":{"delay_min":null,"was":{', 1).replace(b'}}', b'}}}', 1)
        elif fault < 75:
            line = line.replace(b'"carrier":"', b'"carriers":"', 1)
        elif fault < 90:
            line = line.replace(b'"flight":', b'"flight":"F","number":', 1)
        elif fault < 97:
            line = line.replace(b'"occurred_at":"2013', b'"occurred_at":"soon', 1)
        else:
            line = line[: len(line) * 2 // 3]
    return line


def main(binary: str) -> None:
    os.chdir(ROOT)
    STATE.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PARQUEDUCT_DEMO_URI", "amqp://unused.invalid")
    os.environ["PARQUEDUCT_DEMO_LISTEN"] = "127.0.0.1:0"
    flights = gzip.decompress(Path("config/demo/flights-2013-01.ndjson.gz").read_bytes()).splitlines()

    good, bad, few = STATE / "good.ndjson", STATE / "bad.ndjson", STATE / "bad-few.ndjson"
    with good.open("wb") as good_out, bad.open("wb") as bad_out, few.open("wb") as few_out:
        for number in range(LETTERS):
            line = flights[number % len(flights)]
            bad_line = broken(line, number) + b"\n"
            bad_out.write(bad_line)
            if number < COMPARED:
                good_out.write(line + b"\n")
                few_out.write(bad_line)

    print(f"{LETTERS:,} dead letters, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    rates, cpus = {}, {}
    for name, events in (("good", good), ("bad", few)):
        runs = [ingest(binary, events, COMPARED, name) for _ in range(3)]
        rates[name], cpus[name] = max(rate for rate, _ in runs), min(cpu for _, cpu in runs)
        print(f"ingest of 100 % {name} events: {rates[name]:>9,.0f} events/s  {cpus[name]:.2f} us CPU an event (best of 3)")
    speed, effort = rates["bad"] / rates["good"], cpus["good"] / cpus["bad"]
    print(f"bad events at {speed:.0%} of the speed of good ones, {effort:.0%} by CPU (at least 50 % is asked for)")

    replay(binary, [flight for flight in flights if b"null" not in flight], rates["good"], cpus["good"])

    ingest(binary, bad, LETTERS, "letters")
    files = list((STATE / "letters" / "dlq").rglob("*.parquet"))
    print(f"store: {len(files)} files, {sum(file.stat().st_size for file in files) / 2**20:,.0f} MiB")
    find(binary)


def ingest(binary: str, events: Path, count: int, name: str) -> tuple[float, float]:
    """Events a second, and microseconds of CPU an event."""
    place = STATE / name
    shutil.rmtree(place, ignore_errors=True)
    os.environ["PARQUEDUCT_DEMO_STORE"] = place.as_uri()
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [binary, "ingest", "--config", CONFIG, "--pipeline", "flights", str(events)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=name == "good")
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return count / wall, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / count * 1e6


def replay(binary: str, flights: list[bytes], good_rate: float, good_cpu: float) -> None:
    """Letters given back through the pipeline, beside ingesting as many good events."""
    schema = json.loads(Path("config/schemas/flight.v1.json").read_text())
    schema["properties"]["tailnum"] = {"type": ["string", "null"]}
    candidate, fix, events = STATE / "flight.v1.json", STATE / "fix.toml", STATE / "replay.ndjson"
    candidate.write_text(json.dumps(schema))
    fix.write_text('[[step]]\ncast = { path = "/flight", to = "integer" }\n')
    ways = {
        "by a candidate schema": (["--schema", str(candidate)], re.compile(rb'"tailnum":"[^"]*"'), rb'"tailnum":null'),
        "mended by a cast": (["--fix", str(fix)], re.compile(rb'"flight":([0-9]+)'), rb'"flight":"\1"'),
    }
    for way, (arguments, pattern, bad) in ways.items():
        with events.open("wb") as out:
            # Each id once, so that none is a repeat.
            for number in range(COMPARED):
                line = pattern.sub(bad, flights[number % len(flights)], count=1)
                out.write(line.replace(b'"id":"2013', b'"id":"%d' % (2013 + number // len(flights)), 1) + b"\n")
        rates, cpus = [], []
        for _ in range(3):
            ingest(binary, events, COMPARED, "replay")
            plan = json.loads(dlq(binary, "plan", "--why", "bench", "--json", *arguments))
            began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
            end = json.loads(dlq(binary, "replay", plan["plan"], "--yes", "--json"))
            wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            assert end["counts"]["recovered"] == plan["letters"], end
            rates.append(plan["letters"] / wall)
            cpus.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / plan["letters"] * 1e6)
        rate, cpu = max(rates), min(cpus)
        print(f"replay {way}: {rate:>9,.0f} letters/s  {cpu:.2f} us CPU a letter (best of 3): "
              f"{rate / good_rate:.0%} of the speed of ingest, {good_cpu / cpu:.0%} by CPU (at least 50 % is asked for)")
    shutil.rmtree(STATE / "replay")


def find(binary: str) -> None:
    groups = [json.loads(line) for line in dlq(binary, "groups", "--json").splitlines()]
    counted = sum(group["count"] for group in groups)
    assert counted == LETTERS, f"{counted} letters are counted in groups"
    print(f"{len(groups)} groups")
    largest, smallest = groups[0], min((group for group in groups if group["count"]), key=lambda group: group["count"])
    newest = json.loads(dlq(binary, "list", "--json", "--limit", "1"))
    sample = json.loads(dlq(binary, "list", "--json", "--limit", "1", "--group", smallest["group"]))
    begin = newest["dead_at"][:19] + "Z"

    timed(binary, "groups", 2.0, "groups")
    timed(binary, "list --group (large), first page", 1.0, "list", "--group", largest["group"])
    timed(binary, "list --group (small), first page", 1.0, "list", "--group", smallest["group"])
    timed(binary, "list --group --json, first 100", 1.0, "list", "--group", largest["group"], "--json", "--limit", "100")
    timed(binary, "show", 1.0, "show", sample["id"])
    timed(binary, "list --since (the last second)", 1.0, "list", "--since", begin)
    timed(binary, "groups --since (the last second)", 2.0, "groups", "--since", begin)
    timed(binary, "list --routing-key (none has it)", None, "list", "--routing-key", "nobody", runs=1)
    timed(binary, "list --where (rare)", None, "list", "--where", "/flight=9999", runs=1)
    timed(binary, "list --text (none has it)", None, "list", "--text", "no such text", runs=1)
    timed(binary, "export --json, all of it", None, "export", "--json", runs=1)


def dlq(binary: str, *words: str) -> str:
    return subprocess.run([binary, "dlq", "--config", CONFIG, *words], stdout=subprocess.PIPE, check=True, text=True).stdout


def timed(binary: str, what: str, limit: float | None, *words: str, runs: int = RUNS) -> None:
    walls, cpus = [], []
    for _ in range(runs):
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([binary, "dlq", "--config", CONFIG, *words], stdout=subprocess.DEVNULL, check=True)
        walls.append(time.monotonic() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    wall, cpu = statistics.median(walls), statistics.median(cpus)
    asked = f"   (asked for: under {limit:g} s)" if limit else ""
    print(f"{what:<36} {wall:>7.3f} s   {cpu:>7.3f} s CPU   peak so far {peak:,.0f} MiB{asked}")


if __name__ == "__main__":
    main(sys.argv[1])
