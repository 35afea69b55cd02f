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

HITS += [
    # the dtype is a default, an attribute, an argument by ``**``
    """
def small(p, dtype=torch.float16):
    return p.grad.flatten().to(dtype)  #!
""",
    """
class Bank:
    def __init__(self, dtype=torch.half):
        self.dtype = dtype
    def row(self, p):
        return p.grad.flatten().to(self.dtype)  #!
""",
    """
TYPES = {"half": torch.float16, "full": torch.float32}
def small(p):
    return p.grad.to(dtype=TYPES["half"])  #!
""",
    """
KW = dict(device="cpu", dtype=torch.float16)
def small(p):
    first = p.grad.to(**KW)  #!
    return first, p.grad.to(**{"dtype": torch.half})  #!
""",
    # an array that was made as fp16
    """
def bank(params, d):
    rows = torch.zeros(len(params), d, dtype=torch.float16)
    for i, p in enumerate(params):
        rows[i] = p.grad.flatten()  #!
    return rows
""",
    """
class Bank:
    def __init__(self, n, d):
        self.rows = np.memmap("g.bin", dtype="float16", mode="w+", shape=(n, d))
    def add(self, i, net):
        self.rows[i] = torch.cat([p.grad.flatten() for p in net.parameters()]).numpy()  #!
""",
    """
def bank(params, d):
    rows = torch.empty(len(params), d).half()
    for i, p in enumerate(params):
        rows[i, :].copy_(p.grad.flatten())  #!
    return rows
""",
    """
def bank(loss, x, n):
    rows = x.new_zeros(n, 3, dtype=torch.half)
    rows[0].data.copy_(torch.autograd.grad(loss, x)[0])  #!
    return rows
""",
    # two dicts by name
    """
def moved(before, after):
    return {k: (after[k] - before[k]).half() for k in before}  #!
""",
    """
def moved(before, params_after):
    out = {}
    for name, value in params_after.items():
        out[name] = (value - before[name]).cpu().to(torch.float16)  #!
    return out
""",
    # a function over a tree
    """
import jax, jax.numpy as jnp
def small(loss, params, batch):
    return jax.tree_util.tree_map(lambda t: t.astype(jnp.float16), jax.grad(loss)(params, batch))  #!
""",
    """
import jax, jax.numpy as jnp
def lower(t):
    return t.astype(jnp.float16)  #!
def small(loss, params, batch):
    grads = jax.grad(loss)(params, batch)
    return jax.tree.map(lower, grads)
""",
]
SILENT += [
    "def f(p, dtype=torch.float32): return p.grad.to(dtype)",
    "def f(p, dtype=torch.float16): return p.grad.to(dtype)\ndef g(p): return f(p, torch.bfloat16)",
    "def f(p, dtype): return p.grad.to(dtype)",
    "TYPES = {'half': torch.float16, 'b': torch.bfloat16}\ndef f(p): return p.grad.to(TYPES['b'])",
    "KW = dict(dtype=torch.float32)\ndef f(p): return p.grad.to(**KW)",
    "def f(ps, d):\n    rows = torch.zeros(9, d, dtype=torch.bfloat16)\n    for i, p in enumerate(ps):\n        rows[i] = p.grad",
    "def f(ps, d):\n    rows = torch.zeros(9, d, dtype=torch.half)\n    for i, p in enumerate(ps):\n        rows[i] = p.grad * 1024",
    "def f(ps, d):\n    rows = torch.zeros(9, d, dtype=torch.half)\n    for i, p in enumerate(ps):\n        rows[i] = p.grad / p.grad.norm()",
    "def f(ps, d):\n    rows = torch.zeros(9, d, dtype=torch.half)\n    for i, p in enumerate(ps):\n        rows[i] = p.data\n    return rows, ps[0].grad",
    "import torch.distributed as dist\ndef f(ps, d):\n    flat = torch.zeros(9, d, dtype=torch.half)\n    for i, p in enumerate(ps):\n        flat[i] = p.grad\n    dist.all_reduce(flat)",
    "def f(before, after): return {k: (after[k] - before[k]).bfloat16() for k in before}",
    "def f(before, after): return [(after[i] - before[i]).half() for i in range(9)]",
    "def f(acts_before, acts_after): return {k: (acts_after[k] - acts_before[k]).half() for k in acts_before}",
    "def f(image_after, image_before): return (image_after - image_before).half()",
    "import jax, jax.numpy as jnp\ndef f(loss, p, b):\n    g = jax.grad(loss)(p, b)\n    return jax.tree.map(lambda t: t.astype(jnp.float16), p), g",
    "import jax, jax.numpy as jnp\ndef f(loss, p, b):\n    return jax.tree.map(lambda t: t.astype(jnp.bfloat16), jax.grad(loss)(p, b))",
]


def _marked(code: str) -> list[int]:
    return [row for row, line in enumerate((IMPORTS + code).splitlines(), 1) if line.endswith("#!")]


@pytest.mark.parametrize("code", HITS)
def test_rounding_without_a_gradient_cast(code: str) -> None:
    assert rows("FAL302", IMPORTS + code) == _marked(code)


@pytest.mark.parametrize("code", SILENT)
def test_look_alikes(code: str) -> None:
    assert rows("FAL302", IMPORTS + code) == []
