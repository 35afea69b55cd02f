"""Work on deep syntax trees: on a thread with a large stack where this thread's is not enough."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["on_any_stack"]

_T = TypeVar("_T")
_STACK = 512 * 1024 * 1024
_LIMIT = 100_000


def on_any_stack(work: Callable[[], _T]) -> _T:
    """Return what ``work`` returns; a RecursionError repeats it on a deep stack, so it must be repeatable."""
    try:
        return work()
    except RecursionError:
        return _on_a_deep_stack(work)


def _on_a_deep_stack(work: Callable[[], _T]) -> _T:
    outcome: list[_T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # raised again in the caller's thread
            failure.append(error)

    old_stack, old_limit = threading.stack_size(_STACK), sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(max(old_limit, _LIMIT))
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(old_stack)
        sys.setrecursionlimit(old_limit)
    if failure:
        raise failure[0]
    return outcome[0]
