from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from fa_lint.findings import Diagnostic, Level
from fa_lint.installing import NEEDS_RUNTIME
from fa_lint.output._common import has_safe_fix, rule_url, where
from fa_lint.output.console import plural
from fa_lint.project.engine import Report
from fa_lint.source.escaping import visible

__all__ = ["Look", "render_full"]

_COLOURS = {Level.ERROR: "bold red", Level.WARNING: "bold yellow", Level.HINT: "bold cyan"}
_TAB = 4
# Lines are never wrapped, and COLUMNS may say 0.
_WIDE = 1_000_000


@dataclass(frozen=True, slots=True)
class Look:
    """How the findings are shown: a terminal has links and a limit, a pipe neither."""

    colour: bool = False
    links: bool = False
    most: int | None = None
    summary: bool = True


def render_full(report: Report, look: Look = Look()) -> str:
    """A frame with a caret for every finding."""
    stream = io.StringIO()
    system: Literal["standard"] | None = "standard" if look.colour else None
    colours: dict[str, Any] = {"force_terminal": look.colour, "no_color": not look.colour, "color_system": system}
    console = Console(file=stream, width=_WIDE, legacy_windows=False, **colours)
    for found in report.diagnostics[: look.most]:
        for line in _block(found, look):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        console.print()
    more = len(report.diagnostics) - len(report.diagnostics[: look.most])
    if more:
        text = (
            f"{plural(more, 'more finding')} not shown; --max-findings 0 shows all, --statistics counts them by rule."
        )
        console.print(text, soft_wrap=True, highlight=False, markup=False)
    if look.summary:
        console.print(_summary(report), soft_wrap=True, highlight=False, markup=False)
    return stream.getvalue()


def _block(found: Diagnostic, look: Look) -> list[Text]:
    colour = _COLOURS[found.level]
    page = rule_url(found.code)
    code = f"{colour} link {page}" if page and look.links else colour
    head = Text.assemble((where(found), "bold"), " ", (visible(found.code), code), " ", (f"{found.level}", colour))
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
        how = "--fix" if has_safe_fix(found) else "--fix --unsafe-fixes"
        lines.append(Text.assemble((f"{label}= fix: ", "blue"), f"{visible(found.fix.message)} ({how})"))
    if found.runtime:
        lines.append(Text.assemble((f"{label}= at run time: ", "blue"), visible(found.runtime)))
    if page is not None:
        lines.append(Text.assemble((f"{label}= rule: ", "blue"), page))
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
    files = plural(report.files, "file")
    if not report.diagnostics:
        return Text(f"No findings in {files}.")
    counts = ", ".join(plural(levels[level], str(level)) for level in Level if levels[level])
    fixable = sum(found.fix is not None for found in report.diagnostics)
    safe = sum(has_safe_fix(found) for found in report.diagnostics)
    text = f"Found {counts} in {files}."
    commands = [f"{safe} fixable with --fix"] if safe else []
    if fixable > safe:
        commands.append(f"{fixable} {'' if safe else 'fixable '}with --fix --unsafe-fixes")
    if commands:
        text += f" {', '.join(commands)}."
    if any(found.fix is not None and found.fix.needs_runtime for found in report.diagnostics):
        text += f" {NEEDS_RUNTIME}"
    return Text(text)
