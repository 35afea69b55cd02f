"""The report as one self-contained page; filled in by the extra ``report``."""

from __future__ import annotations

from pathlib import Path

from ..diagnostics.report import DiagnosticReport

__all__ = ["to_html"]


def to_html(report: DiagnosticReport, path: str | Path | None = None) -> str:
    """Not there yet in this commit."""
    raise NotImplementedError("HTML follows")
