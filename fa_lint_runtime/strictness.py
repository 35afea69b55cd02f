"""One switch for every run-time check: ``FAL_RUNTIME=off|warn|raise`` and the context manager ``strictness``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

from .errors import RuntimeNumericsError

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "RuntimeCheckWarning",
    "Strictness",
    "current_strictness",
    "declared_strictness",
    "signal",
    "strictness",
]

Strictness = Literal["off", "warn", "raise"]
ENVIRONMENT_VARIABLE = "FAL_RUNTIME"

_override: ContextVar[Strictness | None] = ContextVar("fa_lint_runtime_strictness", default=None)


class RuntimeCheckWarning(UserWarning):
    """A run-time check failed while the strictness was ``"warn"``.

    Example:
        >>> issubclass(RuntimeCheckWarning, UserWarning)
        True
    """


def _validated(level: str, source: str) -> Strictness:
    for known in get_args(Strictness):
        if level == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"{source} must be one of off, warn, raise; got {level!r}")


def current_strictness() -> Strictness:
    """The level in force: the innermost ``strictness(...)``, else ``FAL_RUNTIME``, else ``"raise"``.

    Raises:
        ValueError: ``FAL_RUNTIME`` holds anything but off, warn, raise.

    Example:
        >>> with strictness("warn"):
        ...     current_strictness()
        'warn'
    """
    return declared_strictness() or "raise"


def declared_strictness() -> Strictness | None:
    """The level that somebody asked for, None if none was asked for.

    Raises:
        ValueError: ``FAL_RUNTIME`` holds anything but off, warn, raise.

    Example:
        >>> with strictness("off"):
        ...     declared_strictness()
        'off'
    """
    level = _override.get()
    if level is not None:
        return level
    given = os.environ.get(ENVIRONMENT_VARIABLE, "").strip().lower()
    return _validated(given, ENVIRONMENT_VARIABLE) if given else None


@contextmanager
def strictness(level: Strictness) -> Iterator[None]:
    """Within the block (or decorated function), run-time checks are off, warn, or raise.

    It wins over ``FAL_RUNTIME``, nests, and is local to the thread or asyncio task that entered it.
    ``"off"`` skips the work of a check as well as its outcome.

    Raises:
        ValueError: an unknown level.

    Example:
        >>> import torch
        >>> from fa_lint_runtime import assert_magnitude
        >>> with strictness("off"):
        ...     assert_magnitude(torch.zeros(3))
    """
    token = _override.set(_validated(level, "strictness"))
    try:
        yield
    finally:
        _override.reset(token)


def signal(error: RuntimeNumericsError, *, stacklevel: int = 2) -> None:
    """Do with a failed check what the current strictness says: nothing, warn at the caller, or raise.

    Args:
        error: what went wrong.
        stacklevel: as in :func:`warnings.warn`, counted from the caller of this function.

    Example:
        >>> from fa_lint_runtime import MissingFeedbackError
        >>> with strictness("off"):
        ...     signal(MissingFeedbackError("feedback"))
    """
    level = current_strictness()
    if level == "raise":
        raise error
    if level == "warn":
        warnings.warn(str(error), RuntimeCheckWarning, stacklevel=stacklevel + 1)
