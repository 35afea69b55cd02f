"""Norms that a check may rely on: those too small for their dtype again in fp64."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["DEFAULT_UNDERFLOW", "UNDERFLOW", "broadcast", "norms"]

# Below this norm fp32 loses digits of its squares (1e-38 is the smallest normal number); fp64 at 1e-150.
UNDERFLOW = {torch.float64: 1e-150}
DEFAULT_UNDERFLOW = 1e-18


def norms(x: Tensor, dim: int | tuple[int, ...] | None, *, now: bool) -> Tensor:
    """L2 norms along ``dim`` with that dimension kept, right down to fp64's own range; float32 or float64."""
    if x.dtype == torch.float64 or not x.dtype.is_floating_point:
        return l2(x, dim, torch.float64)
    result = l2(x, dim, torch.float32)
    if x.device.type == "mps" or (now and float(result.min()) >= DEFAULT_UNDERFLOW):
        return result
    return l2(x, dim, torch.float64)


def l2(x: Tensor, dim: int | tuple[int, ...] | None, dtype: torch.dtype) -> Tensor:
    """The norm as torch has it; with ``out``, which is not hooked."""
    out = torch.empty(0, dtype=dtype, device=x.device)
    wide = x if x.dtype.is_floating_point else x.to(dtype)
    norm: Tensor = torch.linalg.vector_norm(wide, dim=dim, keepdim=True, dtype=dtype, out=out)
    return norm


def broadcast(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in their common shape. (``torch.broadcast_shapes`` imports a second of modules on first use.)"""
    first, second = torch.broadcast_tensors(a, b)  # type: ignore[no-untyped-call]
    return first, second
