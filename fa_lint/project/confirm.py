"""Joins what the rules found with what the guard of ``fa_lint_runtime`` saw: ``fa-lint --with-runtime F.json``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fa_lint.findings import Diagnostic, Level, Place
from fa_lint.project.config import Settings
from fa_lint.project.engine import Report
from fa_lint.rules import registry
from fa_lint.source.reading import read_file
from fa_lint.source.suppressions import read_suppressions
from fa_lint.source.text import Source, SourceError

__all__ = ["RuntimeEvent", "RuntimeLogError", "confirm", "read_events"]

_FORMAT, _VERSION = "fa-guard", 1
_LARGEST = 1e300
# Rules that tell one mistake apart by what they know about its operands; at run time they are the same event.
_FAMILIES = (frozenset({"FAL201", "FAL202"}), frozenset({"FAL101", "FAL102"}), frozenset({"FAL301", "FAL302"}))
_FIELDS = {"code": str, "kind": str, "file": str, "line": int, "message": str, "count": int}


class RuntimeLogError(Exception):
    """The file cannot be used; the text is one line that says why."""


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """One event of the guard, as far as it matters here. Lines and columns count from 1; 0: unknown."""

    code: str
    kind: str
    path: str
    line: int
    end_line: int
    column: int
    end_column: int
    count: int
    worst: float | None
    message: str

    @property
    def confirmation(self) -> str:
        """What is added to a finding."""
        times = f"{self.count} time{'' if self.count == 1 else 's'}"
        worst = "" if self.worst is None else f", worst {self.worst:.4f} of the true value"
        return f"confirmed at run time ({times}{worst})"


def read_events(path: str) -> list[RuntimeEvent]:
    """The events of a file written by ``pytest --fa-guard-json`` or ``GuardLog.write``.

    Raises:
        RuntimeLogError: missing, unreadable, or another kind of file.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RuntimeLogError(f"--with-runtime: cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise RuntimeLogError(f"--with-runtime: {path} is not JSON: {error}") from None
    if not isinstance(data, dict) or data.get("format") != _FORMAT or not isinstance(data.get("events"), list):
        raise RuntimeLogError(
            f"--with-runtime: {path} is no log of the guard; write one with `pytest --fa-guard=warn --fa-guard-json=F`"
        )
    if data.get("version") != _VERSION:
        raise RuntimeLogError(f"--with-runtime: {path} has version {data.get('version')}, known is {_VERSION}")
    return [_event(path, number, item) for number, item in enumerate(data["events"])]


def _event(path: str, number: int, item: Any) -> RuntimeEvent:
    for name, kind in _FIELDS.items():
        if not isinstance(item, dict) or not isinstance(item.get(name), kind) or isinstance(item[name], bool):
            raise RuntimeLogError(f"--with-runtime: {path}: event {number}: `{name}` must be {_ARTICLES[kind]}")
    worst = item.get("worst")
    # Not `math.isfinite`: a whole number may be larger than any float.
    if isinstance(worst, bool) or not isinstance(worst, int | float) or not abs(worst) < _LARGEST:
        worst = None
    line = max(item["line"], 1)
    places = [item.get(name) for name in ("end_line", "column", "end_column")]
    end_line, column, end_column = (p if isinstance(p, int) and p > 0 else 0 for p in places)
    return RuntimeEvent(
        item["code"], item["kind"], item["file"], line, max(end_line, line), column, end_column, item["count"], worst,
        item["message"],
    )  # fmt: skip


_ARTICLES = {str: "a string", int: "a whole number"}


def confirm(report: Report, events: Iterable[RuntimeEvent], files: Iterable[str], settings: Settings) -> list[str]:
    """Mark the findings that an event confirms, and add the events that no rule saw as findings of their own.

    An event belongs to a finding of the same kind of mistake on the same lines of the same file. Codes that are off,
    and suppressed lines, stay silent. Changes the report in place.

    Returns:
        Events in files that were not linted, as ``path:line CODE``.
    """
    by_file = {os.path.realpath(path): path for path in files}
    merged = _merged(events)
    outside = []
    for event in merged:
        path = by_file.get(os.path.realpath(event.path))
        if path is None:
            outside.append(f"{event.path}:{event.line} {event.code}")
            continue
        at = [n for n, found in enumerate(report.diagnostics) if found.path == path and _is_same(found, event)]
        for n in at:
            found = report.diagnostics[n]
            report.diagnostics[n] = replace(found, message=f"{found.message}; {event.confirmation}")
        if at or event.code not in settings.codes_for(path) | _unknown(event.code):
            continue
        source = _read(path)
        silencing = _silencing_rows(source, event)
        if silencing:
            report.diagnostics = [
                d
                for d in report.diagnostics
                if not (d.path == path and d.code == "FAL901" and d.start.row in silencing)
            ]
        else:
            report.diagnostics.append(_runtime_only(path, source, event))
    report.diagnostics.sort(key=lambda found: found.sort_key)
    return outside


def _unknown(code: str) -> frozenset[str]:
    """A code that only the guard knows cannot be configured; it is shown."""
    return frozenset() if code in registry() else frozenset({code})


def _merged(events: Iterable[RuntimeEvent]) -> list[RuntimeEvent]:
    """One event a place and code: tests and processes come one by one."""
    table: dict[tuple[str, int, int, str], RuntimeEvent] = {}
    for event in events:
        key = (os.path.realpath(event.path), event.line, event.column, event.code)
        old = table.get(key)
        if old is not None:
            known = [e.worst for e in (old, event) if e.worst is not None]
            event = replace(old, count=old.count + event.count, worst=min(known) if known else None)
        table[key] = event
    return list(table.values())


def _is_same(found: Diagnostic, event: RuntimeEvent) -> bool:
    if found.cell is not None or not _is_same_mistake(found.code, event.code):
        return False
    if found.end.row < event.line or event.end_line < found.start.row:
        return False
    if event.column and event.line == event.end_line == found.start.row == found.end.row:
        # Several calls on one line: the spans must meet.
        return found.start.column < event.end_column and event.column < found.end.column
    return True


def _is_same_mistake(a: str, b: str) -> bool:
    return a == b or any({a, b} <= family for family in _FAMILIES)


def _read(path: str) -> Source | None:
    try:
        return Source.read(path, read_file(path))
    except (OSError, SourceError):
        return None


def _runtime_only(path: str, source: Source | None, event: RuntimeEvent) -> Diagnostic:
    rule = registry().get(event.code)
    start = Place(event.line, event.column or 1)
    rows = range(event.line, event.end_line + 1)
    last = len(source.starts) if source is not None else 0
    return Diagnostic(
        path,
        None,
        start,
        Place(event.end_line, event.end_column or start.column),
        event.code,
        rule.name if rule else event.kind,
        f"runtime only: {event.message}",
        rule.level if rule else Level.WARNING,
        runtime=(rule.runtime or "") if rule else "",
        noqa_row=event.line,
        frame=tuple((row, source.line(row)) for row in rows if row <= last) if source is not None else (),
    )


def _silencing_rows(source: Source | None, event: RuntimeEvent) -> set[int]:
    """Rows of the suppressions on the lines of the call, or for the whole file, that name this mistake."""
    if source is None:
        return set()
    family = {event.code}.union(*(f for f in _FAMILIES if event.code in f))
    return {
        suppression.row
        for suppression in read_suppressions(source, has_findings=True)
        if any(suppression.covers(code) for code in family)
        and (suppression.whole_file or event.line <= suppression.row <= event.end_line)
    }
