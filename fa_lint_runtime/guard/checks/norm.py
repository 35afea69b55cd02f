"""Norms: a negative order, and squares that underflow."""

from __future__ import annotations

import torch
from torch import Tensor

from ..measurement import Measurement
from ._norms import DEFAULT_UNDERFLOW, UNDERFLOW

__all__ = ["negative_order", "underflowed_norm"]

_TOLERATED = 0.99


def negative_order(x: Tensor, order: float, result: Tensor | None, *, now: bool) -> tuple[int, Measurement | None]:
    """What came out against the L2 norm along the dimension that the order names; the first of each."""
    dim = int(order)
    fits = order == dim and -x.ndim <= dim and x.numel() > 0
    should = torch.linalg.vector_norm(x, dim=dim).reshape(-1)[0] if fits else None
    was = None if result is None or result.numel() == 0 else result.reshape(-1)[0]
    if should is None or was is None:
        was = should = None
    count: Tensor | int = 1 if now else x.new_ones(())
    return 1, Measurement("negative-norm-order", count, 1, None, was, should, None, f"{order:g}")


def underflowed_norm(
    x: Tensor, result: Tensor, dim: int | tuple[int, ...] | None, *, now: bool
) -> tuple[int, Measurement | None]:
    """An L2 norm that is off by more than 1 % because the squares left the range of the dtype."""
    total = result.numel()
    limit = UNDERFLOW.get(x.dtype, DEFAULT_UNDERFLOW)
    if total == 0 or (now and not bool((result < limit).any())):
        return total, None
    largest = x.abs().amax(dim=() if dim is None else dim, keepdim=True).to(torch.float64)
    scaled = x.to(torch.float64) / largest.where(largest > 0, 1.0)
    true = torch.linalg.vector_norm(scaled, dim=dim, keepdim=True) * largest
    shares = (result.reshape(-1).to(torch.float64) / true.reshape(-1)).nan_to_num(1.0)
    bad = shares < _TOLERATED
    if now and not bool(bad.any()):
        return total, None
    at = shares.argmin()
    was, should = result.take(at), true.take(at)  # an index would wait for the device
    detail = str(x.dtype).removeprefix("torch.")
    return total, Measurement("underflowed-norm", bad.sum(), total, shares.take(at), was, should, should, detail)
