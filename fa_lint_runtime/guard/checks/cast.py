"""What a cast to float16 sets to zero."""

from __future__ import annotations

import torch
from torch import Tensor

from ..measurement import Measurement

__all__ = ["flushed"]

# The rounding unit of float16: a vector that loses less of its norm than this loses nothing that rounding keeps.
_UNIT = 2.0**-11


def flushed(kind: str, x: Tensor, cast: Tensor, *, now: bool) -> tuple[int, Measurement | None]:
    """Non-zero values that became zero, if some sample (everything after the first dimension) loses more of its norm
    than rounding does. A tensor of one dimension, or of one value a sample, is one vector.
    """
    total = x.numel()
    bad = (cast == 0) & (x != 0)
    if total == 0 or (now and not bool(bad.any())):
        return total, None
    rows = x.reshape(1, -1) if x.ndim < 2 or total == x.shape[0] else x.reshape(x.shape[0], -1)
    wide = rows.to(torch.float32 if x.device.type == "mps" else torch.float64)
    lost = torch.linalg.vector_norm(wide * bad.reshape(rows.shape), dim=1)
    serious = lost > _UNIT * torch.linalg.vector_norm(wide, dim=1)
    affected = bad.reshape(rows.shape) & serious.unsqueeze(1)
    if now and not bool(serious.any()):
        return total, None
    largest = (rows.abs() * affected).max()
    kept = 1 - (lost / torch.linalg.vector_norm(wide, dim=1)).nan_to_num(0.0).max()
    return total, Measurement(kind, affected.sum(), total, kept, 0.0, largest, largest, "float16")
