"""Worker processes that lose nothing but what killed them, and never outlive the run."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from fa_lint.installed import SafeChildren

__all__ = ["Died", "context", "results_of"]

_Task = TypeVar("_Task")
_Answer = TypeVar("_Answer")
_TICK = 0.3  # seconds until a worker notices that its parent is gone
_GRACE = 5.0  # seconds for a worker that has nothing left to do


class Died:
    """In the place of an answer: how the worker ended."""

    def __init__(self, exit_code: int | None) -> None:
        with contextlib.suppress(ValueError):
            self.reason = signal.Signals(-(exit_code or 0)).name
            return
        self.reason = f"exit code {exit_code}"


class _Worker(Generic[_Task, _Answer]):
    def __init__(self, made: BaseContext, work: Callable[[_Task], _Answer], prepare: Callable[[], None]) -> None:
        ours, theirs = multiprocessing.Pipe()
        self.process: BaseProcess = made.Process(  # type: ignore[attr-defined]
            target=_serve, args=(theirs, work, prepare, os.getpid()), daemon=True
        )
        self.connection = ours
        self.task: _Task | None = None
        try:
            self.process.start()
        finally:
            theirs.close()

    def give(self, task: _Task) -> None:
        self.task = task
        with contextlib.suppress(OSError):  # it has died, which its answer says
            self.connection.send(task)

    def answer(self) -> _Answer | Died:
        try:
            found: _Answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return Died(self.process.exitcode)
        return found

    def stop(self, *, now: bool) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(None)
        self.process.join(0 if now else _GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def results_of(
    tasks: deque[_Task],
    work: Callable[[_Task], _Answer],
    prepare: Callable[[], None],
    count: int,
    made: BaseContext,
) -> Iterator[tuple[_Task, _Answer | Died]]:
    """Each task with its answer, as they come, from ``count`` processes; more tasks may be added meanwhile.

    Raises :class:`OSError` where not even one process can be started.
    """
    workers: list[_Worker[_Task, _Answer]] = []
    finished = False
    try:
        while tasks or any(worker.task is not None for worker in workers):
            while tasks and len(workers) < count:
                try:
                    with SafeChildren():
                        workers.append(_Worker(made, work, prepare))
                except OSError:
                    if not workers:
                        raise
                    count = len(workers)
            for worker in workers:
                if worker.task is None and tasks:
                    worker.give(tasks.popleft())
            busy = {worker.connection: worker for worker in workers if worker.task is not None}
            for ready in wait(list(busy)):
                worker = busy[ready]  # type: ignore[index]
                task, worker.task = worker.task, None
                assert task is not None
                found = worker.answer()
                if isinstance(found, Died):
                    workers.remove(worker)
                    worker.connection.close()
                yield task, found
        finished = True
    finally:
        for worker in workers:
            worker.stop(now=not finished)


def context() -> BaseContext:
    """A fork is the cheapest start, and safe only while this process runs one thread."""
    methods = multiprocessing.get_all_start_methods()
    method = "fork" if "fork" in methods and threading.active_count() == 1 else "spawn"
    return multiprocessing.get_context(method)


def _serve(connection: Connection, work: Callable[[Any], Any], prepare: Callable[[], None], parent: int) -> None:
    # The terminal's Ctrl-C is the parent's affair, which then stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with(parent)
    prepare()
    while True:
        try:
            task = connection.recv()
            if task is None:
                return
            connection.send(work(task))
        except (EOFError, OSError):
            return


def _die_with(parent: int) -> None:
    """End this process when its parent does, however it ended.

    The ends of the pipes cannot show it: workers that are forked later hold them too.
    """
    if sys.platform == "linux":
        with contextlib.suppress(Exception):  # another libc
            import ctypes

            # A worker inside one long call of a C function runs no thread of Python.
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)

    def watch() -> None:
        if os.name == "nt":
            process = multiprocessing.parent_process()
            wait([process.sentinel] if process is not None else [])
        else:
            while os.getppid() == parent:
                time.sleep(_TICK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
