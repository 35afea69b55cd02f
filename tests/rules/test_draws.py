"""What counts as a draw, and what is said of its seed."""

from __future__ import annotations

import pytest

from fa_lint.semantics import ir
from fa_lint.semantics.draws import Draw, draw_of
from fa_lint.semantics.facts import extract
from fa_lint.semantics.saves import saves

HEAD = (
    "import copy\nimport numpy as np\nimport torch\nfrom torch import nn\nfrom torch.distributions import Normal\n"
    "def make(n):\n    return torch.randn(n, n)\ndef twice(x):\n    return x * 2\n"
    "class Draws:\n    def __init__(self, rng=None):\n        self.rng = np.random.RandomState(0)\n"
    "    def matrix(self, n):\n        return self.rng.randn(n, n)\n"
    "    def use(self, n, generator, data, rows, cols, flag, shape):\n"
)


def drawn(body: str) -> Draw | None:
    """The draw of the last assigned value of a method."""
    facts = extract(HEAD + "".join(f"        {line}\n" for line in body.splitlines()))
    last = [node for node in facts.nodes() if isinstance(node, ir.Assign)][-1]
    return draw_of(facts, last.value)


@pytest.mark.parametrize(
    "expression",
    [
        "torch.randn(n, n)",
        "torch.rand(n, n).T",
        "-torch.randn(n)[0]",
        "(w := torch.randn(n))",
        "torch.randn(n) if flag else torch.zeros(n)",
        "torch.zeros(n) if not flag else torch.randn(n)",
        "[torch.randn(n) for _ in range(3)]",
        "[torch.zeros(n), torch.randn(n)]",
        "{'a': torch.randn(n)}",
        "list(torch.randn(n) for _ in range(2))",
        "torch.from_numpy(np.random.randn(n, n)).float()",
        "make(n)",
        "twice(torch.randn(n))",
        "self.matrix(n)",
        "self.rng.normal(size=(n, n))",
        "Normal(0, 1).sample((n, n))",
        "torch.empty(n, n).normal_()",
        "data.new_empty(n).uniform_()",
        "nn.init.xavier_uniform_(torch.empty(n, n))",
        "0.1 * torch.randn(n) / n",
    ],
)
def test_random_draws(expression: str) -> None:
    found = drawn(f"w = {expression}")
    assert found is not None
    assert found.kind == "random"


@pytest.mark.parametrize(
    "expression",
    [
        "torch.empty(n, n)",
        "torch.Tensor(rows, cols)",
        "torch.Tensor(3)",
        "torch.Tensor(data.size())",
        "torch.Tensor(data.shape)",
        "torch.Tensor(size=(n, n))",
        "torch.Tensor(*shape)",
        "data.new_empty(n, n)",
        "torch.FloatTensor(torch.Size([3, 4]))",
    ],
)
def test_allocations(expression: str) -> None:
    found = drawn(f"w = {expression}")
    assert found is not None
    assert found.kind == "uninitialised"


@pytest.mark.parametrize(
    "expression",
    [
        "torch.Tensor([1.0, 2.0])",
        "torch.Tensor(data)",
        "torch.Tensor()",
        "data.clone()",
        "torch.randn(n).norm()",
        "nn.init.zeros_(data)",
        "torch",
        "n",
        "len(data)",
        "torch.relu(data)",
    ],
)
def test_no_draws(expression: str) -> None:
    assert drawn(f"w = {expression}") is None


@pytest.mark.parametrize(
    "fill", ["b.data.uniform_(-1, 1)", "nn.init.orthogonal_(b)", "b[0] = 1.0", "nn.init.normal_(b.data)"]
)
def test_a_local_that_is_filled_is_drawn(fill: str) -> None:
    found = drawn(f"b = torch.empty(n, n)\n{fill}\nw = b")
    assert found is not None
    assert found.kind == "random"


@pytest.mark.parametrize(
    ("body", "seed"),
    [
        ("w = torch.randn(n)", ""),
        ("w = torch.randn(n, generator=generator)", "argument"),
        ("w = torch.randn(n, generator=None)", ""),
        ("g = torch.Generator().manual_seed(3)\nw = torch.randn(n, generator=g)", "constant"),
        ("g = torch.Generator()\ng.manual_seed(n)\nw = torch.randn(n, generator=g)", "argument"),
        ("g = torch.Generator()\nw = torch.randn(n, generator=g)", "argument"),
        ("torch.manual_seed(0)\nw = torch.randn(n)", "constant"),
        ("torch.manual_seed(n)\nw = torch.randn(n)", "argument"),
        ("set_seed(1)\nw = torch.randn(n)", "argument"),
        ("torch.manual_seed(0)\nprint(n)\nw = torch.randn(n)", ""),
        ("w = np.random.RandomState(7).randn(n)", "constant"),
        ("w = np.random.default_rng().normal(size=n)", ""),
        ("w = np.random.default_rng(None).normal(size=n)", ""),
        ("w = generator.normal(size=n)", "argument"),
        ("w = self.rng.randn(n)", "constant"),
    ],
)
def test_seeds(body: str, seed: str) -> None:
    found = drawn(body)
    assert found is not None
    assert found.seed == seed


@pytest.mark.parametrize(
    ("code", "entries"),
    [
        ("torch.save(dict(net=net.state_dict(), step=1), p)", [("state_dict", "net"), ("value", "step")]),
        ("torch.save([net.state_dict(), opt.state_dict()], p)", [("state_dict", ""), ("state_dict", "")]),
        ("torch.save(net.state_dict() if flag else net, p)", [("state_dict", ""), ("object", "")]),
        ("torch.save({k: v for k, v in net.state_dict().items()}, p)", [("state_dict", "")]),
        ("torch.save(state()['net'], p)", [("state_dict", "net")]),
        ("torch.save(OrderedDict(net=net.state_dict()), p)", [("state_dict", "net")]),
    ],
)
def test_what_a_save_writes(code: str, entries: list[tuple[str, str]]) -> None:
    head = "import torch\nfrom collections import OrderedDict\ndef state():\n    return {'net': net.state_dict()}\n"
    (save,) = saves(extract(head + code))
    assert [(entry.what, entry.key) for entry in save.entries] == entries
