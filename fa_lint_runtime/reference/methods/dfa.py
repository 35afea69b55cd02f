"""Direct feedback alignment: the output error reaches every site through a fixed random matrix."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..local_step import LocalStep
from .base import spread
from .random_feedback import RandomFeedback

__all__ = ["DirectFeedbackAlignment"]


class DirectFeedbackAlignment(RandomFeedback):
    """``a_{l+1} = e B_lᵀ``, ``B_l = randn(d, C) / sqrt(C)``: each block has its matrix.

    B_0 trains the embedding too.

    L matrices serve L + 1 states. The original evaluation paired ``h_l`` with ``B_min(l, L-1)``, the matrix of the
    *next* block; here the pairing is the one of training.

    Source:
        Nøkland, "Direct Feedback Alignment Provides Learning in Deep Neural Networks" (2016).

    Example:
        >>> import torch
        >>> from fa_lint_runtime.reference import ResidualMLP
        >>> method = DirectFeedbackAlignment(ResidualMLP(4, 8, 3, 2), torch.zeros(1, 4))
        >>> dict(method.feedback_of_site)
        {'embed': 'blocks.0', 'blocks.0': 'blocks.0', 'blocks.1': 'blocks.1'}
    """

    name = "dfa"
    title = "direct feedback alignment"
    kind = "dfa"

    def shapes(self, sizes: list[int], classes: int) -> dict[str, tuple[int, int]]:
        """One (d, C) matrix a block; the embedding gets one of its own where ``h_0`` has another size than ``h_1``."""
        shapes = {} if sizes[0] == sizes[1] else {"embed": (sizes[0], classes)}
        return shapes | {site: (size, classes) for site, size in zip(self.sites[1:], sizes[1:], strict=True)}

    @property
    def feedback_of_site(self) -> Mapping[str, str]:
        """Every site has its matrix; ``embed`` shares that of the first block where sizes allow."""
        own = {site: site for site in self.feedback.sites}
        return {"embed": own.get("embed", self.sites[1])} | own

    def credit(self, step: LocalStep) -> list[Tensor]:
        """One product a site."""
        signals = self.feedback.credit(step.error)
        chosen = self.feedback_of_site
        return [spread(signals[chosen[site]], state) for site, state in zip(self.sites, step.states, strict=True)]
