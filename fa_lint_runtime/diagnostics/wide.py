"""A model and a batch in fp64, for checks beside the measurement itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .batches import Batch, tensors_of
from .restore import without_recomputation
from .taps import Plan

__all__ = ["FAILURES", "InFp64", "device_of", "in_fp64"]

# What a model may raise that does not run in fp64.
FAILURES = (RuntimeError, TypeError, ValueError, NotImplementedError)


class InFp64(nn.Module):
    """A model with fp64 copies of its parameters and buffers in place of them for the length of a forward.

    Not ``torch.func.functional_call``: with a module registered under two names it leaves copies behind (torch 2.13).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = (model,)  # in a tuple: not a submodule
        self._copies: dict[int, Tensor] = {}
        for value in [*model.parameters(), *model.buffers()]:
            wide = value.detach().to(torch.float64) if value.is_floating_point() else value.detach()
            wide = wide.clone() if wide.dtype == value.dtype else wide
            self._copies[id(value)] = wide.requires_grad_(value.requires_grad)

    def embeddings(self) -> list[Tensor]:
        """fp64 copies of the tables of ``nn.Embedding`` modules that require a gradient."""
        tables = [m.weight for m in self._model[0].modules() if isinstance(m, nn.Embedding)]
        return [self._copies[id(t)] for t in dict.fromkeys(tables) if t.requires_grad]

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        kept = []
        for module in self._model[0].modules():
            for table in (module._parameters, module._buffers):
                kept.append((table, dict(table)))
                for name, value in table.items():
                    if value is not None:
                        table[name] = self._copies.get(id(value), value)  # type: ignore[assignment]
        try:
            yield
        finally:
            for table, values in kept:
                table.update(values)  # type: ignore[arg-type]

    def entry(self, plan: Plan) -> Plan | None:
        """A plan whose first hidden state exists before anything depends on it, so that it can be moved."""
        if plan.mode != "contract":
            return plan
        blocks = getattr(self._model[0], "blocks", None)
        if not isinstance(blocks, nn.ModuleList | nn.Sequential) or not len(blocks):
            return None
        return Plan(
            "inputs of blocks", plan.source, plan.names[:1], (None,), (blocks[0],), 1, None, plan.batch_dims[:1]
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the model."""
        with without_recomputation(), self._swapped():
            return self._model[0](*args, **kwargs)


def in_fp64(batch: Batch) -> Batch:
    """Its floating-point inputs and targets, detached."""
    wide = batch.mapped(lambda t: t.detach().to(torch.float64) if t.is_floating_point() else t.detach())
    if isinstance(batch.y, Tensor) and batch.y.is_floating_point():
        return Batch(wide.x, batch.y.to(torch.float64), batch.size)
    return wide


def device_of(batch: Batch) -> str:
    """Device type of the inputs."""
    return next((t.device.type for t in tensors_of(batch.x)), "cpu")
