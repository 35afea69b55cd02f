"""A plain convolutional network: no skip connections, BatchNorm, no terminal LayerNorm."""

from __future__ import annotations

from torch import Tensor, nn

from .base import ReferenceModel

__all__ = ["SmallCNN"]


def _stage(channels: int, filters: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU(), nn.MaxPool2d(2)
    )


class SmallCNN(ReferenceModel):
    """Three stages of convolution, BatchNorm, ReLU and pooling, one fully connected layer, a linear head.

    The publication says "3 conv + BatchNorm + 1 fc + head, no terminal LN"; filters (32, 64, 64), kernels of 3 and
    pooling by 2 are ours. ``h_0`` comes from the first stage; the blocks are the two other stages and the fc layer.

    Args:
        image: (channels, height, width), each side at least 8.
        classes: C.
        width: of the fully connected layer.

    Raises:
        ValueError: an image too small for three poolings.

    Example:
        >>> import torch
        >>> logits, hidden = SmallCNN((3, 32, 32), 10)(torch.zeros(2, 3, 32, 32), return_hidden=True)
        >>> [tuple(h.shape) for h in hidden]
        [(2, 32, 16, 16), (2, 64, 8, 8), (2, 64, 4, 4), (2, 128)]
    """

    residual = False

    def __init__(self, image: tuple[int, int, int], classes: int, width: int = 128) -> None:
        super().__init__()
        channels, height, breadth = image
        if min(height, breadth) < 8:
            raise ValueError(f"three poolings need sides of at least 8, got {height} x {breadth}")
        self.classes = classes
        self.embed = _stage(channels, 32)
        features = 64 * (height // 8) * (breadth // 8)
        fully_connected = nn.Sequential(nn.Flatten(), nn.Linear(features, width), nn.ReLU())
        self.blocks = nn.ModuleList([_stage(32, 64), _stage(64, 64), fully_connected])
        self.out_ln = nn.Identity()
        self.out_head = nn.Linear(width, classes)

    def start(self, x: Tensor) -> Tensor:
        """(B, channels, height, width) to (B, 32, height / 2, width / 2)."""
        h: Tensor = self.embed(x)
        return h

    def readout(self, h: Tensor) -> Tensor:
        """(B, width) to (B, C)."""
        logits: Tensor = self.out_head(h)
        return logits

    def start_parameters(self) -> list[nn.Parameter]:
        """The first stage."""
        return list(self.embed.parameters())

    def readout_parameters(self) -> list[nn.Parameter]:
        """The head."""
        return list(self.out_head.parameters())
