"""Every regular expression over foreign text, and every reader that is built on them: twice the text, twice the time."""

from __future__ import annotations

import ast
import gc
import importlib
import inspect
import itertools
import json
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import fa_lint
from fa_lint.fixes.ignores import add_ignores
from fa_lint.project.config import Settings, _where
from fa_lint.project.engine import lint_text
from fa_lint.project.fingerprints import without_layout
from fa_lint.source.markdown import python_blocks, without_prose
from fa_lint.source.notebook import Notebook
from fa_lint.source.suppressions import read_suppressions
from fa_lint.source.text import Source
from tests.conftest import UNSAFE, Lint, notebook, write

# They read this repository's own documents, or belong to the analysis, which has a suite of its own.
_ELSEWHERE = re.compile(
    r"fa_lint\.(site|site_docstrings|pages|rules|semantics|gate|analysis|quick|source\.parsing|project\.confirm)\b"
)
_RATIO = 2.2
_SCANS = frozenset({"search", "finditer", "findall", "sub", "subn", "split"})


def _patterns() -> Iterator[tuple[str, re.Pattern[Any], set[str]]]:
    """Name, pattern and the methods that its module calls on it, of each module-level pattern of the package."""
    for info in pkgutil.walk_packages(fa_lint.__path__, "fa_lint."):
        if _ELSEWHERE.match(info.name) or info.name == "fa_lint.__main__":
            continue
        module = importlib.import_module(info.name)
        tree = ast.parse(inspect.getsource(module))
        calls = [
            node.func for node in ast.walk(tree) if isinstance(node, ast.Call) if isinstance(node.func, ast.Attribute)
        ]
        for name, value in vars(module).items():
            used = {
                call.attr
                for call in calls
                if any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(call.value))
            }
            found = value.values() if isinstance(value, dict) else [value]
            for number, pattern in enumerate(found):
                if isinstance(pattern, re.Pattern) and used:
                    yield f"{info.name}.{name}{number or ''}", pattern, used


_ALL = list(_patterns())


def _attacks(pattern: re.Pattern[Any]) -> Iterator[tuple[str, str]]:
    """What to begin with and what to repeat: the signs and words that the pattern knows, and what it begins with."""
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    words = re.findall(r"[A-Za-z-]{3,}", text)[:6]
    sample = "".join(_sample(parser.parse(text, pattern.flags & ~re.LOCALE & ~re.DEBUG)))[:30]
    starts = [sample[:end] for end in range(1, len(sample) + 1)]
    signs = sorted(set(re.sub(r"[A-Za-z0-9]", "", text)))
    units = [*dict.fromkeys([*" aA0\n\\\"'#[](){}:,;=%!?.*`~_", *signs])]
    longer = [*words, *("#" + word for word in words), *starts]
    for unit in [*units, *map("".join, itertools.permutations(units, 2)), *longer]:
        yield "", unit
    for first, unit in itertools.product([*units, *longer], [*units, *words]):
        yield first, unit


def _sample(parsed: Any) -> Iterator[str]:
    """A text that the pattern takes, near enough: one of everything."""
    for kind, value in parsed:
        name = str(kind)
        if name == "LITERAL":
            yield chr(value)
        elif name in ("NOT_LITERAL", "ANY"):
            yield "x"
        elif name == "IN":
            literal = next((chr(part) for sign, part in value if str(sign) == "LITERAL"), " ")
            yield "1" if "DIGIT" in str(value) else literal
        elif name == "BRANCH":
            yield from _sample(value[1][0])
        elif name.endswith("REPEAT"):
            yield from _sample(value[2])
        elif name == "SUBPATTERN":
            yield from _sample(value[3])
        elif name == "ATOMIC_GROUP":
            yield from _sample(value)


def _seconds(work: Callable[[], object]) -> float:
    best = 1e9
    for _ in range(3):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def _grows(work: Callable[[int], Callable[[], object]], small: int, floor: float) -> str | None:
    """Why the work is not linear, or None. ``floor``: seconds below which nothing is measured."""
    gc.disable()
    try:
        for _ in range(4):
            n, ratios = small, []
            while len(ratios) < 2:
                before, after = _seconds(work(n)), _seconds(work(2 * n))
                if after < floor and n < 400_000:
                    n *= 2
                    continue
                ratios.append(after / before)
                n *= 2
                if after > 2:
                    break
            # Noise makes one doubling slow, the pattern makes all of them.
            if min(ratios) <= _RATIO or n >= 400_000:
                return None
        return f"{ratios} at {n}"
    finally:
        gc.enable()


@pytest.mark.parametrize(("name", "pattern", "used"), _ALL, ids=[name for name, _, _ in _ALL])
def test_every_pattern(name: str, pattern: re.Pattern[Any], used: set[str]) -> None:
    scans = used & _SCANS
    method = (lambda text: sum(1 for _ in pattern.finditer(text))) if scans else pattern.match
    as_bytes = isinstance(pattern.pattern, bytes)

    def text(first: str, unit: str, n: int) -> Any:
        made = f"{first}{unit * (n // len(unit))}\x01"
        return made.encode() if as_bytes else made

    slow = []
    for first, unit in _attacks(pattern):
        short = text(first, unit, 1_000)
        began = time.process_time()
        method(short)
        # A thousand characters take some fifty microseconds, a million steps take ten milliseconds.
        if time.process_time() - began > 0.001:
            slow.append((first, unit))
    for first, unit in slow:

        def work(n: int, first: str = first, unit: str = unit) -> Callable[[], object]:
            made = text(first, unit, n)
            return lambda: method(made)

        complaint = _grows(work, 2_000, 0.01)
        assert complaint is None, f"{first!r} and {unit!r} again and again: {complaint}"


def test_the_patterns_are_found() -> None:
    assert len(_ALL) > 15
    assert {part for name, _, _ in _ALL for part in name.split(".")} >= {
        "suppressions",
        "notebook",
        "markdown",
        "fingerprints",
        "ignores",
    }


# -- the readers --------------------------------------------------------------------------------------------------

_LINES = [
    "#", "# ", "#noqa", "# noqa:", "#noqa:FAL101,", "#fa-lint:ignore[", "#fa-lint:ignore", "# fa-lint: ignore-file",
    "noqa", "fa-lint:", "#fa-lint:", "A", "FAL1", "[", "]", "\\'", '\\"', "'", '"', ' """ ', "'a'",
    " ", "\t", ",", "(", "%", "!", "? ", "a.b,", "=", "``` ", "~",
]  # fmt: skip


def _reads(read: Callable[[str], object], unit: str, first: str = "") -> str | None:
    def work(n: int) -> Callable[[], object]:
        text = first + unit * (n // len(unit))
        return lambda: read(text)

    began = time.process_time()
    work(4_000)()
    # Linear readers take some milliseconds.
    return None if time.process_time() - began < 0.02 else _grows(work, 4_000, 0.01)


@pytest.mark.parametrize("unit", _LINES)
def test_suppressions_of_one_line(unit: str) -> None:
    def found(text: str) -> object:
        return read_suppressions(Source("a.py", b"", text), True)

    def none(text: str) -> object:
        return read_suppressions(Source("a.py", b"", text), False)

    for first in ("#", "# noqa: FAL101 ", "x = 1  # fa-lint: ignore[", "# fa-lint: ignore-file["):
        assert _reads(found, unit, first) is None
        assert _reads(none, unit, first) is None


@pytest.mark.parametrize("unit", _LINES)
def test_cells_of_a_notebook(unit: str) -> None:
    def read(text: str) -> object:
        return Notebook.read(json.dumps(notebook(text)).encode())

    for first in ("", "x = 1\n", "'''", '"""\n', "%time ", "x = ", "#"):
        assert _reads(read, unit, first) is None
    assert _reads(read, f"{unit}\n") is None


@pytest.mark.parametrize("unit", _LINES)
def test_markdown(unit: str) -> None:
    def read(text: str) -> object:
        return without_prose(text, python_blocks(text))

    for first in ("", "```", "```python\n", "~~~ "):
        assert _reads(read, unit, first) is None
    assert _reads(read, f"```python\n{unit}\n```\n") is None
    assert _reads(read, f"```\n{unit}") is None


@pytest.mark.parametrize("unit", _LINES)
def test_fingerprints(unit: str) -> None:
    for first in ("", "f(x,", "'", '"""', "#"):
        assert _reads(without_layout, unit, first) is None


@pytest.mark.parametrize("unit", _LINES)
def test_configurations(unit: str) -> None:
    def read(text: str) -> object:
        return _where("f", text, "selct")

    for first in ("", "[tool.fa-lint]\n", "selct"):
        assert _reads(read, unit, first) is None
        assert _reads(read, f"{unit}\n", first) is None


@pytest.mark.parametrize("unit", _LINES)
def test_a_comment_in_a_file_with_a_finding(unit: str) -> None:
    """The whole linter, and what writes suppressions."""
    found = lint_text("a.py", UNSAFE.encode(), Settings()).diagnostics

    def lint(text: str) -> object:
        return lint_text("a.py", text.encode(), Settings(select=("FAL101",)))

    def silence(text: str) -> object:
        return add_ignores("a.py", text.encode(), found)

    for work in (lint, silence):
        assert _reads(work, unit, UNSAFE.rstrip() + "  # ") is None
        assert _reads(work, unit, UNSAFE + "# ") is None


@pytest.mark.parametrize("unit", ["#", "# ", "#noqa", "#fa-lint:ignore["])
def test_a_large_hostile_file_takes_seconds(unit: str, fa_lint: Lint) -> None:
    write("a.py", UNSAFE + unit * (2_000_000 // len(unit)))
    began = time.monotonic()
    assert "FAL101" in fa_lint("a.py", "--select", "FAL101").stdout
    assert time.monotonic() - began < 20
