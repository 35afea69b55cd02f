"""One forward pass cut between the blocks: every part can be trained by the credit for its own output alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..output_error import output_error
from .models import ReferenceModel, branch_of

__all__ = ["LocalStep", "local_step"]


@dataclass(frozen=True)
class LocalStep:
    """A batch as the local methods see it. Sums over the batch; B is the batch size.

    Attributes:
        model: the network.
        x, y: inputs and class indices (B,).
        states: ``[h_0, …, h_L]``, leaves that require gradients: what the next part sees.
        outputs: the same values as functions of the part that made them (and of the leaf before).
        branches: ``f_l(h_l)`` of every block.
        logits: (B, C), a function of the last leaf and the readout.
        losses: cross-entropy of each sample (B,).
        error: ``softmax(logits) - onehot(y)`` (B, C), no gradient.
    """

    model: ReferenceModel
    x: Tensor
    y: Tensor
    states: list[Tensor]
    outputs: list[Tensor]
    branches: list[Tensor]
    logits: Tensor
    losses: Tensor
    error: Tensor

    def terminal_credit(self) -> Tensor:
        """``∂loss_i/∂h_L``, exact; shape of ``h_L``, one gradient a sample."""
        (credit,) = torch.autograd.grad(self.losses.sum(), self.states[-1], retain_graph=True)
        return credit


def local_step(model: ReferenceModel, x: Tensor, y: Tensor) -> LocalStep:
    """Run the network once, with a leaf in place of every hidden state.

    The leaves require gradients even where the part before is frozen.

    Example:
        >>> from fa_lint_runtime.reference import ResidualMLP
        >>> step = local_step(ResidualMLP(4, 8, 3, 2), torch.randn(5, 4), torch.zeros(5, dtype=torch.int64))
        >>> len(step.states), step.terminal_credit().shape, step.error.shape
        (3, torch.Size([5, 8]), torch.Size([5, 3]))
    """
    outputs = [model.start(x)]
    states = [_leaf(outputs[0])]
    branches = []
    for index in range(model.depth):
        outputs.append(model.step(index, states[-1]))
        branches.append(branch_of(model, index, states[-1], outputs[-1]))
        states.append(_leaf(outputs[-1]))
    logits = model.readout(states[-1])
    losses = F.cross_entropy(logits, y, reduction="none")
    return LocalStep(model, x, y, states, outputs, branches, logits, losses, output_error(logits.detach(), y))


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_()
