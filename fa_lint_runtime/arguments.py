"""Checks of arguments that several public functions share."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["floating_tensor", "normalized_dim", "result_dtype", "shaped"]

_EIGHT_BIT = frozenset(
    {torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz},
)
_SUPPORTED = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64}) | _EIGHT_BIT


def floating_tensor(name: str, x: object) -> None:
    """Refuse whatever is not a real floating-point tensor in plain memory.

    Raises:
        TypeError: says what was given and what to do.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}")
    if x.is_nested:
        raise TypeError(f"{name} is a nested tensor: take its parts one by one (unbind), or pad it")
    if x.layout is not torch.strided:
        raise TypeError(f"{name} has the layout {x.layout}: convert it with .to_dense() first")
    dtype = x.dtype
    if dtype in _SUPPORTED:
        return
    if dtype.is_complex:
        raise TypeError(
            f"{name} is {dtype}: two conventions exist. For Re<a,b> / (||a|| ||b||) pass "
            f"torch.view_as_real({name}).flatten(-2), with vectors along the last dimension"
        )
    if not dtype.is_floating_point:
        raise TypeError(f"{name} must be floating point, got {dtype}; convert it with .float() or .double() first")
    raise TypeError(f"{name} has dtype {dtype}, which has no signed zero-to-finite range to measure; convert it first")


def normalized_dim(dim: int, ndim: int) -> int:
    """``dim`` as a non-negative index; a 0-dim tensor counts as one vector of length 1, as in torch.

    Raises:
        IndexError: out of range.
    """
    size = max(ndim, 1)
    if not -size <= dim < size:
        raise IndexError(f"dim must be in [{-size}, {size - 1}] for {ndim} dimensions, got {dim}")
    return dim + size if dim < 0 else dim


def result_dtype(a: torch.dtype, b: torch.dtype) -> torch.dtype:
    """The dtype of a result: torch's promotion; 8-bit floats give float32 (a cosine in 3 bits is of no use)."""
    wide_a = torch.float32 if a in _EIGHT_BIT else a
    wide_b = torch.float32 if b in _EIGHT_BIT else b
    return torch.promote_types(wide_a, wide_b)


def shaped(a: Tensor, b: Tensor, dim: int) -> tuple[Tensor, Tensor, int]:
    """Operands of one shape, at least 1-D, and a non-negative dim."""
    if a.shape != b.shape:
        shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]
        a, b = a.expand(shape), b.expand(shape)
    dim = normalized_dim(dim, a.ndim)
    return (a, b, dim) if a.ndim else (a.reshape(1), b.reshape(1), 0)
