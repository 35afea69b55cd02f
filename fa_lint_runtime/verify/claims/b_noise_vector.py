"""Whether the tiny gradient is numerical noise."""

from __future__ import annotations

import copy

import torch

from ...cosine import safe_cosine
from ...reference import Backprop, local_step
from ..claim import Claim, Finding, Level, graded
from ..lab import Lab
from ..magnitudes import decade
from ..networks import NetworkSpec, spec

__all__ = ["CLAIM"]


def needs(level: Level) -> tuple[NetworkSpec, ...]:
    """The DFA network with the smallest gradients at hand."""
    return spec("V2", "dfa", [42]) if level == "quick" else spec("V3", "dfa", [42])


def measure(lab: Lab) -> Finding:
    """Measure how far the direction changes with the same weights in fp64."""
    (m,) = lab.all_measured(needs(lab.level))
    x, y = m.batches[0]
    wide = copy.deepcopy(m.network.model).double()
    with torch.enable_grad():
        reference = Backprop(wide, x.double()).credit(local_step(wide, x.double(), y))
    cosines = [
        float(safe_cosine(g[: len(x)].double(), r).nanmedian()) for g, r in zip(m.gradients, reference, strict=True)
    ]
    worst, size = min(cosines), m.mean_loss_gradient_norms[-1]
    noise = worst < 0.99
    return Finding(
        graded(noise, False),
        (
            f"{m.network.spec.label}: ‖g_L‖ is of order {decade(size)}, ‖h_L‖ {decade(m.state_norms[-1])}; recomputed "
            f"in fp64 its direction differs by less than {decade(max(1 - worst, 1e-12))} in cosine"
            if not noise
            else f"{m.network.spec.label}: median cosine to fp64 {worst:.2f} at ‖g_L‖ {decade(size)}",
            "a small vector in fp32 is still a resolved vector: only a low cosine to fp64 may be called noise",
        ),
        figures={"cosine_to_fp64": cosines, "g_L": size, "h_L": m.state_norms[-1]},
    )


CLAIM = Claim(
    "b, noise",
    "below the floor the gradient is numerical noise",
    "at 1e-10 Γ measures alignment with a noise vector",
    measure,
    needs=needs,
)
