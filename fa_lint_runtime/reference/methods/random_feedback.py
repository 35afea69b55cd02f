"""What FA and DFA share: fixed random matrices with a name for each, stored with the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ...errors import MissingFeedbackError
from ...feedback import Feedback, Kind
from ..models import ReferenceModel
from .base import Method

__all__ = ["RandomFeedback"]


class RandomFeedback(Method):
    """A method whose auxiliaries are the matrices of a :class:`fa_lint_runtime.Feedback`."""

    kind: Kind = "custom"

    def __init__(self, model: ReferenceModel, sample: Tensor) -> None:
        super().__init__(model, sample)
        sizes = model.state_sizes(sample)
        self.feedback = Feedback(
            {
                site: torch.randn(*shape) / math.sqrt(shape[1])
                for site, shape in self.shapes(sizes, model.classes).items()
            },
            kind=self.kind,
        ).to(sample.device)

    def shapes(self, sizes: list[int], classes: int) -> dict[str, tuple[int, int]]:
        """Site of each matrix and its shape, in the order of drawing."""
        raise NotImplementedError

    @property
    def auxiliaries(self) -> Feedback:
        """The matrices."""
        return self.feedback

    def load_auxiliaries(self, stored: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take the matrices of a checkpoint; every site must be there, with its shape.

        Raises:
            MissingFeedbackError: a site is not there.
            ValueError: a matrix of another shape.
        """
        for site, matrix in self.feedback.items():
            if site not in stored:
                raise MissingFeedbackError(f"feedback for site {site!r}")
            found = stored[site][""]
            if found.shape != matrix.shape:
                raise ValueError(f"feedback for {site!r} has shape {tuple(found.shape)}, need {tuple(matrix.shape)}")
            matrix.copy_(found)

    def to(self, device: torch.device | str) -> RandomFeedback:
        """Move the matrices."""
        self.feedback.to(device)
        return self
