"""``F.cosine_embedding_loss`` adds 1e-12 to each squared norm, whatever the inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from ..measurement import Measurement
from ._norms import norms

__all__ = ["floored_embedding_loss"]

# EPSILON in ATen/native/Loss.cpp.
_EPSILON = 1e-12
# What shrinks a cosine by less than this is lost in the noise of fp32 losses.
_TOLERATED = 0.99


def floored_embedding_loss(a: Tensor, b: Tensor, *, now: bool) -> tuple[int, Measurement | None]:
    """The share ``‖a‖‖b‖ / sqrt((‖a‖²+1e-12)(‖b‖²+1e-12))`` of each cosine that was used."""
    na, nb = norms(a, -1, now=now), norms(b, -1, now=now)
    shares = (na / torch.sqrt(na * na + _EPSILON) * (nb / torch.sqrt(nb * nb + _EPSILON))).reshape(-1)
    total = shares.numel()
    bad = shares < _TOLERATED
    if total == 0 or (now and not bool(bad.any())):
        return total, None
    smallest = torch.minimum(na.min(), nb.min())
    worst = shares.min()
    return total, Measurement("floored-embedding-loss", bad.sum(), total, worst, worst, 1.0, smallest, "1e-12")
