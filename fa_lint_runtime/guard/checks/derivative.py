"""Gradients that are inf or NaN because a derivative is infinite: acos and asin at 1 and -1, roots at 0."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..measurement import Measurement

__all__ = ["infinite_derivative", "lost_entries"]


def lost_entries(singular: Tensor, gradient: Tensor, incoming: Tensor) -> Tensor:
    """Mark entries where a finite gradient came in, and inf or NaN goes out. Batch dimensions of vmap come first."""
    return singular & ~gradient.isfinite() & incoming.isfinite()


def infinite_derivative(
    kind: str, lost: Tensor, finite: Iterable[Tensor], *, now: bool
) -> tuple[int, Measurement | None]:
    """The entries of ``lost``, unless every gradient at the end of the backward pass is ``finite``."""
    total = lost.numel()
    if now:
        harmless = all(map(bool, finite))
        return total, None if harmless else Measurement(kind, lost.sum(), total)
    here = [x for x in finite if x.device == lost.device]
    return total, Measurement(kind, lost.sum() * ~torch.stack(here).all(), total) if here else None
