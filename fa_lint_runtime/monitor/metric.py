"""Γ for each layer as a metric of torchmetrics: update, compute, reset, and sums over processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..cosine import safe_cosine
from ..dependencies import MissingDependencyError

try:
    from torchmetrics import Metric
except ImportError:
    raise MissingDependencyError("torchmetrics", "the metric Alignment", "lightning") from None

__all__ = ["Alignment"]


class Alignment(Metric):
    """Mean cosine of credit and gradient over samples, for each layer; never one number for all of them.

    A sample whose credit or gradient is zero or not finite has no cosine and is counted apart.

    Args:
        layers: names, in the order of the results.
        options: keywords of ``torchmetrics.Metric``.

    Example:
        >>> metric = Alignment(["blocks.0"])
        >>> metric.update({"blocks.0": torch.eye(2)}, {"blocks.0": torch.tensor([[3e-20, 0.0], [1.0, 0.0]])})
        >>> metric.compute()
        {'blocks.0': tensor(0.5000, dtype=torch.float64), 'blocks.0/undefined': tensor(0.)}
    """

    higher_is_better = None
    full_state_update = False
    total: Tensor
    count: Tensor
    undefined: Tensor

    def __init__(self, layers: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.layers = list(layers)
        for name in ("total", "count", "undefined"):
            self.add_state(name, torch.zeros(len(self.layers), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, credits: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
        """Add the samples of one batch: (B, …) for every layer.

        Raises:
            KeyError: a layer is missing.
        """
        for place, name in enumerate(self.layers):
            cosines = safe_cosine(credits[name].detach().flatten(1), gradients[name].detach().flatten(1))
            defined = ~torch.isnan(cosines)
            self.total[place] += torch.where(defined, cosines, 0.0).double().sum()
            self.count[place] += defined.sum()
            self.undefined[place] += (~defined).sum()

    def compute(self) -> dict[str, Tensor]:
        """Return the mean of each layer, NaN where no sample has a cosine, and the share of those without."""
        means = self.total / self.count
        shares = (self.undefined / (self.undefined + self.count)).float()
        found = dict(zip(self.layers, means, strict=True))
        return found | {f"{name}/undefined": share for name, share in zip(self.layers, shares, strict=True)}
