"""Gradients of float16 tensors that have fallen to the bottom of the dtype."""

from __future__ import annotations

import torch
from torch import Tensor

from ..measurement import Measurement

__all__ = ["flushed_gradient", "is_subnormal"]

# The smallest positive float16, and 16 of it: a gradient below that has at most 16 levels left, mostly 0.
_FEW_LEVELS = 16 * 2.0**-24
_SMALLEST_NORMAL = 2.0**-14


def flushed_gradient(gradient: Tensor, *, sinking: Tensor | bool, now: bool) -> tuple[int, Measurement | None]:
    """A float16 gradient whose largest entry is below 16 steps of the dtype, or that is all zero in a backward pass in
    which others were (``sinking``).
    """
    total = gradient.numel()
    if total == 0:
        return total, None
    largest = gradient.abs().max().to(torch.float32)
    low = (largest > 0) & (largest < _FEW_LEVELS)
    bad = low | ((largest == 0) & sinking)
    if now and not bool(bad):
        return total, None
    count = (gradient == 0).sum().clamp(min=1) * bad
    return total, Measurement("gradient-flush", count, total, None, None, None, largest, "in float16")


def is_subnormal(gradient: Tensor) -> Tensor:
    """Whether not even the largest entry of a float16 gradient is a normal number; 0-dim bool."""
    largest = gradient.abs().amax() if gradient.numel() else gradient.new_zeros(())
    return (largest > 0) & (largest < _SMALLEST_NORMAL)
