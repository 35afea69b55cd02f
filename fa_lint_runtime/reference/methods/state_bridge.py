"""State Bridge: an auxiliary network predicts where the trajectory ends; the loss is differentiated through that."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..local_step import LocalStep
from .bridges import BridgeMethod, bridge_network, normalised

__all__ = ["StateBridge"]


class StateBridge(BridgeMethod):
    """``P(h_l, l) ≈ h_L``; ``a_l = ∇_{h_l} loss(readout(P(h_l, l)))``.

    The publication gives this sentence and no network. Ours predicts the *normalised* terminal state (a terminal
    LayerNorm sees nothing else) and learns by mean squared error.

    Example:
        >>> from fa_lint_runtime.reference import ResidualMLP
        >>> model = ResidualMLP(4, 8, 3, 2)
        >>> method = StateBridge(model, torch.zeros(1, 4))
        >>> [tuple(a.shape) for a in method.credit_of(model, torch.randn(5, 4), torch.zeros(5, dtype=torch.int64))]
        [(5, 8), (5, 8), (5, 8)]
    """

    name = "sb"
    title = "State Bridge"

    def network(self, width: int, classes: int) -> nn.Module:
        """(d) to (d)."""
        return bridge_network(width, self.depth, width)

    def _predicted(self, states: list[Tensor]) -> Tensor:
        stacked = torch.cat(states)
        predicted: Tensor = self.bridge(torch.cat([normalised(stacked), self.depths(states)], 1))
        return predicted

    def credit(self, step: LocalStep) -> list[Tensor]:
        """One forward and one backward of bridge and readout for all states together."""
        states = [h.detach().requires_grad_() for h in step.states]
        with torch.enable_grad():
            logits = step.model.readout(self._predicted(states))
            loss = F.cross_entropy(logits, step.y.repeat(len(states)), reduction="sum")
        return list(torch.autograd.grad(loss, states))

    def learn(self, step: LocalStep) -> None:
        """One step of regression on the terminal state."""
        states = [h.detach() for h in step.states]
        target = normalised(states[-1]).repeat(len(states), 1)
        self.optimizer.zero_grad(set_to_none=True)
        F.mse_loss(self._predicted(states), target).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
