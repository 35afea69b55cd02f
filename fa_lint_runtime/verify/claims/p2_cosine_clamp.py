"""Pitfall 2: the floor inside ``F.cosine_similarity``."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ...cosine import safe_cosine
from ..claim import Claim, Finding, graded
from ..lab import Lab
from ..magnitudes import short

__all__ = ["CLAIM"]

_EPS = 1e-8


def measure(lab: Lab) -> Finding:
    """Which formula the installed torch follows, how far off it is, what the original's own remedy does."""
    direction = torch.randn(256, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = direction / direction.norm()
    big, norms = 100.0, (5e-10, 1e-12)
    reported = [float(F.cosine_similarity((big * unit).float(), (n * unit).float(), dim=0)) for n in norms]
    per_norm = [min(1.0, n / _EPS) for n in norms]
    product = [min(1.0, big * n / _EPS) for n in norms]
    is_per_norm = all(abs(r - p) <= 1e-2 * p for r, p in zip(reported, per_norm, strict=True))
    is_product = all(abs(r - p) <= 1e-2 * p for r, p in zip(reported, product, strict=True))
    documented = "x_2 \\Vert _2, \\epsilon" in (nn.CosineSimilarity.__doc__ or "")
    tiny = torch.full((4,), 1e-23)
    floored = float(tiny @ torch.ones(4) / (tiny.norm().clamp_min(1e-30) * torch.ones(4).norm()))
    safe = [float(safe_cosine((big * unit).float(), (n * unit).float())) for n in norms]
    safe_tiny = float(safe_cosine(tiny, torch.ones(4)))
    remedy = safe == [1.0, 1.0] and safe_tiny == 1.0
    rule = "each norm on its own" if is_per_norm else "the product of the norms" if is_product else "by another rule"
    return Finding(
        graded(False, reported[0] < 0.99),
        (
            f"parallel vectors, norms 100 and 5e-10: {short(reported[0])} instead of 1; 1e-12: {short(reported[1])}",
            f"torch {torch.__version__} clamps {rule}"
            + ("; the docstring of nn.CosineSimilarity still states the product" if documented and is_per_norm else ""),
            f"a factor of {short(1 / reported[0])} at 5e-10, not 100; the original's own 1e-30 floor gives "
            f"{short(floored)} for entries of 1e-23; safe_cosine gives {safe[0]:g}, {safe[1]:g} and {safe_tiny:g}",
        ),
        remedy_works=remedy,
        figures={
            "reported": reported,
            "predicted_per_norm": per_norm,
            "predicted_product": product,
            "docstring_states_product": documented,
            "original_remedy_at_1e-23": floored,
            "safe_cosine": [*safe, safe_tiny],
        },
    )


CLAIM = Claim(
    "2",
    "F.cosine_similarity shrinks the cosine of small gradients",
    "it clamps max(‖a‖·‖b‖, 1e-8), so the cosine is off by 100× at gradient norms of 1e-10",
    measure,
    level="instant",
)
