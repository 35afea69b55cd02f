"""The accuracy bars: at least 10,000 cases a dtype over the whole exponent range, against an exact oracle."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import runtime_oracle as oracle
import torch
from torch import Tensor

from fa_lint_runtime import safe_cosine
from fa_lint_runtime.kernels import compiled

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LENGTHS = {1: 260, 2: 380, 3: 380, 8: 360, 17: 320, 64: 300, 257: 120, 1000: 30, 4096: 6, 65537: 1}
CORRECTLY_ROUNDED = 0.5 + 1e-6  # the oracle itself is good to 1e-8 ulp of fp32

Pair = tuple[Tensor, Tensor]


def _scales(rows: int, low: float, high: float, g: torch.Generator) -> Tensor:
    return torch.exp2(low + (high - low) * torch.rand(rows, 1, generator=g, dtype=torch.float64))


def _randn(rows: int, length: int, g: torch.Generator) -> Tensor:
    return torch.randn(rows, length, generator=g, dtype=torch.float64)


def _range(dtype: torch.dtype) -> tuple[float, float]:
    info = torch.finfo(dtype)
    return math.log2(info.smallest_normal) + math.log2(info.eps), math.log2(info.max)


def unit(r: int, n: int, t: torch.dtype, g: torch.Generator) -> Pair:
    return _randn(r, n, g), _randn(r, n, g)


def any_scale(r: int, n: int, t: torch.dtype, g: torch.Generator) -> Pair:
    low, high = _range(t)
    return _randn(r, n, g) * _scales(r, low + 2, high - 4, g), _randn(r, n, g) * _scales(r, low + 2, high - 4, g)


def subnormal(r: int, n: int, t: torch.dtype, g: torch.Generator) -> Pair:
    low, _ = _range(t)
    return _randn(r, n, g) * 2.0 ** (low + 3), _randn(r, n, g) * 2.0 ** (low + 3)


def huge(r: int, n: int, t: torch.dtype, g: torch.Generator) -> Pair:
    top = float(torch.finfo(t).max)
    return (torch.rand(r, n, generator=g, dtype=torch.float64) * 2 - 1) * top, _randn(r, n, g).clamp(-4, 4) * (top / 4)


def near_parallel(r: int, n: int, t: torch.dtype, g: torch.Generator) -> Pair:
    a = _randn(r, n, g)
    return a, (a + _randn(r, n, g) * _scales(r, -30, -2, g)) * _scales(r, -8, 8, g)


def same(r: int, n: int, t: torch.dtype, g: torch.Generator) -> Pair:
    a = _randn(r, n, g).to(t).double()
    signs = torch.where(torch.rand(r, 1, generator=g) < 0.5, -1.0, 1.0).double()
    return a, a * signs * torch.exp2(torch.randint(-3, 4, (r, 1), generator=g).double())


def near_orthogonal(r: int, n: int, t: torch.dtype, g: torch.Generator) -> Pair:
    a, b = _randn(r, n, g).to(t).double(), _randn(r, n, g)
    b = b - (a * b).sum(1, keepdim=True) / (a * a).sum(1, keepdim=True) * a
    return a, b + a * _scales(r, -40, 0, g)


def full_range(r: int, n: int, t: torch.dtype, g: torch.Generator) -> Pair:
    low, high = _range(t)

    def draw() -> Tensor:
        exponents = low + (high - low - 2) * torch.rand(r, n, generator=g, dtype=torch.float64)
        return torch.exp2(exponents) * torch.where(torch.rand(r, n, generator=g) < 0.5, -1.0, 1.0)

    return draw(), draw()


def sparse(r: int, n: int, t: torch.dtype, g: torch.Generator) -> Pair:
    a, b = any_scale(r, n, t, g)
    return a * (torch.rand(r, n, generator=g) < 0.3), b * (torch.rand(r, n, generator=g) < 0.3)


def small_integers(r: int, n: int, t: torch.dtype, g: torch.Generator) -> Pair:
    def draw() -> Tensor:
        return torch.randint(-3, 4, (r, n), generator=g).double()

    return draw(), draw()


CATEGORIES: list[Callable[[int, int, torch.dtype, torch.Generator], Pair]] = [
    unit, any_scale, subnormal, huge, near_parallel, same, near_orthogonal, full_range, sparse, small_integers,
]  # fmt: skip


def _finite(x: Tensor, dtype: torch.dtype) -> Tensor:
    top = float(torch.finfo(dtype).max)
    return x.clamp(-top, top).to(dtype)


def _cases(dtype: torch.dtype) -> list[tuple[str, int, Tensor, Tensor]]:
    cases = []
    for number, category in enumerate(CATEGORIES):
        for length, rows in LENGTHS.items():
            g = torch.Generator().manual_seed(1000 * number + length)
            a, b = category(rows, length, dtype, g)
            cases.append((category.__name__, length, _finite(a, dtype), _finite(b, dtype)))
    for category in (unit, any_scale, near_parallel):
        a, b = category(1, 1_000_000, dtype, torch.Generator().manual_seed(7))
        cases.append((category.__name__, 1_000_000, _finite(a, dtype), _finite(b, dtype)))
    return cases


@pytest.mark.numerics
@pytest.mark.parametrize(
    ("dtype", "path"),
    [*((dtype, "blocked") for dtype in DTYPES), *((dtype, "compiled") for dtype in DTYPES[:3])],
    ids=str,
)
def test_sweep(
    dtype: torch.dtype, path: str, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    if path == "compiled":
        pytest.importorskip("numba")
    monkeypatch.setattr(compiled, "FROM", 1 if path == "compiled" else 1 << 62)
    worst_ulp = worst_ulp_exact = 0.0
    worst_absolute: dict[bool, float] = {False: 0.0, True: 0.0}
    defined_cases = undefined_cases = 0
    for name, length, a, b in _cases(dtype):
        high, low = oracle.cosines(a, b)
        plain, exact = safe_cosine(a, b), safe_cosine(a, b, exact=True)
        undefined = np.isnan(high)
        assert np.array_equal(torch.isnan(plain).numpy(), undefined), (name, length)
        assert np.array_equal(torch.isnan(exact).numpy(), undefined), (name, length)
        keep = ~undefined
        defined_cases += int(keep.sum())
        undefined_cases += int(undefined.sum())
        if not keep.any():
            continue
        index = torch.from_numpy(np.flatnonzero(keep))
        high, low, plain, exact = high[keep], low[keep], plain[index], exact[index]
        assert bool((plain.abs() <= 1).all())
        assert bool((exact.abs() <= 1).all())
        if dtype == torch.float64:
            error = np.abs((plain.numpy() - high) - low).max()
            long = length > 4096
            worst_absolute[long] = max(worst_absolute[long], float(error))
            bar = np.abs(high) >= 1e-15
        else:
            bar = np.ones(len(high), dtype=bool)
            certified = np.abs(high) >= 1e-9
            if certified.any():
                worst = float(oracle.ulps(plain, high, low)[certified].max())
                assert worst <= CORRECTLY_ROUNDED, (name, length, worst)
                worst_ulp = max(worst_ulp, worst)
        if bar.any():
            worst = float(oracle.ulps(exact, high, low)[bar].max())
            assert worst <= CORRECTLY_ROUNDED, (name, length, worst)
            worst_ulp_exact = max(worst_ulp_exact, worst)
    record_property("cases", defined_cases)
    record_property("worst_ulp", worst_ulp)
    print(
        f"\n{dtype}, {path}: {defined_cases} cases (+{undefined_cases} undefined, all NaN); ulp {worst_ulp:.7f}, exact "
        f"{worst_ulp_exact:.7f}; "
        f"absolute {worst_absolute[False]:.2e} (D <= 4096), {worst_absolute[True]:.2e} (longer)"
    )
    assert defined_cases >= 10_000
    if dtype == torch.float64:
        assert worst_absolute[False] <= 4e-16
        assert worst_absolute[True] <= 4e-15


@pytest.mark.numerics
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_cosines_that_sit_on_a_rounding_boundary(dtype: torch.dtype) -> None:
    """(a, 1) against (1, 0) has cosine a / sqrt(a^2 + 1): many close to midpoints; each must fall on the right side."""
    g = torch.Generator().manual_seed(3)
    a = torch.stack([torch.rand(20_000, generator=g).to(dtype), torch.ones(20_000, dtype=dtype)], 1)
    b = torch.zeros_like(a)
    b[:, 0] = 1
    high, low = oracle.cosines(a, b)
    keep = np.abs(high) >= 1e-9
    assert oracle.ulps(safe_cosine(a, b), high, low)[keep].max() <= CORRECTLY_ROUNDED


@pytest.mark.numerics
@pytest.mark.parametrize("magnitude", [1e-37, 1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e20, 1e30])
def test_gradient(magnitude: float) -> None:
    """Norm-wise relative error at most 6e-8 in fp32, plain and compiled formula alike."""
    worst = 0.0
    for seed in range(12):
        g = torch.Generator().manual_seed(seed)
        a = (torch.randn(64, generator=g) * magnitude).requires_grad_()
        b = torch.randn(64, generator=g)
        true = torch.tensor(oracle.gradient(a.tolist(), b.tolist()), dtype=torch.float64)
        safe_cosine(a, b).backward()
        assert a.grad is not None
        worst = max(worst, float((a.grad.double() - true).norm() / true.norm()))
        (composite,) = torch.autograd.grad(safe_cosine(a, b), a, create_graph=True)
        worst = max(worst, float((composite.detach().double() - true).norm() / true.norm()))
    assert worst <= 6e-8


@pytest.mark.numerics
def test_gradient_near_parallel() -> None:
    g = torch.Generator().manual_seed(1)
    for _ in range(12):
        a = torch.randn(64, generator=g)
        b = (a + 1e-4 * torch.randn(64, generator=g)).requires_grad_(False)
        a.requires_grad_()
        true = torch.tensor(oracle.gradient(a.tolist(), b.tolist()), dtype=torch.float64)
        (found,) = torch.autograd.grad(safe_cosine(a, b), a)
        assert float((found.double() - true).norm() / true.norm()) <= 6e-8


@pytest.mark.numerics
@pytest.mark.parametrize("magnitude", [1e-300, 1e-200, 1e-100, 1.0, 1e100, 1e200, 1e300])
def test_gradient_in_double(magnitude: float) -> None:
    a = (torch.randn(32, dtype=torch.float64) * magnitude).requires_grad_()
    b = torch.randn(32, dtype=torch.float64)
    (found,) = torch.autograd.grad(safe_cosine(a, b), a)
    true = oracle.gradient(a.tolist(), b.tolist())
    scale = max(abs(t) for t in true)
    assert max(abs(f / scale - t / scale) for f, t in zip(found.tolist(), true, strict=True)) <= 2e-15
