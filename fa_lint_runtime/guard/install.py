"""Puts the hooks in place for the first guard and takes them out after the last one."""

from __future__ import annotations

import threading
from collections.abc import Callable

from . import dispatcher, evidence, functions
from .casts import CastSwitch

__all__ = ["acquire", "is_installed", "release"]

_lock = threading.Lock()
_users = 0
_undo: list[Callable[[], None]] = []


def acquire() -> None:
    """Count one more user; the first one installs."""
    global _users
    with _lock:
        if _users == 0:
            _undo.append(dispatcher.install())
            _undo.append(functions.install())
            _undo.append(CastSwitch(dispatcher.install_casts).install())
        _users += 1


def release() -> None:
    """Count one user less; the last one restores everything."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            while _undo:
                _undo.pop()()
            evidence.forget()


def is_installed() -> bool:
    """Whether any guard (or the pytest plug-in) holds the hooks."""
    return _users > 0
