"""Numbers as verify prints them: orders of magnitude and two digits at most, because digits differ by machine."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["decade", "each", "short", "share"]


def decade(value: float) -> str:
    """The order of magnitude: ``1e-9``.

    Example:
        >>> decade(5.2e-10), decade(0.0), decade(float("nan"))
        ('1e-9', '0', 'nan')
    """
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    return f"1e{round(math.log10(abs(value)))}"


def short(value: float) -> str:
    """Two significant digits where a digit means something.

    Example:
        >>> short(0.05012), short(258038.0), short(17.2)
        ('0.05', '3e+05', '17')
    """
    if not math.isfinite(value):
        return f"{value:g}"
    size = abs(value)
    return f"{value:.2g}" if 1e-3 <= size < 1e3 or value == 0 else f"{value:.0e}"


def each(values: Sequence[float]) -> str:
    """One figure a seed: ``88/96/55``."""
    return "/".join(short(value) for value in values)


def share(part: int, whole: int) -> str:
    """``3/3``."""
    return f"{part}/{whole}"
