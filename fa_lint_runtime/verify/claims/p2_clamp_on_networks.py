"""Pitfall 2 on a trained network: the clamp depends on the batch size."""

from __future__ import annotations

from torch.nn import functional as F

from ...cosine import safe_cosine
from ..claim import Claim, Finding, Level, graded
from ..lab import Lab
from ..magnitudes import short
from ..networks import NetworkSpec, spec

__all__ = ["CLAIM"]


def needs(level: Level) -> tuple[NetworkSpec, ...]:
    """DFA at a moderate learning rate."""
    return spec("V5", "dfa", [42])


def measure(lab: Lab) -> Finding:
    """Γ of the deep layers through F.cosine_similarity over Γ without a clamp, mean loss of 32 and of 1024 samples."""
    (m,) = lab.all_measured(needs(lab.level))
    matrices = m.original_matrices()
    ratios = {}
    for batch in (32, 1024):
        per_layer = []
        for index in range(1, len(m.gradients)):
            credit = (m.error @ matrices[index].double().T).float() / batch
            gradient = m.gradients[index] / batch
            clamped = F.cosine_similarity(
                credit, gradient, dim=-1
            ).mean()  # fa-lint: ignore[FAL201] the clamp is what this measures
            per_layer.append(float(clamped / safe_cosine(credit, gradient).nanmean()))
        ratios[batch] = per_layer
    small, large = min(ratios[32]), min(ratios[1024])
    biased = large < 0.95
    return Finding(
        graded(biased, False),
        (
            f"clamped over true Γ, worst deep layer: {short(small)} at batches of 32, {short(large)} at 1024, with the "
            "same weights: the mean loss shrinks gradients by the batch size",
            "it weighs samples by the size of their gradients; it is not one factor for all",
        ),
        figures={str(batch): values for batch, values in ratios.items()},
    )


CLAIM = Claim(
    "2, networks",
    "the clamp falsifies Γ of real networks",
    "the reported cosine is too small where gradients are",
    measure,
    level="default",
    needs=needs,
)
