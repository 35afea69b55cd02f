"""Angles between vectors, accurate near 0 and pi."""

from __future__ import annotations

import torch
from torch import Tensor

from .arguments import floating_tensor, result_dtype, shaped
from .eager import WITHOUT_FP64, in_slabs
from .kernels import composite, slabs
from .norms import norm_without_fp64, safe_unit

__all__ = ["safe_angle"]


def safe_angle(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """Angle between ``a`` and ``b`` along ``dim``, in radians, 0 to pi; accurate near 0 and pi, where ``acos`` is not.

    ``2 atan2(|u - v|, |u + v|)`` for the unit vectors u and v (Kahan, "How Futile are Mindless Assessments of
    Roundoff", 2006, section 12). The absolute error before rounding to the dtype is a few 1e-16; ``acos`` of an fp32
    cosine loses
    every angle below 3e-4, and is NaN where rounding lifts the cosine above 1 (FAL204).

    Args:
        a, b: floating point, of shapes that broadcast; ``dim`` counts in the broadcast shape.
        dim: where the vectors lie.

    Returns:
        Tensor: the broadcast shape without ``dim``, in the promoted dtype; NaN for zero and non-finite vectors.
        Differentiable except at 0 and pi, where the gradient given is 0.

    Raises:
        TypeError: not real floating-point tensors.
        IndexError: ``dim`` out of range.

    Example:
        >>> safe_angle(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1e-6]))
        tensor(1.0000e-06)
        >>> torch.acos(torch.cosine_similarity(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1e-6]), dim=-1))
        tensor(0.)
    """
    floating_tensor("a", a)
    floating_tensor("b", b)
    dtype = result_dtype(a.dtype, b.dtype)
    a, b, dim = shaped(a, b, dim)
    if a.device.type in WITHOUT_FP64:
        u, v = safe_unit(a.to(torch.float32), dim), safe_unit(b.to(torch.float32), dim)
        return 2 * torch.atan2(norm_without_fp64(u - v, dim, False), norm_without_fp64(u + v, dim, False)).to(dtype)
    if in_slabs(a, b):
        return slabs.rowwise(_last_angle, dtype, False, a.movedim(dim, -1), b.movedim(dim, -1))
    return _angle(a, b, dim).to(dtype)


def _angle(a: Tensor, b: Tensor, dim: int) -> Tensor:
    u, v = composite.unit(a, dim), composite.unit(b, dim)
    return 2 * torch.atan2(composite.norm(u - v, dim, False), composite.norm(u + v, dim, False))


def _last_angle(a: Tensor, b: Tensor) -> Tensor:
    return _angle(a, b, a.ndim - 1)
