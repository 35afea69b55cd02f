"""A cosine whose clamp was active: each norm below eps was replaced by eps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...cosine import safe_cosine
from ..measurement import Measurement
from ._norms import norms

__all__ = ["clamped_cosine"]


def clamped_cosine(
    a: Tensor, b: Tensor, dim: int, eps: float, result: Tensor | None, *, now: bool
) -> tuple[int, Measurement | None]:
    """The share ``min(1, ‖a‖/eps) · min(1, ‖b‖/eps)`` of each cosine that the clamp let through.

    Source: ``cosine_similarity`` in ATen/native/Distance.cpp clamps each norm with ``clamp_min_(eps)``.
    """
    na, nb = norms(a, dim, now=now), norms(b, dim, now=now)
    shares = (na / eps).clamp(max=1) * (nb / eps).clamp(max=1) if eps > 0 else torch.ones_like(na * nb)
    shares = shares.squeeze(dim).reshape(-1)
    total = shares.numel()
    bad = shares < 1
    if total == 0 or (now and not bool(bad.any())):
        return total, None
    smallest = torch.minimum(na.min(), nb.min())
    at = shares.argmin()
    if not now:
        was = None if result is None else result.reshape(-1)[at]
        should = None if was is None else was / shares[at]
        return total, Measurement(
            "clamped-cosine", bad.sum(), total, shares[at], was, should, smallest, f"{eps:g}"
        )
    index = int(at)
    worst = float(shares[index])
    should = float(_true_cosine(a, b, dim, index))
    was = float(result.reshape(-1)[index]) if result is not None else should * worst
    if math.isnan(should):
        worst = 0.0
    return total, Measurement("clamped-cosine", int(bad.sum()), total, worst, was, should, smallest, f"{eps:g}")


def _true_cosine(a: Tensor, b: Tensor, dim: int, index: int) -> Tensor:
    """The exact cosine of one pair."""
    shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]
    a, b = (x.expand(shape).movedim(dim, -1) for x in (a, b))
    place = torch.unravel_index(torch.tensor(index), a.shape[:-1]) if a.ndim > 1 else ()
    pair = tuple(x[place].reshape(-1).double() for x in (a, b))
    return safe_cosine(*pair)
