"""Times `parqueduct ingest` of the demo's flights; run by `scripts/bench` with the path of a release build."""

import gzip
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".parqueduct" / "bench"
RUNS = 5
# The file once is over before the process is warm.
COPIES = 20


def main(binary: str) -> None:
    os.chdir(ROOT)
    STATE.mkdir(parents=True, exist_ok=True)
    lines = gzip.decompress(Path("config/demo/flights-2013-01.ndjson.gz").read_bytes())
    events = STATE / "flights.ndjson"
    events.write_bytes(lines * COPIES)
    count = lines.count(b"\n") * COPIES
    os.environ.setdefault("PARQUEDUCT_DEMO_URI", "amqp://unused.invalid")
    os.environ["PARQUEDUCT_DEMO_LISTEN"] = "127.0.0.1:0"

    wall, cpu = [], []
    for run in range(RUNS):
        archive = STATE / "archive"
        shutil.rmtree(archive, ignore_errors=True)
        os.environ["PARQUEDUCT_DEMO_STORE"] = archive.as_uri()
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(
            [binary, "ingest", "--config", "config/demo/parqueduct.toml", "--pipeline", "flights", str(events)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wall.append(time.monotonic() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        print(f"run {run + 1}: {count / wall[-1]:>9,.0f} events/s  {cpu[-1] / count * 1e6:.2f} us CPU an event")
    print(
        f"median: {count / statistics.median(wall):>9,.0f} events/s  "
        f"{statistics.median(cpu) / count * 1e6:.2f} us CPU an event  ({count:,} events of "
        f"{len(lines) * COPIES // count} bytes, {os.cpu_count()} cores)"
    )


if __name__ == "__main__":
    main(sys.argv[1])
