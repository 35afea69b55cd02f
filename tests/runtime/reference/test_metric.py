"""Alignment as a metric of torchmetrics."""

from __future__ import annotations

import math
import multiprocessing
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torchmetrics")

from fa_lint_runtime import safe_cosine
from fa_lint_runtime.monitor.metric import Alignment


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_batches_of_any_size_give_the_mean_over_samples(seed: int, sizes: list[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    metric = Alignment(["a", "b"])
    cosines: dict[str, list[float]] = {"a": [], "b": []}
    for size in sizes:
        credits = {n: torch.randn(size, 2, 3, generator=generator) for n in cosines}
        gradients = {n: torch.randn(size, 2, 3, generator=generator) * 1e-20 for n in cosines}
        metric.update(credits, gradients)
        for name, found in cosines.items():
            found += safe_cosine(credits[name].flatten(1), gradients[name].flatten(1)).tolist()
    values = metric.compute()
    for name, found in cosines.items():
        assert float(values[name]) == pytest.approx(math.fsum(found) / len(found), abs=1e-12)
        assert values[f"{name}/undefined"] == 0
    metric.reset()
    metric.update({n: torch.empty(0, 3) for n in cosines}, {n: torch.empty(0, 3) for n in cosines})
    assert math.isnan(float(metric.compute()["a"]))


def test_samples_without_a_cosine_are_counted_apart() -> None:
    metric = Alignment(["a"])
    metric.update({"a": torch.tensor([[1.0, 0.0], [0.0, 0.0]])}, {"a": torch.ones(2, 2)})
    values = metric.compute()
    assert float(values["a"]) == pytest.approx(0.5**0.5)
    assert float(values["a/undefined"]) == 0.5
    with pytest.raises(KeyError):
        metric.update({}, {})


def _rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    metric = Alignment(["a"])
    metric.update({"a": torch.eye(2)[: rank + 1]}, {"a": torch.tensor([[1.0, 0.0], [1.0, 0.0]])[: rank + 1]})
    torch.save(metric.compute(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_share_their_sums(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=_rank, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    for rank in range(2):
        assert float(torch.load(tmp_path / f"{rank}.pt")["a"]) == pytest.approx(2 / 3), "three samples in all"
