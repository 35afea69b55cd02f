"""Reports from disk: files of ``diagnose``, cells of an audit, or a folder of either."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..diagnostics import DiagnosticReport
from ..files import read_data
from .cells import SCHEMA, CellResult

__all__ = ["ReportError", "read_any", "read_report", "read_reports"]


class ReportError(ValueError):
    """A file that holds no report: file, reason."""


def read_report(path: str | Path) -> DiagnosticReport:
    """The report of a JSON file, a cell's included.

    Raises:
        ReportError: unreadable, no report, or a cell that has none.
    """
    found = _read(Path(path))
    if isinstance(found, DiagnosticReport):
        return found
    if found.report is None:
        raise ReportError(f"{path}: this cell holds no report ({found.error or 'frozen blocks or diverged'})")
    return found.report


def _read(path: Path) -> DiagnosticReport | CellResult:
    try:
        text = read_data(path).decode("utf-8")
        raw: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise ReportError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8, or digits or brackets by the thousand
        raise ReportError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        if isinstance(raw, dict) and raw.get("schema") == SCHEMA:
            return CellResult.of(raw)
        return DiagnosticReport.from_json(text)
    except (KeyError, TypeError) as error:
        raise ReportError(f"{path}: a damaged cell of an audit: {type(error).__name__}: {error}") from None
    except ValueError as error:
        raise ReportError(f"{path}: {error}") from None


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Each file once, by whichever paths it is named, and whether one of them was its own."""
    seen: set[tuple[int, int]] = set()
    for path in paths:
        is_folder = path.is_dir()
        folder = path / "cells" if (path / "cells").is_dir() else path
        for file in sorted(folder.glob("*.json")) if is_folder else [path]:
            try:
                status = file.stat()
            except OSError as error:
                raise ReportError(f"{file}: cannot be read: {error.strerror or error}") from None
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                yield file, not is_folder


def read_reports(paths: Iterable[str | Path]) -> list[DiagnosticReport]:
    """Reports of files; of a folder (of an audit, or of reports) those that are there.

    Raises:
        ReportError: a file without a report, or nothing found.
    """
    given = [Path(path) for path in paths]
    found: list[DiagnosticReport] = []
    for file, is_named in _files(given):
        try:
            found.append(read_report(file))
        except ReportError:
            if is_named:
                raise
    if not found:
        raise _nothing(given)
    return found


def read_any(paths: Iterable[str | Path]) -> tuple[list[tuple[Path, DiagnosticReport | CellResult]], list[str]]:
    """Files with their reports or cells, those without a report included; and why files of folders were left out.

    Raises:
        ReportError: a file that holds neither, or nothing found.
    """
    given = [Path(path) for path in paths]
    found: list[tuple[Path, DiagnosticReport | CellResult]] = []
    left_out = []
    for file, is_named in _files(given):
        try:
            found.append((file, _read(file)))
        except ReportError as error:
            if is_named:
                raise
            left_out.append(str(error))
    if not found:
        raise _nothing(given)
    return found, left_out


def _nothing(given: Sequence[Path]) -> ReportError:
    return ReportError(f"no report in {', '.join(map(str, given))}")
