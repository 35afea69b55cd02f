"""``--watch``: run, and run again whenever a linted file or the configuration changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import NoReturn

from fa_lint.installing import install_command
from fa_lint.output.console import stop, tell
from fa_lint.project.discovery import SUFFIXES

__all__ = ["watch"]

_TICK = 200  # milliseconds
_CONFIGURATION = ("pyproject.toml", "fa-lint.toml", ".gitignore")


def watch(paths: tuple[str, ...], run: Callable[[], int]) -> NoReturn:
    """Call ``run`` now and after every change, until interrupted (exit code 0)."""
    try:
        from watchfiles import watch as changes_of
    except ImportError:
        stop(f"--watch needs the extra `watch`: {install_command('watch')}")
    missing = next((path for path in paths if not os.path.exists(path)), None)
    if missing is not None:
        stop(f"{missing}: no such file or directory")
    # A file is watched through its folder: editors replace files.
    folders = {path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path)) for path in paths}
    # The first time-out says that the watch stands: what changes during the first run is not lost.
    watched = changes_of(
        *sorted(folders), watch_filter=_Relevant(paths), rust_timeout=_TICK, yield_on_timeout=True, raise_interrupt=True
    )
    try:
        started = False
        for changed in watched:
            if changed:
                names = sorted({os.path.relpath(path) for _, path in changed})
                shown = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
                tell("")
                tell(f"[{datetime.now():%H:%M:%S}] {shown} changed")
            if changed or not started:
                _run_once(run)
            started = True
    except KeyboardInterrupt:
        tell("")
    sys.exit(0)


def _run_once(run: Callable[[], int]) -> None:
    # A configuration in the middle of an edit ends a run: it was told, and the next change may mend it.
    with suppress(SystemExit):
        run()
    sys.stdout.flush()
    tell("Watching for changes; Ctrl-C ends.")


class _Relevant:
    """What starts a new run: the files named, code under the folders named, and configurations."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        self._files = {os.path.abspath(path) for path in paths if not os.path.isdir(path)}
        self._folders = tuple(os.path.join(os.path.abspath(path), "") for path in paths if os.path.isdir(path))

    def __call__(self, _: object, path: str) -> bool:
        name = os.path.basename(path)
        if name.startswith(".fa-lint-"):  # a file being replaced by --fix
            return False
        inside = os.path.abspath(path).startswith(self._folders) if self._folders else False
        return os.path.abspath(path) in self._files or (inside and name.endswith(SUFFIXES)) or name in _CONFIGURATION
