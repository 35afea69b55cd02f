"""Every number that a verdict depends on, in one place; changing one is a keyword."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

__all__ = ["DiagnosticThresholds", "as_thresholds"]


@dataclass(frozen=True)
class DiagnosticThresholds:
    """Thresholds of the original protocol and of the criteria that replace it.

    Attributes:
        max_block_growth: (a) fires above it: max over blocks of the median ``|h_{l+1}|/|h_l|``.
        min_grad_norm: (b), the original's: fires where the median ``|g_L|`` of the mean loss is below it.
        max_stability: (c), the original's reading: from it on, the reference is called one global direction.
        min_margin_pp: (d) fires below it: accuracy minus that of frozen blocks, percentage points.
        min_credit_per_error: median ``|g_L|/|e|`` below which the report says that h_L is large; decides nothing, as a
            LayerNorm undoes the scale of h_L. ``min_grad_norm`` measures 1/B and the remaining error as well.
        min_elasticity: the least ``|g_L||h_L|/|e|``, and the least share of ``|g_l||h_l|/|e|`` that a block may leave.
            5.6 to 69 in 390 LayerNorm networks of width 256, 0.2 to 50 in small convolutional ones; 0 where activations
            overflowed.
        min_resolution: median cosine of gradients in working precision against fp64; below it, and only there, the
            reference is numerical noise.
        max_absorption: ``u |h_{l+1}|/|h_l|``, u the unit roundoff: the share of h_l that adding it to the stream may
            round away.
        max_rho_direction: the lower limit of rho_dir from which on the reference is one global direction.
        initial_h0_norm: median ``|h_0|`` at initialisation, if known.
        max_h0_growth: the most that ``|h_0|`` may have grown since.
        alpha: level of the alignment decision (after Holm) and of the intervals.
        null_draws: fresh feedbacks, at least; more are drawn where Holm needs them.
        bootstrap: resamples.
        seed: of fresh feedbacks and resamples.

    Example:
        >>> DiagnosticThresholds(max_block_growth=100.0).min_grad_norm
        1e-07
    """

    max_block_growth: float = 50.0
    min_grad_norm: float = 1e-7
    max_stability: float = 0.5
    min_margin_pp: float = 2.0
    min_credit_per_error: float = 1e-3
    min_elasticity: float = 0.01
    min_resolution: float = 0.99
    max_absorption: float = 0.1
    max_rho_direction: float = 0.25
    initial_h0_norm: float | None = None
    max_h0_growth: float = 50.0
    alpha: float = 0.05
    null_draws: int = 199
    bootstrap: int = 499
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must lie between 0 and 1, got {self.alpha!r}")
        if self.null_draws < 19 or self.bootstrap < 99:
            raise ValueError("null_draws must be at least 19 and bootstrap at least 99: fewer decide nothing")


def as_thresholds(given: DiagnosticThresholds | Mapping[str, float] | None) -> DiagnosticThresholds:
    """Thresholds from an object, a mapping of the ones to change, or None.

    Raises:
        TypeError: an unknown name.
    """
    if given is None:
        return DiagnosticThresholds()
    if isinstance(given, DiagnosticThresholds):
        return given
    known = [f.name for f in fields(DiagnosticThresholds)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise TypeError(f"unknown threshold {unknown[0]!r}; there are {', '.join(known)}")
    return DiagnosticThresholds(**given)  # type: ignore[arg-type]
