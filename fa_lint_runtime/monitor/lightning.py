"""The monitor as a callback of Lightning's ``Trainer``."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..dependencies import MissingDependencyError
from .monitor import Monitor

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:
    raise MissingDependencyError("lightning", "MonitorCallback", "lightning") from None

__all__ = ["MonitorCallback"]


class MonitorCallback(Callback):
    """Checks after every ``every``-th optimizer step; scalars also go to the trainer's loggers.

    Args:
        batch: as for :class:`fa_lint_runtime.Monitor`.
        network: name of the attribute of the ``LightningModule`` that is the network; None: the module itself, whose
            ``forward`` then gives logits.
        options: keywords of :class:`fa_lint_runtime.Monitor`.

    Attributes:
        monitor: the :class:`Monitor`, from the start of ``fit``.

    Example:
        ``Trainer(callbacks=[MonitorCallback((x, y), every=100, network="net")])``
    """

    def __init__(self, batch: Any, *, network: str | None = None, **options: Any) -> None:
        super().__init__()
        self._batch, self._network, self._options = batch, network, options
        self._seen = 0
        self.monitor: Monitor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the monitor for the network."""
        network: nn.Module = pl_module if self._network is None else getattr(pl_module, self._network)
        self._seen = trainer.global_step
        if self.monitor is None or self.monitor.model is not network:
            self.monitor = Monitor(network, self._batch, **self._options)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check if an optimizer step was made (not under gradient accumulation)."""
        step = trainer.global_step
        if self.monitor is None or step == self._seen:
            return
        self._seen = step
        reading = self.monitor.step(step)
        if reading is not None:
            scalars = {f"fa/{name}": value for name, value in reading.scalars().items()}
            for logger in trainer.loggers:
                logger.log_metrics(scalars, step=step)
