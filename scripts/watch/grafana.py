"""Grafana's dashboards as data: panels, variables, and where panels stand. What the dashboards show is in `boards.py`.

The names of fields are those of Grafana's schema of dashboards, schemaVersion 39 (Grafana 11).
"""

from collections.abc import Iterable

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# A grid of Grafana is 24 columns wide.
COLUMNS = 24

# The shortest time from one point of a rate to the next: longer than most flushes are apart, so that what grows by
# flushes is a line rather than a comb. `$__rate_interval` follows it.
RATE_EVERY = "2m"

# Named colours follow the theme, light or dark. A delivery's end has the same one everywhere.
COLORS = {
    "delivered": "blue",
    "archived": "green",
    "dead letters": "red",
    "suppressed": "purple",
    "requeued": "orange",
    "in flight": "yellow",
}


def target(ref: str, expr: str, legend: str = "", instant: bool = False, form: str = "") -> dict:
    """A query; `legend` names its series by their labels."""
    made = {"refId": ref, "datasource": DATASOURCE, "expr": expr, "legendFormat": legend}
    if instant:
        made |= {"instant": True, "range": False}
    if form:
        made["format"] = form
    return made


def steps(bounds: list[tuple[float, str]], base: str = "green") -> dict:
    """Thresholds: `base` below the first bound, then each bound's colour from there on."""
    rest = [{"color": color, "value": value} for value, color in bounds]
    return {"mode": "absolute", "steps": [{"color": base, "value": None}, *rest]}


def panel(kind: str, title: str, description: str, size: tuple[int, int], **fields) -> dict:
    """A panel of `size` columns and rows; `place` gives it its place and number."""
    width, height = size
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height, "x": 0, "y": 0},
        **fields,
    }


def stat(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str = "short",
    bounds: list[tuple[float, str]] = (),
    base: str = "green",
    words: dict[str, tuple[str, str]] | None = None,
    decimals: int | None = 0,
    size: tuple[int, int] = (3, 4),
    to: str = "",
) -> dict:
    """One number, coloured by `bounds`; `words` say it in words instead, `to` is the dashboard a click leads to."""
    defaults = {"unit": unit, "thresholds": steps(list(bounds), base)}
    if decimals is not None:
        defaults["decimals"] = decimals
    if words:
        options = {value: {"text": text, "color": color} for value, (text, color) in words.items()}
        defaults["mappings"] = [{"type": "value", "options": options}]
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "value",
    }
    made = panel(
        "stat", title, description, size,
        targets=[target("A", expr, instant=True)],
        fieldConfig={"defaults": defaults, "overrides": []},
        options=options,
    )
    if to:
        url = f"/d/parqueduct-{to}?${{datasource:queryparam}}&${{job:queryparam}}&${{__url_time_range}}"
        made["links"] = [{"title": to.replace("-", " "), "url": url}]
    return made


def lines(
    title: str,
    description: str,
    queries: list[tuple[str, str]],
    *,
    unit: str = "short",
    stacked: bool = False,
    bounds: list[tuple[float, str]] = (),
    colors: dict[str, str] | None = None,
    size: tuple[int, int] = (8, 8),
    logarithmic: bool = False,
) -> dict:
    """Series over time. `bounds` are drawn as lines, `colors` are by a part of a series' name."""
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 25 if stacked else 5,
        "gradientMode": "none",
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "axisPlacement": "auto",
        "thresholdsStyle": {"mode": "dashed" if bounds else "off"},
    }
    if logarithmic:
        custom["scaleDistribution"] = {"type": "log", "log": 10}
    defaults = {"unit": unit, "min": 0.1 if logarithmic else 0, "color": {"mode": "palette-classic"}, "custom": custom}
    if bounds:
        defaults["thresholds"] = steps(list(bounds), "transparent")
    overrides = [
        {
            "matcher": {"id": "byRegexp", "options": f"/{part}/"},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
        }
        for part, color in (colors or {}).items()
    ]
    return panel(
        "timeseries", title, description, size,
        **interval(expr for expr, _ in queries),
        targets=[target(chr(ord("A") + n), expr, legend) for n, (expr, legend) in enumerate(queries)],
        fieldConfig={"defaults": defaults, "overrides": overrides},
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )


def interval(expressions: Iterable[str]) -> dict:
    return {"interval": RATE_EVERY} if any("$__rate_interval" in expression for expression in expressions) else {}


def heatmap(title: str, description: str, expr: str, *, unit: str, size: tuple[int, int] = (8, 8)) -> dict:
    """How often each bucket of a histogram was met, over time."""
    return panel(
        "heatmap", title, description, size,
        **interval([expr]),
        targets=[target("A", expr, "{{le}}", form="heatmap")],
        fieldConfig={"defaults": {"custom": {"scaleDistribution": {"type": "linear"}}}, "overrides": []},
        options={
            "calculate": False,
            "cellGap": 1,
            "cellValues": {"unit": "short"},
            "color": {
                "mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange",
                "reverse": False, "scale": "exponential",
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "showValue": "never",
            "tooltip": {"mode": "single", "yHistogram": False},
            "yAxis": {"axisPlacement": "left", "unit": unit, "reverse": False},
        },
    )


def table(title: str, description: str, expr: str, *, columns: list[str], value: str, size: tuple[int, int]) -> dict:
    """One row for each series of a query at the end of the time shown: its labels, and its value as the last column."""
    order = {name: n for n, name in enumerate([*columns, "Value"])}
    return panel(
        "table", title, description, size,
        targets=[target("A", expr, instant=True, form="table")],
        fieldConfig={
            "defaults": {"unit": "short", "decimals": 0, "custom": {"align": "auto", "inspect": False, "cellOptions": {"type": "auto"}}},
            "overrides": [],
        },
        options={"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": value, "desc": True}]},
        transformations=[
            {
                "id": "organize",
                "options": {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": {"Value": value}},
            }
        ],
    )


def states(
    title: str, description: str, expr: str, legend: str, words: dict[str, tuple[str, str]], size: tuple[int, int]
) -> dict:
    """What each series is over time, in words and colours."""
    options = {value: {"text": text, "color": color} for value, (text, color) in words.items()}
    return panel(
        "state-timeline", title, description, size,
        targets=[target("A", expr, legend)],
        fieldConfig={
            "defaults": {
                "custom": {"lineWidth": 0, "fillOpacity": 80},
                "color": {"mode": "thresholds"},
                "thresholds": steps([], "transparent"),
                "mappings": [{"type": "value", "options": options}],
            },
            "overrides": [],
        },
        options={
            "mergeValues": True,
            "showValue": "never",
            "alignValue": "left",
            "rowHeight": 0.8,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        },
    )


def row(title: str, *panels: dict) -> list[dict]:
    """A heading and the panels below it."""
    return [{"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": 0}}, *panels]


def place(rows: list[list[dict]]) -> list[dict]:
    """The panels with their numbers and places: from left to right, a new line where one does not fit."""
    placed, x, y, height = [], 0, 0, 0
    for panels in rows:
        for each in panels:
            grid = each["gridPos"]
            if each["type"] == "row" or x + grid["w"] > COLUMNS:
                x, y, height = 0, y + height, 0
            placed.append({"id": len(placed) + 1, **each, "gridPos": grid | {"x": x, "y": y}})
            x, height = x + grid["w"], max(height, grid["h"])
    return placed


def variable(name: str, label: str, query: str) -> dict:
    """A variable whose values are asked of Prometheus; several may be chosen, all are at first."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
    }


def dashboard(uid: str, title: str, description: str, variables: list[dict], rows: list[list[dict]]) -> dict:
    link = {
        "title": "Parqueduct", "type": "dashboards", "tags": ["parqueduct"], "asDropdown": False, "icon": "external link",
        "includeVars": True, "keepTime": True, "targetBlank": False, "tooltip": "", "url": "",
    }
    pages = {
        "name": "Pages",
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": 'ALERTS{job=~"$job", alertname=~"Parqueduct.*", alertstate="firing", severity="page"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{pipeline}} {{instance}}",
    }
    source = {
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
        "refresh": 1,
    }
    return {
        "uid": f"parqueduct-{uid}",
        "title": title,
        "description": description,
        "tags": ["parqueduct"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": "now-3h", "to": "now"},
        "links": [link],
        "templating": {"list": [source, *variables]},
        "annotations": {"list": [pages]},
        "panels": place(rows),
    }
