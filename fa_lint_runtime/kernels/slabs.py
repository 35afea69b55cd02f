"""Tensors (..., D) cut into slabs of rows, so that a formula in fp64 needs no fp64 copy of the whole.

What is left is a slab (or one row, where that is longer) at a time, forward and backward; a double backward takes the
formula on the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from . import composite

__all__ = ["is_transformed", "matrices", "rowwise"]

Formula = Callable[..., Tensor]

SLAB = 131_072  # elements of an operand that a formula is applied to at a time
_COPIED = 1_048_576  # elements that may be copied (in their own dtype) where no 2-D view exists
_ITEM = 32_768  # elements of an item of the first dimension from which it is worked on by itself rather than copied


def _matrix(x: Tensor) -> Tensor | None:
    """``x`` (..., D) as a matrix (R, D) without a copy, or None."""
    if x.ndim == 2:
        return x
    try:
        return x.view(math.prod(x.shape[:-1]), x.shape[-1])
    except RuntimeError:
        return None


def matrices(operands: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """Operands (..., D) of one shape as matrices; what cannot be viewed as one is cut along its first dimension."""
    viewed = [_matrix(x) for x in operands]
    if all(m is not None for m in viewed):
        return [tuple(m for m in viewed if m is not None)]
    first = operands[0]
    inner = first[0].numel()
    if inner >= _ITEM and first.ndim > 2:
        return [slab for i in range(len(first)) for slab in matrices(tuple(x[i] for x in operands))]
    step = max(1, _COPIED // max(inner, 1))
    columns = first.shape[-1]
    return [tuple(x[i : i + step].reshape(-1, columns) for x in operands) for i in range(0, max(len(first), 1), step)]


def is_transformed(x: Tensor) -> bool:
    functorch = torch._C._functorch
    return (
        functorch.peek_interpreter_stack() is not None or functorch.is_legacy_batchedtensor(x) or type(x) is not Tensor
    )


def _slabs(operands: tuple[Tensor, ...]) -> Iterator[tuple[int, int, tuple[Tensor, ...]]]:
    """(first row, end row, matrices), rows counted through all leading dimensions."""
    start = 0
    for whole in matrices(operands):
        rows, columns = whole[0].shape
        step = max(1, SLAB // max(columns, 1))
        for i in range(0, rows, step):
            some = tuple(x[i : i + step] for x in whole)
            yield start + i, start + i + len(some[0]), some
        start += rows


def _forward(formula: Formula, dtype: torch.dtype, vectors: bool, operands: tuple[Tensor, ...]) -> Tensor:
    shape = operands[0].shape
    rows = math.prod(shape[:-1])
    out = torch.empty((rows, shape[-1]) if vectors else (rows,), dtype=dtype, device="cpu")
    for first, end, some in _slabs(operands):
        out[first:end] = formula(*some)
    return out.view(shape if vectors else shape[:-1])


class _Rowwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, formula: Formula, dtype: torch.dtype, vectors: bool, *operands: Tensor) -> Tensor:
        ctx.formula, ctx.vectors = formula, vectors
        ctx.save_for_backward(*operands)
        return _forward(formula, dtype, vectors, tuple(x.detach() for x in operands))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        operands, needs = ctx.saved_tensors, ctx.needs_input_grad[3:]
        if torch.is_grad_enabled() or is_transformed(upstream):
            whole = composite.gradients(ctx.formula, operands, needs, upstream, torch.is_grad_enabled())
            return None, None, None, *whole
        columns = operands[0].shape[-1]
        pairs = zip(operands, needs, strict=True)
        grads = [torch.empty(x.shape, dtype=x.dtype, device="cpu") if needed else None for x, needed in pairs]
        flat = [None if g is None else g.view(-1, columns) for g in grads]
        weights = upstream.reshape(-1, columns) if ctx.vectors else upstream.reshape(-1)
        for first, end, some in _slabs(tuple(x.detach() for x in operands)):
            parts = composite.gradients(ctx.formula, some, needs, weights[first:end], False)
            for grad, part in zip(flat, parts, strict=True):
                if grad is not None and part is not None:
                    grad[first:end] = part
        return None, None, None, *grads


def rowwise(formula: Formula, dtype: torch.dtype, vectors: bool, *operands: Tensor) -> Tensor:
    """``formula`` of plain CPU operands (..., D) of one shape, slab by slab, rounded to ``dtype``.

    Of matrices (R, D) the formula makes fp64 numbers (R,), or vectors (R, D) where ``vectors``; it is differentiable.
    """
    if torch.is_grad_enabled() and any(x.requires_grad for x in operands):
        result: Tensor = _Rowwise.apply(formula, dtype, vectors, *operands)  # type: ignore[no-untyped-call]
        return result
    return _forward(formula, dtype, vectors, tuple(x.detach() for x in operands))
