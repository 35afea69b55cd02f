"""Files, written whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile

__all__ = ["replace_file"]


def _mode(target: str) -> int:
    """The mode of a file, or the one a new file gets."""
    try:
        return stat.S_IMODE(os.stat(target).st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def replace_file(path: str, data: bytes) -> None:
    """Write ``data`` through a temporary file beside ``path``; links are followed, the mode is kept.

    What is no regular file (a pipe, ``/dev/stdout``) is written as it is. Raises :class:`OSError`; an old file is
    whole then.
    """
    target = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as stream:
            stream.write(data)
        return
    name = None
    try:
        mode = _mode(target)
        handle, name = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".fa-lint-", suffix=".tmp")
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, mode)
        os.replace(name, target)
    finally:
        if name is not None and os.path.exists(name):
            os.unlink(name)
