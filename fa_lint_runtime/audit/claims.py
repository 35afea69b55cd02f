"""Who computes a cell: a claim on disk, so that several drivers on one folder never compute the same one.

A claim is a file, created exclusively (``O_EXCL``), whose holder updates its mtime. A claim that was not updated for
``LEASE`` seconds, or whose process no longer runs on this machine, is stale. A driver takes over a stale claim by
creating the file with the next number, again exclusively, and gives way if it then sees another live claim.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["LEASE", "claimed", "is_held", "running"]

LEASE = 60.0
_SUFFIX = ".claim"


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[bool]:
    """Whether this process holds ``name`` within; False: another one does, and is alive."""
    held = _claims(folder, name)
    if held and _is_alive(held[-1]):
        yield False
        return
    number = 1 + int(held[-1].stem.rpartition("+")[2]) if held else 0
    path = folder / f"{name}+{number}{_SUFFIX}"
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(f"{socket.gethostname()} {os.getpid()}")
    except FileExistsError:
        yield False
        return
    # A claim released between the listing and the check above frees its number for a third driver. Each driver lists
    # again after it has created its own file, so of two at least one sees the other; the cell is retried later.
    if any(other != path and _is_alive(other) for other in _claims(folder, name)):
        path.unlink(missing_ok=True)
        yield False
        return
    done = threading.Event()
    touching = threading.Thread(target=_touch, args=(path, done), daemon=True)
    touching.start()
    try:
        yield True
    finally:
        done.set()
        touching.join()
        for old in (*held, path):
            old.unlink(missing_ok=True)


def is_held(folder: Path, name: str) -> bool:
    """Whether a live process is computing ``name``."""
    return any(map(_is_alive, _claims(folder, name)[-1:]))


def running(folder: Path) -> int:
    """How many cells are being computed there, by whichever driver."""
    names = {path.stem.rpartition("+")[0] for path in folder.glob(f"*{_SUFFIX}")}
    return sum(is_held(folder, name) for name in names)


def _claims(folder: Path, name: str) -> list[Path]:
    found = [path for path in folder.glob(f"*{_SUFFIX}") if path.stem.rpartition("+")[0] == name]
    return sorted(found, key=lambda path: int(path.stem.rpartition("+")[2]))


def _touch(path: Path, done: threading.Event) -> None:
    while not done.wait(LEASE / 6):
        path.touch()


def _is_alive(claim: Path) -> bool:
    try:
        host, _, process = claim.read_text(encoding="utf-8").partition(" ")
        age = _now(claim.parent) - claim.stat().st_mtime
    except OSError:  # given back meanwhile
        return False
    if age > LEASE:
        return False
    return host != socket.gethostname() or not process or _exists(int(process))


def _now(folder: Path) -> float:
    """By the clock of the machine that holds the files: those of two nodes may differ by more than a lease."""
    probe = folder / f".now-{uuid.uuid4().hex}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
