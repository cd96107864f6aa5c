"""The queries of the dashboards as Grafana would ask them: variables replaced, over a time, of a live Prometheus."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

from .scale import milliseconds
from .services import ROOT, Prometheus

# Of deploy/prometheus/prometheus.yml.
SCRAPE_SECONDS = 15

HOME = ROOT / "dashboards" / "grafana"

# Panels that show 0 as long as all is well, with no fault of the schedule that could change it.
STILL = {
    "Not accounted for": "a ledger that does not close is a defect",
    "Made by a panic": "a panic is a defect",
    "Monitors that say no": "no fault breaks what the stack's monitor asks",
    "Broken rules a minute": "no fault makes events that break a rule",
    "Personal data": "the events of the stack hold none",
    "Groups that rise": "takes a day to compare with",
}


@dataclass(frozen=True)
class Span:
    """The time shown, in seconds since 1970, and from one point to the next."""

    start: float
    end: float
    step: float
    # Prometheus' own.
    scrape: float

    def of(self, panel: dict) -> "Span":
        """The same for a panel, whose points may be further apart; its own interval is in quick motion, too."""
        every = milliseconds(panel.get("interval", "0s")) / 1000 * self.scrape / SCRAPE_SECONDS
        return replace(self, step=max(self.step, every))

    def fill(self, expression: str) -> str:
        """`expression` with Grafana's variables replaced; those of the dashboard by all there is."""
        rate = max(self.step + self.scrape, 4 * self.scrape)
        values = {
            "$__rate_interval": f"{round(rate * 1000)}ms",
            "$__range": f"{round(self.end - self.start)}s",
            "$job": ".*", "$instance": ".*", "$pipeline": ".*", "$queue": ".*",
        }
        for name, value in values.items():
            expression = expression.replace(name, value)
        return expression


def boards() -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(HOME.glob("*.json"))}


def panels(board: dict) -> list[dict]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def series(prometheus: Prometheus, target: dict, span: Span) -> list[dict]:
    """What Prometheus answers; each series with its points, of which an instant query has one."""
    query = span.fill(target["expr"])
    if target.get("instant"):
        found = prometheus.data(query, time=span.end)
        return [{"metric": one["metric"], "values": [one["value"]]} for one in found]
    return prometheus.data(query, start=span.start, end=span.end, step=span.step)


def numbers(found: list[dict]) -> list[float]:
    values = [float(value) for one in found for _, value in one["values"]]
    return [value for value in values if math.isfinite(value)]


def lacking(prometheus: Prometheus, span: Span) -> tuple[int, list[str]]:
    """How many queries there are, and which of them bring nothing, or nothing but 0."""
    count, findings = 0, []
    for name, board in boards().items():
        for panel in panels(board):
            moved = False
            for target in panel["targets"]:
                count += 1
                found = numbers(series(prometheus, target, span.of(panel)))
                moved |= any(found)
                if not found:
                    findings.append(f"{name}: `{panel['title']}`: no data for {target['expr']}")
            # A stat shows the end, when all is well again.
            if not moved and panel["type"] != "stat" and panel["title"] not in STILL:
                findings.append(f"{name}: `{panel['title']}`: never anything but 0")
    findings += [f"a panel `{title}` is nowhere" for title in STILL if not any(title == p["title"] for b in boards().values() for p in panels(b))]
    return count, findings


def recorded(path: Path) -> Span:
    """The span of a run, as it wrote it down."""
    return Span(**json.loads(path.read_text()))
