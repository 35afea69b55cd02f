"""What claims read off a trained network: norms, gradients, credit, alignment, each computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..cosine import safe_cosine
from ..diagnostics import bp_grad_norms, cross_batch_direction_stability, residual_norms
from ..norms import safe_norm
from ..output_error import output_error
from ..reference import Backprop, local_step
from .networks import TrainedNetwork

__all__ = ["BATCH", "BATCHES", "Measurements"]

BATCH, BATCHES = 128, 8


@dataclass
class Measurements:
    """Per-layer quantities of one network on its test batches, in fp64 from fp32 gradients.

    Gradients are those of the *summed* loss, one a sample; the original takes them of the batch mean: 1/128 of these.
    """

    network: TrainedNetwork

    @cached_property
    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """Eight disjoint test batches of 128."""
        return self.network.data.eval_batches(BATCH, BATCHES)

    @cached_property
    def _captured(self) -> tuple[list[Tensor], list[Tensor], Tensor]:
        x = torch.cat([x for x, _ in self.batches])
        y = torch.cat([y for _, y in self.batches])
        step = local_step(self.network.model, x, y)
        gradients = Backprop(self.network.model, x).credit(step)
        return [h.detach() for h in step.states], gradients, output_error(step.logits.detach().double(), y)

    @property
    def states(self) -> list[Tensor]:
        """``h_0 … h_L``, (1024, d)."""
        return self._captured[0]

    @property
    def gradients(self) -> list[Tensor]:
        """``∂loss_i/∂h_l``, (1024, d)."""
        return self._captured[1]

    @property
    def error(self) -> Tensor:
        """Output error, fp64 (1024, C)."""
        return self._captured[2]

    @cached_property
    def state_norms(self) -> list[float]:
        """Median ``‖h_l‖`` over the first batch."""
        return residual_norms(self.network.model, self.batches[0][0])

    @cached_property
    def growth(self) -> float:
        """(a): the largest ``‖h_{l+1}‖ / ‖h_l‖``; NaN if anything is."""
        ratios = torch.tensor(self.state_norms[1:]) / torch.tensor(self.state_norms[:-1])
        return float(ratios.max())

    @cached_property
    def mean_loss_gradient_norms(self) -> list[float]:
        """(b) as the original takes it: median ``‖g_l‖`` over a batch of 128 of the *mean* loss."""
        return bp_grad_norms(self.network.model, *self.batches[0])

    @cached_property
    def credit_per_error(self) -> float:
        """Median ``‖g_L‖ / ‖e‖``: (b) without the batch size and without what is left of the error."""
        return float((safe_norm(self.gradients[-1].double()) / safe_norm(self.error)).median())

    def fires_a(self, threshold: float = 50.0) -> bool:
        """(a) by the original threshold."""
        return not self.growth <= threshold

    def fires_b(self, threshold: float = 1e-7) -> bool:
        """(b) by the original threshold."""
        return not self.mean_loss_gradient_norms[-1] >= threshold

    def alignment(self, matrices: dict[int, Tensor]) -> Tensor:
        """Γ of each sample for a matrix (d, C) at each state: (states, 1024), fp64."""
        rows = [
            safe_cosine((self.error @ matrix.double().T), self.gradients[index].double())
            for index, matrix in matrices.items()
        ]
        return torch.stack(rows)

    def training_matrices(self) -> dict[int, Tensor]:
        """Feedback by state, paired as in training: the matrix of the part that made the state."""
        feedback = self.network.method.feedback_of_site
        auxiliaries = self.network.method.auxiliaries
        assert auxiliaries is not None
        return {
            index: auxiliaries[feedback[site]]  # type: ignore[misc]
            for index, site in enumerate(self.network.method.sites)
        }

    def original_matrices(self) -> dict[int, Tensor]:
        """Feedback as the original pairs it: ``B_min(l, L-1)`` at ``h_l``."""
        trained = self.training_matrices()
        last = max(trained)
        return {index: trained[min(index + 1, last)] for index in trained}

    def stability(self, index: int) -> float:
        """(c): mean pairwise cosine of the batch-mean gradient directions at one state."""
        return cross_batch_direction_stability(self.network.model, self.batches, index)
