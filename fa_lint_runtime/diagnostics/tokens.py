"""Which positions of hidden states (B, T, d) the loss reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from .batches import Batch
from .capture import gradients_at
from .losses import SummedLoss
from .outputs import Token, samples_first
from .restore import tracked_inputs
from .taps import Plan, run

__all__ = ["Positions", "found_token", "positions_read"]


@dataclass(frozen=True)
class Positions:
    """Of one hidden state with ``count`` positions, those with a gradient."""

    count: int
    read: tuple[int, ...]

    def __str__(self) -> str:
        first, last = self.read[0], self.read[-1]
        if len(self.read) == 1:
            return f"position {first} of 0 to {self.count - 1}"
        whole = len(self.read) == last - first + 1
        named = f"{first} to {last}" if whole else ", ".join(map(str, self.read[:8]))
        return f"positions {named} of 0 to {self.count - 1}"


def positions_read(model: nn.Module, plan: Plan, loss: SummedLoss, batch: Batch) -> list[Positions | None]:
    """Of every hidden state; None where it is not (B, T, d), or where no gradient arrives at all."""
    states: list[Tensor] = []
    logits = run(model, plan, tracked_inputs(batch.x), lambda _index, h: states.append(h))
    if not any(h.ndim == 3 for h in states) or not logits.requires_grad:
        return [None] * len(states)
    edges = [get_gradient_edge(h) if h.requires_grad else None for h in states]
    with torch.enable_grad():
        gradients, _ = gradients_at(loss, logits, batch, edges)
    found: list[Positions | None] = []
    for gradient, dim in zip(gradients, plan.batch_dims, strict=True):
        read = None
        if gradient is not None and gradient.ndim == 3:
            seen = samples_first(gradient, dim).ne(0).any(0).any(1)
            positions = tuple(seen.nonzero().flatten().tolist())
            read = Positions(len(seen), positions) if positions else None
        found.append(read)
    return found


def found_token(positions: Sequence[Positions | None]) -> Token:
    """The first position if the loss reads it at the last state, else the one it reads, or their mean."""
    last = next((p for p in reversed(positions) if p is not None), None)
    if last is None or 0 in last.read:
        return "cls"
    if len(last.read) > 1:
        return "mean"
    return "last" if last.read[0] == last.count - 1 else last.read[0]
