"""Credit Bridge: an auxiliary network predicts the terminal loss; its gradient is the credit."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..local_step import LocalStep
from .bridges import BridgeMethod, bridge_network, normalised

__all__ = ["CreditBridge"]


class CreditBridge(BridgeMethod):
    """``V(h_l, l) ≈ loss``, ``∇V(h_L, L) ≈ ∂loss/∂h_L``; ``a_l = ∇_{h_l} V``.

    The publication gives this sentence and no network. Ours sees the label as well (a loss depends on it), is trained
    by squared error on the sample's cross-entropy, and by the squared error of its terminal gradient, relative to the
    mean square of the true one, so that a gradient of 1e-7 counts as much as one of 1.

    Example:
        >>> from fa_lint_runtime.reference import ResidualMLP
        >>> model = ResidualMLP(4, 8, 3, 2)
        >>> method = CreditBridge(model, torch.zeros(1, 4))
        >>> [tuple(a.shape) for a in method.credit_of(model, torch.randn(5, 4), torch.zeros(5, dtype=torch.int64))]
        [(5, 8), (5, 8), (5, 8)]
    """

    name = "cb"
    title = "Credit Bridge"

    def network(self, width: int, classes: int) -> nn.Module:
        """(d, C) to a loss."""
        self.classes = classes
        return bridge_network(width + classes, self.depth, 1)

    def _values(self, states: list[Tensor], y: Tensor) -> Tensor:
        labels = F.one_hot(y.repeat(len(states)), self.classes).to(states[0].dtype)
        values: Tensor = self.bridge(torch.cat([normalised(torch.cat(states)), labels, self.depths(states)], 1))
        return values.squeeze(1)

    def credit(self, step: LocalStep) -> list[Tensor]:
        """One forward and one backward of the bridge for all states together."""
        states = [h.detach().requires_grad_() for h in step.states]
        with torch.enable_grad():
            total = self._values(states, step.y).sum()
        return list(torch.autograd.grad(total, states))

    def learn(self, step: LocalStep) -> None:
        """One step of regression on the loss and on its terminal gradient."""
        states = [h.detach().requires_grad_() for h in step.states]
        true = step.terminal_credit().double()
        values = self._values(states, step.y)
        fit = F.mse_loss(values, step.losses.detach().repeat(len(states)))
        (predicted,) = torch.autograd.grad(values[-len(true) :].sum(), states[-1], create_graph=True)
        scale = true.square().mean().sqrt().clamp_min(torch.finfo(torch.float64).tiny)
        match = ((predicted.double() - true) / scale).square().mean().to(fit.dtype)
        self.optimizer.zero_grad(set_to_none=True)
        (fit + match).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
