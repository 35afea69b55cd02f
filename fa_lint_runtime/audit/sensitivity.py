"""How far a threshold can move before a verdict changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..diagnostics import DiagnosticReport, DiagnosticThresholds

__all__ = ["SWEPT", "Sensitivity", "sensitivity"]


@dataclass(frozen=True)
class Swept:
    """A diagnostic with one statistic and one threshold.

    Attributes:
        above: True if it fires above the threshold, False if below.
        log: whether the statistic lives on a logarithmic scale.
    """

    name: str
    statistic: Callable[[DiagnosticReport], float]
    threshold: Callable[[DiagnosticThresholds], float]
    above: bool
    log: bool


SWEPT: tuple[Swept, ...] = (
    Swept("(a) growth", lambda r: r.max_growth, lambda t: t.max_block_growth, True, True),
    Swept("(b) ‖g_L‖", lambda r: r.bp_grad_norms[-1], lambda t: t.min_grad_norm, False, True),
    Swept(
        "credit per error",
        lambda r: r.layers[-1].credit_per_error if r.layers else math.nan,
        lambda t: t.min_credit_per_error,
        False,
        True,
    ),
    Swept("(c) stability", lambda r: r.cross_batch_stability, lambda t: t.max_stability, True, False),
    Swept(
        "(d) margin, pp",
        lambda r: math.nan if r.frozen_baseline_acc is None else 100 * (r.headline_acc - r.frozen_baseline_acc),
        lambda t: t.min_margin_pp,
        False,
        False,
    ),
)


@dataclass(frozen=True)
class Sensitivity:
    """One diagnostic over many reports.

    Attributes:
        threshold: in force.
        low, high: any threshold strictly between gives the same answers on all reports; ±inf where nothing limits it.
        values: method to its values.
        fires: how many reports fire at ``threshold``.
        unknown: reports without the statistic.
    """

    name: str
    threshold: float
    low: float
    high: float
    values: Mapping[str, tuple[float, ...]]
    fires: int
    unknown: int
    log: bool


def sensitivity(reports: Sequence[DiagnosticReport], thresholds: DiagnosticThresholds) -> list[Sensitivity]:
    """The plateau of every swept diagnostic around its threshold.

    Example:
        >>> def made(growth):
        ...     return DiagnosticReport("m", "", [1.0, growth], [1.0, 1.0], 1, 0.1, 0.5, None, DiagnosticThresholds())
        >>> found = sensitivity([made(11.0), made(694.0)], DiagnosticThresholds())[0]
        >>> found.low, found.high, found.fires
        (11.0, 694.0, 1)
    """
    found = []
    for swept in SWEPT:
        threshold = swept.threshold(thresholds)
        values: dict[str, list[float]] = {}
        unknown = 0
        for report in reports:
            value = swept.statistic(report)
            if math.isnan(value):
                unknown += 1
            else:
                values.setdefault(report.method_name, []).append(value)
        known = [value for group in values.values() for value in group]
        firing = [v for v in known if (v > threshold if swept.above else v < threshold)]
        below = [v for v in known if v <= threshold] if swept.above else [v for v in known if v < threshold]
        above = [v for v in known if v > threshold] if swept.above else [v for v in known if v >= threshold]
        found.append(
            Sensitivity(
                swept.name,
                threshold,
                max(below, default=-math.inf),
                min(above, default=math.inf),
                {name: tuple(group) for name, group in values.items()},
                len(firing),
                unknown,
                swept.log,
            )
        )
    return found
