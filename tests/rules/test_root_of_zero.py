"""FAL207: roots of squared differences in losses, in the spellings of training code, and what is safe beside them."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

STEP = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\ndef step(model, x, y, opt):\n{body}\n    opt.step()\n"


def step(*lines: str) -> str:
    return STEP.format(body="\n".join(f"    {line}" for line in lines))


BACKWARD = "loss.backward()"
ROOTS = [
    ["loss = ((model(x) - y) ** 2).sum(1).sqrt().mean()", BACKWARD],
    ["loss = torch.sqrt(((model(x) - y) ** 2).sum(-1)).mean()", BACKWARD],
    ["d = y - model(x)", "loss = (d * d).sum(dim=1).pow(0.5).mean()", BACKWARD],
    ["d = torch.sub(model(x), y)", "loss = torch.pow(torch.sum(d.square(), 1), 0.5).sum()", BACKWARD],
    ["d = model(x).sub(y)", "s = torch.sum(torch.pow(d, 2), dim=1)", "loss = (s ** 0.5).mean()", BACKWARD],
    ["d = model(x) - y", "loss = torch.einsum('ij,ij->i', d, d).sqrt().mean()", BACKWARD],
    ["d = (model(x) - y).flatten()", "loss = torch.dot(d, d).sqrt()", BACKWARD],
    ["d = (model(x) - y).flatten()", "loss = (d @ d) ** (1 / 2)", BACKWARD],
    ["loss = (model(x) - y).abs().pow(2).mean(1).sqrt().mean()", "(0.5 * loss).backward()"],
    ["loss = torch.sqrt(F.mse_loss(model(x), y))", BACKWARD],
    ["loss = nn.MSELoss()(model(x), y).sqrt()", BACKWARD],
    ["mse = nn.MSELoss()", "loss = torch.sqrt(mse(model(x), y))", BACKWARD],
    ["p = model(x)", "loss = torch.sqrt((p[:, 0] - y[:, 0]) ** 2 + (p[:, 1] - y[:, 1]) ** 2).mean()", BACKWARD],
    ["z = model(x)", "d = ((z[:, None] - z[None]) ** 2).sum(-1).sqrt()", "loss = torch.exp(-d).mean()", BACKWARD],
    ["d = ((model(x) - y) ** 2).sum(1).sqrt()", "torch.autograd.grad(d.sum(), list(model.parameters()))"],
    ["total = 0", "for p, q in zip(model.parameters(), y):", "    total = total + ((p - q) ** 2).sum()",
     "loss = total.sqrt()", BACKWARD],
    ["loss = sum(((p - q) ** 2).sum() for p, q in zip(model.parameters(), y)) ** 0.5", BACKWARD],
    ["terms = []", "for p, q in zip(model.parameters(), y):", "    terms.append((p - q).pow(2).sum().sqrt())",
     "loss = torch.stack(terms).sum()", BACKWARD],
    ["w = x.clone().requires_grad_(True)", "loss = ((w - y) ** 2).sum(1).sqrt().mean()", BACKWARD],
    ["w = x.clone()", "w.requires_grad_(True)", "loss = ((w - y) ** 2).sum(1).sqrt().mean()", BACKWARD],
    ["w = torch.zeros(3)", "w.requires_grad = True", "loss = ((w - y) ** 2).sum().sqrt()", BACKWARD],
    ["za, zb = model(x), model(y)", "d = (za - zb).pow(2).sum(1).sqrt()", "F.relu(1 - d).pow(2).mean().backward()"],
    ["d = ((model(x) - y) ** 2).sum(1).sqrt()", "torch.autograd.grad(inputs=x, outputs=d.sum())"],
    ["losses = {'d': ((model(x) - y) ** 2).sum(1).sqrt().mean()}", "total = sum(losses.values())", "total.backward()"],
    ["d = model(x) - y", "e = d if x is not None else None", "loss = (e ** 2).sum(1).sqrt().mean()", BACKWARD],
    ["def closure():", "    loss = ((model(x) - y) ** 2).mean().sqrt()", "    loss.backward()", "    return loss"],
    ["d = ((model(x) - y) ** 2).sum(1).sqrt()", "loss = torch.where(d > 0, d, torch.zeros_like(d)).mean()", BACKWARD],
    ["d = ((model(x) - y) ** 2).sum(1).sqrt()", "loss = d[d > 0].mean()", BACKWARD],
    ["d = ((model(x) - y) ** 2).sum(1).sqrt()", "loss = F.relu(1 - d).pow(2).mean()", "opt.manual_backward(loss)"],
]  # fmt: skip
SAFE = [
    ["loss = (model(x) - y).norm(dim=1).mean()", BACKWARD],
    ["loss = torch.linalg.vector_norm(model(x) - y, dim=1).mean()", BACKWARD],
    ["loss = torch.cdist(model(x), y).mean()", BACKWARD],
    ["loss = F.pairwise_distance(model(x), y).mean()", BACKWARD],
    ["loss = ((model(x) - y) ** 2).sum(1).mean()", BACKWARD],
    ["loss = torch.sqrt(((model(x) - y) ** 2).sum(1) + 1e-8).mean()", BACKWARD],
    ["eps = opt.eps", "loss = torch.sqrt(((model(x) - y) ** 2).sum(1) + eps).mean()", BACKWARD],
    ["loss = torch.sqrt((model(x) - y) ** 2 + 1e-3 ** 2).mean()", BACKWARD],
    ["loss = ((model(x) - y) ** 2).sum(1).clamp(min=1e-12).sqrt().mean()", BACKWARD],
    ["s = ((model(x) - y) ** 2).sum(1)", "s = torch.clamp_min(s, 1e-12)", "loss = s.sqrt().mean()", BACKWARD],
    ["s = ((model(x) - y) ** 2).sum(1)", "loss = torch.sqrt(torch.maximum(s, torch.tensor(1e-9))).mean()", BACKWARD],
    ["s = ((model(x) - y) ** 2).sum(1)", "loss = s[s > 0].sqrt().mean()", BACKWARD],
    ["s = ((model(x) - y) ** 2).sum(1)", "s = torch.where(s == 0, torch.ones_like(s), s)", "loss = s.sqrt().mean()", BACKWARD],
    ["s = ((model(x) - y) ** 2).sum(1)", "s = s.masked_fill(s == 0, 1.0)", "loss = s.sqrt().mean()", BACKWARD],
    ["s = ((model(x) - y) ** 2).sum(1)", "m = s.eq(0).float()", "loss = ((s + m * 1e-16).sqrt() * (1 - m)).mean()", BACKWARD],
    ["loss = ((model(x) - y + 1e-6) ** 2).sum(1).sqrt().mean()", BACKWARD],
    ["with torch.no_grad():", "    d = ((model(x) - y) ** 2).sum(1).sqrt()", "loss = (model(x) * d[:, None]).sum()", BACKWARD],
    ["d = ((model(x) - y) ** 2).sum(1).sqrt().detach()", "loss = (model(x) * d[:, None]).sum()", BACKWARD],
    ["d = ((model(x).detach() - y) ** 2).sum(1).sqrt()", "loss = (model(x) * d[:, None]).sum()", BACKWARD],
    ["z = model(x)", "i = ((z[:, None] - y) ** 2).sum(-1).sqrt().argmin(1)", "loss = F.mse_loss(z, y[i])", BACKWARD],
    ["z = model(x)", "near = ((z - y) ** 2).sum(-1).sqrt() < 1", "loss = z[near].sum()", BACKWARD],
    ["loss = F.mse_loss(model(x), y)", BACKWARD, "print(torch.sqrt(F.mse_loss(model(x), y)))"],
    ["loss = F.mse_loss(model(x), y)", BACKWARD, "rmse = loss.sqrt().item()"],
    ["w = ((x - y) ** 2).sum(1).sqrt()", "loss = (w * model(x)).mean()", BACKWARD],
    ["pos = x.positions", "d = ((pos[0] - pos[1]) ** 2).sum(-1).sqrt()", "loss = model(d).mean()", BACKWARD],
    ["p = model(x)", "loss = torch.sqrt(torch.sum((p - torch.mean(p)) ** 2))", BACKWARD],
    ["p = model(x)", "m = p.mean(0)", "loss = ((p - m) ** 2).mean().sqrt()", BACKWARD],
    ["x.pos.requires_grad_(True)", "pos = x.pos.requires_grad_(True)", "d = (pos[0] - pos[1]).pow(2).sum(-1).sqrt()",
     "torch.autograd.grad(model(d).sum(), pos)"],
    ["z = model(x)", "c = z - z.mean(0, keepdim=True)", "loss = F.relu(1 - (c ** 2).mean(0).sqrt()).mean()", BACKWARD],
    ["d = (model(x) - y).pow(2).sum(1)", "loss = d.mean()", BACKWARD, "rmse = d.mean().sqrt()", "print(rmse)"],
    ["m = model(x)", "loss = (m.pow(2).sum(1) + m.exp().sum(1)).sqrt().mean()", BACKWARD],
    ["loss = (1 - model(x).pow(2)).sqrt().mean()", BACKWARD],
    ["loss = model(x).pow(2).sum(1).sqrt().mean()", BACKWARD],
]  # fmt: skip
LOSSES = [
    "class TripletLoss(torch.nn.Module):\n    def forward(self, anchor, positive):\n        d = (anchor - positive).pow(2).sum(1).sqrt()\n        return d.mean()",
    "def rmse_loss(pred, y):\n    return torch.sqrt(torch.mean((pred - y) ** 2))",
    "class RMSELoss(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.mse = nn.MSELoss()\n    def forward(self, yhat, y):\n        return torch.sqrt(self.mse(yhat, y))",
    "def distance(a, b):\n    return ((a - b) ** 2).sum(1).sqrt()\ndef fit(model, x, y):\n    loss = distance(model(x), y).mean()\n    loss.backward()",
    "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(3, 3)\n        self.centres = nn.Parameter(torch.randn(5, 3))\n"
    "    def forward(self, x):\n        return ((x[:, None] - self.centres) ** 2).sum(-1).sqrt()\ndef fit(x, y):\n    net = Net()\n    loss = F.cross_entropy(-net(x), y)\n    loss.backward()",
    "def train(net, x, y):\n    total_loss = ((net(x) - y) ** 2).sum(1).sqrt().mean()\n    return total_loss",
    "def f(w, x, y):\n    def objective(w):\n        return ((x @ w - y) ** 2).sum(1).sqrt().mean()\n    return torch.func.grad(objective)(w)",
    "class Module(nn.Module):\n    def training_step(self, batch, i):\n        loss = ((self.encoder(batch) - batch) ** 2).sum(1).sqrt().mean()\n        return loss",
]
ONLY = "def fit(x, c, labels):\n    d = torch.sqrt(torch.sum((x[:, None] - c[None]) ** 2, -1))\n    loss = F.cross_entropy(-d, labels){more}\n    loss.backward()"
NO_LOSSES = [
    "def distance(a, b):\n    return ((a - b) ** 2).sum(1).sqrt()",
    "@torch.no_grad()\ndef rmse_loss(pred, y):\n    return torch.sqrt(torch.mean((pred - y) ** 2))",
    "def evaluate_loss(pred, y):\n    return torch.sqrt(torch.mean((pred - y) ** 2))",
    "class Charbonnier(nn.Module):\n    def forward(self, x, y):\n        d = x - y\n        return torch.sqrt(d * d + self.eps).mean()",
    "class CharbonnierLoss(nn.Module):\n    def forward(self, x, y):\n        d = x - y\n        return torch.sqrt(d * d + self.eps).mean()",
    "def loss(points, target_points):\n    return torch.sqrt(((points[0] - target_points) ** 2).sum(-1)).mean()",
    "import numpy as np\ndef rmse_loss(pred, y):\n    return np.sqrt(((pred - y) ** 2).mean())",
    "def length_loss(n):\n    return (n - 1) ** 0.5",
]
IMPORTS = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"


@pytest.mark.parametrize("lines", ROOTS, ids=lambda lines: lines[0])
def test_a_root_in_a_differentiated_loss_is_found(lines: list[str]) -> None:
    assert len(rows("FAL207", step(*lines))) == 1


@pytest.mark.parametrize("lines", SAFE, ids=lambda lines: lines[0])
def test_a_root_that_is_safe_is_silent(lines: list[str]) -> None:
    assert rows("FAL207", step(*lines)) == []


@pytest.mark.parametrize("code", LOSSES)
def test_a_loss_that_returns_a_root_is_found(code: str) -> None:
    assert len(rows("FAL207", IMPORTS + code)) == 1


@pytest.mark.parametrize("code", NO_LOSSES)
def test_what_is_no_loss_or_guarded_is_silent(code: str) -> None:
    assert rows("FAL207", IMPORTS + code) == []


def test_a_difference_of_gradients_needs_a_graph() -> None:
    code = (
        "import torch\ndef f(net, x, y, t):\n    a = torch.autograd.grad(net(x).sum(), t{graph})\n"
        "    b = torch.autograd.grad(net(y).sum(), t)\n"
        "    loss = sum(((p - q) ** 2).sum().sqrt() for p, q in zip(a, b))\n    loss.backward()\n"
    )
    assert rows("FAL207", code.format(graph=", create_graph=True")) == [5]
    assert rows("FAL207", code.format(graph="")) == []


def test_what_a_loss_is_computed_from_alone_requires_a_gradient() -> None:
    assert rows("FAL207", IMPORTS + ONLY.format(more="")) == [5]
    assert rows("FAL207", IMPORTS + ONLY.format(more=".mul(q)").replace("labels)", "labels, q)", 1)) == []
    assert rows("FAL207", IMPORTS + ONLY.format(more=" * self.scale").replace("fit(", "fit(self, ")) == []
    assert rows("FAL207", IMPORTS + ONLY.format(more=".mul(q(c))").replace("labels)", "labels, q)", 1)) == []


SUMS = ["s = ((model(x) - y) ** 2).sum(1)"]
PAIRS = ["z = model(x)", "s = (z[:, None] - z[None]).pow(2).sum(-1)"]
ROOT = ["loss = s.sqrt().mean()", BACKWARD]
FILLED = [
    "s.fill_diagonal_(1.0)",
    "s.diagonal().fill_(1)",
    "s[torch.eye(len(x)).bool()] = 1.0",
    "s.masked_fill_(s == 0, 1.0)",
    "s = s.fill_diagonal_(1.0)",
    "s.clamp_(min=1e-9)",
    "s.add_(1e-9)",
]
TESTED = [
    ["if (s == 0).any():", "    return s.sum()"],
    ["if torch.any(s == 0):", "    raise ValueError"],
    ["if s.eq(0).any():", "    return s.sum()"],
    ["if s.min() < 1e-9:", "    return s.sum()"],
    ["if not (s > 0).all():", "    return s.sum()"],
    ["zero = s == 0", "if zero.any():", "    return s.sum()"],
    ["assert (s > 0).all()"],
    ["assert s.min() > 0"],
    ["if 0 == s.min():", "    return s.sum()"],
]
UNTESTED = [
    ["if (s == 0).all():", "    return s.sum()"],
    ["if (s > 0).any():", "    return s.sum()"],
    ["if s.max() > 100:", "    return s.sum()"],
    ["if (s == 0).any():", "    print('zero')"],
    ["if (y == 0).any():", "    return s.sum()"],
    ["assert s.max() < 9"],
    ["t = s.clone()", "t.fill_diagonal_(1.0)"],
]


@pytest.mark.parametrize("fill", FILLED)
def test_zeros_that_are_overwritten_before_the_root(fill: str) -> None:
    assert rows("FAL207", step(*PAIRS, fill, *ROOT)) == []
    assert len(rows("FAL207", step(*PAIRS, *ROOT[:1], "s.detach()", BACKWARD))) == 1


@pytest.mark.parametrize("test", TESTED)
def test_zeros_that_are_tested_for_before_the_root(test: list[str]) -> None:
    assert rows("FAL207", step(*SUMS, *test, *ROOT)) == []


@pytest.mark.parametrize("test", UNTESTED)
def test_a_test_that_lets_zeros_through(test: list[str]) -> None:
    assert len(rows("FAL207", step(*SUMS, *test, *ROOT))) == 1


def test_a_step_of_a_loop_that_is_skipped() -> None:
    loop = [
        "for x, y in opt.data:",
        "    s = ((model(x) - y) ** 2).sum(1)",
        "    {0}",
        "    loss = s.sqrt().mean()",
        "    loss.backward()",
    ]
    skipping = [line.format("if (s == 0).any(): continue") for line in loop]
    assert rows("FAL207", step(*skipping)) == []
    assert len(rows("FAL207", step(*(line.format("pass") for line in loop)))) == 1


def test_a_branch_on_the_distance() -> None:
    branch = ["s = ((model(x) - y) ** 2).sum()", "if s {0} 0:", "    loss = s.sqrt()", "    loss.backward()"]
    assert rows("FAL207", step(*(line.format(">") for line in branch))) == []
    assert len(rows("FAL207", step(*(line.format(">=") for line in branch)))) == 1
