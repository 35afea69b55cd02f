"""One measurement during training, and which criteria it fires."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..diagnostics import DiagnosticThresholds

__all__ = ["MonitorVerdict", "Reading", "Turn", "judged"]

MonitorVerdict = Literal["sound", "walked back", "invalid"]


@dataclass(frozen=True)
class Reading:
    """What was measured after one step; norms are medians over the batch, gradients of the summed loss.

    Attributes:
        step: of the optimizer, as given or counted.
        hidden_norms, gradient_norms: ``‖h_l‖``, ``‖g_l‖``.
        mean_loss_gradient_norm: ``‖g_L‖`` of the batch mean, what the original (b) looks at.
        growth: the largest ``‖h_{l+1}‖/‖h_l‖``, the statistic of (a).
        credit_per_error: ``‖g_L‖/‖e‖``.
        elasticity: the least of ``‖g_L‖‖h_L‖/‖e‖`` and of what a block leaves of it.
        error: median ``‖e‖``.
        gamma: Γ at each hidden state, None where no feedback serves it.
        nonfinite: share of samples with an inf or a NaN anywhere.
        fired: names of the criteria that fire; ``(a)`` and ``(b)`` are the original's and never decide.
        verdict: from the sound criteria.

    Example:
        >>> Reading(5, (1.0,), (1.0,), 0.1, 2.0, 0.5, 3.0, 0.1, (None,), 0.0, (), "sound").scalars()["growth"]
        2.0
    """

    step: int
    hidden_norms: tuple[float, ...]
    gradient_norms: tuple[float, ...]
    mean_loss_gradient_norm: float
    growth: float
    credit_per_error: float
    elasticity: float
    error: float
    gamma: tuple[float | None, ...]
    nonfinite: float
    fired: tuple[str, ...]
    verdict: MonitorVerdict

    def scalars(self) -> dict[str, float]:
        """Flat names and numbers, for TensorBoard and W&B."""
        flat = {
            "growth": self.growth,
            "credit_per_error": self.credit_per_error,
            "elasticity": self.elasticity,
            "error": self.error,
            "mean_loss_gradient_norm": self.mean_loss_gradient_norm,
            "nonfinite": self.nonfinite,
        }
        flat |= {f"hidden_norm/{index}": value for index, value in enumerate(self.hidden_norms)}
        flat |= {f"gradient_norm/{index}": value for index, value in enumerate(self.gradient_norms)}
        flat |= {f"gamma/{index}": value for index, value in enumerate(self.gamma) if value is not None}
        return flat

    def to_json(self) -> str:
        """One line; numbers that are not finite become null."""
        return json.dumps(_plain(asdict(self)), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Turn:
    """The step at which a criterion began or ceased to fire.

    Attributes:
        step: of the reading that showed it; it happened after the reading before.
        criterion: its name.
        fires: True where it began.
        value, threshold: that decided.
    """

    step: int
    criterion: str
    fires: bool
    value: float
    threshold: float

    def message(self) -> str:
        """One line.

        Example:
            >>> Turn(300, "growth", True, 61.2, 50.0).message()
            'step 300: growth fires (61.2, threshold 50)'
        """
        state = "fires" if self.fires else "no longer fires"
        return f"step {self.step}: {self.criterion} {state} ({self.value:.3g}, threshold {self.threshold:g})"


def judged(reading: dict[str, Any], t: DiagnosticThresholds) -> dict[str, tuple[bool, float, float]]:
    """Each criterion's answer, value and threshold for the figures of a reading. NaN fires ``finite`` alone."""
    checks = {
        "finite": (reading["nonfinite"] > 0, reading["nonfinite"], 0.0),
        "growth": (reading["growth"] > t.max_block_growth, reading["growth"], t.max_block_growth),
        "credit size": (
            reading["credit_per_error"] < t.min_credit_per_error,
            reading["credit_per_error"],
            t.min_credit_per_error,
        ),
        "elasticity": (reading["elasticity"] < t.min_elasticity, reading["elasticity"], t.min_elasticity),
    }
    last = reading["mean_loss_gradient_norm"]
    checks["(a)"] = checks["growth"]
    checks["(b)"] = (last < t.min_grad_norm, last, t.min_grad_norm)
    return checks
