"""True cosines and gradients: exact sums, mpmath for the root and the quotient. Shares no code with the library."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import torch
from torch import Tensor

# mantissa bits, exponent of the smallest normal number
FORMATS = {
    torch.float16: (11, -14),
    torch.bfloat16: (8, -126),
    torch.float32: (24, -126),
    torch.float64: (53, -1022),
}

_CONTEXT = mpmath.mp.clone()
_CONTEXT.prec = 220


def _integers(row: list[float]) -> list[int]:
    """fp64 numbers as exact multiples of 2^-1074."""
    result = []
    for value in row:
        numerator, denominator = value.as_integer_ratio()
        result.append(numerator * ((1 << 1074) // denominator))
    return result


def _sums(x: list[float], y: list[float], products_exact: bool) -> tuple[object, object, object]:
    """<x,y>, <x,x>, <y,y>: correctly rounded where the products are exact in fp64, else exact integers."""
    if products_exact:
        return (
            math.fsum([p * q for p, q in zip(x, y, strict=True)]),
            math.fsum([p * p for p in x]),
            math.fsum([q * q for q in y]),
        )
    u, v = _integers(x), _integers(y)
    return (
        sum([p * q for p, q in zip(u, v, strict=True)]),
        sum([p * p for p in u]),
        sum([q * q for q in v]),
    )


def cosine(x: list[float], y: list[float], products_exact: bool) -> tuple[float, float]:
    """The true cosine as an unevaluated sum of two fp64 numbers; NaN if undefined."""
    ab, aa, bb = _sums(x, y, products_exact)
    if not aa or not bb:
        return math.nan, math.nan
    c = _CONTEXT
    true = c.mpf(ab) / c.sqrt(c.mpf(aa) * c.mpf(bb))
    high = float(true)
    return high, float(true - high)


def cosines(a: Tensor, b: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Row by row, (R, D)."""
    products_exact = torch.float64 not in (a.dtype, b.dtype)
    pairs = [cosine(x, y, products_exact) for x, y in zip(a.double().tolist(), b.double().tolist(), strict=True)]
    high, low = np.array(pairs).reshape(-1, 2).T
    return high, low


def ulps(result: Tensor, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Errors in units in the last place of the result's dtype, at the true value."""
    bits, smallest = FORMATS[result.dtype]
    error = np.abs((result.detach().double().numpy() - high) - low)
    exponent = np.maximum(np.frexp(np.abs(high))[1] - 1, smallest)
    return error / np.ldexp(1.0, np.maximum(exponent - (bits - 1), -1074))


def gradient(x: list[float], y: list[float]) -> list[float]:
    """d cos / d x at fp64 values, to full precision."""
    c = _CONTEXT
    u, v = [c.mpf(p) for p in x], [c.mpf(q) for q in y]
    ab = c.fsum(p * q for p, q in zip(u, v, strict=True))
    nx, ny = c.sqrt(c.fsum(p * p for p in u)), c.sqrt(c.fsum(q * q for q in v))
    across, own = 1 / (nx * ny), ab / (nx * ny * nx * nx)
    return [float(across * q - own * p) for p, q in zip(u, v, strict=True)]
