"""From Gram numbers to cosines of a dtype: the quotient, which results are certain, and the rounding."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .workspace import Floats, Rows

__all__ = ["doubtful", "quotient", "store", "store_if_certain"]

# Mantissa bits of an fp64 number that the narrower dtype drops.
_DROPPED = {torch.float32: 29, torch.float16: 42, torch.bfloat16: 45}


def quotient(numbers: Floats) -> Floats:
    """The fp64 cosine, NaN where undefined (0/0, inf/inf): no eps."""
    c: Floats = numbers[1] * numbers[2]
    np.sqrt(c, out=c)
    np.divide(numbers[0], c, out=c)
    np.maximum(c, -1.0, out=c)
    np.minimum(c, 1.0, out=c)
    return c


def doubtful(c: Floats, dtype: torch.dtype, roundoffs: int, floor: float) -> Rows | None:
    """Rows that could round to another number of ``dtype`` than the true cosine does."""
    dropped = _DROPPED[dtype]
    half = 1 << (dropped - 1)
    distance = np.bitwise_and(c.view(np.int64), 2 * half - 1)
    distance -= half  # to the midpoint between two numbers of the dtype, in ulp of fp64
    np.abs(distance, out=distance)
    np.minimum(distance, half >> 1, out=distance)  # below a power of two, midpoints lie twice as close
    size = np.abs(c)
    # |error| <= roundoffs 2^-53 (1 + |c|) + 3 2^-53 |c|: the sums, then product, root and quotient
    error = (size + 1.0) * ((roundoffs + 3) * 2.0**-53)
    open_rows = distance * size * 2.0**-53 <= error  # that is at most an ulp of fp64, whose function is slow
    if dtype == torch.float16:
        open_rows |= size < 2.0**-14  # subnormal: other midpoints
    if not open_rows.any():
        return None
    rows = np.flatnonzero(open_rows & (size >= floor))
    sure = distance[rows] * np.spacing(size[rows]) > error[rows]
    if dtype == torch.float16:
        sure &= size[rows] >= 2.0**-14
    return rows[~sure]


def store_if_certain(c: Floats, out: Tensor, roundoffs: int) -> bool:
    """The usual case in few steps: each cosine rounds to the same fp32 wherever in its error interval it lies."""
    error = (roundoffs + 3) * 2.0**-52
    low, high = (c - error).astype(np.float32), (c + error).astype(np.float32)
    certain = bool((low == high).all())
    if certain:
        np.copyto(out.numpy(), low)
    return certain


def store(c: Floats, out: Tensor) -> None:
    """Round fp64 numbers to the dtype of ``out``, once, ties to even."""
    if out.dtype != torch.bfloat16:
        np.copyto(out.numpy(), c, casting="same_kind")  # numpy rounds fp64 to fp16 in one step, torch in two
        return
    bits = c.view(np.int64)
    rounded = (bits + ((1 << 44) - 1) + ((bits >> 45) & 1)) & ~((1 << 45) - 1)
    values = rounded.view(np.float64)
    small = np.abs(c) < 2.0**-126
    if small.any():
        values = np.where(small, np.rint(c * 2.0**133) * 2.0**-133, values)
    narrow = values.astype(np.float32).view(np.uint32) >> 16
    np.copyto(out.view(torch.int16).numpy().view(np.uint16), narrow, casting="same_kind")
