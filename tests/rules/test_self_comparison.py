"""FAL404: what is one value and what only looks like it, shape by shape."""

from __future__ import annotations

import pytest

from fa_lint.findings import Level
from fa_lint.rules import registry
from fa_lint.semantics.facts import extract

RULE = registry()["FAL404"]
HEAD = "import copy\nimport torch\nimport numpy as np\nimport torch.nn.functional as F\n"
ANGLES = """
def angles(one, two):
    found = []
    for p, q in zip(one.parameters(), two.parameters()):
        cos = torch.dot(p.view(-1), q.view(-1)) / (torch.norm(p) * torch.norm(q))
        found.append(cos)
    return found
"""

SELF = [
    "def f(g): return F.cosine_similarity(g, g, dim=0)",
    "def f(g): return F.cosine_similarity(g.flatten(), g.flatten(), dim=0)",
    "def f(p): return F.cosine_similarity(p.grad, p.grad.detach(), dim=0)",
    "def f(p): return F.cosine_similarity(x1=p.grad, x2=p.grad, dim=0)",
    "def cosine(g):\n    h = g\n    return g @ h / (g.norm() * h.norm())",
    "def cosine(g):\n    h = g.clone()\n    n = g.norm() * h.norm()\n    return torch.dot(g, h) / n",
    "def cosine(g):\n    h = copy.deepcopy(g)\n    return np.dot(g, h) / (np.linalg.norm(g) * np.linalg.norm(h))",
    "def f(p):\n    a = p.grad.view(-1)\n    b = p.grad.view(-1)\n    return F.cosine_similarity(a, b, dim=0)",
    "def f(p, flag):\n    a = p.grad if flag else p.grad\n    return F.cosine_similarity(a, p.grad, dim=0)",
    "class P:\n    def __init__(self):\n        self.cos = torch.nn.CosineSimilarity(dim=0)\n"
    "    def f(self, p):\n        g = p.grad\n        return self.cos(g, g)",
    "def angle(a, b): return torch.acos(F.cosine_similarity(a, b, dim=0))\ndef f(p):\n    g = p.grad\n    return angle(g, g)",
    "def angle(a, b): return torch.acos(F.cosine_similarity(a, b, dim=0))\ndef f(p): return angle(b=p.grad, a=p.grad)",
    "def f(p, a, b):\n    a.backward()\n    g = p.grad\n    p.grad.zero_()\n    b.backward()\n    h = p.grad\n"
    "    return F.cosine_similarity(g, h, dim=0)",
    "def f(p, a, b, opt):\n    a.backward()\n    g = p.grad.detach()\n    opt.zero_grad(set_to_none=False)\n    b.backward()\n"
    "    h = p.grad\n    return F.cosine_similarity(g.flatten(), h.flatten(), dim=0)",
    ANGLES
    + "def f(model, x):\n    twin = copy.deepcopy(model)\n    twin(x).sum().backward()\n    return angles(model, twin)",
    ANGLES
    + "def f(model, x):\n    twin = copy.deepcopy(model).to(x.device)\n    twin.eval()\n    return angles(twin, model)",
    "def f(x, n): return F.cosine_similarity(x[:n], x[:n].clone(), dim=1)",
    f"def f(x): return F.cosine_similarity(x[0x{'f' * 6000}], x[0x{'f' * 6000}], dim=0)",
    "def cosine(g): return g.flatten() @ g.flatten() / g.norm() ** 2",
]
# Two parts of one tensor.
HALVES = [
    "x[:n], x[n:]",
    "x[:1], x[1:]",
    "x[:-1], x[1:]",
    "x[::2], x[1::2]",
    "x[::2], x[:2]",
    "x[:, :n], x[:, n:]",
    "x[..., :n], x[..., n:]",
    "x[:n].clone(), x[n:].clone()",
    "x[:n].mean(0), x[n:].mean(0)",
    "x[m], x[~m]",
    "x[0], x[1]",
    "x[0], x[-1]",
    "x.chunk(2)[0], x.chunk(2)[1]",
    "torch.split(x, n)[0], torch.split(x, n)[1]",
    "x.narrow(0, 0, n), x.narrow(0, n, n)",
]
# Shares of energy: what is above is not below.
RATIOS = [
    "(a @ a) / (b @ b)",
    "(a @ a).item() / ((b @ b).item() + 1e-8)",
    "1 - torch.dot(a, a) / torch.dot(b, b)",
    "(a * a).sum() / (b * b).sum()",
    "a @ a / b.norm() ** 2",
    "a @ a / b.norm() / b.norm()",
    "np.inner(a - b, a - b) / np.inner(a, a)",
    "torch.dot(a[:3], a[:3]) / torch.dot(a, a)",
    "torch.dot(a, a) / (b_norm * b_norm)",
    "torch.dot(a, a) / torch.sqrt((b @ b) * (b @ b))",
]
DIFFERENT = [
    "def f(a, b): return F.cosine_similarity(a, b, dim=0)",
    "def f(x): return F.cosine_similarity(x.unsqueeze(1), x.unsqueeze(0), dim=-1)",
    "def f(x): return F.cosine_similarity(x[0], x[1], dim=0)",
    "def f(x): return F.cosine_similarity(x, x.T, dim=0)",
    "def f(g): return F.cosine_similarity(g, g.half().float(), dim=0)",
    "def f(model, x): return F.cosine_similarity(model(x), model(x), dim=0)",
    "def f(x): return F.cosine_similarity(F.dropout(x), F.dropout(x), dim=0)",
    "def f(x): return F.cosine_similarity(torch.randn_like(x), torch.randn_like(x), dim=0)",
    "def f(g):\n    h = g.clone()\n    h.add_(1)\n    return F.cosine_similarity(g, h, dim=0)",
    "def f(g):\n    h = g.clone()\n    h[0] = 0\n    return F.cosine_similarity(g, h, dim=0)",
    "def f(g):\n    h = g.clone()\n    g += 2\n    return F.cosine_similarity(g, h, dim=0)",
    "def f(g, k):\n    h = g\n    g = k\n    return F.cosine_similarity(g, h, dim=0)",
    "def f(layer, train):\n    w = layer.weight.clone()\n    train()\n    return F.cosine_similarity(w, layer.weight, dim=0)",
    "def f(layer, train):\n    w = layer.weight\n    v = w.clone()\n    train()\n    return F.cosine_similarity(v, w, dim=0)",
    "def f(p, loss):\n    g = p.grad.clone()\n    loss.backward()\n    return F.cosine_similarity(g, p.grad, dim=0)",
    "def f(p, a, b, opt):\n    a.backward()\n    g = p.grad\n    opt.zero_grad()\n    b.backward()\n    h = p.grad\n"
    "    return F.cosine_similarity(g, h, dim=0)",
    "def f(p, a, b):\n    a.backward()\n    g = p.grad\n    p.grad = None\n    b.backward()\n    h = p.grad\n"
    "    return F.cosine_similarity(g, h, dim=0)",
    "def f(p, a, b):\n    a.backward(create_graph=True)\n    g = p.grad\n    b.backward(create_graph=True)\n    h = p.grad\n"
    "    return F.cosine_similarity(g, h, dim=0)",
    "def f(h, a, b):\n    h.retain_grad()\n    a.backward()\n    g = h.grad\n    b.backward()\n    k = h.grad\n"
    "    return F.cosine_similarity(g, k, dim=0)",
    "def f(stream):\n    last = None\n    for g in stream:\n        if last is not None:\n"
    "            print(F.cosine_similarity(last, g, dim=0))\n        last = g",
    "def f(stream):\n    for x in stream:\n        last = g\n        g = x.grad\n        print(F.cosine_similarity(last, g, dim=0))",
    "def f(rows):\n    a, b = [], []\n    for r in rows:\n        a.append(r.x)\n        b.append(r.y)\n"
    "    return F.cosine_similarity(torch.cat(a), torch.cat(b), dim=0)",
    "def test_one(g):\n    assert F.cosine_similarity(g, g, dim=0) == 1",
    "def flat(ps): return torch.cat([p.grad.flatten() for p in ps])\ndef cosine(a, b): return a @ b / (a.norm() * b.norm())\n"
    "def f(model, la, lb):\n    ps = list(model.parameters())\n    la.backward()\n    a = flat(ps)\n    model.zero_grad()\n"
    "    lb.backward()\n    return cosine(a, flat(ps))",
    "def cosine(a, b): return a @ b / (a.norm() * b.norm())\ndef f(model, la, lb):\n"
    "    def flat(): return torch.cat([p.grad.flatten() for p in model.parameters()])\n"
    "    la.backward()\n    a = flat()\n    model.zero_grad()\n    lb.backward()\n    return cosine(a, flat())",
    "def check_identity(g): return F.cosine_similarity(g, g, dim=0)",
    "def f(g):\n    one = F.cosine_similarity(g, g, dim=0)\n    assert abs(one - 1) < 1e-6",
    "def cka(k, l):\n    def hsic(a, b): return (a * b).sum() / (a.norm() * b.norm())\n"
    "    return hsic(k, l) / torch.sqrt(hsic(k, k) * hsic(l, l))  # cosine",
    ANGLES + "def f(model, x):\n    twin = copy.deepcopy(model)\n    opt = torch.optim.SGD(twin.parameters(), lr=1)\n"
    "    twin(x).sum().backward()\n    opt.step()\n    return angles(model, twin)",
    ANGLES + "def f(model, x):\n    opt = torch.optim.SGD(model.parameters(), lr=1)\n    twin = copy.deepcopy(model)\n"
    "    model(x).sum().backward()\n    opt.step()\n    return angles(model, twin)",
    ANGLES + "def f(model, opt):\n    twin = copy.deepcopy(model)\n    opt.step()\n    return angles(model, twin)",
    ANGLES + "def f(model, fit):\n    twin = copy.deepcopy(model)\n    fit(twin)\n    return angles(model, twin)",
    ANGLES
    + "def f(model, sd):\n    twin = copy.deepcopy(model)\n    twin.load_state_dict(sd)\n    return angles(model, twin)",
    ANGLES + "def f(model):\n    twin = copy.deepcopy(model)\n    twin.half()\n    return angles(model, twin)",
    ANGLES
    + "def f(model):\n    twin = copy.deepcopy(model)\n    for p in twin.parameters():\n        p.data.mul_(0.9)\n"
    "    return angles(model, twin)",
    ANGLES + "def f(model, make):\n    trainer = make(model)\n    twin = copy.deepcopy(model)\n    trainer.fit()\n"
    "    return angles(model, twin)",
    ANGLES
    + "def f(model, x, n):\n    twin = copy.deepcopy(model)\n    for _ in range(n):\n        print(angles(model, twin))\n"
    "        with torch.no_grad():\n            model.head.weight += 1",
    "def f(model, x):\n    twin = copy.deepcopy(model)\n    twin(x).sum().backward()\n    model.local(x)\n"
    "    return [F.cosine_similarity(p.grad, q.grad, dim=0) for p, q in zip(model.parameters(), twin.parameters())]",
    "from sklearn.metrics.pairwise import cosine_similarity\ndef f(x): return cosine_similarity(x, x)",
    "from text import align\ndef f(grad_words): return align(grad_words, grad_words)",
    *(f"def two_views(x, n, m): return F.cosine_similarity({pair}, dim=1)" for pair in HALVES),
    *(
        f"def f(p, n, m):\n    x = p.grad\n    a, b = {pair}\n    return a @ b / (a.norm() * b.norm())"
        for pair in HALVES
    ),
    "def f(x):\n    a, b = x.chunk(2)\n    return F.cosine_similarity(a, b, dim=1)",
    "def f(x):\n    return F.cosine_similarity(*x.chunk(2), dim=1)",
    *(f"def cosine(a, b): return {ratio}" for ratio in RATIOS),
    "def cosine(t, y):\n    d = t - y\n    return np.dot(d, d) / np.dot(t, t)",
    "def cosine(p):\n    d = p.grad - p.grad.mean()\n    return d @ d / (p.grad @ p.grad)",
]


def findings(code: str) -> list[Level]:
    return [found.level for found in RULE.check(extract(HEAD + code))]


@pytest.mark.parametrize("code", SELF)
def test_one_value_is_found_and_the_gates_are_open(code: str) -> None:
    assert findings(code) == [Level.ERROR]
    data = (HEAD + code).encode()
    assert RULE.may_match(data)


@pytest.mark.parametrize("code", DIFFERENT)
def test_two_values_are_not_one(code: str) -> None:
    assert findings(code) == []


def test_a_function_of_another_file_is_believed_by_its_name_and_gradients_alone() -> None:
    head = "from metrics import grad_alignment, alignment_metrics, overlap\n"
    assert findings(head + "def f(grad_a): return alignment_metrics(grad_a, grad_a)") == [Level.WARNING]
    assert findings(head + "def f(x): return alignment_metrics(x, x)") == []
    assert findings(head + "def f(grad_a): return overlap(grad_a, grad_a)") == []


def test_evidence_names_the_copy() -> None:
    code = HEAD + "def cosine(g):\n    h = g.clone()\n    return g @ h / (g.norm() * h.norm())"
    (found,) = RULE.check(extract(code))
    places = [(code.count("\n", 0, r.start) + 1, r.message) for r in found.related]
    assert (6, "a copy of it") in places


def test_a_long_chain_of_sums_is_traced_in_time() -> None:
    lines = "".join(f"    x = x * x + {n}\n" for n in range(200))
    code = HEAD + f"def cosine(x, y):\n{lines}    return F.cosine_similarity(x, y, dim=0)"
    assert list(RULE.check(extract(code))) == []


def test_what_the_page_says_of_kept_gradients_is_so() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(8))
    (p * torch.randn(8)).sum().backward()
    first = p.grad
    p.grad.zero_()
    (p * torch.randn(8)).sum().backward()
    second = p.grad
    assert torch.nn.functional.cosine_similarity(first, second, dim=0).item() == pytest.approx(1.0, abs=1e-6)
    assert first is second
    p.grad = None
    (p * torch.randn(8)).sum().backward()
    assert p.grad is not first
    h = p * 2
    h.retain_grad()
    (h * torch.randn(8)).sum().backward(retain_graph=True)
    third = h.grad
    (h * torch.randn(8)).sum().backward()
    assert h.grad is not third


SQUARES = [
    "def f(x, book):\n    x, book = F.normalize(x), F.normalize(book)\n"
    "    return x.pow(2).sum(1, keepdim=True) - 2 * x @ book.t() + (book**2).sum(1)",
    "def f(x):\n    u = x / x.norm(dim=-1, keepdim=True)\n    return (u * u).sum(-1), u.square().sum(-1), torch.sum(u**2, -1)",
    "def f(x):\n    u = x / np.linalg.norm(x)\n    return u @ u, np.dot(u, u)",
    "def f(x):\n    u = F.normalize(x, dim=-1)\n    return u / (u**2).sum(-1, keepdim=True).sqrt()",
    "def inverse(q):\n    p = q.clone()\n    p[..., 1:] *= -1\n    return p / (q**2).sum(-1, keepdim=True)\n"
    "def f(q): return inverse(q / q.norm(dim=-1, keepdim=True))",
    "def scale(v): return 2.0 / (v * v).sum(-1)\ndef f(x): return scale(x / x.norm(dim=-1, keepdim=True))",
]


@pytest.mark.parametrize("code", SQUARES)
def test_the_square_of_a_unit_vector_compares_nothing(code: str) -> None:
    assert findings(HEAD + code) == []
