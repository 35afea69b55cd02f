"""The monitor as a callback of the Hugging Face ``Trainer``."""

from __future__ import annotations

import operator
from typing import Any

from ..dependencies import MissingDependencyError
from .monitor import Monitor

try:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError:
    raise MissingDependencyError("transformers", "MonitorTrainerCallback", "transformers") from None

__all__ = ["MonitorTrainerCallback"]


class MonitorTrainerCallback(TrainerCallback):
    """Checks after every ``every``-th optimizer step.

    Args:
        batch: ``(inputs, labels)``: inputs a dict of keyword arguments without labels.
        trainer: the ``Trainer``: readings go through its ``log``, to every tracker in ``report_to``; without it, to its
            log history alone.
        network: name of the attribute of the trainer's model that is the network; None: the model itself.
        options: keywords of :class:`fa_lint_runtime.Monitor`; ``layers="bert.encoder.layer.*"`` names the blocks.

    Attributes:
        monitor: the :class:`Monitor`, from the start of training.

    Example:
        ``trainer.add_callback(MonitorTrainerCallback((inputs, labels), trainer=trainer, every=100))``
    """

    def __init__(
        self, batch: Any, *, trainer: Trainer | None = None, network: str | None = None, **options: Any
    ) -> None:
        self._batch, self._trainer, self._network, self._options = batch, trainer, network, options
        self.monitor: Monitor | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make the monitor for the trainer's model."""
        model = kwargs["model"] if self._network is None else operator.attrgetter(self._network)(kwargs["model"])
        if self.monitor is None or self.monitor.model is not model:
            self.monitor = Monitor(model, self._batch, **self._options)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Check; scalars go where the trainer's own do."""
        assert self.monitor is not None
        reading = self.monitor.step(state.global_step)
        if reading is not None:
            scalars = {f"fa/{name}": value for name, value in reading.scalars().items()}
            if self._trainer is None:
                state.log_history.append({"step": state.global_step, **scalars})
            else:
                self._trainer.log(scalars)
