"""FAL302, FAL303, FAL601, FAL602 and FAL604: the spellings that fire and those that must not."""

from __future__ import annotations

import pytest

from tests.rules.shapes import found, rows

HEAD = "import numpy as np\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n"

HALF = [
    ("def f(p): return p.grad.half()", [5]),
    ("def f(p): return p.grad.flatten().to(torch.float16)", [5]),
    ("def f(p): return p.grad.to('cpu', torch.half)", [5]),
    ("def f(p): return p.grad.type(torch.HalfTensor)", [5]),
    ("def f(p): return p.grad.numpy().astype(np.float16)", [5]),
    ("def f(p): return p.grad.numpy().astype('float16')", [5]),
    ("def f(p): return torch.tensor(p.grad, dtype=torch.float16)", [5]),
    ("def f(p): return np.float16(p.grad.numpy())", [5]),
    ("DTYPE = torch.float16\ndef f(p): return p.grad.to(DTYPE)", [6]),
    ("def f(p, dtype=torch.float16): return p.grad.to(dtype)", [5]),
    ("def f(p, dtype=torch.float16): return p.grad.to(dtype)\ndef g(p): return f(p, torch.float32)", []),
    ("DTYPE = torch.bfloat16\ndef f(p): return p.grad.to(DTYPE)", []),
    (
        "def f(layer):\n    def hook(m, gi, go): layer.seen = go[0].half()\n    layer.register_full_backward_hook(hook)",
        [6],
    ),
    ("def f(loss, x):\n    for g in torch.autograd.grad(loss, x):\n        yield g.half()", [7]),
    ("def f(feedback): return feedback.half()", []),
    ("def f(weight_fa): return weight_fa.half()", [5]),
    ("def f(model, x): return model(x.half())", []),
    ("def f(p): return p.grad.half().double()", []),
    ("def f(p): return p.grad.half().to(torch.float32)", []),
    ("def f(p): return p.grad.half().to(torch.float16)", [5]),
    ("def f(p): return (2**12 * p.grad).half()", []),
    ("def f(p): return (0.5 * p.grad).half()", [5]),
    ("def f(p, q):\n    q.grad = p.grad.half()", []),
    ("def f(p, q): q.grad.copy_(p.grad.half())", []),
    ("def f(p):\n    if p.dtype == torch.float16:\n        return p.grad.half()", []),
    ("def compress_bucket(p): return p.grad.half()", []),
    ("class Opt(torch.optim.Optimizer):\n    def step(self): return [p.grad.half() for p in self.ps]", []),
    ("def f(x, g): return x.half(), torch.log(g.half() + 1e-6)", []),
    ("def f(h, x):\n    j = torch.func.jacrev(h)(x)\n    return torch.log(torch.linalg.det(j).half() + 1e-7)", [7]),
    ("def f(h, x):\n    j = torch.func.jacrev(h)(x)\n    return torch.log(torch.linalg.det(j).half() + 1e-3)", []),
]

NORMALISED = [
    "g = p.grad.flatten()\n    s = g.abs().max()\n    return (g / s).half(), s",
    "g = p.grad\n    s = g.abs().amax(1, keepdim=True)\n    q = (g / s).to(torch.float16)\n    return q, s",
    "g = p.grad.flatten()\n    s = g.abs().max().clamp_min(1e-12)\n    bank['p'] = {'q': (g / s).half(), 's': s}",
    "g = p.grad.flatten()\n    inverse = 1 / g.abs().max()\n    return (g * inverse).half()",
    "g = p.grad.flatten()\n    return g.div(g.abs().max()).half()",
    "return (p.grad / p.grad.abs().max()).half()",
    "return (p.grad / p.grad.std()).half()",
    "g = p.grad.clone()\n    g /= g.abs().max()\n    return g.half()",
    "s = p.grad.abs().max()\n    u = p.grad / s\n    return u.flatten().half()",
    "return torch.div(p.grad, torch.linalg.vector_norm(p.grad, ord=float('inf'))).half()",
]
NOT_NORMALISED = [
    "g = p.grad.flatten()\n    s = g.abs().max()\n    return g.half(), s",
    "g = p.grad.flatten()\n    return (g / len(g)).half()",
    "return (p.grad / p.grad.numel()).half()",
    "return (p.grad / bank.abs().max()).half()",
    "g = p.grad.flatten()\n    return (g * g.abs().max()).half()",
]


@pytest.mark.parametrize("body", NORMALISED)
def test_a_gradient_divided_by_its_own_size_fits_fp16(body: str) -> None:
    assert rows("FAL302", f"{HEAD}def f(p, bank):\n    {body}") == []


@pytest.mark.parametrize("body", NOT_NORMALISED)
def test_a_gradient_divided_by_anything_else_is_found(body: str) -> None:
    assert len(rows("FAL302", f"{HEAD}def f(p, bank):\n    {body}")) == 1


@pytest.mark.parametrize(
    "made", ["np.linspace(0, 1, n)", "np.linspace(0, 1, n)[None].repeat(n, 0)", "torch.arange(n) / n", "np.gradient(n)"]
)
def test_a_ramp_of_colours_is_no_gradient_of_a_loss(made: str) -> None:
    assert (
        rows(
            "FAL302",
            f"{HEAD}def f(n):\n    gradient = {made}\n    return np.asarray(gradient, np.float32).astype(np.float16)",
        )
        == []
    )
    assert rows("FAL302", f"{HEAD}def f(n):\n    gradient = {made}\n    return gradient.astype(np.float16)") == []
    assert len(rows("FAL302", f"{HEAD}def f(gradient):\n    return gradient.astype(np.float16)")) == 1


SCALED = [
    ("def f(s, loss, m):\n    s.scale(loss).backward()\n    return nn.utils.clip_grad_norm_(m.parameters(), 1)", [7]),
    (
        "def f(s, loss, m, o):\n    s.scale(loss).backward()\n    s.unscale_(o)\n    return nn.utils.clip_grad_norm_(m.parameters(), 1)",
        [],
    ),
    (
        "def f(s, loss, p):\n    s.scale(loss).backward()\n    g = p.grad.flatten()\n    return torch.linalg.norm(g)",
        [8],
    ),
    ("def f(s, loss, p, o):\n    s.scale(loss).backward()\n    o.zero_grad()\n    return p.grad.norm()", []),
    ("def f(scaler, loss, p, o):\n    scaler.scale(loss).backward()\n    scaler.step(o)\n    return p.grad.norm()", []),
    ("def f(s, loss, p):\n    n = p.grad.norm()\n    s.scale(loss).backward()\n    return n", []),
    ("def f(s, loss, p):\n    s.scale(loss).backward()\n    return p.grad.norm() / s.get_scale()", []),
    ("def f(s, loss, x):\n    g = torch.autograd.grad(s.scale(loss), x)[0]\n    return g.norm()", [7]),
    ("def f(s, loss, x):\n    g = torch.autograd.grad(s.scale(loss), x)[0]\n    return g / (g.norm() + 1e-12)", []),
    ("def f(s, loss, x, lr):\n    g = torch.autograd.grad(s.scale(loss), x)[0]\n    return x - lr * g", [7]),
    ("def f(s, loss, x, lr):\n    g = torch.autograd.grad(s.scale(loss), x)[0]\n    return x - lr * torch.sign(g)", []),
    ("def f(loss, x):\n    g = torch.autograd.grad(loss, x)[0]\n    return g.norm()", []),
    (
        "def f(loss, x):\n    s = torch.amp.GradScaler(enabled=False)\n    g = torch.autograd.grad(s.scale(loss), x)[0]\n    return g.norm()",
        [],
    ),
]

TWO = (
    "def f(s, la, lb, w, other):\n    a = torch.autograd.grad(s.scale(la), w, retain_graph=True)[0]\n"
    "    b = torch.autograd.grad({0}.scale(lb), w)[0]\n"
)
OF_ONE_SCALE = [
    "return a.norm() / b.norm()",
    "return torch.norm(a) / torch.norm(b)",
    "x, y = a.norm(), b.norm()\n    return x / y",
    "x = a.norm()\n    y = b.norm()\n    ratio = x / (y + 1e-12)\n    return ratio.clamp(0, 1e4)",
    "return a.norm() > b.norm()",
    "x, y = a.norm(), b.norm()\n    first = x < y\n    return first",
    "x, y = a.norm(), b.norm()\n    return x / (x + y)",
]
ITEMS = [
    "max(ns, key=ns.get)",
    "min(ns, key=ns.get)",
    "sorted(ns, key=ns.get)[:3]",
    "max(ns, key=lambda n: ns[n])",
    "max(ns.items(), key=lambda kv: kv[1])[0]",
]


@pytest.mark.parametrize("code", OF_ONE_SCALE)
def test_a_ratio_of_two_norms_of_one_scale_is_free_of_it(code: str) -> None:
    assert rows("FAL303", HEAD + TWO.format("s") + "    " + code) == []
    assert len(rows("FAL303", HEAD + TWO.format("other") + "    " + code)) >= 1


@pytest.mark.parametrize("code", ["return a.norm(), b.norm()", "return a.norm() / 2 > 1", "return a.norm() * b.norm()"])
def test_norms_that_keep_the_scale_are_found(code: str) -> None:
    assert len(rows("FAL303", HEAD + TWO.format("s") + "    " + code)) >= 1


@pytest.mark.parametrize("code", ITEMS)
def test_which_norm_is_largest_is_free_of_the_scale(code: str) -> None:
    head = f"{HEAD}def f(s, loss, m, o):\n    s.scale(loss).backward()\n    ns = {{n: p.grad.norm() for n, p in m.named_parameters()}}\n"
    assert rows("FAL303", f"{head}    return {code}") == []
    assert len(rows("FAL303", f"{head}    return max(ns.values())")) == 1


def test_a_total_norm_that_is_only_tested_for_infinity() -> None:
    head = f"{HEAD}def f(s, loss, m, o):\n    s.scale(loss).backward()\n    n = nn.utils.get_total_norm([p.grad for p in m.parameters()])\n"
    assert rows("FAL303", f"{head}    if not torch.isfinite(n):\n        o.zero_grad()") == []
    assert len(rows("FAL303", f"{head}    return n")) == 1


SEVERED = [
    (
        "def f(n, x):\n    l = n(x).sum()\n    x = x.detach()\n    return torch.autograd.grad(l, x, allow_unused=True)",
        [8],
    ),
    (
        "def f(n, x):\n    l = n(x).sum()\n    x = x.data.clone().requires_grad_()\n    return torch.autograd.grad(l, [x])",
        [8],
    ),
    ("def f(n, x):\n    l = n(x).sum()\n    z = x.detach()\n    return torch.autograd.grad(l, inputs=z)", [8]),
    ("def f(n, x):\n    l = n(x).sum()\n    z = x.clone()\n    return torch.autograd.grad(l, z)", []),
    ("def f(n, x, y):\n    l = n(x).sum()\n    z = y.detach()\n    return torch.autograd.grad(l, x), z", []),
    ("def f(n, x):\n    z = x.detach().requires_grad_()\n    l = n(z).sum()\n    return torch.autograd.grad(l, z)", []),
    ("def f(n, x):\n    z = x.detach().requires_grad_()\n    return torch.autograd.grad(n(z).sum(), z)", []),
    ("def f(n, x):\n    l = n(x).sum()\n    l.backward()\n    x = x.detach()\n    return x.grad", []),
    ("def f(n, x):\n    l = n(x).sum()\n    x = x.detach()\n    l.backward()\n    return x.grad", [9]),
    (
        "def f(n, x):\n    l = n(x).sum()\n    x = x.detach().requires_grad_()\n    l.backward()\n    n(x).sum().backward()\n    return x.grad",
        [],
    ),
    (
        "def f(n, x):\n    l = n(x).sum()\n    x = x.detach().requires_grad_()\n    l.backward()\n    step(n, x)\n    return x.grad",
        [],
    ),
    (
        "def f(n, x, k):\n    l = n(x).sum()\n    for _ in range(k):\n        g = torch.autograd.grad(l, x)\n        x = x.detach()\n        l = n(x).sum()",
        [],
    ),
    (
        "def f(l, x):\n    z = torch.zeros_like(x).detach().requires_grad_()\n    return torch.autograd.grad(l(z), z)",
        [],
    ),
]

LOSSES = [
    ("def f(x, y): return F.cross_entropy(torch.softmax(x, 1), y)", [5]),
    ("def f(x, y): return F.cross_entropy(x.softmax(1), y)", [5]),
    ("def f(x, y): return F.cross_entropy(x.softmax(1).log(), y)", []),
    ("def f(x, y): return F.cross_entropy(x.log_softmax(1), y)", []),
    ("def f(x, y): return F.cross_entropy(input=x.softmax(1), target=y)", [5]),
    ("def f(x, y): return F.cross_entropy(x, F.softmax(y, 1))", []),
    ("def f(x, y): return F.nll_loss(x.softmax(1), y)", []),
    ("def f(x, y): return F.binary_cross_entropy_with_logits(torch.sigmoid(x), y)", [5]),
    ("def f(x, y): return F.binary_cross_entropy(torch.sigmoid(x), y)", []),
    ("net = nn.Sequential(nn.Linear(2, 2), nn.Softmax(1))\ndef f(x, y): return nn.CrossEntropyLoss()(net(x), y)", [6]),
    ("net = nn.Sequential(nn.Softmax(1), nn.Linear(2, 2))\ndef f(x, y): return nn.CrossEntropyLoss()(net(x), y)", []),
    ("def f(x, y, hot):\n    p = x.softmax(1) if hot else x\n    return F.cross_entropy(p, y)", []),
    (
        "def f(out, y, onehot, B):\n    loss = F.cross_entropy(out, y)\n    e = out.detach() - onehot\n    return e @ B",
        [7],
    ),
    (
        "def f(out, y, onehot, B):\n    loss = F.cross_entropy(out, y)\n    e = out.softmax(1) - onehot\n    return e @ B",
        [],
    ),
    (
        "def f(out, y, onehot, B):\n    loss = F.cross_entropy(out, y)\n    out = out.softmax(1)\n    e = out - onehot\n    return e @ B",
        [],
    ),
    (
        "def f(out, y, onehot):\n    loss = F.cross_entropy(out, y)\n    err = (out - onehot).pow(2).mean()\n    return loss, err",
        [],
    ),
    ("def f(out, y, base):\n    loss = F.cross_entropy(out, y)\n    delta = out - base\n    return loss, delta", []),
    (
        "def f(out, y, onehot):\n    loss = F.cross_entropy(out, y)\n    out.backward(out.data - onehot)\n    return loss",
        [7],
    ),
]


@pytest.mark.parametrize(("code", "expected"), HALF)
def test_casts_to_fp16(code: str, expected: list[int]) -> None:
    assert rows("FAL302", HEAD + code) == expected


@pytest.mark.parametrize(("code", "expected"), SCALED)
def test_norms_of_scaled_gradients(code: str, expected: list[int]) -> None:
    assert rows("FAL303", HEAD + code) == expected


@pytest.mark.parametrize(("code", "expected"), SEVERED)
def test_severed_graphs(code: str, expected: list[int]) -> None:
    assert rows("FAL601", HEAD + code) == expected


@pytest.mark.parametrize(("code", "expected"), LOSSES)
def test_error_signals(code: str, expected: list[int]) -> None:
    assert rows("FAL604", HEAD + code) == expected


NET = (
    HEAD
    + """\
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.3)
class Net(Base):
    def forward(self, x): return self.drop(x)
"""
)
AFTER = NET.count("\n")
MODES = [
    ("def f(x, y):\n    n = Net()\n    return F.cosine_similarity(n(x), n(y))", [3]),
    ("def f(x, y):\n    n = Net().eval()\n    return F.cosine_similarity(n(x), n(y))", []),
    ("def f(x, y):\n    n = Net()\n    n.train(mode=False)\n    return F.cosine_similarity(n(x), n(y))", []),
    ("def f(x, y):\n    n = Net()\n    n.train(True)\n    return F.cosine_similarity(n(x), n(y))", [4]),
    ("def f(x, y):\n    n = Net()\n    a = n(x)\n    return F.cosine_similarity(a, a + y)", []),
    ("def f(n, x, y): return F.cosine_similarity(n(x), n(y))", []),
    ("def f(n, x, y): return F.cosine_similarity(n(x), n(y))\nf(Net(), 1, 2)", [1]),
    (
        "def f(n, x, y): return F.cosine_similarity(n(x), n(y))\ndef g():\n    n = Net()\n    n.eval()\n    f(n, 1, 2)",
        [],
    ),
    (
        "def freeze(n): n.eval()\ndef f(x, y):\n    n = Net()\n    freeze(n)\n    return F.cosine_similarity(n(x), n(y))",
        [],
    ),
    ("def f(x, y):\n    n = nn.Linear(2, 2)\n    return F.cosine_similarity(n(x), n(y))", []),
    (
        "import torchvision\ndef f(x, y):\n    n = torchvision.models.resnet18()\n    return F.cosine_similarity(n(x), n(y))",
        [4],
    ),
]


@pytest.mark.parametrize(("code", "expected"), MODES)
def test_modes(code: str, expected: list[int]) -> None:
    assert rows("FAL602", NET + code) == [AFTER + row for row in expected]


SIAMESE = (
    "class Siamese(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.enc = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1))\n"
)
TRAINED_ON = [
    "def f(x, y):\n    n = Net()\n    loss = 1 - F.cosine_similarity(n(x), n(y)).mean()\n    loss.backward()",
    "def f(x, y):\n    n = Net()\n    (-F.cosine_similarity(n(x), n(y))).mean().backward()",
    "def f(x, y):\n    n = Net()\n    a, b = n(x), n(y)\n    s = F.cosine_similarity(a[:, None], b[None], dim=-1) / 0.1\n"
    "    loss = F.cross_entropy(s, torch.arange(len(x)))\n    loss.backward()",
    "def f(x, y, z):\n    n = Net()\n    p, q = F.cosine_similarity(n(x), n(y)), F.cosine_similarity(n(x), n(z))\n"
    "    F.margin_ranking_loss(p, q, torch.ones(8)).backward()",
    "def f(x, y):\n    n = Net()\n    a, b = n(x), n(y)\n    s = (a * b).sum() / (a.norm() * b.norm())\n    (1 - s).backward()",
    SIAMESE + "    def forward(self, x, y): return F.cosine_similarity(self.enc(x), self.enc(y))",
    SIAMESE
    + "    def forward(self, x, y):\n        s = F.cosine_similarity(self.enc(x), self.enc(y))\n        return {'sim': s}",
    SIAMESE + "    def sim(self, x, y): return F.cosine_similarity(self.enc(x), self.enc(y))\n"
    "    def forward(self, x, y): return self.sim(x, y) / 2",
    "def contrastive_loss(x, y):\n    n = Net()\n    return -F.cosine_similarity(n(x), n(y)).mean()",
    "def sim(n, x): return F.cosine_similarity(n(x), n(x))\n"
    "def f(x):\n    n = Net()\n    loss = 1 - sim(n, x)\n    loss.backward()",
]
MEASURED_BESIDE = [
    "def f(x, y):\n    n = Net()\n    s = F.cosine_similarity(n(x), n(y)).mean()\n    n(x).sum().backward()\n    return s",
    "def f(x, y):\n    n = Net()\n    s = F.cosine_similarity(n(x), n(y)).mean().item()\n    loss = n(x).sum() * s\n    loss.backward()",
    SIAMESE
    + "    def forward(self, x, y):\n        self.seen = F.cosine_similarity(self.enc(x), self.enc(y))\n        return x",
    "def f(x, y, w):\n    n = Net()\n    a, b = (torch.autograd.grad(n(v).sum(), w)[0] for v in (x, y))\n"
    "    p, q = torch.autograd.grad(n(x).sum(), w)[0], torch.autograd.grad(n(y).sum(), w)[0]\n"
    "    loss = F.cosine_similarity(p, q)\n    loss.backward()",
]
SEEDED = [
    "    torch.manual_seed(0)\n    a = n(x)\n    torch.manual_seed(0)\n    b = n(y)\n",
    "    state = torch.get_rng_state()\n    a = n(x)\n    torch.set_rng_state(state)\n    b = n(y)\n",
    "    with torch.random.fork_rng():\n        a = n(x)\n    with torch.random.fork_rng():\n        b = n(y)\n",
    "    torch.manual_seed(0); torch.cuda.manual_seed_all(0)\n    a = n(x)\n    torch.manual_seed(0)\n    b = n(y)\n",
]
UNSEEDED = [
    "    torch.manual_seed(0)\n    a = n(x)\n    b = n(y)\n",
    "    torch.manual_seed(0)\n    a, b = n(x), n(y)\n",
    "    a = n(x)\n    torch.manual_seed(0)\n    b = n(y)\n",
]


@pytest.mark.parametrize("code", TRAINED_ON)
def test_what_is_trained_on_is_no_measurement(code: str) -> None:
    assert rows("FAL602", NET + code) == []


@pytest.mark.parametrize("code", MEASURED_BESIDE)
def test_what_is_measured_beside_a_loss_is_found(code: str) -> None:
    assert len(rows("FAL602", NET + code)) == 1


@pytest.mark.parametrize("code", SEEDED)
def test_two_passes_from_one_seed_draw_one_mask(code: str) -> None:
    seeded = f"def f(x, y):\n    n = Net()\n{code}    return F.cosine_similarity(a, b)"
    assert rows("FAL602", NET + seeded) == []
    batch_norm = NET.replace("nn.Dropout(0.3)", "nn.BatchNorm1d(8)")
    assert len(rows("FAL602", batch_norm + seeded)) == 1


@pytest.mark.parametrize("code", UNSEEDED)
def test_one_seed_for_two_passes_is_found(code: str) -> None:
    assert len(rows("FAL602", f"{NET}def f(x, y):\n    n = Net()\n{code}    return F.cosine_similarity(a, b)")) == 1


RATES = [
    ("nn.Dropout(p)", "p=0.1", "Net(p=0.0)", 0),
    ("nn.Dropout(p)", "p=0.1", "Net(0.0).cuda()", 0),
    ("nn.Dropout(p=p)", "p=0.0", "Net()", 0),
    ("nn.Dropout(p)", "p=0.1", "Net()", 1),
    ("nn.Dropout(p)", "p=0.0", "Net(p=0.1)", 1),
    ("lambda t: F.dropout(t, 0.0)", "", "Net()", 0),
    ("lambda t: F.dropout(t, p=0.0)", "", "Net()", 0),
    ("lambda t: F.dropout(t, 0.2)", "", "Net()", 1),
]


@pytest.mark.parametrize(("layer", "param", "made", "number"), RATES)
def test_dropout_with_a_rate_of_zero_draws_nothing(layer: str, param: str, made: str, number: int) -> None:
    net = NET.replace("nn.Dropout(0.3)", layer).replace("def __init__(self", f"def __init__(self, {param}")
    code = f"{net}def f(x, y):\n    n = {made}\n    return F.cosine_similarity(n(x), n(y))"
    assert len(rows("FAL602", code)) == number


@pytest.mark.parametrize(("line", "number"), [("m.p = 0.0", 0), ("m.training = False", 0), ("m.p = 0.5", 1)])
def test_layers_that_are_switched_off_by_hand(line: str, number: int) -> None:
    code = f"{NET}def f(x, y):\n    n = Net()\n    for m in n.modules():\n        {line}\n    return F.cosine_similarity(n(x), n(y))"
    assert len(rows("FAL602", code)) == number


def test_evidence_points_at_the_layer_and_both_passes() -> None:
    (finding,) = found("FAL602", NET + MODES[0][0])
    assert [r.start.row for r in finding.related] == [8, AFTER + 3, AFTER + 3]


def test_evidence_of_a_severed_graph() -> None:
    (finding,) = found("FAL601", HEAD + SEVERED[0][0])
    assert [(r.start.row, r.message) for r in finding.related] == [
        (7, "`x` was detached here"),
        (8, "the gradient is computed here"),
    ]
