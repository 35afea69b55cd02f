"""What State Bridge and Credit Bridge share: a network that knows the depth, trained beside the model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...errors import MissingFeedbackError
from ..models import ReferenceModel
from .base import Method

__all__ = ["BridgeMethod", "bridge_network", "normalised"]

_LEARNING_RATE = 1e-3


def bridge_network(inputs: int, depth: int, outputs: int, width: int = 256) -> nn.Sequential:
    """Two hidden layers on ``[input, onehot(l)]``."""
    return nn.Sequential(
        nn.Linear(inputs + depth + 1, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, outputs)
    )


def normalised(h: Tensor) -> Tensor:
    """A hidden state as a bridge sees it: LayerNorm without weights, so that it stays in range."""
    return nn.functional.layer_norm(h, h.shape[-1:])


class BridgeMethod(Method):
    """A method whose auxiliary is one network for all depths; it needs hidden states (B, d) of one size.

    Its size (two hidden layers of 256), optimiser (Adam, 1e-3) and the normalisation of its input are ours.

    Raises:
        ValueError: hidden states that are not vectors of one size.
    """

    def __init__(self, model: ReferenceModel, sample: Tensor) -> None:
        super().__init__(model, sample)
        training = model.training
        model.eval()
        with torch.no_grad():
            shapes = {tuple(h.shape[1:]) for h in model(sample[:1], return_hidden=True)[1]}
        model.train(training)
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise ValueError(f"{self.title} needs hidden states (B, d) of one size, got {sorted(shapes)}")
        self.bridge = self.network(next(iter(shapes))[0], model.classes).to(sample.device)
        self.optimizer = torch.optim.Adam(self.bridge.parameters(), lr=_LEARNING_RATE, fused=True)

    def network(self, width: int, classes: int) -> nn.Module:
        """The bridge for hidden states of a width."""
        raise NotImplementedError

    def depths(self, states: list[Tensor]) -> Tensor:
        """``onehot(l)`` for the stacked states: ((L + 1)·B, L + 1)."""
        levels = torch.arange(len(states), device=states[0].device).repeat_interleave(len(states[0]))
        return nn.functional.one_hot(levels, len(states)).to(states[0].dtype)

    @property
    def feedback_of_site(self) -> Mapping[str, str]:
        """One network for all sites."""
        return dict.fromkeys(self.sites, "bridge")

    @property
    def auxiliaries(self) -> Mapping[str, Tensor | nn.Module]:
        """The bridge."""
        return {"bridge": self.bridge}

    def load_auxiliaries(self, stored: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take the bridge of a checkpoint.

        Raises:
            MissingFeedbackError: it is not there.
        """
        if "bridge" not in stored:
            raise MissingFeedbackError("the bridge")
        self.bridge.load_state_dict(dict(stored["bridge"]))

    def to(self, device: torch.device | str) -> BridgeMethod:
        """Move the bridge; its optimiser follows."""
        self.bridge.to(device)
        return self
