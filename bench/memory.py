"""The long run for memory: does what `parqueduct run` takes grow with the events it has carried?"""

import json
import re
import subprocess
import time
from pathlib import Path

from subjects import Broker, Failure, Pipeline, Tools
from workloads import BY_NAME

# What is published again and again: the ids repeat, which is nothing to a queue that delivers each message once.
EVENTS = 1_000_000
POLL_SECONDS = 0.5
SECONDS_MAX = 4 * 3600


class Memory:
    """Publishes and consumes at the same time, and notes the memory of `parqueduct run` at each million."""

    def __init__(self, tools: Tools, state: Path, millions: int):
        self.tools, self.directory, self.millions = tools, state / "memory", millions
        self.path = state / "memory.json"

    def run(self) -> None:
        workload = BY_NAME["order"]
        print(f"making {EVENTS:,} events", flush=True)
        workload.write(self.directory, EVENTS)
        broker = Broker(self.directory / "rabbitmq")
        processes: list[subprocess.Popen] = []
        try:
            broker.queues("bench", ["bench"])
            archive = self.directory / "archive"
            pipeline = Pipeline(self.tools, workload, broker, "bench", self.directory, f'[store]\nurl = "{archive.as_uri()}"\n')
            processes.append(pipeline.process.child)
            source = self.directory / "events.ndjson"
            publish = [self.tools.bench, "publish", broker.uri, "bench", source, self.millions]
            processes.append(subprocess.Popen(list(map(str, publish))))
            notes = self.watch(pipeline)
            pipeline.process.stop()
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                    process.wait()
            broker.stop()
        self.path.write_text(json.dumps(notes, indent=1) + "\n")
        first, last = notes[0], notes[-1]
        grown = last["rss_bytes_max"] / first["rss_bytes_max"]
        print(f"peak of {last['events']:,} events / peak of {first['events']:,}: {grown:.3f}, to be at most 1.1")

    def watch(self, pipeline: Pipeline) -> list[dict]:
        notes, deadline = [], time.monotonic() + SECONDS_MAX
        while len(notes) < self.millions:
            time.sleep(POLL_SECONDS)
            if pipeline.process.ended() or time.monotonic() > deadline:
                raise pipeline.process.failure(f"did not receive {self.millions} million events")
            if pipeline.deliveries() < (len(notes) + 1) * EVENTS:
                continue
            status = Path(f"/proc/{pipeline.process.child.pid}/status").read_text()
            now, most = (int(re.search(rf"{name}:\s*(\d+) kB", status)[1]) * 1024 for name in ("VmRSS", "VmHWM"))
            notes.append({"events": (len(notes) + 1) * EVENTS, "rss_bytes": now, "rss_bytes_max": most})
            print(f"{notes[-1]['events']:>12,} events: {now >> 20} MiB, at most {most >> 20} MiB so far", flush=True)
        return notes
