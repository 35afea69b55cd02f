"""How far an audit is: a line that stays on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ..escaping import visible
from .cells import CellResult
from .claims import running

__all__ = ["Progress"]

_LOG_SECONDS, _TERMINAL_SECONDS = 10.0, 1.0


class Progress:
    """Counts cells.

    Args:
        total: cells of the audit.
        cells: their folder, whose claims say what is being computed.
        stream: where to write.
    """

    def __init__(self, total: int, cells: Path, stream: TextIO | None = None) -> None:
        self._total, self._cells = total, cells
        self._stream = sys.stderr if stream is None else stream
        self._done = self._computed = 0
        self._begun = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, result: CellResult, stored: bool) -> None:
        """A cell is there."""
        self._done += 1
        self._computed += not stored
        verdict = result.error or (result.report.verdict if result.report else "trained")
        state = "there already" if stored else f"{result.seconds:.0f} s"
        self._say(f"{time.strftime('%H:%M:%S')} {result.cell.name}: {result.accuracy:.3f}, {verdict} ({state})", "\n")

    def line(self) -> str:
        """``3 of 24 cells done, 2 running, about 4 min left``."""
        text = f"{self._done} of {self._total} cells done, {running(self._cells)} running"
        if not self._computed:
            return text
        left = (time.monotonic() - self._begun) / self._computed * (self._total - self._done)
        return f"{text}, about {left / 60:.0f} min left" if left >= 90 else f"{text}, about {left:.0f} s left"

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Tell how far it is, every now and then, within."""
        over = threading.Event()
        teller = threading.Thread(target=self._tell, args=(over,), daemon=True)
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()

    def _tell(self, over: threading.Event) -> None:
        live = self._stream.isatty()
        while not over.wait(_TERMINAL_SECONDS if live else _LOG_SECONDS):
            self._say(self.line() if live else f"{time.strftime('%H:%M:%S')} {self.line()}", "" if live else "\n")
        if live:
            self._say("", "")

    def _say(self, text: str, end: str) -> None:
        erased = "\r\x1b[K" if self._stream.isatty() else ""
        with self._lock:
            print(f"{erased}{visible(text)}", end=end, file=self._stream, flush=True)
