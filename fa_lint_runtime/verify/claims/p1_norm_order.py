"""Pitfall 1: ``x.norm(-1)``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...norms import safe_norm
from ..claim import Claim, Finding, graded
from ..lab import Lab
from ..magnitudes import short

__all__ = ["CLAIM"]

_SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "x.norm(-1)": lambda x: x.norm(-1),
    "x.norm(-1, keepdim=True)": lambda x: x.norm(-1, keepdim=True),
    "x.norm(p=-1)": lambda x: x.norm(p=-1),
    "torch.norm(x, -1)": lambda x: torch.norm(x, -1),
    "torch.linalg.vector_norm(x, -1)": lambda x: torch.linalg.vector_norm(x, -1),
}


def measure(lab: Lab) -> Finding:
    """Every spelling against ``1 / Σ(1/|xᵢ|)`` over the whole tensor and against the norm along the last dimension."""
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    harmonic = float(1 / (1 / x.abs()).sum())
    along = (x * x).sum(-1).sqrt()
    caught = [name for name, norm in _SPELLINGS.items() if abs(float(norm(x)) - harmonic) <= 1e-12 * harmonic]
    with_zero = x.clone()
    with_zero[0, 0] = 0
    zero = float(with_zero.norm(-1))
    remedy = bool(torch.allclose(safe_norm(x), along, rtol=1e-14, atol=0))
    right = remedy and bool(torch.allclose(x.norm(dim=-1), along, rtol=1e-14, atol=0))
    return Finding(
        graded(len(caught) == len(_SPELLINGS) and right, bool(caught)),
        (
            f"{len(caught)} of {len(_SPELLINGS)} spellings give 1/Σ(1/|xᵢ|) of the whole (4, 3) tensor: "
            f"{short(harmonic)}, where the rows have norms {short(float(along.min()))} to {short(float(along.max()))}",
            f"one zero entry makes it {zero:g}; safe_norm and norm(dim=-1) are right",
        ),
        remedy_works=remedy,
        figures={"harmonic": harmonic, "caught": caught, "rows": along.tolist(), "with_zero_entry": zero},
    )


CLAIM = Claim(
    "1",
    "norm(-1) is an order, not a dimension",
    "x.norm(-1) is 1/Σ(1/|x|) of the whole tensor, not L2 along the last dimension",
    measure,
    level="instant",
)
