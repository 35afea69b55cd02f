"""What several formats share: where a finding is, as text and as a relative path."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from fa_lint.findings import Applicability, Diagnostic
from fa_lint.project.git import repository_top
from fa_lint.rules import ENGINE_CODES, registry
from fa_lint.source.escaping import visible
from fa_lint.source.notebook import Notebook, NotebookError
from fa_lint.source.reading import read_file

__all__ = ["base_folder", "file_rows", "has_safe_fix", "relative", "rule_url", "shown_path", "where"]

_DOCS = "https://github.com/fa-lint/fa-lint/blob/main/docs/rules"


def where(diagnostic: Diagnostic) -> str:
    """``path:row:column``, with the cell in a notebook as Ruff writes it."""
    cell = f":cell {diagnostic.cell}" if diagnostic.cell is not None else ""
    return f"{shown_path(diagnostic.path)}{cell}:{diagnostic.start.row}:{diagnostic.start.column}"


def shown_path(path: str) -> str:
    """A path as text that can begin a line."""
    shown = visible(path)
    return f"./{shown}" if shown.lstrip().startswith("::") else shown


def base_folder() -> Path:
    """Return the top of the repository around the working directory, or the working directory itself.

    That is what services (GitHub, GitLab, reviewdog) resolve a path against, whatever folder the run started in.
    """
    here = os.getcwd()
    return Path(repository_top(here) or here)


def relative(path: str) -> str:
    """Return a path relative to :func:`base_folder`, with forward slashes; an absolute one where it is not below."""
    if path == "-":
        return path
    base = base_folder()
    absolute = os.path.abspath(path)
    # The working directory is known by its real name only; a path may have come through a link to it.
    real = os.path.join(os.path.realpath(os.path.dirname(absolute)), os.path.basename(absolute))
    for candidate in (PurePath(absolute), PurePath(real)):
        if candidate.is_relative_to(base):
            return candidate.relative_to(base).as_posix()
    return PurePath(absolute).as_posix()


def file_rows(found: Diagnostic) -> tuple[int, int]:
    """Return the first and last row in the file: in a notebook those of its JSON, which services count in."""
    if found.cell is None:
        return found.start.row, found.end.row
    try:
        notebook = Notebook.read(read_file(found.path))
        first = notebook.raw_row(found.cell, found.start.row)
        return first, max(first, notebook.raw_row(found.cell, found.end.row))
    except (OSError, NotebookError, LookupError):  # standard input, or a file that has changed
        return 1, 1


def has_safe_fix(found: Diagnostic) -> bool:
    """Return True if ``--fix`` alone changes it."""
    return found.fix is not None and found.fix.applicability is Applicability.SAFE


def rule_url(code: str) -> str | None:
    """Return the address of a rule's page; None for the rule of a plug-in, which has none here."""
    rule = registry().get(code)
    ours = code in ENGINE_CODES or (rule is not None and type(rule).__module__.startswith("fa_lint.rules."))
    return f"{_DOCS}/{code}.md" if ours else None
