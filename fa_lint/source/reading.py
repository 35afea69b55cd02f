"""Reading what others made: regular files only, and never more than was agreed to."""

from __future__ import annotations

import os
import stat

__all__ = ["LONGEST", "Unreadable", "read_file"]

# Of configurations, baselines and ignore files; of code, `max-file-size` decides.
LONGEST = 100_000_000


class Unreadable(OSError):
    """Why a file was not read, as ``strerror``: what it is, or how long."""

    def __init__(self, reason: str) -> None:
        super().__init__(0, reason)


def read_file(path: str | os.PathLike[str], longest: int = LONGEST) -> bytes:
    """The bytes of a regular file of at most ``longest`` bytes; raises :class:`OSError`.

    A pipe or a device may never end, and opening one may already wait or act.
    """
    try:
        if os.path.isdir(path):
            os.listdir(path)  # its own reason, where it has one
        _check(os.stat(path))
        with open(path, "rb", opener=_opener) as stream:
            _check(os.fstat(stream.fileno()))
            data = stream.read(longest + 1)
    except ValueError as error:  # a null byte
        raise Unreadable(str(error)) from None
    if len(data) > longest:
        raise Unreadable(f"longer than {longest:_} bytes")
    return data


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _check(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise Unreadable("Is a directory")
    if not stat.S_ISREG(found.st_mode):
        raise Unreadable("not a regular file")
