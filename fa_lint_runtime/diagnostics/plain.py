"""The three functions of the original protocol, on any model and without side effects."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..cosine_matrix import safe_cosine_matrix
from .batches import as_batches, to_batch
from .capture import BatchStatistics, Capture, check_widths
from .discovery import Layers
from .losses import LossFunction, SummedLoss, summed_loss
from .outputs import Token, pool, samples_first
from .restore import measured, unwrapped
from .rows import norms64
from .stability import batch_directions_stability
from .statistics import median
from .taps import make_plan, run

__all__ = [
    "bp_grad_norms",
    "cross_batch_direction_stability",
    "per_sample_cosines",
    "per_sample_gradients",
    "residual_norms",
]


def residual_norms(model: nn.Module, x: Any, *, layers: Layers | None = None, token: Token = "cls") -> list[float]:
    """(a): median over the batch of ``|h_l|_2``, l = 0 … L, in fp64 and without a trace in the model.

    Args:
        model, layers, token: as for :func:`fa_lint_runtime.diagnose`.
        x: one batch of inputs.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
        >>> len(residual_norms(net, torch.randn(8, 4)))  # h_0 is the input: the layers follow each other directly
        3
    """
    inner = unwrapped(model)
    norms: list[Tensor] = []
    with measured(inner, track_parameters=False):
        batch = to_batch((x, None), 0).to(home_of(inner))
        plan, _ = make_plan(inner, layers, batch.head(3))
        with torch.no_grad():
            run(
                inner,
                plan,
                batch.x,
                lambda i, h: norms.append(norms64(pool(samples_first(h.detach(), plan.batch_dims[i]), token))),
            )
    return [median(n.cpu()) for n in norms]


def bp_grad_norms(
    model: nn.Module,
    x: Any,
    y: Any,
    loss_fn: LossFunction | None = None,
    *,
    layers: Layers | None = None,
    token: Token = "cls",
) -> list[float]:
    """(b): median over the batch of ``|dloss/dh_l|_2``, l = 0 … L, of the loss *as it reduces*.

    With a mean over the batch (the default, as in the original) the figures carry 1/B: compare only equal batch sizes,
    or give ``loss_fn`` with ``reduction="sum"``.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
        >>> len(bp_grad_norms(net, torch.randn(8, 4), torch.zeros(8, dtype=torch.long)))
        3
    """
    stats, loss = _captured(model, [(x, y)], loss_fn, layers, token)
    factor = 1.0 / stats[0].size if loss_fn is None or loss.given_reduction == "mean" else 1.0
    return [factor * median(g.cpu()) for g in stats[0].gradient_norms]


def per_sample_gradients(
    model: nn.Module,
    x: Any,
    y: Any,
    loss_fn: LossFunction | None = None,
    *,
    layers: Layers | None = None,
    token: Token = "cls",
) -> list[Tensor | None]:
    """``g_l`` of every sample, (B, d), l = 0 … L, of the *summed* loss; None where no graph leads to ``h_l``.

    Their cosine matrix, sample by sample: ``safe_cosine_matrix(gradients[l])``.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
        >>> gradients = per_sample_gradients(net, torch.randn(8, 4), torch.zeros(8, dtype=torch.long))
        >>> [g.shape for g in gradients if g is not None][-1]
        torch.Size([8, 4])
    """
    stats, _ = _captured(model, [(x, y)], loss_fn, layers, token, rows=True)
    return list(stats[0].first_rows)


def per_sample_cosines(
    model: nn.Module,
    x: Any,
    y: Any,
    layer_index: int,
    loss_fn: LossFunction | None = None,
    *,
    layers: Layers | None = None,
    token: Token = "cls",
) -> Tensor:
    """(B, B) cosines between the gradients of samples at one hidden state; NaN where a gradient is zero.

    Raises:
        ValueError: no such layer, or no gradient there.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
        >>> per_sample_cosines(net, torch.randn(8, 4), torch.zeros(8, dtype=torch.long), 1).shape
        torch.Size([8, 8])
    """
    gradients = per_sample_gradients(model, x, y, loss_fn, layers=layers, token=token)
    if not -len(gradients) <= layer_index < len(gradients):
        raise ValueError(f"layer_index must lie in 0..{len(gradients) - 1}, got {layer_index}")
    chosen = gradients[layer_index]
    if chosen is None:
        raise ValueError(f"no graph leads from the loss to hidden state {layer_index}")
    return safe_cosine_matrix(chosen)


def cross_batch_direction_stability(
    model: nn.Module,
    eval_batches: Iterable[Any],
    layer_index: int | None = None,
    loss_fn: LossFunction | None = None,
    *,
    layers: Layers | None = None,
    token: Token = "cls",
) -> float:
    """(c): mean pairwise cosine of the batch-mean gradient direction at one layer, over disjoint batches.

    It grows with the batch size: 0.5 at 128 samples is an agreement of 0.8 % between samples. Quote ``rho_direction``
    of :func:`fa_lint_runtime.diagnose` instead.

    Args:
        layer_index: ``max(1, (L + 1) // 2)`` by default.

    Raises:
        ValueError: fewer than two batches, or no such layer.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
        >>> batches = [(torch.randn(8, 4), torch.randint(0, 2, (8,))) for _ in range(4)]
        >>> -1 <= cross_batch_direction_stability(net, batches, 1) <= 1
        True
    """
    batches = as_batches(eval_batches)
    if len(batches) < 2:
        raise ValueError("cross-batch stability needs at least two batches, 8 of about 128 are usual")
    stats, _ = _captured(model, batches, loss_fn, layers, token)
    count = len(stats[0].gradients)
    index = min(max(1, count // 2), count - 1) if layer_index is None else layer_index
    if not -count <= index < count:
        raise ValueError(f"layer_index must lie in 0..{count - 1}, got {index}")
    return batch_directions_stability([s.gradients[index].raw.sum(0).cpu() for s in stats])


def home_of(model: nn.Module) -> torch.device:
    first = next(iter(model.parameters()), None)
    return torch.device("cpu") if first is None else first.device


def _captured(
    model: nn.Module,
    batches: Any,
    loss_fn: LossFunction | None,
    layers: Layers | None,
    token: Token,
    *,
    rows: bool = False,
) -> tuple[list[BatchStatistics], SummedLoss]:
    inner = unwrapped(model)
    home = home_of(inner)
    with measured(inner, track_parameters=True):
        probe = to_batch(batches[0], 0).to(home).head(3)
        plan, logits = make_plan(inner, layers, probe)
        loss = summed_loss(loss_fn, logits, probe.y)
        capture = Capture(inner, plan, loss, token=token, groups=1, rows=sys.maxsize if rows else 0)
        stats = [capture(to_batch(b, i).to(home), i) for i, b in enumerate(batches)]
        check_widths(stats, plan.names)
        return stats, loss
