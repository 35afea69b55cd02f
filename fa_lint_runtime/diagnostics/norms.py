"""Sizes, per layer: hidden states, gradients, credit per unit error, elasticity, growth, absorption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .capture import BatchStatistics
from .statistics import NAN, medians

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
    (../shared/SCIENCE.md, section 3.3): small gradients there say that h is large, not that credit is gone. A single
    position of (B, T, d) does not stand for the state: the first of a vision transformer may start at 0.
    """
    hidden, gradient = joined(stats, "hidden_norms"), joined(stats, "gradient_norms")
    error = joined(stats, "error_norms")
    per_error = torch.where(error > 0, gradient / error, float("nan"))
    usable = ~torch.isnan(per_error)
    reached = torch.tensor([all(s.reached[index] for s in stats) for index in range(len(hidden))])
    of_hidden, of_gradient = medians(hidden), medians(gradient)
    growth = [NAN, *(after / before if before > 0 else NAN for before, after in pairwise(of_hidden))]
    infinite = ~torch.isfinite(gradient)
    return [
        LayerSizes(*sizes)
        for sizes in zip(
            of_hidden,
            of_gradient,
            medians(per_error, usable),
            medians(torch.where(error > 0, joined(stats, "influences") / error, float("nan")), usable),
            growth,
            [times * unit_roundoff(dtype) for times, dtype in zip(growth, stats[0].hidden_dtypes, strict=True)],
            _shares(infinite | (gradient == 0)),
            _shares(~torch.isfinite(hidden) | (infinite & reached.unsqueeze(1))),
            torch.stack([s.other_tokens for s in stats]).any(0).tolist(),
            strict=True,
        )
    ]


def _shares(found: Tensor) -> list[float]:
    shares: list[float] = found.double().mean(1).tolist()
    return shares
