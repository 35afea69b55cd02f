from __future__ import annotations

from fa_lint.engine import Report
from fa_lint.escaping import visible
from fa_lint.output._common import where

__all__ = ["render_concise"]


def render_concise(report: Report) -> str:
    """One line a finding: ``path:row:column: CODE level: message``."""
    lines = []
    for found in report.diagnostics:
        fixable = " [*]" if found.fix is not None else ""
        lines.append(f"{where(found)}: {visible(found.code)}{fixable} {found.level}: {visible(found.message)}")
    return "\n".join(lines) + ("\n" if lines else "")
