"""Whether the backward pass gives the derivative of the forward pass, by a central difference with its own error.

Layers of feedback alignment, hooks and straight-through estimators put their own credit in the place of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import first_line
from .batches import Batch, tensors_of
from .losses import SummedLoss
from .outputs import Token, place
from .statistics import NAN
from .taps import Plan, run
from .wide import FAILURES, Copies, device_of, in_fp64

__all__ = ["NEGLIGIBLE", "Difference", "error_of_gradient", "error_of_rows"]

NEGLIGIBLE = 1e-3  # relative; a feedback matrix that deviates from the weights by 1 % comes to 5e-3
_BARS = 4.0  # error bars that an honest backward pass may be off: kinks of one sample may cancel in the bar
_TOO_WIDE = 0.1  # a limit that leaves room for a credit: feedback that deviates by 20 % comes to 0.1
_DIRECTIONS = 3  # at the roots
_FINER = 1e-3  # of a step in fp64: rounding still costs 1e-8


@dataclass(frozen=True)
class Difference:
    """Of the backward pass and a central difference, relative to the gradient.

    Attributes:
        error: NaN if not measured.
        bar: how far the central difference itself may be off: by rounding, curvature or kinks.
        missing: why something was not measured, else "".
        hopeless: there is no gradient to compare with, anywhere.
    """

    error: float
    bar: float = 0.0
    missing: str = ""
    hopeless: bool = False

    @property
    def agrees(self) -> bool:
        """The backward pass is the derivative."""
        return self.error <= self.limit <= _TOO_WIDE

    @property
    def differs(self) -> bool:
        """The backward pass is not the derivative."""
        return self.error > self.limit

    @property
    def limit(self) -> float:
        """The most that an honest backward pass comes to."""
        return max(NEGLIGIBLE, _BARS * self.bar)


def error_of_gradient(
    copies: Copies, plan: Plan, loss: SummedLoss, batch: Batch, gradient: Callable[[Batch], Tensor | None]
) -> Difference:
    """The relative error of gradients at h_0.

    Args:
        copies, plan, loss: as for the capture.
        batch: a few samples, in the dtype of the copies.
        gradient: at h_0, as the backward pass has it.
    """
    own = gradient(batch)
    found = _at_first_hidden(copies, plan, loss, batch, own)
    if found.agrees or found.hopeless:
        return found
    if copies.step < NEGLIGIBLE and found.bar > NEGLIGIBLE / _BARS:
        # Many kinks within one step: a network that stretches small changes a thousandfold.
        copies.step *= _FINER
        finer = _at_first_hidden(copies, plan, loss, batch, own)
        if finer.agrees:
            return finer
    # Perhaps a kink: where ReLU or max pooling meet exact ties (a constant background), autograd takes one side and a
    # central difference the middle.
    moved = _off_ties(batch)
    again = _at_first_hidden(copies, plan, loss, moved, gradient(moved))
    if again.agrees:
        return again
    # Or h_0 was read before the block that shows it to us: at the roots of the graph.
    return _second_opinion(found, _at_roots(copies, plan, loss, moved))


def error_of_rows(
    model: nn.Module, plan: Plan, loss: SummedLoss, whole: Batch, token: Token, rows: Tensor | None
) -> Difference:
    """The same of gradients whose backward pass does not run in fp64; NaN where the forward pass does not, either.

    Args:
        model, plan, loss, token: as for the capture.
        whole: batch 0.
        rows: (n, d) gradients of its first n samples at h_0, pooled.
    """
    if rows is None:
        return Difference(NAN)
    try:
        copies = Copies(model)
        found = _at_first_hidden(copies, plan, loss, in_fp64(whole.head(len(rows))), rows, token)
        if not found.agrees:
            # A backward hook may want the whole batch.
            moved = _off_ties(whole)
            leaf = moved.mapped(lambda t: t.detach().clone().requires_grad_(True) if t.is_floating_point() else t)
            roots = [t for t in tensors_of(leaf.x) if t.is_floating_point()]
            value = loss(run(model, plan, leaf.x, lambda _index, _h: None), whole.y, whole.size)
            gradients = torch.autograd.grad(value, roots, allow_unused=True)
            found = _second_opinion(found, _at_roots(copies, plan, loss, in_fp64(moved), gradients))
        return found
    except FAILURES:
        return Difference(NAN)


def _second_opinion(found: Difference, at_roots: Difference) -> Difference:
    """What is reported: a clear one acquits, none leaves it open.

    Clearer than the first: it sums over samples, where credit that leans towards the gradient comes close to it.
    """
    clear = at_roots.agrees and at_roots.error <= max(NEGLIGIBLE, at_roots.bar)
    return at_roots if clear or math.isnan(at_roots.error) else found


def _off_ties(batch: Batch) -> Batch:
    """Inputs moved by a thousandth of their size: ReLU and max pooling over a constant background meet no tie there."""
    generator = torch.Generator().manual_seed(0)

    def moved(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64, device="cpu").to(x.device, x.dtype)
        return x + 1e-3 * x.detach().double().square().mean().sqrt().to(x.dtype) * noise

    return batch.mapped(moved)


def _at_first_hidden(
    copies: Copies, plan: Plan, loss: SummedLoss, batch: Batch, gradient: Tensor | None, pooled: Token | None = None
) -> Difference:
    """|central difference along v - <g_0, v>| / |g_0||v| over samples, v half the gradient's direction, half random.

    With ``pooled``, the gradient is (n, d) of what ``pool`` makes of h_0 with that token, and so is v.
    """
    if gradient is None or not bool(torch.isfinite(gradient).all()) or not bool(gradient.any()):
        return Difference(NAN, missing="no usable gradient at the first hidden state", hopeless=True)
    entry = copies.entry(plan)
    if entry is None:
        return Difference(NAN, missing="no .blocks whose input could be moved")
    gradient = gradient.to(torch.float64)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(gradient.shape, generator=generator, dtype=torch.float64, device="cpu").to(gradient.device)
    direction = gradient / gradient.norm() + noise / noise.norm()
    dim = entry.batch_dims[0]
    sizes: list[float] = []
    rounding: list[float] = []

    def losses(step: float) -> Tensor:
        def move(index: int, h: Tensor) -> None:
            # In place, so that a skip outside the block sees it too; inputs and parameters are copies.
            if index == 0:
                sizes.append(float(h.norm()) or 1.0)
                h.add_(direction if pooled is None else place(direction, h, dim, pooled), alpha=step * sizes[0])

        with torch.no_grad(), torch.autocast(device_of(batch), enabled=False), copies.same_noise():
            fresh = batch.mapped(torch.clone)
            logits = run(copies, entry, fresh.x, move)
            rounding.append(_rounding(logits))
            return _losses(loss, logits, batch)

    try:
        up, down = losses(copies.step), losses(-copies.step)
        if not sizes:
            return Difference(NAN, missing="the first hidden state could not be found again")
        width = copies.step * sizes[0]
        gradient, direction = gradient.to(up.device), direction.to(up.device)
        measured = (up - down) / (2 * width)
        if len(measured) == batch.size:
            own, moved = (t.movedim(dim if pooled is None else 0, 0).flatten(1) for t in (gradient, direction))
        else:
            own, moved = gradient.flatten().unsqueeze(0), direction.flatten().unsqueeze(0)
        claimed, scale = (own * moved).sum(1), (own.norm(dim=1) * moved.norm(dim=1)).norm()
        error = float((measured - claimed).norm() / scale)
        if error <= NEGLIGIBLE and copies.step < NEGLIGIBLE:
            return Difference(error)
        half = (losses(copies.step / 2) - losses(-copies.step / 2)) / width
        bar = _bar(measured, half, (up - 2 * losses(0.0) + down) / width, rounding[0] / width)
        return Difference(error, float(bar / scale))
    except RuntimeError as failure:
        return Difference(NAN, missing=f"the first hidden state cannot be moved: {first_line(failure)}")


def _rounding(logits: Tensor) -> float:
    """Of a loss that adds a few of these logits."""
    unit = torch.finfo(logits.dtype).eps
    return float(unit * max(1.0, float(logits.abs().max())))


def _bar(measured: Tensor, half: Tensor, bend: Tensor, rounding: float) -> float:
    """How far a central difference may be off.

    Args:
        measured, half: slopes found with the whole and with half of the step: curvature, rounding.
        bend: slope upwards less slope downwards: at a kink, autograd takes one of them.
        rounding: of one sample.
    """
    return max(float((measured - half).norm()), float(bend.norm()) / 2, rounding * math.sqrt(len(measured)))


def _losses(loss: SummedLoss, logits: Tensor, batch: Batch) -> Tensor:
    """Of every sample, (n,), where they add up to the loss of all; else that, (1,). fp64.

    A credit can have the length that makes it agree with the gradient in the sum over samples, hardly in each of them.
    """
    logits = logits.to(torch.float64)
    whole = loss(logits, batch.y, batch.size).reshape(1)
    if not isinstance(batch.y, Tensor) or not len(batch.y) == len(logits) == batch.size:
        return whole
    try:
        each = torch.stack([loss(logits[i : i + 1], batch.y[i : i + 1], 1) for i in range(batch.size)]).flatten()
    except FAILURES:
        return whole
    return each if torch.allclose(each.sum(), whole, rtol=1e-9, atol=0.0) else whole


def _at_roots(
    copies: Copies, plan: Plan, loss: SummedLoss, batch: Batch, found: Sequence[Tensor | None] | None = None
) -> Difference:
    """The same along a direction of the inputs, or of the parameters where inputs are integers.

    ``found``: gradients at the floating-point inputs, if they are known.
    """
    leaf = batch.mapped(lambda t: t.clone().requires_grad_(True) if t.is_floating_point() else t)
    roots = [t for t in tensors_of(leaf.x) if t.is_floating_point()] or ([] if found else copies.parameters_read())
    if not roots:
        return Difference(NAN, missing="the first hidden state is read before its block, and nothing can be moved")

    rounding: list[float] = []

    def value() -> Tensor:
        with torch.autocast(device_of(batch), enabled=False), copies.same_noise():
            logits = run(copies, plan, leaf.x, lambda _index, _h: None)
            rounding.append(batch.size * _rounding(logits.detach()))
            return loss(logits.to(torch.float64), batch.y, batch.size)

    if found is None:
        found = torch.autograd.grad(value(), roots, allow_unused=True)
    gradients = [torch.zeros_like(r) if g is None else g.to(r.dtype) for r, g in zip(roots, found, strict=True)]
    generator = torch.Generator().manual_seed(0)
    along = [_along(value, roots, gradients, copies.step, generator, rounding) for _ in range(_DIRECTIONS)]
    return max(along, key=lambda difference: math.inf if math.isnan(difference.error) else difference.error)


def _along(
    value: Callable[[], Tensor],
    roots: Sequence[Tensor],
    gradients: Sequence[Tensor],
    relative_step: float,
    generator: torch.Generator,
    rounding: Sequence[float],
) -> Difference:
    """One direction at the roots, half that of the gradient, half random."""
    directions = [
        (
            torch.randn(r.shape, generator=generator, dtype=torch.float64, device="cpu").to(r.device) / r.numel() ** 0.5
            + g / (g.norm() + (g.norm() == 0))
        ).to(r.dtype)
        for r, g in zip(roots, gradients, strict=True)
    ]

    step = relative_step * max(float(r.detach().norm()) for r in roots)
    values = []
    with torch.no_grad():
        for move in (1, -2, 1.5, -1, 0.5):  # up, down, half up, half down, and back
            for root, direction in zip(roots, directions, strict=True):
                root.add_(direction, alpha=move * step)
            values.append(value().reshape(1))
    up, down, half_up, half_down, middle = values
    slope = (up - down) / (2 * step)
    measured = float(slope)
    claimed = sum(float((g * d).double().sum()) for g, d in zip(gradients, directions, strict=True))
    lengths = sum(float(g.double().norm() * d.double().norm()) for g, d in zip(gradients, directions, strict=True))
    scale = max(abs(measured), lengths)
    if not scale > 0 or math.isnan(scale):
        return Difference(NAN, missing="the loss does not move with the inputs")
    bar = _bar(slope, (half_up - half_down) / step, (up - 2 * middle + down) / step, rounding[-1] / step)
    return Difference(abs(measured - claimed) / scale, bar / scale)
