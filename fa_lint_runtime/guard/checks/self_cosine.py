"""A cosine of a tensor with itself."""

from __future__ import annotations

from torch import Tensor

from ..functorch import has_memory
from ..measurement import Measurement

__all__ = ["same_memory", "self_cosine"]


def same_memory(a: Tensor, b: Tensor) -> bool:
    """Same storage, offset, shape, strides and dtype. Needs no values."""
    if a is b:
        return True
    if not (has_memory(a) and has_memory(b)) or a.data_ptr() != b.data_ptr() or a.data_ptr() == 0:
        return False
    return a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride()


def self_cosine(a: Tensor, *, now: bool) -> tuple[int, Measurement | None]:
    """The answer is 1 by construction (0 for zero vectors)."""
    if a.numel() == 0:
        return 1, None
    return 1, Measurement("self-cosine", 1 if now else a.new_ones(()), 1, None, 1.0, float("nan"))
