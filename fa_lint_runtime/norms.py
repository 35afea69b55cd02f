"""L2 norms and unit vectors without a floor: right wherever they have a value, whatever the magnitude."""

from __future__ import annotations

import torch
from torch import Tensor

from .arguments import floating_tensor, normalized_dim, result_dtype
from .eager import WITHOUT_FP64, in_slabs, is_plain_cpu
from .kernels import blocked, composite, slabs

__all__ = ["norm_without_fp64", "safe_norm", "safe_unit"]


def safe_norm(x: Tensor, dim: int = -1, keepdim: bool = False) -> Tensor:
    """L2 norm along ``dim``, in the unit and dtype of ``x``, without needless under- or overflow.

    It is inf only if the norm itself exceeds the dtype (fp16 ends at 65504: measure such norms on ``x.float()``) and
    0 only if the vector is zero, or the norm below the dtype. ``torch.linalg.vector_norm``
    (https://docs.pytorch.org/docs/stable/generated/torch.linalg.vector_norm.html) squares in the dtype: in fp32 it is
    0 below 1e-23.

    Args:
        x: floating point, any shape; a 0-dim tensor is a vector of length 1.
        dim: where the vectors lie. It is a dimension, never an order: ``x.norm(-1)`` is not ``safe_norm(x, -1)``
            (FAL101).
        keepdim: keep ``dim`` with size 1.

    Returns:
        Tensor: shape of ``x`` without ``dim``; NaN where a vector holds a NaN, inf where it holds an inf, 0 for
            length 0.
        Differentiable; the gradient of a zero vector is 0, as in torch.

    Raises:
        TypeError: not a real floating-point tensor.
        IndexError: ``dim`` out of range.

    Example:
        >>> safe_norm(torch.tensor([3e-30, 4e-30]))
        tensor(5.0000e-30)
        >>> torch.tensor([3e-30, 4e-30]).norm(dim=-1)
        tensor(0.)
    """
    floating_tensor("x", x)
    dtype = result_dtype(x.dtype, x.dtype)
    scalar = x.ndim == 0
    dim = normalized_dim(dim, x.ndim)
    x = x.reshape(1) if scalar else x
    result: Tensor | None = None
    if is_plain_cpu(x) and not (x.requires_grad and torch.is_grad_enabled()):
        result = blocked.norm(x.detach(), dim).to(dtype)
    elif in_slabs(x):
        result = slabs.rowwise(_last_norm, dtype, False, x.movedim(dim, -1))
    if result is not None:
        return result.unsqueeze(dim) if keepdim and not scalar else result
    if x.device.type in WITHOUT_FP64:
        return norm_without_fp64(x, dim, keepdim and not scalar).to(dtype)
    return composite.norm(x, dim, keepdim and not scalar).to(dtype)


def _last_norm(x: Tensor) -> Tensor:
    return composite.norm(x, x.ndim - 1, False)


def norm_without_fp64(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        wide = x.to(torch.float32)
        amax = wide.detach().abs().amax(dim, keepdim=True) if x.shape[dim] else wide.new_zeros(())
        scale = torch.where((amax > 0) & torch.isfinite(amax), amax, 1.0)
        unit: Tensor = torch.linalg.vector_norm(wide / scale, dim=dim, keepdim=True) * scale
    return unit if keepdim else unit.squeeze(dim)


def safe_unit(x: Tensor, dim: int = -1) -> Tensor:
    """``x / ||x||`` along ``dim``, right for every finite magnitude; NaN for zero and non-finite vectors.

    ``F.normalize`` (https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.normalize.html) divides by
    ``max(||x||, 1e-12)`` instead and returns something that is no unit vector.

    Args:
        x: floating point, any shape; a 0-dim tensor gives its sign.
        dim: where the vectors lie.

    Returns:
        Tensor: shape of ``x``, its dtype (float32 for 8-bit floats). Twice differentiable.

    Raises:
        TypeError: not a real floating-point tensor.
        IndexError: ``dim`` out of range.

    Example:
        >>> safe_unit(torch.tensor([[3e-30, 4e-30], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [   nan,    nan]])
    """
    floating_tensor("x", x)
    dtype = result_dtype(x.dtype, x.dtype)
    dim = normalized_dim(dim, x.ndim)
    if x.device.type in WITHOUT_FP64:
        norm = norm_without_fp64(x, dim, True)
        return torch.where((norm > 0) & torch.isfinite(norm), x.to(torch.float32) / norm, float("nan")).to(dtype)
    if in_slabs(x):
        return slabs.rowwise(_last_unit, dtype, True, x.movedim(dim, -1)).movedim(-1, dim).contiguous()
    wide = composite.unit(x.reshape(1) if x.ndim == 0 else x, dim)
    return wide.to(dtype).reshape(x.shape) if x.ndim == 0 else wide.to(dtype)


def _last_unit(x: Tensor) -> Tensor:
    return composite.unit(x, x.ndim - 1)
