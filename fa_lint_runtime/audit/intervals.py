"""Mean, sample standard deviation and Student's t interval over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Summary", "summary", "t_quantile"]


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


def _t_tail(t: float, dof: int) -> float:
    """P(T > t) for t >= 0 and whole degrees of freedom, in closed form (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    theta = math.atan2(t, math.sqrt(dof))
    sine, cosine = math.sin(theta), math.cos(theta)
    if dof % 2:
        term, total = cosine, cosine if dof > 1 else 0.0
        for k in range(2, dof - 1, 2):
            term *= cosine * cosine * k / (k + 1)
            total += term
        inside = 2 / math.pi * (theta + sine * total)
    else:
        term = total = 1.0
        for k in range(1, dof - 1, 2):
            term *= cosine * cosine * k / (k + 1)
            total += term
        inside = sine * total
    return (1 - inside) / 2


def t_quantile(confidence: float, dof: int) -> float:
    """The t that a Student variable exceeds in absolute value with probability ``1 - confidence``.

    Source:
        Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7; inverted by bisection.

    Raises:
        ValueError: a confidence outside 0 to 1, or no degree of freedom.

    Example:
        >>> round(t_quantile(0.95, 2), 4)
        4.3027
    """
    if not 0 < confidence < 1 or dof < 1:
        raise ValueError(f"need 0 < confidence < 1 and dof >= 1, got {confidence!r} and {dof!r}")
    tail = (1 - confidence) / 2
    low, high = 0.0, 1.0
    while _t_tail(high, dof) > tail:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_tail(middle, dof) > tail else (low, middle)
    return (low + high) / 2


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
    return Summary(mean, std, t_quantile(confidence, n - 1) * std / math.sqrt(n), n, missing)
