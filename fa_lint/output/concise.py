from __future__ import annotations

from fa_lint.output._common import has_safe_fix, where
from fa_lint.project.engine import Report
from fa_lint.source.escaping import visible

__all__ = ["render_concise"]


def render_concise(report: Report) -> str:
    """One line a finding: ``path:row:column: CODE level: message``; ``[*]`` marks what ``--fix`` alone changes."""
    lines = []
    for found in report.diagnostics:
        fixable = " [*]" if has_safe_fix(found) else ""
        lines.append(f"{where(found)}: {visible(found.code)}{fixable} {found.level}: {visible(found.message)}")
    return "\n".join(lines) + ("\n" if lines else "")
