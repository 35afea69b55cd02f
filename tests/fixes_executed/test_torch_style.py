"""``fix-style = "torch"`` executed: nothing but torch is called, and only what a floor had bent changes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fa_lint.findings import Applicability
from tests.conftest import Lint, diagnostics_of, write
from tests.fixes_executed.programs import HEAD, fixed, run, same, tensors, torch
from tests.fixes_executed.test_cosines import LIBRARY

INPUTS = "    a, b = p.grad, q.grad\n"
TINY = "torch.finfo(torch.float32).tiny"
FLOORS = [
    "(a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-8)",
    "(a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-8)",
    "(a * b).sum(1) / ((a.norm(dim=1) + 1e-8) * (b.norm(dim=1) + 1e-8))",
    "(a * b).sum(1, keepdim=True) / (a.norm(dim=1, keepdim=True) * b.norm(dim=1, keepdim=True) + 1e-8)",
    "-(a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-8)",
    "(a * b).sum() / (b.norm() ** 2 + 1e-8) * b",
]


def program(expression: str, before: str = "") -> str:
    return f"{HEAD}def f(p, q):\n{INPUTS}{before}    return {expression}\n"


@pytest.mark.parametrize("call", LIBRARY)
def test_eps_is_safe_bit_by_bit(call: str) -> None:
    code = program(call)
    (found,) = diagnostics_of(code, select=("FAL201",), fix_style="torch")
    assert found.fix is not None
    assert found.fix.applicability is Applicability.SAFE
    assert not found.fix.needs_runtime
    after = fixed(code, unsafe=False, select=("FAL201",), fix_style="torch")
    assert f"eps={TINY}" in after
    assert fixed(after, select=("FAL201",), fix_style="torch") == after
    old, new = run(code)["f"], run(after)["f"]
    for a, b in tensors(least=2, many=2):
        p, q = SimpleNamespace(grad=a), SimpleNamespace(grad=b)
        want, got = old(p, q), new(p, q)
        assert got.dtype == want.dtype
        assert torch.equal(got, want) or torch.equal(got.isnan(), want.isnan())
    a = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    same(new(SimpleNamespace(grad=a * 1e-12), SimpleNamespace(grad=a)), torch.ones(3))


@pytest.mark.parametrize("expression", FLOORS)
def test_a_floor_becomes_the_smallest_number(expression: str) -> None:
    code = program(expression)
    after = fixed(code, select=("FAL203",), fix_style="torch")
    assert after == code.replace("1e-8", TINY)
    old, new = run(code)["f"], run(after)["f"]
    for a, b in tensors(least=2, many=2, dtypes=[torch.bfloat16, torch.float32, torch.float64]):
        if a.ndim == 2:
            p, q = SimpleNamespace(grad=a), SimpleNamespace(grad=b)
            want, got = old(p, q), new(p, q)
            assert got.dtype == want.dtype
            same(got, want, dtype=a.dtype)


def test_a_name_of_the_floor_that_became_unused_goes() -> None:
    code = program("(a * b).sum() / (a.norm() * b.norm() + eps)", "    eps = 1e-8\n")
    after = fixed(code, select=("FAL203",), fix_style="torch")
    assert "eps" not in after
    assert TINY in after


@pytest.mark.parametrize("head", ["", "eps = load()\n"])
def test_a_floor_from_elsewhere_stays(head: str) -> None:
    arguments = "p, q" if head else "p, q, eps=1e-8"
    code = f"{HEAD}{head}def f({arguments}):\n{INPUTS}    return (a * b).sum() / (a.norm() * b.norm() + eps)\n"
    assert fixed(code, select=("FAL203",), fix_style="torch") == code


def test_without_the_name_torch() -> None:
    code = "import torch.nn.functional as F\ndef f(p, c): return F.cosine_similarity(p.grad, c)\n"
    after = fixed(code, select=("FAL201",), fix_style="torch")
    assert "F.cosine_similarity(p.grad, c, eps=1.2e-38)" in after


def test_an_angle_is_clamped() -> None:
    code = f"{HEAD}def f(a, b): return torch.acos(torch.dot(a, b) / (a.norm() * b.norm()))\n"
    after = fixed(code, select=("FAL204",), fix_style="torch")
    assert ".clamp(-1.0, 1.0)" in after
    f = run(after)["f"]
    for (a,) in tensors(most=1, dtypes=[torch.float32], zero=False):
        assert f(a, a).isfinite()


def test_the_configuration_and_the_cache(fa_lint: Lint) -> None:
    write("a.py", "import torch\ndef f(p, c): return torch.cosine_similarity(p.grad, c, dim=0)\n")
    shown = {}
    for style in ("runtime", "torch", "runtime"):
        write("fa-lint.toml", f'fix-style = "{style}"\n')
        shown[style] = fa_lint("a.py", "--diff", "--unsafe-fixes").stdout
    assert "safe_cosine(" in shown["runtime"]
    assert TINY in shown["torch"]
    write("fa-lint.toml", 'fix-style = "numpy"\n')
    refused = fa_lint("a.py")
    assert refused.exit_code == 2
    assert "fa-lint.toml:1: `fix-style`: must be one of runtime, torch" in refused.output
