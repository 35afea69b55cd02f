"""Backprop as a local method: every credit is the exact gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from ..local_step import LocalStep
from .base import Method

__all__ = ["Backprop"]


class Backprop(Method):
    """``a_l = ∂loss/∂h_l``; trained by it, a network moves exactly as under ``loss.backward()``.

    Example:
        >>> from fa_lint_runtime.reference import ResidualMLP
        >>> model = ResidualMLP(4, 8, 3, 2)
        >>> x, y = torch.randn(5, 4), torch.zeros(5, dtype=torch.int64)
        >>> [tuple(a.shape) for a in Backprop(model, x).credit_of(model, x, y)]
        [(5, 8), (5, 8), (5, 8)]
    """

    name = "bp"
    title = "backprop"

    def credit(self, step: LocalStep) -> list[Tensor]:
        """From the last state to the first, through one block at a time."""
        credits = [step.terminal_credit()]
        for output, state in zip(reversed(step.outputs[1:]), reversed(step.states[:-1]), strict=True):
            (before,) = torch.autograd.grad(output, state, credits[0], retain_graph=True)
            credits.insert(0, before)
        return credits
