"""Whether the gradients are resolved in their dtype, and whether a narrower dtype would hold them.

A few samples run again in fp64, on copies of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ..cosine import safe_cosine
from .batches import Batch
from .capture import gradients_at
from .derivative import AGREES, error_of_gradient, error_of_rows
from .losses import SummedLoss
from .outputs import Token, pool, samples_first
from .statistics import NAN, medians
from .taps import Plan, run
from .wide import FAILURES, InFp64, device_of, in_fp64

__all__ = ["PRECISE", "LayerHeadroom", "LayerPrecision", "Precision", "measure_precision"]

PRECISE = 8  # samples run again
_NARROW = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class LayerHeadroom:
    """What a dtype would do to the gradients of one layer (of the mean loss of batch 0) and to its activations.

    Attributes:
        dtype: for example ``"float16"``.
        bits: log2 of the median gradient entry over half the smallest number of the dtype; below 2 entries start to
            be lost.
        flushed_share: non-zero gradient entries that become zero.
        overflow_share: hidden entries that become inf.
    """

    dtype: str
    bits: float
    flushed_share: float
    overflow_share: float


@dataclass(frozen=True)
class LayerPrecision:
    """Of one hidden state, over a few samples of batch 0.

    Attributes:
        resolution: median cosine of working-precision against fp64 gradients.
        headroom: for fp16 and bf16.
    """

    resolution: float
    headroom: tuple[LayerHeadroom, ...]


@dataclass(frozen=True)
class Precision:
    """The whole check.

    Attributes:
        layers: one a hidden state; empty if fp64 could not be run.
        samples: how many samples ran again.
        derivative_error: relative difference between ``<g_0, v>`` and the central difference of the loss along v, in
            fp64, at the first hidden state; NaN if not measured. Large: the backward pass of this model is not the
            derivative of its forward pass.
        custom_functions: names of user-defined autograd functions between h_0 and the loss.
        missing: why something was not measured, else "".
        hooks: modules with backward hooks, looked for where the backward pass does not run in fp64.
    """

    layers: tuple[LayerPrecision, ...]
    samples: int
    derivative_error: float
    custom_functions: tuple[str, ...]
    missing: str
    hooks: tuple[str, ...] = ()

    @property
    def false_backward(self) -> bool:
        """The reference is not the gradient."""
        return self.derivative_error > AGREES


def measure_precision(
    model: nn.Module,
    plan: Plan,
    loss: SummedLoss,
    batch: Batch,
    token: Token,
    working: Sequence[Tensor | None],
) -> Precision:
    """Compare working-precision gradients with fp64 ones, fp64 ones with a central difference, both with fp16 and bf16.

    Where only the backward pass fails in fp64 (hooks that multiply by matrices of their own), the gradients of the
    capture are held against a central difference of the fp64 forward pass.

    Args:
        model, plan, loss, token: as for the capture. Inside ``measured``.
        batch: batch 0.
        working: the gradients the capture found for its first samples, (n, d) a layer.
    """
    whole, batch_size = batch, batch.size
    batch = batch.head(PRECISE)
    try:
        wide, x = InFp64(model), in_fp64(batch)
        fp64, hidden, custom, first = _gradients(wide, plan, loss, x, token)
    except FAILURES as error:
        missing = f"the model does not run in fp64: {_first_line(error)}"
        difference = error_of_rows(model, plan, loss, whole, token, working[0] if working else None)
        return Precision((), 0, difference, (), missing, _hooked(model))
    layers = _layers(fp64, hidden, working, batch_size)
    difference, missing = error_of_gradient(
        wide, plan, loss, x, lambda at: first if at is x else _gradients(wide, plan, loss, at, token)[-1]
    )
    return Precision(layers, batch.size, difference, custom, missing)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__


def _hooked(model: nn.Module) -> tuple[str, ...]:
    return tuple(name for name, m in model.named_modules() if m._backward_hooks or m._backward_pre_hooks)


def _layers(
    wide: Sequence[Tensor | None], hidden: Sequence[Tensor], working: Sequence[Tensor | None], batch_size: int
) -> tuple[LayerPrecision, ...]:
    """Of every hidden state; those of one shape together."""
    found = [LayerPrecision(NAN, ())] * len(wide)
    together: dict[tuple[torch.Size, bool], list[int]] = {}
    for index, (g, w) in enumerate(zip(wide, working, strict=True)):
        if g is not None:
            together.setdefault((g.shape, w is not None), []).append(index)
    for (_, known), indices in together.items():
        gradients = torch.stack([g for i in indices if (g := wide[i]) is not None])
        states = torch.stack([hidden[i] for i in indices])
        resolutions = [NAN] * len(indices)
        if known:
            resolutions = _resolutions(torch.stack([w for i in indices if (w := working[i]) is not None]), gradients)
        headrooms = _headrooms(gradients / batch_size, states)
        for index, resolution, headroom in zip(indices, resolutions, headrooms, strict=True):
            found[index] = LayerPrecision(resolution, headroom)
    return tuple(found)


def _resolutions(working: Tensor, wide: Tensor) -> list[float]:
    """Of layers of one shape, (k, n, d)."""
    cosines = safe_cosine(working.to(torch.float64), wide)
    # Zero in both is exact; zero in one of them is a direction lost.
    lost = torch.isnan(cosines) & (wide != 0).any(-1)
    return medians(torch.where(lost, 0.0, cosines), lost | ~torch.isnan(cosines))


def _headrooms(gradients: Tensor, hidden: Tensor) -> list[tuple[LayerHeadroom, ...]]:
    """Of layers of one shape, (k, n, d), each for every narrow dtype."""
    entries = gradients.abs().flatten(1)
    used = torch.isfinite(entries) & (entries > 0)
    middles = medians(entries, used)
    found = []
    for dtype in _NARROW:
        info = torch.finfo(dtype)
        half_smallest = float(info.smallest_normal) * float(info.eps) / 2
        bits = [math.log2(middle / half_smallest) if middle > 0 else NAN for middle in middles]
        flushed = (used & (entries.to(dtype) == 0)).double().mean(1)
        overflow = torch.isinf(hidden.to(dtype)).double().flatten(1).mean(1)
        name = str(dtype).removeprefix("torch.")
        rows = zip(bits, flushed.tolist(), overflow.tolist(), strict=True)
        found.append([LayerHeadroom(name, *row) for row in rows])
    return list(zip(*found, strict=True))


def _gradients(
    wide: InFp64, plan: Plan, loss: SummedLoss, batch: Batch, token: Token
) -> tuple[list[Tensor | None], list[Tensor], tuple[str, ...], Tensor | None]:
    edges: list[GradientEdge | None] = []
    hidden: list[Tensor] = []

    def on_hidden(index: int, h: Tensor) -> None:
        edges.append(get_gradient_edge(h) if h.requires_grad else None)
        hidden.append(pool(samples_first(h.detach(), plan.batch_dims[index]), token).clone())

    device = device_of(batch)
    with torch.autocast(device, enabled=False):
        leaf = batch.mapped(lambda t: t.clone().requires_grad_(True) if t.is_floating_point() else t)
        logits = run(wide, plan, leaf.x, on_hidden)
        if logits.dtype != torch.float64:
            raise TypeError(f"the logits come out in {logits.dtype}: the model casts inside")
        custom = custom_functions(logits, edges[0] if edges else None)
        found, _ = gradients_at(loss, logits, batch, edges)
    rows = [
        None if g is None else pool(samples_first(g, plan.batch_dims[index]), token).detach()
        for index, g in enumerate(found)
    ]
    return rows, hidden, custom, found[0] if found else None


def custom_functions(logits: Tensor, stop: GradientEdge | None) -> tuple[str, ...]:
    """Names of ``torch.autograd.Function`` classes of users in the graph above ``stop``."""
    names: set[str] = set()
    seen: set[Any] = set()
    stack: list[Any] = [logits.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen or (stop is not None and node is stop.node):
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            names.add(type(node).__name__.removesuffix("Backward"))
        stack.extend(following for following, _ in node.next_functions)
    return tuple(sorted(names))
