"""The monitor as a callback of the Hugging Face ``Trainer``."""

from __future__ import annotations

from typing import Any

from ..dependencies import MissingDependencyError
from .monitor import Monitor

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError:
    raise MissingDependencyError("transformers", "MonitorTrainerCallback", "transformers") from None

__all__ = ["MonitorTrainerCallback"]


class MonitorTrainerCallback(TrainerCallback):
    """Checks after every ``every``-th optimizer step.

    Args:
        batch: ``(inputs, labels)``: inputs a dict of keyword arguments without labels.
        options: keywords of :class:`fa_lint_runtime.Monitor`; ``layers="bert.encoder.layer.*"`` names the blocks.

    Attributes:
        monitor: the :class:`Monitor`, from the start of training.

    Example:
        ``Trainer(..., callbacks=[MonitorTrainerCallback((inputs, labels), every=100)])``
    """

    def __init__(self, batch: Any, **options: Any) -> None:
        self._batch, self._options = batch, options
        self.monitor: Monitor | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make the monitor for the trainer's model."""
        model = kwargs["model"]
        if self.monitor is None or self.monitor.model is not model:
            self.monitor = Monitor(model, self._batch, **self._options)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Check; scalars are added to the trainer's log history."""
        assert self.monitor is not None
        reading = self.monitor.step(state.global_step)
        if reading is not None:
            scalars = {f"fa/{name}": value for name, value in reading.scalars().items()}
            state.log_history.append({"step": state.global_step, **scalars})
