"""Norms that a check may rely on: those too small for their dtype again in fp64."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["UNDERFLOW", "norms"]

# Below this norm fp32 loses digits of its squares (1e-38 is the smallest normal number); fp64 at 1e-150.
UNDERFLOW = {torch.float64: 1e-150}
DEFAULT_UNDERFLOW = 1e-18


def norms(x: Tensor, dim: int | tuple[int, ...] | None, *, now: bool) -> Tensor:
    """L2 norms along ``dim`` with that dimension kept, right down to fp64's own range."""
    if x.dtype == torch.float64 or not x.dtype.is_floating_point:
        return torch.linalg.vector_norm(x.double(), dim=dim, keepdim=True)
    result = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    if now and not bool((result < DEFAULT_UNDERFLOW).any()):
        return result.to(torch.float32)
    if x.device.type == "mps":
        return result.to(torch.float32)
    return torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=torch.float64)
