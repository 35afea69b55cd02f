"""A cosine of a tensor with itself."""

from __future__ import annotations

import torch
from torch import Tensor

from ..functorch import is_wrapped
from ..measurement import Measurement

__all__ = ["same_memory", "self_cosine"]


def same_memory(a: Tensor, b: Tensor) -> bool:
    """Same storage, offset, shape, strides and dtype. Needs no values."""
    if a is b:
        return True
    if a.shape != b.shape or a.dtype != b.dtype or not (_is_plain(a) and _is_plain(b)):
        return False
    return a.data_ptr() == b.data_ptr() != 0 and a.stride() == b.stride()


def _is_plain(x: Tensor) -> bool:
    return type(x) in (Tensor, torch.nn.Parameter) and x.layout is torch.strided and not (x.is_meta or is_wrapped(x))


def self_cosine(a: Tensor, *, now: bool) -> tuple[int, Measurement | None]:
    """The answer is 1 by construction (0 for zero vectors)."""
    if a.numel() == 0:
        return 1, None
    return 1, Measurement("self-cosine", 1 if now else a.new_ones(()), 1, None, 1.0, float("nan"))
