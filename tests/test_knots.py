"""Names that are bound through each other: every rule answers, in a moment, whatever the binding looks like.

A walk that asks without memory asks exponentially often here and never ends; one without a limit ends in a
RecursionError.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from fa_lint.rules import registry
from fa_lint.rules.base import ProjectRule
from fa_lint.semantics.facts import extract

_NAMES = 30
_SECONDS = 60

_BINDINGS = {
    "alias": "{x} = {a}; {x} = {b}; {x} = {c}",
    "attributes": "self.{x} = self.{a} + self.{b} * self.{c}",
    "augmented": "{x} += {a} + {b} * {c}",
    "autograd": "{x} = torch.autograd.grad({a}, {b}, {c})[0]",
    "binary": "{x} = {a} + {b} * {c}",
    "boolean": "{x} = {a} or {b} and {c}",
    "branch": "{x} = {a} if n else {b} if q else {c}",
    "builtin": "{x} = float(max({a}, {b}, {c}))",
    "call": "{x} = helper({a}, {b}, {c})",
    "cast": "{x} = {a}.half() @ {b}.float() + {c}.to(torch.float16)",
    "chain": "{x} = {last} + 1",
    "clamp": "{x} = torch.clamp({a}, min={b}) + {c}.clamp_min(1e-8)",
    "clone": "{x} = {a}.clone() if n else {b}.detach() if q else {c}.cpu()",
    "compare": "{x} = {a} < {b} == {c}",
    "comprehension": "{x} = [u + {b} for u in {a} if u in {c}]",
    "context": "with {a} as {x}, {b}({c}): pass",
    "copy": "{x} = copy.deepcopy({a}); {x}.load_state_dict({b}.state_dict()); {x} = {c}.model",
    "cosine": "{x} = torch.dot({a}, {b}) / (torch.norm({c}) * {a}.norm())",
    "dict": "{x} = {{'a': {a}, 'b': {b}, **{c}}}",
    "index": "{x} = {a}[{b}, {c}]",
    "item": "{x}[{a}] = {b} + {c}",
    "lambda": "{x} = lambda u, v={a}: {b}(u, {c})",
    "list": "{x} = [{a}, {b}, *{c}]",
    "loop": "for {x} in zip({a}, {b}, {c}): pass",
    "method": "{x} = {a}.view({b}).norm({c})",
    "quotient": "{x} = {a} / {b} / {c}",
    "self": "{x} = {x}.view(1); {x} = {x} / {x}.norm()",
    "sign": "{x} = -{a} if {b} else +{c}",
    "slice": "{x} = slice({a}, {b}, {c})",
    "torch": "{x} = torch.cat([{a}, {b}, {c}]).to({a}.dtype)",
    "unpack": "{x}, {x}_ = {a}, ({b}, {c})",
    "update": "{x}.update({a}); {x}['k'] = {b}; {x}.append({c})",
    "view": "{x} = {a}.view(1) if n else {b}.view(1) if q else {c}.view(1)",
}

# What the rules look at, each with knotted names in every place.
_QUESTIONS = """
        y = x0.norm(x1)
        y = torch.norm(x0, p=x1, dim=x2)
        y = x0 / x1.norm(-1)
        cos = F.cosine_similarity(x0, x1, dim=x2, eps=x3)
        cos[cos != cos] = 1.0
        cos = (x0 @ x1) / (x0.norm() * x1.norm() + 1e-8)
        z = torch.acos(cos) + math.acos(x3)
        cos = cos if cos == cos else x0
        y = cos.mean()
        y = x0.sum() == 0
        with torch.autocast(x4, dtype=x5):
            loss = x0.mean()
        (g,) = torch.autograd.grad(loss, x1)
        h = g.half().norm()
        x2.backward()
        r = x3.grad.norm() / x0
        torch.save({'m': x0, 'n': x1.state_dict()}, 'p')
        torch.save(x4, x5)
        model.load_state_dict(x3, strict=False)
        save(x0.state_dict())
        pickle.dump(x2, x3)
        loss = F.cross_entropy(x0, x1)
        e = x0 - F.one_hot(x1)
        e = F.softmax(x2) - x3
        model.register_backward_hook(x2)
        align = F.cosine_similarity(torch.autograd.grad(loss, x4)[0], e @ feedback_matrix)
        model.B = x0
        x3.B = x2
        e = x5 @ model.B
        with x4:
            x5.backward()
        with torch.no_grad():
            cos = F.cosine_similarity(x4.grad, x5)
"""


def _body(binding: str) -> str:
    lines = []
    for i in range(_NAMES if binding != "chain" else 1200):
        others = {"a": (i * 7 + 1) % _NAMES, "b": (i * 11 + 2) % _NAMES, "c": (i + 1) % _NAMES, "last": max(i - 1, 0)}
        lines.append(8 * " " + _BINDINGS[binding].format(x=f"x{i}", **{k: f"x{v}" for k, v in others.items()}))
    questions = _QUESTIONS.replace(" x", " self.x").replace("(x", "(self.x") if binding == "attributes" else _QUESTIONS
    if binding == "chain":
        questions = questions.replace("x0", "x1199")
    return "\n".join([*lines, questions, *(lines if binding != "chain" else ())])


def _knot(binding: str) -> str:
    return f"""
import copy, math, pickle
import torch
import torch.nn.functional as F
from torch import nn
from lib import save
class LinearFA(nn.Module):
    def __init__(self):
        self.B = torch.randn(3, 3)
    def forward(self, x):
        return x @ self.B
def helper(p, q, r=None):
    return p + helper(q, r)
class Trainer:
    def fit(self, opt, p, q, n):
        feedback_matrix = torch.randn(n, n)
        model = LinearFA()
        for _ in range(n):
            pass
{_body(binding)}
        return x0
"""


def _crowd() -> str:
    """Eight functions that each call all of them, in every place where a value can pass."""
    names = [f"f{i}" for i in range(8)]
    calls = " + ".join(f"{name}(model, x, loss)" for name in names)
    functions = "".join(
        f"def {name}(model, x, loss):\n    y = {calls}\n    loss = F.mse_loss(model(x), y)\n    loss.backward()\n"
        f"    cos = F.cosine_similarity(x.grad, y)\n    torch.save(x.state_dict(), y)\n    return y\n"
        for name in names
    )
    return f"import torch\nimport torch.nn.functional as F\n{functions}"


@pytest.fixture
def moment() -> Iterator[None]:
    """Ends a test that hangs, and says where."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("no interval timer on this system")

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer within {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def _ask_every_rule(code: str) -> None:
    facts = extract(code)
    for rule in registry().values():
        list(rule.check(facts))
        if isinstance(rule, ProjectRule):
            list(rule.summarise(facts))


@pytest.mark.parametrize("binding", _BINDINGS)
def test_every_rule_answers_about_names_bound_through_each_other(binding: str, moment: None) -> None:
    _ask_every_rule(_knot(binding))


def test_every_rule_answers_about_functions_that_all_call_each_other(moment: None) -> None:
    _ask_every_rule(_crowd())
