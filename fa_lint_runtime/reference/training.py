"""The training loop all methods share."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ..placement import HOST, factories_on
from .baselines import freeze
from .data import Dataset
from .local_step import local_step
from .methods import METHODS, Method
from .methods.bp import Backprop
from .models import ReferenceModel
from .penalty import residual_penalty
from .progress import epochs_shown
from .recipe import Recipe

__all__ = ["TrainedRun", "accuracy", "build", "correct_predictions", "fit", "load_run", "train", "train_step"]

_ORDER_SEED = 10_000

ModelFactory = Callable[[], ReferenceModel]
OnStep = Callable[[int, ReferenceModel], None]


@dataclass
class TrainedRun:
    """A trained network with everything its credit signal needs.

    Attributes:
        method: with its auxiliaries.
        history: for each epoch its number, mean training loss, and with ``log=True`` the test accuracy, ``h_L_norm``
            and ``g_2_norm``, named as in the published logs.
        accuracy: on the test set.
        diverged: the epoch (from 1) in which the loss stopped being finite; training ended there.
        seconds: of training.
    """

    model: ReferenceModel
    method: Method
    recipe: Recipe
    data: str
    seed: int
    history: list[dict[str, float]] = field(default_factory=list)
    accuracy: float = math.nan
    diverged: int | None = None
    seconds: float = math.nan

    def save(self, path: str | Path, **notes: Any) -> str:
        """Write model and auxiliaries with :func:`fa_lint_runtime.save_checkpoint`; returns the digest.

        Args:
            path: where.
            notes: further plain values for the checkpoint's ``meta``.
        """
        meta: dict[str, Any] = {
            "method": self.method.name,
            "data": self.data,
            "seed": self.seed,
            "recipe": self.recipe.describe(),
            "accuracy": self.accuracy,
            "diverged": self.diverged,
            "seconds": self.seconds,
            **notes,
        }
        return save_checkpoint(path, self.model, feedback=self.method.auxiliaries, meta=meta)


def build(factory: ModelFactory, method: str, sample: Tensor, seed: int) -> tuple[ReferenceModel, Method]:
    """A model and its method from a seed, drawn in this order; the caller's random state is left as it was.

    Raises:
        ValueError: an unknown method, or one that cannot serve this model.

    Example:
        >>> from fa_lint_runtime.reference import ResidualMLP
        >>> model, method = build(lambda: ResidualMLP(4, 8, 3, 2), "dfa", torch.zeros(1, 4), seed=42)
        >>> method.name
        'dfa'
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    with torch.random.fork_rng(devices=[]), factories_on(HOST):
        torch.default_generator.manual_seed(seed)
        model = factory()
        return model, METHODS[method](model, sample.cpu())


def train_step(
    model: ReferenceModel, method: Method, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, penalty: float = 0.0
) -> Tensor:
    """One update: every part by the credit of its own output, the readout by the exact gradient of the mean loss.

    Returns:
        Tensor: the mean loss, detached.
    """
    optimizer.zero_grad(set_to_none=True)
    if isinstance(method, Backprop) and not penalty:  # the same update in one ordinary pass
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()
    step = local_step(model, x, y)
    credits = method.credit(step)
    method.learn(step)
    loss = step.losses.mean()
    roots: list[Tensor] = [loss]
    slopes: list[Tensor | None] = [None]
    for output, credit in zip(step.outputs, credits, strict=True):
        if output.requires_grad:
            roots.append(output)
            slopes.append(credit.detach() / len(x))
    if penalty:
        roots.append(residual_penalty(step, penalty))
        slopes.append(None)
    trainable = [p for group in optimizer.param_groups for p in group["params"]]
    torch.autograd.backward(roots, slopes, inputs=trainable)
    optimizer.step()
    return loss.detach()


def train(
    factory: ModelFactory,
    method: str,
    data: Dataset,
    recipe: Recipe,
    seed: int,
    *,
    device: torch.device | str = "cpu",
    progress: bool = False,
    log: bool = False,
    on_step: OnStep | None = None,
) -> TrainedRun:
    """Train a network from a seed.

    Model and auxiliaries come from ``torch.manual_seed(seed)``, the order of batches from a generator with
    ``seed + 10000``; the last partial batch of an epoch is dropped. A loss that is not finite ends the run.

    Args:
        factory: makes the model.
        method: a key of ``METHODS``.
        data: the task.
        recipe: every hyperparameter.
        seed: of the run.
        device: where to train.
        progress: show a bar.
        log: measure accuracy, ``h_L_norm`` and ``g_2_norm`` after every epoch.
        on_step: called after every update with its number (from 1) and the model.

    Raises:
        ValueError: an unknown method, or fewer samples than one batch.

    Example:
        >>> from fa_lint_runtime.reference import Recipe, ResidualMLP, gaussian_mixture
        >>> data = gaussian_mixture(32, train=256, test=256)
        >>> run = train(lambda: ResidualMLP(32, 16, 10, 2), "dfa", data, Recipe(epochs=2, batch_size=64), seed=42)
        >>> run.diverged is None, len(run.history)
        (True, 2)
    """
    started = time.perf_counter()
    model, chosen = build(factory, method, data.train_x[:1], seed)
    model.to(device)
    chosen.to(device)
    data = data.to(device)
    run = TrainedRun(model, chosen, recipe, data.name, seed)
    teacher = chosen
    if recipe.frozen is not None:
        freeze(model, recipe.frozen)
        teacher = Backprop(model, data.train_x[:1]) if recipe.frozen == "bp" else chosen
    optimizer = recipe.make_optimizer([p for p in model.parameters() if p.requires_grad])
    done = itertools.count(1)

    def update(x: Tensor, y: Tensor) -> Tensor:
        return train_step(model, teacher, optimizer, x, y, recipe.penalty)

    def stepped() -> None:
        if on_step is not None:
            on_step(next(done), model)

    shown = f"{method} {data.name} seed {seed}"
    for epoch, mean in fit(model, update, optimizer, data, recipe, seed, shown, progress=progress, stepped=stepped):
        run.history.append({"epoch": epoch, "train_loss": mean} | (_logged(model, data) if log else {}))
        if not math.isfinite(mean):
            run.diverged = epoch
    run.accuracy = accuracy(model, data.test_x, data.test_y)
    run.seconds = time.perf_counter() - started
    return run


def fit(
    model: nn.Module,
    update: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    data: Dataset,
    recipe: Recipe,
    seed: int,
    label: str,
    *,
    progress: bool = False,
    stepped: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, float]]:
    """Train by ``update(x, y)``, which returns the loss; after each epoch its number and mean loss.

    It ends early after a loss that is not finite.

    Raises:
        ValueError: fewer samples than one batch.
    """
    batches = len(data.train_x) // recipe.batch_size
    if batches == 0:
        raise ValueError(f"{data.name} has {len(data.train_x)} samples, fewer than one batch of {recipe.batch_size}")
    total = recipe.epochs * batches
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total) if recipe.cosine else None
    order = torch.Generator().manual_seed(seed + _ORDER_SEED)
    for epoch in epochs_shown(recipe.epochs, label, progress):
        model.train()
        shuffled = torch.randperm(len(data.train_x), generator=order, device="cpu").to(data.train_x.device)
        losses = []
        for start in range(0, batches * recipe.batch_size, recipe.batch_size):
            rows = shuffled[start : start + recipe.batch_size]
            losses.append(update(data.train_x[rows], data.train_y[rows]))
            if schedule is not None:
                schedule.step()
            stepped()
        mean = float(torch.stack(losses).mean())
        yield epoch, mean
        if not math.isfinite(mean):
            return


@torch.no_grad()
def correct_predictions(model: nn.Module, x: Tensor, y: Tensor, batch: int = 2048) -> Tensor:
    """Whether each sample is classified rightly, bool (N,), in evaluation mode; a NaN logit is wrong."""
    training = model.training
    model.eval()
    right = []
    for start in range(0, len(x), batch):
        logits = model(x[start : start + batch])
        sound = torch.isfinite(logits).all(-1)
        right.append((logits.argmax(-1) == y[start : start + batch]) & sound)
    model.train(training)
    return torch.cat(right)


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of samples classified rightly, 0 to 1."""
    return float(correct_predictions(model, x, y).double().mean())


def _logged(model: ReferenceModel, data: Dataset) -> dict[str, float]:
    x, y = data.test_x[:128], data.test_y[:128]
    training = model.training
    model.eval()
    step = local_step(model, x, y)
    gradients = Backprop(model, x).credit(step)
    model.train(training)

    def median_norm(values: Tensor) -> float:
        return float(values.detach().double().flatten(1).norm(dim=1).median())

    return {
        "test_acc": accuracy(model, data.test_x, data.test_y),
        "h_L_norm": median_norm(step.states[-1]),
        "g_2_norm": median_norm(gradients[min(2, len(gradients) - 1)]) / len(x),
    }


def load_run(path: str | Path, factory: ModelFactory, sample: Tensor) -> tuple[ReferenceModel, Method, Checkpoint]:
    """A network and its method back from a checkpoint of :meth:`TrainedRun.save`, in evaluation mode.

    Raises:
        CheckpointError: the file is not a sound checkpoint.
        MissingFeedbackError: the auxiliaries are not in it; nothing is drawn instead.
        ValueError: it belongs to another model or names no known method.
    """
    checkpoint = load_checkpoint(path)
    name = checkpoint.meta.get("method")
    model, method = build(factory, str(name), sample, seed=0)
    try:
        model.load_state_dict(checkpoint.model)
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit this model: {str(error).splitlines()[-1].strip()}") from None
    method.load_auxiliaries({site: item.tensors for site, item in checkpoint.auxiliaries.items()})
    return model.eval(), method, checkpoint
