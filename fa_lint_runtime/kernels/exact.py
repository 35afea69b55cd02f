"""Cosines of fp64 rows to 70 bits and more: TwoProd, distilled TwoSum trees, double-double finish.

Dekker, "A floating-point technique for extending the available precision" (1971), for the product and the split;
Ogita, Rump and Oishi, "Accurate sum and dot product" (2005), for repeated error-free transformation of a sum.
Everything is plain torch arithmetic on fp64, valid for rows whose largest entry lies within [2^-250, 2^230].
"""

from __future__ import annotations

import torch
from torch import Tensor

from .pairs import Pair, divide, multiply, square_root, two_prod, two_sum

__all__ = ["cosine", "round_to_odd"]

_COLUMNS = 65_536
_MAX_PASSES = 12
_ENOUGH = 2.0**-70


def _distill(terms: Tensor) -> Pair:
    """Rows of ``terms`` as their rounded sum and the exact rounding errors made on the way."""
    errors = []
    while terms.shape[1] > 1:
        half = terms.shape[1] // 2
        s, e = two_sum(terms[:, :half], terms[:, half : 2 * half])
        errors.append(e)
        terms = torch.cat([s, terms[:, 2 * half :]], 1) if terms.shape[1] % 2 else s
    return terms[:, 0], torch.cat(errors, 1) if errors else terms[:, :0]


def _expansion(terms: Tensor) -> Tensor:
    """Rows of ``terms`` (k, n) as a few numbers each (k, m), whose exact sum is that of the terms to 2^-70 relative."""
    parts: list[Tensor] = []
    while True:
        s, terms = _distill(terms)
        parts.append(s)
        if not bool(terms.any()):
            break
        rest = terms.abs().sum(1) * terms.shape[1]
        total = _renormalized(torch.stack([*parts, terms.sum(1)], 1))[0].abs()
        if len(parts) == _MAX_PASSES or not bool((rest * 2.0**-53 > total * _ENOUGH).any()):
            parts.append(terms.sum(1))
            break
    return torch.stack(parts, 1)


def _renormalized(parts: Tensor) -> Pair:
    """Few overlapping numbers per row (k, m) as a double-double."""
    columns = list(parts.unbind(1))
    for _ in range(len(columns)):
        for i in range(len(columns) - 1, 0, -1):
            columns[i - 1], columns[i] = two_sum(columns[i - 1], columns[i])
    low = torch.zeros_like(columns[0])
    for column in reversed(columns[1:]):
        low = low + column
    return two_sum(columns[0], low)


def _products(x: Tensor, y: Tensor, products_exact: bool) -> Tensor:
    """Terms (3k, n) whose exact row sums are <x,y>, <x,x> and <y,y>."""
    left, right = torch.cat([x, x, y]), torch.cat([y, x, y])
    return left * right if products_exact else torch.cat(two_prod(left, right), 1)


def _dots(x: Tensor, y: Tensor, products_exact: bool) -> Pair:
    blocks = zip(torch.split(x, _COLUMNS, 1), torch.split(y, _COLUMNS, 1), strict=True)
    parts = [_expansion(_products(u, v, products_exact)) for u, v in blocks]
    return _renormalized(parts[0] if len(parts) == 1 else _expansion(torch.cat(parts, 1)))


def cosine(x: Tensor, y: Tensor, products_exact: bool) -> Pair:
    """Cosine of the rows of two fp64 matrices (k, D), D >= 1, all rows finite and non-zero, as a double-double (k,).

    ``products_exact`` says that every product is exact in fp64 (inputs up to fp32), which saves the TwoProd.
    """
    high, low = _dots(x, y, products_exact)
    ab, aa, bb = zip(high.chunk(3), low.chunk(3), strict=True)
    high, low = divide(ab, square_root(multiply(aa, bb)))
    beyond = (high.abs() > 1) | ((high.abs() == 1) & (high * low > 0))
    return torch.where(beyond, high.sign(), high), torch.where(beyond, 0.0, low)


def round_to_odd(high: Tensor, low: Tensor) -> Tensor:
    """``high + low`` in fp64 rounded to odd, so that a second rounding to a narrower dtype is the right one.

    Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd" (2008).
    """
    even = high.view(torch.int64) % 2 == 0
    target = torch.where(low > 0, float("inf"), float("-inf")).to(torch.float64)
    return torch.where((low != 0) & even, torch.nextafter(high, target), high)
