"""The recipes of `docs/query.md`, as they stand there.

A fenced block whose info string names a language and an engine, such as `sql duckdb`, holds recipes. Each begins with a
comment at the start of a line, `-- NAME: what it shows` or `# NAME: what it shows`, and goes up to the next one. What an
engine cannot do is shown, too: the answer of `NAME, otherwise` must differ from the right one, `NAME, refused` must fail.
"""

import dataclasses
import re
from pathlib import Path

# Where the guide says that the archive is.
PLACE = "/var/lib/parqueduct"

FENCE = re.compile(r"^```(?P<language>\w+) (?P<engine>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
BEGIN = re.compile(r"^(?:--|#) (?P<name>[a-z]+)(?:, (?P<kind>otherwise|refused))?: \S.*\n", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Recipe:
    engine: str
    language: str
    name: str
    # "right", "otherwise" or "refused"
    kind: str
    code: str


def read(guide: Path, store: Path) -> dict[str, list[Recipe]]:
    """The recipes of each engine in the order of the guide, for the archive in `store`."""
    found: dict[str, list[Recipe]] = {}
    for block in FENCE.finditer(guide.read_text(encoding="utf-8")):
        code = block["code"]
        begins = list(BEGIN.finditer(code))
        if not begins or code[: begins[0].start()].strip():
            raise ValueError(f"{guide}: a block of {block['engine']} does not begin with a recipe's name:\n{code}")
        ends = [begin.start() for begin in begins[1:]] + [len(code)]
        for begin, end in zip(begins, ends):
            text = code[begin.end() : end].replace(PLACE, str(store))
            recipe = Recipe(block["engine"], block["language"], begin["name"], begin["kind"] or "right", text)
            found.setdefault(recipe.engine, []).append(recipe)
    return found
