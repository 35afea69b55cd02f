"""Are the gradients resolved, are they gradients at all, and would a narrower dtype hold them?

A few samples run again in fp64, on copies (``torch.func.functional_call``), never on the parameters themselves.
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
from torch.func import functional_call

from ..cosine import safe_cosine
from ..magnitude import dtype_headroom
from .batches import Batch, tensors_of
from .capture import gradients_at
from .losses import SummedLoss
from .outputs import Token, first_hidden, pool, samples_first
from .statistics import NAN, median
from .taps import Plan, run

__all__ = ["LayerHeadroom", "LayerPrecision", "Precision", "measure_precision"]

_STEP = 1e-5  # of the directional derivative, relative to |h_0|
_AGREES = 1e-2  # a lie of a custom backward is far larger, the truncation error far smaller
_EPS = 2.0**-52


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
    """

    layers: tuple[LayerPrecision, ...]
    samples: int
    derivative_error: float
    custom_functions: tuple[str, ...]
    missing: str

    @property
    def false_backward(self) -> bool:
        """The reference is not the gradient."""
        return self.derivative_error > _AGREES


class _InFp64(nn.Module):
    """A model with fp64 copies of its parameters and buffers; hooks on its modules keep working."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = (model,)  # in a tuple: not a submodule
        named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        copies: dict[int, Tensor] = {}
        self._copies: dict[str, Tensor] = {}
        for name, value in named:
            if id(value) not in copies:
                wide = value.detach().to(torch.float64) if value.is_floating_point() else value.detach()
                wide = wide.clone() if wide is value or wide.data_ptr() == value.data_ptr() else wide
                copies[id(value)] = wide.requires_grad_(value.requires_grad)
            self._copies[name] = copies[id(value)]

    def first_block(self, plan: Plan) -> nn.Module | None:
        """The module at whose entrance h_0 stands (whose result it is, for a model without blocks)."""
        if plan.mode != "contract":
            return plan.blocks[0]
        blocks = getattr(self._model[0], "blocks", None)
        return blocks[0] if isinstance(blocks, nn.ModuleList | nn.Sequential) and len(blocks) else None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the model."""
        return functional_call(self._model[0], self._copies, args, kwargs)


def measure_precision(
    model: nn.Module,
    plan: Plan,
    loss: SummedLoss,
    batch: Batch,
    token: Token,
    working: Sequence[Tensor | None],
    batch_size: int,
) -> Precision:
    """Compare working-precision gradients with fp64 ones, fp64 ones with a central difference, both with fp16 and bf16.

    Args:
        model, plan, loss, token: as for the capture. Inside ``measured``.
        batch: a few samples, already cut.
        working: the gradients the capture found for these samples, (n, d) a layer.
        batch_size: of batch 0, for the gradient of the mean loss that training would see.
    """
    try:
        wide = _InFp64(model)
        x = batch.mapped(lambda t: t.detach().to(torch.float64) if t.is_floating_point() else t.detach())
        if isinstance(batch.y, Tensor) and batch.y.is_floating_point():
            x = Batch(x.x, batch.y.to(torch.float64), batch.size)
        fp64, hidden, custom, first = _gradients(wide, plan, loss, x, token)
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        return Precision((), 0, NAN, (), f"the model does not run in fp64: {reason}")
    layers = [
        LayerPrecision(
            NAN if g is None or w is None else _resolution(w, g),
            () if g is None else tuple(_headroom(g, h, batch_size, t) for t in (torch.float16, torch.bfloat16)),
        )
        for g, h, w in zip(fp64, hidden, working, strict=True)
    ]
    difference, missing = _derivative_error(wide, plan, loss, x, first)
    return Precision(tuple(layers), batch.size, difference, custom, missing)


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
    middle = median(entries[torch.isfinite(entries) & (entries > 0)])
    return LayerHeadroom(
        dtype=str(dtype).removeprefix("torch."),
        bits=math.log2(middle / half_smallest) if middle > 0 else NAN,
        flushed_share=dtype_headroom(scaled, dtype).flushed_share,
        overflow_share=dtype_headroom(hidden, dtype).overflow_share,
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
    wide: _InFp64, plan: Plan, loss: SummedLoss, batch: Batch, gradient: Tensor | None
) -> tuple[float, str]:
    """|central difference along v - <g_0, v>| / |g_0||v|, v half the gradient's direction, half a random one."""
    if gradient is None or not bool(torch.isfinite(gradient).all()) or not bool(gradient.any()):
        return NAN, "no usable gradient at the first hidden state"
    entry = wide.first_block(plan)
    if entry is None:
        return NAN, "no .blocks whose input could be moved"
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(gradient.shape, generator=generator, dtype=torch.float64).to(gradient.device)
    direction = gradient / gradient.norm() + noise / noise.norm()
    nudge = _Nudge(direction, at_output=plan.mode == "outputs of layers")
    values, rounding = [], 0.0
    try:
        for sign in (1, -1):
            with nudge.applied(entry, sign), torch.no_grad(), torch.autocast(hidden_device(batch), enabled=False):
                logits = run(wide, plan, batch.mapped(torch.clone).x, lambda _index, _h: None)
                values.append(float(loss(logits, batch.y, batch.size)))
                rounding = _EPS * batch.size * max(1.0, float(logits.abs().max()))
    except RuntimeError as error:
        return NAN, f"the first hidden state cannot be moved: {str(error).splitlines()[0][:120]}"
    if not nudge.moved:
        return NAN, "the first hidden state could not be found again"
    width = 2 * _STEP * nudge.size
    claimed, scale = float((gradient * direction).sum()), float(gradient.norm() * direction.norm())
    if rounding / width > 0.1 * _AGREES * scale:
        return NAN, "the loss is too flat for a central difference"
    return abs((values[0] - values[1]) / width - claimed) / scale, ""


class _Nudge:
    """Adds a multiple of a direction to the first hidden state, in place: a skip outside the block sees it too.

    Everything it could alias is a copy: inputs are cloned, parameters are fp64 copies.
    """

    def __init__(self, direction: Tensor, *, at_output: bool) -> None:
        self.direction, self.at_output = direction, at_output
        self.size, self.moved = 0.0, False
        self._step = 0.0

    @contextmanager
    def applied(self, block: nn.Module, sign: int) -> Iterator[None]:
        """While active, the next forward of ``block`` is nudged, once."""
        self.moved, self._step = False, sign * _STEP
        if self.at_output:
            handle = block.register_forward_hook(lambda _module, _args, output: self._move(first_hidden(output)))
        else:
            handle = block.register_forward_pre_hook(
                lambda _module, args, kwargs: self._move(first_hidden([args, kwargs])), with_kwargs=True
            )
        try:
            yield
        finally:
            handle.remove()

    def _move(self, h: Tensor | None) -> None:
        if self.moved or h is None or h.shape != self.direction.shape:
            return
        self.size = self.size or float(h.norm()) or 1.0
        h.add_(self.direction, alpha=self._step * self.size)
        self.moved = True
