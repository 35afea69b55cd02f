"""FAL601: cuts on attributes, in lists, in helpers and by copies, and cuts that come before the loss."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

HEAD = (
    "import torch\nfrom torch import nn\n"
    "def leaf(t): return t.detach().clone().requires_grad_()\n"
    "def other(t):\n    t = t.detach()\n    return t\n"
    "def keep(t): return t.clone()\n"
)
CLASS = "class P:\n    def run(self, net, head, x, y, crit):\n"
METHOD = CLASS + "        self.h = net(x)\n        loss = crit(head(self.h), y)\n"
FUNCTION = "def f(net, head, x, y, crit):\n    h = net(x)\n    loss = crit(head(h), y)\n"
LISTED = (
    "def f(net, x, y, crit):\n    acts = []\n    h = x\n    for layer in net.layers:\n        h = layer(h)\n"
    "        acts.append(h)\n    loss = crit(h, y)\n"
)
SEVERED = [
    METHOD + "        self.h = self.h.detach().requires_grad_()\n        loss.backward()\n        return self.h.grad",
    METHOD
    + "        self.h = self.h.detach()\n        self.h.requires_grad_()\n        loss.backward()\n        g = self.h.grad\n"
    "        return g.norm()",
    METHOD + "        self.h = self.h.detach()\n        return torch.autograd.grad(loss, self.h, allow_unused=True)",
    METHOD + "        self.h = leaf(self.h)\n        return torch.autograd.grad(loss, [self.h], allow_unused=True)",
    CLASS + "        out, self.h = net(x)\n        loss = crit(out, y)\n        self.h = self.h.detach()\n"
    "        self.h.requires_grad_(True)\n        loss.backward()\n        return self.h.grad",
    FUNCTION + "    h = leaf(h)\n    return torch.autograd.grad(loss, h, allow_unused=True)[0]",
    FUNCTION + "    h = other(h)\n    loss.backward()\n    return h.grad",
    FUNCTION + "    h = torch.tensor(h, requires_grad=True)\n    loss.backward()\n    return h.grad",
    FUNCTION + "    h = nn.Parameter(h.data)\n    loss.backward()\n    return h.grad",
    FUNCTION + "    hs = [leaf(t) for t in (x, h)]\n    return torch.autograd.grad(loss, hs, allow_unused=True)",
    LISTED + "    acts = [a.detach().requires_grad_() for a in acts]\n"
    "    return torch.autograd.grad(loss, acts, allow_unused=True)",
    LISTED
    + "    acts = [a.detach().requires_grad_() for a in acts]\n    loss.backward()\n    return [a.grad for a in acts]",
    LISTED + "    acts = list(leaf(a) for a in acts)\n    loss.backward()\n    return acts[0].grad",
    LISTED + "    acts = [a.data for a in acts]\n    return torch.autograd.grad(loss, [*acts], allow_unused=True)",
]
WHOLE = [
    METHOD + "        loss.backward()\n        g = self.h.grad\n        self.h = self.h.detach()\n        return g",
    CLASS
    + "        self.h = net(x).detach().requires_grad_()\n        loss = crit(head(self.h), y)\n        loss.backward()\n"
    "        return self.h.grad",
    METHOD
    + "        self.h = self.h.detach()\n        self.forward(x)\n        loss.backward()\n        return self.h.grad",
    METHOD
    + "        self.h = self.h.detach().requires_grad_()\n        loss = crit(head(self.h), y)\n        loss.backward()\n"
    "        return self.h.grad",
    METHOD
    + "        if y is None:\n            self.h = self.h.detach()\n        loss.backward()\n        return self.h.grad",
    METHOD + "        self.seen = self.h.detach()\n        loss.backward()\n        return self.h.grad",
    CLASS + "        for _ in range(3):\n            out, self.h = net(x, self.h)\n            loss = crit(out, y)\n"
    "            loss.backward()\n            self.h = self.h.detach()",
    FUNCTION + "    h = keep(h)\n    return torch.autograd.grad(loss, h, allow_unused=True)[0]",
    FUNCTION + "    z = leaf(h)\n    return torch.autograd.grad(loss, h)[0], z",
    "def f(net, head, x, y, crit):\n    h = leaf(net(x))\n    loss = crit(head(h), y)\n    return torch.autograd.grad(loss, h)",
    "def f(net, head, x, y, crit):\n    h = torch.tensor(x, requires_grad=True)\n    loss = crit(head(h), y)\n"
    "    loss.backward()\n    return h.grad",
    LISTED + "    seen = [a.detach() for a in acts]\n    return torch.autograd.grad(loss, acts), seen",
    LISTED + "    acts = [a.detach().requires_grad_() for a in acts]\n    loss = crit(net(acts), y)\n"
    "    return torch.autograd.grad(loss, acts)",
    LISTED + "    acts = [a for a in acts if a.requires_grad]\n    return torch.autograd.grad(loss, acts)",
    LISTED + "    acts = [a.detach().requires_grad_() for a in acts]\n    for layer, a in zip(net.layers, acts):\n"
    "        layer(a).sum().backward()\n        y.append(a.grad)",
    LISTED
    + "    others = [z.detach().requires_grad_() for z in net.extras]\n    loss.backward()\n    return [z.grad for z in others]",
]


@pytest.mark.parametrize("code", SEVERED)
def test_a_cut_behind_the_loss_is_found(code: str) -> None:
    assert len(rows("FAL601", HEAD + code)) == 1


@pytest.mark.parametrize("code", WHOLE)
def test_a_graph_that_is_whole_is_silent(code: str) -> None:
    assert rows("FAL601", HEAD + code) == []
