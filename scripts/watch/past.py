"""A few days before the run: dead letters of which some were recovered, resolved or ignored since, so that there is
something to merge and to remove. The program is told another time by libfaketime.
"""

import json

from .events import past
from .services import ROOT, STATE, Failure, Stack

CANDIDATE = ROOT / "config" / "demo" / "candidate" / "flight.v1.json"


def live(stack: Stack) -> None:
    """Lives it: the store is there already, and nothing consumes yet."""
    for when, lines in past():
        events = STATE / f"past{when}.ndjson"
        events.write_bytes(b"\n".join(lines) + b"\n")
        at(stack, when, "ingest", "--pipeline", "flights", events)
    groups = [json.loads(line) for line in at(stack, "-71h", "dlq", "groups", "--json").splitlines()]
    of_path = {group["path"]: group["group"] for group in groups}
    if not {"/tailnum", "/carrier", "/flight"} <= of_path.keys():
        raise Failure(f"the dead letters of the past are in other groups: {of_path}")
    plan = json.loads(at(stack, "-70h", "dlq", "plan", "--pipeline", "flights", "--schema", CANDIDATE, "--group", of_path["/tailnum"], "--why", "nulls are all right", "--json"))
    at(stack, "-70h", "dlq", "replay", plan["plan"], "--yes", "--json")
    at(stack, "-69h", "dlq", "resolve", of_path["/carrier"], "--why", "the producer is mended")
    at(stack, "-69h", "dlq", "ignore", of_path["/flight"], "--why", "a test of the producer's")


def at(stack: Stack, when: str, *arguments: object) -> str:
    """What a command says that runs so long ago. Only the wall clock is another."""
    clock = {"LD_PRELOAD": str(stack.tools / "libfaketime.so.1"), "FAKETIME": when, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    return stack.parqueduct(*arguments, environment=clock)
