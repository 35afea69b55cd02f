"""Labels of a batch as ``transformers.Trainer`` has it: a causal language model shifts them itself, by one position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batches import Batch
from .losses import IGNORED
from .outputs import logits_of

__all__ = ["next_tokens", "shifts_labels"]


def shifts_labels(model: nn.Module, item: Any, probe: Batch) -> bool:
    """Return True if the loss that the model computes from its labels is cross-entropy of the next position.

    Asked of the model, as its name or configuration does not tell. Inside ``measured``.

    Args:
        item: one of ``eval_batches``.
        probe: its first samples.
    """
    if not isinstance(item, Mapping) or not isinstance(probe.y, Tensor) or probe.y.ndim < 2:
        return False
    try:
        with torch.no_grad():
            output = model(**probe.x, labels=probe.y)
            own, logits = output.loss, logits_of(output)
            plain, shifted = (F.cross_entropy(logits.flatten(0, -2), y.flatten()) for y in (probe.y, _shifted(probe.y)))
    except Exception:  # the model takes no labels, or they are none of classes
        return False
    return not torch.isclose(own, plain, rtol=1e-3) and bool(torch.isclose(own, shifted, rtol=1e-3))


def next_tokens(batch: Batch) -> Batch:
    """The batch with the labels of the next position at each; none at the last."""
    return replace(batch, y=_shifted(batch.y))


def _shifted(y: Tensor) -> Tensor:
    return F.pad(y[:, 1:], (0, 1), value=IGNORED)
