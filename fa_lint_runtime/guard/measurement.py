"""What a check hands over: 0-dim tensors, so that nothing waits for the device unless the caller wants it to."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Measurement"]

Scalar = Tensor | float | None


@dataclass(slots=True)
class Measurement:
    """One check of one call. ``count`` of ``total`` vectors (or entries) are wrong.

    ``worst`` is the share of the true value that came out, ``was`` and ``should`` the numbers there, ``magnitude`` the
    smallest norm or the largest value lost; None where that has no meaning.
    """

    kind: str
    count: Tensor | int
    total: int
    worst: Scalar = None
    was: Scalar = None
    should: Scalar = None
    magnitude: Scalar = None
    detail: str = ""
