"""FAL602: how two passes are spelled, and how the model that they go through is made."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
DROP = "nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 1))"
TWO = "def f(xa, xb, w, s):\n    n = " + DROP + "\n{0}    return torch.cosine_similarity(a, b, dim=0)"
BACKWARDS = [
    "    n(xa).sum().backward()\n    a = n[0].weight.grad.clone().flatten()\n    n.zero_grad()\n"
    "    n(xb).sum().backward()\n    b = n[0].weight.grad.flatten()\n",
    "    la = n(xa).sum()\n    la.backward()\n    a = torch.cat([p.grad.flatten() for p in n.parameters()])\n"
    "    n.zero_grad()\n    torch.autograd.backward(n(xb).sum())\n"
    "    b = torch.cat([p.grad.flatten() for p in n.parameters()])\n",
]
ONE_BACKWARD = [
    "    n(xa).sum().backward()\n    a, b = n[0].weight.grad.flatten(), n[2].weight.grad.flatten()\n",
    "    out = n(xa)\n    out.sum().backward(retain_graph=True)\n    a = n[0].weight.grad.clone().flatten()\n"
    "    n.zero_grad()\n    out.pow(2).sum().backward()\n    b = n[0].weight.grad.flatten()\n",
    "    n.eval()\n" + BACKWARDS[0],
    "    torch.manual_seed(0)\n" + BACKWARDS[0].replace("    n(xb)", "    torch.manual_seed(0)\n    n(xb)"),
]
GRAD = "torch.autograd.grad(n(x).sum(), w)[0]"
COLLECTED = [
    f"    a, b = [{GRAD} for x in (xa, xb)]\n",
    f"    gs = [{GRAD}.flatten() for x in (xa, xb)]\n    a, b = gs[0], gs[1]\n",
    f"    gs = [{GRAD}.flatten() for x in (xa, xb)]\n    a, b = gs\n",
    f"    gs = []\n    for x in (xa, xb):\n        gs.append({GRAD})\n    a, b = gs[0].flatten(), gs[-1].flatten()\n",
    "    gs = []\n    for x in (xa, xb):\n        loss = n(x).sum()\n        g = torch.autograd.grad(loss, w)[0]\n"
    "        gs.append(g.flatten())\n    a, b = gs\n",
    "    gs = []\n    for x in (xa, xb):\n        n.zero_grad()\n        n(x).sum().backward()\n"
    "        gs.append(n[0].weight.grad.clone())\n    a, b = gs[0], gs[1]\n",
]
OF_ONE_PASS = [
    "    gs = [g.flatten() for g in torch.autograd.grad(n(xa).sum(), w)]\n    a, b = gs[0], gs[1]\n",
    "    a, b = torch.autograd.grad(n(xa).sum(), w)\n",
    "    out = n(xa)\n    a, b = [torch.autograd.grad(out.sum(), p, retain_graph=True)[0] for p in w]\n",
    "    out = n(xa)\n    gs = []\n    for p in w:\n        gs.append(torch.autograd.grad(out.sum(), p)[0])\n    a, b = gs\n",
    "    gs = []\n    for x in xa:\n        out = n(x)\n        for p in w:\n"
    "            gs.append(torch.autograd.grad(out.sum(), p)[0])\n    a, b = gs[0], gs[1]\n",
    "    gs = []\n    for x in xa:\n        g, h = torch.autograd.grad(n(x).sum(), w)\n        gs.append(g)\n"
    "        gs.append(h)\n    a, b = gs[0], gs[1]\n",
    f"    gs = [{GRAD} for x in xa]\n    a, b = gs[0], gs[0]\n",
    f"    gs = [{GRAD} for x in xa for w in s]\n    a, b = gs[0], gs[1]\n",
    f"    n.eval()\n    gs = [{GRAD} for x in xa]\n    a, b = gs[0], gs[1]\n",
    "    gs = []\n    for x in xa:\n        torch.manual_seed(0)\n        gs.append(n(x))\n    a, b = gs[0], gs[1]\n",
]
HOLDER = (
    "class E:\n    def __init__(self):\n        self.model = " + DROP + "\n{0}"
    "    def noise(self, xa, xb): return torch.cosine_similarity(self.grad(xa), self.grad(xb), dim=0)\n"
)
METHODS = [
    "    def grad(self, x): return torch.autograd.grad(self.model(x).sum(), self.model[0].weight)[0].flatten()\n",
    "    def grad(self, x):\n        self.model.zero_grad()\n        self.model(x).sum().backward()\n"
    "        return torch.cat([p.grad.flatten() for p in self.model.parameters()])\n",
    "    def loss(self, x): return self.model(x).sum()\n"
    "    def grad(self, x): return torch.autograd.grad(self.loss(x), self.model[0].weight)[0].flatten()\n",
]
SILENT_METHODS = [
    METHODS[0] + "    def setup(self): self.model.eval()\n",
    METHODS[0].replace("return", "self.model.train(False); return"),
    "    def grad(self, x): return self.model[0](x)\n",
    "    def grad(self, x): return self.model[0].weight.grad.flatten()\n",
]
MADE = "{0}def f(xa, xb):\n    n = {1}\n    return torch.cosine_similarity(n(xa), n(xb), dim=-1)"
BLOCK = (
    "class Block(nn.Module):\n    def __init__(self, p=0.1):\n        super().__init__()\n"
    "        self.f = nn.Sequential(nn.Linear(8, 8), nn.Dropout({0}))\n    def forward(self, x): return x + self.f(x)\n"
)
STACK = (
    "class Net(nn.Module):\n    def __init__(self, q=0.1):\n        super().__init__()\n"
    "        self.blocks = nn.ModuleList([Block({0}) for _ in range(3)])\n    def forward(self, x):\n"
    "        for b in self.blocks:\n            x = b(x)\n        return x\n"
)
ACTING = [
    (f"def make(): return {DROP}\n", "make()"),
    (f"def make(d):\n    net = {DROP}\n    net = net.to(d)\n    return net\n", "make(0).cuda()"),
    ("def make(): return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))\n", "make()"),
    (BLOCK.format("0.2") + STACK.format(""), "Net()"),
    (BLOCK.format("p") + STACK.format("0.2"), "Net()"),
    (BLOCK.format("p"), "nn.Sequential(nn.Linear(8, 8), Block(0.3))"),
    ("", "nn.TransformerEncoderLayer(64, 4, dropout=0.1)"),
    ("", "nn.TransformerEncoderLayer(64, 4)"),
    ("", "nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, 0.2), 2)"),
    ("", "nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.ReLU(), nn.Dropout(0.5)))"),
]
IDLE = [
    ("def make(): return nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.0))\n", "make()"),
    (f"def make():\n    net = {DROP}\n    net.eval()\n    return net\n", "make()"),
    (f"def make(d): return {DROP} if d else nn.Linear(8, 8)\n", "make(0)"),
    (f"def make(d):\n    if d:\n        return nn.Linear(8, 8)\n    return {DROP}\n", "make(0)"),
    (BLOCK.format("0.0") + STACK.format(""), "Net()"),
    (BLOCK.format("p") + STACK.format("0.0"), "Net()"),
    (BLOCK.format("p") + STACK.format("q"), "Net(0.0)"),
    ("", "nn.TransformerEncoderLayer(64, 4, dropout=0.0)"),
    ("", "nn.TransformerEncoderLayer(64, 4, 128, 0)"),
    ("", "nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, dropout=0.0), 2)"),
    ("", "nn.TransformerEncoderLayer(64, 4).eval()"),
    ("from made import make  # with or without Dropout\n", "make()"),
]
FEATURES = (
    "class Net(nn.Module):\n    def __init__(self, p=0.1):\n        super().__init__()\n"
    "        self.a, self.b = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1)), nn.Linear(8, 2)\n"
    "    def features(self, x): return {0}\n    def forward(self, x): return self.b(self.a(x))\n"
    "def inv(x, n):\n    net = Net()\n    return torch.cosine_similarity({1}, {2}, dim=1)"
)


@pytest.mark.parametrize("code", [*BACKWARDS, *COLLECTED])
def test_two_passes_of_one_function(code: str) -> None:
    assert len(rows("FAL602", HEAD + TWO.format(code))) == 1


@pytest.mark.parametrize("code", [*ONE_BACKWARD, *OF_ONE_PASS])
def test_one_pass_two_pairs_of_masks_alike_or_eval_mode(code: str) -> None:
    assert rows("FAL602", HEAD + TWO.format(code)) == []


@pytest.mark.parametrize("methods", METHODS)
def test_the_gradient_in_a_method(methods: str) -> None:
    assert len(rows("FAL602", HEAD + HOLDER.format(methods))) == 1


@pytest.mark.parametrize("methods", SILENT_METHODS)
def test_a_method_in_eval_mode_or_without_the_layer(methods: str) -> None:
    assert rows("FAL602", HEAD + HOLDER.format(methods)) == []


@pytest.mark.parametrize(("before", "made"), ACTING)
def test_models_that_act_in_train_mode(before: str, made: str) -> None:
    assert len(rows("FAL602", HEAD + MADE.format(before, made))) == 1


@pytest.mark.parametrize(("before", "made"), IDLE)
def test_models_that_do_not(before: str, made: str) -> None:
    assert rows("FAL602", HEAD + MADE.format(before, made)) == []


@pytest.mark.parametrize("features", ["self.a(x)", "self.b(F.dropout(x, 0.1, self.training))", "F.relu(self.a(x))"])
def test_a_method_of_a_model_that_passes_its_dropout(features: str) -> None:
    code = FEATURES.format(features, "net.features(x)", "net.features(x + n)")
    assert len(rows("FAL602", HEAD + code)) == 1


@pytest.mark.parametrize(
    "features", ["self.b(x)", "F.dropout(x, 0.0, self.training)", "F.dropout(x, 0.1, False)", "self.a[0](x)"]
)
def test_a_method_of_a_model_beside_its_dropout(features: str) -> None:
    code = FEATURES.format(features, "net.features(x)", "net.features(x + n)")
    assert rows("FAL602", HEAD + code) == []


def test_what_a_module_says_of_itself_depends_on_its_user() -> None:
    code = (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.enc = "
        + DROP
        + "\n    def encode(self, x): return self.enc(x)\n"
        "    def similarity(self, x, y): return F.cosine_similarity(self.encode(x), self.encode(y))\n"
    )
    assert rows("FAL602", HEAD + code) == []


@pytest.mark.parametrize("loss", ["nn.Dropout(0.1)", "nn.BatchNorm1d(8)"])
def test_a_layer_that_is_called_by_itself(loss: str) -> None:
    code = f"def f(x, y):\n    n = {loss}\n    return F.cosine_similarity(n(x), n(y))"
    assert rows("FAL602", HEAD + code) == []


@pytest.mark.parametrize(
    "train", ["(1 - {0}).mean().backward()", "loss = -{0}.mean()\n    loss.backward()", "return 0.5 - {0}"]
)
def test_training_on_features_is_no_measurement(train: str) -> None:
    cosine = "F.cosine_similarity(n.features(x), n.features(y))"
    net = FEATURES.format("self.a(x)", "x", "n")
    code = f"{net}\ndef contrastive_loss(x, y):\n    n = Net()\n    {train.format(cosine)}\n"
    assert rows("FAL602", HEAD + code) == []


@pytest.mark.parametrize(
    ("mode", "number"), [("n.eval()", 0), ("n.train(False)", 0), ("n.train()", 1), ("m.eval()", 1)]
)
def test_the_mode_of_a_model_of_the_module(mode: str, number: int) -> None:
    code = f"n, m = {DROP}, nn.Linear(8, 8)\nn = {DROP}\n{mode}\ndef f(x, y): return F.cosine_similarity(n(x), n(y))"
    assert len(rows("FAL602", HEAD + code)) == number


RATE = """import torch
import torch.nn.functional as F
from torch import nn
class Enc(nn.Module):
    def __init__(self, p=0.1):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 16), nn.Dropout(p))
    def forward(self, x):
        return self.net(x)
def compare(a, b):
    enc = Enc({})
    return F.cosine_similarity(enc(a), enc(b))
"""


@pytest.mark.parametrize(("rate", "count"), [("p=0.0", 0), ("0.0", 0), ("", 1), ("0.2", 1)])
def test_the_rate_that_a_model_is_built_with(rate: str, count: int) -> None:
    assert len(rows("FAL602", RATE.format(rate))) == count
