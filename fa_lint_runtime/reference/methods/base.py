"""What every method says: which credit each hidden state gets, and what that credit is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...feedback import Feedback
from ..local_step import LocalStep, local_step
from ..models import ReferenceModel

__all__ = ["Auxiliaries", "Method", "spread"]

Auxiliaries = Feedback | Mapping[str, Tensor | nn.Module] | None


class Method(ABC):
    """Credit assignment for a :class:`ReferenceModel`.

    A method is made for one model, right after it, so that a seed fixes model and auxiliaries in that order.

    Args:
        model: the network; methods look at its shapes and, where their definition needs them, at its weights.
        sample: inputs of any batch size, for the shapes of the hidden states.

    Attributes:
        name: short name in tables and configurations.
        title: full name.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, model: ReferenceModel, sample: Tensor) -> None:
        self.depth = model.depth
        self.sites = model.sites

    @abstractmethod
    def credit(self, step: LocalStep) -> list[Tensor]:
        """``[a_0, …, a_L]``: ``a_l`` has the shape of ``h_l``, trains the part that made ``h_l``, sums over the batch.

        A sample's credit does not depend on the batch size; no gradient flows through it.
        """

    @property
    def feedback_of_site(self) -> Mapping[str, str]:
        """Which auxiliary serves which site (``embed``, ``blocks.0``, …); empty if the method needs none."""
        return {}

    @property
    def auxiliaries(self) -> Auxiliaries:
        """What a checkpoint must hold beside the model; None if nothing."""
        return None

    def load_auxiliaries(self, stored: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take the auxiliaries back from a checkpoint: site to name to tensor.

        Raises:
            MissingFeedbackError: one is not there.
        """
        return

    def learn(self, step: LocalStep) -> None:
        """Train the auxiliaries on a batch; the model does not move."""
        return

    def to(self, device: torch.device | str) -> Method:
        """Move the auxiliaries."""
        return self

    def credit_of(self, model: ReferenceModel, x: Tensor, y: Tensor) -> list[Tensor]:
        """The credits of a batch, for measurements."""
        return [a.detach() for a in self.credit(local_step(model, x, y))]


def spread(credit: Tensor, state: Tensor) -> Tensor:
    """One vector a sample, (B, n), in the shape of a hidden state.

    (B, d): unchanged. (B, T, d): every token gets the vector divided by T. Other shapes: reshaped. (Our definition:
    the published text defines it for vectors only.)

    Example:
        >>> import torch
        >>> spread(torch.ones(2, 3), torch.zeros(2, 4, 3))[0, :, 0]
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    if state.ndim == 3:
        return credit.unsqueeze(1).expand_as(state) / state.shape[1]
    return credit.reshape(state.shape)
