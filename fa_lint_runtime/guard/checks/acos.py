"""``acos`` of what rounding pushed beyond 1."""

from __future__ import annotations

import torch
from torch import Tensor

from ..measurement import Measurement

__all__ = ["acos_out_of_range"]


def acos_out_of_range(x: Tensor, *, now: bool) -> tuple[int, Measurement | None]:
    """Values outside [-1, 1], of which acos is NaN though the angle is 0 or π."""
    if not x.dtype.is_floating_point or x.numel() == 0:
        return x.numel(), None
    size = x.abs()
    bad = size > 1
    if now and not bool(bad.any()):
        return x.numel(), None
    furthest = x.take(size.nan_to_num(0.0).argmax())
    should = torch.acos(furthest.double().clamp(-1, 1)) if now else None
    was = float("nan") if now else None
    return x.numel(), Measurement("acos-out-of-range", bad.sum(), x.numel(), None, was, should, furthest)
