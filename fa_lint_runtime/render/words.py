"""Sentences that several formats share."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..diagnostics.outcomes import Outcome
from ..diagnostics.report import DiagnosticReport

__all__ = ["EXPLANATIONS", "SIGNS", "figure", "headline", "interval", "percent", "scope", "unmeasured"]

SIGNS = {
    "passes": "✓",
    "fires": "✗",
    "inconclusive": "~",
    "not measured": "–",
    "invalid": "!",
    "information": "i",
}

EXPLANATIONS = {
    "trustworthy": "Every criterion that was measured passes: accuracy and Γ support the claim on these batches.",
    "no fault found": "Neither Γ nor the margin over frozen blocks was measured: there is no claim to trust.",
    "walked back": "A criterion fires: the claim does not stand on these figures.",
    "inconclusive": "No criterion fires, but an interval is too wide to decide.",
    "not measurable": "What would decide could not be measured. This is not a pass.",
    "invalid": "The network or the batches are broken: no figure below means anything. This is not a pass.",
}


_CLAIMED = {"alignment": "Γ", "margin": "(d) margin"}


def figure(value: float, digits: int = 3) -> str:
    """A number short enough for a table; N/A instead of NaN.

    Example:
        >>> figure(0.000123), figure(float("nan")), figure(12.0), figure(4.2e9)
        ('1.2e-04', 'N/A', '12', '4.2e+09')
    """
    if math.isnan(value):
        return "N/A"
    if value != 0 and math.isfinite(value) and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.1e}"
    return f"{value:.{digits}g}"


def signed(value: float) -> str:
    """A cosine with its sign and three decimals; N/A instead of NaN."""
    return "N/A" if math.isnan(value) else f"{value:+.3f}"


def interval(low: float, high: float) -> str:
    """Brackets around two cosines, or nothing."""
    return "" if math.isnan(low) or math.isnan(high) else f"[{low:+.2f}, {high:+.2f}]"


def probability(p: float) -> str:
    """A p-value in three decimals."""
    return "N/A" if math.isnan(p) else f"{p:.3f}"


def percent(share: float) -> str:
    """A share as a percentage; N/A instead of NaN."""
    return "N/A" if math.isnan(share) else f"{share:.1%}"


def unmeasured(outcomes: Iterable[Outcome]) -> list[str]:
    """Names of what was not measured."""
    return [o.name for o in outcomes if o.state == "not measured"]


def scope(report: DiagnosticReport) -> str:
    """What a report without a fault looked at, and what it did not; "" for other verdicts."""
    if report.verdict not in ("trustworthy", "no fault found"):
        return ""
    passed = ", ".join(o.name for o in report.criteria if o.state == "passes")
    missing = [_CLAIMED.get(name, name) for name in unmeasured(report.criteria)]
    if report.verdict == "trustworthy":
        return f"not measured: {', '.join(missing)}" if missing else ""
    return f"in {passed}; not measured: {', '.join(missing)}"


def headline(report: DiagnosticReport) -> str:
    """The verdict in one line, with its reasons."""
    blamed = {
        "walked back": ("fires",),
        "invalid": ("invalid",),
        "inconclusive": ("inconclusive",),
        "not measurable": ("not measured",),
    }.get(report.verdict, ())
    reasons = [f"{o.name}: {o.text}" for o in report.criteria if o.state in blamed]
    if report.verdict == "not measurable":
        reasons = [f"{o.name}: {o.text}" for o in report.criteria if o.state == "not measured" and o.essential]
    line = f"{report.method_name}: {report.verdict}"
    return line + (" (" + "; ".join(reasons) + ")" if reasons else f" ({scope(report)})" if scope(report) else "")
