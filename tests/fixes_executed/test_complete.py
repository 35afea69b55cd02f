"""No rule has a fix that nothing here runs."""

from __future__ import annotations

from pathlib import Path

from fa_lint.rules import registry

HERE = Path(__file__).parent


def test_the_fixes_of_every_rule_are_executed() -> None:
    text = "".join(path.read_text() for path in HERE.glob("test_*.py") if path != Path(__file__))
    fixable = {code for code, rule in registry().items() if rule.fixable != "no"}
    assert {code for code in fixable if f'"{code}"' not in text} == set()
