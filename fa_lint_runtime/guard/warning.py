"""Warnings of the guard: ``-W error`` is about the code under test, whose outcome the guard must not change."""

from __future__ import annotations

import warnings

from .events import GuardEvent, GuardWarning

__all__ = ["warn"]


def warn(event: GuardEvent) -> None:
    """Warn at the user's line, under the filters that are set, but for those that make an error of any warning.

    Raises:
        GuardWarning: a filter that names this category, or the text of the message, asks for an error.
    """
    message = f"{event.code} {event.kind}: {event.message()}"
    if not _is_error_of_any_warning(message, event):
        warnings.warn_explicit(message, GuardWarning, event.file, event.line)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("default", category=GuardWarning)
        warnings.warn_explicit(message, GuardWarning, event.file, event.line)


def _is_error_of_any_warning(message: str, event: GuardEvent) -> bool:
    """Whether the filter that decides is an error for warnings at large."""
    module = event.file.removesuffix(".py")  # as warn_explicit has it
    for action, text, category, where, line in warnings.filters:
        aimed = text is not None or category is GuardWarning
        if (
            issubclass(GuardWarning, category)
            and (text is None or text.match(message))
            and (where is None or where.match(module))
            and line in (0, event.line)
        ):
            return action == "error" and not aimed
    return False
