"""The rules that offer a fix, the rules that say so, and the rules whose fixed programs are run here are the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from fa_lint.rules import registry
from tests.conftest import diagnostics_of

FIXABLE = {code for code, rule in registry().items() if rule.fixable != "no"}


def _executed() -> set[str]:
    """The rules whose fixes are applied by a call of ``fixed`` in a test beside this one."""
    selected: set[str] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "fixed":
                text = "".join(ast.unparse(k.value) for k in node.keywords if k.arg == "select")
                selected.update(re.findall(r"FAL\d+", text))
    return {code for code in registry() if code.startswith(tuple(selected))}


def test_the_fixes_of_every_rule_are_executed() -> None:
    assert _executed() & FIXABLE == FIXABLE
    # FAL103 is selected along with its neighbours, and has no fix.
    assert _executed() - FIXABLE <= {"FAL103"}


@pytest.mark.parametrize("style", ["runtime", "torch"])
def test_a_rule_says_whether_it_has_a_fix(style: str) -> None:
    offered = {
        found.code
        for rule in registry().values()
        for example in rule.INVALID
        for found in diagnostics_of(example.code, select=("FAL",), fix_style=style)
        if found.fix is not None
    }
    assert offered <= FIXABLE
    assert style == "torch" or offered == FIXABLE
