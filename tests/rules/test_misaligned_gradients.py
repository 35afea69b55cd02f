"""FAL409: gradient vectors whose entries belong to different parameters, and what only looks like them."""

from __future__ import annotations

import pytest

from fa_lint.findings import Level
from tests.rules.shapes import found, rows

HEAD = (
    "import numpy as np\nimport torch\nimport torch.nn.functional as F\n"
    "def cos(a, b): return torch.dot(a, b) / (a.norm() * b.norm())\n"
    "def flat(net):\n    found = []\n    for p in net.parameters():\n        if p.grad is not None:\n"
    "            found.append(p.grad.view(-1))\n    return torch.cat(found)\n"
    "def flat_of_rest(net):\n    found = []\n    for p in net.parameters():\n        if p.grad is None:\n            continue\n"
    "        found.append(p.grad.view(-1))\n    return torch.cat(found)\n"
    "def flat_after(net, loss):\n    net.zero_grad()\n    loss.backward()\n"
    "    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])\n"
    "def flat_of(ps, loss):\n    gs = torch.autograd.grad(loss, ps, allow_unused=True)\n"
    "    return torch.cat([g.flatten() for g in gs if g is not None])\n"
    "def flat_of_params(ps): return torch.cat([p.grad.flatten() for p in ps if p.grad is not None])\n"
    "def f(model, one, two, la, lb, losses, loader, loss_fn):\n"
    "    a = torch.autograd.grad(la, one, retain_graph=True)[0].flatten()\n"
    "    b = torch.autograd.grad(lb, two)[0].flatten()\n"
)
CUTS = [
    "n = min(len(a), len(b))\nreturn cos(a[:n], b[:n])",
    "n = min(a.numel(), b.numel())\na, b = a[:n], b[:n]\nreturn cos(a, b)",
    "n = min(a.shape[0], b.shape[0])\nreturn torch.dot(a[:n], b[:n]) / (a[:n].norm() * b[:n].norm())",
    "n = min(a.size(0), b.size(0))\nreturn F.cosine_similarity(a[0:n], b[0:n], dim=0)",
    "n = int(min(len(a), len(b)))\nreturn F.cosine_similarity(a[:n].unsqueeze(0), b[:n].unsqueeze(0))",
    "n = min([len(a), len(b)])\nreturn torch.dot(a[:n], b[:n]) > 0",
    "n = min(len(v) for v in (a, b))\na, b = (v[:n] for v in (a, b))\nreturn cos(a, b)",
    "n = min(map(len, (a, b)))\nreturn cos(a[:n], b[:n])",
    "n = len(a) if len(a) < len(b) else len(b)\nreturn cos(a[:n], b[:n])",
    "n = len(a)\nif len(b) < n:\n    n = len(b)\nreturn cos(a[:n], b[:n])",
    "if len(a) > len(b):\n    a = a[: len(b)]\nelse:\n    b = b[: len(a)]\nreturn cos(a, b)",
    "if len(a) > len(b):\n    a = a[: len(b)]\nreturn cos(a, b)",
    "n = np.minimum(len(a), len(b))\nreturn np.dot(a.numpy()[:n], b.numpy()[:n])",
    "n = min(len(a), len(b))\nreturn (a[:n] * b[:n]).sum() / (a[:n].norm() * b[:n].norm())",
    "n = min(len(a), len(b))\nreturn (a[:n] * b[:n]).sum()",
    "n = min(len(a), len(b))\nreturn (a[:n] - b[:n]).norm()",
    "n = min(len(a), len(b))\nreturn F.mse_loss(a[:n], b[:n])",
    "n = min(len(a), len(b))\nreturn a[:n] @ b[:n]",
    "n = min(len(a), len(b))\nreturn cos(a.narrow(0, 0, n), b.narrow(0, 0, n))",
    "b = F.pad(b, (0, len(a) - len(b)))\nreturn cos(a, b)",
    "b = torch.cat([b, torch.zeros(len(a) - len(b))])\nreturn cos(a, b)",
    "b = torch.cat([b, b.new_zeros(a.numel() - b.numel())])\nreturn cos(a, b)",
    "n = max(len(a), len(b))\nreturn cos(F.pad(a, (0, n - len(a))), F.pad(b, (0, n - len(b))))",
    "if len(a) < len(b):\n    a = F.pad(a, (0, len(b) - len(a)))\nelse:\n    b = F.pad(b, (0, len(a) - len(b)))\nreturn cos(a, b)",
    "def cut(x, y):\n    n = min(len(x), len(y))\n    return x[:n], y[:n]\na, b = cut(a, b)\nreturn cos(a, b)",
    "grads = [a, b]\nn = min(len(g) for g in grads)\ngrads = [g[:n] for g in grads]\nreturn cos(grads[0], grads[1])",
]
ALIGNED = [
    "return cos(a, b)",
    "return cos(a[:100], b[:100])",
    "n = min(len(one), len(two))\nreturn cos(a[:n], b[:n])",
    "n = len(loader)\nreturn cos(a[:n], b[:n])",
    "return cos(a[: len(b)], b)",
    "assert len(a) == len(b)\nn = min(len(a), len(b))\nreturn cos(a[:n], b[:n])",
    "if a.numel() != b.numel():\n    raise ValueError(a)\nn = min(len(a), len(b))\nreturn cos(a[:n], b[:n])",
    "n = min(len(a), 1000)\nreturn cos(a[:n], a[n:])",
    "x, y = model(one), model(two)\nn = min(len(x), len(y))\nreturn cos(x[:n], y[:n])",
    "n = min(len(a), len(b))\nprint(a[:n].norm(), b[:n].norm())",
    "b = torch.cat([b, torch.zeros(12)])\nreturn cos(a, b)",
    "b = torch.cat([b, torch.zeros(sum(p.numel() for p in one))])\nreturn cos(a, b)",
    "mask = torch.rand(len(a)) < 0.1\nreturn cos(a[mask], b[mask])",
    "n = min(len(a), 1000)\nreturn cos(a[:n], b[:n])",
    "k = min(len(a), 64)\nreturn cos(a.view(-1, k)[0], b.view(-1, k)[0])",
]


def body(text: str) -> str:
    return HEAD + "".join(f"    {line}\n" for line in text.split("\n"))


@pytest.mark.parametrize("text", CUTS)
def test_cut_or_padded_to_a_common_length(text: str) -> None:
    (finding,) = found("FAL409", body(text))
    assert finding.level is Level.ERROR
    assert finding.start.row > HEAD.count("\n")


@pytest.mark.parametrize("text", ALIGNED)
def test_what_keeps_its_entries(text: str) -> None:
    assert rows("FAL409", body(text)) == []


def test_evidence_gives_the_level() -> None:
    named = "import torch\ndef f(grad_a, grad_b):\n    n = min(len(grad_a), len(grad_b))\n    return torch.dot(grad_a[:n], grad_b[:n])"
    assert [d.level for d in found("FAL409", named)] == [Level.WARNING]
    same = body("b = torch.autograd.grad(lb, one)[0].flatten()\nn = min(len(a), len(b))\nreturn cos(a[:n], b[:n])")
    assert [d.level for d in found("FAL409", same)] == [Level.WARNING]


@pytest.mark.parametrize(
    ("helper", "row"),
    [
        (
            "def g(x, y):\n    n = min(len(x), len(y))\n    x, y = x[:n], y[:n]\n    return x @ y / (x.norm() * y.norm())\n",
            7,
        ),
        ("def g(x, y): return x @ y / (x.norm() * y.norm())\n", 8),
    ],
)
def test_a_helper_is_reported_where_it_cuts(helper: str, row: int) -> None:
    head = "import torch\n"
    caller = "def f(la, lb, p, q):\n    a = torch.autograd.grad(la, p)[0].flatten()\n    b = torch.autograd.grad(lb, q)[0].flatten()\n"
    if "min" in helper:
        text = head + helper + caller + "    return g(a, b)\n"
        assert rows("FAL409", text) == [5]
    else:
        text = head + helper + caller + "    n = min(len(a), len(b))\n    return g(a[:n], b[:n])\n"
        assert rows("FAL409", text) == [7]


FLAT = "torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])"
FILTERED = [
    f"la.backward()\na = {FLAT}\nmodel.zero_grad()\nlb.backward()\nb = {FLAT}\nreturn cos(a, b)",
    f"la.backward()\na = {FLAT}\nmodel.zero_grad()\nlb.backward()\nb = {FLAT}\nreturn F.cosine_similarity(a, b, dim=0)",
    f"la.backward()\na = {FLAT}\nmodel.zero_grad()\nlb.backward()\nb = {FLAT}\nreturn torch.dot(a, b) < 0",
    f"la.backward()\na = {FLAT}\nmodel.zero_grad()\nlb.backward()\nb = {FLAT}\nreturn (a - b).norm()",
    f"rows = []\nfor loss in losses:\n    model.zero_grad()\n    loss.backward()\n    rows.append({FLAT})\nreturn cos(rows[0], rows[1])",
    f"rows = {{}}\nfor k, loss in losses.items():\n    model.zero_grad()\n    loss.backward()\n    rows[k] = {FLAT}\n"
    "return cos(rows['a'], rows['b'])",
    "ps = list(model.parameters())\nga = torch.autograd.grad(la, ps, allow_unused=True)\ngb = torch.autograd.grad(lb, ps, allow_unused=True)\n"
    "a = torch.cat([g.flatten() for g in ga if g is not None])\nb = torch.cat([g.flatten() for g in gb if g is not None])\nreturn cos(a, b)",
    "ps = list(model.parameters())\nga = torch.autograd.grad(la, ps, allow_unused=True)\ngb = torch.autograd.grad(lb, ps, allow_unused=True)\n"
    "ga = [g for g in ga if g is not None]\ngb = [g for g in gb if g is not None]\n"
    "return sum((x * y).sum() for x, y in zip(ga, gb))",
    "ps = list(model.parameters())\nrows = [torch.cat([g.flatten() for g in torch.autograd.grad(l, ps, allow_unused=True) if g is not None]) for l in losses]\n"
    "return [cos(rows[i], rows[j]) for i in range(3) for j in range(i)]",
    "la.backward()\na = flat(model)\nmodel.zero_grad()\nlb.backward()\nb = flat(model)\nreturn cos(a, b)",
    "la.backward()\na = flat_of_rest(model)\nmodel.zero_grad()\nlb.backward()\nreturn cos(a, flat_of_rest(model))",
    "ps = list(model.parameters())\nla.backward()\na = flat_of_params(ps)\nmodel.zero_grad()\nlb.backward()\n"
    "return cos(a, flat_of_params(ps))",
    "return cos(flat_after(model, la), flat_after(model, lb))",
    f"def nested(): return {FLAT}\nla.backward()\na = nested()\nmodel.zero_grad()\nlb.backward()\nreturn cos(a, nested())",
    "ps = list(model.parameters())\nreturn cos(flat_of(ps, la), flat_of(ps, lb))",
    "ps = list(model.parameters())\nrows = [flat_of(ps, loss) for loss in losses]\nreturn cos(rows[0], rows[1])",
    "ps = list(model.parameters())\nga = [g for g in torch.autograd.grad(la, ps, allow_unused=True) if g is not None]\n"
    "gb = list(filter(lambda g: g is not None, torch.autograd.grad(lb, ps, allow_unused=True)))\n"
    "return sum((x * y).sum() for x, y in zip(ga, gb))",
    "la.backward()\nda = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}\nmodel.zero_grad()\nlb.backward()\n"
    "db = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}\n"
    "return cos(torch.cat([g.flatten() for g in da.values()]), torch.cat([g.flatten() for g in db.values()]))",
    "out_a, out_b = model(one)\nx = loss_fn(out_a, two)\ny = loss_fn(out_b, two)\n"
    f"x.backward()\na = {FLAT}\nmodel.zero_grad()\ny.backward()\nb = {FLAT}\nreturn cos(a, b)",
]
UNFILTERED = [
    f"la.backward()\na = {FLAT}\nreturn cos(a, model.credits)",
    "x = loss_fn(model(one), la)\ny = loss_fn(model(two), lb)\n"
    f"x.backward()\na = {FLAT}\nmodel.zero_grad()\ny.backward()\nb = {FLAT}\nreturn cos(a, b)",
    f"rows = []\nfor x, y in loader:\n    model.zero_grad()\n    loss = loss_fn(model(x), y)\n    loss.backward()\n    rows.append({FLAT})\n"
    "return cos(rows[0], rows[1])",
    "def flat(x, y):\n    model.zero_grad()\n    loss_fn(model(x), y).backward()\n"
    f"    return {FLAT}\nreturn cos(flat(one, la), flat(two, lb))",
    "la.backward()\nda = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}\nmodel.zero_grad()\nlb.backward()\n"
    "db = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}\n"
    "return {n: cos(da[n].flatten(), db[n].flatten()) for n in da.keys() & db.keys()}",
    "la.backward()\nda = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}\nmodel.zero_grad()\nlb.backward()\n"
    "db = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}\nnames = sorted(set(da) & set(db))\n"
    "return cos(torch.cat([da[n].flatten() for n in names]), torch.cat([db[n].flatten() for n in names]))",
    "ps = list(model.parameters())\nga = torch.autograd.grad(la, ps, allow_unused=True)\ngb = torch.autograd.grad(lb, ps, allow_unused=True)\n"
    "a = torch.cat([x.flatten() for x, y in zip(ga, gb) if x is not None and y is not None])\n"
    "b = torch.cat([y.flatten() for x, y in zip(ga, gb) if x is not None and y is not None])\nreturn cos(a, b)",
    "ps = list(model.parameters())\nga = torch.autograd.grad(la, ps, allow_unused=True)\ngb = torch.autograd.grad(lb, ps, allow_unused=True)\n"
    "return sum((x * y).sum() for x, y in zip(ga, gb) if x is not None and y is not None)",
    "la.backward()\nfound = []\nfor p in model.parameters():\n    if p.grad is None:\n        found.append(torch.zeros_like(p).flatten())\n    else:\n"
    "        found.append(p.grad.flatten().clone())\na = torch.cat(found)\nmodel.zero_grad()\nlb.backward()\nfound = []\n"
    "for p in model.parameters():\n    if p.grad is None:\n        found.append(torch.zeros_like(p).flatten())\n    else:\n"
    "        found.append(p.grad.flatten().clone())\nreturn cos(a, torch.cat(found))",
    "la.backward()\nps = [p for p in model.parameters() if p.grad is not None]\na = torch.cat([p.grad.flatten().clone() for p in ps])\n"
    "model.zero_grad()\nlb.backward()\nreturn cos(a, torch.cat([p.grad.flatten().clone() for p in ps]))",
    f"la.backward()\na = {FLAT}\nmodel.zero_grad()\nlb.backward()\nb = {FLAT}\nassert a.numel() == b.numel()\nreturn cos(a, b)",
    f"la.backward()\na = {FLAT}\nmodel.zero_grad()\nlb.backward()\nb = {FLAT}\nreturn a.norm(), b.norm()",
    "la.backward()\na = torch.cat([p.grad.flatten() for p in one.parameters() if p.grad is not None])\nlb.backward()\n"
    "b = torch.cat([p.grad.flatten() for p in two.parameters() if p.grad is not None])\nreturn cos(a, b)",
    "ps = [p for p in model.parameters() if p.requires_grad]\na = torch.cat([g.flatten() for g in torch.autograd.grad(la, ps)])\n"
    "b = torch.cat([g.flatten() for g in torch.autograd.grad(lb, ps)])\nreturn cos(a, b)",
]


PS = "ps = list(model.parameters())\n"
JOINED = "a = torch.cat([g.flatten() for g in ga if g is not None])\nb = torch.cat([g.flatten() for g in gb if g is not None])\n"
BOTH = f"ga = torch.autograd.grad(la, ps{{0}})\ngb = torch.autograd.grad(lb, ps{{1}})\n{JOINED}return cos(a, b)"
UNUSED = ", allow_unused=True"
RAISING = ["", ", retain_graph=True", ", allow_unused=False", ", allow_unused=True, materialize_grads=True"]
PARTS = [
    "list(model.encoder.parameters())",
    "list(model.layers.parameters())",
    "[p for p in model.backbone.parameters() if p.requires_grad]",
    "list(self.net.encoder.parameters())",
    "list(self.shared.parameters())",
    "list(encoder.parameters())",
    "[p for n, p in model.named_parameters() if 'head' not in n]",
    "[p for n, p in model.named_parameters() if n.startswith('encoder')]",
]
WHOLES = [
    "list(model.parameters())",
    "[p for p in model.parameters() if p.requires_grad]",
    "list(self.model.parameters())",
    "list(model.module.parameters())",
    "[p for n, p in model.named_parameters() if 'bias' not in n]",
]


@pytest.mark.parametrize("given", RAISING)
def test_where_a_missing_gradient_raises_nothing_is_filtered(given: str) -> None:
    assert rows("FAL409", body(PS + BOTH.format(given, given))) == []
    assert len(rows("FAL409", body(PS + BOTH.format(given, UNUSED)))) == 1
    assert len(rows("FAL409", body(PS + BOTH.format(UNUSED, UNUSED)))) == 1


@pytest.mark.parametrize("part", PARTS)
def test_a_shared_part_has_all_gradients_of_either_loss(part: str) -> None:
    code = body(f"ps = {part}\n{BOTH.format(UNUSED, UNUSED)}").replace("def f(", "def f(self, encoder, ")
    assert rows("FAL409", code) == []


@pytest.mark.parametrize("whole", WHOLES)
def test_a_whole_model_has_heads(whole: str) -> None:
    code = body(f"ps = {whole}\n{BOTH.format(UNUSED, UNUSED)}").replace("def f(", "def f(self, ")
    assert len(rows("FAL409", code)) == 1


@pytest.mark.parametrize("read", ["model.encoder.parameters()", "model.trunk.parameters()"])
def test_a_shared_part_after_a_backward_pass(read: str) -> None:
    rest = "rows = []\nfor l in losses:\n    model.zero_grad()\n    l.backward()\n"
    row = f"    rows.append({FLAT})\nreturn cos(rows[0], rows[1])"
    assert rows("FAL409", body(rest + row.replace("model.parameters()", read))) == []
    assert len(rows("FAL409", body(rest + row))) == 1


CHECKS = [
    "if rows[0].keys() != rows[1].keys():\n    raise ValueError",
    "assert rows[0].keys() == rows[1].keys()",
    "assert set(rows[0]) == set(rows[1])",
    "if list(rows[0]) != list(rows[1]):\n    return None",
]


@pytest.mark.parametrize("check", CHECKS)
def test_keys_that_are_compared(check: str) -> None:
    rest = "rows = []\nfor l in losses:\n    model.zero_grad()\n    l.backward()\n"
    rest += "    rows.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})\n"
    end = "\na = torch.cat([g.flatten() for g in rows[0].values()])\nb = torch.cat([g.flatten() for g in rows[1].values()])\nreturn cos(a, b)"
    assert rows("FAL409", body(f"{rest}{check}{end}")) == []
    assert len(rows("FAL409", body(f"{rest}print(rows){end}"))) == 1


def test_gradients_that_are_reset_to_zeros_are_not_filtered() -> None:
    loop = "rows = []\nfor l in losses:\n    model.zero_grad({0})\n    l.backward()\n    rows.append({1})\nreturn cos(rows[0], rows[1])"
    head = "import torch\ndef cos(a, b): return torch.dot(a, b) / (a.norm() * b.norm())\ndef f(model, losses):\n"
    for reset, number in (("set_to_none=False", 0), ("set_to_none=True", 1), ("", 1)):
        text = "".join(f"    {line}\n" for line in loop.format(reset, FLAT).split("\n"))
        assert len(rows("FAL409", head + text)) == number


@pytest.mark.parametrize("text", FILTERED)
def test_two_losses_without_what_is_none(text: str) -> None:
    assert [d.level for d in found("FAL409", body(text))] == [Level.WARNING]


@pytest.mark.parametrize("text", UNFILTERED)
def test_filters_that_agree(text: str) -> None:
    assert rows("FAL409", body(text)) == []


def test_lists_that_are_only_named_like_gradients_may_hold_one_vector_a_batch() -> None:
    pairs = "for x, y in zip(grads_a[:n], grads_b[:n])"
    code = f"import torch\ndef f(grads_a, grads_b):\n    n = min(len(grads_a), len(grads_b))\n    return [torch.dot(x, y) {pairs}]"
    assert rows("FAL409", code) == []


ADJACENT = """
import torch
def coherence(model):
    flat = []
    for name, p in model.named_parameters():
        if p.grad is not None:
            flat.append(p.grad.flatten())
    found = []
    for i in range(len(flat) - 1):
        one, other = flat[i], flat[i + 1]
        size = min(one.numel(), other.numel())
        u, v = one[:size].float(), other[:size].float()
        product = torch.dot(u, v).item()
        found.append(product / (u.norm().item() * v.norm().item()))
    return found
"""
METHOD = """
import torch
class Conflicts:
    def similarity(self, grad1, grad2):
        if grad1.device != grad2.device:
            grad2 = grad2.to(grad1.device)
        size = min(grad1.numel(), grad2.numel())
        grad1 = grad1[:size]
        grad2 = grad2[:size]
        product = torch.dot(grad1.flatten(), grad2.flatten())
        return product / (torch.norm(grad1) * torch.norm(grad2))
"""


@pytest.mark.parametrize(("code", "row"), [(ADJACENT, 13), (METHOD, 10)])
def test_one_finding_where_the_product_and_the_quotient_are_apart(code: str, row: int) -> None:
    assert rows("FAL409", code) == [row]


def test_the_product_of_a_normal_and_a_field_gradient() -> None:
    code = "import numpy as np\ndef f(normal, gradient):\n    m = min(len(normal), len(gradient))\n    return np.dot(normal[:m], gradient[:m])"
    assert rows("FAL409", code) == []


OBJECT = """
import torch
from torch import nn
class Probe:
    def __init__(self, model):
        self.model = model
        self.cos = nn.CosineSimilarity(dim=0)
    def collect(self, loss):
        self.model.zero_grad()
        loss.backward(retain_graph=True)
        return torch.cat([p.grad.view(-1) for p in self.model.parameters() if p.grad is not None])
    def compare(self, loss_a, loss_b):
        return self.cos(self.collect(loss_a), self.collect(loss_b))
    def over_batches(self, x, y, loss_fn):
        first = self.collect(loss_fn(self.model(x[0]), y[0]))
        return self.cos(first, self.collect(loss_fn(self.model(x[1]), y[1])))
"""


def test_methods_of_one_object() -> None:
    assert rows("FAL409", OBJECT) == [13]
