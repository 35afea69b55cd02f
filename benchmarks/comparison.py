"""Which of the marked mistakes in ``fixtures`` other linters report.

``python -m benchmarks.comparison [--torchfix PYTHON]``. A mark is a line with ``# expect: FAL…``. The fixtures were
written for fa-lint; the other rows show on how many of these lines those tools say anything, with their codes. Ruff
runs with its rule groups for mistakes, TorchFix (in an environment of its own) with all of its rules.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
_REPORTED = re.compile(r"(?m)^(?P<path>[^\s:]+\.py):(?P<row>\d+):\d+: (?P<code>[A-Z]+\d+)\b")


def marked() -> set[tuple[str, int]]:
    """Return the places that must be reported."""
    return {
        (str(path), row)
        for path in FIXTURES.rglob("*.py")
        for row, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "# expect: FAL" in line
    }


def reported(*command: str) -> list[tuple[tuple[str, int], str]]:
    """Return the places that a tool names, with its codes."""
    done = subprocess.run([*command, str(FIXTURES)], capture_output=True, text=True, check=False, cwd=FIXTURES.parent)
    return [
        ((str((FIXTURES.parent / found["path"]).resolve()), int(found["row"])), found["code"])
        for found in _REPORTED.finditer(done.stdout)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torchfix", help="a Python that has TorchFix")
    options = parser.parse_args()
    lint = "fa_lint --isolated --no-cache --extend-select FAL503 --output-format concise"
    ruff = "ruff check --isolated --no-cache --output-format concise --select F,B,PLE,PLW,NPY,RUF"
    tools = {
        "fa-lint": (sys.executable, "-m", *lint.split()),
        "Ruff F,B,PLE,PLW,NPY,RUF": (sys.executable, "-m", *ruff.split()),
    }
    if options.torchfix:
        tools["TorchFix ALL"] = (options.torchfix, "-m", "torchfix", "--select", "ALL")
    places = marked()
    for name, command in tools.items():
        hits = [(place, code) for place, code in reported(*command) if place in places]
        codes = Counter(code for _, code in hits)
        print(f"{name}: {len({place for place, _ in hits})} of {len(places)} marked lines ({dict(codes)})")


if __name__ == "__main__":
    main()
