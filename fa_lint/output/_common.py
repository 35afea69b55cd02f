"""What several formats share: where a finding is, as text and as a relative path."""

from __future__ import annotations

import os
from pathlib import PurePath

from fa_lint.escaping import visible
from fa_lint.findings import Diagnostic

__all__ = ["relative", "rule_url", "shown_path", "where"]

_DOCS = "https://github.com/fa-lint/fa-lint/blob/main/docs/rules"


def where(diagnostic: Diagnostic) -> str:
    """``path:row:column``, with the cell in a notebook as Ruff writes it."""
    cell = f":cell {diagnostic.cell}" if diagnostic.cell is not None else ""
    return f"{shown_path(diagnostic.path)}{cell}:{diagnostic.start.row}:{diagnostic.start.column}"


def shown_path(path: str) -> str:
    """A path as text that can begin a line."""
    shown = visible(path)
    return f"./{shown}" if shown.lstrip().startswith("::") else shown


def relative(path: str) -> str:
    """A path relative to the working directory, with forward slashes and no leading ``./``."""
    if os.path.isabs(path):
        below = os.path.relpath(path)
        path = path if below.startswith("..") else below
    return PurePath(path).as_posix()


def rule_url(code: str) -> str:
    """The page of a rule."""
    return f"{_DOCS}/{code}.md"
