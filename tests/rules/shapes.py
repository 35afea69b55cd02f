"""Lint one snippet with one rule: rows, or rows and levels."""

from __future__ import annotations

import textwrap

from fa_lint.project.check_file import analyse
from fa_lint.project.places import Diagnostic
from fa_lint.rules import registry
from fa_lint.semantics.roles import RoleNames

__all__ = ["found", "rows"]


def found(code: str, text: str) -> list[Diagnostic]:
    """The findings of one rule in ``text``; where there are any, its gate must be open."""
    data = textwrap.dedent(text).encode()
    compile(data, "example.py", "exec")
    result = analyse("example.py", data, frozenset({code}), RoleNames())
    assert result.problems == []
    rule = registry()[code]
    assert rule.may_match(data) or not result.diagnostics
    return result.diagnostics


def rows(code: str, text: str) -> list[int]:
    return [d.start.row for d in found(code, text)]
