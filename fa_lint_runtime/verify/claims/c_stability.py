"""Diagnostic (c): one direction for all batches."""

from __future__ import annotations

from ...norms import safe_unit
from ..claim import Claim, Finding, Level, graded
from ..lab import Lab
from ..magnitudes import each, share, short
from ..measurements import Measurements
from ..networks import NetworkSpec, spec

__all__ = ["CLAIM"]

_STATE = 2
_DRIFT, _HEALTHY = 0.35, 0.18  # where the published ranges begin and end


def dfa(level: Level) -> tuple[NetworkSpec, ...]:
    """DFA networks that fire (a)."""
    return spec("V1", "dfa") + (
        spec("V2", "dfa", [42]) if level == "quick" else spec("V2", "dfa") + spec("V6", "dfa", [42])
    )


def backprop(level: Level) -> tuple[NetworkSpec, ...]:
    """Their backprop peers."""
    return spec("V1", "bp") + (spec("V2", "bp", [42]) if level == "quick" else spec("V2", "bp"))


def needs(level: Level) -> tuple[NetworkSpec, ...]:
    """Both."""
    return dfa(level) + backprop(level)


def _shared_energy(m: Measurements) -> tuple[float, float]:
    """ρ_energy, the share of gradient energy in the common mean, and ρ_dir, the mean cosine of two samples.

    U-statistics over all pairs of different samples, free of the batch size.
    """
    g = m.gradients[_STATE].double()
    n = len(g)
    total, energy = g.sum(0).square().sum(), g.square().sum()
    unit = safe_unit(g)
    unit = unit[unit.isfinite().all(1)]
    k = len(unit)
    return (
        float((total - energy) / (n - 1) / energy),
        float((unit.sum(0).square().sum() - k) / (k * (k - 1))),
    )


def measure(lab: Lab) -> Finding:
    """Cross-batch cosines of DFA and backprop, and how much of the gradient the common direction holds."""
    drifting, calm = lab.all_measured(dfa(lab.level)), lab.all_measured(backprop(lab.level))
    s_dfa, s_bp = ([m.stability(_STATE) for m in group] for group in (drifting, calm))
    high, odd = sum(s >= _DRIFT for s in s_dfa), sum(s > _HEALTHY for s in s_bp)
    energies = [_shared_energy(m) for m in drifting]
    rho, cosine = max(e for e, _ in energies), max(d for _, d in energies)
    separates = min(s_dfa) > max(s_bp)
    return Finding(
        graded(separates and high == len(s_dfa) and not odd, separates),
        (
            f"at or above {_DRIFT} on DFA {share(high, len(s_dfa))} ({each(s_dfa)}); above {_HEALTHY} on backprop "
            f"{share(odd, len(s_bp))} ({each(s_bp)}): the ranges "
            + ("do not overlap" if separates else "overlap, it does not tell the methods apart"),
            f"the common direction holds at most {short(100 * rho)} % of the gradient energy under DFA, two "
            f"samples have a mean cosine of at most {short(cosine)}: per-sample credit even where the batches agree",
        ),
        figures={
            "dfa": dict(zip((m.network.spec.label for m in drifting), s_dfa, strict=True)),
            "bp": dict(zip((m.network.spec.label for m in calm), s_bp, strict=True)),
            "rho_energy_and_rho_dir": dict(zip((m.network.spec.label for m in drifting), energies, strict=True)),
        },
    )


CLAIM = Claim(
    "c",
    "the gradient is one global direction under DFA",
    "mean cosine between batches 0.35 to 0.99 under drift, 0.05 to 0.18 in healthy networks",
    measure,
    needs=needs,
)
