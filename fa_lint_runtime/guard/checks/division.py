"""0 divided by 0."""

from __future__ import annotations

import torch
from torch import Tensor

from ..measurement import Measurement

__all__ = ["undefined_cosine", "zero_by_zero"]

_NAN = float("nan")


def zero_by_zero(a: Tensor, b: Tensor, *, now: bool) -> tuple[int, Measurement | None]:
    """NaNs that a quotient makes of zeros; those that came in with an operand do not count."""
    shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]
    total = shape.numel()
    zeros = b == 0
    if total == 0 or (now and not bool(zeros.any())):
        return total, None
    bad = zeros & (a == 0)
    if now and not bool(bad.any()):
        return total, None
    return total, Measurement("zero-by-zero", bad.expand(shape).sum(), total, None, _NAN, _NAN, 0.0)


def undefined_cosine(a: Tensor, b: Tensor, result: Tensor, *, now: bool) -> tuple[int, Measurement | None]:
    """NaNs of a cosine with ``eps=0`` although its operands hold none."""
    bad = result.isnan()
    total = result.numel()
    if now and not bool(bad.any()):
        return total, None
    count = bad.sum() * (a.isfinite().all() & b.isfinite().all())
    if now and not int(count):
        return total, None
    return total, Measurement("zero-by-zero", count, total, None, _NAN, _NAN, 0.0)
