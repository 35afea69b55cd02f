"""Whether the gradient has one direction for all samples: the original's number, and two without the batch size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .capture import BatchStatistics
from .rows import GroupSums
from .statistics import NAN, Estimate, Floats, jackknife

__all__ = ["ErrorDrift", "LayerDrift", "batch_directions_stability", "drifts", "error_drift"]


@dataclass(frozen=True)
class LayerDrift:
    """Agreement of gradients between samples, one layer.

    Attributes:
        stability: the original (c): mean pairwise cosine of batch-mean directions; grows with the batch size.
        rho_energy: ``|E g|^2 / E|g|^2``: the share of gradient energy in the common mean.
        rho_direction: mean cosine of the gradients of two different samples.
    """

    stability: float
    rho_energy: Estimate
    rho_direction: Estimate


@dataclass(frozen=True)
class ErrorDrift:
    """The same of the output error: what of (c) is there before any hidden layer is.

    Attributes:
        drift: of the error as it is.
        refitted_stability: after new biases of the head, fitted on one half of each batch, measured on the other; NaN
            where the loss is not cross-entropy.
        halves_stability: of the error as it is, on the same halves, for comparison.
        bias_share: share of the error's mean energy that the biases take away.
    """

    drift: LayerDrift
    refitted_stability: float
    halves_stability: float
    bias_share: float


def batch_directions_stability(sums: Sequence[Tensor]) -> float:
    """Mean pairwise cosine of vectors (d,); NaN with fewer than two, or where one has no direction."""
    return _stability(torch.stack(list(sums)).unsqueeze(0))[0]


def _stability(sums: Tensor) -> list[float]:
    """Of every layer of (k, batches, d)."""
    rows = sums.to(torch.float64)
    rows = rows / rows.norm(dim=-1, keepdim=True)
    count = rows.shape[1]
    if count < 2:
        return [NAN] * len(rows)
    gram = rows @ rows.mT
    alone = gram.diagonal(dim1=1, dim2=2).sum(1)
    found: list[float] = ((gram.sum((1, 2)) - alone) / (count * (count - 1))).tolist()
    return found


def drifts(layers: Sequence[Sequence[GroupSums]], alpha: float) -> list[LayerDrift]:
    """Drift of every layer, from its group sums batch by batch. Intervals: delete-one-group jackknife.

    If gradients are independent with mean mu, the original statistic expects ``B rho / (1 + (B - 1) rho)`` with
    ``rho = |mu|^2 / E|g|^2``: 0.5 at B = 128 means rho = 0.0078 (../shared/SCIENCE.md, section 4).
    """
    found: dict[int, LayerDrift] = {}
    widths = [tuple(b.raw.shape for b in batches) for batches in layers]
    for shapes in dict.fromkeys(widths):
        alike = [index for index, own in enumerate(widths) if own == shapes]
        found.update(zip(alike, _drifts([layers[index] for index in alike], alpha), strict=True))
    return [found[index] for index in range(len(layers))]


def _drifts(layers: Sequence[Sequence[GroupSums]], alpha: float) -> list[LayerDrift]:
    """Of layers whose sums have the same shapes."""

    def joined(name: str) -> Tensor:
        return torch.stack([torch.cat([getattr(b, name) for b in batches]) for batches in layers]).to(torch.float64)

    sizes = [len(b.unit) for b in layers[0]]
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    starts = accumulate(sizes, initial=0)
    group = torch.cat([start + b.group_of_each() for b, start in zip(layers[0], starts, strict=False)])

    def summed(values: Tensor, of: Tensor, count: int) -> Tensor:
        return values.new_zeros(len(layers), count, *values.shape[2:]).index_add_(1, of, values)

    raw, norms = joined("raw"), joined("norms")
    scales = torch.stack([torch.stack([b.scale for b in batches]) for batches in layers])
    top = scales.amax(1, keepdim=True)
    top = torch.where(top > 0, top, 1.0)
    relative = (scales / top)[:, batch]
    directions = summed(raw, batch, len(sizes))
    energy = summed((norms / top).square(), group, len(batch)).numpy()
    counts = summed((norms > 0).to(torch.float64), group, len(batch)).numpy()
    parts = zip(
        _stability(directions),
        _grouped(raw * relative.unsqueeze(2), energy, counts, alpha, ratio=True),
        _grouped(joined("unit"), counts, counts, alpha, ratio=False),
        strict=True,
    )
    return [LayerDrift(*part) for part in parts]


def _grouped(sums: Tensor, own: Floats, counts: Floats, alpha: float, *, ratio: bool) -> list[Estimate]:
    """``sum_{i != j} <v_i, v_j> / (n (n - 1))`` (over the mean square, if ``ratio``) from sums over groups.

    Args:
        sums: (k, G, d) of k layers.
        own, counts: (k, G) squares and numbers of what was summed.
    """
    gram = (sums @ sums.mT).numpy()
    per_group = gram.sum(2)
    total, squares, n = (x.sum(1, keepdims=True) for x in (per_group, own, counts))

    def value(square: Floats, diagonal: Floats, n: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_product = np.where(n > 1, (square - diagonal) / (n * (n - 1.0)), NAN)
            return mean_product / (diagonal / n) if ratio else mean_product

    left = total - 2 * per_group + gram.diagonal(axis1=1, axis2=2)
    without = value(left, squares - own, n - counts)
    return jackknife(value(total, squares, n)[:, 0], without, counts > 0, alpha)


def refitted_bias(logits: Tensor, target: Tensor, steps: int = 20) -> Tensor:
    """The (C,) shift of the logits (n, C) that minimises cross-entropy: Newton's method with a small ridge."""
    classes = logits.shape[1]
    bias = torch.zeros(classes, dtype=torch.float64)
    wanted = F.one_hot(target, classes).to(torch.float64).mean(0)
    ridge = 1e-6 * torch.eye(classes, dtype=torch.float64)
    for _ in range(steps):
        p = torch.softmax(logits + bias, 1)
        slope = p.mean(0) - wanted + 1e-6 * bias
        curvature = torch.diag(p.mean(0)) - p.mT @ p / len(p) + ridge
        step = torch.linalg.solve(curvature, slope)
        size = float(step.abs().max())
        bias = bias - step / max(1.0, size)
        if size < 1e-6:
            break
    return bias - bias.mean()


def error_drift(
    stats: Sequence[BatchStatistics], error: Callable[[Tensor, Tensor], Tensor | None], alpha: float
) -> ErrorDrift:
    """Drift of the output error, and what is left of it once the biases of the head are right."""
    (own,) = drifts([[s.error for s in stats]], alpha)
    pieces = [pair for s in stats if (pair := s.classified()) is not None and bool(torch.isfinite(pair[0]).all())]
    sizes = [len(z) // 2 for z, _ in pieces]
    if len(pieces) < len(stats) or not all(sizes):
        return ErrorDrift(own, NAN, NAN, NAN)
    first = torch.cat([z[0::2] for z, _ in pieces]), torch.cat([y[0::2] for _, y in pieces])
    other = torch.cat([z[1::2] for z, _ in pieces]), torch.cat([y[1::2] for _, y in pieces])
    old, new = error(*other), error(other[0] + refitted_bias(*first), other[1])
    if old is None or new is None:
        return ErrorDrift(own, NAN, NAN, NAN)
    before, after = ([part.sum(0) for part in torch.split(errors, sizes)] for errors in (old, new))
    energy, left = (float(torch.stack(sums).sum(0).square().sum()) for sums in (before, after))
    share = 1 - left / energy if energy > 0 else NAN
    halves = batch_directions_stability(before)
    return ErrorDrift(own, batch_directions_stability(after), halves, share if math.isfinite(share) else NAN)
