from __future__ import annotations

from typing import Any

from fa_lint.findings import Diagnostic, Level, Place
from fa_lint.output._common import file_rows, relative, rule_url
from fa_lint.project.engine import Report
from fa_lint.source.escaping import to_json

__all__ = ["render_rdjson"]

_SEVERITIES = {Level.ERROR: "ERROR", Level.WARNING: "WARNING", Level.HINT: "INFO"}


def _position(place: Place, lines: dict[int, str]) -> dict[str, int]:
    """Its columns count bytes of UTF-8."""
    before = lines.get(place.row, "")[: place.column - 1]
    wider = len(before.encode("utf-8", "surrogateescape")) - len(before)
    return {"line": place.row, "column": place.column + wider}


def _range(start: Place, end: Place, lines: dict[int, str]) -> dict[str, dict[str, int]]:
    return {"start": _position(start, lines), "end": _position(end, lines)}


def _issue(found: Diagnostic) -> dict[str, Any]:
    lines = dict(found.frame)
    if found.cell is None:
        place = _range(found.start, found.end, lines)
        edits = found.fix.edits if found.fix is not None else ()
    else:
        # A cell's columns are not the file's, and neither are the places of its fix.
        first, last = file_rows(found)
        place = {"start": {"line": first}, "end": {"line": last}}
        edits = ()
    related = [
        {"message": r.message, "location": {"path": relative(r.path), "range": _range(r.start, r.end, lines)}}
        for r in found.related
        if r.cell is None
    ]
    url = rule_url(found.code)
    return {
        "message": f"{found.name}: {found.message}",
        "location": {"path": relative(found.path), "range": place},
        "severity": _SEVERITIES[found.level],
        "code": {"value": found.code, **({"url": url} if url else {})},
        "suggestions": [{"range": _range(edit.start, edit.end, lines), "text": edit.content} for edit in edits],
        "relatedLocations": related,
    }


def render_rdjson(report: Report) -> str:
    """Reviewdog's diagnostic format, whole: https://github.com/reviewdog/reviewdog/tree/master/proto/rdf."""
    source = {"name": "fa-lint", "url": "https://github.com/fa-lint/fa-lint"}
    return to_json({"source": source, "diagnostics": [_issue(d) for d in report.diagnostics]}, indent=2) + "\n"
