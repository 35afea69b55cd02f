"""Threads that work through blocks side by side. numpy and torch release the GIL while they compute.

torch's own intra-op threads are of little use here: a block is too small to be cut, and a cut costs a fork and a join.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["run"]

Task = TypeVar("Task")

_lock = threading.Lock()
_pool: tuple[int, ThreadPoolExecutor] | None = None


def _forget_pool() -> None:
    """A forked child has the object but not its threads."""
    global _pool, _lock
    _lock, _pool = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _executor(workers: int) -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None or _pool[0] < workers:
            if _pool is not None:
                _pool[1].shutdown(wait=False)
            _pool = workers, ThreadPoolExecutor(workers, thread_name_prefix="fa_lint_runtime")
        return _pool[1]


def run(work: Callable[[Sequence[Task]], None], tasks: Sequence[Task], threads: int) -> None:
    """Call ``work`` on shares of ``tasks``, one share a thread, the last one here; returns when all are done."""
    threads = min(threads, len(tasks))
    futures: list[Future[None]] = []
    if threads > 1:
        try:
            pool = _executor(threads - 1)
            futures = [pool.submit(work, tasks[i::threads]) for i in range(threads - 1)]
        except RuntimeError:  # the interpreter or the pool is shutting down: what was not submitted is done here
            pass
    started = len(futures)
    rest = [task for i, task in enumerate(tasks) if i % max(threads, 1) >= started] if started else list(tasks)
    try:
        work(rest)
    finally:
        for future in futures:
            future.result()
