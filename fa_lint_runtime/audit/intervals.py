"""Mean, sample standard deviation and Student's t interval over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..diagnostics.statistics import student_quantile

__all__ = ["Summary", "summary"]


@dataclass(frozen=True)
class Summary:
    """Over n seeds.

    Attributes:
        mean: NaN without values.
        std: with n - 1 in the denominator; NaN below two values.
        half: half the width of the t interval; NaN below two values.
        n: finite values.
        missing: values that were not finite and are in none of the figures.
    """

    mean: float
    std: float
    half: float
    n: int
    missing: int

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.half


def summary(values: Sequence[float], confidence: float = 0.95) -> Summary:
    """Summarise one figure over seeds; values that are not finite are counted, never averaged.

    Example:
        >>> found = summary([0.30, 0.31, 0.32])
        >>> round(found.mean, 3), round(found.std, 3), round(found.half, 3), found.n
        (0.31, 0.01, 0.025, 3)
    """
    finite = [value for value in values if math.isfinite(value)]
    n, missing = len(finite), len(values) - len(finite)
    if n == 0:
        return Summary(math.nan, math.nan, math.nan, 0, missing)
    mean = math.fsum(finite) / n
    if n == 1:
        return Summary(mean, math.nan, math.nan, 1, missing)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in finite) / (n - 1))
    return Summary(mean, std, student_quantile((1 + confidence) / 2, n - 1) * std / math.sqrt(n), n, missing)
