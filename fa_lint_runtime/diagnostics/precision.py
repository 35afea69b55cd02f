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
from ..errors import first_line
from .batches import Batch
from .capture import gradients_at
from .derivative import NEGLIGIBLE, Difference, error_of_gradient, error_of_rows
from .losses import SummedLoss
from .outputs import Token, pool, samples_first
from .restore import is_sharded, tracked_inputs
from .statistics import NAN, medians
from .taps import Plan, run
from .wide import FAILURES, Copies, device_of, in_fp64

__all__ = ["PRECISE", "LayerHeadroom", "LayerPrecision", "Precision", "measure_precision"]

PRECISE = 8  # samples run again
_RANDOM = "the forward pass is random: two forward passes of one batch differ"
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
        derivative: of ``<g_0, v>`` and the central difference of the loss along v at the first hidden state.
        custom_functions: names of user-defined autograd functions between h_0 and the loss.
        missing: why something was not measured, else "".
        hooks: modules with backward hooks, looked for where the backward pass does not run in fp64.
        random: two forward passes of one batch differ.
    """

    layers: tuple[LayerPrecision, ...]
    samples: int
    derivative: Difference
    custom_functions: tuple[str, ...]
    missing: str
    hooks: tuple[str, ...] = ()
    random: bool = False


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
    capture are held against a central difference of the fp64 forward pass. Where the forward pass fails too, or shards
    its parameters, the central difference is one of working precision, of the logits, whose error bar says what it is
    worth.

    Args:
        model, plan, loss, token: as for the capture. Inside ``measured``.
        batch: batch 0.
        working: the gradients the capture found for its first samples, (n, d) a layer.
    """
    first = batch.head(PRECISE)
    if is_sharded(model):
        difference, custom = _in_working_precision(model, plan, loss, [batch], token)
        return Precision((), 0, difference, custom, "parameters are sharded (FSDP2)")
    copies, reason = Copies(model), ""
    for part in [first, batch]:  # nodes of a graph, or a state of the size of a batch: all samples
        try:
            x = in_fp64(part)
            fp64, hidden, custom, at_first = _gradients(copies, plan, loss, x, token)
            break
        except FAILURES as error:
            reason = reason or first_line(error)
    else:
        return _without_fp64(model, plan, loss, batch, token, working, reason)
    fp64 = [None if g is None else g[:PRECISE] for g in fp64]
    layers = _layers(fp64, [h[:PRECISE] for h in hidden], working, batch.size)
    difference = error_of_gradient(
        copies, plan, loss, x, lambda at: at_first if at is x else _gradients(copies, plan, loss, at, token)[-1]
    )
    if not (difference.agrees or difference.differs):  # a loss too flat for differences: the logits instead
        difference, _ = _of_logits(copies, plan, loss, x, token)
    doubtful = not difference.agrees or any(layer.resolution < 1 - NEGLIGIBLE for layer in layers)
    if doubtful and _is_random(model, plan, part):
        layers = tuple(LayerPrecision(NAN, layer.headroom) for layer in layers)
        return Precision(layers, first.size, difference, custom, _RANDOM, random=True)
    return Precision(layers, first.size, difference, custom, difference.missing)


def _without_fp64(
    model: nn.Module,
    plan: Plan,
    loss: SummedLoss,
    batch: Batch,
    token: Token,
    working: Sequence[Tensor | None],
    reason: str,
) -> Precision:
    """What is left where the model does not run in fp64."""
    missing = f"the model does not run in fp64: {reason}"
    custom: tuple[str, ...] = ()
    difference = error_of_rows(model, plan, loss, batch, token, working[0] if working else None)
    if not (difference.agrees or difference.differs):
        parts = [batch.head(PRECISE), batch]
        difference, custom = _in_working_precision(model, plan, loss, parts, token)
    if not difference.agrees and _is_random(model, plan, batch):
        return Precision((), 0, difference, custom, _RANDOM, random=True)
    return Precision((), 0, difference, custom, missing, _hooked(model))


def _in_working_precision(
    model: nn.Module, plan: Plan, loss: SummedLoss, parts: Sequence[Batch], token: Token
) -> tuple[Difference, tuple[str, ...]]:
    """On the first of some batches that the model takes; a state it keeps may have the size of a whole batch."""
    for part in parts:
        try:
            return _of_logits(Copies(model, None), plan, loss, part, token)
        except FAILURES as error:
            reason = first_line(error)
    return Difference(NAN, missing=reason), ()


class _Projection(SummedLoss):
    """Sum of the logits weighted by what stands in the place of the targets: not flat where a loss is."""

    def __init__(self) -> None:
        super().__init__(None, "sum")

    def __call__(self, logits: Tensor, y: Tensor, size: int) -> Tensor:
        return (logits * y.to(logits.dtype)).sum()

    def error(self, logits: Tensor, y: Tensor) -> Tensor | None:
        return y


def _of_logits(
    copies: Copies, plan: Plan, loss: SummedLoss, batch: Batch, token: Token
) -> tuple[Difference, tuple[str, ...]]:
    """The check on the logits along the unit error of each sample, and the user-defined functions in the graph."""
    with torch.autocast(device_of(batch), enabled=False), copies.same_noise():
        logits = run(copies, plan, tracked_inputs(batch.mapped(torch.clone).x), lambda _index, _h: None)
        _, error = gradients_at(loss, logits, batch, [])
    rows = error.flatten(1).to(torch.float64)
    rows = torch.where(rows.any(1, keepdim=True), rows, 1.0)
    cotangent = (rows / rows.norm(dim=1, keepdim=True)).reshape(error.shape)
    along = Batch(batch.x, cotangent, batch.size)
    names: list[tuple[str, ...]] = []

    def gradient(at: Batch) -> Tensor | None:
        _, _, custom, first = _gradients(copies, plan, _Projection(), at, token, None)
        names.append(custom)
        return first

    difference = error_of_gradient(copies, plan, _Projection(), along, gradient)
    return difference, names[0]


def _is_random(model: nn.Module, plan: Plan, batch: Batch) -> bool:
    """Return True if two forward passes of one batch differ."""
    with torch.no_grad():
        one, other = (run(model, plan, batch.mapped(torch.clone).x, lambda _index, _h: None) for _ in range(2))
    return not torch.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True)


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
    copies: Copies,
    plan: Plan,
    loss: SummedLoss,
    batch: Batch,
    token: Token,
    dtype: torch.dtype | None = torch.float64,
) -> tuple[list[Tensor | None], list[Tensor], tuple[str, ...], Tensor | None]:
    edges: list[GradientEdge | None] = []
    hidden: list[Tensor] = []

    def on_hidden(index: int, h: Tensor) -> None:
        edges.append(get_gradient_edge(h) if h.requires_grad else None)
        hidden.append(pool(samples_first(h.detach(), plan.batch_dims[index]), token).clone())

    device = device_of(batch)
    with torch.autocast(device, enabled=False), copies.same_noise():
        leaf = batch.mapped(lambda t: t.clone().requires_grad_(True) if t.is_floating_point() else t)
        logits = run(copies, plan, leaf.x, on_hidden)
        if dtype is not None and logits.dtype != dtype:
            raise TypeError(f"the logits come out in {logits.dtype}: the model casts inside")
        custom = custom_functions(logits, edges[0] if edges else None)
        found, _ = gradients_at(loss, logits, batch, edges)
    rows = [
        None if g is None else pool(samples_first(g, plan.batch_dims[index]), token).detach().to(logits.device)
        for index, g in enumerate(found)
    ]
    return rows, [h.to(logits.device) for h in hidden], custom, found[0] if found else None


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
        foreign = isinstance(node, torch.autograd.function.BackwardCFunction)
        if foreign and not node._forward_cls.__module__.startswith("torch.distributed."):
            names.add(type(node).__name__.removesuffix("Backward"))
        stack.extend(following for following, _ in node.next_functions)
    return tuple(sorted(names))
