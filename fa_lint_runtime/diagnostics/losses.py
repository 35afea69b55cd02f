"""Losses summed over samples, whatever their own reduction, and the output error that drives the credit."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..output_error import error_of
from .batches import mapped

__all__ = ["IGNORED", "LossFunction", "SummedLoss", "summed_loss"]

LossFunction = Callable[[Tensor, Any], Tensor]

_CROSS_ENTROPY = "cross-entropy"
IGNORED = -100  # the class index that cross-entropy leaves out


class SummedLoss:
    """``loss(logits, y)`` summed over samples: its gradient at a hidden state is per sample, without 1/B.

    Attributes:
        name: for the report.
        reduction: of the function that is called: ``"sum"``, ``"mean"`` or ``"none"``.
        given_reduction: of the function the caller gave, in whose place plain cross-entropy is called summed.
    """

    def __init__(self, function: LossFunction | None, reduction: str, given_reduction: str | None = None) -> None:
        self._function = function
        self.reduction = reduction
        self.given_reduction = reduction if given_reduction is None else given_reduction
        self.name = _CROSS_ENTROPY if function is None else getattr(function, "__name__", type(function).__name__)

    def __call__(self, logits: Tensor, y: Any, size: int) -> Tensor:
        """0-dim, in the dtype of the logits."""
        if self._function is None:
            return F.cross_entropy(*_rows(logits, y), reduction="sum")
        value = self._function(logits, y)
        return value.sum() if self.reduction == "none" else value * size if self.reduction == "mean" else value

    def error(self, logits: Tensor, y: Any) -> Tensor | None:
        """``softmax - onehot`` in fp64 without cancellation, shaped as the logits; None if the loss is another one."""
        if self._function is not None:
            return None
        rows, target = _rows(logits.detach(), y)
        ignored = target == IGNORED
        error = error_of(rows.to(torch.float64), torch.where(ignored, 0, target))
        return torch.where(ignored.unsqueeze(-1), 0.0, error).reshape(logits.shape)


def _rows(logits: Tensor, y: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(y, Tensor) or y.dtype not in (torch.int64, torch.uint8):
        kind = str(y.dtype) if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(
            f"cross-entropy needs integer class indices (y.long()) as y, got {kind}; "
            "give loss_fn (--loss) for other targets"
        )
    if logits.shape[:-1] != y.shape:
        raise ValueError(
            f"cross-entropy needs logits (..., C) and y (...), got {tuple(logits.shape)} and {tuple(y.shape)}; "
            "give loss_fn=lambda logits, y: ... for other shapes"
        )
    return logits.reshape(-1, logits.shape[-1]), y.reshape(-1)


def _is_plain_cross_entropy(loss_fn: LossFunction, y: Any) -> bool:
    if not isinstance(y, Tensor) or y.dtype.is_floating_point:
        return False
    if isinstance(loss_fn, nn.CrossEntropyLoss):
        return loss_fn.weight is None and loss_fn.label_smoothing == 0.0 and loss_fn.ignore_index == IGNORED
    return loss_fn is F.cross_entropy


def summed_loss(loss_fn: LossFunction | None, logits: Tensor, y: Any) -> SummedLoss:
    """Find out how ``loss_fn`` reduces, by giving it the same samples twice.

    Args:
        loss_fn: ``loss_fn(logits, y)``; None for cross-entropy on integer targets.
        logits, y: of any batch.

    Raises:
        ValueError: neither a sum, nor a mean, nor one value a sample.
        TypeError: it is no function, or does not return a tensor.
    """
    if loss_fn is not None and not callable(loss_fn):
        raise TypeError(f"loss_fn must be a function of (logits, y), got {loss_fn!r}")
    if loss_fn is None or _is_plain_cross_entropy(loss_fn, y):
        return SummedLoss(None, "sum", "mean" if loss_fn is None else getattr(loss_fn, "reduction", "mean"))
    declared = getattr(loss_fn, "reduction", None)
    if declared in ("sum", "mean", "none"):
        return SummedLoss(loss_fn, declared)
    with torch.no_grad():
        logits = logits.detach()
        once = _first_value(loss_fn, logits, y)
        if not isinstance(once, Tensor):
            raise TypeError(f"loss_fn must return a tensor, got {type(once).__name__}")
        if once.ndim:
            return SummedLoss(loss_fn, "none")
        size = len(logits)
        doubled = mapped(y, lambda t: torch.cat([t, t]) if t.ndim and len(t) == size else t)
        twice = loss_fn(torch.cat([logits, logits]), doubled)
    if torch.isclose(twice, once, rtol=1e-3, atol=0.0) or not torch.isfinite(once):
        return SummedLoss(loss_fn, "mean")
    if torch.isclose(twice, 2 * once, rtol=1e-3, atol=0.0):
        return SummedLoss(loss_fn, "sum")
    name = getattr(loss_fn, "__name__", type(loss_fn).__name__)
    where = inspect.getsourcefile(loss_fn) if inspect.isfunction(loss_fn) else None
    raise ValueError(
        f"loss_fn {name}{f' ({where})' if where else ''} is neither a sum nor a mean over samples: given every sample "
        f"twice it went from {float(once):.6g} to {float(twice):.6g}; return one value a sample instead"
    )


def _first_value(loss_fn: LossFunction, logits: Tensor, y: Any) -> Any:
    try:
        return loss_fn(logits, y)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"loss_fn fails ({reason}): it is given the logits {tuple(logits.shape)}, which are the first tensor of "
            "several that a model returns; wrap the model in a module that returns what loss_fn takes as one tensor"
        ) from error
