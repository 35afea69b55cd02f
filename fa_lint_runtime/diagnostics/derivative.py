"""Whether the backward pass gives the derivative of the forward pass, by a central difference in fp64.

Layers of feedback alignment, hooks and straight-through estimators put their own credit in the place of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .batches import Batch, tensors_of
from .losses import SummedLoss
from .outputs import Token, place
from .statistics import NAN
from .taps import Plan, run
from .wide import FAILURES, InFp64, device_of, in_fp64

__all__ = ["AGREES", "error_of_gradient", "error_of_rows"]

_STEP = 1e-5  # of the directional derivative, relative to |h_0|
# A larger difference is looked at again. It may be a kink: where ReLU or max pooling meet exact ties (a constant
# background), autograd takes one side and a central difference the middle; 0.47 was measured for an honest CNN, and
# 0.01 away from the ties. Backward passes with other matrices: 0.2 to 0.7.
AGREES = 0.1
# A second opinion has to be better than that: credit that leans towards the gradient (cosine 0.5 to 0.9) comes to 0.07.
_ACQUITS = 0.03
_EPS = 2.0**-52


def error_of_gradient(
    wide: InFp64, plan: Plan, loss: SummedLoss, batch: Batch, gradient: Callable[[Batch], Tensor | None]
) -> tuple[float, str]:
    """The relative error of gradients at h_0 that run in fp64, and why there is none.

    Args:
        wide, plan, loss: as for the capture.
        batch: a few samples, in fp64.
        gradient: at h_0, as the backward pass has it.
    """
    difference, missing = _at_first_hidden(wide, plan, loss, batch, gradient(batch))
    if difference <= AGREES or math.isnan(difference):
        return difference, missing
    # Perhaps a kink: ask again away from ties.
    moved = _off_ties(batch)
    again, _ = _at_first_hidden(wide, plan, loss, moved, gradient(moved))
    if again <= _ACQUITS:
        return again, ""
    # Or h_0 was read before the block that shows it to us: at the roots of the graph.
    at_roots, missing = _at_roots(wide, plan, loss, moved)
    return _settled(difference, at_roots), missing


def error_of_rows(
    model: nn.Module, plan: Plan, loss: SummedLoss, whole: Batch, token: Token, rows: Tensor | None
) -> float:
    """The same of gradients whose backward pass does not run in fp64; NaN where the forward pass does not, either.

    Args:
        model, plan, loss, token: as for the capture.
        whole: batch 0.
        rows: (n, d) gradients of its first n samples at h_0, pooled.
    """
    if rows is None:
        return NAN
    try:
        wide = InFp64(model)
        difference, _ = _at_first_hidden(wide, plan, loss, in_fp64(whole.head(len(rows))), rows, token)
        if difference > AGREES:
            # A backward hook may want the whole batch.
            moved = _off_ties(whole)
            leaf = moved.mapped(lambda t: t.detach().clone().requires_grad_(True) if t.is_floating_point() else t)
            roots = [t for t in tensors_of(leaf.x) if t.is_floating_point()]
            value = loss(run(model, plan, leaf.x, lambda _index, _h: None), whole.y, whole.size)
            found = torch.autograd.grad(value, roots, allow_unused=True)
            at_roots, _ = _at_roots(wide, plan, loss, in_fp64(moved), found)
            difference = _settled(difference, at_roots)
        return difference
    except FAILURES:
        return NAN


def _settled(difference: float, at_roots: float) -> float:
    """What is reported after a second opinion: a clear one acquits, none leaves it open."""
    if math.isnan(at_roots):
        return NAN
    return at_roots if at_roots <= _ACQUITS else difference


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
    wide: InFp64, plan: Plan, loss: SummedLoss, batch: Batch, gradient: Tensor | None, pooled: Token | None = None
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
    noise = torch.randn(gradient.shape, generator=generator, dtype=torch.float64, device="cpu").to(gradient.device)
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
        with torch.no_grad(), torch.autocast(device_of(batch), enabled=False):
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
    except FAILURES:
        return whole
    return each if torch.allclose(each.sum(), whole, rtol=1e-9, atol=0.0) else whole


def _at_roots(
    wide: InFp64, plan: Plan, loss: SummedLoss, batch: Batch, found: Sequence[Tensor | None] | None = None
) -> tuple[float, str]:
    """The same along a direction of the inputs, or of the embeddings where inputs are integers.

    ``found``: gradients at the floating-point inputs, if they are known.
    """
    leaf = batch.mapped(lambda t: t.clone().requires_grad_(True) if t.is_floating_point() else t)
    roots = [t for t in tensors_of(leaf.x) if t.is_floating_point()] or ([] if found else wide.embeddings())
    if not roots:
        return NAN, "the first hidden state is read before its block, and there is nothing before it to move"

    def value() -> Tensor:
        with torch.autocast(device_of(batch), enabled=False):
            return loss(run(wide, plan, leaf.x, lambda _index, _h: None), batch.y, batch.size)

    if found is None:
        found = torch.autograd.grad(value(), roots, allow_unused=True)
    gradients = [torch.zeros_like(r) if g is None else g.to(r.dtype) for r, g in zip(roots, found, strict=True)]
    generator = torch.Generator().manual_seed(0)
    directions = [
        torch.randn(r.shape, generator=generator, dtype=torch.float64, device="cpu").to(r.device) / r.numel() ** 0.5
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
