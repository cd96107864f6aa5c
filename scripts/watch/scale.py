"""Prometheus' and Alertmanager's files in quick motion: the same, with every duration divided by a factor.

Durations are what their grammars say is one: `for`, intervals and timeouts of the YAML; ranges, offsets and subqueries of
PromQL; and the number that a metric in seconds is compared with. Nothing else is touched: names, labels, counts,
shares and texts stay.
"""

import re
from collections.abc import Callable

# Milliseconds of a unit, as Prometheus writes durations.
UNITS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
DURATION = re.compile(r"(?:\d+(?:ms|[ywdhms]))+")

# Fields of the configurations, and of rules, that hold a duration.
FIELDS = {
    "for", "keep_firing_for", "interval", "scrape_interval", "scrape_timeout", "evaluation_interval",
    "group_wait", "group_interval", "repeat_interval", "resolve_timeout",
}

# The tokens of PromQL that matter here. A name may hold colons and digits: `a:b:increase1h` holds no duration.
TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
      | (?P<duration>(?:\d+(?:ms|[ywdhms]))+(?![\w.]))
      | (?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z_][\w:]*)
      | (?P<comparison>==|!=|>=|<=|>|<)
      | (?P<other>=~|!~|.)""",
    re.VERBOSE,
)
SETS = {"and", "or", "unless"}


class ScaleError(ValueError):
    """A text that is no duration, or none that can be divided."""


def milliseconds(duration: str) -> int:
    if not DURATION.fullmatch(duration):
        raise ScaleError(f"`{duration}` is no duration")
    return sum(int(count) * UNITS[unit] for count, unit in re.findall(r"(\d+)(ms|[ywdhms])", duration))


def scaled(duration: str, factor: float) -> str:
    """`duration` divided by `factor`, in the largest unit that holds it; at least a millisecond."""
    amount = max(round(milliseconds(duration) / factor), 1) if milliseconds(duration) else 0
    unit = next(unit for unit in ("h", "m", "s", "ms") if amount % UNITS[unit] == 0)
    return f"{amount // UNITS[unit]}{unit}"


def tokens(expression: str) -> list[tuple[str, str]]:
    """Kind and text of each token; joined, they are the expression."""
    return [(found.lastgroup or "", found.group()) for found in TOKEN.finditer(expression)]


def expression(text: str, factor: float) -> str:
    """A PromQL expression with its durations divided by `factor`."""
    found = tokens(text)
    out = [scaled(word, factor) if kind == "duration" else word for kind, word in found]
    for at in seconds_compared(found):
        out[at] = f"{float(found[at][1]) / factor:g}"
    return "".join(out)


def seconds_compared(found: list[tuple[str, str]]) -> list[int]:
    """Where a number stands that a metric in seconds is compared with, in the same operand of `and`, `or`, `unless`."""
    places, is_seconds, depth = [], False, 0
    for at, (kind, word) in enumerate(found):
        depth += (word in "([{") - (word in ")]}") if kind == "other" else 0
        if kind == "name" and word in SETS and depth == 0:
            is_seconds = False
        elif kind == "name":
            # A histogram's count and the number of its observations are no seconds.
            is_seconds |= bool(re.search(r"_seconds(_bucket|_sum)?$", word))
        elif kind == "comparison" and is_seconds:
            number = next((n for n in range(at + 1, len(found)) if found[n][0] != "space"), None)
            if number is not None and found[number][0] == "number":
                places.append(number)
    return places


def document(node, factor: float):
    """A parsed YAML file of rules, of Prometheus or of Alertmanager, with its durations divided by `factor`."""
    return walk(node, lambda key, value: changed(key, value, factor))


def changed(key: str, value, factor: float):
    if key in FIELDS and isinstance(value, str):
        return scaled(value, factor)
    if key == "expr" and isinstance(value, str):
        return expression(value, factor)
    return None


def walk(node, change: Callable):
    """The tree with each value of a mapping for which `change` gives one replaced."""
    if isinstance(node, dict):
        pairs = {key: change(key, value) for key, value in node.items()}
        return {key: walk(value, change) if pairs[key] is None else pairs[key] for key, value in node.items()}
    if isinstance(node, list):
        return [walk(value, change) for value in node]
    return node
