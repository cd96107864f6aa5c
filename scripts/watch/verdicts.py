"""What alerts did: when they fired, by Prometheus; whether they were silenced by others, by Alertmanager; who was told. And
whether that is what the schedule of faults asks for.
"""

import threading
import time
import urllib.error
from dataclasses import dataclass, field

from .scale import milliseconds
from .services import Stack, ask

# Between two looks at Alertmanager.
LOOK_SECONDS = 0.5
# What a machine that others use may add to a wait.
SLACK_SECONDS = 10


# What may follow from any fault: events that fail in a way that they did not before, a queue that nobody empties.
FOLLOWS = ("ParqueductNewGroup", "ParqueductQueueGrows")


@dataclass(frozen=True)
class Expected:
    """An alert that a fault must set off, within so many seconds of its start, and that must be over so many after its end.

    `labels` tell which of several it is. One that is `later` may fire after the fault, which is not kept up for it.
    """

    alert: str
    within: float
    over: float
    labels: tuple[tuple[str, str], ...] = ()
    later: bool = False

    def is_of(self, labels: dict[str, str]) -> bool:
        return labels["alertname"] == self.alert and all(labels.get(name) == value for name, value in self.labels)

    def __str__(self) -> str:
        return self.alert + "".join(f" {value}" for _, value in self.labels)


@dataclass
class Episode:
    """A time in which a fault was there, or none, and which alerts that may set off."""

    name: str
    began: float
    ended: float = 0.0
    expected: tuple[Expected, ...] = ()
    # Such as may fire or not: what else the fault may do, or what fires already and may do so once more.
    allowed: tuple[str, ...] = ()


@dataclass
class Firing:
    """One alert from when it fired until it did no more; `until` None: to the end."""

    labels: dict[str, str]
    since: float
    until: float | None


@dataclass
class Watch:
    """Looks at Alertmanager again and again: which alerts it holds back, and which it would tell."""

    stack: Stack
    # By labels: when an alert was seen, and whether others silenced it.
    seen: dict[tuple, list[tuple[float, bool]]] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> "Watch":
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def close(self) -> None:
        self.ended.set()
        self.thread.join(timeout=10)

    def run(self) -> None:
        while not self.ended.wait(LOOK_SECONDS):
            try:
                alerts = ask(f"http://{self.stack.alertmanager.address}/api/v2/alerts")
            except (urllib.error.URLError, OSError):
                continue
            now = time.time()
            for alert in alerts:
                silenced = alert["status"]["state"] == "suppressed"
                self.seen.setdefault(key(alert["labels"]), []).append((now, silenced))


def key(labels: dict[str, str]) -> tuple:
    return tuple(sorted(labels.items()))


def firing_now(stack: Stack) -> list[dict[str, str]]:
    alerts = ask(f"http://{stack.prometheus.address}/api/v1/alerts")["data"]["alerts"]
    return [alert["labels"] for alert in alerts if alert["state"] == "firing"]


def firings(stack: Stack, start: float, end: float) -> list[Firing]:
    """Every time that an alert fired, by Prometheus' own series ALERTS."""
    step = milliseconds(stack.scaled("15s")) / 1000
    found = []
    for at in range(0, int(end - start) + 1, 3600):
        until = min(start + at + 3600 - step, end)
        found += stack.prometheus.data('ALERTS{alertstate="firing"}', start=start + at, end=until, step=step)
    out = []
    for series in found:
        labels = {name: value for name, value in series["metric"].items() if name not in ("__name__", "alertstate")}
        times = [float(at) for at, _ in series["values"]]
        since = last = times[0]
        for at in times[1:]:
            if at - last > 3 * step:
                out.append(Firing(labels, since, last))
                since = at
            last = at
        out.append(Firing(labels, since, None if end - last <= 3 * step else last))
    return sorted(out, key=lambda one: one.since)


@dataclass
class Row:
    """What became of one expectation."""

    episode: str
    expected: str
    fired_after: float | None
    over_after: float | None
    told: str


def judge(stack: Stack, episodes: list[Episode], found: list[Firing], watch: Watch) -> tuple[list[Row], list[str]]:
    """The table of the run, and all that differs from what was asked for."""
    rows, findings, explained = [], [], set()
    for episode in episodes:
        for expected in episode.expected:
            of_it = [n for n, one in enumerate(found) if expected.is_of(one.labels) and is_within(one, episode, expected)]
            explained |= set(of_it)
            if not of_it:
                findings.append(f"{episode.name}: {expected} did not fire within {expected.within:.0f} s")
                rows.append(Row(episode.name, str(expected), None, None, ""))
                continue
            first, last = found[of_it[0]], found[of_it[-1]]
            over = last.until and max(last.until - episode.ended, 0)
            if over is None or over > expected.over + SLACK_SECONDS:
                findings.append(f"{episode.name}: {expected} was not over within {expected.over:.0f} s of the end")
            told = [whom for _, whom, alert in stack.receiver.told if is_same(alert["labels"], first.labels)]
            rows.append(Row(episode.name, str(expected), max(first.since - episode.began, 0), over, ", ".join(sorted(set(told)))))
    for n, one in enumerate(found):
        if n in explained:
            continue
        during = next((each for each in reversed(episodes) if each.began <= one.since), episodes[0])
        follows = FOLLOWS if during.name != "quiet" else ()
        # Other pipelines and processes may suffer from the same.
        if one.labels["alertname"] not in {*follows, *during.allowed, *(expected.alert for expected in during.expected)}:
            where = " ".join(one.labels.get(name, "") for name in ("pipeline", "instance", "kind", "cause"))
            findings.append(f"{during.name}: {one.labels['alertname']} fired, {one.since - during.began:.0f} s after its start ({where.strip()})")
    return rows, findings + notifications(stack, found, watch)


def is_within(one: Firing, episode: Episode, expected: Expected) -> bool:
    """Whether it began to fire in that time, or fired already for the same reason, and did so still."""
    latest = episode.began + expected.within + SLACK_SECONDS
    if not expected.later:
        # The series is a scrape or two behind what Prometheus said when the fault ended.
        latest = min(latest, episode.ended + 2)
    return one.since <= latest and (one.until is None or one.until >= episode.began)


def is_same(labels: dict[str, str], other: dict[str, str]) -> bool:
    return key(labels) == key(other)


def notifications(stack: Stack, found: list[Firing], watch: Watch) -> list[str]:
    """Whether the receiver that an alert is for was told, and no other; and none of an alert that others silenced."""
    findings = []
    routes = {route["matchers"][0].split('"')[1]: stack.routes | route for route in stack.routes["routes"]}
    for labels in {key(one.labels): one.labels for one in found}.values():
        name, severity = labels["alertname"], labels["severity"]
        notes = [(at, whom, alert["status"]) for at, whom, alert in stack.receiver.told if is_same(alert["labels"], labels)]
        told = [(whom, status) for _, whom, status in notes]
        findings += [f"{name}: told to {whom}, not to {severity}" for whom, _ in told if whom != severity]
        looks = watch.seen.get(key(labels), [])
        if any(status == "firing" and is_silenced(looks, at) for at, _, status in notes):
            findings.append(f"{name}: told, although another one silenced it")
        wait = sum(milliseconds(routes[severity][field]) for field in ("group_wait", "group_interval")) / 1000
        if longest_loud(looks) > wait + SLACK_SECONDS and not told:
            findings.append(f"{name}: not told within {wait:.0f} s")
        of_it = [one for one in found if is_same(one.labels, labels)]
        is_over = of_it[-1].until is not None
        was_loud = bool(looks) and not looks[-1][1]
        if severity == "page" and told and is_over and was_loud and (severity, "resolved") not in told:
            findings.append(f"{name}: nobody was told that it is over")
    return findings


def is_silenced(looks: list[tuple[float, bool]], at: float) -> bool:
    """Whether others silenced an alert for seconds before and after `at`: one that is over for a moment sooner is none."""
    near = [(when - at, silenced) for when, silenced in looks if abs(when - at) < 4]
    return all(silenced for _, silenced in near) and any(when < -1 for when, _ in near) and any(when > 1 for when, _ in near)


def longest_loud(looks: list[tuple[float, bool]]) -> float:
    """Seconds that an alert was seen at a stretch without being silenced."""
    longest, since, last = 0.0, None, 0.0
    for at, silenced in looks:
        if silenced or (since is not None and at - last > 4 * LOOK_SECONDS):
            since = None
        if not silenced:
            since = at if since is None else since
            longest = max(longest, at - since)
        last = at
    return longest
