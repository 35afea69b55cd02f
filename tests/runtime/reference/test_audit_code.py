"""Code of the user's own: changed code trains again, its data are alike in every process, what it gives is checked."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from strangers import TOML, trainings, written
from torch import nn

from fa_lint_runtime.audit import cells, load_config, rows_of, run_audit, to_markdown
from fa_lint_runtime.audit.own import backprop, loaded, trained
from fa_lint_runtime.reference import Dataset, Recipe
from fa_lint_runtime.targets import TargetError

TOY = Dataset("toy", torch.randn(8, 3), torch.zeros(8, dtype=torch.int64), torch.randn(8, 3), torch.arange(8) % 2, 2)


def given(made: Any, device: str = "cpu") -> Any:
    return trained(lambda *_: made, lambda: nn.Linear(3, 2), TOY, 1, Recipe(), device, Path())


def test_a_changed_module_is_trained_again(tmp_path: Path) -> None:
    path = written(tmp_path)
    first = run_audit(load_config(path, ["seeds=[1]"]))
    module = tmp_path / "theirs.py"
    module.write_text(
        module.read_text().replace("return model\n", "return nn.Sequential(model[:4], nn.Linear(16, 3))\n")
    )
    again = run_audit(load_config(path, ["seeds=[1]"]))
    assert trainings(tmp_path) == ["1", "1"]
    assert first[0].correct != again[0].correct, "by the new code, in a process that knows the old"
    module.write_text(module.read_text().replace("x[:, :3].argmax(1)", "x[:, :3].argmin(1)"))
    other = run_audit(load_config(path, ["seeds=[1]"]))
    assert other[0].correct != again[0].correct, "on the new data"


def test_modules_of_one_name_in_two_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_audit(load_config(written(tmp_path / name), ["seeds=[1]"]))
        assert trainings(tmp_path / name) == ["1"], "each by the module of its own folder"


def test_options_of_data_may_be_lists(tmp_path: Path) -> None:
    path = written(tmp_path)
    module = tmp_path / "theirs.py"
    module.write_text(module.read_text() + "\n\ndef parts(sizes):\n    return loaders(*sizes)\n")
    results = run_audit(load_config(path, ["seeds=[1]", "data.name=theirs:parts", "data.sizes=[128, 256]"]))
    assert [r.error for r in results] == [""] * 3


def _states() -> list[object]:
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()]


def _advance() -> None:
    random.random()
    np.random.rand()
    torch.rand(())


def test_data_are_drawn_alike_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "import random\nimport numpy, torch\n"
        "def drawn():\n"
        "    x = torch.rand(4, 3) + numpy.random.rand() + random.random()\n"
        "    return [(x, torch.zeros(4, dtype=torch.int64))], [(x, torch.ones(4, dtype=torch.int64))]\n"
    )
    before = _states()
    one = loaded("theirs:drawn", {}, tmp_path)
    assert _states() == before, "the caller's numbers are left alone"
    _advance()
    assert torch.equal(loaded("theirs:drawn", {}, tmp_path).train_x, one.train_x)


def test_a_method_that_draws_anywhere_gives_the_same_network(tmp_path: Path) -> None:
    def train(model: nn.Module, *_: Any) -> nn.Module:
        with torch.no_grad():
            next(model.parameters()).add_(np.random.rand() + random.random() + torch.rand(()))
        return model

    def weight() -> torch.Tensor:
        return next(trained(train, lambda: nn.Linear(3, 2), TOY, 1, Recipe(), "cpu", Path()).model.parameters())

    first = weight()
    _advance()
    assert torch.equal(first, weight())


def test_a_baseline_that_is_not_finite_fails(tmp_path: Path) -> None:
    path = written(tmp_path, TOML.replace("theirs:frozen", "theirs:broken"))
    module = tmp_path / "theirs.py"
    spoilt = (
        "\n\ndef broken(model, data, seed, recipe):\n    model[0].weight.data.fill_(float('nan'))\n    return model\n"
    )
    module.write_text(module.read_text() + spoilt)
    results = {r.cell.method: r for r in run_audit(load_config(path, ["seeds=[1]"]))}
    assert "theirs:broken gave parameters that are not finite: no baseline" in results["frozen"].error
    assert "has no result to compare with" in results["mine"].error


@pytest.mark.parametrize("accuracy", [61.5, -0.1, float("nan")])
def test_an_accuracy_is_a_share(accuracy: float) -> None:
    with pytest.raises(TargetError, match="accuracy must be a share between 0 and 1, got"):
        given({"model": nn.Linear(3, 2), "accuracy": accuracy})
    assert given({"model": nn.Linear(3, 2), "accuracy": 1}).accuracy == 1.0


def test_random_states_of_gpus_that_train_nothing_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fork, asked = torch.random.fork_rng, []

    def named(devices: Any = None, *args: Any, **kwargs: Any) -> Any:
        asked.append(devices)
        return fork(devices, *args, **kwargs)

    monkeypatch.setattr(torch.random, "fork_rng", named)
    given(nn.Linear(3, 2))
    assert asked
    assert all(devices == [] for devices in asked)


def test_a_failure_of_many_lines_is_one_row_of_the_table(tmp_path: Path) -> None:
    path = written(tmp_path)
    module = tmp_path / "theirs.py"
    module.write_text(module.read_text().replace("return 3", "raise ValueError('one\\n| two |\\nthree')"))
    path.write_text(path.read_text().replace("theirs:train", "theirs:nothing"))
    results = run_audit(load_config(path, ["seeds=[1]"]))
    assert results[-1].error == "ValueError: one | two | three"
    assert to_markdown(rows_of(results)).splitlines()[-1] == "- theirs:network mine: ValueError: one | two | three"


def test_folders_do_not_depend_on_where_a_worker_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    config = load_config("audit.toml")
    assert (config.folder, config.out) == (tmp_path / "here", tmp_path / "here" / "audit")


def test_layers_and_token_that_a_method_returns_are_used(tmp_path: Path) -> None:
    path = written(tmp_path)
    module = tmp_path / "theirs.py"
    module.write_text(
        module.read_text()
        + """

class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        h = self.first(x.unsqueeze(1).repeat(1, 4, 1))
        return self.head(self.second(h)[:, 2])

def positions():
    return Sequence()

def narrow(model, data, seed, recipe):
    return {"model": model, "layers": ["second"], "token": 3}
"""
    )
    path.write_text(TOML.replace("theirs:network", "theirs:positions").replace("theirs:train", "theirs:narrow"))
    report = run_audit(load_config(path, ["seeds=[1]"]))[-1].report
    assert report is not None
    assert [layer.name for layer in report.layers] == ["second"]
    assert report.provenance is not None
    assert report.provenance.token == "3", "found without being told: 2"


def test_the_built_in_backprop_takes_the_steps_of_its_recipe() -> None:
    data = Dataset("toy", torch.randn(8, 3), torch.arange(8) % 2, torch.randn(8, 3), torch.arange(8) % 2, 2)
    recipe = Recipe(optimizer="sgd", lr=0.5, weight_decay=0.0, cosine=False, epochs=3, batch_size=8)
    model = nn.Linear(3, 2)
    by_hand = copy.deepcopy(model)
    assert backprop(model, data, 1, recipe) is model
    for _ in range(3):  # one batch an epoch: in any order the same sum
        loss = nn.functional.cross_entropy(by_hand(data.train_x), data.train_y)
        for parameter, gradient in zip(
            by_hand.parameters(), torch.autograd.grad(loss, list(by_hand.parameters())), strict=True
        ):
            parameter.data -= 0.5 * gradient
    torch.testing.assert_close(model.weight, by_hand.weight)
    torch.testing.assert_close(model.bias, by_hand.bias)


def test_a_cell_says_of_each_test_sample_in_its_order_whether_it_is_right(tmp_path: Path) -> None:
    path = written(tmp_path, TOML.replace("theirs:frozen", "theirs:first"))
    module = tmp_path / "theirs.py"
    # Class 0 is the answer to all samples; the first three are of class 0, later ones every eleventh.
    module.write_text(
        module.read_text().replace(
            "y = x[:, :3].argmax(1)", "y = (torch.arange(train + test) - train).remainder(11).clamp(max=2)"
        )
        + "\n\ndef first(model, data, seed, recipe):\n    nn.init.zeros_(model[4].weight)\n"
        "    model[4].bias.data = torch.tensor([1.0, 0.0, 0.0])\n    return model\n"
    )
    config = load_config(path, ["seeds=[1]"])
    frozen = run_audit(config)[0]
    right = [index % 11 == 0 for index in range(256)]
    digits = "".join("1" if one else "0" for one in right)
    assert frozen.correct == f"{int(digits, 2):064x}"
    assert cells._correct(config, frozen.cell, 256).tolist() == right
    assert frozen.accuracy == sum(right) / 256
