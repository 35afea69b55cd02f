"""What the guard reports: frozen, picklable, JSON in and out, no torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import RuntimeNumericsError
from .table import EVENTS

__all__ = ["GuardError", "GuardEvent", "GuardWarning"]


class GuardWarning(UserWarning):
    """The guard saw an event while its mode was ``"warn"``; filename and line are those of the user's call.

    Example:
        >>> issubclass(GuardWarning, UserWarning)
        True
    """


@dataclass(frozen=True, slots=True)
class GuardEvent:
    """One mistake at one call site, with everything measured there.

    Attributes:
        code: lint code.
        kind: name of the kind, a key of ``EVENTS``.
        function: what was called.
        file, line, end_line, column, end_column: the user's call; columns count from 1, 0 where unknown.
        calls: how many checked calls showed it.
        count, total: how many vectors (or entries) of how many seen there.
        worst: smallest share of the true value that was returned, None where that has no meaning.
        was, should: the number that was returned in the worst case, and what it should have been (NaN: undefined).
        magnitude: smallest norm, or largest value lost, in the unit of the operand.
        shapes, dtypes: of the operands in the worst case.
        detail: eps, order, dtype or names, as text.
        backward: seen while autograd ran.

    Example:
        >>> event = GuardEvent("FAL202", "clamped-cosine", "F.cosine_similarity", "train.py", 12, calls=3, count=3,
        ...                    total=6, worst=0.05, was=0.05, should=1.0, magnitude=5e-10, detail="1e-08")
        >>> print(event.text())  # doctest: +ELLIPSIS
        train.py:12: FAL202 clamped-cosine: F.cosine_similarity: 3 of 6 cosines were clamped: a norm of 5e-10 ...
        >>> GuardEvent.from_json(event.as_dict()) == event
        True
    """

    code: str
    kind: str
    function: str
    file: str
    line: int
    end_line: int = 0
    column: int = 0
    end_column: int = 0
    calls: int = 0
    count: int = 0
    total: int = 0
    worst: float | None = None
    was: float | None = None
    should: float | None = None
    magnitude: float | None = None
    shapes: tuple[tuple[int, ...], ...] = ()
    dtypes: tuple[str, ...] = ()
    detail: str = ""
    backward: bool = False

    @property
    def advice(self) -> str:
        """What to do about it."""
        return EVENTS[self.kind].advice.format(detail=self.detail)

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"

    def message(self) -> str:
        """What happened, what the number was and what it should have been, and what to do."""
        magnitude = "?" if self.magnitude is None else _number(self.magnitude)
        kind = EVENTS[self.kind]
        what = kind.what.format(count=self.count, total=self.total, magnitude=magnitude, detail=self.detail)
        parts = [f"{self.function}: {what}"]
        if self.was is not None and self.should is not None:
            parts.append(f"was {_number(self.was)}, should be {_number(self.should)}")
        if self.shapes:
            operands = ", ".join(
                f"{list(shape)} {dtype}" for shape, dtype in zip(self.shapes, self.dtypes, strict=False)
            )
            parts.append(f"operands {operands}")
        return f"{'; '.join(parts)}. {self.advice[0].upper()}{self.advice[1:]}."

    def text(self) -> str:
        """One line: place, code, kind and message."""
        return f"{self.place}: {self.code} {self.kind}: {self.message()}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a number that JSON cannot hold is a string (``"nan"``, ``"inf"``)."""
        return {key: _plain(value) for key, value in asdict(self).items()} | {"message": self.message()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> GuardEvent:
        """The event that :meth:`as_dict` wrote.

        Raises:
            ValueError: a field is missing or of another type.
        """
        known = {name: data[name] for name in cls.__slots__ if name in data}
        for name in ("worst", "was", "should", "magnitude"):
            if isinstance(known.get(name), str):
                known[name] = float(known[name])
        try:
            known["shapes"] = tuple(tuple(int(n) for n in shape) for shape in known.get("shapes", ()))
            known["dtypes"] = tuple(str(name) for name in known.get("dtypes", ()))
            event = cls(**known)
            if not isinstance(event.line, int) or event.kind not in EVENTS:
                raise ValueError(f"not an event of the guard: {event.kind!r}")
        except TypeError as error:
            raise ValueError(f"not an event of the guard: {error}") from None
        return event


class GuardError(RuntimeNumericsError, ArithmeticError):
    """The guard saw an event while its mode was ``"error"``.

    Args:
        events: what was seen; the first one is the message.

    Example:
        >>> error = GuardError((GuardEvent("FAL404", "self-cosine", "F.cosine_similarity", "a.py", 3),))
        >>> error.events[0].line
        3
    """

    def __init__(self, events: tuple[GuardEvent, ...]) -> None:
        self.events = events
        more = f" (and {len(events) - 1} more)" if len(events) > 1 else ""
        super().__init__(f"{events[0].text()}{more}")

    def _facts(self) -> tuple[Any, ...]:
        return (self.events,)


def _number(value: float) -> str:
    if 0 < abs(value) - 1 < 1e-3:
        return f"{value:.8g}"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:.4f}"
    return f"{value:.3g}"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
