"""The residual penalty: blocks pay for what they add to the stream."""

from __future__ import annotations

from torch import Tensor

from .local_step import LocalStep

__all__ = ["residual_penalty"]


def residual_penalty(step: LocalStep, weight: float) -> Tensor:
    """``λ Σ_l mean_batch ‖f_l(h_l)‖²``, a scalar that each block sees only its own term of.

    Args:
        step: the batch.
        weight: λ; the published reference value is 1e-2.

    Example:
        >>> import torch
        >>> from fa_lint_runtime.reference import ResidualMLP, local_step
        >>> step = local_step(ResidualMLP(4, 8, 3, 2), torch.randn(5, 4), torch.zeros(5, dtype=torch.int64))
        >>> bool(residual_penalty(step, 1e-2) > 0)
        True
    """
    total = step.logits.new_zeros(())
    for branch in step.branches:
        flat = branch.flatten(1)
        total = total + flat.square().sum(1).mean()
    return weight * total
