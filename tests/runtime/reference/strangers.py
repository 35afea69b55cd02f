"""What the tests of an audit share: a stranger's module with a method, a model and data, and a configuration for it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[3]

MODULE = """
import os, time
import torch
from pathlib import Path
from torch import nn
from torch.nn import functional as F
from fa_lint_runtime import Feedback
from fa_lint_runtime.audit.own import backprop


def network(width=16):
    return nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))


def loaders(train=256, test=256):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(train + test, 8, generator=generator)
    y = x[:, :3].argmax(1)
    return list(zip(x[:train].split(64), y[:train].split(64))), list(zip(x[train:].split(64), y[train:].split(64)))


def train(model, data, seed, recipe):
    with open(Path(__file__).parent / "trained.log", "a") as file:
        file.write(f"{seed} {os.getpid()}\\n")
    time.sleep(float(os.environ.get("SLOW", "0")))
    feedback = Feedback.dfa([16, 16], 3, seed=seed, sites=["0", "2"])
    return {"model": backprop(model, data, seed, recipe), "feedback": feedback}


def boasting(model, data, seed, recipe):
    return {"model": backprop(model, data, seed, recipe), "accuracy": 0.999}


def frozen(model, data, seed, recipe):
    return model


def nothing(model, data, seed, recipe):
    return 3
"""
TOML = """
seeds = [1, 2]
null_draws = 19
model = "theirs:network"
data = "theirs:loaders"
frozen = "theirs:frozen"
[methods.bp]
[methods.mine]
train = "theirs:train"
[recipe]
optimizer = "sgd"
lr = 0.5
cosine = false
epochs = 2
batch_size = 64
"""


def written(folder: Path, text: str = TOML) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "theirs.py").write_text(MODULE)
    path = folder / "audit.toml"
    path.write_text(text)
    return path


def trainings(folder: Path) -> list[str]:
    return sorted(line.split()[0] for line in (folder / "trained.log").read_text().splitlines())
