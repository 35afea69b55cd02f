"""Methods, models and data of the user's own: what their functions take and return."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..diagnostics.credits import as_feedback
from ..diagnostics.restore import random_states
from ..feedback import Feedback
from ..placement import HOST, cuda_indices, factories_on
from ..reference import Dataset, Recipe
from ..reference.training import fit
from ..targets import TargetError, function_of, resolve

__all__ = ["OwnRun", "backprop", "loaded", "trained"]

_SIGNALS = ("feedback", "credit", "layers", "token")
_KEYS = ("model", *_SIGNALS, "accuracy")


@dataclass(frozen=True)
class OwnRun:
    """What a training function made: the network, keywords of ``diagnose``, the accuracy that it reports."""

    model: nn.Module
    signals: Mapping[str, Any]
    accuracy: float | None

    @property
    def feedback(self) -> Feedback | None:
        """For the checkpoint."""
        given = self.signals.get("feedback")
        return None if given is None else as_feedback(given)


@contextmanager
def _seeded(seed: int, device: str = "cpu") -> Iterator[None]:
    """All that the user's code may draw from starts at ``seed`` within; afterwards the states are as before."""
    with random_states(nn.Identity()), torch.random.fork_rng(cuda_indices([device])):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        yield


def trained(
    train: str | Callable[..., Any],
    factory: Callable[[], nn.Module],
    data: Dataset,
    seed: int,
    recipe: Recipe,
    device: str,
    folder: Path,
) -> OwnRun:
    """Call ``train(model, data, seed, recipe)``; model and global random state come from the seed.

    The function returns the trained model, or a dict with ``model`` and, where there are any, ``feedback``, ``credit``,
    ``layers``, ``token`` (as :func:`fa_lint_runtime.diagnose` takes them) and ``accuracy``.

    Raises:
        TargetError: no such function, or it returns something else.
    """
    function = function_of(train, folder) if isinstance(train, str) else train
    with _seeded(seed, device):
        with factories_on(HOST):
            model = factory()
        made = function(model.to(device), data.to(device), seed, recipe)
    if isinstance(made, nn.Module):
        made = {"model": made}
    if not isinstance(made, Mapping) or not isinstance(made.get("model"), nn.Module) or not set(made) <= set(_KEYS):
        raise TargetError(f"{train} must return the trained model, or a dict of {', '.join(_KEYS)}")
    accuracy = made.get("accuracy")
    if accuracy is not None and not 0 <= float(accuracy) <= 1:
        raise TargetError(f"{train}: accuracy must be a share between 0 and 1, got {accuracy}")
    signals = {name: made[name] for name in _SIGNALS if made.get(name) is not None}
    return OwnRun(made["model"], signals, None if accuracy is None else float(accuracy))


def backprop(model: nn.Module, data: Dataset, seed: int, recipe: Recipe) -> nn.Module:
    """The built-in ``bp``, for a model that is no reference model."""
    optimizer = recipe.make_optimizer(list(model.parameters()))

    def update(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    for _ in fit(model, update, optimizer, data, recipe, seed, f"bp {data.name} seed {seed}"):
        pass
    return model


def loaded(target: str, options: Mapping[str, Any], folder: Path) -> Dataset:
    """The data of ``pkg.mod:loaders``: a :class:`Dataset`, or batches (x, y) to train on and batches to test on.

    Raises:
        TargetError: no such function, or it gives something else.
    """
    found = resolve(target, folder)
    with _seeded(0):  # every process must see the same samples in the same order
        made = found(**options) if callable(found) else found
        if isinstance(made, Dataset):
            return made
        if not isinstance(made, tuple | list) or len(made) != 2 or not all(isinstance(part, Iterable) for part in made):
            raise TargetError(f"{target} must give a Dataset, or a pair: batches to train on, batches to test on")
        (train_x, train_y), (test_x, test_y) = (_whole(target, part) for part in made)
    return Dataset(target, train_x, train_y, test_x, test_y, int(max(train_y.max(), test_y.max())) + 1)


def _whole(target: str, batches: Iterable[Any]) -> tuple[Tensor, Tensor]:
    pairs = [(torch.as_tensor(x), torch.as_tensor(y)) for x, y in batches]
    if not pairs or any(y.ndim != 1 or y.is_floating_point() for _, y in pairs):
        raise TargetError(f"{target}: batches must be pairs (x, y), y the classes of the samples")
    return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])
