"""``F.normalize`` below its eps: vectors that come out shorter than 1."""

from __future__ import annotations

from torch import Tensor

from ..measurement import Measurement
from ._norms import norms

__all__ = ["floored_normalize"]


def floored_normalize(
    x: Tensor, result: Tensor, dim: int | tuple[int, ...] | None, eps: float, *, now: bool
) -> tuple[int, Measurement | None]:
    """A norm in (0, eps) became eps, so that the vector has length ``norm/eps``. Zero vectors stay zero: no event."""
    total = result.numel()
    if total == 0 or (now and not bool((result < eps).any())):
        return total, None
    true = norms(x, dim, now=now)
    bad = (true > 0) & (true < eps)
    if now and not bool(bad.any()):
        return total, None
    smallest = true.where(bad, float("inf")).min()
    lengths = smallest / eps
    return total, Measurement("floored-normalize", bad.sum(), total, lengths, lengths, 1.0, smallest, f"{eps:g}")
