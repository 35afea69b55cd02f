"""The residual network without its terminal LayerNorm: nothing makes the loss blind to the size of ``h_L``."""

from __future__ import annotations

from torch import nn

from .residual_mlp import ResidualMLP

__all__ = ["StudentNet"]


class StudentNet(ResidualMLP):
    """:class:`ResidualMLP` whose readout is ``out_head(h_L)``.

    The publication names a StudentNet without terminal LN and does not define it; this definition is ours.
    Arguments as in :class:`ResidualMLP`.

    Example:
        >>> StudentNet(8, 16, 3, 2).out_ln
        Identity()
    """

    def __init__(self, inputs: int, width: int, classes: int, depth: int) -> None:
        super().__init__(inputs, width, classes, depth)
        self.out_ln = nn.Identity()  # type: ignore[assignment]
