"""A small vision transformer: patches, a cls token, pre-LN blocks, a terminal LayerNorm on the cls token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import ReferenceModel
from .residual_mlp import mlp_block

__all__ = ["ViTMini"]


class _Branch(nn.Module):
    """What a pre-LN transformer block adds to its input: attention, then an MLP on the sum."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = mlp_block(width, 2 * width)

    def forward(self, h: Tensor) -> Tensor:
        normed = self.norm(h)
        attended: Tensor = self.attention(normed, normed, normed, need_weights=False)[0]
        added: Tensor = attended + self.mlp(h + attended)
        return added


class ViTMini(ReferenceModel):
    """Vision transformer with hidden states (B, T + 1, d); token 0 is cls.

    The published ViT-Mini has 4 blocks, d = 128, a cls token and a terminal LN; patch size 4, 4 heads and an MLP of
    twice the width are ours.

    Args:
        image: (channels, height, width).
        classes: C.
        width: d.
        depth: L.
        patch: side of a patch; height and width must be multiples of it.
        heads: attention heads.

    Source:
        Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021).

    Raises:
        ValueError: an image that no whole number of patches covers.

    Example:
        >>> logits, hidden = ViTMini((3, 32, 32), 10)(torch.zeros(2, 3, 32, 32), return_hidden=True)
        >>> logits.shape, hidden[0].shape, len(hidden)
        (torch.Size([2, 10]), torch.Size([2, 65, 128]), 5)
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        classes: int,
        width: int = 128,
        depth: int = 4,
        patch: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        channels, height, breadth = image
        if height % patch or breadth % patch:
            raise ValueError(f"patches of {patch} do not cover an image of {height} x {breadth}")
        self.classes = classes
        self.patch_embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, (height // patch) * (breadth // patch) + 1, width))
        self.blocks = nn.ModuleList(_Branch(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def start(self, x: Tensor) -> Tensor:
        """(B, channels, height, width) to (B, T + 1, d)."""
        patches = self.patch_embed(x).flatten(2).mT
        return torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1) + self.pos_embed

    def readout(self, h: Tensor) -> Tensor:
        """The cls token through LN and head."""
        logits: Tensor = self.head(self.norm(h[:, 0]))
        return logits

    def start_parameters(self) -> list[nn.Parameter]:
        """Patch embedding, cls token and positions."""
        return [*self.patch_embed.parameters(), self.cls_token, self.pos_embed]

    def readout_parameters(self) -> list[nn.Parameter]:
        """Terminal LayerNorm and head."""
        return [*self.norm.parameters(), *self.head.parameters()]
