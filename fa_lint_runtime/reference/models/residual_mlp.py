"""The network of the published runs: pre-LayerNorm residual blocks on vectors."""

from __future__ import annotations

from torch import Tensor, nn

from .base import ReferenceModel

__all__ = ["ResidualMLP", "mlp_block"]


def mlp_block(width: int, hidden: int | None = None) -> nn.Sequential:
    """``fc2(gelu(fc1(LN(h))))``, a residual branch; ``hidden`` is the width between the two layers."""
    hidden = width if hidden is None else hidden
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class ResidualMLP(ReferenceModel):
    """``h_0 = embed(x)``, ``h_{l+1} = h_l + f_l(h_l)``, ``logits = out_head(out_ln(h_L))``.

    A branch f_l is LN, Linear, GELU, Linear.

    Args:
        inputs: size of a sample; it is flattened.
        width: d.
        classes: C.
        depth: L.

    Source:
        The published runs use ``ResidualMLP(3072, 256, 10, 4)``; Xiong et al., "On Layer Normalization in the
        Transformer Architecture" (2020) for pre-LN.

    Example:
        >>> import torch
        >>> ResidualMLP(3072, 256, 10, 4)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, inputs: int, width: int, classes: int, depth: int) -> None:
        super().__init__()
        self.classes = classes
        self.embed = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(mlp_block(width) for _ in range(depth))
        self.out_ln = nn.LayerNorm(width)
        self.out_head = nn.Linear(width, classes)

    def start(self, x: Tensor) -> Tensor:
        """(B, ...) to (B, d)."""
        h: Tensor = self.embed(x.flatten(1))
        return h

    def readout(self, h: Tensor) -> Tensor:
        """(B, d) to (B, C)."""
        logits: Tensor = self.out_head(self.out_ln(h))
        return logits

    def start_parameters(self) -> list[nn.Parameter]:
        """The embedding."""
        return list(self.embed.parameters())

    def readout_parameters(self) -> list[nn.Parameter]:
        """Terminal LayerNorm and head."""
        return [*self.out_ln.parameters(), *self.out_head.parameters()]
