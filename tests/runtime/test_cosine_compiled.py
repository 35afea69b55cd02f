"""The compiled kernels against the blocked path, which is their oracle; and every way of not having them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from test_cosine_properties import bitwise, pairs
from torch import Tensor

from fa_lint_runtime import safe_cosine
from fa_lint_runtime.kernels import blocked, compiled, small

numba = pytest.importorskip("numba")

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "FROM", 1)
    monkeypatch.setattr(small, "ELEMENTS", 0)


def by(path: object, a: Tensor, b: Tensor, exactly: bool = False) -> Tensor:
    out = torch.empty(len(a), dtype=a.dtype)
    path.cosine(a, b, out, exactly)  # type: ignore[attr-defined]
    return out


def gradients(path: object, a: Tensor, b: Tensor, upstream: Tensor) -> list[Tensor]:
    numbers, _ = path.cosine(a, b, torch.empty(len(a), dtype=a.dtype), False)  # type: ignore[attr-defined]
    grads = torch.full_like(a, 7.0).contiguous(), torch.full_like(b, 7.0).contiguous()
    path.cosine_backward(a, b, numbers, upstream.double().numpy(), grads)  # type: ignore[attr-defined]
    return list(grads)


def test_it_is_taken_where_it_pays_and_nowhere_else() -> None:
    a = torch.randn(256, 256)
    assert compiled.usable(a, a, torch.float32)
    assert not compiled.usable(a[:255], a[:255], torch.float32)
    assert not compiled.usable(a, a.double(), torch.float64)
    assert not compiled.usable(a.bfloat16(), a, torch.float32)
    assert not compiled.usable(a, torch._neg_view(a), torch.float32)
    assert torch.equal(safe_cosine(a, torch._neg_view(a)), torch.full((256,), -1.0))


@pytest.mark.numerics
@settings(max_examples=500, deadline=None)
@given(pairs())
def test_bits_do_not_depend_on_the_path(pair: tuple[Tensor, Tensor]) -> None:
    a, b = (x.reshape(1, -1) for x in pair)
    if a.dtype == torch.float64:
        a, b = a.clamp(-1e38, 1e38).float(), b.clamp(-1e38, 1e38).float()
    for exactly in (False, True):
        assert bitwise(by(compiled, a, b, exactly), by(blocked, a, b, exactly))
        assert bitwise(by(compiled, a, -a, exactly), by(blocked, a, -a, exactly))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(700, 1), (700, 3), (70, 2047), (70, 2049), (3, 300_001), (1, 2_100_001)], ids=str)
def test_bits_do_not_depend_on_the_path_at_any_length(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    a, b = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    b[0] = a[0]
    assert torch.equal(by(compiled, a, b), by(blocked, a, b))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_near_orthogonal_and_undefined_rows(dtype: torch.dtype) -> None:
    """Cosines that the kernels must hand over (below the floor, cancelled to zero), zeros, inf and NaN."""
    a, b = torch.randn(300, 40).to(dtype), torch.randn(300, 40).to(dtype)
    b[10:25, 0::20] *= 2.0**-7
    a[:100] = torch.cat([b[:100, 20:], -b[:100, :20]], 1)  # exactly orthogonal
    a[10:25, 0] *= 1 + torch.finfo(dtype).eps  # in fp32 a cosine of some 1e-13, which nobody certifies
    a[100] = 0
    a[101, 3], b[102, 4], b[103, 5] = float("inf"), float("-inf"), float("nan")
    a[104, :20], b[104, 20:] = 0, 0
    for exactly in (False, True):
        found, expected = by(compiled, a, b, exactly), by(blocked, a, b, exactly)
        assert bitwise(found, expected)
        assert torch.isnan(found).nonzero().flatten().tolist() == [100, 101, 102, 103]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_value_of_two_bytes_and_the_ends_of_fp32_are_read_right(dtype: torch.dtype) -> None:
    if dtype == torch.float32:
        info = torch.finfo(dtype)
        x = torch.tensor([1e-45, 3e-40, info.tiny, 1.0, 1 + info.eps, info.max, float("inf"), float("nan"), 0.0])
    else:
        x = torch.arange(-32_768, 32_768).to(torch.int16).view(dtype)
    one = torch.ones(len(x), 1, dtype=dtype)
    kernels = compiled._kernels(dtype)
    assert kernels is not None
    numbers = compiled._gram(kernels, compiled._operand(x[:, None]), compiled._operand(one))
    assert bitwise(torch.from_numpy(numbers[:, 0].copy()), x.double())
    assert bitwise(torch.from_numpy(numbers[:, 1].copy()), x.double() ** 2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients_are_those_of_the_blocked_path(dtype: torch.dtype) -> None:
    """To an ulp of the dtype (a last bit of the fp64 factors may differ), from subnormal to overflowing ones."""
    for magnitude in (1e-42, 1e-30, 1e-6, 1.0, 1e4):
        a, b = (torch.randn(60, 3000) * magnitude).to(dtype), torch.randn(60, 3000).to(dtype)
        upstream = torch.randn(60)
        upstream[7] = 0
        a[8], b[9, 0] = 0, float("inf")
        for found, expected in zip(
            gradients(compiled, a, b, upstream), gradients(blocked, a, b, upstream), strict=True
        ):
            assert not torch.isnan(found).any()
            assert not found[7:10].any()
            assert torch.equal(torch.isinf(found), torch.isinf(expected))
            info = torch.finfo(dtype)
            torch.testing.assert_close(
                found, expected, rtol=info.eps, atol=info.smallest_normal * info.eps, equal_nan=True
            )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_gradients_round_as_torch_does(dtype: torch.dtype) -> None:
    """With orthogonal unit vectors grad a is upstream * b: one product, to be rounded over the whole range."""
    a, b = torch.zeros(1, 40_002, dtype=dtype), torch.zeros(1, 40_002, dtype=dtype)
    a[0, 0] = b[0, 1] = 1
    for upstream in (1.0, 2.0**-12, 3e-8, 1 / 3, 65_519.99, 65_520.0, 1e30, -1e-39, 1e-45, -1e300, float("nan")):
        weight = torch.tensor([upstream], dtype=torch.float64)
        (found, _), (expected, _) = (gradients(path, a, b, weight) for path in (compiled, blocked))
        assert bitwise(found, expected), upstream


def test_one_gradient_alone_and_double_backward(always: None) -> None:
    a, b = torch.randn(20, 30, requires_grad=True), torch.randn(20, 30, requires_grad=True)
    both = torch.autograd.grad(safe_cosine(a, b).sum(), (a, b))
    assert torch.equal(torch.autograd.grad(safe_cosine(a, b.detach()).sum(), a)[0], both[0])
    assert torch.equal(torch.autograd.grad(safe_cosine(a.detach(), b).sum(), b)[0], both[1])
    (first,) = torch.autograd.grad(safe_cosine(a, b).sum(), a, create_graph=True)
    assert torch.autograd.grad(first.square().sum(), a)[0].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_layouts(always: None, dtype: torch.dtype) -> None:
    """Rows apart, columns apart, rows side by side, mixtures, expanded rows: the bits of contiguous copies."""
    x, y = torch.randn(90, 700).to(dtype), torch.randn(90, 700).to(dtype)
    layouts = [
        (x.T, y.T),
        (x.T, y.T.contiguous()),
        (x[:, ::2], y[:, 1::2]),
        (x[::3, :50], y[1::3, 5:55]),
        (x[:1].expand(90, 700), y),
        (x[:, :1].expand(90, 700), y[:, :1].expand(90, 700)),
        (x[:, :1], y[:, 1:2]),
        (x[:1].T, y[:1].T),
        (x.view(9, 10, 700).movedim(1, 2), y.view(9, 10, 700).movedim(1, 2)),
    ]
    for a, b in layouts:
        assert torch.equal(safe_cosine(a, b), safe_cosine(a.contiguous(), b.contiguous()))
        p, q = a.detach().requires_grad_(), a.detach().contiguous().requires_grad_()
        (strided,) = torch.autograd.grad(safe_cosine(p, b).float().nansum(), p)
        (plain,) = torch.autograd.grad(safe_cosine(q, b.contiguous()).float().nansum(), q)
        torch.testing.assert_close(strided, plain, rtol=torch.finfo(dtype).eps, atol=1e-7)


def test_deterministic_for_any_number_of_threads_and_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "PARALLEL_FROM", 1)
    monkeypatch.setattr(compiled, "GRAIN", 65_536)
    threads = torch.get_num_threads()
    try:
        for a, b in (
            (torch.randn(3000, 100), torch.randn(3000, 100)),
            (torch.randn(3, 400_001), torch.randn(3, 400_001)),
            (torch.randn(100, 3000).T, torch.randn(100, 3000).T),
            (torch.randn(3000, 200)[:, ::2], torch.randn(3000, 200)[:, ::2]),
        ):
            weight = torch.randn(len(a))
            torch.set_num_threads(1)
            alone, grads = by(compiled, a, b), gradients(compiled, a, b, weight)
            torch.set_num_threads(3)
            results: list[Tensor] = []
            users = [
                threading.Thread(target=lambda x=a, y=b, r=results: r.append(by(compiled, x, y))) for _ in range(3)
            ]
            for user in users:
                user.start()
            for user in users:
                user.join()
            assert len(results) == 3
            assert all(torch.equal(r, alone) for r in results)
            again = gradients(compiled, a, b, weight)
            assert all(torch.equal(g, h) for g, h in zip(grads, again, strict=True))
    finally:
        torch.set_num_threads(threads)


def test_inside_autocast_inference_mode_and_no_grad(always: None) -> None:
    a, b = torch.randn(30, 50) * 1e-20, torch.randn(30, 50)
    plain = safe_cosine(a, b)
    for context in (torch.inference_mode(), torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16)):
        with context:
            assert torch.equal(safe_cosine(a, b), plain)
    with torch.inference_mode():
        x = torch.randn(30, 50).bfloat16()
        assert bool((safe_cosine(x, x) == 1).all())


def run(program: str, **environment: str) -> str:
    """In a process of its own: what numba does, it does once in a process."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


_REPORT = """
import torch
from fa_lint_runtime import safe_cosine
g = torch.Generator().manual_seed(5)
a, b = torch.randn(300, 400, generator=g), torch.randn(300, 400, generator=g)
from fa_lint_runtime.kernels import compiled
x = a.clone().requires_grad_()
torch.autograd.grad(safe_cosine(x, b).sum(), x)
print(compiled._kernels(torch.float32) is not None, safe_cosine(a, b).view(torch.int32).sum().item())
"""


def _bits() -> str:
    g = torch.Generator().manual_seed(5)
    a, b = torch.randn(300, 400, generator=g), torch.randn(300, 400, generator=g)
    return str(by(blocked, a, b).view(torch.int32).sum().item())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reason", "preparation", "available"),
    [
        ("not installed", "import sys; sys.modules['numba'] = None", False),
        ("no folder to write to", "import numba.core.caching as c; c.CacheImpl._locator_classes = []", True),
        ("a full disk", "import numba.core.caching as c\ndef save(*a): raise OSError(28, 'full')\n"
         "c.IndexDataCacheFile.save = save", True),
        ("a damaged cache", "import numba.core.caching as c\ndef load(*a): raise EOFError\n"
         "c.IndexDataCacheFile.load = load", True),
    ],
)  # fmt: skip
def test_same_numbers_whatever_is_lacking(reason: str, preparation: str, available: bool, tmp_path: Path) -> None:
    assert run(preparation + _REPORT, NUMBA_CACHE_DIR=str(tmp_path)) == f"{available} {_bits()}"


@pytest.mark.slow
def test_switched_off_and_failing_compilers() -> None:
    assert run(_REPORT, NUMBA_DISABLE_JIT="1") == f"False {_bits()}"
    program = "from fa_lint_runtime.kernels import numba_device as d\ndef gram(*a): raise ValueError('no target')\n"
    program += "d.gram = gram\nimport warnings; warnings.simplefilter('ignore')" + _REPORT
    assert run(program) == f"False {_bits()}"
    with pytest.raises(
        AssertionError, match="numba cannot compile the cosine kernels, slower ones are used: no target"
    ):
        run(program.replace("'ignore'", "'error'"))


def test_numba_is_imported_only_when_it_pays() -> None:
    program = """
import sys
import torch
from fa_lint_runtime import safe_cosine, safe_norm
a = torch.randn(64, 64)
safe_cosine(a, a), safe_norm(torch.randn(1000, 1000)), safe_cosine(torch.randn(400, 400).double(), torch.randn(400, 400).double())
torch.func.vmap(safe_cosine)(torch.randn(400, 400), torch.randn(400, 400))
safe_cosine(torch.empty(400, 400, device="meta"), torch.empty(400, 400, device="meta"))
before = "numba" in sys.modules
safe_cosine(torch.randn(400, 400), torch.randn(400, 400))
print(before, "numba" in sys.modules)
"""
    assert run(program) == "False True"
