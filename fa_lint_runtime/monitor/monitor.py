"""The diagnostics during training: one small batch now and then, a warning at the step where a verdict turns."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..diagnostics import DiagnosticThresholds
from ..diagnostics.batches import Batch, to_batch
from ..diagnostics.capture import BatchStatistics, Capture, Credits, to_cpu
from ..diagnostics.credits import FeedbackSource, Pairing, as_feedback, effective_matrices, pair
from ..diagnostics.criteria import collapse
from ..diagnostics.discovery import Layers
from ..diagnostics.distributed import rank_and_world
from ..diagnostics.labels import next_tokens, shifts_labels
from ..diagnostics.losses import LossFunction, summed_loss
from ..diagnostics.outputs import Token
from ..diagnostics.restore import is_sharded, measured, unwrapped
from ..diagnostics.taps import make_plan
from ..diagnostics.thresholds import as_thresholds
from ..strictness import RuntimeCheckWarning
from .reading import MonitorVerdict, Reading, Turn, judged
from .sinks import as_sink

__all__ = ["Monitor"]

_NEVER_DECIDE = ("(a)", "(b)", "credit size")


class Monitor:
    """Measures growth, gradients and credit on one fixed batch every so many steps.

    The model is left bit by bit as it was (mode, buffers, ``.grad``, random state). One check costs about one and a
    half training steps on a batch of the same size. A change of a criterion is warned about once, at its step, with a
    :class:`fa_lint_runtime.RuntimeCheckWarning`: on the published networks a run was lost after 3 to 11 of 100 epochs.

    Args:
        model: as for :func:`fa_lint_runtime.diagnose`; a DDP wrapper is looked through, rank 0 measures.
        batch: a held-out ``(x, y)``, 128 samples are usual; x a tensor, a tuple or a dict.
        every: optimizer steps between checks.
        sinks: paths (JSONL), TensorBoard writers, W&B runs, functions of a :class:`Reading`.
        feedback: the training feedback, for Γ (recorded; without a null it decides nothing).
        thresholds: a :class:`DiagnosticThresholds` or a mapping of those to change.
        layers, loss_fn, token, sites: as for :func:`fa_lint_runtime.diagnose`.
        warn: False keeps turns in ``turns`` only.
        prefix: of scalar names.

    Attributes:
        readings: all of them.
        turns: every criterion that began or ceased to fire.

    Raises:
        ValueError: ``every`` below 1, an empty batch, or layers that do not exist (at the first check).

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> monitor = Monitor(net, (torch.randn(32, 8), torch.randint(0, 3, (32,))), every=10)
        >>> for _ in range(20):  # a training loop would update net here
        ...     _ = monitor.step()
        >>> [reading.step for reading in monitor.readings], monitor.verdict
        ([10, 20], 'sound')
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Any,
        *,
        every: int = 100,
        sinks: Sequence[Any] = (),
        feedback: FeedbackSource | None = None,
        thresholds: DiagnosticThresholds | Mapping[str, float] | None = None,
        layers: Layers | None = None,
        loss_fn: LossFunction | None = None,
        token: Token = "cls",
        sites: Mapping[str, Any] | None = None,
        warn: bool = True,
        prefix: str = "fa",
    ) -> None:
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"every must be an integer of at least 1, got {every!r}")
        self.model, self.every, self.warn = model, every, warn
        self.thresholds = as_thresholds(thresholds)
        self._item, self._batch = batch, to_batch(batch, 0)
        self._sinks = [as_sink(target, prefix) for target in sinks]
        self._feedback = None if feedback is None else as_feedback(feedback)
        self._layers, self._loss_fn, self._token, self._sites = layers, loss_fn, token, sites
        self._capture: Capture | None = None
        self._home = torch.device("cpu")
        self._pairs: tuple[tuple[int, str], ...] = ()
        self._fired: set[str] = set()
        self.steps = 0
        self.readings: list[Reading] = []
        self.turns: list[Turn] = []

    @property
    def verdict(self) -> MonitorVerdict | None:
        """Of the last reading; None before the first."""
        return self.readings[-1].verdict if self.readings else None

    def step(self, step: int | None = None) -> Reading | None:
        """Call after every optimizer step; measures on every ``every``-th.

        Args:
            step: the number of the step just made, from 1; counted if left out.

        Returns:
            Reading: what was measured, or None.
        """
        self.steps = self.steps + 1 if step is None else step
        return self.check(self.steps) if self.steps % self.every == 0 else None

    def check(self, step: int | None = None) -> Reading | None:
        """Measure now. None on ranks other than 0."""
        inner = unwrapped(self.model)
        if rank_and_world()[0] != 0 and not is_sharded(inner):
            return None
        home = next((p.device for p in inner.parameters()), torch.device("cpu"))
        batch = self._batch = self._batch.to(home)
        with measured(inner, track_parameters=True):
            if self._capture is None or self._capture.model is not inner or self._home != home:
                self._capture, self._home = self._configured(inner, batch), home
            found = to_cpu(self._capture(self._batch, 1))
        reading = self._reading(self.steps if step is None else step, found)
        if rank_and_world()[0] == 0:
            self._publish(reading)
        return reading

    def _configured(self, model: nn.Module, batch: Batch) -> Capture:
        probe = batch.head(3)
        gated = self._feedback.kind if self._feedback is not None and self._feedback.derivative else None
        if self._loss_fn is None and shifts_labels(model, self._item, probe):
            self._batch, self._item = next_tokens(batch), None
            probe = self._batch.head(3)
        plan, logits = make_plan(model, self._layers, probe, before_activations=gated is not None)
        capture = Capture(model, plan, summed_loss(self._loss_fn, logits, probe.y), token=self._token, groups=1)
        if self._feedback is not None:
            _, matrices = effective_matrices(self._feedback, logits.device)
            self._pairs = pair(self._feedback.sites, plan.names, self._sites).trained
            # As the pairing that asks for no null: Γ is recorded here, decisions about it belong to diagnose.
            capture.credits = Credits(Pairing((), self._pairs, ""), matrices=matrices, gated=gated)
        return capture

    def _reading(self, step: int, found: BatchStatistics) -> Reading:
        h, g, e = found.hidden_norms, found.gradient_norms, found.error_norms
        hidden, gradient = h.quantile(0.5, dim=1), g.nanquantile(0.5, dim=1)
        elasticities = (found.influences / e).nanquantile(0.5, dim=1).tolist()
        figures: dict[str, Any] = {
            "hidden_norms": hidden.tolist(),
            "gradient_norms": gradient.tolist(),
            "mean_loss_gradient_norm": float(gradient[-1]) / found.size,
            "growth": float((hidden[1:] / hidden[:-1]).max()) if len(hidden) > 1 else float("nan"),
            "credit_per_error": float((g[-1] / e).nanquantile(0.5)),
            "elasticity": collapse([v for v in elasticities if v == v] or [math.inf])[0],
            "error": float(e.quantile(0.5)),
            "nonfinite": _nonfinite(h, g, e),
        }
        checks = judged(figures, self.thresholds)
        fired = tuple(name for name, (fires, _, _) in checks.items() if fires)
        self._turn(step, checks)
        decisive = [name for name in fired if name not in _NEVER_DECIDE]
        verdict: MonitorVerdict = "invalid" if "finite" in fired else "walked back" if decisive else "sound"
        return Reading(
            step=step,
            **(figures | {"hidden_norms": tuple(hidden.tolist()), "gradient_norms": tuple(gradient.tolist())}),
            gamma=self._gamma(found),
            fired=fired,
            verdict=verdict,
        )

    def _gamma(self, found: BatchStatistics) -> tuple[float | None, ...]:
        values: list[float | None] = [None] * len(found.hidden_norms)
        for position, site in self._pairs:
            if (position, site) in found.alignments:
                values[position] = float(found.alignments[position, site].cosines.nanmean())
        return tuple(values)

    def _turn(self, step: int, checks: Mapping[str, tuple[bool, float, float]]) -> None:
        for name, (fires, value, threshold) in checks.items():
            if fires == (name in self._fired):
                continue
            (self._fired.add if fires else self._fired.discard)(name)
            self.turns.append(Turn(step, name, fires, value, threshold))

    def _publish(self, reading: Reading) -> None:
        self.readings.append(reading)
        for sink in self._sinks:
            sink(reading)
        fresh = [t for t in self.turns if t.step == reading.step and t.criterion not in _NEVER_DECIDE]
        for turn in fresh if self.warn else ():
            warnings.warn(turn.message(), RuntimeCheckWarning, stacklevel=4)


def _nonfinite(h: Tensor, g: Tensor, e: Tensor) -> float:
    """Share of samples with an inf anywhere, or a NaN where others have a number (all NaN: no graph leads there)."""
    detached = torch.isnan(g).all(1, keepdim=True)
    broken = (~torch.isfinite(h)).any(0) | (~torch.isfinite(g) & ~detached).any(0) | ~torch.isfinite(e)
    return float(broken.double().mean())
