"""Pitfall 5: mean or median, over samples and over layers."""

from __future__ import annotations

from torch import Tensor

from ..claim import Claim, Finding, Level, graded
from ..lab import Lab
from ..magnitudes import short
from ..networks import NetworkSpec, spec

__all__ = ["CLAIM", "aggregations"]


def needs(level: Level) -> tuple[NetworkSpec, ...]:
    """DFA on digits; from the default level on also on the mixture and at a moderate learning rate."""
    digits = spec("V1", "dfa")
    if level == "quick":
        return digits + spec("V2", "dfa", [42])
    return digits + spec("V2", "dfa") + spec("V5", "dfa", [42])


def aggregations(gamma: Tensor) -> dict[str, float]:
    """Four headlines of one network from Γ (states, samples)."""
    over_samples = {"mean": gamma.nanmean(1), "median": gamma.nanmedian(1).values}
    return {
        f"{inner} of samples, {outer} of layers": float(values.mean() if outer == "mean" else values.median())
        for inner, values in over_samples.items()
        for outer in ("mean", "median")
    }


def measure(lab: Lab) -> Finding:
    """The largest over the smallest of four aggregations, each network."""
    spreads, signs, tables = {}, [], {}
    for m in lab.all_measured(needs(lab.level)):
        label = m.network.spec.label
        values = tables[label] = aggregations(m.alignment(m.original_matrices()))
        low, high = min(values.values()), max(values.values())
        if low <= 0 < high:
            signs.append(label)
        else:
            spreads[label] = high / low
    low, high = (min(spreads.values()), max(spreads.values())) if spreads else (float("nan"), float("nan"))
    changes = max(spreads.values(), default=1.0) > 1.5 or bool(signs)
    stable = low > 2 and high < 3.2 and not signs
    return Finding(
        graded(stable, changes),
        (
            f"the headline changes by {short(low)}× to {short(high)}× with the aggregation, on {len(tables)} networks"
            + (f", and by its sign on {len(signs)}" if signs else ""),
            "there is no stable factor: mean against median over layers decides, samples hardly matter",
        ),
        figures={"spread": spreads, "sign_changes": signs, "aggregations": tables},
    )


CLAIM = Claim(
    "5",
    "the aggregation changes the headline Γ",
    "0.085 to 0.211 on one network, 2.5×, by mean or median over samples and layers",
    measure,
    needs=needs,
)
