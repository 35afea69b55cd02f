from __future__ import annotations

import os
from typing import Any

from fa_lint.findings import Diagnostic, Place
from fa_lint.output._common import relative, rule_url
from fa_lint.project.engine import Report
from fa_lint.source.escaping import to_json

__all__ = ["as_dict", "render_json", "render_jsonl"]


def _place(place: Place) -> dict[str, int]:
    return {"row": place.row, "column": place.column}


def as_dict(found: Diagnostic) -> dict[str, Any]:
    """A finding under Ruff's field names, plus ``name``, ``level``, ``computes``, ``path``, ``runtime``, ``related``.

    ``filename`` is absolute, as Ruff's is; ``path`` counts from the top of the repository, wherever the run started.
    """
    fix = found.fix
    return {
        "cell": found.cell,
        "code": found.code,
        "computes": found.computes or None,
        "end_location": _place(found.end),
        "filename": os.path.abspath(found.path) if found.path != "-" else "-",
        "fix": fix
        and {
            "applicability": str(fix.applicability),
            "edits": [
                {
                    "content": edit.content,
                    "end_location": _place(edit.end),
                    "location": _place(edit.start),
                }
                | ({"cell": edit.cell} if edit.cell is not None else {})
                for edit in fix.edits
            ],
            "message": fix.message,
        },
        "level": str(found.level),
        "location": _place(found.start),
        "message": found.message,
        "name": found.name,
        "noqa_row": found.noqa_row,
        "path": relative(found.path),
        "related": [
            {
                "cell": r.cell,
                "end_location": _place(r.end),
                "filename": os.path.abspath(r.path) if r.path != "-" else "-",
                "location": _place(r.start),
                "message": r.message,
            }
            for r in found.related
        ],
        "runtime": found.runtime or None,
        "url": rule_url(found.code),
    }


def render_json(report: Report) -> str:
    """A JSON array of findings."""
    return to_json([as_dict(d) for d in report.diagnostics], indent=2) + "\n"


def render_jsonl(report: Report) -> str:
    """One JSON object a line."""
    return "".join(to_json(as_dict(d)) + "\n" for d in report.diagnostics)
