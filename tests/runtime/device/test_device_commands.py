"""``fa-diagnose run`` and audits on a device."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from fa_lint_runtime.audit import load_config, run_audit
from fa_lint_runtime.cli import main

USER_CODE = """
import torch
from fa_lint_runtime.reference import ResidualMLP, gaussian_mixture

def on_host():
    torch.manual_seed(0)
    return ResidualMLP(32, 16, 10, 2)

def on_device():
    return on_host().cuda()

def batches():
    return gaussian_mixture(32, noise=0.3, train=256, test=512).eval_batches(128)

def device_batches():
    return [(x.cuda(), y.cuda()) for x, y in batches()]
"""


@pytest.fixture(autouse=True)
def _user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "device_user_code.py").write_text(USER_CODE)
    yield
    sys.modules.pop("device_user_code", None)


def run(model: str, data: str, *options: str) -> tuple[Result, dict[str, Any]]:
    targets = ["--model", f"device_user_code:{model}", "--data", f"device_user_code:{data}"]
    result = CliRunner().invoke(main, ["run", *targets, "--json", "report.json", *options])
    assert result.exit_code in (0, 1, 3), result.output
    return result, json.loads(Path("report.json").read_text())


@pytest.mark.parametrize("model", ["on_host", "on_device"])
@pytest.mark.parametrize("data", ["batches", "device_batches"])
@pytest.mark.parametrize("options", [(), ("--device", "cuda"), ("--device", "cpu")], ids=" ".join)
def test_accuracy_is_measured_where_the_model_is(model: str, data: str, options: tuple[str, ...]) -> None:
    _, expected = run("on_host", "batches")
    _, found = run(model, data, *options)
    assert found["headline_acc"] == expected["headline_acc"]
    assert found["verdict"] == expected["verdict"]


SMALL = """
methods = ["bp", "dfa", "sb"]
seeds = [1]
null_draws = 19
device = "DEVICE"

[data]
name = "mixture"
dim = 32
train = 512
test = 512

[model]
width = 16
depth = 2

[recipe]
optimizer = "adam"
lr = 1e-2
weight_decay = 0.0
cosine = false
epochs = 2
batch_size = 64
"""


@pytest.mark.parametrize("default", [None, "cuda"])
def test_an_audit_trains_and_measures_on_one_device(default: str | None, tmp_path: Path) -> None:
    def audited(device: str) -> Any:
        path = tmp_path / f"{device}.toml"
        path.write_text(SMALL.replace("DEVICE", device))
        return run_audit(load_config(path))

    expected = audited("cpu")
    torch.set_default_device(default)
    try:
        found = audited("cuda")
    finally:
        torch.set_default_device(None)
    for own, other in zip(found, expected, strict=True):
        assert own.error == other.error == ""
        assert own.accuracy == pytest.approx(other.accuracy, abs=0.01)
        if own.report is not None and other.report is not None:
            assert own.report.provenance.device == "cuda:0" and other.report.provenance.device == "cpu"
            norms = [layer.hidden_norm for layer in own.report.layers]
            assert norms == pytest.approx([layer.hidden_norm for layer in other.report.layers], rel=1e-2)
