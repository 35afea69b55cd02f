"""``torch.set_default_device("cuda")`` in the script of a user: what is drawn, stored and measured stays the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fa_lint_runtime import Feedback, load_checkpoint, save_checkpoint
from fa_lint_runtime.reference import METHODS, Dataset, Recipe, ResidualMLP, digits, gaussian_mixture, train
from fa_lint_runtime.verify import verify


@pytest.mark.parametrize("kind", ["dfa", "fa"])
def test_feedback_is_drawn_as_without(kind: str, request: pytest.FixtureRequest) -> None:
    draw = getattr(Feedback, kind)
    expected = draw([6, 4], 3, seed=1)
    request.getfixturevalue("cuda_default")
    found = draw([6, 4], 3, seed=1)
    assert found.digest == expected.digest and not any(matrix.is_cuda for _, matrix in found.items())


@pytest.mark.usefixtures("cuda_default")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_checkpoint_is_written_and_read(device: str, tmp_path: Path) -> None:
    model = nn.Linear(4, 3, device=device)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 4, device=device)).sum().backward()
    optimizer.step()
    feedback = Feedback.dfa([4], 3, seed=1).to(device)
    digest = save_checkpoint(
        tmp_path / "run.pt", model, feedback=feedback, optimizer=optimizer, meta={"rng": torch.get_rng_state()}
    )
    checkpoint = load_checkpoint(tmp_path / "run.pt")
    assert checkpoint.digest == digest and checkpoint.feedback().digest == feedback.digest
    assert not any(tensor.is_cuda for tensor in checkpoint.model.values())
    model.load_state_dict(checkpoint.model)


def mixture() -> Dataset:
    return gaussian_mixture(32, noise=0.3, train=256, test=256)


@pytest.mark.parametrize("make", [mixture, digits])
def test_reference_data_is_the_same(make: Any, request: pytest.FixtureRequest) -> None:
    expected = make()
    request.getfixturevalue("cuda_default")
    found = make()
    for name in ("train_x", "train_y", "test_x", "test_y"):
        assert torch.equal(getattr(found, name), getattr(expected, name)) and not getattr(found, name).is_cuda


RECIPE = Recipe(optimizer="adam", lr=1e-2, weight_decay=0.0, cosine=False, epochs=2, batch_size=64)


@pytest.mark.parametrize("method", list(METHODS))
def test_training_is_the_same(method: str, request: pytest.FixtureRequest) -> None:
    def run(device: str) -> list[torch.Tensor]:
        state = torch.cuda.get_rng_state() if device == "cuda" else torch.get_rng_state()
        trained = train(lambda: ResidualMLP(32, 16, 10, 2), method, mixture(), RECIPE, 1, device=device)
        after = torch.cuda.get_rng_state() if device == "cuda" else torch.get_rng_state()
        assert torch.equal(state, after)
        return [p.detach().cpu() for p in trained.model.parameters()]

    expected = run("cpu")
    request.getfixturevalue("cuda_default")
    for found, own in zip(run("cpu"), expected, strict=True):
        assert torch.equal(found, own)
    for found, own in zip(run("cuda"), expected, strict=True):
        torch.testing.assert_close(found, own, rtol=1e-2, atol=1e-3)


@pytest.mark.usefixtures("cuda_default")
def test_the_claims_that_need_no_training() -> None:
    result = verify("instant")
    assert result.complete, [outcome.finding for outcome in result.outcomes]
