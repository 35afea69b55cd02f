"""The cosine for devices without fp64 (Apple's MPS): power-of-two scaling and double-float arithmetic in fp32.

Every product is split into itself and its rounding error (Dekker), sums carry their errors (Ogita, Rump and Oishi's
Dot2), and the quotient is finished in double-float: about 48 bits. The gradient is the composite formula in fp32 on
scaled rows. Only elementwise operations and sums are used, and autocast is switched off around them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .pairs import Pair, divide, multiply, square_root, two_prod, two_sum

__all__ = ["cosine"]


def _sum(terms: Tensor, tails: Tensor) -> Pair:
    """Double-float sum along the last dimension: a TwoSum tree, its errors and ``tails`` added plainly."""
    low = tails
    while terms.shape[-1] > 1:
        half = terms.shape[-1] // 2
        s, error = two_sum(terms[..., :half], terms[..., half : 2 * half])
        folded = low[..., :half] + low[..., half : 2 * half] + error
        odd = terms.shape[-1] % 2 == 1
        terms = torch.cat([s, terms[..., -1:]], -1) if odd else s
        low = torch.cat([folded, low[..., -1:]], -1) if odd else folded
    return two_sum(terms[..., 0], low[..., 0])


def _dot(x: Tensor, y: Tensor) -> Pair:
    return _sum(*two_prod(x, y))


def _scaled(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of fp32 ``x`` times a power of two that brings their largest entry near 1; False where none exists."""
    amax = x.detach().abs().amax(-1, keepdim=True)
    usable = (amax > 0) & torch.isfinite(amax)
    for limit, factor in ((2.0**-100, 2.0**48), (2.0**-60, 2.0**48), (2.0**-24, 2.0**36)):
        x = torch.where(amax < limit, x * factor, x)
        amax = torch.where(amax < limit, amax * factor, amax)
    for limit, factor in ((2.0**80, 2.0**-64), (2.0**40, 2.0**-40), (2.0**12, 2.0**-24)):
        x = torch.where(amax > limit, x * factor, x)
        amax = torch.where(amax > limit, amax * factor, amax)
    return torch.where(usable, x, 0.0), usable


def cosine(a: Tensor, b: Tensor, dim: int, keepdim: bool) -> Tensor:
    """fp32 cosine of two tensors of one shape (dtypes up to fp32) along a non-negative ``dim``; NaN where undefined."""
    with torch.autocast(a.device.type, enabled=False):
        x, x_usable = _scaled(a.movedim(dim, -1).to(torch.float32)) if a.shape[dim] else _nothing(a, dim)
        y, y_usable = _scaled(b.movedim(dim, -1).to(torch.float32)) if b.shape[dim] else _nothing(b, dim)
        defined = (x_usable & y_usable).squeeze(-1)
        result = torch.where(defined, _Compensated.apply(x, y, defined), float("nan"))  # type: ignore[no-untyped-call]
    return result.unsqueeze(dim) if keepdim else result


def _nothing(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    moved = x.movedim(dim, -1).to(torch.float32)
    padded = moved.new_zeros((*moved.shape[:-1], 1))
    return padded, padded > 0


def _plain(x: Tensor, y: Tensor, defined: Tensor) -> Tensor:
    squares = (x * x).sum(-1) * (y * y).sum(-1)
    return (x * y).sum(-1) / torch.where(defined, squares, 1.0).sqrt()


class _Compensated(torch.autograd.Function):
    """Compensated value; the gradient from unit vectors, with the value as known, so that it does not cancel twice."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, y: Tensor, defined: Tensor) -> Tensor:
        one = torch.ones_like(x[..., :1])
        x = torch.where(defined[..., None], x, one)
        y = torch.where(defined[..., None], y, one)
        value = divide(_dot(x, y), square_root(multiply(_dot(x, x), _dot(y, y))))[0].clamp(-1.0, 1.0)
        ctx.save_for_backward(x, y, value, defined)
        return value

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, y, value, defined = ctx.saved_tensors  # type: ignore[attr-defined]
        (upstream,) = grads
        weight = torch.where(defined, upstream, 0.0)[..., None]
        nx, ny = (x * x).sum(-1, keepdim=True).sqrt(), (y * y).sum(-1, keepdim=True).sqrt()
        ux, uy, c = x / nx, y / ny, value[..., None]
        return weight * (uy - c * ux) / nx, weight * (ux - c * uy) / ny, None
