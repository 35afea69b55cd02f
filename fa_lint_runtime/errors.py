"""Exceptions of the runtime package. Each one carries its facts as attributes and survives pickling.

The message is built from the facts, so that a caller can act on ``error.index`` instead of parsing text.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .magnitude import MagnitudeReport

__all__ = [
    "CheckpointError",
    "MagnitudeError",
    "MissingFeedbackError",
    "RuntimeNumericsError",
    "UndefinedCosineError",
    "first_line",
]


def first_line(error: Exception, longest: int = 160) -> str:
    """Return the first line of what an exception says; its type where it has none, as for an ``EOFError`` of torch.

    Example:
        >>> first_line(EOFError()), first_line(ValueError("one\\ntwo"))
        ('EOFError', 'one')
    """
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:longest]


class RuntimeNumericsError(Exception):
    """Base class of everything that ``fa_lint_runtime`` raises on purpose.

    Example:
        >>> issubclass(UndefinedCosineError, RuntimeNumericsError)
        True
    """

    def _facts(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def __reduce__(self) -> tuple[type[RuntimeNumericsError], tuple[Any, ...]]:
        return type(self), self._facts()


class UndefinedCosineError(RuntimeNumericsError, ArithmeticError):
    """A cosine (or angle, or unit vector) that has no value was asked for with ``undefined="raise"``.

    Args:
        index: position in the result (the reduced dimension left out); ``()`` for a single pair.
        reason: what is wrong there, for example ``"a is a zero vector"``.
        count: how many results are undefined in all.
        total: how many results there are.

    Example:
        >>> error = UndefinedCosineError(index=(3,), reason="b is a zero vector", count=1, total=8)
        >>> error.index, error.count
        ((3,), 1)
        >>> print(str(error).split(": ")[1])
        b is a zero vector (1 of 8 results undefined; FAL405
    """

    def __init__(self, index: tuple[int, ...], reason: str, count: int, total: int) -> None:
        self.index = index
        self.reason = reason
        self.count = count
        self.total = total
        super().__init__(
            f"cosine undefined at index {index}: {reason} "
            f"({count} of {total} results undefined; FAL405: report N/A, never a number)"
        )

    def _facts(self) -> tuple[Any, ...]:
        return self.index, self.reason, self.count, self.total


class MagnitudeError(RuntimeNumericsError, ArithmeticError):
    """Vectors are too small (or not finite) for what is about to be computed from them.

    Args:
        report: every figure measured, a :class:`fa_lint_runtime.MagnitudeReport`.

    Example:
        >>> import torch
        >>> from fa_lint_runtime import assert_magnitude
        >>> try:
        ...     assert_magnitude(torch.full((2, 4), 1e-10), name="g_2")
        ... except MagnitudeError as error:
        ...     error.report.share_below, error.report.first_index
        (1.0, (0,))
    """

    def __init__(self, report: MagnitudeReport) -> None:
        self.report = report
        super().__init__(report.message())

    def _facts(self) -> tuple[Any, ...]:
        return (self.report,)


class CheckpointError(RuntimeNumericsError, ValueError):
    """A checkpoint could not be written, or a file is not one that can be trusted.

    Args:
        path: the file.
        reason: why it was refused.

    Example:
        >>> error = CheckpointError("run.pt", "the file is truncated")
        >>> error.path.name, error.reason
        ('run.pt', 'the file is truncated')
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = Path(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")

    def _facts(self) -> tuple[Any, ...]:
        return str(self.path), self.reason


class MissingFeedbackError(RuntimeNumericsError, LookupError):
    """Something needs the feedback a network was trained with, and it is not there (FAL401).

    Args:
        what: what is lacking, for example ``"feedback for site 'blocks.2'"``.
        path: the checkpoint that lacks it, where there is one.

    Example:
        >>> print(str(MissingFeedbackError("feedback", path="run.pt")).split("; ")[0])
        feedback is missing in run.pt: the credit signal cannot be rebuilt and alignment is N/A (FAL401)
    """

    def __init__(self, what: str, path: str | Path | None = None) -> None:
        self.what = what
        self.path = None if path is None else Path(path)
        where = "" if path is None else f" in {self.path}"
        super().__init__(
            f"{what} is missing{where}: the credit signal cannot be rebuilt and alignment is N/A (FAL401); "
            "save it with save_checkpoint(..., feedback=...)"
        )

    def _facts(self) -> tuple[Any, ...]:
        return self.what, None if self.path is None else str(self.path)
