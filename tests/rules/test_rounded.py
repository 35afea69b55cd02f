"""FAL302 where no cast of a gradient is written: parameter changes, comparisons below 6e-8, models in fp16."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

IMPORTS = "import copy, numpy as np, torch\nimport torch.nn.functional as F\nfrom torch import nn\n"

HITS = [
    # changes of parameters
    """
def moved(net, start):
    return {k: (v - start[k]).half() for k, v in net.state_dict().items()}  #!
""",
    """
def small(t):
    return t.to(torch.float16)  #!
def moved(net, start):
    return [small(p.data - q) for p, q in zip(net.parameters(), start)]
""",
    """
class Tracker:
    def update(self, net):
        for name, p in net.named_parameters():
            delta = p.detach() - self.start[name]
            self.deltas[name] = delta.cpu().half()  #!
""",
    """
def moved(net, start):
    changes = []
    for p, q in zip(net.parameters(), start):
        changes.append(p.detach() - q)
    return [c.half() for c in changes]  #!
""",
    """
def moved(layer, first):
    return (layer.weight.data - first).numpy().astype(np.float16)  #!
""",
    """
def moved(net, first):
    return {n: torch.sub(p.data, first[n]).half() for n, p in net.named_parameters()}  #!
""",
    # comparisons
    """
def silent_units(h):
    h = h.half()
    return (h.abs() < 1e-8).float().mean()  #!
""",
    """
def silent_units(h):
    return torch.lt(h.to(torch.float16).abs(), 1e-9).sum()  #!
""",
    """
TINY = 1e-10
class Monitor:
    def rounded(self, h):
        return h.half()
    def dead(self, h):
        low = h.half().abs().float()
        return low.le(TINY).sum()  #!
""",
    # models
    """
def saliency(net, x):
    net.half()  #!
    score = net(x.half()).max()
    return torch.autograd.grad(score, x)[0].abs()
""",
    """
def score_of(net, x):
    return net(x.half()).sum()
def saliency(build, x):
    net = build().to(dtype=torch.float16).cuda().eval()  #!
    score = score_of(net, x)
    score.backward()
    return x.grad
""",
    """
class Probe:
    def __init__(self, net):
        self.net = net.half()  #!
    def gradients(self, x, y):
        loss = F.cross_entropy(self.net(x), y)
        return torch.autograd.grad(loss, list(self.net.parameters()))
""",
    """
def gradients(AutoModel, x):
    net = AutoModel.from_pretrained("gpt2", torch_dtype=torch.float16)  #!
    loss = net(x).mean()
    return torch.autograd.grad(loss, list(net.parameters()))
""",
]

SILENT = [
    # other things that are cast
    "def f(net, start): return {k: (v - start[k]).bfloat16() for k, v in net.state_dict().items()}",
    "def f(net): return [(p - p.mean()).half() for p in net.parameters()]",
    "def f(net, lr): return [(p - lr * p.grad).half() for p in net.parameters()]",
    "def f(net): return {k: v.half() for k, v in net.state_dict().items()}",
    "def f(image, mean): return (image - mean).half()",
    "def f(net, start): return [((p - q) * 2**14).half() for p, q in zip(net.parameters(), start)]",
    # rounding that is measured
    "def f(g):\n    grad = g.grad\n    low = grad.half()\n    return ((low == 0) & (grad != 0)).sum()",
    "def f(p):\n    low = p.grad.half()\n    return (low.float() - p.grad).norm() / p.grad.norm()",
    "def f(p): return (p.grad.half() == 0).sum() - (p.grad == 0).sum()",
    "def f(p):\n    lost = (p.grad.half() == 0).sum()\n    before = (p.grad == 0).sum()\n    return lost - before",
    "def f(p): return p.grad.half().norm() / p.grad.norm()",
    "def f(p):\n    low = p.grad.half()\n    return F.cosine_similarity(low.float(), p.grad, dim=0)",
    # comparisons that fp16 can answer, or that are not of fp16 values
    "def f(h): return (h.half().abs() < 1e-4).sum()",
    "def f(h): return (h.half() == 0).sum()",
    "def f(h): return (h.abs() < 1e-8).sum()",
    "def f(h): return (h.bfloat16().abs() < 1e-8).sum()",
    "def f(a, b): return (a.half() - b.half()).abs().max() < 1e-8",
    "def f(h):\n    low = h.half()\n    return (low.float() - h).abs().max() < 1e-8",
    # models
    "def f(net, x):\n    net.half()\n    with torch.no_grad():\n        return net(x.half())",
    "def f(net, x):\n    net.half()\n    net.float()\n    return torch.autograd.grad(net(x).sum(), x)",
    "def f(net, x):\n    net = net.half()\n    loss = net(x).sum() * 1024\n    return [g / 1024 for g in torch.autograd.grad(loss, x)]",
    "def f(net, x, scaler):\n    net = net.half()\n    return torch.autograd.grad(scaler.scale(net(x).sum()), x)[0] / scaler.get_scale()",
    "def f(net, x):\n    net = net.bfloat16()\n    return torch.autograd.grad(net(x).sum(), x)",
    "def f(net, x):\n    low = copy.deepcopy(net).half()\n    y = low(x.half()).detach()\n    return torch.autograd.grad((net(x) - y).sum(), x)",
    "def f(student, teacher, x):\n    teacher.half()\n    loss = F.mse_loss(student(x), teacher(x.half()).float())\n    return torch.autograd.grad(loss, list(student.parameters()))",
    "def f(net, x):\n    net.half()\n    net(x.half()).sum().backward()\n    net.zero_grad()",
]


def _marked(code: str) -> list[int]:
    return [row for row, line in enumerate((IMPORTS + code).splitlines(), 1) if line.endswith("#!")]


@pytest.mark.parametrize("code", HITS)
def test_rounding_without_a_gradient_cast(code: str) -> None:
    assert rows("FAL302", IMPORTS + code) == _marked(code)


@pytest.mark.parametrize("code", SILENT)
def test_look_alikes(code: str) -> None:
    assert rows("FAL302", IMPORTS + code) == []
