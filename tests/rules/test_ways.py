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


KEPT = """
class Kept:
    def __init__(self):
        self.items = {}
    def put(self, key, value):
        self.items[key] = value
    def get(self, key):
        return self.items[key]
"""


@pytest.mark.parametrize(
    "body",
    [
        "kept = {}\nkept.setdefault('g', []).append(g)\na = kept['g'][0]\nreturn a @ c / (a.norm() * c.norm() + 1e-8)",
        "kept = {}\nkept.setdefault('g', g)\nreturn kept['g'] @ c / (kept['g'].norm() * c.norm() + 1e-8)",
        "a = None\nif p.ready:\n    a = g\nreturn torch.dot(a, c) / (a.norm() * c.norm() + 1e-8)",
        "a = None\nfor t in [g]:\n    a = t\nreturn (a * c).sum() / (a.norm() * c.norm() + 1e-8)",
        "kept = Kept()\nkept.put('g', g)\na = kept.get('g')\nreturn a @ c / (kept.get('g').norm() * c.norm() + 1e-8)",
    ],
)
def test_a_vector_that_is_kept_or_set_on_one_way(body: str) -> None:
    assert rows("FAL203", KEPT + program(body))


def test_setdefault_leaves_what_is_there() -> None:
    body = "kept = {'g': g}\nkept.setdefault('g', c)\na, b = kept['g'], g\n" + COSINE
    assert rows("FAL404", program(body))
    assert rows("FAL404", program(body.replace("b = kept['g'], g", "b = kept['g'], c"))) == []


@pytest.mark.parametrize("order", ["int(-1)", "ORDERS[0]", "PAIR[-1]", "TABLE['rows']", "int('-1')"])
def test_an_order_by_a_conversion_or_an_item(order: str) -> None:
    constants = "ORDERS = (-1, 1)\nPAIR = [2, -1]\nTABLE = {'rows': -1}\n"
    assert rows("FAL101", f"import torch\n{constants}def f(x): return x.norm({order})") == [5]


@pytest.mark.parametrize("order", ["int(2.5)", "ORDERS[1]", "ORDERS[7]", "OTHERS[0]", "int(n)", "int(1e400)"])
def test_an_order_that_is_another_or_unknown(order: str) -> None:
    constants = "ORDERS = (-1, 1)\nOTHERS = [-1]\nOTHERS.append(2)\nn = input()\n"
    assert rows("FAL101", f"import torch\n{constants}def f(x): return x.norm({order})") == []


BY_LAYER = """
import torch
def by_layer(model, credit):
    return [torch.cosine_similarity(p.grad, c, dim=0) for p, c in zip(model.parameters(), credit)]
"""


def test_what_every_caller_passes_is_what_a_parameter_is() -> None:
    mean = "def average(values):\n    return torch.stack(values).mean()\n"
    repair = "def repaired(value):\n    return torch.nan_to_num(value)\n"
    code = (
        BY_LAYER
        + mean
        + "def gamma(model, credit):\n    cosines = by_layer(model, credit)\n    return average(cosines)\n"
    )
    assert rows("FAL501", code) == [6]
    assert rows("FAL501", code.replace("    return average", "    print(cosines)\n    return average")) == []
    assert rows("FAL501", code + "def other(losses):\n    return average(losses)\n") == []
    one = "def gamma(p, c):\n    return repaired(torch.cosine_similarity(p.grad, c, dim=1))\n"
    assert rows("FAL405", "import torch\n" + repair + one) == [3]
    assert rows("FAL405", "import torch\n" + repair + one + "def other(loss):\n    return repaired(loss)\n") == []


@pytest.mark.parametrize("decorator", ["staticmethod", "classmethod"])
def test_a_helper_that_is_called_through_its_class(decorator: str) -> None:
    first = "cls, " if decorator == "classmethod" else ""
    code = (
        f"import torch\nclass Tools:\n    @{decorator}\n    def repaired({first}value):\n        return torch.nan_to_num(value)\n"
        "def gamma(p, c):\n    return Tools.repaired(torch.cosine_similarity(p.grad, c, dim=1))\n"
    )
    assert rows("FAL405", code) == [5]
    assert rows("FAL405", code + "def other(loss):\n    return Tools.repaired(loss)\n") == []
    unbound = code.replace(f"    @{decorator}\n", "").replace(f"({first}value", "(self, value")
    assert rows("FAL405", unbound.replace("Tools.repaired(", "Tools.repaired(None, ")) == []


def test_a_function_in_a_function_reads_what_is_around_this_call() -> None:
    code = """
import torch
def cka(k, l):
    def align(a, b):
        def product():
            return (a * b).sum() / (a.norm() * b.norm())
        return product()
    return align(k, l) / torch.sqrt(align(k, k) * align(l, l))
"""
    assert rows("FAL404", code) == []
    assert rows("FAL404", code.replace("align(k, l) / torch.sqrt(align(k, k) * align(l, l))", "align(k, k)")) == [8]


@pytest.mark.parametrize(
    "body",
    [
        "if g.norm() < 1e-3:\n    return None\ndef give():\n    return g\nreturn give() @ c / (give().norm() * c.norm() + 1e-8)",
        "if min(g.norm(), c.norm()) < 1e-3:\n    raise ValueError\ndef made():\n    return g @ c / (g.norm() * c.norm() + 1e-8)\nreturn made()",
        "if min(g.norm(), c.norm()) < 1e-3:\n    raise ValueError\nr = torch.stack([g, c])\nu = r / (r.norm(dim=1, keepdim=True) + 1e-8)\nreturn u[0] @ u[1]",
    ],
)
def test_a_check_before_a_function_in_a_function_or_a_stack(body: str) -> None:
    assert rows("FAL203", program(body)) == []
    unchecked = body[body.index("def" if "def" in body else "r =") :]
    assert rows("FAL203", program(unchecked))


ORDER_ONE = [
    "g / g.abs().max()",
    "g / torch.max(torch.abs(g))",
    "g / g.abs().amax()",
    "g / torch.linalg.vector_norm(g, ord=float('inf'))",
    "g / g.norm(float('inf'))",
    "(g - g.mean()) / g.std()",
    "torch.cat([g, torch.ones_like(g)])",
]


@pytest.mark.parametrize("scaled", ORDER_ONE)
@pytest.mark.parametrize(
    ("code", "cosine"),
    [
        ("FAL201", "torch.cosine_similarity(a, b, dim=0)"),
        ("FAL203", "(a * b).sum() / (a.norm() * b.norm() + 1e-8)"),
    ],
)
def test_a_gradient_that_is_brought_to_order_one_meets_no_floor(scaled: str, code: str, cosine: str) -> None:
    text = "import torch\ndef f(loss, x, y):\n    (g,) = torch.autograd.grad(loss, x)\n    a = {}\n    b = y.sigmoid()\n    return {}\n"
    assert rows(code, text.format(scaled, cosine)) == []
    assert rows(code, text.format("g", cosine)) == [6]


GUARDED = """
if tiny(g) or tiny(c):\\n        return float('nan')
if any_tiny([g, c]):\\n        return float('nan')
check(g, c)
fine = g.norm() > 1e-6 and c.norm() > 1e-6\\n    if not fine:\\n        return None
if not g.norm() > 1e-6:\\n        return None
"""
HELPERS = """import torch
def tiny(v):
    return v.norm() < 1e-6
def any_tiny(vs):
    return any(v.norm() < 1e-6 for v in vs)
def check(a, b):
    if min(a.norm(), b.norm()) < 1e-6:
        raise ValueError("too small")
def other(a, b):
    print(a.norm() < 1e-6)
"""


@pytest.mark.parametrize("guard", GUARDED.strip().splitlines())
def test_a_check_of_norms_in_a_helper_or_under_a_name(guard: str) -> None:
    head = HELPERS + "def f(loss, x, c):\n    (g,) = torch.autograd.grad(loss, x)\n    "
    tail = "\n    return torch.cosine_similarity(g, c, dim=0)\n"
    assert rows("FAL201", head + guard.replace("\\n", "\n") + tail) == []
    assert rows("FAL201", head + "other(g, c)" + tail)


def test_the_other_branch_of_a_check() -> None:
    head = HELPERS + "def f(loss, x, c):\n    (g,) = torch.autograd.grad(loss, x)\n    n = g.norm()\n"
    branch = "    if not n > {}:\n        return None\n    else:\n        return torch.cosine_similarity(g, c, dim=0)\n"
    assert rows("FAL201", head + branch.format("1e-6")) == []
    assert rows("FAL201", head + branch.format("0"))
