from __future__ import annotations

from collections import Counter

from fa_lint.engine import Report
from fa_lint.escaping import visible

__all__ = ["render_statistics"]


def render_statistics(report: Report) -> str:
    """Findings by rule, the most frequent first: count, code, ``[*]`` where any is fixable, name."""
    counts = Counter((found.code, found.name) for found in report.diagnostics)
    fixable = {found.code for found in report.diagnostics if found.fix is not None}
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    width = max((len(str(count)) for _, count in rows), default=1)
    marks = {code: "[*]" if code in fixable else "   " for (code, _), _ in rows}
    return "".join(f"{count:>{width}}  {visible(f'{code}  {marks[code]}  {name}')}\n" for (code, name), count in rows)
