"""``autograd.Function`` around the CPU kernels: it keeps the operands and three fp64 numbers a row, no more."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import blocked, compiled, composite, small
from .slabs import is_transformed, matrices
from .workspace import Floats, Rows

__all__ = ["cosine"]


def _path(a: Tensor, b: Tensor, dtype: torch.dtype) -> ModuleType:
    return compiled if compiled.usable(a, b, dtype) else blocked


def _small(a: Tensor, b: Tensor, dtype: torch.dtype, exactly: bool) -> tuple[Tensor, Floats] | None:
    """As ``small.cosine``, of detached operands of any shape."""
    if exactly or not 0 < a.numel() <= small.ELEMENTS:
        return None
    if a.ndim == 2:
        return small.cosine(a, b, dtype)
    columns = a.shape[-1]
    found = small.cosine(a.reshape(-1, columns), b.reshape(-1, columns), dtype)
    return None if found is None else (found[0].view(a.shape[:-1]), found[1])


def _forward(path: ModuleType, a: Tensor, b: Tensor, dtype: torch.dtype, exactly: bool) -> tuple[Tensor, list[Any]]:
    """Cosines along the last dimension of detached operands of one shape, and what each slab leaves for backward."""
    if a.ndim == 2:
        out = a.new_empty(a.shape[0], dtype=dtype)
        return out, [path.cosine(a, b, out, exactly)]
    out = torch.empty(a.shape[:-1], dtype=dtype, device="cpu")
    flat = out.view(-1)
    kept = []
    start = 0
    for x, y in matrices((a, b)):
        end = start + len(x)
        kept.append(path.cosine(x, y, flat[start:end], exactly))
        start = end
    return out, kept


class _Cosine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, dtype: torch.dtype, exactly: bool) -> Tensor:
        ctx.save_for_backward(a, b)
        found = _small(a, b, dtype, exactly)
        if found is not None:
            ctx.path, ctx.kept = blocked, [(found[1][[1, 0, 3]], None)]
            return found[0]
        ctx.path = _path(a, b, dtype)
        out, ctx.kept = _forward(ctx.path, a.detach(), b.detach(), dtype, exactly)
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        a, b = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled() or is_transformed(upstream):
            ga, gb = composite.cosine_gradients(a, b, upstream, needs, torch.is_grad_enabled())
        else:
            ga, gb = _gradients(ctx.path, a.detach(), b.detach(), upstream, ctx.kept, needs)
        return ga, gb, None, None


def _gradients(
    path: ModuleType, a: Tensor, b: Tensor, upstream: Tensor, kept: list[Any], needs: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    pairs = zip((a, b), needs, strict=True)
    grads = [torch.empty(a.shape, dtype=x.dtype, device="cpu") if needed else None for x, needed in pairs]
    flat = [None if g is None else g.view(math.prod(a.shape[:-1]), a.shape[-1]) for g in grads]
    weights = upstream.detach().to(torch.float64).reshape(-1).numpy()
    start = 0
    for (x, y), (numbers, rescued) in zip(matrices((a, b)), kept, strict=True):
        end = start + len(x)
        some = [None if g is None else g[start:end] for g in flat]
        share = weights[start:end]
        if rescued is not None and len(rescued):
            share = share.copy()
            share[rescued] = 0.0
        path.cosine_backward(x, y, numbers, share, (some[0], some[1]))
        if rescued is not None and len(rescued):
            _scatter(x, y, weights[start:end], rescued, some, needs)
        start = end
    return grads[0], grads[1]


def _scatter(
    x: Tensor,
    y: Tensor,
    weights: Floats,
    rows: Rows,
    grads: list[Tensor | None],
    needs: tuple[bool, bool],
) -> None:
    """Rows whose Gram numbers are those of scaled copies take the composite's gradient, which undoes the scaling."""
    index = torch.from_numpy(rows)
    upstream = torch.from_numpy(np.ascontiguousarray(weights[rows]))
    some = composite.cosine_gradients(x[index], y[index], upstream, needs, False)
    for grad, part in zip(grads, some, strict=True):
        if grad is not None and part is not None:
            grad[index] = part


def cosine(a: Tensor, b: Tensor, dtype: torch.dtype, exactly: bool) -> Tensor:
    """Cosine along the last dimension of plain CPU operands of one shape, in ``dtype``."""
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        result: Tensor = _Cosine.apply(a, b, dtype, exactly)  # type: ignore[no-untyped-call]
        return result
    if a.requires_grad or b.requires_grad:
        a, b = a.detach(), b.detach()
    found = _small(a, b, dtype, exactly)
    if found is not None:
        return found[0]
    return _forward(_path(a, b, dtype), a, b, dtype, exactly)[0]
