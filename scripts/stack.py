"""`make stack`: everything that watches Parqueduct, natively and live, and whether it tells what it should.

Run by `scripts/stack`, with a Python that has what `scripts/requirements-stack.txt` says. RabbitMQ, an S3-compatible store,
two processes of Parqueduct, Prometheus and Alertmanager, with the files of deploy/ and dashboards/ in quick motion: every
duration is divided by `--factor`. First nothing goes wrong for a while, then one thing after the other. Alerts must fire,
tell whom they are for, and be over; none may fire while nothing is wrong; every query of every dashboard must have data.

Exits with 1 if anything differs. Everything is below `.parqueduct/stack`, and stopped at the end, but for `--keep`.
"""

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

sys.dont_write_bytecode = True

from watch import faults, past, panels, verdicts  # noqa: E402
from watch.events import Publisher  # noqa: E402
from watch.services import STATE, Failure, Stack  # noqa: E402

# Events a second.
RATE = 40
# Of these, so many are bad while all is well: less than the objective lets through.
BAD_SHARE = 0.0003


def main() -> int:
    options = arguments()
    stack = Stack(options.binary, options.tools, options.factor)
    publisher = watch = None
    try:
        step(1, "start RabbitMQ, the store, Parqueduct, Prometheus, Alertmanager")
        stack.surround()
        past.live(stack)
        stack.start()
        began = time.time()
        publisher = Publisher(stack.amqp, RATE)
        publisher.bad = BAD_SHARE
        watch = verdicts.Watch(stack).start()
        drill = faults.Drill(stack, publisher)
        findings = faults.unmentioned(drill)
        drill.run(faults.usual(drill))
        step(2, f"nothing goes wrong, for {options.quiet} s: {options.quiet * options.factor / 3600:.1f} h in quick motion")
        drill.quiet(options.quiet)
        step(3, "one thing after the other goes wrong")
        try:
            drill.run(faults.schedule(drill))
        except Failure as failure:
            findings.append(str(failure))
        findings += check(stack, drill, watch, began)
        if options.keep:
            keep(stack)
    finally:
        if publisher:
            publisher.close()
        if watch:
            watch.close()
        stack.stop()
    print("\n".join(f"   NO   {finding}" for finding in findings) or "   all of it is as it should be")
    return 1 if findings else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True, help="the program `parqueduct`")
    parser.add_argument("--tools", type=Path, required=True, help="a directory with prometheus, prometheus-alertmanager and libfaketime.so.1")
    parser.add_argument("--quiet", type=int, default=600, help="seconds in which nothing goes wrong; default: 600")
    parser.add_argument("--factor", type=float, default=30, help="what durations are divided by; default: 30")
    parser.add_argument("--keep", action="store_true", help="at the end, stay until Enter or Ctrl-C, and say where what is")
    return parser.parse_args()


def check(stack: Stack, drill: faults.Drill, watch: verdicts.Watch, began: float) -> list[str]:
    ended = time.time()
    scrape = 15 / stack.factor
    span = panels.Span(began, ended, max((ended - began) / 300, scrape), scrape)
    (STATE / "span.json").write_text(json.dumps(asdict(span)) + "\n")

    step(4, "which alerts fired")
    found = verdicts.firings(stack, began, ended)
    rows, findings = verdicts.judge(stack, drill.episodes, found, watch)
    show(rows)
    quiet = next(episode for episode in drill.episodes if episode.name == "quiet")
    told = sum(quiet.began < at < quiet.ended for at, _, _ in stack.receiver.told)
    print(f"\n   While nothing went wrong, {sum(quiet.began < one.since < quiet.ended for one in found)} fired and {told} notifications were sent.")
    print(f"   In all {len(stack.receiver.told)} were sent. Load of this machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}. Not set off here:")
    print("\n".join(f"      {alert}: {why}" for alert, why in faults.NOT_HERE.items()))
    if told:
        findings.append(f"{told} notifications were sent while nothing went wrong")

    step(5, "does every query of the dashboards have data?")
    count, empty = panels.lacking(stack.prometheus, span)
    print(f"   {count} queries of {len(panels.boards())} dashboards over {ended - began:.0f} s; {len(empty)} findings")
    step(6, "what differs")
    return findings + empty


def show(rows: list[verdicts.Row]) -> None:
    width = max(len(row.expected) for row in rows)
    print(f"   {'ALERT'.ljust(width)}   FIRED AFTER  OVER AFTER  TOLD TO")
    episode = None
    for row in rows:
        if row.episode != episode:
            episode = row.episode
            print(f"   -- {episode}")
        fired = "never" if row.fired_after is None else f"{row.fired_after:.0f} s"
        over = "goes on" if row.over_after is None else f"{row.over_after:.0f} s"
        print(f"   {row.expected.ljust(width)}   {fired:>11}  {over:>10}  {row.told or '-'}")


def keep(stack: Stack) -> None:
    print(f"\n   Prometheus    http://{stack.prometheus.address}\n   Alertmanager  http://{stack.alertmanager.address}")
    for name, program in stack.programs.items():
        print(f"   Parqueduct {name}  http://{program.address}/metrics")
    print(f"   RabbitMQ      http://{stack.exporter}/metrics", flush=True)
    try:
        input("   Enter ends it. ")
    except EOFError:
        # Nobody can press it: SIGTERM does.
        signal.pause()
    except KeyboardInterrupt:
        pass


def step(number: int, what: str) -> None:
    print(f"== {number}. {what}", flush=True)


if __name__ == "__main__":
    # Whoever ends it politely leaves nothing behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"stack: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
