from __future__ import annotations

from fa_lint.findings import Level
from fa_lint.output._common import file_rows, relative
from fa_lint.project.engine import Report
from fa_lint.source.escaping import visible

__all__ = ["render_github"]

_COMMANDS = {Level.ERROR: "error", Level.WARNING: "warning", Level.HINT: "notice"}


def _data(text: str) -> str:
    # GitHub has escapes of its own for line ends.
    return visible(text, keep="\r\n").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def render_github(report: Report) -> str:
    """GitHub Actions workflow commands: annotations on the changed lines."""
    lines = []
    for found in report.diagnostics:
        path = relative(found.path)
        cell = f" (cell {found.cell})" if found.cell is not None else ""
        fields = [f"title={_property(f'fa-lint ({found.code})')}", f"file={_property(path)}"]
        first, last = file_rows(found)
        fields += [f"line={first}", f"endLine={last}"]
        # GitHub refuses columns on a range of lines, and a cell's columns are not the file's.
        if found.cell is None and first == last:
            fields += [f"col={found.start.column}", f"endColumn={found.end.column}"]
        place = f"{path}{cell}:{found.start.row}:{found.start.column}"
        message = _data(f"{place}: {found.code} {found.message}")
        lines.append(f"::{_COMMANDS[found.level]} {','.join(fields)}::{message}")
    return "\n".join(lines) + ("\n" if lines else "")
