"""Watch unmodified user code while it runs, and name each silent numerical mistake by its lint code.

Importing this package imports neither torch nor numpy; entering a guard does.
"""

from __future__ import annotations

from .api import guard
from .events import GuardError, GuardEvent, GuardWarning
from .log import GuardLog, read_log
from .table import CODES, EVENTS, EventKind

__all__ = [
    "CODES",
    "EVENTS",
    "EventKind",
    "GuardError",
    "GuardEvent",
    "GuardLog",
    "GuardWarning",
    "guard",
    "read_log",
]
