"""FAL402, FAL405, FAL603 and FAL901 executed: what their pages promise of the fixed program, measured."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import pytest

from tests.conftest import diagnostics_of
from tests.fixes_executed.programs import HEAD, fixed, run, same, tensors, torch

LAYER = """class LinearFA(torch.nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight_fa = {}

    def forward(self, x):
        return x @ self.weight_fa


def save(net, path):
    torch.save(net.state_dict(), path)
"""
TENSORS = [
    "torch.randn(n, n)",
    "torch.rand(n, n) - 0.5",
    "torch.nn.init.normal_(torch.empty(n, n))",
    "torch.randn(n, n).sign() * 0.1",
    "torch.randn(n, n) / math.sqrt(n)",
    "torch.empty(n, n).uniform_(-1, 1).T",
    "torch.randn(\n            n,  # in\n            n,  # out\n        )",
    "2 * torch.randn(n, n).double().float()",
]
NOT_TENSORS = [
    "torch.randn(n, n).numpy()",
    "torch.randn(n, n).tolist()",
    "torch.randn(n, n).split(1)",
    "torch.linalg.qr(torch.randn(n, n))",
    "torch.linalg.qr(torch.randn(n, n))[0]",
    "torch.randn(n, n) if n else None",
    "(torch.randn(n, n), 1)",
    "[torch.randn(n, n)]",
]


@pytest.mark.parametrize("value", TENSORS)
def test_a_buffer_is_the_same_tensor_and_travels(value: str) -> None:
    code = HEAD + LAYER.format(value)
    after = fixed(code, unsafe=False, select=("FAL402",))
    assert "register_buffer" in after
    made = []
    for program in (code, after):
        torch.manual_seed(0)
        made.append(run(program)["LinearFA"](3))
    old, new = made
    assert torch.equal(old.weight_fa, new.weight_fa)
    assert [p.shape for p in old.parameters()] == [p.shape for p in new.parameters()] == []
    for (x,) in tensors(least=2, dtypes=[torch.float32]):
        if x.shape[-1] == 3:
            assert torch.equal(old(x), new(x))
    assert list(new.state_dict()) == ["weight_fa"]
    assert new.double().weight_fa.dtype == torch.float64
    assert torch.equal(copy.deepcopy(new).weight_fa, new.weight_fa)


@pytest.mark.parametrize("value", NOT_TENSORS)
def test_what_may_be_no_tensor_is_not_made_a_buffer(value: str) -> None:
    code = HEAD + LAYER.format(value)
    assert fixed(code) == code


MASKED = [
    "cos[torch.isnan(cos)] = 1.0\n    return cos",
    "cos[torch.isnan(cos)] = -1\n    return cos",
    "return torch.where(cos.isnan(), 0.0, cos)",
    "return cos.masked_fill(cos.isnan(), 0)",
]
ABSENT = [
    "    if p.grad is None:\n        return 0\n    return F.cosine_similarity(p.grad, credit, dim=1)",
    "    return F.cosine_similarity(p.grad, credit, dim=1) if p.grad is not None else 0.0",
    "    cos = 0\n    if p.grad is not None:\n        cos = F.cosine_similarity(p.grad, credit, dim=1)\n    return cos",
]


@pytest.mark.parametrize("body", MASKED)
def test_a_fabricated_entry_becomes_nan_and_no_other_changes(body: str) -> None:
    code = f"{HEAD}def f(p, credit):\n    cos = F.cosine_similarity(p.grad, credit, dim=1, eps=0.0)\n    {body}\n"
    after = fixed(code, select=("FAL405",))
    assert after != code
    old, new = run(code)["f"], run(after)["f"]
    for a, b in tensors(least=2, many=2):
        missing = (a == 0).all(1)
        p = SimpleNamespace(grad=a)
        want, got = old(p, b), new(p, b)
        assert got.dtype == want.dtype
        assert torch.equal(got.isnan(), F_cosine(a, b).isnan())
        assert got[missing].isnan().all()
        same(got[~got.isnan()], want[~got.isnan()])


def F_cosine(a: object, b: object) -> object:
    return torch.nn.functional.cosine_similarity(a, b, dim=1, eps=0.0)


@pytest.mark.parametrize("body", ABSENT)
def test_an_absent_alignment_becomes_nan(body: str) -> None:
    code = f"{HEAD}def f(p, credit):\n{body}\n"
    after = fixed(code, select=("FAL405",))
    old, new = run(code)["f"], run(after)["f"]
    assert old(SimpleNamespace(grad=None), None) == 0
    assert math.isnan(new(SimpleNamespace(grad=None), None))
    for a, b in tensors(least=2, many=2, zero=False):
        same(new(SimpleNamespace(grad=a), b), old(SimpleNamespace(grad=a), b), dtype=a.dtype)


HOOK = """seen = []


def hook(module, grad_input, grad_output):
    seen.append({})


def attach(module):
    module.register_backward_hook(hook)
"""


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 3), (1, 3), (3, 3), (5, 2, 3)])
def test_the_full_hook_gives_the_gradient_of_the_input(bias: bool, shape: tuple[int, ...]) -> None:
    after = fixed(HEAD + HOOK.format("grad_input[0]"), select=("FAL603",))
    assert "module.register_full_backward_hook(hook)" in after
    names = run(after)
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 4, bias=bias)
    names["attach"](layer)
    x = torch.randn(shape, requires_grad=True)
    layer(x).square().sum().backward()
    (found,) = names["seen"]
    assert torch.equal(found, x.grad)


@pytest.mark.parametrize(
    "use", ["grad_input[1]", "grad_input[-1]", "grad_input", "len(grad_input)", "grad_input[2].T", "sum(grad_input)"]
)
def test_a_hook_that_needs_the_old_order_is_left_alone(use: str) -> None:
    code = HEAD + HOOK.format(use)
    assert [d.code for d in diagnostics_of(code, select=("FAL603",))] == ["FAL603"]
    assert fixed(code) == code


def test_dropping_a_suppression_leaves_the_program() -> None:
    code = "x = 1  # fa-lint: ignore[FAL101]\ny = 2  # noqa: FAL203\nz = 3  # fa-lint: ignore[FAL101] kept for later\n"
    after = fixed(code, unsafe=False)
    assert "FAL" not in after
    assert {k: v for k, v in run(after).items() if k in "xyz"} == {"x": 1, "y": 2, "z": 3}
