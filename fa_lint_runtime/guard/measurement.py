"""What a check hands over: 0-dim tensors, so that nothing waits for the device unless the caller wants it to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Measurement"]

Scalar = Tensor | float | None


@dataclass(slots=True)
class Measurement:
    """One check of one call. ``count`` of ``total`` vectors (or entries) are wrong.

    ``worst`` is the share of the true value that came out, ``was`` and ``should`` the numbers there, ``magnitude`` the
    smallest norm or the largest value lost; None where that has no meaning. ``examine`` gives ``was`` and ``should``
    where they cost something, and is asked only if the case is the worst so far.
    """

    kind: str
    count: Tensor | int
    total: int
    worst: Scalar = None
    was: Scalar = None
    should: Scalar = None
    magnitude: Scalar = None
    detail: str = ""
    examine: Callable[[], tuple[float, float]] | None = None
