"""What holds bit by bit for every input, by hypothesis."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from fa_lint_runtime import safe_cosine

_NUMPY = {torch.float16: np.float16, torch.float32: np.float32, torch.float64: np.float64, torch.bfloat16: np.float32}
_BITS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    dtype = draw(st.sampled_from(list(_NUMPY)))
    length = draw(st.integers(1, 40))
    elements = st.floats(
        width={np.float16: 16, np.float32: 32, np.float64: 64}[_NUMPY[dtype]], allow_nan=False, allow_infinity=False
    )
    rows = hnp.arrays(_NUMPY[dtype], (2, length), elements=elements)
    a, b = torch.from_numpy(draw(rows)).to(dtype)
    top = torch.finfo(dtype).max
    return a.clamp(-top, top), b.clamp(-top, top)


def bitwise(x: Tensor, y: Tensor) -> bool:
    """Equal bits; +0 and -0 are the same value, and so are all NaNs."""
    return torch.equal(x.nan_to_num(7.0) + 0.0, y.nan_to_num(7.0) + 0.0)


@pytest.mark.numerics
@settings(max_examples=3000, deadline=None)
@given(pairs())
def test_invariants(pair: tuple[Tensor, Tensor]) -> None:
    a, b = pair
    c = safe_cosine(a, b)
    usable = bool(a.any()) and bool(b.any())
    assert bool(torch.isnan(c)) == (not usable)
    assert not bool(c.abs() > 1)
    assert bitwise(c, safe_cosine(b, a))
    assert bitwise(-c, safe_cosine(-a, b))
    assert bitwise(-c, safe_cosine(a, -b))
    if bool(a.any()):
        assert safe_cosine(a, a).item() == 1.0
        assert safe_cosine(a, -a).item() == -1.0
    for exponent in (-3, 5):
        scaled = a * 2.0**exponent
        if torch.equal(scaled * 2.0**-exponent, a) and bool(torch.isfinite(scaled).all()):
            assert bitwise(c, safe_cosine(scaled, b))


@pytest.mark.numerics
@settings(max_examples=1000, deadline=None)
@given(pairs())
def test_gradients_are_never_nan(pair: tuple[Tensor, Tensor]) -> None:
    a, b = (x.clone().requires_grad_() for x in pair)
    ga, gb = torch.autograd.grad(safe_cosine(a, b).nan_to_num(), (a, b))
    assert not bool(torch.isnan(ga).any())
    assert not bool(torch.isnan(gb).any())


@pytest.mark.parametrize("dtype", list(_BITS), ids=str)
def test_rows_do_not_depend_on_their_neighbours(dtype: torch.dtype) -> None:
    a, b = torch.randn(300, 1030).to(dtype), torch.randn(300, 1030).to(dtype)
    together = safe_cosine(a, b)
    alone = torch.stack([safe_cosine(x, y) for x, y in zip(a, b, strict=True)])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("exponent", [-1000, -500, 400, 900])
def test_power_of_two_scaling_in_double_far_outside_the_squares(exponent: int) -> None:
    a, b = torch.randn(50, 33, dtype=torch.float64), torch.randn(50, 33, dtype=torch.float64)
    for exact in (False, True):
        assert torch.equal(safe_cosine(a * 2.0**exponent, b, exact=exact), safe_cosine(a, b, exact=exact))
