"""Files: read only where they end, written whole or not at all."""

from __future__ import annotations

import errno
import glob
import os
import stat
import time
import uuid
from contextlib import suppress
from pathlib import Path

__all__ = ["check_regular", "read_data", "remove_stale", "write_text"]

_LONGEST = 1_000_000_000
# Nobody writes for so long without a byte; a process on another machine cannot be looked for.
_STALE_SECONDS = 3_600


def check_regular(path: str | Path) -> None:
    """Raise an :class:`OSError` for a pipe or a device: reading it may never end, and opening it may wait."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        reason = os.strerror(errno.EISDIR) if os.path.isdir(path) else "not a regular file"
        raise OSError(errno.EINVAL, reason, str(path))


def read_data(path: str | Path) -> bytes:
    """Return the bytes of a regular file of at most a gigabyte.

    Raises:
        OSError: it cannot be read, is no regular file, or is longer.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(f"{folder}/a.json", "{}")
        ...     read_data(f"{folder}/a.json")
        b'{}'
    """
    check_regular(path)
    with open(path, "rb") as file:
        data = file.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise OSError(errno.EFBIG, f"longer than {_LONGEST:_} bytes", str(path))
    return data


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text through a temporary file in the same folder, flushed to disk, renamed over ``path``.

    Raises:
        OSError: it cannot be written; the old file is untouched.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(f"{folder}/a.json", "{}")
        ...     Path(folder, "a.json").read_text()
        '{}'
    """
    target = Path(os.path.realpath(path))
    remove_stale(target)
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_stale(target: Path) -> None:
    """Remove the temporary files that killed processes left beside ``target``, once they are an hour old."""
    for old in target.parent.glob(f".{glob.escape(target.name)}.tmp-*-*"):
        with suppress(OSError):
            if time.time() - old.lstat().st_mtime > _STALE_SECONDS:
                old.unlink()
