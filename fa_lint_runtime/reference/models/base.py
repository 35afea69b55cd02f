"""What every reference network is: an embedding, blocks, a readout; every hidden state has one part that made it."""

from __future__ import annotations

import math
from typing import Literal, overload

import torch
from torch import Tensor, nn

__all__ = ["ReferenceModel", "branch_of"]


class ReferenceModel(nn.Module):
    """``h_0 = start(x)``, ``h_{l+1} = step(l, h_l)``, ``logits = readout(h_L)``.

    Subclasses set ``blocks`` and ``classes``, and implement ``start`` and ``readout``; ``step`` adds the skip
    connection unless ``residual`` is False.

    Attributes:
        blocks: the L parts that credit signals train; block l makes ``h_{l+1}``.
        residual: whether block l is a branch ``f_l`` beside a skip connection.
        classes: C.

    Example:
        >>> from fa_lint_runtime.reference import ResidualMLP
        >>> model = ResidualMLP(8, 16, 3, 2)
        >>> logits, hidden = model(torch.zeros(5, 8), return_hidden=True)
        >>> logits.shape, [tuple(h.shape) for h in hidden]
        (torch.Size([5, 3]), [(5, 16), (5, 16), (5, 16)])
    """

    blocks: nn.ModuleList
    classes: int
    residual: bool = True

    def start(self, x: Tensor) -> Tensor:
        """``h_0`` from a batch of inputs."""
        raise NotImplementedError

    def readout(self, h: Tensor) -> Tensor:
        """Logits (B, C) from ``h_L``."""
        raise NotImplementedError

    def start_parameters(self) -> list[nn.Parameter]:
        """What makes ``h_0``."""
        raise NotImplementedError

    def readout_parameters(self) -> list[nn.Parameter]:
        """What the exact gradient of the loss trains, in every method."""
        raise NotImplementedError

    def step(self, index: int, h: Tensor) -> Tensor:
        """``h_{l+1}`` from ``h_l``."""
        branch: Tensor = self.blocks[index](h)
        return h + branch if self.residual else branch

    @property
    def depth(self) -> int:
        """L, the number of blocks; there are L + 1 hidden states."""
        return len(self.blocks)

    @property
    def sites(self) -> tuple[str, ...]:
        """The part that makes each hidden state: ``embed``, ``blocks.0``, …, ``blocks.{L-1}``."""
        return ("embed", *(f"blocks.{index}" for index in range(self.depth)))

    @overload
    def forward(self, x: Tensor, return_hidden: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, x: Tensor, return_hidden: Literal[True]) -> tuple[Tensor, list[Tensor]]: ...
    def forward(self, x: Tensor, return_hidden: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Logits (B, C); with ``return_hidden`` also ``[h_0, …, h_L]``."""
        hidden = [self.start(x)]
        for index in range(self.depth):
            hidden.append(self.step(index, hidden[-1]))
        logits = self.readout(hidden[-1])
        return (logits, hidden) if return_hidden else logits

    @torch.no_grad()
    def state_sizes(self, x: Tensor) -> list[int]:
        """Entries of a sample's credit at every hidden state: ``d`` for (B, d) and (B, T, d), all of (B, C, H, W).

        A sample's credit in a sequence is one vector for all its tokens.
        """
        training = self.training
        self.eval()
        _, hidden = self(x[:1], return_hidden=True)
        self.train(training)
        return [h.shape[-1] if h.ndim == 3 else math.prod(h.shape[1:]) for h in hidden]


def branch_of(model: ReferenceModel, index: int, before: Tensor, after: Tensor) -> Tensor:
    """``f_l(h_l)``, what the block itself contributed: the whole output where there is no skip connection."""
    return after - before if model.residual else after
