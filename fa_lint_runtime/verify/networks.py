"""The networks that claims are measured on: configurations found by a search, trained on the spot."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..reference import (
    Dataset,
    FrozenRule,
    Method,
    Recipe,
    ReferenceModel,
    ResidualMLP,
    digits,
    gaussian_mixture,
    load_run,
    train,
)

__all__ = ["CONFIGURATIONS", "Configuration", "NetworkSpec", "TrainedNetwork", "spec", "train_networks"]

SEEDS = (42, 123, 456)


@dataclass(frozen=True)
class Configuration:
    """Data, width and recipe of a demonstration.

    Attributes:
        cost: CPU seconds of one DFA run where this was developed; long runs start first.
    """

    name: str
    data: Callable[[], Dataset]
    recipe: Recipe
    cost: float

    def model(self) -> ReferenceModel:
        """ResidualMLP with d = 256 and 4 blocks on this data."""
        loaded = dataset(self.name)
        return ResidualMLP(loaded.inputs, 256, loaded.classes, 4)


def _mixture64() -> Dataset:
    return gaussian_mixture(64, noise=0.3)


def _plain(**changes: Any) -> Recipe:
    return replace(Recipe(optimizer="adam", weight_decay=0.0, cosine=False), **changes)


# Chosen by a search over 3 learning rates, 2 lengths and 2 data sets; the search is part of what a reader must know.
CONFIGURATIONS: Mapping[str, Configuration] = {
    c.name: c
    for c in (
        Configuration("V1", digits, _plain(lr=1e-2, epochs=30), 1.5),
        Configuration("V2", _mixture64, _plain(lr=2e-2, epochs=12), 8.0),
        Configuration("V3", _mixture64, _plain(lr=3e-2, epochs=12), 8.0),
        Configuration("V4", gaussian_mixture, Recipe(lr=1e-2, cosine=False, epochs=12), 14.0),
        Configuration("V5", digits, Recipe(cosine=False, epochs=100), 5.0),
        Configuration("V6", digits, _plain(optimizer="sgd", lr=1e-2, epochs=30), 1.5),
        Configuration("V7", gaussian_mixture, Recipe(epochs=30), 40.0),
        Configuration("G12", _mixture64, Recipe(cosine=False, epochs=12), 8.0),
    )
}


@cache
def dataset(name: str) -> Dataset:
    """The data of a configuration; loaded once a process."""
    return CONFIGURATIONS[name].data()


@dataclass(frozen=True)
class NetworkSpec:
    """One network: configuration, method, seed, and what differs from the configuration's recipe."""

    configuration: str
    method: str
    seed: int
    frozen: FrozenRule | None = None
    penalty: float = 0.0

    @property
    def label(self) -> str:
        """For tables: ``V2 dfa 42``."""
        changes = (f" frozen-{self.frozen}" if self.frozen else "") + (f" λ={self.penalty:g}" if self.penalty else "")
        return f"{self.configuration} {self.method}{changes} {self.seed}"

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return replace(CONFIGURATIONS[self.configuration].recipe, frozen=self.frozen, penalty=self.penalty)


def spec(
    configuration: str,
    method: str,
    seeds: Iterable[int] = SEEDS,
    *,
    frozen: FrozenRule | None = None,
    penalty: float = 0.0,
) -> tuple[NetworkSpec, ...]:
    """One network for each seed.

    Example:
        >>> [network.label for network in spec("V2", "dfa", [42], frozen="method")]
        ['V2 dfa frozen-method 42']
    """
    return tuple(NetworkSpec(configuration, method, seed, frozen, penalty) for seed in seeds)


@dataclass(frozen=True)
class TrainedNetwork:
    """A network back from its checkpoint, with its data."""

    spec: NetworkSpec
    model: ReferenceModel
    method: Method
    data: Dataset
    accuracy: float
    seconds: float
    checkpoint: Path


def _train_one(wanted: NetworkSpec, folder: str) -> tuple[NetworkSpec, float]:
    torch.set_num_threads(1)
    configuration = CONFIGURATIONS[wanted.configuration]
    started = time.process_time()
    run = train(configuration.model, wanted.method, dataset(wanted.configuration), wanted.recipe, wanted.seed)
    run.save(_path(wanted, folder))
    return wanted, time.process_time() - started


def _path(wanted: NetworkSpec, folder: str) -> Path:
    return Path(folder) / (wanted.label.replace(" ", "_") + ".pt")


def train_networks(
    specs: Iterable[NetworkSpec], folder: str | Path, jobs: int, on_done: Callable[[NetworkSpec], None]
) -> dict[NetworkSpec, TrainedNetwork]:
    """Train every network once, in ``jobs`` processes with one torch thread each, the longest first.

    Args:
        specs: what to train; duplicates are trained once.
        folder: where checkpoints go.
        jobs: processes; with 1, in this process.
        on_done: called after each.
    """
    wanted = sorted(set(specs), key=lambda s: -CONFIGURATIONS[s.configuration].cost)
    seconds: dict[NetworkSpec, float] = {}
    if jobs <= 1 or len(wanted) < 2:
        for one in wanted:
            seconds[one] = _train_one(one, str(folder))[1]
            on_done(one)
    else:
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            for future in as_completed([pool.submit(_train_one, one, str(folder)) for one in wanted]):
                one, seconds[one] = future.result()
                on_done(one)
    return {one: _loaded(one, str(folder), seconds[one]) for one in wanted}


def _loaded(wanted: NetworkSpec, folder: str, seconds: float) -> TrainedNetwork:
    data = dataset(wanted.configuration)
    path = _path(wanted, folder)
    model, method, checkpoint = load_run(path, CONFIGURATIONS[wanted.configuration].model, data.test_x[:1])
    return TrainedNetwork(wanted, model, method, data, checkpoint.meta["accuracy"], seconds, path)
