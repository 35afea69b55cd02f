from __future__ import annotations

from collections import Counter

from fa_lint.output._common import has_safe_fix
from fa_lint.project.engine import Report
from fa_lint.source.escaping import to_json, visible

__all__ = ["render_statistics"]


def render_statistics(report: Report, output_format: str = "full") -> str:
    """Findings by rule, the most frequent first: JSON where the format is ``json`` or ``jsonl``, else columns.

    The columns are count, code, ``[*]`` where ``--fix`` alone changes any, name.
    """
    counts = Counter((found.code, found.name) for found in report.diagnostics)
    fixable = Counter(found.code for found in report.diagnostics if found.fix is not None)
    safe = Counter(found.code for found in report.diagnostics if has_safe_fix(found))
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    if output_format in ("json", "jsonl"):
        objects = [
            {
                "code": code,
                "name": name,
                "count": count,
                # The first two under Ruff's names.
                "fixable": fixable[code] > 0,
                "fixable_count": fixable[code],
                "safe_count": safe[code],
            }
            for (code, name), count in rows
        ]
        if output_format == "json":
            return to_json(objects, indent=2) + "\n"
        return "".join(to_json(item) + "\n" for item in objects)
    width = max((len(str(count)) for _, count in rows), default=1)
    marks = {code: "[*]" if safe[code] else "   " for (code, _), _ in rows}
    return "".join(f"{count:>{width}}  {visible(f'{code}  {marks[code]}  {name}')}\n" for (code, name), count in rows)
