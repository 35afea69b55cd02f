"""Alignment under feedback that had nothing to do with training: the null that Γ is compared with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..norms import safe_unit
from .measurements import Measurements

__all__ = ["fresh_alignment", "p_value"]


def fresh_alignment(measured: Measurements, draws: int, seed: int = 0, samples: int = 512) -> Tensor:
    """Mean Γ at every state under ``draws`` fresh sets of matrices ``randn(d, C) / sqrt(C)``: (draws, L + 1), fp64.

    Each state gets a matrix of its own in each draw; the first ``samples`` samples are used. All draws share one
    product: ``(B e)·g = e·(Bᵀ g)`` and ``‖B e‖² = eᵀ(BᵀB)e``, so that no credit is ever formed.
    """
    generator = torch.Generator().manual_seed(seed)
    error = safe_unit(measured.error[:samples])
    result = torch.empty(draws, len(measured.gradients), dtype=torch.float64)
    for state, gradient in enumerate(measured.gradients):
        unit = safe_unit(gradient[:samples].double())
        width, classes = gradient.shape[1], error.shape[1]
        matrices = torch.randn(width, draws, classes, generator=generator).double() / math.sqrt(classes)
        along = ((unit @ matrices.flatten(1)).view(-1, draws, classes) * error.unsqueeze(1)).sum(2)
        grams = torch.einsum("dkc,dke->kce", matrices, matrices)
        lengths = torch.einsum("nc,kce,ne->nk", error, grams, error).sqrt()
        result[:, state] = (along / lengths).nanmean(0)
    return result


def p_value(value: float, null: Tensor) -> float:
    """Two-sided, never 0: ``(1 + #{|null| >= |value|}) / (1 + draws)``.

    Source:
        Phipson and Smyth, "Permutation P-values Should Never Be Zero" (2010).

    Example:
        >>> p_value(1.0, torch.zeros(19))
        0.05
    """
    return (1 + int((null.abs() >= abs(value)).sum())) / (1 + len(null))
