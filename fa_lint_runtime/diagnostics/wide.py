"""Copies of a model and a batch, in fp64 or as they are, for checks beside the measurement itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..placement import cuda_indices
from .batches import Batch, tensors_of
from .restore import is_sharded, without_recomputation
from .taps import Plan

__all__ = ["FAILURES", "Copies", "device_of", "in_fp64"]

# What a model may raise that does not run in fp64, or not on a few samples.
FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AssertionError, NotImplementedError, AttributeError)


class Copies(nn.Module):
    """A model with copies of its parameters and buffers in place of them for the length of a forward.

    Not ``torch.func.functional_call``: with a module registered under two names it leaves copies behind (torch 2.13).

    Attributes:
        step: of a central difference, relative to what is moved. In working precision small, for the sake of kinks.
        forward_of_model: whose signature says which arguments there are; that of the copies takes any.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype | None = torch.float64) -> None:
        super().__init__()
        self._model = (model,)  # in a tuple: not a submodule
        self.forward_of_model = model.forward
        self._copies: dict[int, Tensor] = {}
        for value in [*model.parameters(), *model.buffers()] if not is_sharded(model) else []:
            copy = value.detach().to(dtype) if dtype is not None and value.is_floating_point() else value.detach()
            copy = copy.clone() if copy.dtype == value.dtype else copy
            self._copies[id(value)] = copy.requires_grad_(value.requires_grad)
        self._states = {id(b) for b in model.buffers()}
        units = [torch.finfo(p.dtype).eps for p in model.parameters() if p.is_floating_point()]
        coarsest = max(units, default=2.0**-23)
        self.step = 1e-5 if dtype == torch.float64 else coarsest**0.5

    def parameters_read(self) -> list[Tensor]:
        """Copies of parameters that require a gradient: of tables of ``nn.Embedding`` modules, or of all."""
        tables = [m.weight for m in self._model[0].modules() if isinstance(m, nn.Embedding)]
        chosen = [t for t in tables if t.requires_grad] or list(self._model[0].parameters())
        return [self._copies[id(t)] for t in dict.fromkeys(chosen) if t.requires_grad and id(t) in self._copies]

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        if not self._copies:  # FSDP2 looks after its parameters itself
            yield
            return
        kept = []
        # Buffers are fresh in every forward: what one of them leaves there must not change the next.
        fresh = {key: copy.clone() if key in self._states else copy for key, copy in self._copies.items()}
        for module in self._model[0].modules():
            for table in (module._parameters, module._buffers):
                kept.append((table, dict(table)))
                for name, value in table.items():
                    if value is not None:
                        table[name] = fresh.get(id(value), value)  # type: ignore[assignment]
        try:
            yield
        finally:
            for table, values in kept:
                table.update(values)  # type: ignore[arg-type]

    @contextmanager
    def same_noise(self) -> Iterator[None]:
        """Every forward draws the same random numbers."""
        devices = cuda_indices(p.device for p in self._model[0].parameters())
        with torch.random.fork_rng(devices):
            for generator in [torch.default_generator, *(torch.cuda.default_generators[i] for i in devices)]:
                generator.manual_seed(0)
            yield

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
