"""The monitor: what it reads, when it warns, what it leaves alone, and real trainers of Lightning and Hugging Face."""

from __future__ import annotations

import copy
import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fa_lint_runtime import RuntimeCheckWarning, diagnose
from fa_lint_runtime.monitor import Monitor, Reading, Turn
from fa_lint_runtime.reference import (
    DirectFeedbackAlignment,
    Recipe,
    ReferenceModel,
    ResidualMLP,
    digits,
    train,
)


def network() -> ResidualMLP:
    return ResidualMLP(12, 16, 3, 2)


def batch(size: int = 64) -> tuple[Tensor, Tensor]:
    return torch.randn(size, 12), torch.randint(0, 3, (size,))


def test_a_reading_is_what_diagnose_measures() -> None:
    model, (x, y) = network(), batch()
    method = DirectFeedbackAlignment(model, x)
    reading = Monitor(model, (x, y), feedback=method.feedback).check(7)
    report = diagnose(model, [(x, y)], 0.3, feedback=method.feedback, progress=False)
    assert reading is not None
    assert reading.step == 7
    tolerance = {"rel": 1e-9}
    for layer, h, g, gamma in zip(
        report.layers, reading.hidden_norms, reading.gradient_norms, reading.gamma, strict=True
    ):
        assert h == pytest.approx(layer.hidden_norm, **tolerance)
        assert g == pytest.approx(layer.gradient_norm, **tolerance)
        assert layer.alignment is not None
        assert gamma == pytest.approx(layer.alignment.gamma.value, abs=1e-6)
    assert reading.credit_per_error == pytest.approx(report.layers[-1].credit_per_error, **tolerance)
    assert reading.mean_loss_gradient_norm == pytest.approx(report.bp_grad_norms[-1], **tolerance)
    assert reading.growth == pytest.approx(report.max_growth, **tolerance)


def test_it_counts_steps_and_keeps_quiet_between() -> None:
    monitor = Monitor(network(), batch(), every=3)
    found = [monitor.step() for _ in range(7)]
    assert [r is not None for r in found] == [False, False, True, False, False, True, False]
    assert [r.step for r in monitor.readings] == [3, 6]
    assert monitor.verdict == "sound"
    assert monitor.step(9) is not None, "a given number counts"
    with pytest.raises(ValueError, match="every must be"):
        Monitor(network(), batch(), every=0)


def test_the_model_is_left_bit_by_bit_as_it_was() -> None:
    model = nn.Sequential(
        nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
    )
    x, y = batch()
    nn.functional.cross_entropy(model(x), y).backward()
    model[4].weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    grads = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    state = torch.get_rng_state()
    monitor = Monitor(model, (x, y), layers=["0", "4"], warn=False)
    assert monitor.check() is not None
    assert monitor.check() is not None
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags
    for name, parameter in model.named_parameters():
        kept = grads[name]
        assert (parameter.grad is None) == (kept is None)
        assert kept is None or torch.equal(parameter.grad, kept)
    assert all(module.training for module in model.modules())
    assert torch.equal(state, torch.get_rng_state())


def grow(model: ResidualMLP, factor: float) -> None:
    with torch.no_grad():
        model.blocks[0][3].weight.mul_(factor)


def test_it_warns_once_at_the_step_where_a_criterion_turns() -> None:
    model = network()
    monitor = Monitor(model, batch(), every=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.step()
        grow(model, 1e4)
        with pytest.raises(RuntimeCheckWarning, match=r"^step 2: growth fires \(\d.*, threshold 50\)$"):
            monitor.step()
        reading = monitor.step()
        assert reading is not None
        assert reading.verdict == "walked back"
        assert {"growth", "(a)"} <= set(reading.fired)
        grow(model, 1e-4)
        with pytest.raises(RuntimeCheckWarning, match="step 4: growth no longer fires"):
            monitor.step()
    growth = [(t.step, t.fires) for t in monitor.turns if t.criterion == "growth"]
    assert growth == [(2, True), (4, False)]
    assert monitor.verdict == "sound"


def test_the_warning_points_at_the_callers_line() -> None:
    model = network()
    grow(model, 1e4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Monitor(model, batch(), every=1).step()
    assert caught
    assert Path(caught[0].filename) == Path(__file__)


def test_published_floor_alone_decides_nothing() -> None:
    """A fitted network has no gradient left: the original (b) fires, the sound criteria do not."""
    model, (x, _) = network(), batch()
    with torch.no_grad():
        model.out_head.weight.mul_(200)
    y = model(x).argmax(1)
    reading = Monitor(model, (x, y), warn=False).check()
    assert reading is not None
    assert "(b)" in reading.fired
    assert reading.verdict == "sound", reading


def test_a_broken_network_is_invalid() -> None:
    model = network()
    with torch.no_grad():
        model.blocks[1][1].weight.fill_(float("nan"))
    monitor = Monitor(model, batch())
    with pytest.warns(RuntimeCheckWarning, match="finite fires"):
        reading = monitor.check()
    assert reading is not None
    assert reading.verdict == "invalid"
    assert json.loads(reading.to_json())["growth"] is None, "NaN is not JSON"


class Writer:
    def __init__(self) -> None:
        self.scalars: dict[str, tuple[float, int]] = {}

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars[name] = (value, step)


class Run:
    def __init__(self) -> None:
        self.logged: list[tuple[dict[str, float], int]] = []

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((values, step))


def test_sinks(tmp_path: Path) -> None:
    writer, run, seen = Writer(), Run(), []
    path = tmp_path / "run.jsonl"
    monitor = Monitor(network(), batch(), every=2, sinks=[path, writer, run, seen.append], prefix="p")
    for _ in range(4):
        monitor.step()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert lines[1]["hidden_norms"] == list(monitor.readings[1].hidden_norms)
    assert writer.scalars["p/growth"] == (monitor.readings[1].growth, 4)
    assert run.logged[0][0]["p/hidden_norm/2"] == monitor.readings[0].hidden_norms[2]
    assert [r.step for r in seen] == [2, 4]
    with pytest.raises(TypeError, match="a sink must be a path"):
        Monitor(network(), batch(), sinks=[3])


@pytest.mark.filterwarnings("ignore")  # tensorboard's own dependencies warn on import
def test_tensorboard_itself(tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer = tensorboard.SummaryWriter(str(tmp_path))
    monitor = Monitor(network(), batch(), every=1, sinks=[writer])
    monitor.step()
    writer.close()
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Scalars("fa/growth")[0].value == pytest.approx(monitor.readings[0].growth)


@pytest.mark.filterwarnings("ignore")  # its own dependencies
def test_mlflow_itself(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    monitor = Monitor(network(), batch(), every=1, sinks=[mlflow])
    with mlflow.start_run() as run:
        monitor.step()
    (found,) = mlflow.MlflowClient().get_metric_history(run.info.run_id, "fa/growth")
    assert (found.value, found.step) == (pytest.approx(monitor.readings[0].growth), 1)


@pytest.mark.filterwarnings("ignore")  # its own dependencies
def test_wandb_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", dir=str(tmp_path), project="p") as run:
        Monitor(network(), batch(), every=1, sinks=[run]).step()
    (written,) = tmp_path.rglob("*.wandb")
    assert b"fa/growth" in written.read_bytes()


def test_it_finds_the_step_at_which_dfa_is_lost() -> None:
    """The purpose: on a run whose blocks blow up, the warning comes long before the end."""
    data = digits()
    monitors: list[Monitor] = []

    def watch(step: int, model: ReferenceModel) -> None:
        if not monitors:
            monitors.append(Monitor(model, (data.test_x[:128], data.test_y[:128]), every=6, warn=False))
        monitors[0].step(step)

    recipe = Recipe(optimizer="adam", lr=1e-2, weight_decay=0.0, cosine=False, epochs=25)
    train(lambda: ResidualMLP(64, 256, 10, 4), "dfa", data, recipe, 42, on_step=watch)
    (monitor,) = monitors
    first = next(t.step for t in monitor.turns if t.criterion == "growth" and t.fires)
    assert 6 < first < 0.75 * 150, monitor.turns
    assert monitor.verdict == "walked back"
    before = [r for r in monitor.readings if r.step < first]
    assert before
    assert all(r.verdict == "sound" for r in before)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning warns about workers, logging intervals, and deprecations of its own
def test_inside_a_real_lightning_trainer(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    from lightning.pytorch.loggers import CSVLogger

    from fa_lint_runtime.monitor.lightning import MonitorCallback

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, item: Any, _index: int) -> Tensor:
            x, y = item
            return nn.functional.cross_entropy(self.net(x), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    x, y = batch(128)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16)
    path = tmp_path / "run.jsonl"
    callback = MonitorCallback(batch(), network="net", every=3, sinks=[path])
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        accumulate_grad_batches=2,
        callbacks=[callback],
        logger=CSVLogger(str(tmp_path)),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Module()
    trainer.fit(module, loader)
    assert trainer.global_step == 8, "8 batches, 2 epochs, accumulated by 2"
    assert callback.monitor is not None
    assert [r.step for r in callback.monitor.readings] == [3, 6]
    assert len(path.read_text().splitlines()) == 2
    final = Monitor(module.net, callback._batch).check()
    assert final is not None
    assert final.hidden_norms != callback.monitor.readings[-1].hidden_norms, "it saw the weights of its step"
    logged = next(tmp_path.rglob("metrics.csv")).read_text()
    assert "fa/growth" in logged


@pytest.mark.slow
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.filterwarnings("ignore")  # transformers and accelerate warn about their own future
def test_inside_a_real_hugging_face_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nested: bool) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from fa_lint_runtime.monitor.transformers import MonitorTrainerCallback

    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=3
    )
    model = transformers.BertForSequenceClassification(config)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 50, (48, 6), generator=generator)
    labels = torch.randint(0, 3, (48,), generator=generator)
    items = [{"input_ids": t, "labels": y} for t, y in zip(tokens, labels, strict=True)]
    held_out = ({"input_ids": tokens[:32]}, labels[:32])
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=6,
        per_device_train_batch_size=8,
        use_cpu=True,
        report_to=[],
        remove_unused_columns=False,
        save_strategy="no",
        disable_tqdm=True,
    )

    class Tracker(transformers.TrainerCallback):  # type: ignore[name-defined,misc]
        """What a tracker in ``report_to`` is."""

        seen: list[dict[str, float]] = []

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            self.seen.append(dict(logs))

    class Nested(nn.Module):
        """A model whose network is an attribute."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, **inputs: Tensor) -> Any:
            return self.inner(**inputs)

    trainer = transformers.Trainer(
        model=Nested() if nested else model, args=arguments, train_dataset=items, callbacks=[Tracker()]
    )
    callback = MonitorTrainerCallback(
        held_out,
        trainer=trainer if nested else None,
        network="inner" if nested else None,
        every=2,
        layers="bert.encoder.layer.*",
    )
    trainer.add_callback(callback)
    trainer.train()
    assert any("fa/growth" in logs for logs in Tracker.seen) == nested, "trackers hear of it through the trainer"
    assert callback.monitor is not None
    readings = callback.monitor.readings
    assert [r.step for r in readings] == [2, 4, 6]
    assert len(readings[0].hidden_norms) == 3
    assert all(math.isfinite(v) and v > 0 for r in readings for v in (*r.hidden_norms, *r.gradient_norms))
    assert readings[0].hidden_norms != readings[2].hidden_norms
    assert any("fa/growth" in entry for entry in trainer.state.log_history)


def test_messages() -> None:
    assert Turn(3, "growth", False, 2.0, 50.0).message() == "step 3: growth no longer fires (2, threshold 50)"
    reading = Reading(1, (1.0, 2.0), (3.0, 4.0), 0.1, 2.0, 0.5, 3.0, 0.1, (0.2, None), 0.0, (), "sound")
    assert set(reading.scalars()) >= {"hidden_norm/1", "gradient_norm/0", "gamma/0"}
    assert "gamma/1" not in reading.scalars(), "what is not known has no number"
