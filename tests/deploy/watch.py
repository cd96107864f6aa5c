"""Checks the dashboards, and what puts Prometheus' files into quick motion for `make stack`, without a Prometheus.

usage: watch.py PARQUEDUCT, the program whose configuration of the stack is checked

Prints findings, one a line, and exits with 1 if there are any. Run from the root of the repository.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

sys.dont_write_bytecode = True
sys.path.insert(0, "scripts")

from watch import scale  # noqa: E402

GRAFANA = Path("dashboards/grafana")
RULES = Path("dashboards/alerts/parqueduct.rules.yml")
VARIABLES = {"datasource", "job", "instance", "pipeline"}
# What Grafana puts in for a variable; any value of its kind.
FILLED = {"$__rate_interval": "1m", "$__range": "3h", "$job": ".*", "$instance": ".*", "$pipeline": ".*", "$queue": ".*"}


def main() -> int:
    boards = {path.name: json.loads(path.read_text()) for path in sorted(GRAFANA.glob("*.json"))}
    findings = check_written() + check_all_are_shown()
    for name, board in boards.items():
        findings += [f"{name}: {finding}" for finding in check_board(board, boards)]
    findings += check_expressions(boards) + check_scaling() + check_scaled_rules() + check_configuration()
    print("\n".join(findings))
    return 1 if findings else 0


def check_written() -> list[str]:
    done = subprocess.run(["scripts/dashboards", "--check"], capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [done.stdout + done.stderr]


def panels(board: dict) -> list[dict]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions(board: dict) -> list[str]:
    asked = [target["expr"] for panel in panels(board) for target in panel["targets"]]
    return asked + [each["expr"] for each in board["annotations"]["list"]]


def check_all_are_shown() -> list[str]:
    """Each metric that docs/metrics.md lists is on a dashboard."""
    listed = set(re.findall(r"^\| `(parqueduct_\w+)` \|", Path("docs/metrics.md").read_text(), re.MULTILINE))
    words = set(re.findall(r"\w+", " ".join(path.read_text() for path in GRAFANA.glob("*.json"))))
    shown = {re.sub(r"_(bucket|sum|count)$", "", word) for word in words} | words
    return [f"{name} is on no dashboard" for name in sorted(listed - shown)]


def check_board(board: dict, boards: dict[str, dict]) -> list[str]:
    findings = [f"lacks the variable {name}" for name in VARIABLES - {each["name"] for each in board["templating"]["list"]}]
    if not any(link["type"] == "dashboards" and link["tags"] == board["tags"] for link in board["links"]):
        findings.append("does not lead to the other dashboards")
    known = {each["uid"] for each in boards.values()}
    cells: dict[tuple[int, int], str] = {}
    for panel in panels(board):
        title, grid = panel["title"], panel["gridPos"]
        if not panel.get("description", "").endswith("."):
            findings.append(f"`{title}`: no sentence says what it is")
        if not panel["fieldConfig"]["defaults"].get("unit") and panel["type"] not in ("heatmap", "state-timeline"):
            findings.append(f"`{title}`: no unit")
        for url in [link["url"] for link in panel.get("links", [])]:
            if re.match(r"/d/([\w-]+)", url)[1] not in known:
                findings.append(f"`{title}`: leads to {url}, which is no dashboard")
        for cell in [(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])]:
            if cell in cells or cell[0] >= 24:
                findings.append(f"`{title}`: lies over `{cells.get(cell, 'the edge')}`")
                break
            cells[cell] = title
    unknown = {name for expr in expressions(board) for name in re.findall(r"\$\{?(\w+)", expr)} - {
        each["name"] for each in board["templating"]["list"]
    } - {"__rate_interval", "__range"}
    return findings + [f"asks for the variable {name}, which it lacks" for name in sorted(unknown)]


def check_expressions(boards: dict[str, dict]) -> list[str]:
    """What promtool says of every expression: whether Prometheus can read it."""
    rules = []
    for board in boards.values():
        for expression in expressions(board):
            for name, value in FILLED.items():
                expression = expression.replace(name, value)
            rules.append({"record": f"r:n{len(rules)}:x", "expr": expression})
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}, file)
        file.flush()
        done = subprocess.run([promtool(), "check", "rules", file.name], capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [f"promtool: {done.stdout}{done.stderr}"]


def promtool() -> str:
    handed_over = os.environ.get("PARQUEDUCT_TEST_PROMTOOL")
    left_behind = Path(".parqueduct/tools/prometheus/usr/bin/promtool")
    found = handed_over or (str(left_behind) if left_behind.exists() else shutil.which("promtool"))
    if not found:
        sys.exit("promtool is missing: run `make test`")
    return found


def check_scaling() -> list[str]:
    """Durations by a factor of 30: what is one, and what only looks like one."""
    cases = [
        ("increase(a_total[1h]) > 5", "increase(a_total[2m]) > 5"),
        ("a offset 1w >= 100", "a offset 336m >= 100"),
        ("max_over_time(a:b:increase1h[3h:5m] offset 23h)", "max_over_time(a:b:increase1h[6m:10s] offset 46m)"),
        ('a{le="5m", kind!~"1h|2h"} > 14.4 * 0.001', 'a{le="5m", kind!~"1h|2h"} > 14.4 * 0.001'),
        ("rate(a[1h30m])", "rate(a[3m])"),
        ("rate(a[1m]) # in the last 1m", "rate(a[2s]) # in the last 1m"),
        # Seconds that a metric in seconds is compared with; a count of such observations is none.
        ("max(a_seconds) > 600", "max(a_seconds) > 20"),
        ("histogram_quantile(0.9, rate(a_seconds_bucket[30m])) > 30", "histogram_quantile(0.9, rate(a_seconds_bucket[1m])) > 1"),
        ("max(a_seconds) > 60 and a_total > 60", "max(a_seconds) > 2 and a_total > 60"),
        ("increase(a_seconds_count[30m]) >= 5", "increase(a_seconds_count[1m]) >= 5"),
    ]
    findings = []
    for text, wanted in cases:
        found = scale.expression(text, 30)
        if found != wanted:
            findings.append(f"scale: `{text}` became `{found}`, not `{wanted}`")
    if "".join(word for _, word in scale.tokens(RULES.read_text())) != RULES.read_text():
        findings.append("scale: its tokens are not the text")
    tree = {"group_wait": "30s", "receivers": [{"repeat_interval": "4d", "name": "5m"}], "for": "90s"}
    if scale.document(tree, 30) != {"group_wait": "1s", "receivers": [{"repeat_interval": "192m", "name": "5m"}], "for": "3s"}:
        findings.append("scale: the fields of a tree")
    for wrong in ("5 minutes", "1.5h", ""):
        try:
            scale.milliseconds(wrong)
            findings.append(f"scale: `{wrong}` passes for a duration")
        except scale.ScaleError:
            pass
    return findings


def check_scaled_rules() -> list[str]:
    """Divided by 1 the rules mean what they meant; divided by 30, promtool still takes them, and no window is left as it was."""
    rules, findings = yaml.safe_load(RULES.read_text()), []
    same = scale.document(rules, 1)
    quick = scale.document(rules, 30)
    for one, other, fast in zip(each_rule(rules), each_rule(same), each_rule(quick)):
        if durations(one) != durations(other):
            findings.append(f"scale: {one} divided by 1 is {other}")
        if [duration / 30 for duration in durations(one)] != durations(fast):
            findings.append(f"scale: {one} divided by 30 is {fast}")
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump(quick, file)
        file.flush()
        done = subprocess.run([promtool(), "check", "rules", file.name], capture_output=True, text=True, check=False)
    return findings + ([] if done.returncode == 0 else [f"promtool: {done.stdout}{done.stderr}"])


def each_rule(rules: dict) -> list[dict]:
    return [rule for group in rules["groups"] for rule in group["rules"]]


def durations(rule: dict) -> list[int]:
    """Milliseconds of `for`, and of every range and offset, found in another way than `scale` does."""
    text = re.sub(r'"[^"]*"', "", rule["expr"])
    found = re.findall(r"\[([0-9a-z]+)\]", text) + re.findall(r"offset ([0-9a-z]+)", text)
    return [scale.milliseconds(each) for each in [*([rule["for"]] if "for" in rule else []), *found]]


def check_configuration() -> list[str]:
    """The program finds nothing wrong with the configuration of the stack."""
    path = Path("config/stack/parqueduct.toml")
    values = {"AGE": "4s", "GRACE": "1m", "UNACKED": "20s", "WITHIN": "2s", "PAUSE": "4s", "INSTANCE": "a",
              "BROKER": "amqp://a:b@127.0.0.1:5672/%2f", "STORE": "http://127.0.0.1:5000", "LISTEN": "127.0.0.1:9410",
              "REGISTRY": "http://127.0.0.1:8081", "COLLECTOR": "http://127.0.0.1:4318"}
    environment = os.environ | {f"STACK_{name}": value for name, value in values.items()}
    done = subprocess.run([sys.argv[1], "check", "--config", path], env=environment, capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else ["`parqueduct check`:", done.stdout + done.stderr]


if __name__ == "__main__":
    sys.exit(main())
