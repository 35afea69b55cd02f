from __future__ import annotations

from collections import Counter
from hashlib import blake2b

from fa_lint.findings import Diagnostic, Level
from fa_lint.output._common import file_rows, relative
from fa_lint.project.engine import Report
from fa_lint.source.escaping import to_json

__all__ = ["render_gitlab"]

_SEVERITIES = {Level.ERROR: "critical", Level.WARNING: "major", Level.HINT: "info"}


def _content(found: Diagnostic) -> str:
    """The text of the finding's own rows: what stays when lines move."""
    rows = range(found.start.row, found.end.row + 1)
    return "\n".join(text.strip() for row, text in found.frame if row in rows)


def render_gitlab(report: Report) -> str:
    """GitLab Code Quality: fingerprints depend on rule, path and text, not on line numbers."""
    seen: Counter[str] = Counter()
    issues = []
    for found in report.diagnostics:
        path = relative(found.path)
        stem = "\0".join((found.code, path, _content(found)))
        seen[stem] += 1
        first, last = file_rows(found)
        fingerprint = blake2b(f"{stem}\0{seen[stem]}".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        issues.append(
            {
                "check_name": found.code,
                "description": f"{found.name}: {found.message}",
                "fingerprint": fingerprint,
                "location": {"lines": {"begin": first, "end": last}, "path": path},
                "severity": _SEVERITIES[found.level],
            }
        )
    return to_json(issues, indent=2) + "\n"
