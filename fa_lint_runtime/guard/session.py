"""The guards that are active, innermost last, and what each of them has seen."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar

from torch import Tensor

from . import callsite
from .callsite import Call, Site
from .events import GuardError, GuardEvent
from .log import GuardLog
from .measurement import Measurement
from .saves import SaveBook
from .table import CODES, EVENTS, selected
from .tally import Tally
from .warning import warn

__all__ = ["Session", "active_sessions", "enter", "leave", "sessions_for"]


class Session:
    """One ``with guard(...)``: its settings, its tallies, its log."""

    def __init__(
        self,
        mode: str,
        rules: tuple[str, ...],
        ignore: tuple[str, ...],
        sample: float,
        *,
        deferred: bool = False,
        opaque: bool = False,
    ) -> None:
        self.mode = mode
        self.sample = sample
        self.deferred = deferred
        self.opaque = opaque  # what it leaves out, no outer guard sees either
        self.active = False
        self.log = GuardLog()
        self.log.source = self.events
        self.saves = SaveBook()
        self._taken = frozenset(code for code in CODES if selected(code, rules) and not selected(code, ignore))
        self._wanted = frozenset(k.name for k in EVENTS.values() if {k.code, k.known_gradient} & self._taken)
        self._tallies: dict[tuple[object, ...], Tally] = {}
        self._looked: dict[tuple[object, ...], int] = {}
        self._seen: dict[tuple[object, ...], int] = {}
        self._lock = threading.Lock()

    def wants(self, kind: str) -> bool:
        """Whether a kind of event is to be watched."""
        return kind in self._wanted

    def takes(self, code: str) -> bool:
        """Whether events of this code are taken."""
        return code in self._taken

    def is_due(self, kind: str, call: Call | None) -> bool:
        """Every call with ``sample=1``; else the first of each site and then an even share of the rest."""
        if self.sample >= 1:
            return True
        key = (kind, call.key if call else None)
        n = self._seen.get(key, 0)
        self._seen[key] = n + 1
        return n == 0 or int((n + 1) * self.sample) > int(n * self.sample)

    def look(self, kind: str, call: Call | None, count: int) -> None:
        """Note that ``count`` vectors (or entries) were looked at."""
        key = (kind, call.key if call else None)
        self._looked[key] = self._looked.get(key, 0) + count

    def tally(self, kind: str, call: Call | None, function: str, *, backward: bool) -> Tally:
        """The tally of a call site, made on first use."""
        key = (kind, call.key if call else None)
        with self._lock:
            found = self._tallies.get(key)
            if found is None:
                name = call.function(function) if call else function
                code = EVENTS[kind].code
                found = self._tallies[key] = Tally(kind, code, name, callsite.site_of(call), backward)
        return found

    def record(self, tally: Tally, found: Measurement, operands: tuple[Tensor, ...], *, now: bool) -> GuardEvent | None:
        """Add a measurement; the event, if it is known and the first of its call site."""
        with self._lock:
            if not now:
                tally.defer(found, operands)
                return None
            tally.add(found, operands)
            tally.total = found.total
            first, tally.told = not tally.told, True
        return tally.event() if first else None

    def note(self, reason: str) -> None:
        """Count a call that could not be looked at."""
        self.log.unchecked[reason] += 1

    def events(self) -> list[GuardEvent]:
        """Everything so far, on call sites in order of appearance."""
        with self._lock:
            for key, tally in self._tallies.items():
                tally.settle()
                tally.total = self._looked.get(key, 0)
            found = [tally.event() for tally in self._tallies.values() if tally.count]
        return found + [event for event in self.saves.events() if self.takes(event.code)]

    def finish(self) -> None:
        """Complete the log with what is known only at the end.

        Raises:
            GuardError: with mode ``"error"``, if that is more than was raised already.
        """
        told = {(tally.kind, tally.site) for tally in self._tallies.values() if tally.told}
        self.log.settle()
        late = [e for e in self.log if (e.kind, Site(e.file, e.line, e.end_line, e.column, e.end_column)) not in told]
        if self.mode == "error" and late:
            raise GuardError(tuple(late))
        for event in late:
            self.tell(event)

    def tell(self, event: GuardEvent) -> None:
        """Warn or raise, as the mode says."""
        if self.mode == "error":
            raise GuardError((event,))
        if self.mode == "warn":
            warn(event)


_entered: ContextVar[tuple[Session, ...]] = ContextVar("fa_lint_guard_sessions", default=())
_everywhere: list[Session] = []


def active_sessions() -> list[Session]:
    """Those entered by this thread or task, innermost first; for a thread that entered none, all of them."""
    own = [session for session in reversed(_entered.get()) if session.active]
    return own or _everywhere[::-1]


def sessions_for(kind: str) -> list[Session]:
    """The guards that watch a kind of event, innermost first."""
    if len(_everywhere) < 2:
        # The usual case, at a third of the price: it runs for every watched call.
        return [session for session in _everywhere if session.wants(kind)]
    found = []
    for session in active_sessions():
        if session.wants(kind):
            found.append(session)
        if session.opaque:
            break
    return found


def enter(session: Session) -> None:
    """Make it the innermost guard of this thread or task."""
    session.active = True
    _everywhere.append(session)
    _entered.set((*_entered.get(), session))


def _forked() -> None:
    """A worker process is not watched: its events would never reach the log."""
    for session in _everywhere:
        session.active = False
    _everywhere.clear()


if hasattr(os, "register_at_fork"):  # Windows starts its workers afresh
    os.register_at_fork(after_in_child=_forked)


def leave(session: Session) -> None:
    """Take it out, wherever in the stack it is."""
    session.active = False
    if session in _everywhere:
        _everywhere.remove(session)
    _entered.set(tuple(other for other in _entered.get() if other is not session))
