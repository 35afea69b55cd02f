"""Threads that work through blocks side by side. numpy and torch release the GIL while they compute.

torch's own intra-op threads are of little use here: a block is too small to be cut, and a cut costs a fork and a join.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
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


def _drawn(queue: deque[Task]) -> Iterator[Task]:
    while True:
        try:
            task = queue.popleft()  # atomic
        except IndexError:
            return
        yield task


def run(work: Callable[[Iterable[Task]], None], tasks: Sequence[Task], threads: int) -> None:
    """Call ``work`` in several threads, one of them this; each draws tasks until none is left, then all are done.

    Drawn, not dealt out: a thread that the system sets aside holds up one task, not its share of all.
    """
    queue = deque(tasks)
    futures: list[Future[None]] = []
    threads = min(threads, len(tasks))
    if threads > 1:
        try:
            pool = _executor(threads - 1)
            futures.extend(pool.submit(work, _drawn(queue)) for _ in range(threads - 1))
        except RuntimeError:  # the interpreter or the pool is shutting down: this thread does what is left
            pass
    try:
        work(_drawn(queue))
    finally:
        for future in futures:
            if not future.cancel():
                future.result()
