"""Norms that are inf although every value is finite: squares beyond the dtype, the other end of underflow."""

from __future__ import annotations

import torch
from torch import Tensor

from ...cosine import safe_cosine
from ..measurement import Measurement
from ._norms import broadcast, l2

__all__ = ["overflowed_cosine", "overflowed_norm"]


def overflowed_norm(
    x: Tensor, result: Tensor, dim: int | tuple[int, ...] | None, *, now: bool
) -> tuple[int, Measurement | None]:
    """Norms of ``result`` that are inf and have a value."""
    total = result.numel()
    if total == 0 or (now and not bool(result.isinf().any())):
        return total, None
    true = _true_norms(x, dim)
    bad = result.isinf().reshape(-1) & true.isfinite()
    if now and not bool(bad.any()):
        return total, None
    should = true.where(bad, 0.0).max()
    detail = str(x.dtype).removeprefix("torch.")
    return total, Measurement("overflowed-norm", bad.sum(), total, 0.0, float("inf"), should, should, detail)


def overflowed_cosine(
    a: Tensor, b: Tensor, dim: int, result: Tensor | None, taken: tuple[Tensor, Tensor] | None = None, *, now: bool
) -> tuple[int, Measurement | None]:
    """Cosines that were divided by a norm of inf: 0, or NaN, whatever the angle. Arguments as of ``clamped_cosine``."""
    if taken is None:
        a, b = broadcast(a, b)
    na, nb = taken or (l2(a, dim, a.dtype), l2(b, dim, b.dtype))
    total = broadcast(na, nb)[0].numel()
    if total == 0 or (now and not bool(na.isinf().any() | nb.isinf().any())):
        return total, None
    a, b = broadcast(a, b)
    true_a, true_b = _true_norms(a, dim), _true_norms(b, dim)
    lost = (na.isinf() | nb.isinf()).reshape(-1)
    bad = lost & true_a.isfinite() & true_b.isfinite()
    if now and not bool(bad.any()):
        return total, None
    magnitude = torch.maximum(true_a, true_b).where(bad, 0.0).max()
    detail = str(na.dtype).removeprefix("torch.")
    found = Measurement("overflowed-cosine", bad.sum(), total, 0.0, magnitude=magnitude, detail=detail)
    if now:
        at = int(bad.to(torch.uint8).argmax())

        def examine() -> tuple[float, float]:
            should = safe_cosine(a.double(), b.double(), dim=dim).reshape(-1)[at]
            return float("nan") if result is None else float(result.reshape(-1)[at]), float(should)

        found.examine = examine
    return total, found


def _true_norms(x: Tensor, dim: int | tuple[int, ...] | None) -> Tensor:
    """fp64, flat, scaled by the largest entry; inf where a value is, or where fp64 has none."""
    largest = x.abs().amax(dim=() if dim is None else dim, keepdim=True).to(torch.float64)
    scaled = x.to(torch.complex128 if x.dtype.is_complex else torch.float64) / largest.where(largest > 0, 1.0)
    out = torch.empty(0, dtype=torch.float64, device=x.device)
    norms: Tensor = torch.linalg.vector_norm(scaled, dim=dim, keepdim=True, out=out) * largest
    return norms.reshape(-1)
