"""The schedule: what goes wrong, one after the other, and which alerts must tell of it.

Times are those of the rules, in quick motion; what a fault does to Parqueduct takes no less time than it takes.
"""

import itertools
import json
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .events import BREAKS, Publisher
from .scale import milliseconds
from .services import Failure, Stack, ask, boot_broker, stop_broker
from .verdicts import SLACK_SECONDS, Episode, Expected, firing_now

# Alerts that no fault of the schedule sets off, and why. Their tests with promtool are in dashboards/alerts.
NOT_HERE = {
    "ParqueductVersionSkew": "takes two versions of the program",
    "ParqueductLedgerOpen": "is a defect, and there is none to be had",
    "ParqueductSilent": "compares with a week ago",
    "ParqueductDeadLettersRising": "compares with yesterday",
    "ParqueductMergeFailing": "rounds of merging are 15 minutes apart, in quick motion too",
    "ParqueductSmallFiles": "counts the files of a day",
    "ParqueductPanics": "is a defect, and there is none to be had",
    "ParqueductFlowSilent": "the monitor of the stack has a bound that nothing breaks",
    "ParqueductRateHigh": "the monitor of the stack has a bound that nothing breaks",
    "ParqueductRuleBroken": "takes events that break a rule, and those here are flights as they were",
    "ParqueductPersonalData": "takes events about persons, and those here are flights as they were",
    "ParqueductGroupRegressed": "takes somebody who resolves a group",
    "ParqueductGroupRising": "compares with yesterday",
    "ParqueductQueueGrows": "ParqueductNothingArchived and ParqueductNotConsuming tell sooner what makes it fire",
}


@dataclass
class Fault:
    name: str
    # Does it; what it returns undoes it. Between the two the alerts are waited for.
    do: Callable[["Drill"], Callable[[], None]]
    expected: tuple[Expected, ...]
    allowed: tuple[str, ...] = ()


class Drill:
    """A stack with events flowing, to which the faults happen."""

    def __init__(self, stack: Stack, publisher: Publisher):
        self.stack, self.publisher = stack, publisher
        self.episodes: list[Episode] = []

    def seconds(self, duration: str) -> float:
        return milliseconds(duration) / 1000 / self.stack.factor

    def quiet(self, seconds: float) -> None:
        episode = Episode("quiet", time.time())
        self.episodes.append(episode)
        time.sleep(seconds)
        episode.ended = time.time()

    def run(self, faults: list[Fault]) -> None:
        for fault in faults:
            episode = Episode(fault.name, time.time(), expected=fault.expected, allowed=fault.allowed)
            self.episodes.append(episode)
            print(f"   {fault.name}", flush=True)
            undo = fault.do(self)
            try:
                self.wait(fault.expected, episode)
            finally:
                undo()
                episode.ended = time.time()
            self.settle(episode)
        # What looks back furthest, such as the share of two hours.
        waits = [expected for episode in self.episodes for expected in episode.expected]
        longest = max(expected.over for expected in waits) + SLACK_SECONDS
        self.until(lambda: not any(expected.is_of(labels) for labels in firing_now(self.stack) for expected in waits), longest)
        # Long enough for Alertmanager to say so.
        time.sleep(self.seconds("10m"))

    def wait(self, expected: tuple[Expected, ...], episode: Episode) -> None:
        """Until all that is expected has fired, or had its time; what fires later is seen at the end."""
        open_ones = {one for one in expected if not one.later}
        deadline = episode.began + max((one.within for one in open_ones), default=0) + SLACK_SECONDS
        while open_ones and time.time() < deadline:
            now = firing_now(self.stack)
            open_ones -= {one for one in open_ones if any(one.is_of(labels) for labels in now)}
            time.sleep(0.2)

    def settle(self, episode: Episode) -> None:
        """Until what is soon over is over, and events flow again."""
        soon = [one for one in episode.expected if one.over <= SOON_SECONDS]
        patience = max((one.over for one in soon), default=0) + SLACK_SECONDS
        self.until(lambda: not any(one.is_of(labels) for labels in firing_now(self.stack) for one in soon), patience)
        archived = self.total("parqueduct_archived_total")
        if not self.until(lambda: self.total("parqueduct_archived_total") > archived, 60):
            raise Failure(f"after `{episode.name}` nothing is archived any more: see {self.stack.programs['b'].log}")

    def total(self, metric: str) -> float:
        found = self.stack.prometheus.data(f"sum({metric})")
        return float(found[0]["value"][1]) if found else 0.0

    def until(self, reached: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.3)
        return True


# What takes longer to be over than this is not waited for before the next fault.
SOON_SECONDS = 40


def bad_events(share: float) -> Callable[[Drill], Callable[[], None]]:
    """So many events are bad, in all the ways there are."""

    def do(drill: Drill) -> Callable[[], None]:
        publisher = drill.publisher
        before = publisher.bad, publisher.ways
        publisher.bad, publisher.ways = share, len(BREAKS)

        def undo() -> None:
            publisher.bad, publisher.ways = before

        return undo

    return do


def schema_broken(drill: Drill) -> Callable[[], None]:
    """The schema's file is cut off while it is written; then it is whole, with a field more."""
    schema = drill.stack.schema
    text = schema.read_text()
    schema.write_text(text[: len(text) // 2])

    def undo() -> None:
        changed = json.loads(text)
        changed["properties"]["gate"] = {"type": "string"}
        schema.write_text(json.dumps(changed))
        if not drill.until(lambda: drill.total("parqueduct_schema_reloads_total") > 0, 60):
            raise Failure("a schema that is mended, with a field more, is not taken")

    return undo


def new_field(drill: Drill) -> Callable[[], None]:
    """Events whose schema is learned bring another field, and go on to do so."""
    drill.publisher.news = True
    if not drill.until(lambda: drill.total("max by (pipeline) (parqueduct_schema_revision)") > 1, 120):
        raise Failure("a new field does not become a column of the learned schema")
    return lambda: None


def store_answers(fault: Callable[[str, str], str | float | None]) -> Callable[[Drill], Callable[[], None]]:
    def do(drill: Drill) -> Callable[[], None]:
        drill.stack.store.fault = fault
        return lambda: setattr(drill.stack.store, "fault", lambda method, path: None)

    return do


def store_gone(method: str, path: str) -> str:
    return "gone"


def every_second_busy() -> Callable[[str, str], str | None]:
    """503 for one request, then none for the next."""
    count = itertools.count()
    return lambda method, path: "busy" if next(count) % 2 else None


def writes_take(seconds: float) -> Callable[[str, str], float | None]:
    return lambda method, path: seconds if method == "PUT" else None


def lose_a_settlement(drill: Drill) -> Callable[[], None]:
    """Cuts the connection when the outcome of a flush stands, and nobody was told yet."""
    cut = []

    def after(method: str, path: str) -> None:
        if method == "PUT" and "/meta/flushes/flights/" in path and path.split("?")[0].endswith(".outcome.json") and not cut:
            cut.append(path)
            drill.stack.broker.cut()
            time.sleep(1)

    drill.stack.store.after = after
    return lambda: setattr(drill.stack.store, "after", lambda method, path: None)


def ids_taken_again(drill: Drill) -> Callable[[], None]:
    """Events of a minute ago come once more, some of them changed, and the last of them are handed out twice."""
    publisher = drill.publisher
    # After the fault before, consumers take but a few at a time: what comes now would not be delivered soon.
    behind = 'sum(parqueduct_queue_messages{pipeline="flights"}) + sum(parqueduct_in_flight{pipeline="flights"})'
    if not drill.until(lambda: drill.total(behind) < 8 * publisher.rate, 60):
        raise Failure("what came back after an acknowledgement was lost is not worked off")
    # More than flushes that are under way can hold, and on it goes while the connections are cut.
    publisher.again = round(20 * publisher.rate)
    if not drill.until(lambda: publisher.again < 10 * publisher.rate, 30):
        raise Failure("the events of a minute ago are not published again")
    drill.stack.broker.cut()
    return lambda: None


def connections_cut(drill: Drill) -> Callable[[], None]:
    """Ends every connection sooner than a flush comes about."""
    ended = threading.Event()

    def cut() -> None:
        while not ended.wait(drill.seconds("1m")):
            drill.stack.broker.cut()

    thread = threading.Thread(target=cut, daemon=True)
    thread.start()
    # A window that is full is flushed at once: it must not be, though all that came meanwhile waits.
    usual, drill.publisher.rate = drill.publisher.rate, drill.publisher.rate / 10

    def undo() -> None:
        ended.set()
        thread.join()
        drill.publisher.rate = usual

    return undo


def broker_stopped(drill: Drill) -> Callable[[], None]:
    stop_broker()
    return boot_broker


def killed_again_and_again(drill: Drill) -> Callable[[], None]:
    """One process is killed three times over, and then stays away; the other goes on."""
    program = drill.stack.programs["a"]
    for _ in range(3):
        received = f'parqueduct_deliveries_total{{instance="{program.address}"}}'
        if not drill.until(lambda metric=received: drill.total(metric) > 50, 60):
            raise Failure(f"{program.name} takes no deliveries: see {program.log}")
        program.stop(signal.SIGKILL)
        time.sleep(2)
        program.start()
        program.wait_for(f"http://{program.address}/readyz")
    if not drill.until(lambda: len(firing(drill, "ParqueductRestarting")) > 0, drill.seconds("1h")):
        raise Failure("three restarts are not seen")
    program.stop(signal.SIGKILL)
    return program.start


def all_stopped(drill: Drill) -> Callable[[], None]:
    for program in drill.stack.programs.values():
        program.stop()

    def undo() -> None:
        for program in drill.stack.programs.values():
            program.start()
            program.wait_for(f"http://{program.address}/readyz")

    return undo


def merging_denied(drill: Drill) -> Callable[[], None]:
    """A round of merging that fails: the first of a process comes a minute after its start."""
    drill.stack.store.fault = lambda method, path: "denied" if "merges" in path else None
    seen = drill.until(lambda: drill.total("parqueduct_dlq_merge_failures_total") > 0, 120)
    if not seen:
        raise Failure("no round of merging failed, although the store denied it")
    return lambda: setattr(drill.stack.store, "fault", lambda method, path: None)


def firing(drill: Drill, alert: str) -> list[dict[str, str]]:
    return [labels for labels in firing_now(drill.stack) if labels["alertname"] == alert]


def usual(drill: Drill) -> list[Fault]:
    """What fails now and then comes for the first time: known from then on, it is no news."""
    once = drill.seconds("1h") + drill.seconds("5m")
    of = [Expected("ParqueductNewGroup", 60, once, (("pipeline", pipeline),)) for pipeline in ("flights", "dead")]
    return [Fault("what is usual fails for the first time", lambda drill: lambda: None, tuple(of))]


def schedule(drill: Drill) -> list[Fault]:
    """The faults. Seconds of `within` and `over` are what the rules' own windows come to."""
    s = drill.seconds
    flights = (("pipeline", "flights"),)
    burn = ("ParqueductBudgetBurnFast", "ParqueductBudgetBurn", "ParqueductBudgetBurnSlow")
    hour = s("1h") + s("5m")

    def one(alert: str, within: float, over: float, labels: tuple = (), later: bool = False) -> Expected:
        return Expected(f"Parqueduct{alert}", within, over, labels, later)

    # Nothing flows, or too little.
    still = ("ParqueductRateLow", "ParqueductFlushSlow")
    return [
        Fault("one event in ten is bad", bad_events(0.1), (
            one("NewGroup", 40, hour, flights),
            one("BudgetBurnFast", 40, s("10m"), flights),
            one("BudgetBurn", 50, s("45m"), flights),
            one("BudgetBurnSlow", 40 + s("40m"), s("3h"), flights, later=True),
        )),
        Fault("most events are bad", bad_events(0.9), (
            one("BreakerOpen", 20, 20, (*flights, ("class", "schema"))),
            one("BreakerTripped", 20, hour, (*flights, ("class", "schema"))),
        ), burn),
        Fault("the store hangs up", store_answers(store_gone), (one("StoreDown", 30, 20),), ("ParqueductStoreErrors", "ParqueductFlushSlow", *burn)),
        Fault("the store answers every second request with 503", store_answers(every_second_busy()), (
            one("StoreErrors", 60, s("20m"), (("kind", "throttled"),)),
            # Waits between retries are not in quick motion: two of them in a row are as long as an outage.
        ), ("ParqueductStoreDown", "ParqueductFlushSlow", *burn)),
        Fault("the store takes a second for a write", store_answers(writes_take(1.0)), (
            # The next fault makes flushes slow, too, and counts for another half an hour.
            one("FlushSlow", 60, s("35m") + 60, flights),
        ), burn),
        Fault("the store takes nine seconds for a write", store_answers(writes_take(9.0)), (
            one("OldestUnacked", 60, 30, flights),
        ), (*still, *burn)),
        # The next fault may lose one, too, and count for another hour.
        Fault("an acknowledgement is lost", lose_a_settlement, (one("SettlementsLost", 30, hour + 90, flights),), ("ParqueductFlushSlow", *burn)),
        # The next fault hands some of them out once more, and they count for another hour.
        Fault("ids are used again", ids_taken_again, (one("IdReused", 60, hour + 90, flights),), ("ParqueductSettlementsLost", "ParqueductRequeueing", *still, *burn)),
        Fault("connections are cut before a flush comes about", connections_cut, (
            one("NothingArchived", 90, 30, flights),
            one("Requeueing", 50, hour, (*flights, ("cause", "connection_lost"))),
        ), ("ParqueductSettlementsLost", "ParqueductIdReused", *still, *burn)),
        Fault("the broker is stopped", broker_stopped, (
            one("NotConsuming", 40, 20, flights),
            one("InstanceNotConsuming", 50, 20, flights),
            one("RateLow", 50, 60, flights),
        ), ("ParqueductRequeueing", "ParqueductSettlementsLost", "ParqueductIdReused")),
        Fault("a process is killed again and again", killed_again_and_again, (
            # The next fault is a restart, too, and counts for another hour.
            one("Restarting", 90, hour + s("45m")),
            one("InstanceDown", 150, 20),
        ), ("ParqueductRequeueing", "ParqueductSettlementsLost", "ParqueductIdReused", *still)),
        # Of what came meanwhile the first flushes are large; a second is much in quick motion.
        Fault("every process is stopped", all_stopped, (one("Down", 30, 20),), ("ParqueductInstanceDown", "ParqueductRestarting", *still)),
        Fault("the store does not let dead letters be merged", merging_denied, (), ("ParqueductFlushSlow",)),
        Fault("the schema's file is cut off", schema_broken, (one("SchemaRefused", 40, 30, flights),)),
        Fault("events bring a field that their schema did not have", new_field, (
            one("UndeclaredFields", 60, hour, (("pipeline", "learned"),)),
        )),
    ]


def unmentioned(drill: Drill) -> list[str]:
    """Alerts that the rules have, and neither the schedule nor NOT_HERE; and the other way round."""
    groups = ask(f"http://{drill.stack.prometheus.address}/api/v1/rules", type="alert")["data"]["groups"]
    have = {rule["name"] for group in groups for rule in group["rules"]}
    said = {expected.alert for fault in schedule(drill) for expected in fault.expected} | NOT_HERE.keys()
    return [f"{name}: neither in the schedule nor in NOT_HERE" for name in sorted(have - said)] + [
        f"{name}: is no alert" for name in sorted(said - have)
    ]
