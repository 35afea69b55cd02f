"""Numbers as unevaluated sums of two: error-free sum and product, and arithmetic with twice the precision.

Dekker, "A floating-point technique for extending the available precision" (1971); fp32 and fp64.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Pair", "divide", "multiply", "square_root", "two_prod", "two_sum"]

Pair = tuple[Tensor, Tensor]

_SPLITTER = {torch.float32: 2.0**12 + 1, torch.float64: 2.0**27 + 1}


def two_sum(a: Tensor, b: Tensor) -> Pair:
    """a + b, rounded, and the error."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_prod(a: Tensor, b: Tensor) -> Pair:
    """a * b, rounded, and the error."""
    splitter = _SPLITTER[a.dtype]
    p = a * b
    t = splitter * a
    a_high = t - (t - a)
    t = splitter * b
    b_high = t - (t - b)
    a_low, b_low = a - a_high, b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def multiply(a: Pair, b: Pair) -> Pair:
    p, e = two_prod(a[0], b[0])
    return two_sum(p, e + (a[0] * b[1] + a[1] * b[0]))


def square_root(a: Pair) -> Pair:
    root = a[0].sqrt()
    p, e = two_prod(root, root)
    return two_sum(root, (((a[0] - p) - e) + a[1]) / (2 * root))


def divide(a: Pair, b: Pair) -> Pair:
    quotient = a[0] / b[0]
    p, e = two_prod(quotient, b[0])
    return two_sum(quotient, (((a[0] - p) - e) + a[1] - quotient * b[1]) / b[0])
