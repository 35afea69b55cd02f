"""Norms, unit vectors and angles slab by slab: the numbers of the whole formula, in a fixed amount of memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fa_lint_runtime import safe_angle, safe_norm, safe_unit
from fa_lint_runtime.kernels import slabs

FUNCTIONS: list[Callable[..., Tensor]] = [
    lambda x, y, dim: safe_norm(x, dim),
    lambda x, y, dim: safe_unit(x, dim),
    lambda x, y, dim: safe_angle(x, y, dim),
]
NAMES = ["norm", "unit", "angle"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "SLAB", 40)


def whole(function: Callable[..., Tensor], *arguments: object) -> Tensor:
    """The formula applied at once."""
    size, slabs.SLAB = slabs.SLAB, 1 << 62
    try:
        return function(*arguments)
    finally:
        slabs.SLAB = size


@pytest.mark.parametrize("function", FUNCTIONS, ids=NAMES)
@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_values_and_gradients_are_those_of_the_whole(
    small: None, function: Callable[..., Tensor], dim: int, dtype: torch.dtype
) -> None:
    scale = 1e-200 if dtype == torch.float64 else 1e-30
    a = (torch.randn(7, 6, 10, dtype=torch.float64) * scale).to(dtype)[:, :, ::2]
    b = torch.randn(5, 6, 7, dtype=torch.float64).to(dtype).permute(2, 1, 0)
    a[2, 3, :], a[3, 1, 1] = 0, float("inf")
    results = []
    for call in (function, lambda *arguments: whole(function, *arguments)):
        x, y = a.detach().requires_grad_(), b.detach().requires_grad_()
        value = call(x, y, dim)
        grads = torch.autograd.grad(value, (x, y), torch.linspace(1, 2, value.numel()).view_as(value).to(dtype),
                                    allow_unused=True)  # fmt: skip
        with torch.no_grad():
            torch.testing.assert_close(call(a, b, dim), value, rtol=torch.finfo(dtype).eps, atol=0, equal_nan=True)
        results.append((value.detach(), *grads))
    for found, expected in zip(*results, strict=True):
        if expected is None:
            assert found is None
            continue
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        finite = expected[torch.isfinite(expected)]
        assert finite.any()
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(
            found, expected, rtol=4 * eps, atol=4 * eps * float(finite.abs().max()), equal_nan=True
        )


@pytest.mark.parametrize("function", FUNCTIONS, ids=NAMES)
def test_double_and_batched_gradients(small: None, function: Callable[..., Tensor]) -> None:
    a = torch.randn(9, 7, dtype=torch.float64, requires_grad=True)
    b = torch.randn(9, 7, dtype=torch.float64, requires_grad=True)

    def call(x: Tensor, y: Tensor) -> Tensor:
        return function(x, y, 1) + 0 * y.sum()

    assert torch.autograd.gradcheck(call, (a, b), check_batched_grad=True)
    assert torch.autograd.gradgradcheck(call, (a, b))
    assert function(a, a, 1).shape == function(a, b, 1).shape
    torch.testing.assert_close(
        torch.autograd.grad(function(a, a, 1).sum(), a)[0],
        torch.autograd.grad(whole(function, a, a, 1).sum(), a)[0],
    )


def test_the_layout_of_a_unit_vector_is_contiguous_and_parameters_and_transforms_work(small: None) -> None:
    x = torch.nn.Parameter(torch.randn(12, 8))
    assert safe_unit(x, 0).is_contiguous()
    assert torch.equal(torch.func.vmap(safe_unit)(x.detach()), safe_unit(x.detach()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(safe_unit(x), whole(safe_unit, x))
    with torch.inference_mode():
        assert torch.equal(safe_angle(x, 2 * x), torch.zeros(12))


@pytest.mark.parametrize("function", FUNCTIONS, ids=NAMES)
def test_memory_is_a_slab_and_the_result(function: Callable[..., Tensor]) -> None:
    resource = pytest.importorskip("resource")
    a, b = torch.randn(2000, 10_000, requires_grad=True), torch.randn(2000, 10_000)
    torch.autograd.grad(function(a[:20], b[:20], 1).sum(), a)
    torch.randn(75_000_000).sum()  # lifts the high-water mark by 300 MB: above what results and gradients need
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.autograd.grad(function(a, b, 1).sum(), a)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < 40 << 20  # one fp64 copy of one operand: 160 MB, and the formula makes many
