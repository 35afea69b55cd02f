"""The fixtures: every marked line is found, nothing else is, and fixes touch only their lines."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from fa_lint.fixes.edits import fix_data
from fa_lint.project.config import Settings
from fa_lint.project.discovery import discover
from fa_lint.project.engine import lint, lint_text
from fa_lint.rules import registry
from fa_lint.source.text import Source

FIXTURES = Path(__file__).parent.parent / "fixtures"
EXPECT = re.compile(r"# expect: ((?:FAL\d{3} ?)+)")
SETTINGS = Settings(root=str(FIXTURES))
OPT_IN = sorted(code for code, rule in registry().items() if not rule.default)
FILES = discover([str(FIXTURES)], SETTINGS)


def expected(path: str) -> Counter[tuple[int, str]]:
    """(row, code) pairs from the comments, in rows of the joined text for notebooks."""
    source = Source.read(path, Path(path).read_bytes())
    wanted: Counter[tuple[int, str]] = Counter()
    for row, line in enumerate(source.text.splitlines(), 1):
        match = EXPECT.search(line)
        if match and not line.lstrip().startswith("Lines that"):
            wanted.update((row, code) for code in match[1].split())
    return wanted


def test_fixtures_are_found_and_nothing_else_is() -> None:
    report = lint(FILES, SETTINGS, use_cache=False)
    found: dict[str, Counter[tuple[int, str]]] = {path: Counter() for path in FILES}
    for d in report.diagnostics:
        source = Source.read(d.path, Path(d.path).read_bytes())
        found[d.path][source.whole_row(d.cell, d.start.row), d.code] += 1
    wanted = {path: Counter({key: n for key, n in expected(path).items() if key[1] not in OPT_IN}) for path in FILES}
    assert found == wanted
    assert report.problems == []


@pytest.mark.parametrize("code", OPT_IN)
def test_opt_in_rules_fire_where_their_fixture_says(code: str) -> None:
    settings = Settings(root=str(FIXTURES), select=(code,))
    marked = [path for path in FILES if any(code == wanted for _, wanted in expected(path))]
    assert marked
    for path in marked:
        found = Counter((d.start.row, d.code) for d in lint([path], settings, use_cache=False).diagnostics)
        assert found == Counter({key: n for key, n in expected(path).items() if key[1] == code})


def test_every_rule_has_a_fixture() -> None:
    marked = {code for path in FILES for _, code in expected(path)}
    assert set(registry()) <= marked


@pytest.mark.parametrize("path", FILES, ids=lambda path: Path(path).stem)
def test_fixes_are_idempotent_and_touch_only_their_lines(path: str) -> None:
    data = Path(path).read_bytes()
    report = lint(FILES, SETTINGS, use_cache=False)
    mine = [d for d in report.diagnostics if d.path == path]
    fixed = fix_data(path, data, mine, SETTINGS, unsafe=True)
    left = lint_text(path, fixed.data, SETTINGS).diagnostics
    assert [d for d in left if d.fix is not None] == []
    assert fix_data(path, fixed.data, left, SETTINGS, unsafe=True).data == fixed.data
    assert bool(fixed.applied) == any(d.fix for d in mine) == (fixed.data != data)
    rows_with_fix = {row for d in mine if d.fix for row in range(d.start.row, d.end.row + 1)}
    if not path.endswith(".ipynb"):
        old, new = data.decode().splitlines(), fixed.data.decode().splitlines()
        kept = [line for row, line in enumerate(old, 1) if row not in rows_with_fix and "fa_lint_runtime" not in line]
        remaining = Counter(new)
        remaining.subtract(kept)
        gone = [line for line, count in remaining.items() if count < 0]
        unused = re.compile(r"\s*(import |from \S+ import |\w+ = )")
        assert all(unused.match(line) for line in gone), "a line without a finding changed"
