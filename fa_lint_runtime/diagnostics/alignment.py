"""Γ: the cosine of credit and gradient, per layer and per sample, and whether it owes anything to training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .capture import BatchStatistics
from .credits import Pairing
from .null import FeedbackNull, Moments, SignNull, SignSums
from .statistics import NAN, Estimate, bootstrap_mean, holm, median, median_interval

__all__ = ["DEAD", "Aggregations", "Decision", "LayerAlignment", "aggregate", "alignments", "undecided"]

DEAD = 0.5  # share of samples without a direction from which on a layer has none

Decision = Literal["aligned", "opposed", "not distinguishable", "undefined"]


@dataclass(frozen=True)
class LayerAlignment:
    """Γ of one hidden state with the credit that trains it.

    Attributes:
        site: of the credit.
        gamma: mean over samples with a bootstrap interval: how well Γ of *these* samples is known, nothing more.
        gamma_median: median over samples with its interval.
        statistic: what is compared with the null (see ``null``); within a percent or two of ``gamma``.
        null_mean, null_sd, null_low, null_high: of the same statistic under fresh feedback; the limits hold the
            central ``1 - alpha``.
        z, p: distance from the null in its standard deviations; two-sided p-value.
        p_holm: p after Holm over all layers.
        decision: from ``p_holm`` alone; undefined where half of the samples or more have no cosine.
        mismatched: mean cosine of the credit of one sample with the gradient of another: drift, not credit.
        undefined_share: samples without a cosine (zero or non-finite vectors), left out.
        original_site, original_gamma: what the original's pairing compares, where it is another.
        parameter_cosine: local update against BP update of the module that made this state; NaN if not measured.
    """

    site: str
    gamma: Estimate
    gamma_median: Estimate
    statistic: float
    null_mean: float
    null_sd: float
    null_low: float
    null_high: float
    z: float
    p: float
    p_holm: float
    decision: Decision
    mismatched: float
    undefined_share: float
    original_site: str | None
    original_gamma: float
    parameter_cosine: float


@dataclass(frozen=True)
class Aggregations:
    """One number for all layers, four ways; the spread says how little such a number means.

    Attributes:
        mean_mean, median_mean, mean_median, median_median: over samples, then over layers.
        spread: largest over smallest; NaN if their signs differ or one is zero.
        layer0_share: share of layer 0 in the mean over layers; NaN where layers differ in sign, so that there are no
            shares.
    """

    mean_mean: float
    median_mean: float
    mean_median: float
    median_median: float
    spread: float
    layer0_share: float


def aggregate(means: Sequence[float], medians: Sequence[float]) -> Aggregations:
    """Example:
    >>> round(aggregate([0.42, 0.0, 0.0], [0.42, 0.0, 0.0]).mean_mean, 2)
    0.14
    """
    columns = [torch.tensor(list(values), dtype=torch.float64) for values in (means, medians)]
    numbers = [float(c.mean()) for c in columns] + [median(c) for c in columns]
    signs = {math.copysign(1.0, v) for v in numbers}
    plain = all(math.isfinite(v) and v != 0 for v in numbers) and len(signs) == 1
    spread = max(map(abs, numbers)) / min(map(abs, numbers)) if plain else NAN
    first, total = float(columns[0][0]), float(columns[0].sum())
    shares = all(v > 0 for v in means) or all(v < 0 for v in means)
    share = first / total if shares else NAN
    return Aggregations(numbers[0], numbers[1], numbers[2], numbers[3], spread, share)


def undecided(layer: LayerAlignment) -> LayerAlignment:
    """The same without p-values and a decision: the reference it was compared with is not known to be the gradient."""
    return replace(layer, z=NAN, p=NAN, p_holm=NAN, decision="undefined")


def _decided(p_holm: float, statistic: float, alpha: float) -> Decision:
    if math.isnan(p_holm):
        return "undefined"
    if p_holm > alpha:
        return "not distinguishable"
    return "aligned" if statistic > 0 else "opposed"


def alignments(
    stats: Sequence[BatchStatistics],
    pairing: Pairing,
    feedback: Mapping[str, FeedbackNull],
    parameter_cosines: Mapping[int, float],
    *,
    alpha: float,
    resamples: int,
    seed: int,
    draws: int,
) -> dict[int, LayerAlignment]:
    """Hidden state to its alignment; states without a credit of their own are absent."""
    keys = [key for key in pairing.trained if all(key in s.alignments for s in stats)]
    cosines = {key: torch.cat([s.alignments[key].cosines for s in stats]) for key in keys}
    means = bootstrap_mean([cosines[key] for key in keys], resamples, alpha, seed)
    nulls = {
        key: _null([s.alignments[key].null for s in stats], feedback.get(key[1], SignNull(draws, seed + key[0])), alpha)
        for key in keys
    }
    adjusted = holm([nulls[key].p for key in keys])
    original = dict(pairing.original)
    found = {}
    for key, mean, p_holm in zip(keys, means, adjusted, strict=True):
        index, site = key
        null = nulls[key]
        undefined = float(torch.isnan(cosines[key]).double().mean())
        other = original.get(index)
        elsewhere = (index, other) if other is not None and other != site else None
        original_gamma = NAN
        if elsewhere is not None and all(elsewhere in s.alignments for s in stats):
            original_gamma = float(torch.cat([s.alignments[elsewhere].cosines for s in stats]).nanmean())
        found[index] = LayerAlignment(
            site=site,
            gamma=mean,
            gamma_median=median_interval(cosines[key], alpha),
            statistic=null.statistic,
            null_mean=null.mean,
            null_sd=null.sd,
            null_low=null.low,
            null_high=null.high,
            z=null.z,
            p=null.p,
            p_holm=p_holm,
            decision=_decided(p_holm if undefined < DEAD else NAN, null.statistic, alpha),
            mismatched=_mismatched(stats, key, cosines[key]),
            undefined_share=undefined,
            original_site=other if elsewhere else None,
            original_gamma=original_gamma,
            parameter_cosine=parameter_cosines.get(index, NAN),
        )
    return found


@dataclass(frozen=True)
class _Null:
    statistic: float = NAN
    mean: float = NAN
    sd: float = NAN
    low: float = NAN
    high: float = NAN
    z: float = NAN
    p: float = NAN


def _null(sums: Sequence[Moments | SignSums | None], fresh: FeedbackNull | SignNull, alpha: float) -> _Null:
    if isinstance(fresh, FeedbackNull):
        observed, draws = fresh.values([s for s in sums if isinstance(s, Moments)])
    else:
        observed, draws = fresh.values([s for s in sums if isinstance(s, SignSums)])
    if not math.isfinite(observed) or not np.isfinite(draws).all() or 2 / (len(draws) + 1) > alpha:
        return _Null()
    mean, sd = float(draws.mean()), float(draws.std(ddof=1))
    low, high = (float(v) for v in np.quantile(draws, [alpha / 2, 1 - alpha / 2]))
    # One sum of the same numbers in two orders may differ in the last bits.
    p = (1 + int((np.abs(draws) >= (1 - 1e-12) * abs(observed)).sum())) / (len(draws) + 1)
    return _Null(observed, mean, sd, low, high, (observed - mean) / sd if sd > 0 else NAN, p)


def _mismatched(stats: Sequence[BatchStatistics], key: tuple[int, str], cosines: Tensor) -> float:
    """Mean over i != j of the cosine of credit i with gradient j."""
    credit = torch.stack([s.alignments[key].credit_sum for s in stats]).sum(0)
    gradient = torch.cat([s.gradients[key[0]].unit for s in stats]).to(torch.float64).sum(0)
    count = int((~torch.isnan(cosines)).sum())
    if count < 2:
        return NAN
    own = float(cosines.nansum())
    return (float(credit @ gradient) - own) / (count * (count - 1))
