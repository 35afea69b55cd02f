"""Cosines of all pairs of rows."""

from __future__ import annotations

import torch
from torch import Tensor

from .arguments import floating_tensor, result_dtype
from .cosine import safe_cosine
from .eager import WITHOUT_FP64, is_plain_eager
from .kernels import composite

__all__ = ["safe_cosine_matrix"]

_MATRIX_ROWS = 1024


def safe_cosine_matrix(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Cosines of every row of ``a`` with every row of ``b`` (of ``a``, if ``b`` is left out): one fp64 product a block.

    Args:
        a: floating point, (..., n, d).
        b: floating point, (..., m, d), its leading dimensions broadcasting with those of ``a``.

    Returns:
        Tensor: (..., n, m) in the promoted dtype, within [-1, 1]; NaN where a row is zero or not finite. Accurate to a
        few 1e-16 before rounding to the dtype. Without ``b``, symmetric with a diagonal of exact ones. Differentiable.

    Raises:
        TypeError: not real floating-point tensors.
        ValueError: fewer than two dimensions, or different d.

    Example:
        >>> safe_cosine_matrix(torch.tensor([[1e-30, 0.0], [1e20, 1e20]]))
        tensor([[1.0000, 0.7071],
                [0.7071, 1.0000]])
    """
    other = a if b is None else b
    floating_tensor("a", a)
    floating_tensor("b", other)
    if a.ndim < 2 or other.ndim < 2 or a.shape[-1] != other.shape[-1]:
        raise ValueError(f"need (..., n, d) and (..., m, d), got {tuple(a.shape)} and {tuple(other.shape)}")
    dtype = result_dtype(a.dtype, other.dtype)
    if a.device.type in WITHOUT_FP64:
        return safe_cosine(a.unsqueeze(-2), other.unsqueeze(-3))
    tracked = torch.is_grad_enabled() and (a.requires_grad or other.requires_grad)
    if is_plain_eager(a, other) and not tracked and a.ndim == other.ndim == 2:
        result = _blocked_matrix(a, other, dtype)
    else:
        result = _cosine_product(composite.unit(a, a.ndim - 1), composite.unit(other, other.ndim - 1)).to(dtype)
    return _mirrored(result) if b is None else result


def _cosine_product(u: Tensor, v: Tensor) -> Tensor:
    product = u @ v.mT
    return product + (product.detach().clamp(-1.0, 1.0) - product.detach())


def _blocked_matrix(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    result = torch.empty((len(a), len(b)), dtype=dtype, device=a.device)
    for j in range(0, len(b), _MATRIX_ROWS):
        v = composite.unit(b[j : j + _MATRIX_ROWS], 1)
        for i in range(0, len(a), _MATRIX_ROWS):
            u = composite.unit(a[i : i + _MATRIX_ROWS], 1)
            result[i : i + _MATRIX_ROWS, j : j + _MATRIX_ROWS] = _cosine_product(u, v)
    return result


def _mirrored(square: Tensor) -> Tensor:
    """The lower triangle on both sides, and 1 (or NaN) on the diagonal: a product is not symmetric to the last bit."""
    lower = square.tril(-1)
    diagonal = square.diagonal(dim1=-2, dim2=-1)
    ones = torch.where(torch.isnan(diagonal), diagonal, diagonal - diagonal.detach() + 1.0)
    return lower + lower.mT + torch.diag_embed(ones)
