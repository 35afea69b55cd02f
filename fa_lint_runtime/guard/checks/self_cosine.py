"""A cosine of a tensor with itself."""

from __future__ import annotations

from torch import Tensor

from ..measurement import Measurement

__all__ = ["self_cosine"]


def self_cosine(a: Tensor, b: Tensor, *, now: bool) -> tuple[int, Measurement | None]:
    """Same storage, offset, shape and strides: the answer is 1 by construction. Needs no values."""
    same = a is b or (
        a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr() != 0
        and a.storage_offset() == b.storage_offset()
        and a.shape == b.shape
        and a.stride() == b.stride()
        and a.dtype == b.dtype
    )
    if not same or a.numel() == 0:
        return 1, None
    return 1, Measurement("self-cosine", 1 if now else a.new_ones(()), 1, None, 1.0, float("nan"))
