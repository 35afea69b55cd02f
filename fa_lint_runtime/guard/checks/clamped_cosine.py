"""A cosine whose clamp was active: each norm below eps was replaced by eps."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ...cosine import safe_cosine
from ..measurement import Measurement
from ._norms import DEFAULT_UNDERFLOW, broadcast, norms

__all__ = ["clamped_cosine"]


def clamped_cosine(
    a: Tensor,
    b: Tensor,
    dim: int,
    eps: float,
    result: Tensor | None,
    taken: tuple[Tensor, Tensor] | None = None,
    *,
    now: bool,
) -> tuple[int, Measurement | None]:
    """The share ``min(1, ‖a‖/eps) · min(1, ‖b‖/eps)`` of each cosine that the clamp let through.

    Args:
        a, b: the operands; dim: where vectors lie, negative.
        eps: the floor of each norm.
        result: what came out, None where it cannot be looked at.
        taken: the norms that torch itself computed, with ``dim`` kept, if they are at hand.

    Source: ``cosine_similarity`` in ATen/native/Distance.cpp clamps each norm with ``clamp_min_(eps)``.
    """
    if taken is None and (a.ndim != b.ndim or a.shape[dim] != b.shape[dim]):
        a, b = broadcast(a, b)
    na, nb = taken or (norms(a, dim, now=now), norms(b, dim, now=now))
    if not now:
        return _deferred(na, nb, eps, result)
    total = broadcast(na, nb)[0].numel() if result is None else result.numel()
    if total == 0:
        return 0, None
    floor = _as_stored(eps, na.dtype)
    smallest_a, smallest_b = float(na.min()), float(nb.min())
    if min(smallest_a, smallest_b) >= floor:
        return total, None
    if min(smallest_a, smallest_b) < DEFAULT_UNDERFLOW and taken is not None and a.dtype != torch.float64:
        return clamped_cosine(a, b, dim, eps, result, now=True)
    if smallest_b >= floor and na.numel() == total:
        shares, worst, count = None, smallest_a / floor, _below(na, floor)
    elif smallest_a >= floor and nb.numel() == total:
        shares, worst, count = None, smallest_b / floor, _below(nb, floor)
    else:
        shares = _shares(na, nb, floor)
        worst, count = float(shares.min()), (shares < 1).sum()

    def examine() -> tuple[float, float]:
        index = int((_shares(na, nb, floor) if shares is None else shares).argmin())
        should = float(_true_cosine(a, b, dim, index))
        return (float(result.reshape(-1)[index]) if result is not None else should * worst), should

    smallest = min(smallest_a, smallest_b)
    found = Measurement("clamped-cosine", count, total, worst, magnitude=smallest, detail=f"{eps:g}")
    found.examine = examine
    return total, found


@lru_cache
def _as_stored(eps: float, dtype: torch.dtype) -> float:
    """The nearest value that norms can have: 1e-8 of float32 is not below the 1e-8 that it was clamped with."""
    return float(torch.tensor(eps, dtype=dtype, device="cpu"))


def _below(norms: Tensor, eps: float) -> Tensor | int:
    """How many norms are smaller. Often all are, and that is seen at half the price."""
    return norms.numel() if float(norms.max()) < eps else (norms < eps).sum()


def _shares(na: Tensor, nb: Tensor, eps: float) -> Tensor:
    """In the order of the result, flat; in fp64, where products of norms do not underflow."""
    wide = torch.float32 if na.device.type == "mps" else torch.float64
    return ((na.to(wide) / eps).clamp(max=1) * (nb.to(wide) / eps).clamp(max=1)).reshape(-1)


def _deferred(na: Tensor, nb: Tensor, eps: float, result: Tensor | None) -> tuple[int, Measurement | None]:
    """Without a look at any value."""
    if eps <= 0 or na.numel() == 0 or nb.numel() == 0:
        return 0, None
    shares = _shares(na, nb, eps)
    worst, at = shares.min(0)
    was = None if result is None else result.take(at)
    should = None if was is None else was / worst
    smallest = torch.minimum(na.min(), nb.min())
    total = shares.numel()
    return total, Measurement("clamped-cosine", (shares < 1).sum(), total, worst, was, should, smallest, f"{eps:g}")


def _true_cosine(a: Tensor, b: Tensor, dim: int, index: int) -> Tensor:
    """The exact cosine of one pair."""
    a, b = (x.movedim(dim, -1) for x in broadcast(a, b))
    place = []
    for size in reversed(a.shape[:-1]):
        index, at = divmod(index, size)
        place.append(at)
    at_place = tuple(reversed(place))
    return safe_cosine(a[at_place].double(), b[at_place].double())
