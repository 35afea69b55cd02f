"""(d): what training the blocks gains. Accuracy against the same network with its blocks frozen at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from .statistics import NAN, Estimate, Floats, student_quantile

__all__ = ["Accuracy", "FrozenBaseline", "Margin", "as_accuracy", "margin", "per_seed"]

Accuracy = float | Tensor | np.ndarray | Sequence[bool] | Sequence[float]


_PAIRED = "paired bootstrap over samples"


@dataclass(frozen=True)
class FrozenBaseline:
    """Which baseline (d) subtracts: the choice decides the sign, so it is part of the number.

    Attributes:
        accuracy: share of correct samples, 0 to 1, one such share a seed, or per-sample correctness (n,).
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

    @property
    def of_seeds(self) -> bool:
        """The interval is over seeds; over samples, it knows nothing of another seed."""
        return "seeds" in self.method

    @property
    def identical(self) -> bool:
        """Both sides are right and wrong on the same samples, or have the same accuracy in every seed."""
        return "paired" in self.method.split() and self.pp.low == self.pp.high == 0


def per_seed(value: Accuracy) -> list[float] | None:
    """Accuracies of several seeds: more than one number, not all of them 0 or 1; None for anything else."""
    if isinstance(value, int | float):
        return None
    numbers = torch.as_tensor(value).flatten().to(torch.float64)
    return None if numbers.numel() < 2 or bool(((numbers == 0) | (numbers == 1)).all()) else numbers.tolist()


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
    """The margin: over seeds where there are several, else over samples, paired where both sides are per sample.

    Args:
        headline: accuracy of the method, one a seed, or its per-sample correctness on the samples of the baseline's.
        baseline: what to subtract.
        samples: test samples behind accuracies given as numbers.
        alpha, resamples, seed: of the interval.
    """
    share, correct = as_accuracy(headline, "headline_acc")
    base, base_correct = as_accuracy(baseline.accuracy, "frozen_baseline_acc")
    pp = 100 * (share - base)
    bp = NAN if baseline.bp_accuracy is None else 100 * (as_accuracy(baseline.bp_accuracy, "bp_accuracy")[0] - base)
    seeds, base_seeds = per_seed(headline), per_seed(baseline.accuracy)
    if seeds is not None:
        interval, method = _over_seeds(pp, seeds, base_seeds, base, alpha)
        return Margin(interval, baseline.named, method, samples, bp)
    if correct is not None and base_correct is not None and len(correct) == len(base_correct):
        difference = (correct - base_correct).numpy()
        low, high = (100 * q for q in _bootstrapped_mean(difference, alpha, resamples, seed))
        return Margin(Estimate(pp, low, high), baseline.named, _PAIRED, len(difference), bp)
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


def _over_seeds(
    pp: float, seeds: Sequence[float], base_seeds: Sequence[float] | None, base: float, alpha: float
) -> tuple[Estimate, str]:
    """Student's interval: paired by seed, Welch's for unlike numbers of seeds, a single baseline taken as exact."""
    if base_seeds is not None and len(base_seeds) == len(seeds):
        sides = [[own - other for own, other in zip(seeds, base_seeds, strict=True)]]
        method = f"paired over {len(seeds)} seeds"
    elif base_seeds is not None:
        sides, method = [list(seeds), list(base_seeds)], f"over {len(seeds)} and {len(base_seeds)} seeds"
    else:
        sides, method = [[own - base for own in seeds]], f"over {len(seeds)} seeds, the baseline taken as exact"
    parts = [(float(np.var(side, ddof=1)) / len(side), len(side) - 1) for side in sides]
    variance = sum(v for v, _ in parts)
    degrees = variance**2 / sum(v * v / n for v, n in parts) if variance > 0 else parts[0][1]
    half = 100 * student_quantile(1 - alpha / 2, degrees) * math.sqrt(variance)
    return Estimate(pp, pp - half, pp + half), method


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
