"""CIFAR-10 through torchvision, where it lies on disk; fetched only when asked."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ...dependencies import MissingDependencyError
from ...placement import HOST, factories_on
from .dataset import Dataset

__all__ = ["cifar10"]

_MEAN = (0.4914, 0.4822, 0.4465)
_STD = (0.2470, 0.2435, 0.2616)


@factories_on(HOST)
def cifar10(root: str | Path = "data", *, download: bool = False) -> Dataset:
    """50 000 training and 10 000 test images (3, 32, 32), normalised by the usual per-channel mean and std.

    Args:
        root: the folder that holds ``cifar-10-batches-py``.
        download: fetch it (170 MB) if it is not there.

    Raises:
        MissingDependencyError: torchvision is not installed.
        FileNotFoundError: not there, and ``download`` is False.

    Source:
        https://docs.pytorch.org/vision/stable/generated/torchvision.datasets.CIFAR10.html
    """
    try:
        from torchvision.datasets import CIFAR10
    except ImportError:
        raise MissingDependencyError("torchvision", "CIFAR-10", "cifar") from None
    try:
        parts = [CIFAR10(str(root), train=train, download=download) for train in (True, False)]
    except RuntimeError:
        raise FileNotFoundError(
            f"no CIFAR-10 in {root} (cifar-10-batches-py): name its folder, or allow the download"
        ) from None
    (train_x, train_y), (test_x, test_y) = ((_normalised(part.data), torch.tensor(part.targets)) for part in parts)
    return Dataset("cifar10", train_x, train_y, test_x, test_y, 10)


def _normalised(images: object) -> Tensor:
    x = torch.as_tensor(images).permute(0, 3, 1, 2).to(torch.float32) / 255
    return (x - torch.tensor(_MEAN).view(1, 3, 1, 1)) / torch.tensor(_STD).view(1, 3, 1, 1)
