"""`make pictures`: draws every dashboard from what the last run of `make stack` recorded, into docs/images.

Run by `scripts/pictures`, with a Python that has what `scripts/requirements-stack.txt` says. Prometheus is started over the
data of that run, scrapes nothing, and is stopped. What is drawn is what the dashboards' queries bring, laid out as there; no
Grafana is involved.
"""

import argparse
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from watch import draw, panels  # noqa: E402
from watch.services import ROOT, STATE, Failure, Prometheus  # noqa: E402

HOME = ROOT / "docs" / "images"
BYTES_MAX = 200_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tools", type=Path, required=True, help="a directory with prometheus")
    parser.add_argument("--home", type=Path, default=HOME, help="where the pictures go")
    options = parser.parse_args()
    if not (STATE / "span.json").exists():
        raise Failure("there is nothing to draw yet: run `make stack` first")
    span = panels.recorded(STATE / "span.json")
    options.home.mkdir(parents=True, exist_ok=True)
    prometheus = Prometheus(options.tools, {}, factor=15 / span.scrape)
    try:
        prometheus.wait_for(f"http://{prometheus.address}/-/ready")
        for name, board in panels.boards().items():
            file = options.home / f"{name}.png"
            draw.board(prometheus, board, span, file)
            size = file.stat().st_size
            print(f"   {file.relative_to(ROOT) if file.is_relative_to(ROOT) else file}  {size / 1000:.0f} kB")
            if size > BYTES_MAX:
                raise Failure(f"{file} is larger than {BYTES_MAX} bytes")
    finally:
        prometheus.stop()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"pictures: {failure}", file=sys.stderr)
        sys.exit(1)
