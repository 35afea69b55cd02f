"""The path for a few short rows: the numbers of the general path, bit by bit, values and gradients."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch import Tensor

from fa_lint_runtime import safe_cosine
from fa_lint_runtime.kernels import function, small

SHAPES = [(16, 64), (1, 64), (64,), (4, 5, 33), (128, 10), (3, 1), (2, 4096), (1, 5000), (0, 4), (4, 0)]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def general(a: Tensor, b: Tensor) -> Tensor:
    with mock.patch.object(function, "_small", return_value=None):
        return safe_cosine(a, b)


def odd_rows(a: Tensor) -> Tensor:
    """With rows of zeros, an inf, a NaN, the smallest and the largest numbers, and exact halves."""
    if a.ndim == 2 and len(a) == 16:
        info = torch.finfo(a.dtype)
        for row, value in enumerate([0.0, float("inf"), float("nan"), info.smallest_normal / 2, info.max / 8]):
            a[row] = value
        a[5:8] = 0.0
        a[5, 0] = a[6, 1] = a[7, 0] = 1.0
        a[7, 1] = 2.0**-9
    return a


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_the_general_path(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    for trial in range(20):
        a, b = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
        if trial % 4 == 1:
            a, b = odd_rows(a), odd_rows(b).roll(trial, 0) if b.ndim else b
        elif trial % 4 == 2:
            b = a * (-1) ** trial
        elif trial % 4 == 3:
            b = a + (torch.randn(shape) * 1e-3).to(dtype)
        own, other = safe_cosine(a, b), general(a, b)
        assert torch.equal(own.isnan(), other.isnan())
        assert torch.equal(_bits(own), _bits(other))
        grads = []
        for path in (safe_cosine, general):
            x, y = (t.clone().requires_grad_() for t in (a, b))
            path(x, y).nansum().backward()
            grads.append((x.grad, y.grad))
        for one, two in zip(*grads, strict=True):
            assert torch.equal(one, two)


def _bits(x: Tensor) -> Tensor:
    """With the signs of zeros; one NaN is as good as another."""
    return x.nan_to_num(2.0).view(torch.int32 if x.dtype == torch.float32 else torch.int16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_few_rows_take_it(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(16, 64).to(dtype), torch.randn(16, 64).to(dtype)
    found = small.cosine(a, b, dtype)
    assert found is not None
    assert torch.equal(found[0], safe_cosine(a, b))


def test_it_gives_up_where_a_cosine_is_not_certain() -> None:
    a = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    assert small.cosine(a, torch.tensor([[0.0, 1.0, 0.0, 0.0]]), torch.float32) is None  # 0 or -0


def test_a_midpoint_of_bf16_that_fp32_makes_of_a_neighbour_rounds_to_its_side() -> None:
    """cos = 1 / sqrt(1 + t^2) next to a midpoint of bf16: rounding to fp32 first would lose the side."""
    a = torch.tensor([[1.0, 0.0]])
    for step in range(-3, 4):
        tangent = (1 / 0.501953125**2 - 1) ** 0.5
        b = torch.tensor([[1.0, tangent]])
        b[0, 1] = (b[0, 1].view(torch.int32) + step).view(torch.float32)
        with torch.no_grad():
            found = function.cosine(a, b, torch.bfloat16, False)
            with mock.patch.object(function, "_small", return_value=None):
                assert torch.equal(found, function.cosine(a, b, torch.bfloat16, False))


def test_what_it_returned_is_not_overwritten_by_the_next_call() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(16, 64, requires_grad=True), torch.randn(16, 64)
    first = safe_cosine(a, b)
    kept = first.detach().clone()
    safe_cosine(torch.randn(16, 64), b)
    assert torch.equal(first, kept)
    first.sum().backward()
    x = a.detach().clone().requires_grad_()
    safe_cosine(x, b).sum().backward()
    assert a.grad is not None
    assert x.grad is not None
    assert torch.equal(a.grad, x.grad)
