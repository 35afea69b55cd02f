"""Events as lines of a test report. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from .events import GuardEvent
from .log import GuardLog

__all__ = ["lines_of_summary", "section"]


def section(events: Iterable[GuardEvent]) -> str:
    """A line an event, with call site and fix."""
    return "\n".join(
        f"{_relative(event.file)}:{event.line}: {event.code} {event.kind}: {event.message()}" for event in events
    )


def lines_of_summary(total: GuardLog, early: GuardLog, tests: Mapping[tuple[str, str, int], set[str]]) -> list[str]:
    """A table: code, call site, how often, how bad, in how many tests; sorted by place. Empty without events."""
    rows = []
    for log, is_early in ((total, False), (early, True)):
        for event in log:
            count = len(tests.get((event.file, event.kind, event.line), ()))
            where = "import" if is_early else f"{count} test{'' if count == 1 else 's'}"
            worst = "" if event.worst is None else f"worst {event.worst:.4f} of the true value"
            place = f"{_relative(event.file)}:{event.line}"
            rows.append((place, event.code, event.kind, f"{event.count}/{event.total}", where, worst))
    rows.sort()
    widths = [max(len(row[i]) for row in rows) for i in range(6)] if rows else []
    order = (1, 0, 2, 3, 4, 5)
    return ["  ".join(row[i].ljust(widths[i]) for i in order).rstrip() for row in rows]


def _relative(file: str) -> str:
    try:
        below = os.path.relpath(file)
    except ValueError:
        return file
    return file if below.startswith("..") or file.startswith("<") else below
