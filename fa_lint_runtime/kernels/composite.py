"""The cosine written with a handful of differentiable torch operations, all in fp64.

It works wherever torch's own operations work: ``torch.compile``, ``torch.func``, fake and meta tensors, DTensor,
double backward, CUDA without Triton. It materialises fp64 copies, so the plain CPU path prefers ``blocked``.

Inputs up to fp32 need no scaling: every product of two of their values is exact in fp64, and no sum of them can
under- or overflow (smallest square 2e-90, largest sum 1e83). fp64 inputs are first multiplied, row by row, with a
constant power of two out of five, so that their largest entry lies in [2^-250, 2^226]; that is exact and cancels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["cosine", "cosine_gradients", "gradients", "norm", "power_of_two_scale", "prepare", "unit"]

# (upper limit of the largest magnitude, exponent of the factor), smallest first; above all limits: _HUGE.
_TIERS = ((2.0**-700, 900), (2.0**-250, 450), (2.0**200, 0), (2.0**600, -400))
_HUGE = -800


def power_of_two_scale(amax: Tensor) -> Tensor:
    """The power of two that brings fp64 ``amax`` into [2^-250, 2^226]; NaN and inf give a finite one."""
    scale = torch.full_like(amax, 2.0**_HUGE)
    for limit, exponent in reversed(_TIERS):
        scale = torch.where(amax <= limit, 2.0**exponent, scale)
    return scale


def prepare(x: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """``x`` in fp64 with non-finite vectors zeroed, the mask of finite vectors, and the factor applied (None: 1).

    The zeroing keeps infinities out of every product of the backward pass: 0 * inf would be NaN there.
    """
    wide = x.to(torch.float64)
    if x.dtype != torch.float64 or x.shape[dim] == 0:
        finite = torch.isfinite(wide)
        return torch.where(finite, wide, 0.0), finite.all(dim, keepdim=True), None
    amax = wide.detach().abs().amax(dim, keepdim=True)
    finite = torch.isfinite(amax)
    scale = power_of_two_scale(amax)
    return torch.where(finite, wide * scale, 0.0), finite, scale


def cosine(a: Tensor, b: Tensor, dim: int, keepdim: bool) -> Tensor:
    """fp64 cosine of two tensors of one shape along a non-negative ``dim``; NaN where undefined."""
    x, x_finite, _ = prepare(a, dim)
    y, y_finite, _ = prepare(b, dim)
    ab = (x * y).sum(dim, keepdim=True)
    squares = (x * x).sum(dim, keepdim=True) * (y * y).sum(dim, keepdim=True)
    defined = (squares > 0) & x_finite & y_finite
    raw = ab / torch.where(defined, squares, 1.0).sqrt()
    # Straight through the clamp: rounding may lift |raw| one ulp above 1, and a clamp would then kill the gradient.
    clamped = raw + (raw.detach().clamp(-1.0, 1.0) - raw.detach())
    result = torch.where(defined, clamped, float("nan"))
    return result if keepdim else result.squeeze(dim)


def gradients(
    formula: Callable[..., Tensor],
    operands: tuple[Tensor, ...],
    needs: tuple[bool, ...],
    upstream: Tensor,
    create_graph: bool,
) -> list[Tensor | None]:
    """What autograd makes of a formula: for create_graph, for batched gradients and slab by slab."""
    with torch.enable_grad():
        if not create_graph:
            operands = tuple(x.detach().requires_grad_(needed) for x, needed in zip(operands, needs, strict=True))
        inputs = [x.view_as(x) for x in operands]  # one tensor given twice has two gradients
        value = formula(*inputs)
        wanted = [x for x, needed in zip(inputs, needs, strict=True) if needed]
        grads = list(torch.autograd.grad(value, wanted, upstream.to(value.dtype), create_graph=create_graph))
    return [grads.pop(0) if needed else None for needed in needs]


def cosine_gradients(
    a: Tensor, b: Tensor, upstream: Tensor, needs: tuple[bool, bool], create_graph: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the cosine along the last dimension."""
    ga, gb = gradients(lambda x, y: cosine(x, y, x.ndim - 1, False), (a, b), needs, upstream, create_graph)
    return ga, gb


def norm(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    """fp64 L2 norm along a non-negative ``dim``, without needless under- or overflow; zero has gradient zero."""
    wide = x.to(torch.float64)
    scale: Tensor | None = None
    if x.dtype == torch.float64 and x.shape[dim] != 0:
        scale = power_of_two_scale(wide.detach().abs().amax(dim, keepdim=True))
        wide = wide * scale
    square = (wide * wide).sum(dim, keepdim=True)
    positive = square != 0
    root = torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)
    if scale is not None:
        root = root / scale
    return root if keepdim else root.squeeze(dim)


def unit(x: Tensor, dim: int) -> Tensor:
    """fp64 ``x / ||x||`` along a non-negative ``dim``; NaN where the norm is zero or not finite."""
    scaled, finite, _ = prepare(x, dim)
    square = (scaled * scaled).sum(dim, keepdim=True)
    defined = (square > 0) & finite
    return torch.where(defined, scaled / torch.where(defined, square, 1.0).sqrt(), float("nan"))
