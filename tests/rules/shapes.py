"""Lint one snippet with one rule: rows, or rows and levels."""

from __future__ import annotations

import ast
import textwrap

from fa_lint.analysis import analyse
from fa_lint.gate import outline
from fa_lint.places import Diagnostic
from fa_lint.rules import registry
from fa_lint.semantics.roles import RoleNames

__all__ = ["found", "rows"]


def found(code: str, text: str) -> list[Diagnostic]:
    """The findings of one rule in ``text``; where there are any, both its gates must be open."""
    data = textwrap.dedent(text).encode()
    compile(data, "example.py", "exec")
    result = analyse("example.py", data, frozenset({code}), RoleNames())
    assert result.problems == []
    rule = registry()[code]
    ungated = rule.may_match(data) and rule.may_fire(outline(ast.parse(data), data))
    assert ungated or not result.diagnostics
    return result.diagnostics


def rows(code: str, text: str) -> list[int]:
    return [d.start.row for d in found(code, text)]
