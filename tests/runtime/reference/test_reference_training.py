"""The training loop: seeds, order, frozen blocks, divergence, checkpoints, logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fa_lint_runtime import MissingFeedbackError, diagnose, save_checkpoint
from fa_lint_runtime.audit.partial import read_log
from fa_lint_runtime.reference import (
    Dataset,
    Recipe,
    ReferenceModel,
    ResidualMLP,
    TrainedRun,
    build,
    correct_predictions,
    gaussian_mixture,
    load_run,
    train,
)

SHORT = Recipe(epochs=2, batch_size=64)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return gaussian_mixture(32, noise=0.3, train=300, test=256)


def model() -> ReferenceModel:
    return ResidualMLP(32, 16, 10, 2)


def same(a: TrainedRun, b: TrainedRun) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True))


def test_a_seed_fixes_the_run_and_the_callers_random_state_is_left_alone(data: Dataset) -> None:
    state = torch.get_rng_state()
    one, again, other = (train(model, "dfa", data, SHORT, seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert same(one, again)
    assert not same(one, other)
    assert one.accuracy == again.accuracy


def test_recipe_of_the_published_order_of_draws(data: Dataset) -> None:
    built, method = build(model, "dfa", data.train_x[:1], 7)
    torch.manual_seed(7)
    fresh = model()
    matrices = [torch.randn(16, 10) / 10**0.5 for _ in range(2)]
    assert all(torch.equal(p, q) for p, q in zip(built.parameters(), fresh.parameters(), strict=True))
    assert method.auxiliaries is not None
    for (_, stored), drawn in zip(method.auxiliaries.items(), matrices, strict=True):
        assert torch.equal(stored, drawn)  # type: ignore[arg-type]


def test_steps_drop_the_partial_batch_and_are_counted(data: Dataset) -> None:
    seen: list[int] = []
    train(model, "bp", data, SHORT, 1, on_step=lambda step, _: seen.append(step))
    assert seen == list(range(1, 9)), "300 samples are 4 whole batches of 64, for 2 epochs"
    with pytest.raises(ValueError, match="fewer than one batch of 512"):
        train(model, "bp", data, Recipe(batch_size=512), 1)
    with pytest.raises(ValueError, match="unknown method 'adam'"):
        train(model, "adam", data, SHORT, 1)


@pytest.mark.parametrize("method", ["bp", "dfa", "fa", "sb", "cb", "ep"])
def test_every_method_learns_something(method: str, data: Dataset) -> None:
    run = train(model, method, data, Recipe(lr=5e-3, epochs=8, batch_size=32, cosine=False), 3)
    assert run.diverged is None
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]


def test_frozen_blocks_stay_where_they_were(data: Dataset) -> None:
    start, _ = build(model, "dfa", data.train_x[:1], 1)
    for rule in ("method", "bp", "head"):
        run = train(model, "dfa", data, Recipe(epochs=1, batch_size=64, frozen=rule), 1)  # type: ignore[arg-type]
        assert all(
            torch.equal(p, q) for p, q in zip(start.blocks.parameters(), run.model.blocks.parameters(), strict=True)
        )
        moved = not torch.equal(start.embed.weight, run.model.embed.weight)
        assert moved == (rule != "head")
    by_dfa, by_bp = (
        train(model, "dfa", data, Recipe(epochs=1, batch_size=64, frozen=rule), 1)  # type: ignore[arg-type]
        for rule in ("method", "bp")
    )
    assert not same(by_dfa, by_bp), "who trains the embedding makes a difference"


def test_divergence_ends_the_run_and_a_nan_is_never_right(data: Dataset) -> None:
    run = train(model, "dfa", data, Recipe(optimizer="sgd", lr=1e6, cosine=False, epochs=20, batch_size=64), 1)
    assert run.diverged is not None
    assert len(run.history) == run.diverged < 20
    assert run.accuracy < 0.05
    broken = model()
    with torch.no_grad():
        broken.out_head.bias.fill_(float("nan"))
    assert not correct_predictions(broken, data.test_x, torch.zeros(256, dtype=torch.int64)).any()


def test_cosine_schedule_ends_at_zero(data: Dataset) -> None:
    constant, cosine = (train(model, "bp", data, Recipe(epochs=2, batch_size=64, cosine=c), 1) for c in (False, True))
    assert not same(constant, cosine)


@pytest.mark.parametrize("method", ["bp", "dfa", "fa", "sb", "cb", "ep"])
def test_a_saved_run_comes_back_with_its_credit(method: str, data: Dataset, tmp_path: Path) -> None:
    run = train(model, method, data, SHORT, 5)
    run.save(tmp_path / "run.pt", note="x")
    loaded, credit, checkpoint = load_run(tmp_path / "run.pt", model, data.test_x[:1])
    assert checkpoint.meta["method"] == method
    assert checkpoint.meta["note"] == "x"
    assert not loaded.training
    run.model.eval()
    x, y = data.test_x[:32], data.test_y[:32]
    assert torch.equal(loaded(x), run.model(x))
    for a, b in zip(credit.credit_of(loaded, x, y), run.method.credit_of(run.model, x, y), strict=True):
        assert torch.equal(a, b)


def test_nothing_replaces_missing_auxiliaries(data: Dataset, tmp_path: Path) -> None:
    run = train(model, "dfa", data, SHORT, 5)
    save_checkpoint(tmp_path / "bare.pt", run.model, feedback=None, meta={"method": "dfa"})
    with pytest.raises(MissingFeedbackError):
        load_run(tmp_path / "bare.pt", model, data.test_x[:1])
    run.save(tmp_path / "run.pt")
    with pytest.raises(ValueError, match="do not fit this model"):
        load_run(tmp_path / "run.pt", lambda: ResidualMLP(32, 20, 10, 2), data.test_x[:1])


def test_logs_are_those_of_the_partial_audit(data: Dataset, tmp_path: Path) -> None:
    run = train(model, "dfa", data, SHORT, 5, log=True)
    path = tmp_path / "42.json"
    path.write_text(json.dumps({"final_test_acc": run.accuracy, "log": run.history}))
    log = read_log(path)
    assert len(log.h_last) == len(log.gradient) == 2
    assert log.layer == "2"
    batch = data.test_x[:128], data.test_y[:128]
    report = diagnose(run.model, [batch, (data.test_x[128:], data.test_y[128:])], 0.5, progress=False)
    assert log.h_last[-1] == pytest.approx(report.residual_norms[-1], rel=0.05)
    assert log.gradient[-1] == pytest.approx(report.bp_grad_norms[2], rel=0.05)


def test_recipes_are_checked() -> None:
    for bad, text in (
        ({"optimizer": "lion"}, "optimizer must be one of"),
        ({"lr": float("nan")}, "lr must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"epochs": 1.5}, "epochs must be an integer"),
        ({"penalty": -1.0}, "penalty must be"),
        ({"frozen": "all"}, "frozen must be one of"),
        ({"batch_size": True}, "batch_size must be"),
    ):
        with pytest.raises(ValueError, match=text):
            Recipe(**bad)
    assert "cosine" in Recipe().describe()
    assert "frozen, embedding by bp" in Recipe(frozen="bp").describe()
