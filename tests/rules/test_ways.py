"""The ways a gradient takes to its cosine, and the checks that it passes: none of them changes the finding."""

from __future__ import annotations

from textwrap import indent

import pytest

from tests.rules.shapes import rows

HEAD = """
import torch
from collections import namedtuple
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple
@dataclass
class Data:
    item: object
class Row(NamedTuple):
    item: object
    other: object = None
Pair = namedtuple("Pair", "item other")
class Holder:
    def __init__(self):
        self.item, self.items = None, {}
    def put(self, item):
        self.item = item
    def store(self, key, item):
        self.items[key] = item
    def get(self, key):
        return self.items[key]
class Meter:
    def __init__(self, eps=1e-8):
        self.eps = eps
    def __call__(self, x, y):
        return x @ y / (x.norm() * y.norm() + self.eps)
def measure(x, y):
    return x @ y / (x.norm() * y.norm() + 1e-8)
def named(**kwargs):
    return kwargs["t"]
"""
COSINE = "return a @ b / (a.norm() * b.norm() + 1e-8)"
WAYS = [
    f"a, b = Data(g).item, Data(c).item\n{COSINE}",
    f"a, b = Row(g).item, Row(c, 1).item\n{COSINE}",
    f"a, b = Pair(g, c)\n{COSINE}",
    f"held = SimpleNamespace(a=g, b=c)\na, b = held.a, held.b\n{COSINE}",
    f"one, two = Holder(), Holder()\none.put(g)\ntwo.put(c)\na, b = one.item, two.item\n{COSINE}",
    f"held = Holder()\nheld.store('a', g)\nheld.store('b', c)\na, b = held.get('a'), held.get('b')\n{COSINE}",
    f"a, b = named(t=g), named(t=c)\n{COSINE}",
    f"a, b = [v.flatten() for v in (g, c)]\n{COSINE}",
    f"a, b = map(torch.flatten, (g, c))\na, b = (v for v in (g, c))\n{COSINE}",
    f"box = []\nbox.append(g)\nbox.append(c)\na, b = box[0], box[1]\n{COSINE}",
    f"a, b = torch.stack([g, c])\na, b = torch.stack([g, c])[0], torch.stack([g, c])[1]\n{COSINE}",
    "return Meter()(g, c)",
    "return partial(measure, g)(c)",
    "fn = partial(measure, y=c)\nreturn fn(g)",
    "fn = lambda x, y: x @ y / (x.norm() * y.norm() + 1e-8)\nreturn fn(g, c)",
    "def inner():\n    return g @ c / (g.norm() * c.norm() + 1e-8)\nreturn inner()",
    "n = g.norm() * c.norm()\nreturn g @ c / (n if n > 1e-8 else 1e-8)",
    "n = g.norm() * c.norm()\nreturn g @ c / torch.where(n < 1e-8, 1e-8, n)",
    "return g @ c * (g.norm() * c.norm() + 1e-8) ** -1",
    "return g @ c * (g.norm() * c.norm() + 1e-8).reciprocal()",
    "info = torch.finfo(torch.float32)\nreturn g @ c / (g.norm() * c.norm() + info.eps)",
    "return torch.tensordot(g, c, dims=1) / (g.norm() * c.norm() + 10 ** (-8))",
    "return g @ c / (g.norm() + 1e-8) / (c.norm() + 1e-8)",
]
CHECKED = [
    "if g.norm() < 1e-3:\n    return None\nreturn measure(g, c)",
    "if g.norm() < 1e-3:\n    return None\nreturn partial(measure, g)(c)",
    "if g.norm() < 1e-3:\n    raise ValueError\nfor a in [g]:\n    pass\nreturn measure(a, c)",
    "a = named(t=g)\nassert a.norm() > 1e-3\nreturn g @ c / (g.norm() * c.norm() + 1e-8)",
]


def program(body: str) -> str:
    return f"{HEAD}def gamma(p, q):\n    g, c = p.grad.flatten(), q.grad.flatten()\n{indent(body, '    ')}\n"


@pytest.mark.parametrize("body", WAYS)
def test_the_floor_is_found(body: str) -> None:
    assert rows("FAL203", program(body))


@pytest.mark.parametrize("body", CHECKED)
def test_a_check_of_the_norm_holds_wherever_the_quotient_stands(body: str) -> None:
    assert rows("FAL203", program(body)) == []


def test_two_objects_hold_two_gradients() -> None:
    body = f"one, two = Holder(), Holder()\none.put(g)\ntwo.put(c)\na, b = one.item, two.item\n{COSINE}"
    assert rows("FAL404", program(body)) == []


def test_gradients_before_and_after_a_backward_pass_are_two_values() -> None:
    code = """
import torch
def cos(u, v): return torch.dot(u, v) / (u.norm() * v.norm())
def read(params): return torch.cat([p.grad.flatten() for p in params])
def f(params, la, lb):
    la.backward()
    a = {make}
    lb.backward()
    b = {make}
    return cos(a, b)
"""
    for make in ("torch.cat([p.grad.flatten() for p in params])", "read(params)", "params[0].grad.clone()"):
        assert rows("FAL404", code.replace("{make}", make)) == []
    assert rows("FAL404", code.replace("{make}", "params[0].grad.flatten()")) == [10]


def test_an_angle_in_a_helper_is_judged_by_what_its_callers_give() -> None:
    code = """
import torch
import torch.nn.functional as F
def angle(c):
    return torch.acos(c)
def f(x, y):
    return angle(F.cosine_similarity(x, y, dim=-1){clamp})
"""
    assert rows("FAL204", code.replace("{clamp}", "")) == [5]
    assert rows("FAL204", code.replace("{clamp}", ".clamp(-1, 1)")) == []
