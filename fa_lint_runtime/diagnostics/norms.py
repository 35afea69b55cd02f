"""Sizes, per layer: hidden states, gradients, credit per unit error, elasticity, growth, absorption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .capture import BatchStatistics
from .statistics import NAN, median

__all__ = ["LayerSizes", "layer_sizes"]


@dataclass(frozen=True)
class LayerSizes:
    """Medians over all samples, one layer. See :class:`fa_lint_runtime.LayerReport`, which repeats them."""

    hidden_norm: float
    gradient_norm: float
    credit_per_error: float
    elasticity: float
    growth: float
    absorption: float
    undefined_share: float
    nonfinite_share: float
    other_tokens: bool


def joined(stats: Sequence[BatchStatistics], name: str) -> Tensor:
    """A (L + 1, B) or (B,) field of all batches, samples last."""
    return torch.cat([getattr(s, name) for s in stats], -1)


def unit_roundoff(dtype: torch.dtype) -> float:
    """Half the spacing of numbers at 1: 6e-8 for fp32, 5e-4 for fp16, 4e-3 for bf16."""
    return float(torch.finfo(dtype).eps) / 2


def layer_sizes(stats: Sequence[BatchStatistics]) -> list[LayerSizes]:
    """Of every hidden state. Norms of gradients are of the summed loss: per sample, whatever the batch size.

    For a loss that sees h_L through a LayerNorm, ``|g_L| |h_L| / |e|`` does not depend on the scale of h_L
    (../shared/SCIENCE.md, section 3.3): small gradients there say that h is large, not that credit is gone.
    """
    hidden, gradient = joined(stats, "hidden_norms"), joined(stats, "gradient_norms")
    error = joined(stats, "error_norms")
    dtypes = stats[0].hidden_dtypes
    medians = [median(h) for h in hidden]
    found = []
    for index, (h, g) in enumerate(zip(hidden, gradient, strict=True)):
        per_error = torch.where(error > 0, g / error, float("nan"))
        usable = ~torch.isnan(per_error)
        growth = NAN if index == 0 or not medians[index - 1] > 0 else medians[index] / medians[index - 1]
        broken = ~torch.isfinite(h)
        if all(s.reached[index] for s in stats):
            broken |= ~torch.isfinite(g)
        undefined = ~torch.isfinite(g) | (g == 0)
        found.append(
            LayerSizes(
                hidden_norm=medians[index],
                gradient_norm=median(g),
                credit_per_error=median(per_error[usable]),
                elasticity=median((per_error * h)[usable]),
                growth=growth,
                absorption=growth * unit_roundoff(dtypes[index]),
                undefined_share=float(undefined.double().mean()),
                nonfinite_share=float(broken.double().mean()),
                other_tokens=any(bool(s.other_tokens[index]) for s in stats),
            )
        )
    return found
