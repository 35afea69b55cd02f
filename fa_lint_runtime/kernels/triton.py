"""The CUDA path: one fused kernel forward and one backward, each operand read once, fp64 sums in registers.

fp64 keeps the path memory-bound on data-centre GPUs (H100, A100). On consumer GPUs, with a 64th of the fp64 rate, it is
bound by arithmetic. Rows run side by side; few long rows are cut into splits whose partial sums are added in a fixed
order.
"""

from __future__ import annotations

import functools
import math
import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import composite

__all__ = ["Plan", "cosine", "plan", "usable"]

_DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32})
_TILE = 2048  # elements of an operand per step of a program
_PROGRAMS_PER_UNIT = 4


@functools.cache
def _device() -> ModuleType | None:
    """The kernels, if Triton is there; importing it takes a second, so not before a CUDA tensor arrives."""
    from . import triton_device

    return triton_device if triton_device.AVAILABLE else None


def usable(a: Tensor, b: Tensor) -> bool:
    """Whether the kernels can take these operands: Triton there, CUDA (or its interpreter), dtypes up to fp32."""
    if a.dtype not in _DTYPES or b.dtype not in _DTYPES or a.device != b.device or a.numel() == 0:
        return False
    if not a.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        return False
    return _device() is not None


@dataclass(frozen=True)
class Plan:
    """Tile of a program and number of column splits."""

    tile_rows: int
    tile_columns: int
    splits: int
    span: int


def plan(rows: int, columns: int, units: int) -> Plan:
    """How to cut (rows, columns) for a device with so many multiprocessors."""
    tile_columns = min(max(16, 1 << (columns - 1).bit_length()), _TILE)
    tile_rows = min(_TILE // tile_columns, 1 << max(rows - 1, 0).bit_length())
    programs = math.ceil(rows / tile_rows)
    steps = math.ceil(columns / tile_columns)
    splits = 1
    if programs < units * _PROGRAMS_PER_UNIT and steps > 1:
        splits = min(steps, math.ceil(units * _PROGRAMS_PER_UNIT / programs))
    span = math.ceil(steps / splits) * tile_columns
    return Plan(tile_rows, tile_columns, math.ceil(columns / span), span)


def _units(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def gram(a: Tensor, b: Tensor, cut: Plan | None = None) -> tuple[Tensor, Tensor]:
    """Cosines (R,) in fp32 and Gram numbers (3, R) in fp64 of the rows of two matrices."""
    device = _device()
    assert device is not None
    rows, columns = a.shape
    cut = cut or plan(rows, columns, _units(a.device))
    partial = torch.empty((cut.splits, 3, rows), dtype=torch.float64, device=a.device)
    out = torch.empty(rows, dtype=torch.float32, device=a.device)
    with torch.cuda.device_of(a):  # type: ignore[no-untyped-call]  # Triton starts on the current device
        device.gram_kernel[(math.ceil(rows / cut.tile_rows), cut.splits)](
            a,
            b,
            partial,
            out,
            rows,
            columns,
            *a.stride(),
            *b.stride(),
            cut.span,
            ROWS=cut.tile_rows,
            COLUMNS=cut.tile_columns,
            FINISH=cut.splits == 1,
        )
    if cut.splits == 1:
        return out, partial[0]
    numbers = partial.sum(0)
    ab, aa, bb = numbers.unbind()
    return (ab / (aa * bb).sqrt()).clamp(-1.0, 1.0).to(torch.float32), numbers


def gradients(
    a: Tensor, b: Tensor, numbers: Tensor, upstream: Tensor, needs: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the rows' cosines times ``upstream``, each in the dtype of its operand."""
    device = _device()
    assert device is not None
    rows, columns = a.shape
    cut = plan(rows, columns, 0)
    ga = torch.empty((rows, columns), dtype=a.dtype, device=a.device) if needs[0] else None
    gb = torch.empty((rows, columns), dtype=b.dtype, device=b.device) if needs[1] else None
    with torch.cuda.device_of(a):  # type: ignore[no-untyped-call]
        device.gradient_kernel[(math.ceil(rows / cut.tile_rows), math.ceil(columns / cut.tile_columns))](
            a,
            b,
            numbers,
            upstream.to(torch.float64).contiguous(),
            a if ga is None else ga,
            b if gb is None else gb,
            rows,
            columns,
            *a.stride(),
            *b.stride(),
            ROWS=cut.tile_rows,
            COLUMNS=cut.tile_columns,
            WANT_A=needs[0],
            WANT_B=needs[1],
        )
    return ga, gb


class _Cosine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        out, numbers = gram(a, b)
        ctx.save_for_backward(a, b, numbers)
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b, numbers = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled() or torch._C._functorch.peek_interpreter_stack() is not None:
            return composite.cosine_gradients(a, b, upstream, needs, torch.is_grad_enabled())
        return gradients(a, b, numbers, upstream, needs)


def cosine(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """Cosine along the last dimension of operands of one shape, in ``dtype``."""
    columns = a.shape[-1]
    result: Tensor = _Cosine.apply(a.reshape(-1, columns), b.reshape(-1, columns))  # type: ignore[no-untyped-call]
    return result.reshape(a.shape[:-1]).to(dtype)
