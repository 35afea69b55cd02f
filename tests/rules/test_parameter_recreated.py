"""FAL407: parameters that an optimizer could have held before, and values of one forward pass that only look like them."""

from __future__ import annotations

import textwrap

import pytest

from tests.rules.shapes import rows

INIT = "self.w = nn.Parameter(torch.randn(m))"
# The first statements of ``__init__`` and those of ``forward``.
RECREATED = [
    (INIT, "self.w = nn.Parameter(self.w / self.w.norm())"),
    (INIT, "w = self.w.clamp(min=0)\nself.w = nn.Parameter(w)"),
    (INIT, "self.w = nn.Parameter(x.mean(0))"),
    (INIT, "self.w: nn.Parameter = nn.Parameter(self.w * 2)"),
    (INIT, "setattr(self, 'w', nn.Parameter(self.w * 2))"),
    (INIT, "self._parameters['w'] = nn.Parameter(self.w * 2)"),
    (INIT, "if mask is not None:\n    self.w = nn.Parameter(self.w * mask)"),
    (INIT, "if not self.frozen:\n    self.w = nn.Parameter(self.w * mask)"),
    (INIT, "if self.frozen:\n    return x\nself.w = nn.Parameter(self.w * mask)"),
    (INIT, "if x.dim() == 3:\n    self.w = nn.Parameter(self.w * mask)"),
    (INIT, "self.w = nn.Parameter(self.w * mask) if self.training else self.w"),
    ("self.register_parameter('w', nn.Parameter(torch.ones(m)))", "self.w = nn.Parameter(x.std(0))"),
    ("w = nn.Parameter(torch.ones(m))\nself.w = w", "self.w = nn.Parameter(x.std(0))"),
    ("self.fc = nn.Linear(m, m)", "fc = self.fc\nfc.weight = nn.Parameter(fc.weight.clamp(min=0))"),
    ("self.fs = nn.ModuleList()", "for f in self.fs:\n    f.weight = nn.Parameter(f.weight.clamp(min=0))"),
    ("self.fs = nn.ModuleList()", "for i, f in enumerate(self.fs):\n    f.weight = nn.Parameter(mask[i])"),
    ("self.fc = nn.Linear(m, m)", "setattr(self.fc, 'weight', nn.Parameter(mask))"),
    ("self.ws = nn.ParameterList([torch.ones(m)])", "self.ws[0] = nn.Parameter(self.ws[0] * mask)"),
    (INIT, "new = nn.Parameter(self.w * 2)\nother = nn.Parameter(x)\nother.requires_grad = False\nself.w = new"),
    (INIT, "new = nn.Parameter(self.w * 2)\nnew.requires_grad = True\nself.w = new"),
    (INIT + "\nself.v = nn.Parameter(torch.ones(m), requires_grad=False)", "self.w = nn.Parameter(self.w * 2)"),
    (INIT + "\nself.opt = torch.optim.SGD([self.w], lr=0.1)", "self.w = nn.Parameter(self.w * 2)\nself.opt.step()"),
    (INIT, "self.w = nn.Parameter(self.w * 2)\nopt = torch.optim.SGD(self.head.parameters(), lr=0.1)"),
    (INIT, "if self.opt is None:\n    self.opt = torch.optim.SGD([self.w], 0.1)\nself.w = nn.Parameter(self.w * 2)"),
    ("self.ws = nn.ParameterList([torch.ones(m)])", "self.ws = nn.ParameterList([w * mask for w in self.ws])"),
]
OTHERS = [
    ("self.s = None", "self.s = nn.Parameter(x.detach().clone())"),
    ("self.s = None", "if self.s is None:\n    self.s = nn.Parameter(x * 2)"),
    ("", "self.s = nn.Parameter(x.data)\nself.energy = (self.s - x).square().sum()"),
    ("self.s = torch.zeros(m)", "s = x.detach()\nself.s = nn.Parameter(s)"),
    ("self.s = None", "setattr(self, 's', nn.Parameter(torch.zeros_like(x)))"),
    ("self.s = None", "if torch.jit.is_tracing():\n    self.s = nn.Parameter(x)"),
    ("", "self.s = nn.ParameterList([nn.Parameter(layer(x).detach()) for layer in self.layers])"),
    ("self.s = nn.Parameter(torch.ones(m), requires_grad=False)", "self.s = nn.Parameter(x.amax(0))"),
    (INIT, "if self.first:\n    self.w = nn.Parameter(self.w / x.std())\n    self.first = False"),
    (INIT, "if not self.seen:\n    self.w = nn.Parameter(self.w / x.std())\n    self.seen = True"),
    (INIT, "if not hasattr(self, 'w'):\n    self.w = nn.Parameter(torch.ones(3))"),
    (INIT, "if self.w.shape != x.shape:\n    self.w = nn.Parameter(torch.ones_like(x))"),
    (INIT, "if self.w is not None:\n    pass\nelse:\n    self.w = nn.Parameter(x)"),
    (INIT, "self.w.data = nn.Parameter(self.w * 2)"),
    (INIT, "w = nn.Parameter(self.w * mask)\nreturn x * w"),
    (INIT, "other = x\nother.w = nn.Parameter(self.w * mask)"),
    (INIT, "new = nn.Parameter(self.w * 2)\nnew.requires_grad = False\nself.w = new"),
    (INIT, "new = nn.Parameter(self.w * 2)\nnew.requires_grad_(False)\nself.w = new"),
    (INIT, "new = nn.Parameter(self.w * 2)\nself.w = new\nnew.requires_grad_(False)"),
    (INIT, "new = nn.Parameter(self.w * 2)\nnew.requires_grad = False\nsetattr(self, 'w', new)"),
    (INIT, "self.register_parameter('w', nn.Parameter(self.w * 2))\nself.w.requires_grad_(False)"),
    ("self.s = nn.Parameter(torch.ones(m), requires_grad=False)", "self.s = nn.Parameter(self.s * 0.9 + x.mean(0))"),
    (INIT + "\nself.w.requires_grad_(False)", "self.w = nn.Parameter(self.w * 0.9 + x.mean(0))"),
    (INIT, "self.w = nn.Parameter(torch.zeros_like(self.w))\nopt = torch.optim.SGD([self.w], lr=0.1)\nopt.step()"),
    (INIT, "w = nn.Parameter(self.w.detach())\nself.w = w\nopt = torch.optim.Adam([{'params': w}])"),
    (INIT, "self.w = nn.Parameter(self.w.detach())\nopt = torch.optim.SGD(self.parameters(), lr=0.1)"),
    (INIT, "self.w = nn.Parameter(self.w.detach())\nopt = self.make_optimizer([self.w])"),
    (INIT, "self.w = nn.Parameter(self.w.detach())\n(g,) = torch.autograd.grad((x * self.w).sum(), self.w)"),
]


def program(init: str, forward: str, base: str = "nn.Module") -> str:
    return (
        f"import torch\nfrom torch import nn\nclass M({base}):\n    def __init__(self, m):\n        super().__init__()\n"
        + textwrap.indent(init or "pass", " " * 8)
        + "\n    def forward(self, x, mask=None):\n"
        + textwrap.indent(forward, " " * 8)
        + "\n        return x\n"
    )


@pytest.mark.parametrize(("init", "forward"), RECREATED)
def test_a_parameter_that_was_there_is_recreated(init: str, forward: str) -> None:
    assert len(rows("FAL407", program(init, forward))) == 1


@pytest.mark.parametrize(("init", "forward"), OTHERS)
def test_nothing_that_an_optimizer_holds_is_lost(init: str, forward: str) -> None:
    assert rows("FAL407", program(init, forward)) == []


def test_layers_of_torch_have_a_weight_and_a_bias() -> None:
    forward = "self.weight = nn.Parameter(mask)"
    assert len(rows("FAL407", program("", forward, "nn.Conv2d"))) == 1
    assert rows("FAL407", program("", forward, "nn.Module")) == []


def test_a_parameter_of_a_base_class_counts() -> None:
    text = program(INIT, "return x") + "class N(M):\n    def forward(self, x):\n        self.w = nn.Parameter(x)\n"
    assert rows("FAL407", text) == [12]


def test_a_constraint_that_the_constructor_applies_as_well() -> None:
    text = program(INIT + "\nself.norm()", "self.norm()") + (
        "    def norm(self):\n        self.w = nn.Parameter(self.w / self.w.norm())\n"
    )
    assert len(rows("FAL407", text)) == 1
