from __future__ import annotations

import io
from collections import Counter
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from fa_lint.engine import Report
from fa_lint.escaping import visible
from fa_lint.findings import Applicability, Diagnostic, Level
from fa_lint.installing import NEEDS_RUNTIME
from fa_lint.output._common import where

__all__ = ["print_full", "render_full"]

_COLOURS = {Level.ERROR: "bold red", Level.WARNING: "bold yellow", Level.HINT: "bold cyan"}
_TAB = 4
# Lines are never wrapped, and COLUMNS may say 0.
_WIDE = 1_000_000


def render_full(report: Report, *, colour: bool = False) -> str:
    """A frame with a caret for every finding."""
    stream = io.StringIO()
    system: Literal["standard"] | None = "standard" if colour else None
    colours: dict[str, Any] = {"force_terminal": colour, "no_color": not colour, "color_system": system}
    print_full(report, Console(file=stream, width=_WIDE, legacy_windows=False, **colours))
    return stream.getvalue()


def print_full(report: Report, console: Console) -> None:
    """Print the findings to a rich console, which decides on colours."""
    for found in report.diagnostics:
        for line in _block(found):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        console.print()
    console.print(_summary(report), soft_wrap=True, highlight=False, markup=False)


def _block(found: Diagnostic) -> list[Text]:
    colour = _COLOURS[found.level]
    head = Text.assemble((where(found), "bold"), " ", (visible(found.code), colour), " ", (f"{found.level}", colour))
    head.append(visible(f" {found.name}: {found.message}"))
    lines = [head]
    width = len(str(max((row for row, _ in found.frame), default=1)))
    for row, text in found.frame:
        lines.append(Text.assemble((f"{row:>{width + 2}} | ", "blue"), visible(text).expandtabs(_TAB)))
        if found.start.row <= row <= found.end.row:
            pad, marks = _carets(found, row, text)
            lines.append(Text.assemble((" " * (width + 2) + " | ", "blue"), " " * pad, (marks, colour)))
    label = " " * (width + 3)
    if found.computes:
        lines.append(Text.assemble((f"{label}= computes: ", "blue"), visible(found.computes)))
    for place in found.related:
        cell = f":cell {place.cell}" if place.cell is not None else ""
        at = f"{visible(place.path)}{cell}:{place.start.row}:{place.start.column}"
        lines.append(Text.assemble((f"{label}= because: ", "blue"), f"{visible(place.message)} ({at})"))
    if found.fix is not None:
        how = "--fix" if found.fix.applicability is Applicability.SAFE else "--fix --unsafe-fixes"
        lines.append(Text.assemble((f"{label}= fix: ", "blue"), f"{visible(found.fix.message)} ({how})"))
    if found.runtime:
        lines.append(Text.assemble((f"{label}= at run time: ", "blue"), visible(found.runtime)))
    return lines


def _carets(found: Diagnostic, row: int, text: str) -> tuple[int, str]:
    """Padding and carets under one row, in terminal cells (tabs, wide characters)."""
    start = found.start.column - 1 if row == found.start.row else len(text) - len(text.lstrip())
    end = found.end.column - 1 if row == found.end.row else len(text.rstrip())
    before = cell_len(visible(text[:start]).expandtabs(_TAB))
    marked = cell_len(visible(text[:end]).expandtabs(_TAB)) - before
    return before, "^" * max(marked, 1)


def _summary(report: Report) -> Text:
    levels = Counter(found.level for found in report.diagnostics)
    files = f"{report.files} file{'' if report.files == 1 else 's'}"
    if not report.diagnostics:
        return Text(f"No findings in {files}.")
    counts = ", ".join(
        f"{levels[level]} {level}{'' if levels[level] == 1 else 's'}" for level in Level if levels[level]
    )
    safe = sum(1 for d in report.diagnostics if d.fix is not None and d.fix.applicability is Applicability.SAFE)
    unsafe = sum(1 for d in report.diagnostics if d.fix is not None and d.fix.applicability is Applicability.UNSAFE)
    text = f"Found {counts} in {files}."
    if safe:
        text += f" {safe} fixable with --fix."
    if unsafe:
        text += f" {unsafe} with --fix --unsafe-fixes."
    if any(found.fix is not None and found.fix.needs_runtime for found in report.diagnostics):
        text += f" {NEEDS_RUNTIME}"
    return Text(text)
