"""Is the gradient one direction for all samples? The original's number, and two that do not depend on batch size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from .capture import BatchStatistics, GroupSums
from .statistics import NAN, Estimate, jackknife

__all__ = ["ErrorDrift", "LayerDrift", "batch_directions_stability", "drift", "error_drift"]

Floats = npt.NDArray[np.float64]


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
    if len(sums) < 2:
        return NAN
    rows = torch.stack(list(sums)).to(torch.float64)
    rows = rows / rows.norm(dim=1, keepdim=True)
    count = len(rows)
    gram = rows @ rows.mT
    return float((gram.sum() - gram.diagonal().sum()) / (count * (count - 1)))


def drift(batches: Sequence[GroupSums], alpha: float) -> LayerDrift:
    """Drift from the group sums of one layer, batch by batch. Intervals: delete-one-group jackknife.

    If gradients are independent with mean mu, the original statistic expects ``B rho / (1 + (B - 1) rho)`` with
    ``rho = |mu|^2 / E|g|^2``: 0.5 at B = 128 means rho = 0.0078 (../shared/SCIENCE.md, section 4).
    """
    directions = [b.raw.to(torch.float64).sum(0) for b in batches]
    scales = torch.stack([b.scale for b in batches])
    top = scales.max()
    relative = torch.where(top > 0, scales / top, 0.0)
    relative = relative.repeat_interleave(torch.tensor([len(b.counts) for b in batches]))
    unit = torch.cat([b.unit for b in batches]).to(torch.float64)
    raw = torch.cat([b.raw for b in batches]).to(torch.float64) * relative.unsqueeze(1)
    counts = torch.cat([b.counts for b in batches]).numpy()
    energy = (torch.cat([b.energy for b in batches]) * relative**2).numpy()
    return LayerDrift(
        stability=batch_directions_stability(directions),
        rho_energy=_grouped(raw, energy, counts, alpha, ratio=True),
        rho_direction=_grouped(unit, counts, counts, alpha, ratio=False),
    )


def _grouped(sums: Tensor, own: Floats, counts: Floats, alpha: float, *, ratio: bool) -> Estimate:
    """``sum_{i != j} <v_i, v_j> / (n (n - 1))`` (over the mean square, if ``ratio``) from sums over groups."""
    gram = (sums @ sums.mT).numpy()
    total, per_group = gram.sum(), gram.sum(1)

    def value(square: Floats | float, diagonal: Floats | float, n: Floats | float) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_product = (square - diagonal) / (n * (n - 1.0))
            return np.asarray(mean_product / (diagonal / n) if ratio else mean_product)

    whole = float(value(total, own.sum(), counts.sum()))
    used = counts > 0
    left = total - 2 * per_group + gram.diagonal()
    return jackknife(whole, value(left[used], own.sum() - own[used], counts.sum() - counts[used]), alpha)


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
    own = drift([s.error for s in stats], alpha)
    pieces = [(s.logits, s.target) for s in stats if s.logits is not None and s.target is not None]
    if len(pieces) < len(stats) or not all(bool(torch.isfinite(z).all()) for z, _ in pieces):
        return ErrorDrift(own, NAN, NAN, NAN)
    first = torch.cat([z[0::2] for z, _ in pieces]), torch.cat([y[0::2] for _, y in pieces])
    bias = refitted_bias(*first)
    other = torch.cat([z[1::2] for z, _ in pieces]), torch.cat([y[1::2] for _, y in pieces])
    old, new = error(*other), error(other[0] + bias, other[1])
    sizes = [len(z) // 2 for z, _ in pieces]
    if old is None or new is None or not all(sizes):
        return ErrorDrift(own, NAN, NAN, NAN)
    before, after = ([part.sum(0) for part in torch.split(errors, sizes)] for errors in (old, new))
    energy, left = (float(torch.stack(sums).sum(0).square().sum()) for sums in (before, after))
    share = 1 - left / energy if energy > 0 else NAN
    halves = batch_directions_stability(before)
    return ErrorDrift(own, batch_directions_stability(after), halves, share if math.isfinite(share) else NAN)
