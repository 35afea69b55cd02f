"""The diagnostics during training; callbacks are in ``monitor.lightning`` and ``monitor.transformers``."""

from __future__ import annotations

from .monitor import Monitor
from .reading import MonitorVerdict, Reading, Turn
from .sinks import Sink

__all__ = ["Monitor", "MonitorVerdict", "Reading", "Sink", "Turn"]
