"""FAL205: sums that a loop carries, and sums that are no test of a signed vector."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

SIGNED = [
    "def f(ps):\n    t = 0\n    for p in ps:\n        t = t + p.grad.sum()\n    return t == 0",
    "def f(ps):\n    t = 0.0\n    for p in ps:\n        t += p.grad.sum()\n    if t.item() == 0:\n        return t",
    "def f(p):\n    while True:\n        s = s - p.grad.sum()\n        if s == 0:\n            return s",
    "def f(ps): return sum(p.grad.sum() for p in ps) == 0",
    "def f(p, q): return (p.grad.sum() + q.grad.sum()).item() != 0.0",
]
HEAD = "import math\nimport numpy as np\nimport torch\n"
SPELLINGS = [
    "def f(p):\n    if p.grad.sum():\n        return p",
    "def f(p):\n    if not p.grad.sum():\n        return p",
    "def f(p, q): return q if p.ok and p.grad.sum().item() else None",
    "def f(ps): return [p for p in ps if p.grad.sum()]",
    "def f(p):\n    while p.grad.sum():\n        p.step()",
    "def f(p): assert p.grad.sum()",
    "def f(p): return bool(p.grad.sum())",
    "def f(p): return abs(p.grad.sum()) == 0",
    "def f(p): return torch.abs(p.grad.sum()) == 0",
    "def f(p): return p.grad.sum().abs().item() == 0",
    "def f(p): return torch.eq(p.grad.sum(), 0)",
    "def f(p): return p.grad.sum().ne(0)",
    "def f(p): return np.not_equal(p.grad.sum().item(), 0)",
    "def f(a, b): return int((a.weight.data - b.weight.data).sum().ne(0))",
    "def f(a, b): return a.weight.sub(b.weight).sum() != 0",
    "def f(a, b):\n    d = a.weight - b.weight\n    return d.sum() == 0",
    "def f(a, b): return ((a.grad - b.grad).sum()).abs() < 1e-6",
    "def f(a, b): return math.isclose((a.grad - b.grad).sum().item(), 0)",
    "def f(p):\n    match p.grad.sum().item():\n        case 0:\n            return p",
    "def f(net):\n    t = {n: p.grad.sum().item() for n, p in net.named_parameters()}\n    return [n for n in t if t[n] == 0]",
    "def f(net):\n    t = {}\n    for n, p in net.named_parameters():\n        t[n] = p.grad.sum()\n"
    "    return [n for n, v in t.items() if v == 0]",
    "def f(net):\n    t = [p.grad.sum() for p in net.parameters()]\n    return [i for i, v in enumerate(t) if not v]",
]
OTHER_SPELLINGS = [
    "def f(p, v): return (p.grad * v.data).sum() == 0",
    "def f(p, v):\n    dot = sum((g * x).sum() for g, x in zip(torch.autograd.grad(p, v), v))\n    if not dot:\n        return v",
    "def f(p): return (p.weight * p.weight.grad).sum() == 0",
    "def f(p, v): return (p.grad @ v).sum() == 0",
    "def f(p):\n    if p.grad.abs().sum():\n        return p",
    "def f(p):\n    if p.grad is not None and (p.grad != 0).sum():\n        return p",
    "def f(mask):\n    if not mask.sum():\n        return mask",
    "def f(p, delta):\n    if delta.sum():\n        return p",
    "def f(p): return abs(p.grad.sum()) < 1e-6",
    "def f(p): return math.isclose(p.grad.sum().item(), 0)",
    "def f(a, b): return abs((a.grad - b.grad).sum()) < 0.1",
    "def f(a, b): return (a.grad - b.grad).abs().sum() < 1e-6",
    "def f(p):\n    g = p.grad ** 2\n    return g.sum() == 0",
    "def f(p):\n    g = p.grad.abs()\n    if g.sum():\n        return g",
    "def f(a, b):\n    d = (a.weight - b.weight).abs()\n    return d.sum() == 0",
    "def f(a):\n    w = a.weight\n    return w / w.sum() if w.sum() else w",
    "def f(a):\n    s = a.weight.sum()\n    if s == 0:\n        return a\n    return a.weight / s",
    "def f(p): return torch.eq(p.grad.sum(), 1)",
    "def f(p):\n    match p.grad.sum().item():\n        case 1:\n            return p",
    "def f(net):\n    t = {n: p.grad.abs().sum() for n, p in net.named_parameters()}\n    return [n for n in t if t[n] == 0]",
    "def f(net):\n    t = {n: p.grad.sum() for n, p in net.named_parameters()}\n    return [n for n, v in t.items() if n == 0]",
]
OTHERS = [
    "def f(ps):\n    t = 0\n    for p in ps:\n        t = t + p.grad.abs().sum()\n    return t == 0",
    "def f(ps):\n    t = 0\n    for p in ps:\n        t += (p.grad != 0).sum()\n    return t == 0",
    "def f(ps): return sum(p.grad.norm() for p in ps) == 0",
    "def f(masks): return sum(m.sum() for m in masks) == 0",
    "def f(p):\n    s = p.grad.sum()\n    if p.ok:\n        s = p.grad.abs().sum()\n    return s == 0",
]
CIRCLES = [
    "def f(x):\n    for i in x:\n        a = a + i\n        if a.sum(0) == 0:\n            return a",
    "def f(x):\n    while x:\n        a = b - a\n        b = a + b\n        if a == 0:\n            b = a.sum()",
    "def f(x):\n    for i in x:\n        logdet = logdet.item()\n        if logdet == 0:\n            x.sum()",
]


@pytest.mark.parametrize("code", SIGNED)
def test_a_signed_sum_is_found_through_loops(code: str) -> None:
    assert len(rows("FAL205", code)) == 1


@pytest.mark.parametrize("code", OTHERS)
def test_another_sum_is_silent(code: str) -> None:
    assert rows("FAL205", code) == []


@pytest.mark.parametrize("code", SPELLINGS)
def test_any_spelling_of_a_test_for_zero_is_found(code: str) -> None:
    assert len(rows("FAL205", HEAD + code)) == 1


@pytest.mark.parametrize("code", OTHER_SPELLINGS)
def test_tests_that_signs_do_not_cancel_are_silent(code: str) -> None:
    assert rows("FAL205", HEAD + code) == []


@pytest.mark.parametrize("code", CIRCLES)
def test_a_name_that_is_bound_through_itself_ends(code: str) -> None:
    assert rows("FAL205", code) == []


def test_a_long_chain_of_names_is_followed_to_its_end() -> None:
    links = "".join(f"    t{n + 1} = t{n} + 0\n" for n in range(3000))
    assert rows("FAL205", f"def f(p):\n    t0 = p.grad.sum()\n{links}    return t3000 == 0") == [3003]
