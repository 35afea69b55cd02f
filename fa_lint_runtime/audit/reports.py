"""Reports from disk: files of ``diagnose``, cells of an audit, or a folder of either."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..diagnostics import DiagnosticReport

__all__ = ["ReportError", "read_report", "read_reports"]


class ReportError(ValueError):
    """A file that holds no report: file, reason."""


def read_report(path: str | Path) -> DiagnosticReport:
    """The report of a JSON file, a cell's included.

    Raises:
        ReportError: unreadable, no report, or a cell that has none.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise ReportError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8, or digits or brackets by the thousand
        raise ReportError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if isinstance(raw, dict) and raw.get("schema") == "fa-diagnose-cell":
        if raw.get("report") is None:
            raise ReportError(f"{path}: this cell holds no report ({raw.get('error') or 'frozen blocks or diverged'})")
        text = json.dumps(raw["report"])
    try:
        return DiagnosticReport.from_json(text)
    except ValueError as error:
        raise ReportError(f"{path}: {error}") from None


def read_reports(paths: Iterable[str | Path]) -> list[DiagnosticReport]:
    """Reports of files; of a folder (of an audit, or of reports) those that are there.

    Raises:
        ReportError: a file without a report, or nothing found.
    """
    found: list[DiagnosticReport] = []
    given: Sequence[Path] = [Path(path) for path in paths]
    for path in given:
        if path.is_dir():
            folder = path / "cells" if (path / "cells").is_dir() else path
            for file in sorted(folder.glob("*.json")):
                try:
                    found.append(read_report(file))
                except ReportError:
                    continue
        else:
            found.append(read_report(path))
    if not found:
        raise ReportError(f"no report in {', '.join(map(str, given))}")
    return found
