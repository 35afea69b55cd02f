"""A verification as one self-contained HTML page."""

from __future__ import annotations

from html import escape

from .running import Verification

__all__ = ["verification_page"]

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.6rem .8rem;
border-bottom:1px solid #d8dee4}th{border-bottom:2px solid #57606a}td p{margin:.2rem 0}
.v{font-weight:600;white-space:nowrap}.reproduces{color:#116329}.part{color:#7d4e00}.not{color:#a40e26}
code{font-size:.9em;overflow-wrap:anywhere}small{color:#57606a}
@media(max-width:44rem){thead{display:none}tr,td{display:block;border:0}
tr{border-bottom:1px solid #d8dee4;padding:.6rem 0}
td{padding:.1rem 0}.v{white-space:normal}}
"""

_CLASSES = {"reproduces": "reproduces", "reproduces in part": "part"}


def verification_page(found: Verification) -> str:
    """No script, no outside resource; every figure and the networks it was measured on.

    Example:
        >>> from fa_lint_runtime.verify import verify
        >>> verification_page(verify("instant")).count("<tr>")
        5
    """
    rows = []
    for outcome in found.outcomes:
        claim, finding = outcome.claim, outcome.finding
        here = "".join(f"<p>{escape(line)}</p>" for line in finding.here)
        networks = f"<p><small>{escape(', '.join(outcome.networks))}</small></p>" if outcome.networks else ""
        remedy = {True: "<p>remedy works</p>", False: "<p>remedy FAILS</p>", None: ""}[finding.remedy_works]
        rows.append(
            f"<tr><td>{escape(claim.key)}</td><td><strong>{escape(claim.title)}</strong><p>{escape(claim.published)}</p>"
            f'</td><td>{here}{networks}</td><td class="v {_CLASSES.get(finding.verdict, "not")}">'
            f"{escape(finding.verdict)}{remedy}</td></tr>"
        )
    facts = found.as_dict()
    configurations = "".join(
        f"<li><code>{escape(name)}</code>: {escape(text)}</li>" for name, text in facts["configurations"].items()
    )
    listed = f"<h2>Configurations</h2><ul>{configurations}</ul>" if configurations else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>fa-diagnose verify</title><style>{_STYLE}</style></head><body><h1>Published claims, measured</h1>"
        f"<p>torch {escape(facts['torch'])}, level <code>{escape(found.level)}</code>, {found.wall_seconds:.0f} s. "
        "Configurations were chosen by a search; digits differ by machine, orders of magnitude do not.</p>"
        "<table><thead><tr><th></th><th>published claim</th><th>measured here</th><th>verdict</th></tr></thead><tbody>"
        f"{''.join(rows)}</tbody></table>{listed}</body></html>\n"
    )
