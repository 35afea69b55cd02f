"""A classification task in memory, and the disjoint batches that diagnostics are taken on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["Dataset"]


@dataclass(frozen=True)
class Dataset:
    """Inputs float32 (N, ...), labels int64 (N,), for training and for testing.

    Attributes:
        name: as it appears in reports.
        classes: C.

    Example:
        >>> x, y = torch.zeros(6, 2), torch.zeros(6, dtype=torch.int64)
        >>> [len(batch) for batch, _ in Dataset("toy", x, y, x, y, 3).eval_batches(size=2, count=8)]
        [2, 2, 2]
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int

    @property
    def inputs(self) -> int:
        """Entries of a sample."""
        return self.train_x[0].numel()

    def eval_batches(self, size: int = 128, count: int = 8) -> list[tuple[Tensor, Tensor]]:
        """Up to ``count`` disjoint test batches of exactly ``size`` samples, in order.

        Raises:
            ValueError: fewer than two fit (the cross-batch diagnostic needs two).
        """
        whole = min(count, len(self.test_x) // size)
        if whole < 2:
            raise ValueError(f"{self.name} has {len(self.test_x)} test samples: no two batches of {size}")
        return [
            (self.test_x[start : start + size], self.test_y[start : start + size])
            for start in range(0, whole * size, size)
        ]

    def to(self, device: torch.device | str) -> Dataset:
        """The same data on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("train_x", "train_y", "test_x", "test_y")}
        return replace(self, **moved)
