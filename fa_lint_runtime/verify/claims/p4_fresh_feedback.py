"""Pitfall 4: feedback that is not the one of the training run."""

from __future__ import annotations

from ..claim import Claim, Finding, Level, graded
from ..lab import Lab
from ..magnitudes import each, short
from ..networks import NetworkSpec, spec
from ..nulls import fresh_alignment

__all__ = ["CLAIM"]

_DRAWS = 20


def needs(level: Level) -> tuple[NetworkSpec, ...]:
    """DFA on digits, three seeds."""
    return spec("V1", "dfa")


def measure(lab: Lab) -> Finding:
    """Γ over layers and samples with the training feedback (paired as the original does) and with 20 fresh sets."""
    trained, centres, spreads = [], [], []
    for m in lab.all_measured(needs(lab.level)):
        trained.append(float(m.alignment(m.original_matrices()).nanmean()))
        fresh = fresh_alignment(m, _DRAWS).mean(1)
        centres.append(float(fresh.mean()))
        spreads.append(float(fresh.std()))
    far = sum(abs(t) > 4 * s for t, s in zip(trained, spreads, strict=True))
    near_zero = all(abs(c) < 4 * s / _DRAWS**0.5 for c, s in zip(centres, spreads, strict=True))
    wide = sum(s > 0.0055 for s in spreads)
    return Finding(
        graded(far == 3 and near_zero and not wide, far > 0),
        (
            f"Γ with the training feedback {each(trained)}; with {_DRAWS} fresh draws 0 within the error of their "
            f"mean, sd {short(min(spreads))} to {short(max(spreads))}"
            if near_zero
            else f"Γ with the training feedback {each(trained)}; with {_DRAWS} fresh draws {each(centres)}",
            f"the ±0.005 is exceeded by {wide} of 3 networks: 20 draws cannot give p < {1 / (_DRAWS + 1):.3f}, use 199",
        ),
        figures={"training": trained, "fresh_mean": centres, "fresh_sd": spreads},
    )


CLAIM = Claim(
    "4",
    "fresh feedback gives Γ = 0",
    "Γ = 0.106 with the training feedback, 0 ± 0.005 with 20 fresh draws",
    measure,
    needs=needs,
)
