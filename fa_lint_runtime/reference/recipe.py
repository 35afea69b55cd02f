"""How a network is trained: every number that decides the result, in one frozen, checkable place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from .baselines import FrozenRule, frozen_rules

__all__ = ["Optimizer", "Recipe"]

Optimizer = Literal["adam", "adamw", "sgd"]


@dataclass(frozen=True)
class Recipe:
    """Optimiser, schedule, length, penalty, what is frozen.

    The defaults are those of the published runs: AdamW 1e-3, weight decay 0.01, cosine schedule, batches of 128.

    Raises:
        ValueError: an unknown name or a number out of range, with the field's name.

    Example:
        >>> Recipe(optimizer="adam", lr=1e-2, weight_decay=0.0, cosine=False, epochs=30).describe()
        'adam, lr 0.01, batch 128, 30 epochs'
        >>> Recipe(lr=-1.0)
        Traceback (most recent call last):
        ValueError: lr must be a positive number, got -1.0
    """

    optimizer: Optimizer = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    cosine: bool = True
    epochs: int = 100
    batch_size: int = 128
    penalty: float = 0.0
    frozen: FrozenRule | None = None

    def __post_init__(self) -> None:
        if self.optimizer not in get_args(Optimizer):
            raise ValueError(f"optimizer must be one of {', '.join(get_args(Optimizer))}; got {self.optimizer!r}")
        if self.frozen is not None and self.frozen not in frozen_rules():
            raise ValueError(f"frozen must be one of {', '.join(frozen_rules())}; got {self.frozen!r}")
        for name, low in (("lr", 0.0), ("epochs", 0), ("batch_size", 0)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not low < value < math.inf:
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        for name in ("weight_decay", "penalty"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number that is not negative, got {value!r}")
        for name in ("epochs", "batch_size"):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"{name} must be an integer, got {getattr(self, name)!r}")

    def describe(self) -> str:
        """One line for a report."""
        parts = [self.optimizer, f"lr {self.lr:g}"]
        parts += [f"weight decay {self.weight_decay:g}"] if self.weight_decay else []
        parts += ["cosine"] if self.cosine else []
        parts += [f"batch {self.batch_size}", f"{self.epochs} epochs"]
        parts += [f"penalty {self.penalty:g}"] if self.penalty else []
        parts += [f"blocks frozen, embedding by {self.frozen}"] if self.frozen else []
        return ", ".join(parts)

    def make_optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser, fused."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True)
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        return kind(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True)
