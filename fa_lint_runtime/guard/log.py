"""The log of a guard: events by call site, and what could not be checked. No torch."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..files import read_data
from .events import GuardEvent

__all__ = ["FORMAT", "GuardLog", "read_log"]

FORMAT = "fa-guard"
VERSION = 1


class GuardLog:
    """What a guard saw so far: iterate over its events, one a call site and kind, in the order of appearance.

    Attributes:
        unchecked: reason to number of watched calls that could not be looked at (fake tensors, a failed check).

    Example:
        >>> from fa_lint_runtime import guard
        >>> import torch
        >>> with guard(mode="record") as log:
        ...     _ = torch.full((3,), 1e-9).half()
        >>> [(event.code, event.count, event.total) for event in log]
        [('FAL302', 3, 3)]
    """

    def __init__(self, events: Iterable[GuardEvent] = (), unchecked: dict[str, int] | None = None) -> None:
        self._settled = list(events)
        self.unchecked: Counter[str] = Counter(unchecked or {})
        self.source: Callable[[], list[GuardEvent]] | None = None

    @property
    def events(self) -> list[GuardEvent]:
        """All events; on a device that computes on its own this waits for it."""
        if self.source is not None:
            return self.source()
        return list(self._settled)

    def settle(self) -> None:
        """Take the events from the running guard for good."""
        if self.source is not None:
            self._settled, self.source = self.source(), None

    def __iter__(self) -> Iterator[GuardEvent]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def __bool__(self) -> bool:
        return bool(self.events)

    def __repr__(self) -> str:
        return f"GuardLog({len(self)} events, {sum(self.unchecked.values())} calls unchecked)"

    @property
    def codes(self) -> list[str]:
        """The codes seen, sorted, each once."""
        return sorted({event.code for event in self})

    def report(self) -> str:
        """One line an event, and one for what was not checked."""
        lines = [event.text() for event in self]
        lines += [f"not checked: {reason} ({count} calls)" for reason, count in sorted(self.unchecked.items())]
        return "\n".join(lines) if lines else "no events"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, read again by :func:`read_log` and by ``fa-lint --with-runtime``."""
        events = sorted((event.as_dict() for event in self), key=lambda d: (d["file"], d["line"], d["code"]))
        return {"format": FORMAT, "version": VERSION, "events": events, "unchecked": dict(self.unchecked)}

    def write(self, path: str | Path) -> None:
        """Write JSON: the whole file or nothing.

        Raises:
            OSError: the folder is missing or cannot be written.
        """
        target = Path(path)
        text = json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n"
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def merge(self, events: Iterable[GuardEvent]) -> None:
        """Add events of other logs (tests, processes): those of one call site and kind become one."""
        table = {_key(event): event for event in self._settled}
        for event in events:
            old = table.get(_key(event))
            table[_key(event)] = event if old is None else _joined(old, event)
        self._settled = list(table.values())


def _key(event: GuardEvent) -> tuple[str, str, int, int, str]:
    return event.kind, event.file, event.line, event.column, event.function


def _joined(a: GuardEvent, b: GuardEvent) -> GuardEvent:
    ranked = [event for event in (a, b) if event.worst is not None]
    worse = min(ranked, key=lambda event: event.worst or 0.0) if ranked else a
    code = min(a.code, b.code)
    return replace(worse, code=code, calls=a.calls + b.calls, count=a.count + b.count, total=a.total + b.total)


def read_log(path: str | Path) -> GuardLog:
    """The log that :meth:`GuardLog.write` or ``pytest --fa-guard-json`` wrote.

    Raises:
        ValueError: not such a file; says why.
        OSError: unreadable.

    Example:
        >>> log = GuardLog()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log.write(f"{folder}/events.json")
        ...     len(read_log(f"{folder}/events.json"))
        0
    """
    try:
        data = json.loads(read_data(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"{path}: not a log of the guard; write one with pytest --fa-guard-json or GuardLog.write")
    if data.get("version") != VERSION:
        raise ValueError(f"{path}: version {data.get('version')}, this is version {VERSION}")
    try:
        return GuardLog([GuardEvent.from_json(event) for event in data["events"]], data.get("unchecked"))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}: a damaged log of the guard: {type(error).__name__}: {error}") from None
