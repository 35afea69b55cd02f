"""Feedback alignment: the credit travels down the network through fixed random matrices."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..local_step import LocalStep
from .base import spread
from .random_feedback import RandomFeedback

__all__ = ["FeedbackAlignment"]


class FeedbackAlignment(RandomFeedback):
    """``a_l = B_l a_{l+1}``, ``a_L = B_L e``; entries of the matrices are ``randn / sqrt(columns)``.

    The published text gives the square matrices between hidden states and leaves the top open; that the error enters
    through a random (d, C) matrix too is Lillicrap's rule and our choice.

    Source:
        Lillicrap et al., "Random synaptic feedback weights support error backpropagation for deep learning" (2016).

    Example:
        >>> import torch
        >>> from fa_lint_runtime.reference import ResidualMLP
        >>> method = FeedbackAlignment(ResidualMLP(4, 8, 3, 2), torch.zeros(1, 4))
        >>> {site: tuple(matrix.shape) for site, matrix in method.feedback.items()}
        {'embed': (8, 8), 'blocks.0': (8, 8), 'blocks.1': (8, 3)}
    """

    name = "fa"
    title = "feedback alignment"
    kind = "fa"

    def shapes(self, sizes: list[int], classes: int) -> dict[str, tuple[int, int]]:
        """One matrix a state, from the size of the next state (or the error) to its own."""
        return {
            site: (size, following)
            for site, size, following in zip(self.sites, sizes, [*sizes[1:], classes], strict=True)
        }

    @property
    def feedback_of_site(self) -> Mapping[str, str]:
        """Every site has its own matrix."""
        return {site: site for site in self.sites}

    def credit(self, step: LocalStep) -> list[Tensor]:
        """From the error down."""
        signals = self.feedback.credit(step.error)
        return [spread(signals[site], state) for site, state in zip(self.sites, step.states, strict=True)]
