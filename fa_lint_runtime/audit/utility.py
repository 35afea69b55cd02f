"""Decision utility: which reporting strategy would have walked back which method."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..diagnostics import DiagnosticReport

__all__ = ["PUBLISHED", "STRATEGIES", "Evidence", "evidence_of", "utility_table"]


@dataclass(frozen=True)
class Evidence:
    """What strategies decide on, for one run; None where it is not known.

    Attributes:
        gamma: headline Γ, mean over samples and layers.
        a, b, c, d: whether the original diagnostic fires.
        sound: whether the sound criteria walk the run back; None if they do not decide.
    """

    method: str
    gamma: float | None
    a: bool | None
    b: bool | None
    c: bool | None
    d: bool | None
    sound: bool | None = None


def evidence_of(report: DiagnosticReport) -> Evidence:
    """The evidence of a report; NaN counts as firing, as a broken run must not pass."""
    states = {outcome.name: outcome.state for outcome in report.original}

    def fires(name: str) -> bool | None:
        state = states.get(name, "not measured")
        return None if state == "not measured" else state in ("fires", "invalid")

    s = report.cross_batch_stability
    gamma = None if report.alignment is None else report.alignment.aggregations.mean_mean
    sound = {"trustworthy": False, "walked back": True, "invalid": True}.get(report.verdict)
    return Evidence(
        report.method_name,
        gamma,
        fires("(a)"),
        fires("(b)"),
        None if math.isnan(s) else s >= report.thresholds.max_stability,
        fires("(d)"),
        sound,
    )


def _any(*answers: bool | None) -> bool | None:
    """True if one is; None if none is and one is not known."""
    if any(answers):
        return True
    return None if None in answers else False


def _gamma_not_positive(e: Evidence) -> bool | None:
    return None if e.gamma is None else not e.gamma > 0


# What a reader would have done with what each strategy reports. Γ alone walks back only what is not positive.
STRATEGIES: Mapping[str, Callable[[Evidence], bool | None]] = {
    "accuracy": lambda e: False,
    "accuracy + Γ": _gamma_not_positive,
    "accuracy + (a)": lambda e: e.a,
    "accuracy + (b)": lambda e: e.b,
    "accuracy + (c)": lambda e: e.c,
    "accuracy + (d)": lambda e: e.d,
    "(a) + (b) + (c) + (d)": lambda e: _any(e.a, e.b, e.d),  # (c) interprets, it never walks back on its own
}


def utility_table(evidence: Sequence[Evidence]) -> dict[str, dict[str, tuple[int, int, int]]]:
    """Strategy to method to (walked back, known, runs); the sound criteria stand in the last row where known."""
    strategies = dict(STRATEGIES)
    if any(e.sound is not None for e in evidence):
        strategies["sound criteria"] = lambda e: e.sound
    table: dict[str, dict[str, tuple[int, int, int]]] = {}
    for name, decide in strategies.items():
        row: dict[str, tuple[int, int, int]] = {}
        for method in dict.fromkeys(e.method for e in evidence):
            answers = [decide(e) for e in evidence if e.method == method]
            known = [answer for answer in answers if answer is not None]
            row[method] = (sum(known), len(known), len(answers))
        table[name] = row
    return table


def _from_figures(
    method: str, accuracy: float, h_last: float | None, g_last: float | None, s: float | None
) -> Evidence:
    """Published figures by the published thresholds; (a) only where the bound on single blocks decides it."""
    from .partial import block_bound

    a = None
    if h_last is not None:
        least, most, _ = block_bound(h_last, 9.0, 4, 50.0)
        a = True if least > 50 else False if most <= 50 else None
    return Evidence(
        method,
        None,
        a,
        None if g_last is None else g_last < 1e-7,
        None if s is None else s >= 0.35,  # the published drift range begins here
        100 * (accuracy - 0.349) < 2.0,
    )


# The published CIFAR-10 table: accuracy, ‖h_L‖, ‖g_L‖, stability. What it leaves out is None.
PUBLISHED: tuple[Evidence, ...] = (
    _from_figures("BP", 0.615, 2e2, 4e-4, 0.099),
    _from_figures("FA", 0.401, 1e5, 1e-6, None),
    _from_figures("EP", 0.316, 3e3, 2e-4, -0.036),
    _from_figures("DFA", 0.306, 4e8, 4e-9, 0.047),
    _from_figures("CB", 0.289, None, None, 0.352),
    _from_figures("SB", 0.205, None, None, 0.992),
)
