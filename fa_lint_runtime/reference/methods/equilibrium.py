"""Equilibrium propagation: the states relax twice, freely and nudged by the loss; the difference is the credit."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..local_step import LocalStep
from ..models import ReferenceModel
from .base import Method

__all__ = ["EquilibriumPropagation"]


class EquilibriumPropagation(Method):
    """Energy ``½ Σ ‖s_l - F_l(s_{l-1})‖² + β loss``; ``a_l = (F_l(s_{l-1}) - s_l) / β`` after the nudged relaxation.

    The free phase of this energy is the forward pass itself (every residual is 0 there), so that the contrast of the
    two phases is the nudged residual alone. The publication names a contrastive local energy and gives none; this
    predictive-coding form, β = 0.1, 20 steps of 0.3 are ours. As β goes to 0 and the relaxation converges, ``a_l``
    becomes the backprop gradient.

    Source:
        Scellier and Bengio, "Equilibrium Propagation" (2017); Whittington and Bogacz, "An Approximation of the Error
        Backpropagation Algorithm in a Predictive Coding Network" (2017).

    Example:
        >>> from fa_lint_runtime.reference import ResidualMLP
        >>> model = ResidualMLP(4, 8, 3, 2)
        >>> x, y = torch.randn(5, 4), torch.zeros(5, dtype=torch.int64)
        >>> [tuple(a.shape) for a in EquilibriumPropagation(model, x).credit_of(model, x, y)]
        [(5, 8), (5, 8), (5, 8)]
    """

    name = "ep"
    title = "equilibrium propagation"

    def __init__(
        self, model: ReferenceModel, sample: Tensor, *, beta: float = 0.1, steps: int = 20, rate: float = 0.3
    ) -> None:
        super().__init__(model, sample)
        self.beta, self.steps, self.rate = beta, steps, rate

    def credit(self, step: LocalStep) -> list[Tensor]:
        """``steps`` forward and backward passes over the nudged states."""
        start = step.outputs[0].detach()
        relaxed = [h.detach().clone() for h in step.states]
        for _ in range(self.steps):
            leaves = [s.requires_grad_() for s in relaxed]
            with torch.enable_grad():
                energy = self._energy(step.model, start, leaves, step.y)
            slopes = torch.autograd.grad(energy, leaves)
            relaxed = [s.detach() - self.rate * slope for s, slope in zip(leaves, slopes, strict=True)]
        with torch.no_grad():
            made = [start, *(step.model.step(i, s) for i, s in enumerate(relaxed[:-1]))]
            return [(f - s) / self.beta for f, s in zip(made, relaxed, strict=True)]

    def _energy(self, model: ReferenceModel, start: Tensor, states: list[Tensor], y: Tensor) -> Tensor:
        made = [start, *(model.step(i, s) for i, s in enumerate(states[:-1]))]
        residuals = sum((0.5 * (s - f).square().sum() for s, f in zip(states, made, strict=True)), start.new_zeros(()))
        return residuals + self.beta * F.cross_entropy(model.readout(states[-1]), y, reduction="sum")
