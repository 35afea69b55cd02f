"""Are the gradients resolved, are they gradients at all, and would a narrower dtype hold them?

A few samples run again in fp64, on copies of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ..cosine import safe_cosine
from .batches import Batch, tensors_of
from .capture import gradients_at
from .losses import SummedLoss
from .outputs import Token, place, pool, samples_first
from .restore import without_recomputation
from .statistics import NAN, median
from .taps import Plan, run

__all__ = ["AGREES", "PRECISE", "LayerHeadroom", "LayerPrecision", "Precision", "measure_precision"]

_STEP = 1e-5  # of the directional derivative, relative to |h_0|
# A larger difference is looked at again. It may be a kink: where ReLU or max pooling meet exact ties (a constant
# background), autograd takes one side and a central difference the middle; 0.47 was measured for an honest CNN, and
# 0.01 away from the ties. Backward passes with other matrices: 0.2 to 0.7.
AGREES = 0.1
# A second opinion has to be better than that: credit that leans towards the gradient (cosine 0.5 to 0.9) comes to 0.07.
_ACQUITS = 0.03
_EPS = 2.0**-52
PRECISE = 8  # samples run again
_FAILURES = (RuntimeError, TypeError, ValueError, NotImplementedError)


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


class _InFp64(nn.Module):
    """A model with fp64 copies of its parameters and buffers in place of them for the length of a forward.

    Not ``torch.func.functional_call``: with a module registered under two names it leaves copies behind (torch 2.13).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = (model,)  # in a tuple: not a submodule
        self._copies: dict[int, Tensor] = {}
        for value in [*model.parameters(), *model.buffers()]:
            wide = value.detach().to(torch.float64) if value.is_floating_point() else value.detach()
            wide = wide.clone() if wide.dtype == value.dtype else wide
            self._copies[id(value)] = wide.requires_grad_(value.requires_grad)

    def embeddings(self) -> list[Tensor]:
        """fp64 copies of the tables of ``nn.Embedding`` modules that require a gradient."""
        tables = [m.weight for m in self._model[0].modules() if isinstance(m, nn.Embedding)]
        return [self._copies[id(t)] for t in dict.fromkeys(tables) if t.requires_grad]

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        kept = []
        for module in self._model[0].modules():
            for table in (module._parameters, module._buffers):
                kept.append((table, dict(table)))
                for name, value in table.items():
                    if value is not None:
                        table[name] = self._copies.get(id(value), value)  # type: ignore[assignment]
        try:
            yield
        finally:
            for table, values in kept:
                table.update(values)  # type: ignore[arg-type]

    def entry(self, plan: Plan) -> Plan | None:
        """A plan whose first hidden state exists before anything depends on it, so that it can be moved."""
        if plan.mode != "contract":
            return plan
        blocks = getattr(self._model[0], "blocks", None)
        if not isinstance(blocks, nn.ModuleList | nn.Sequential) or not len(blocks):
            return None
        return Plan(
            "inputs of blocks", plan.source, plan.names[:1], (None,), (blocks[0],), 1, None, plan.batch_dims[:1]
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the model."""
        with without_recomputation(), self._swapped():
            return self._model[0](*args, **kwargs)


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
        wide = _InFp64(model)
        x = _in_fp64(batch)
        fp64, hidden, custom, first = _gradients(wide, plan, loss, x, token)
    except _FAILURES as error:
        missing = f"the model does not run in fp64: {_first_line(error)}"
        difference = _error_of_working(model, plan, loss, whole, token, working)
        return Precision((), 0, difference, (), missing, _hooked(model))
    layers = [
        LayerPrecision(
            NAN if g is None or w is None else _resolution(w, g),
            () if g is None else tuple(_headroom(g, h, batch_size, t) for t in (torch.float16, torch.bfloat16)),
        )
        for g, h, w in zip(fp64, hidden, working, strict=True)
    ]
    difference, missing = _derivative_error(wide, plan, loss, x, first)
    if difference > AGREES:
        # Perhaps a kink: ask again away from ties. Or h_0 was read before the block that shows it to us: at the roots.
        moved = _off_ties(x)
        again, _ = _derivative_error(wide, plan, loss, moved, _gradients(wide, plan, loss, moved, token)[-1])
        at_roots, missing = _derivative_error_at_roots(wide, plan, loss, moved)
        difference = _settled(difference, again, at_roots)
    return Precision(tuple(layers), batch.size, difference, custom, missing)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__


def _settled(difference: float, *others: float) -> float:
    """What is reported after second opinions: a clear one acquits, none at all leaves it open."""
    known = [other for other in others if math.isfinite(other)]
    if not known:
        return NAN
    return min(known) if min(known) <= _ACQUITS else difference


def _off_ties(batch: Batch) -> Batch:
    """Inputs moved by a thousandth of their size: ReLU and max pooling over a constant background meet no tie there."""
    generator = torch.Generator().manual_seed(0)

    def moved(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device, x.dtype)
        return x + 1e-3 * x.detach().double().square().mean().sqrt().to(x.dtype) * noise

    return batch.mapped(moved)


def _hooked(model: nn.Module) -> tuple[str, ...]:
    return tuple(name for name, m in model.named_modules() if m._backward_hooks or m._backward_pre_hooks)


def _in_fp64(batch: Batch) -> Batch:
    wide = batch.mapped(lambda t: t.detach().to(torch.float64) if t.is_floating_point() else t.detach())
    if isinstance(batch.y, Tensor) and batch.y.is_floating_point():
        return Batch(wide.x, batch.y.to(torch.float64), batch.size)
    return wide


def _error_of_working(
    model: nn.Module, plan: Plan, loss: SummedLoss, whole: Batch, token: Token, working: Sequence[Tensor | None]
) -> float:
    """Working-precision gradients against central differences of the fp64 forward pass; NaN where that fails, too."""
    rows = working[0] if working else None
    if rows is None:
        return NAN
    try:
        wide = _InFp64(model)
        difference, _ = _derivative_error(wide, plan, loss, _in_fp64(whole.head(PRECISE)), rows, token)
        if difference > AGREES:
            # A backward hook may want the whole batch.
            moved = _off_ties(whole)
            leaf = moved.mapped(lambda t: t.detach().clone().requires_grad_(True) if t.is_floating_point() else t)
            roots = [t for t in tensors_of(leaf.x) if t.is_floating_point()]
            value = loss(run(model, plan, leaf.x, lambda _index, _h: None), whole.y, whole.size)
            found = torch.autograd.grad(value, roots, allow_unused=True)
            at_roots, _ = _derivative_error_at_roots(wide, plan, loss, _in_fp64(moved), found)
            difference = _settled(difference, at_roots)
        return difference
    except _FAILURES:
        return NAN


def _resolution(working: Tensor, wide: Tensor) -> float:
    cosines = safe_cosine(working.to(torch.float64), wide)
    # Zero in both is exact; zero in one of them is a direction lost.
    lost = torch.isnan(cosines) & (wide != 0).any(1)
    return median(torch.where(lost, 0.0, cosines)[lost | ~torch.isnan(cosines)])


def _headroom(gradient: Tensor, hidden: Tensor, batch_size: int, dtype: torch.dtype) -> LayerHeadroom:
    scaled = gradient / batch_size
    info = torch.finfo(dtype)
    half_smallest = float(info.smallest_normal) * float(info.eps) / 2
    entries = scaled.abs().flatten()
    used = entries[torch.isfinite(entries) & (entries > 0)]
    middle = median(used)
    return LayerHeadroom(
        dtype=str(dtype).removeprefix("torch."),
        bits=math.log2(middle / half_smallest) if middle > 0 else NAN,
        flushed_share=float((used.to(dtype) == 0).sum()) / max(1, entries.numel()),
        overflow_share=float(torch.isinf(hidden.to(dtype)).double().mean()),
    )


def _gradients(
    wide: _InFp64, plan: Plan, loss: SummedLoss, batch: Batch, token: Token
) -> tuple[list[Tensor | None], list[Tensor], tuple[str, ...], Tensor | None]:
    edges: list[GradientEdge | None] = []
    hidden: list[Tensor] = []

    def on_hidden(index: int, h: Tensor) -> None:
        edges.append(get_gradient_edge(h) if h.requires_grad else None)
        hidden.append(pool(samples_first(h.detach(), plan.batch_dims[index]), token).clone())

    device = hidden_device(batch)
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


def hidden_device(batch: Batch) -> str:
    """Device type of the inputs."""
    return next((t.device.type for t in tensors_of(batch.x)), "cpu")


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


def _derivative_error(
    wide: _InFp64, plan: Plan, loss: SummedLoss, batch: Batch, gradient: Tensor | None, pooled: Token | None = None
) -> tuple[float, str]:
    """|central difference along v - <g_0, v>| / |g_0||v| over samples, v half the gradient's direction, half random.

    With ``pooled``, the gradient is (n, d) of what ``pool`` makes of h_0 with that token, and so is v.
    """
    if gradient is None or not bool(torch.isfinite(gradient).all()) or not bool(gradient.any()):
        return NAN, "no usable gradient at the first hidden state"
    entry = wide.entry(plan)
    if entry is None:
        return NAN, "no .blocks whose input could be moved"
    gradient = gradient.to(torch.float64)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(gradient.shape, generator=generator, dtype=torch.float64).to(gradient.device)
    direction = gradient / gradient.norm() + noise / noise.norm()
    dim = entry.batch_dims[0]
    both = torch.cat([direction, -direction], dim if pooled is None else 0)  # every sample twice: up, down
    sizes: list[float] = []

    def move(index: int, h: Tensor) -> None:
        # In place, so that a skip outside the block sees it too; inputs and parameters are copies.
        if index == 0 and h.shape[dim] == both.shape[dim if pooled is None else 0]:
            step = both if pooled is None else place(both, h, dim, pooled)
            sizes.append(float(h.narrow(dim, 0, batch.size).norm()) or 1.0)
            h.add_(step, alpha=_STEP * sizes[0])

    try:
        with torch.no_grad(), torch.autocast(hidden_device(batch), enabled=False):
            logits = run(wide, entry, batch.doubled().x, move)
            halves = logits[: batch.size], logits[batch.size :]
            up, down = (_losses(loss, half, batch) for half in halves)
    except RuntimeError as error:
        return NAN, f"the first hidden state cannot be moved: {str(error).splitlines()[0][:120]}"
    if not sizes:
        return NAN, "the first hidden state could not be found again"
    rounding = _EPS * batch.size * max(1.0, float(logits.abs().max()))
    width = 2 * _STEP * sizes[0]
    if rounding / width > 1e-3 * float(gradient.norm() * direction.norm()):
        return NAN, "the loss is too flat for a central difference"
    if len(up) == len(down) == batch.size:
        own, moved = (t.movedim(dim if pooled is None else 0, 0).flatten(1) for t in (gradient, direction))
    else:
        up, down, own, moved = up.sum(), down.sum(), gradient.flatten().unsqueeze(0), direction.flatten().unsqueeze(0)
    claimed, scale = (own * moved).sum(1), own.norm(dim=1) * moved.norm(dim=1)
    return float(((up - down) / width - claimed).norm() / scale.norm()), ""


def _losses(loss: SummedLoss, logits: Tensor, batch: Batch) -> Tensor:
    """Of every sample, (n,), where they add up to the loss of all; else that, (1,).

    A credit can have the length that makes it agree with the gradient in the sum over samples, hardly in each of them.
    """
    whole = loss(logits, batch.y, batch.size).reshape(1)
    if not isinstance(batch.y, Tensor) or not len(batch.y) == len(logits) == batch.size:
        return whole
    try:
        each = torch.stack([loss(logits[i : i + 1], batch.y[i : i + 1], 1) for i in range(batch.size)]).flatten()
    except _FAILURES:
        return whole
    return each if torch.allclose(each.sum(), whole, rtol=1e-9, atol=0.0) else whole


def _derivative_error_at_roots(
    wide: _InFp64, plan: Plan, loss: SummedLoss, batch: Batch, found: Sequence[Tensor | None] | None = None
) -> tuple[float, str]:
    """The same along a direction of the inputs, or of the embeddings where inputs are integers.

    ``found``: gradients at the floating-point inputs, if they are known.
    """
    leaf = batch.mapped(lambda t: t.clone().requires_grad_(True) if t.is_floating_point() else t)
    roots = [t for t in tensors_of(leaf.x) if t.is_floating_point()] or ([] if found else wide.embeddings())
    if not roots:
        return NAN, "the first hidden state is read before its block, and there is nothing before it to move"

    def value() -> Tensor:
        with torch.autocast(hidden_device(batch), enabled=False):
            return loss(run(wide, plan, leaf.x, lambda _index, _h: None), batch.y, batch.size)

    if found is None:
        found = torch.autograd.grad(value(), roots, allow_unused=True)
    gradients = [torch.zeros_like(r) if g is None else g.to(r.dtype) for r, g in zip(roots, found, strict=True)]
    generator = torch.Generator().manual_seed(0)
    directions = [
        torch.randn(r.shape, generator=generator, dtype=torch.float64).to(r.device) / r.numel() ** 0.5
        + g / (g.norm() + (g.norm() == 0))
        for r, g in zip(roots, gradients, strict=True)
    ]
    step = _STEP * max(float(r.detach().norm()) for r in roots)
    values = []
    with torch.no_grad():
        for sign in (1, -2, 1):  # up, down, and back
            for root, direction in zip(roots, directions, strict=True):
                root.add_(direction, alpha=sign * step)
            values.append(float(value()))
    measured = (values[0] - values[1]) / (2 * step)
    claimed = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    scale = max(abs(measured), sum(float(g.norm() * d.norm()) for g, d in zip(gradients, directions, strict=True)))
    return (abs(measured - claimed) / scale if scale > 0 else 0.0), ""
