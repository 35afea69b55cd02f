"""Running statistics that no batch has set: evaluation mode divides by 1, and a deep network fades to nothing."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

__all__ = ["unset_statistics"]


def unset_statistics(model: nn.Module) -> str:
    """Name the layers whose running statistics are as they were made, mean 0 and variance 1; "" if there are none.

    The count of batches alone does not tell: old checkpoints have none.

    Example:
        >>> unset_statistics(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False)))
        'no batch has set the running statistics of 2 layers (1 …), by which evaluation mode normalises'
    """
    names = [name for name, module in model.named_modules() if isinstance(module, _NormBase) and _is_unset(module)]
    if not names:
        return ""
    which = f"{len(names)} layers ({names[0]} …)"
    return f"no batch has set the running statistics of {which}, by which evaluation mode normalises"


def _is_unset(norm: _NormBase) -> bool:
    mean, variance, count = norm.running_mean, norm.running_var, norm.num_batches_tracked
    if mean is None or variance is None or (count is not None and int(count)):
        return False
    return not bool(mean.any()) and bool((variance == 1).all())
