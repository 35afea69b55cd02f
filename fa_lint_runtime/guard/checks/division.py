"""0 divided by 0."""

from __future__ import annotations

from torch import Tensor

from ..measurement import Measurement
from ._norms import broadcast

__all__ = ["undefined_cosine", "zero_by_zero"]


def zero_by_zero(a: Tensor, b: Tensor, *, now: bool) -> tuple[int, Measurement | None]:
    """NaNs that a quotient makes of zeros; those that came in with an operand do not count."""
    zeros = b == 0
    bad = zeros & (a == 0) if not now or bool(zeros.any()) else None
    total = a.numel() if bad is None and a.numel() >= b.numel() else broadcast(a, b)[0].numel()
    if total == 0 or bad is None:
        return total, None
    if now and not bool(bad.any()):
        return total, None
    return total, Measurement("zero-by-zero", bad.sum(), total, magnitude=0.0)


def undefined_cosine(a: Tensor, b: Tensor, result: Tensor, *, now: bool) -> tuple[int, Measurement | None]:
    """NaNs of a cosine with ``eps=0`` although its operands hold none."""
    bad = result.isnan()
    total = result.numel()
    if now and not bool(bad.any()):
        return total, None
    count = bad.sum() * (a.isfinite().all() & b.isfinite().all())
    if now and not int(count):
        return total, None
    return total, Measurement("zero-by-zero", count, total, magnitude=0.0)
