"""Pitfall 3: fp16 around the gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from ...cosine import safe_cosine
from ..claim import Claim, Finding, graded
from ..lab import Lab
from ..magnitudes import decade, short

__all__ = ["CLAIM"]


def _zeros(x: Tensor) -> float:
    return float((x == 0).double().mean())


def measure(lab: Lab) -> Finding:
    """A gradient of norm 5e-10 cast to fp16 and bf16, and what survives of its cosine."""
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(128, 256, generator=generator)
    gradient = 5e-10 * gradient / gradient.norm(dim=1, keepdim=True)
    credit = gradient / 5e-10 + 0.1 * torch.randn(128, 256, generator=generator)
    wide, other = gradient.double(), credit.double()
    true = float(((wide * other).sum(1) / (wide.norm(dim=1) * other.norm(dim=1))).mean())
    half, brain = gradient.half(), gradient.bfloat16()
    in_half = float(safe_cosine(credit, half.float()).mean())
    in_brain = float(safe_cosine(credit, brain.float()).mean())
    rescaled = float(safe_cosine(credit, (gradient * 2.0**28).half().float()).mean())
    smallest = 2.0**-24
    rounds_up = float(torch.tensor(0.75 * smallest).half()) == smallest
    vanishes = float(torch.tensor(0.49 * smallest).half()) == 0
    overflow = float(torch.tensor(70000.0).half())
    survives = abs(in_brain - true) < 1e-2 and abs(rescaled - true) < 1e-2
    lost = _zeros(half) == 1.0 and in_half != in_half
    return Finding(
        graded(lost and survives and vanishes, lost),
        (
            f"norm 5e-10 in fp16: {100 * _zeros(half):.0f} % of entries are 0 and the cosine is {in_half:g} "
            f"(true {short(true)}); bf16 {short(in_brain)}; scaled by 2^28 first {short(rescaled)}",
            f"the edge is half the smallest subnormal, {decade(smallest / 2)}: values above it round "
            + ("up" if rounds_up else "down"),
            f"fp16 also ends at 65504: 70000 becomes {overflow:g} (on real networks this comes first: see 3, networks)",
        ),
        remedy_works=survives,
        figures={
            "zero_share_fp16": _zeros(half),
            "true": true,
            "fp16": in_half,
            "bf16": in_brain,
            "fp16_rescaled": rescaled,
            "rounds_up_above_half": rounds_up,
        },
    )


CLAIM = Claim(
    "3",
    "fp16 flushes the gradient to zero, bf16 does not",
    "entries below 6e-8 become 0 in fp16 and Γ is nan or noise; bf16 survives",
    measure,
    level="instant",
)
