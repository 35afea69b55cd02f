"""Who computes a cell: a claim on disk, so that several drivers on one folder never compute the same one.

A claim is a file, created exclusively (``O_EXCL``), whose holder updates its mtime. A claim that was not updated for
``LEASE`` seconds, or whose process no longer runs on this machine, is stale. A driver takes over a stale claim by
creating the file with the next number, again exclusively, and gives way if it then sees another live claim. A claim
that cannot be read is stale: who has just created one, and not written to it yet, gives way in the same manner.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    except OSError:  # full disk: an empty claim would block the cell
        path.unlink(missing_ok=True)
        raise
    # A claim released between the listing and the check above frees its number for a third driver. Each driver lists
    # again after it has created its own file, so of two at least one sees the other; the cell is retried later.
    if any(other != path and _is_alive(other) for other in _claims(folder, name)):
        path.unlink(missing_ok=True)
        yield False
        return
    done = threading.Event()
    renewing = threading.Thread(target=_renew, args=(path, done), daemon=True)
    renewing.start()
    try:
        yield True
    finally:
        done.set()
        renewing.join()
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
    numbers = {path: path.stem.rpartition("+") for path in folder.glob(f"*{_SUFFIX}")}
    found = [path for path, (cell, _, number) in numbers.items() if cell == name and number.isdecimal()]
    return sorted(found, key=lambda path: int(numbers[path][2]))


def _renew(path: Path, done: threading.Event) -> None:
    while not done.wait(LEASE / 6):
        with suppress(OSError):  # taken over, or the file server is away
            os.utime(path)


def _is_alive(claim: Path) -> bool:
    try:
        host, process = claim.read_text(encoding="utf-8").split(" ")
        number = int(process)
        age = _now(claim.parent) - claim.stat().st_mtime
    except (OSError, ValueError):  # given back meanwhile, or damaged
        return False
    if age > LEASE:
        return False
    return host != socket.gethostname() or _exists(number)


def _now(folder: Path) -> float:
    """By the clock of the machine that holds the files: those of two nodes may differ by more than a lease."""
    probe = folder / f".now-{uuid.uuid4().hex}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _exists(process: int) -> bool:
    if sys.platform == "win32":  # where os.kill ends the process; the lease alone decides
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
