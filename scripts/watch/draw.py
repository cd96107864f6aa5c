"""Draws a dashboard's panels as they are laid out, from what Prometheus answers: a rendering of the queries, not of Grafana."""

import datetime
import math
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.dates as dates  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.patches import Patch, Rectangle  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullLocator  # noqa: E402
from PIL import Image  # noqa: E402

from .grafana import COLUMNS  # noqa: E402
from .panels import Span, series  # noqa: E402
from .services import Prometheus  # noqa: E402

# Of the picture, in inches; a cell of the grid is 30 pixels high in Grafana, with 38 of them to the screen.
WIDTH, CELL = 16.0, 0.32
DPI = 100
# So many colours are enough for lines on white, and make a small file.
PNG_COLORS = 256

NAMED = {
    "green": "#56a64b", "red": "#e02f44", "orange": "#ff780a", "yellow": "#e0b400", "blue": "#3274d9",
    "purple": "#a352cc", "transparent": "#ffffff00", "text": "#24292e",
}
CLASSIC = ["#56a64b", "#e0b400", "#3274d9", "#ff780a", "#e02f44", "#6ed0e0", "#a352cc", "#8f3bb8", "#705da0", "#508642",
           "#cca300", "#447ebc", "#c15c17", "#890f02"]
INK, FAINT = "#24292e", "#8e959c"


def board(prometheus: Prometheus, shown: dict, span: Span, file: Path) -> None:
    """Writes a picture of the dashboard `shown` over `span`."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in shown["panels"])
    height = (rows + 3) * CELL
    figure = plt.figure(figsize=(WIDTH, height), facecolor="#f4f5f5")
    figure.text(0.008, 1 - 0.75 * CELL / height, shown["title"], fontsize=15, weight="bold", color=INK, va="center")
    figure.text(0.008, 1 - 1.6 * CELL / height, shown["description"], fontsize=9.5, color=FAINT, va="center")
    note = "Drawn by scripts/pictures from the dashboard's queries over a run of `make stack`; not a screenshot of Grafana."
    figure.text(0.992, 1 - 0.75 * CELL / height, note, fontsize=8.5, color=FAINT, ha="right", va="center")
    pages = pages_of(prometheus, shown, span)
    for panel in shown["panels"]:
        grid = panel["gridPos"]
        x, w = grid["x"] / COLUMNS, grid["w"] / COLUMNS
        y, h = 1 - (grid["y"] + 2.4 + grid["h"]) * CELL / height, grid["h"] * CELL / height
        if panel["type"] == "row":
            figure.text(0.008, y + h / 2, "▾ " + panel["title"], fontsize=10.5, weight="bold", color=INK, va="center")
            continue
        gap_x, gap_y = 0.04 / WIDTH, 0.05 / height
        frame = figure.add_axes((x + gap_x, y + gap_y, w - 2 * gap_x, h - 2 * gap_y))
        frame.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
        for side in frame.spines.values():
            side.set_color("#dcdfe3")
        frame.text(0.06 / (w * WIDTH), 1 - 0.06 / (h * height), panel["title"], fontsize=8.8, color=INK, va="top")
        own = span.of(panel)
        found = [(target, series(prometheus, target, own)) for target in panel["targets"]]
        box = Box(figure, (x, y, w, h), height)
        DRAWN[panel["type"]](box, frame, panel, found, own, pages)
    figure.savefig(file, dpi=DPI, facecolor=figure.get_facecolor())
    plt.close(figure)
    picture = Image.open(file).convert("RGB").quantize(PNG_COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    picture.save(file, optimize=True)


class Box:
    """Where a panel is, in parts of the figure, and axes inside it, by inches from its sides."""

    def __init__(self, figure, place: tuple[float, float, float, float], height: float):
        self.figure, self.place, self.height = figure, place, height

    def axes(self, left: float = 0.55, right: float = 0.14, top: float = 0.32, bottom: float = 0.56):
        x, y, w, h = self.place
        made = self.figure.add_axes((x + left / WIDTH, y + bottom / self.height, w - (left + right) / WIDTH, h - (top + bottom) / self.height))
        made.patch.set_alpha(0)
        return made


def pages_of(prometheus: Prometheus, shown: dict, span: Span) -> list[tuple[float, float]]:
    """When pages began to fire and ended: the dashboard's annotation."""
    (annotation,) = shown["annotations"]["list"]
    out = []
    for one in series(prometheus, {"expr": annotation["expr"]}, span):
        times = [float(at) for at, _ in one["values"]]
        breaks = [0, *[n for n in range(1, len(times)) if times[n] - times[n - 1] > 1.5 * span.step], len(times)]
        out += [(times[first], times[last - 1]) for first, last in zip(breaks, breaks[1:])]
    return merged(sorted(out))


def merged(times: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same times, in order, without overlaps."""
    out: list[tuple[float, float]] = []
    for since, until in times:
        if out and since <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], until))
        else:
            out.append((since, until))
    return out


# Words


def legend_of(target: dict, labels: dict[str, str]) -> str:
    text = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), target["legendFormat"])
    return text.strip() or ", ".join(value for name, value in sorted(labels.items()) if name != "__name__") or "value"


def written(value: float, unit: str, decimals: int | None = None) -> str:
    """A number with its unit, as Grafana words them."""
    if not math.isfinite(value):
        return "no data"
    if unit == "percentunit":
        return f"{value * 100:.{2 if decimals is None else decimals}f} %"
    if unit == "s":
        return duration(value)
    if unit in ("bytes", "Bps"):
        return scaled_by(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]) + ("/s" if unit == "Bps" else "")
    tail = {"ops": "/s", "cpm": "/min"}.get(unit, "")
    return scaled_by(value, 1000, ["", " K", " Mil", " Bil"]) + tail


def scaled_by(value: float, base: int, names: list[str]) -> str:
    size = 0
    while abs(value) >= base and size < len(names) - 1:
        value, size = value / base, size + 1
    return f"{value:.3g}{' ' if names[size] and names[size][0] != ' ' else ''}{names[size]}"


def duration(value: float) -> str:
    for bound, per, name in ((1e-3, 1e-6, "µs"), (1, 1e-3, "ms"), (120, 1, "s"), (7200, 60, "min"), (math.inf, 3600, "h")):
        if abs(value) < bound:
            return f"{value / per:.3g} {name}" if value else "0 s"
    return ""


def color_of(name: str) -> str:
    return NAMED.get(name, name)


def bound_color(thresholds: dict, value: float) -> str:
    color = thresholds["steps"][0]["color"]
    for step in thresholds["steps"][1:]:
        if value >= step["value"]:
            color = step["color"]
    return color_of(color)


# Panels


def draw_stat(box: Box, frame, panel: dict, found: list, span: Span, pages: list) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    values = [float(one["values"][-1][1]) for _, series_ in found for one in series_]
    value = values[0] if values else math.nan
    text, color = written(value, defaults["unit"], defaults.get("decimals")), bound_color(defaults["thresholds"], value)
    for mapping in defaults.get("mappings", []):
        if option := mapping["options"].get(f"{value:g}"):
            text, color = option["text"], color_of(option["color"])
    frame.text(0.5, 0.4, text, fontsize=19, weight="bold", color=color if values else FAINT, ha="center", va="center")


def draw_lines(box: Box, frame, panel: dict, found: list, span: Span, pages: list) -> None:
    config = panel["fieldConfig"]
    unit, custom = config["defaults"]["unit"], config["defaults"]["custom"]
    axes = box.axes()
    curves = [(legend_of(target, one["metric"]), *points(one, span)) for target, series_ in found for one in series_]
    colors = {name: CLASSIC[n % len(CLASSIC)] for n, name in enumerate(dict.fromkeys(name for name, *_ in curves))}
    for override in config["overrides"]:
        part = override["matcher"]["options"].strip("/")
        for prop in override["properties"]:
            if prop["id"] == "color":
                colors |= {name: color_of(prop["value"]["fixedColor"]) for name in colors if re.search(part, name)}
    if custom["stacking"]["mode"] == "normal" and curves:
        times, below = curves[0][1], np.zeros(len(curves[0][1]))
        for name, _, values in curves:
            if not np.nan_to_num(values).any():
                continue
            above = below + np.nan_to_num(values)
            axes.fill_between(times, below, above, color=colors[name], alpha=0.35, linewidth=0)
            axes.plot(times, above, color=colors[name], linewidth=1)
            below = above
    else:
        for name, times, values in curves:
            axes.plot(times, values, color=colors[name], linewidth=1.1, marker=".", markersize=1.5)
    axes.set_xlim(*[moment(at) for at in (span.start, span.end)])
    if "scaleDistribution" in custom:
        axes.set_yscale("log")
        axes.set_ylim(config["defaults"]["min"], axes.get_ylim()[1])
    else:
        most = max((np.nan_to_num(values).max() for *_, values in curves), default=0)
        axes.set_ylim(0, axes.get_ylim()[1] if most > 0 else 1)
    for step in config["defaults"].get("thresholds", {"steps": [None]})["steps"][1:]:
        # Far above all that there is, it is out of sight, as in Grafana.
        if step["value"] <= axes.get_ylim()[1] * 1.4:
            axes.set_ylim(axes.get_ylim()[0], max(axes.get_ylim()[1], step["value"] * 1.1))
            axes.axhline(step["value"], color=color_of(step["color"]), linewidth=1, linestyle=(0, (4, 3)))
    shade(axes, pages)
    dress(axes, span, lambda value: written(value, unit, 0))
    if unit in ("bytes", "Bps"):
        axes.yaxis.set_major_locator(MultipleLocator(2 ** math.ceil(math.log2(max(axes.get_ylim()[1], 1) / 5))))
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(10))
        axes.yaxis.set_minor_locator(NullLocator())
    legend(axes, [Patch(color=colors[name], label=name) for name in colors], box)


def draw_heatmap(box: Box, frame, panel: dict, found: list, span: Span, pages: list) -> None:
    axes = box.axes(bottom=0.3, left=0.6)
    unit = panel["options"]["yAxis"]["unit"]
    bounds = sorted((float(one["metric"]["le"].replace("+Inf", "inf")), points(one, span)) for one in found[0][1])
    if not bounds:
        return
    counts = np.nan_to_num(np.array([values for _, (_, values) in bounds]))
    cells = np.diff(np.vstack([np.zeros(counts.shape[1]), counts]), axis=0)
    used = [n for n in range(len(cells)) if cells[n].max() > 0.01]
    first, last = max(min(used, default=0) - 1, 0), min(max(used, default=0) + 2, len(cells))
    cells = np.ma.masked_less(cells[first:last], 0.01)
    times = bounds[0][1][0]
    axes.pcolormesh(times, np.arange(last - first), np.sqrt(cells), cmap="Oranges", shading="nearest", vmin=0)
    names = ["more" if math.isinf(le) else f"≤ {written(le, unit)}" for le, _ in bounds[first:last]]
    axes.set_yticks(np.arange(last - first), names)
    axes.set_xlim(*[moment(at) for at in (span.start, span.end)])
    dress(axes, span, None)


def draw_table(box: Box, frame, panel: dict, found: list, span: Span, pages: list) -> None:
    (organize,) = [each["options"] for each in panel["transformations"] if each["id"] == "organize"]
    columns = sorted((name for name in organize["indexByName"] if name != "Value"), key=organize["indexByName"].get)
    rows = sorted(((float(one["values"][-1][1]), one["metric"]) for one in found[0][1]), key=lambda row: -row[0])
    inches = box.place[3] * box.height
    shown = [columns + [organize["renameByName"]["Value"]], *[[labels.get(name, "") for name in columns] + [f"{value:,.0f}"] for value, labels in rows]]
    places = [0.03, 0.2, 0.36, 0.97]
    for n, row in enumerate(shown[: int((inches - 0.4) / 0.2)]):
        y = 1 - (0.42 + 0.2 * n) / inches
        for cell, place in zip(row, places):
            frame.text(place, y, cell, fontsize=7.8, color=FAINT if n == 0 else INK, ha="right" if place > 0.9 else "left", va="center")
        frame.axhline(y - 0.1 / inches, color="#e8eaed", linewidth=0.7, xmin=0.02, xmax=0.98)


def draw_states(box: Box, frame, panel: dict, found: list, span: Span, pages: list) -> None:
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    states = {float(value): option for value, option in mapping["options"].items()}
    rows = [(legend_of(target, one["metric"]), one) for target, series_ in found for one in series_]
    rows.sort(key=lambda row: row[0], reverse=True)
    names = [name.removeprefix("Parqueduct") for name, _ in rows]
    axes = box.axes(left=0.1 + 0.062 * max(map(len, names), default=1), bottom=0.3)
    width = span.step / 86_400
    for n, (_, one) in enumerate(rows):
        for at, value in one["values"]:
            color = color_of(states.get(float(value), {"color": "transparent"})["color"])
            axes.add_patch(Rectangle((dates.date2num(moment(float(at))), n - 0.4), width * 1.02, 0.8, color=color, linewidth=0))
    axes.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    axes.set_yticks(range(len(rows)), names)
    axes.set_xlim(*[moment(at) for at in (span.start, span.end)])
    dress(axes, span, None)
    axes.grid(False)
    axes.tick_params(axis="y", labelsize=min(7.5, 130 / max(len(rows), 1)))


DRAWN: dict[str, Callable] = {
    "stat": draw_stat,
    "timeseries": draw_lines,
    "heatmap": draw_heatmap,
    "table": draw_table,
    "state-timeline": draw_states,
}


# Axes


def moment(at: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at, datetime.UTC)


def points(one: dict, span: Span) -> tuple[list[datetime.datetime], np.ndarray]:
    """A series at every step of the span, NaN where it has nothing."""
    count = round((span.end - span.start) / span.step) + 1
    values = np.full(count, np.nan)
    for at, value in one["values"]:
        n = round((float(at) - span.start) / span.step)
        if 0 <= n < count:
            values[n] = float(value)
    values[np.isinf(values)] = np.nan
    return [moment(span.start + n * span.step) for n in range(count)], values


def shade(axes, pages: list[tuple[float, float]]) -> None:
    for since, until in pages:
        axes.axvspan(moment(since), moment(until), color="#e02f44", alpha=0.1, linewidth=0)


def dress(axes, span: Span, words: Callable[[float], str] | None) -> None:
    axes.grid(color="#e8eaed", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0, labelsize=7.5, labelcolor=FAINT)
    axes.xaxis.set_major_locator(dates.MinuteLocator(interval=max(round((span.end - span.start) / 300), 1)))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    if words:
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words(value)))


def legend(axes, handles: list[Patch], box: Box) -> None:
    """Below the axes, in two lines of as many columns as fit; names that do not are cut."""
    width = box.place[2] * WIDTH
    for handle in handles:
        handle.set_label(textwrap.shorten(handle.get_label(), 48, placeholder="…"))
    longest = max((len(handle.get_label()) for handle in handles), default=1)
    columns = max(1, min(len(handles), int((width - 0.1) / (0.33 + 0.058 * longest))))
    shown = handles[: 2 * columns]
    if len(handles) > len(shown):
        shown[-1] = Patch(color="#ffffff00", label=f"and {len(handles) - len(shown) + 1} more")
    # Matplotlib fills columns, readers read lines.
    shown = [handle for column in range(columns) for handle in shown[column::columns]]
    x, y, _, _ = box.place
    axes.legend(handles=shown, loc="lower left", bbox_to_anchor=(x + 0.03 / WIDTH, y + 0.03 / box.height), ncols=columns,
                bbox_transform=box.figure.transFigure, fontsize=7, frameon=False, handlelength=1, handleheight=0.3,
                columnspacing=1.2, handletextpad=0.5, labelcolor=INK, labelspacing=0.2, borderpad=0.2)
