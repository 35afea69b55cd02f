"""FAL201 to FAL204 executed: where no floor bites, the fixed program computes what the old one did, in shape and dtype."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fa_lint.findings import Applicability
from tests.conftest import diagnostics_of
from tests.fixes_executed.programs import HEAD, fixed, run, same, tensors, torch

F = torch.nn.functional
LIBRARY = [
    "F.cosine_similarity(a, b)",
    "F.cosine_similarity(a, b, dim=-1)",
    "F.cosine_similarity(a, b, 0)",
    "torch.cosine_similarity(x2=b, x1=a, dim=0)",
    "torch.nn.CosineSimilarity()(a, b)",
    "torch.nn.CosineSimilarity(dim=0)(a, b)",
    "torch.nn.CosineSimilarity(-1)(a, b)",
]
TOPS = [
    "a @ b",
    "torch.dot(a, b)",
    "(a * b).sum()",
    "(a * b).sum(1)",
    "(a * b).sum(dim=-1)",
    "(a * b).sum(1, True)",
    "torch.sum(a * b, dim=-1, keepdim=True)",
    "torch.sum(a * b, 1)",
    "-(a * b).sum(1)",
    "2 * (a * b).sum(1)",
    "(a * b).sum((0, 1))",
    "(a * b).sum(1).mean()",
    "(a * b).sum(1).unsqueeze(1)",
    "(a * b).sum().item()",
    "torch.abs((a * b).sum(1))",
    "a.flatten() @ b.flatten()",
    "torch.inner(a, b)",
    "torch.einsum('ij,ij->i', a, b)",
]
NORMS = [
    "{}.norm()",
    "{}.norm(dim=1)",
    "{}.norm(dim=-1)",
    "{}.norm(dim=1, keepdim=True)",
    "{}.norm(dim=-1, keepdim=True)",
    "{}.norm(1)",
    "{}.norm(p=1, dim=1)",
    "{}.norm(2, 1)",
    "{}.norm(dim=0)",
    "{}.norm(float('inf'))",
    "torch.norm({}, dim=1)",
    "torch.linalg.norm({}, 2)",
    "torch.linalg.vector_norm({}, dim=1)",
    "{}.flatten().norm()",
    "({0} * {0}).sum(1).sqrt()",
    "torch.sqrt(({}**2).sum())",
    "{}.pow(2).mean(1).sqrt()",
    "{}.norm(dim=1).unsqueeze(1)",
    "{}.norm().item()",
]
FLOORS = [
    "({t}) / ({m} * {n} + 1e-8)",
    "({t}) / torch.clamp({m} * {n}, min=1e-8)",
    "({t}) / (({m} + 1e-8) * ({n} + 1e-8))",
    "({t}) / ({m} + 1e-8) / ({n} + 1e-8)",
    "({t}) / max({m} * {n}, 1e-8)",
]
INPUTS = "    a, b = p.grad, q.grad\n"
VECTORS = "    a, b = p.grad.flatten(), q.grad.flatten()\n"


def pairs(**given: Any) -> Iterator[tuple[Any, Any]]:
    for a, b in tensors(many=2, **given):
        yield SimpleNamespace(grad=a), SimpleNamespace(grad=b)


def agree(before: str, after: str, **given: Any) -> int:
    """How many inputs two programs agree on: all on which the first runs."""
    old, new = run(before)["f"], run(after)["f"]
    count = 0
    for p, q in pairs(zero=False, **given):
        try:
            want = old(p, q)
        except (RuntimeError, ValueError, IndexError):
            continue
        got = new(p, q)
        assert type(got) is type(want)
        if isinstance(want, torch.Tensor):
            assert got.dtype == want.dtype
        same(got, want, dtype=p.grad.dtype)
        count += 1
    return count


@pytest.mark.parametrize("call", LIBRARY)
def test_a_library_cosine_keeps_value_shape_and_dtype(call: str) -> None:
    code = f"{HEAD}def f(p, q):\n{INPUTS}    return {call}\n"
    after = fixed(code, select=("FAL201",))
    assert "return safe_cosine(" in after
    assert agree(code, after) >= 16


@pytest.mark.parametrize("call", LIBRARY)
def test_a_small_gradient_gets_its_cosine_and_a_zero_one_nan(call: str) -> None:
    code = f"{HEAD}def f(p, q):\n{INPUTS}    return {call}\n"
    new = run(fixed(code, select=("FAL201",)))["f"]
    a = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one, small, zero = (SimpleNamespace(grad=a * scale) for scale in (1.0, 1e-12, 0.0))
    same(new(small, one), torch.ones(3))
    assert new(zero, one).isnan().all()


def test_the_fix_is_unsafe_because_of_a_zero_row() -> None:
    code = f"{HEAD}def f(p, q):\n{INPUTS}    return F.cosine_similarity(a, b, dim=1).mean()\n"
    (found,) = diagnostics_of(code, select=("FAL201",))
    assert found.fix is not None
    assert found.fix.applicability is Applicability.UNSAFE
    assert fixed(code, unsafe=False, select=("FAL201",)) == code
    p, q = SimpleNamespace(grad=torch.eye(3)), SimpleNamespace(grad=torch.ones(3, 3))
    p.grad[0] = 0
    old, new = run(code)["f"], run(fixed(code, select=("FAL201",)))["f"]
    assert old(p, q).isfinite()
    assert new(p, q).isnan()


@pytest.mark.parametrize("inputs", [INPUTS, VECTORS])
@pytest.mark.parametrize("top", TOPS)
def test_a_quotient_is_replaced_where_it_is_a_cosine_to_the_letter(top: str, inputs: str) -> None:
    combined = [(norm, norm, FLOORS[number % 5]) for number, norm in enumerate(NORMS)]
    combined += [(one, other, FLOORS[0]) for one, other in itertools.pairwise(NORMS)]
    for norm, other, floor in combined:
        expression = floor.format(t=top, m=norm.format("a"), n=other.format("b"))
        code = f"{HEAD}def f(p, q):\n{inputs}    return {expression}\n"
        after = fixed(code, select=("FAL203",))
        if after != code:
            agree(code, after, dtypes=[torch.float64, torch.bfloat16])


@pytest.mark.parametrize(
    "expression",
    [
        "(a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-8)",
        "(a * b).sum(1, keepdim=True) / (a.norm(dim=1, keepdim=True) * b.norm(dim=1, keepdim=True) + 1e-8)",
        "(a * b).sum() / (a.norm() * b.norm() + 1e-8)",
        "(a * b).sum() / (a.flatten().norm() * b.flatten().norm()).clamp(min=1e-8)",
        "torch.dot(a.flatten(), b.flatten()) / (b.norm() * a.norm() + 1e-8)",
        "(b * a).sum(-1) / ((a.norm(2, -1) + 1e-8) * (b * b).sum(-1).sqrt())",
        "(a * b).sum(0) / torch.sqrt((a**2).sum(0) * (b**2).sum(0) + 1e-16)",
    ],
)
def test_quotients_that_are_cosines_are_replaced(expression: str) -> None:
    code = f"{HEAD}def f(p, q):\n{INPUTS}    return {expression}\n"
    after = fixed(code, select=("FAL203",))
    assert "return safe_cosine(" in after
    assert agree(code, after) > 16


@pytest.mark.parametrize(
    "body",
    [
        "    n = a.norm() * b.norm() + 1e-8\n    a = a + 1\n    return (a * b).sum() / n\n",
        "    n = a.norm() * b.norm() + 1e-8\n    a *= b\n    return (a * b).sum() / n\n",
        "    a, b = a.numpy(), b.numpy()\n    return (a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-8)\n",
        "    a, b = a.numpy(), b.numpy()\n    return (a * b).sum() / ((a**2).sum() ** 0.5 * (b**2).sum() ** 0.5 + 1e-8)\n",
    ],
)
def test_what_is_no_cosine_of_two_tensors_stays(body: str) -> None:
    code = f"{HEAD}def f(p, q):\n{INPUTS}{body}"
    assert fixed(code, select=("FAL203",)) == code


@pytest.mark.parametrize("top", TOPS)
def test_an_angle_stays_what_it_was_where_it_was_one(top: str) -> None:
    """A clamp or ``safe_angle`` changes NaN, and what is nearer to 0 or pi than acos can tell."""
    for norm, inputs in itertools.product(NORMS, (INPUTS, VECTORS)):
        expression = f"torch.acos(({top}) / ({norm.format('a')} * {norm.format('b')}))"
        code = f"{HEAD}def f(p, q):\n{inputs}    return {expression}\n"
        after = fixed(code, select=("FAL204",))
        if after == code:
            continue
        old, new = run(code)["f"], run(after)["f"]
        for p, q in pairs(zero=False, dtypes=[torch.float64]):
            try:
                want = old(p, q)
            except (RuntimeError, ValueError, IndexError, TypeError):
                continue
            got = new(p, q)
            assert got.dtype == want.dtype
            same(got.where(~want.isnan(), want), want)


def test_the_gradient_stays() -> None:
    code = f"{HEAD}def f(p, q):\n{INPUTS}    return F.cosine_similarity(a, b, dim=-1).sum()\n"
    old, new = run(code)["f"], run(fixed(code, select=("FAL201",)))["f"]
    for p, q in pairs(dtypes=[torch.float64], zero=False):
        found = []
        for f in (old, new):
            p.grad = p.grad.detach().requires_grad_()
            found.append(torch.autograd.grad(f(p, q), p.grad)[0])
        same(found[1], found[0])


@pytest.mark.parametrize("call", LIBRARY)
def test_a_cosine_of_unknown_things(call: str) -> None:
    code = f"{HEAD}def f(a, b): return {call}\n"
    after = fixed(code, select=("FAL202",))
    assert "return safe_cosine(" in after
    old, new = run(code)["f"], run(after)["f"]
    for a, b in tensors(least=2, many=2, zero=False):
        got, want = new(a, b), old(a, b)
        assert got.dtype == want.dtype
        same(got, want, dtype=a.dtype)
