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


@pytest.mark.parametrize("code", CIRCLES)
def test_a_name_that_is_bound_through_itself_ends(code: str) -> None:
    assert rows("FAL205", code) == []


def test_a_long_chain_of_names_is_followed_to_its_end() -> None:
    links = "".join(f"    t{n + 1} = t{n} + 0\n" for n in range(3000))
    assert rows("FAL205", f"def f(p):\n    t0 = p.grad.sum()\n{links}    return t3000 == 0") == [3003]
