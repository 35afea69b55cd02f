"""Medians, intervals and corrections that several diagnostics share. Everything in fp64 on the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import stdtrit
from torch import Tensor

__all__ = [
    "Estimate",
    "binomial_interval",
    "bootstrap_mean",
    "holm",
    "jackknife",
    "median",
    "median_interval",
    "medians",
    "student_quantile",
]

NAN = float("nan")
Floats = npt.NDArray[np.float64]
_RESAMPLED = 2_000_000  # indices drawn at a time


@dataclass(frozen=True)
class Estimate:
    """A number and its interval; NaN where there is none.

    Example:
        >>> Estimate(0.5, 0.4, 0.6).low
        0.4
    """

    value: float
    low: float = NAN
    high: float = NAN


def median(values: Tensor) -> float:
    """Mean of the middle two; NaN if a value is NaN or there is none. An inf stays visible as the share it is.

    ``torch.median`` (https://docs.pytorch.org/docs/stable/generated/torch.median.html) takes the lower of the two.

    Example:
        >>> median(torch.tensor([3.0, 1.0]))
        2.0
    """
    return medians(values.reshape(1, -1))[0]


def medians(table: Tensor, used: Tensor | None = None) -> list[float]:
    """:func:`median` of each row of (k, n), of its ``used`` entries.

    Example:
        >>> medians(torch.tensor([[3.0, 1.0], [2.0, 2.0]]))
        [2.0, 2.0]
    """
    if used is not None and not bool(used.all()):
        return [median(row[mask]) for row, mask in zip(table, used, strict=True)]
    rows = table.detach().cpu().to(torch.float64).numpy()
    count = rows.shape[1]
    if count == 0:
        return [NAN] * len(rows)
    middle = [(count - 1) // 2, count // 2]
    low, high = np.partition(rows, middle, axis=1)[:, middle].T
    with np.errstate(invalid="ignore"):
        between = np.where(low == high, low, low + (high - low) / 2)
    between[np.isnan(rows).any(1)] = NAN
    found: list[float] = between.tolist()
    return found


def student_quantile(probability: float, degrees: float) -> float:
    """The value that a Student variable stays below with this probability.

    Raises:
        ValueError: a probability outside 0 to 1, or no degree of freedom.

    Example:
        >>> round(student_quantile(0.975, 1), 3), round(student_quantile(0.975, 31), 3)
        (12.706, 2.04)
    """
    if not 0 < probability < 1 or not degrees > 0:
        raise ValueError(f"need 0 < probability < 1 and degrees > 0, got {probability!r} and {degrees!r}")
    return float(stdtrit(degrees, probability))


def jackknife(whole: Floats, without: Floats, used: npt.NDArray[np.bool_], alpha: float) -> list[Estimate]:
    """Intervals from delete-one-group values: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), ch. 11.

    Args:
        whole: (k,) statistics on everything.
        without: (k, G) each without each group in turn.
        used: (k, G) groups that hold anything.
        alpha: 1 - coverage.
    """
    counts = used.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = np.where(used, without, 0.0).sum(1) / counts
        squares = np.where(used, np.square(without - centre[:, None]), 0.0).sum(1)
        spread = np.sqrt((counts - 1) / counts * squares)
    found = []
    for value, deviation, count in zip(whole.tolist(), spread.tolist(), counts.tolist(), strict=True):
        if count < 2 or not math.isfinite(deviation) or not math.isfinite(value):
            found.append(Estimate(value))
            continue
        half = student_quantile(1 - alpha / 2, count - 1) * deviation
        found.append(Estimate(value, value - half, value + half))
    return found


def bootstrap_mean(columns: Sequence[Tensor], resamples: int, alpha: float, seed: int) -> list[Estimate]:
    """Means of columns of one length with percentile intervals, all from the same resamples; NaN entries left out.

    Efron and Tibshirani (1993), ch. 13.
    """
    if not columns:
        return []
    table = torch.stack(list(columns), 1).to(torch.float64).numpy()
    count = len(table)
    defined = ~np.isnan(table)
    filled = np.where(defined, table, 0.0)
    if count < 2:
        return [Estimate(float(v) if d else NAN) for v, d in zip(filled.sum(0), defined.any(0), strict=True)]
    rng = np.random.default_rng(seed)
    weights = defined.astype(np.float64)
    means = []
    step = max(1, _RESAMPLED // count)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = (
            rng.integers(0, count, (rows, count), dtype=np.int32) + (np.arange(rows, dtype=np.int32) * count)[:, None]
        )
        counts = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append((counts @ filled) / (counts @ weights))
    resampled = np.concatenate(means)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = filled.sum(0) / weights.sum(0)
    limits = np.quantile(resampled, [alpha / 2, 1 - alpha / 2], axis=0)
    return [Estimate(float(v), float(low), float(high)) for v, low, high in zip(values, *limits, strict=True)]


def median_interval(values: Tensor, alpha: float) -> Estimate:
    """The median with its distribution-free interval between two order statistics; NaN entries left out.

    The ranks are n/2 ± z sqrt(n)/2 (Conover, "Practical Nonparametric Statistics", 1999, section 3.2): what the
    bootstrap of a median converges to, without resampling.
    """
    ordered = values[~torch.isnan(values)].sort().values
    count = ordered.numel()
    if count < 6:
        return Estimate(median(ordered))
    half = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - half) - 1)
    high = min(count - 1, math.ceil(count / 2 + half))
    return Estimate(median(ordered), float(ordered[low]), float(ordered[high]))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values ("A Simple Sequentially Rejective Multiple Test Procedure", 1979); NaN stays NaN.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [NAN] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(order):
        running = max(running, min(1.0, p * (len(order) - rank)))
        adjusted[i] = running
    return adjusted


def binomial_interval(successes: int, count: int, alpha: float) -> Estimate:
    """The share with Wilson's interval; NaN without a trial.

    Example:
        >>> interval = binomial_interval(50, 100, 0.05)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.404, 0.596)
    """
    from scipy.stats import binomtest  # 0.7 s to import

    if count == 0:
        return Estimate(NAN)
    low, high = binomtest(successes, count).proportion_ci(1 - alpha, "wilson")
    return Estimate(successes / count, float(low), float(high))
