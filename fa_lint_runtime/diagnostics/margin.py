"""(d): what training the blocks gains. Accuracy against the same network with its blocks frozen at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from .statistics import NAN, Estimate, Floats

__all__ = ["Accuracy", "FrozenBaseline", "Margin", "as_accuracy", "margin"]

Accuracy = float | Tensor | np.ndarray | Sequence[bool]


@dataclass(frozen=True)
class FrozenBaseline:
    """Which baseline (d) subtracts: the choice decides the sign, so it is part of the number.

    Attributes:
        accuracy: share of correct samples, 0 to 1, or per-sample correctness (n,).
        rule: how what is not frozen was trained, for example ``"embedding by DFA, head exact"``.
        epochs, learning_rate: of that training.
        bp_accuracy: of backprop on the same network; where it beats the baseline by less than the margin asked for,
            the task is too easy for (d).
        samples: test samples behind ``accuracy``, if that is a number.

    Example:
        >>> FrozenBaseline(0.349, rule="embedding by DFA, head exact", epochs=30).named
        'embedding by DFA, head exact, 30 epochs'
    """

    accuracy: Accuracy
    rule: str = ""
    epochs: int | None = None
    learning_rate: float | None = None
    bp_accuracy: float | None = None
    samples: int | None = None

    @property
    def named(self) -> str:
        """The baseline in words; "baseline not named" without a rule."""
        parts = [self.rule or "baseline not named"]
        if self.epochs is not None:
            parts.append(f"{self.epochs} epochs")
        if self.learning_rate is not None:
            parts.append(f"lr {self.learning_rate:g}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Margin:
    """Percentage points above the baseline.

    Attributes:
        pp: margin with its interval, percentage points.
        baseline: in words.
        method: how the interval was made.
        samples: behind it.
        bp_pp: the margin of backprop over the same baseline, NaN if unknown.
    """

    pp: Estimate
    baseline: str
    method: str
    samples: int | None
    bp_pp: float


def as_accuracy(value: Accuracy, name: str) -> tuple[float, Tensor | None]:
    """(share, per-sample correctness if that was given).

    Raises:
        ValueError: outside 0 to 1 (percentages are not guessed). NaN stays NaN.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        share, correct = float(value), None
    else:
        correct = torch.as_tensor(value, device="cpu").flatten()
        if correct.numel() == 1 and correct.dtype.is_floating_point:
            share, correct = float(correct), None
        elif correct.numel() == 0:
            raise ValueError(f"{name} is empty")
        else:
            correct = correct.to(torch.float64)
            share = float(correct.mean())
    if not (0 <= share <= 1 or math.isnan(share)):
        raise ValueError(f"{name} must be a share between 0 and 1 (0.615, not 61.5), got {share!r}")
    return share, correct


def margin(
    headline: Accuracy, baseline: FrozenBaseline, samples: int | None, *, alpha: float, resamples: int, seed: int
) -> Margin:
    """The margin with a paired bootstrap interval where both sides are per sample, else a binomial one.

    Args:
        headline: accuracy of the method, or its per-sample correctness on the samples of the baseline's, in order.
        baseline: what to subtract.
        samples: test samples behind accuracies given as numbers.
        alpha, resamples, seed: of the interval.
    """
    share, correct = as_accuracy(headline, "headline_acc")
    base, base_correct = as_accuracy(baseline.accuracy, "frozen_baseline_acc")
    pp = 100 * (share - base)
    bp = NAN if baseline.bp_accuracy is None else 100 * (as_accuracy(baseline.bp_accuracy, "bp_accuracy")[0] - base)
    if correct is not None and base_correct is not None and len(correct) == len(base_correct):
        difference = (correct - base_correct).numpy()
        low, high = (100 * q for q in _bootstrapped_mean(difference, alpha, resamples, seed))
        return Margin(Estimate(pp, low, high), baseline.named, "paired bootstrap over samples", len(difference), bp)
    count = len(correct) if correct is not None else samples
    base_count = len(base_correct) if base_correct is not None else (baseline.samples or samples)
    if not count or not base_count or math.isnan(pp):
        return Margin(Estimate(pp), baseline.named, "none: number of test samples unknown", None, bp)
    # Agresti and Caffo, "Simple and Effective Confidence Intervals for Proportions" (2000): one success and one
    # failure added to each side.
    p, q = (share * count + 1) / (count + 2), (base * base_count + 1) / (base_count + 2)
    spread = math.sqrt(p * (1 - p) / (count + 2) + q * (1 - q) / (base_count + 2))
    half, centre = NormalDist().inv_cdf(1 - alpha / 2) * spread, p - q
    interval = Estimate(pp, 100 * (centre - half), 100 * (centre + half))
    return Margin(interval, baseline.named, "unpaired binomial", min(count, base_count), bp)


def _bootstrapped_mean(values: Floats, alpha: float, resamples: int, seed: int) -> tuple[float, float]:
    from scipy.stats import bootstrap  # 0.7 s to import

    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, 2_000_000 // len(values)),
        confidence_level=1 - alpha,
        method="percentile",
        random_state=seed,
    ).confidence_interval
    return float(found.low), float(found.high)
