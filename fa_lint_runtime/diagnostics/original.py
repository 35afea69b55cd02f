"""The four diagnostics as published, with the published thresholds: shown beside the criteria that decide."""

from __future__ import annotations

import math

from .outcomes import Outcome, State
from .report import DiagnosticReport

__all__ = ["original_outcomes"]


def _state(value: float, fires: bool) -> State:
    # The original compared NaN with a threshold, found it False, and passed.
    return "invalid" if math.isnan(value) or math.isinf(value) else "fires" if fires else "passes"


def original_outcomes(report: DiagnosticReport) -> tuple[Outcome, ...]:
    """(a) to (d) of the nine original fields of a report."""
    t = report.thresholds
    growth = report.max_growth
    last = report.bp_grad_norms[-1] if report.bp_grad_norms else math.nan
    s = report.cross_batch_stability
    outcomes = [
        Outcome(
            "(a)",
            "block growth",
            _state(growth, growth > t.max_block_growth),
            growth,
            t.max_block_growth,
            f"max ‖h_l+1‖/‖h_l‖ = {growth:.3g}",
            "",
        ),
        Outcome(
            "(b)",
            "gradient floor",
            _state(last, last < t.min_grad_norm),
            last,
            t.min_grad_norm,
            f"‖g_L‖ = {last:.2g} (mean loss of the first batch)",
            "",
        ),
        Outcome(
            "(c)",
            "cross-batch stability",
            "not measured" if math.isnan(s) else "information",
            s,
            t.max_stability,
            f"s = {s:.2f} at layer {report.stability_layer}: "
            + ("read as drift" if s >= t.max_stability else "read as per-sample" if s == s else "no two directions"),
            "",
        ),
    ]
    if report.frozen_baseline_acc is None:
        outcomes.append(Outcome("(d)", "margin", "not measured", math.nan, t.min_margin_pp, "no baseline", ""))
    else:
        pp = 100 * (report.headline_acc - report.frozen_baseline_acc)
        text = f"{pp:+.1f} pp over the frozen baseline"
        outcomes.append(Outcome("(d)", "margin", _state(pp, pp < t.min_margin_pp), pp, t.min_margin_pp, text, ""))
    return tuple(outcomes)
