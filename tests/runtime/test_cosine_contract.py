"""Shapes, dtypes, errors, undefined values, gradients and every way torch can run a function."""

from __future__ import annotations

import math
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from fa_lint_runtime import (
    SafeCosineSimilarity,
    UndefinedCosineError,
    safe_angle,
    safe_cosine,
    safe_cosine_matrix,
    safe_cosine_similarity,
    safe_norm,
    safe_unit,
)
from fa_lint_runtime.kernels import blocked, compensated, composite, workers
from fa_lint_runtime.kernels.workspace import workspace

PAIRWISE = [safe_cosine, safe_angle]

_FILTER = pytest.mark.filterwarnings


def torch_deprecates_itself(test: object) -> object:
    """torch 2.13 uses functions of its own that it deprecates, inside forward-mode AD and the compiler."""
    test = _FILTER("ignore:.*torch.jit.*deprecated.*:DeprecationWarning")(test)  # type: ignore[arg-type]
    return _FILTER("ignore:.*torch._prims_common.check.*:FutureWarning")(test)  # type: ignore[arg-type]


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("function", PAIRWISE)
@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
def test_any_dim_and_layout(function: object, dim: int) -> None:
    a, b = torch.randn(4, 6, 5), torch.randn(5, 6, 4).mT.movedim(0, 1).movedim(2, 0).contiguous().view(4, 6, 5)
    expected = function(a.movedim(dim, -1).contiguous(), b.movedim(dim, -1).contiguous())  # type: ignore[operator]
    assert torch.equal(function(a, b, dim), expected)  # type: ignore[operator]
    assert torch.equal(function(a.mT, b.mT, dim), function(a.mT.contiguous(), b.mT.contiguous(), dim))  # type: ignore[operator]


def test_broadcasting_counts_dim_in_the_common_shape() -> None:
    a, b = torch.randn(7, 1, 5), torch.randn(3, 5)
    assert safe_cosine(a, b).shape == (7, 3)
    assert torch.equal(safe_cosine(a, b), safe_cosine(a.expand(7, 3, 5).contiguous(), b.expand(7, 3, 5).contiguous()))
    assert safe_cosine(torch.randn(5), torch.randn(4, 5), dim=0).shape == (5,)
    assert safe_cosine(a, b, keepdim=True).shape == (7, 3, 1)
    assert safe_cosine(a, b, dim=0, keepdim=True).shape == (1, 3, 5)


def test_large_strided_operands_go_through_slabs() -> None:
    a, b = torch.randn(40, 300, 130)[:, ::2], torch.randn(300, 40, 130).transpose(0, 1)[:, ::2]
    assert torch.equal(safe_cosine(a, b), safe_cosine(a.contiguous(), b.contiguous()))
    x, y = torch.randn(2, 1500, 1200)[:, ::2, ::2], torch.randn(2, 1500, 1200)[:, ::2, ::2]
    assert torch.equal(safe_cosine(x, y), safe_cosine(x.contiguous(), y.contiguous()))
    x.requires_grad_()
    (strided,) = torch.autograd.grad(safe_cosine(x, y).sum(), x)
    z = x.detach().contiguous().requires_grad_()
    (plain,) = torch.autograd.grad(safe_cosine(z, y).sum(), z)
    assert torch.equal(strided, plain)


def test_small_and_empty_inputs() -> None:
    assert safe_cosine(torch.tensor(3.0), torch.tensor(-2.0)).item() == -1.0
    assert safe_cosine(torch.tensor(3.0), torch.tensor(-2.0), keepdim=True).shape == ()
    assert torch.isnan(safe_cosine(torch.empty(4, 0), torch.empty(4, 0))).all()
    assert safe_cosine(torch.empty(0, 4), torch.empty(0, 4)).shape == (0,)
    assert torch.isnan(safe_cosine(double(4, 0), double(4, 0), exact=True)).all()
    assert safe_norm(torch.tensor(-3.0)).item() == 3.0
    assert torch.equal(safe_norm(torch.empty(4, 0)), torch.zeros(4))
    assert safe_unit(torch.tensor(-3.0)).item() == -1.0
    assert safe_unit(torch.empty(3, 0)).shape == (3, 0)
    assert safe_angle(torch.tensor(1.0), torch.tensor(-1.0)).item() == pytest.approx(math.pi)
    assert safe_cosine_matrix(torch.empty(0, 3), torch.randn(2, 3)).shape == (0, 2)


def test_dtypes_of_results() -> None:
    a = torch.randn(3, 8)
    assert safe_cosine(a.half(), a.bfloat16()).dtype == torch.float32
    assert safe_cosine(a.half(), a.double()).dtype == torch.float64
    assert safe_cosine(a.to(torch.float8_e4m3fn), a.to(torch.float8_e5m2)).dtype == torch.float32
    assert safe_norm(a.bfloat16()).dtype == torch.bfloat16
    assert safe_angle(a.half(), a).dtype == torch.float32
    assert safe_unit(a.double()).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64])
@pytest.mark.parametrize(
    "call", [lambda x: safe_cosine(x, x), safe_norm, safe_unit, lambda x: safe_angle(x, x), safe_cosine_matrix]
)
def test_other_dtypes_are_refused_with_advice(dtype: torch.dtype, call: object) -> None:
    with pytest.raises(TypeError, match=r"view_as_real|convert it"):
        call(torch.ones(2, 2).to(dtype))  # type: ignore[operator]


def test_complex_advice_is_the_real_part_convention() -> None:
    a, b = torch.randn(3, 5, dtype=torch.complex64), torch.randn(3, 5, dtype=torch.complex64)
    real = safe_cosine(torch.view_as_real(a).flatten(-2), torch.view_as_real(b).flatten(-2))
    expected = (a.conj() * b).sum(-1).real / (a.norm(dim=-1) * b.norm(dim=-1))
    torch.testing.assert_close(real, expected)


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match=r"torch\.Tensor, got list"):
        safe_cosine([1.0], torch.ones(1))  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="dim must be in"):
        safe_cosine(torch.ones(2), torch.ones(2), dim=1)
    with pytest.raises(ValueError, match="undefined must be"):
        safe_cosine(torch.ones(2), torch.ones(2), undefined="zero")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="need"):
        safe_cosine_matrix(torch.ones(2), torch.ones(2))


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        ([0.0, 0.0], "b is a zero vector"),
        ([float("nan"), 1.0], "b holds a NaN"),
        ([1.0, float("-inf")], "b holds an inf"),
    ],
)
def test_undefined_raises_with_index_and_reason(vector: list[float], reason: str) -> None:
    a, b = torch.ones(2, 3, 2), torch.ones(2, 3, 2)
    b[1, 2] = torch.tensor(vector)
    assert torch.isnan(safe_cosine(a, b)).sum() == 1
    with pytest.raises(UndefinedCosineError, match=reason) as caught:
        safe_cosine(a, b, undefined="raise", keepdim=True)
    assert (caught.value.index, caught.value.count, caught.value.total) == ((1, 2), 1, 6)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.index, again.reason, str(again)) == (caught.value.index, caught.value.reason, str(caught.value))
    assert safe_cosine(a, a, undefined="raise").shape == (2, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("route", ["blocked", "composite", "compiled formula"])
def test_undefined_rows_carry_no_gradient(dtype: torch.dtype, route: str) -> None:
    a = torch.randn(5, 4, dtype=dtype)
    a[1], a[2, 0], a[3, 1] = 0, float("inf"), float("nan")
    b = torch.randn(5, 4, dtype=dtype)
    b[0, 0] = float("inf")
    a.requires_grad_()
    c = safe_cosine(a, b) if route == "blocked" else composite.cosine(a, b, 1, False)
    assert torch.isnan(c).tolist() == [True, True, True, True, False]
    (grad,) = torch.autograd.grad(c.nanmean(), a, create_graph=route == "compiled formula")
    assert torch.isfinite(grad).all()
    assert not grad[:4].any()
    assert grad[4].any()


@torch_deprecates_itself
@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e-160, 1e300, 1e306])
def test_gradcheck_and_gradgradcheck(scale: float) -> None:
    a, b = double(3, 6).requires_grad_(), double(3, 6).requires_grad_()

    def function(x: Tensor, y: Tensor) -> Tensor:
        return safe_cosine(x * scale, y)

    assert torch.autograd.gradcheck(function, (a, b), check_batched_grad=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, (a, b))


def test_gradcheck_of_the_others() -> None:
    a, b = double(3, 6).requires_grad_(), double(2, 6).requires_grad_()
    assert torch.autograd.gradcheck(safe_norm, (a,))
    assert torch.autograd.gradgradcheck(safe_norm, (a,))
    assert torch.autograd.gradcheck(safe_unit, (a,))
    assert torch.autograd.gradgradcheck(safe_unit, (a,))
    assert torch.autograd.gradcheck(lambda x, y: safe_angle(x, y[0]), (a, b))
    assert torch.autograd.gradcheck(safe_cosine_matrix, (a, b))
    assert torch.autograd.gradgradcheck(safe_cosine_matrix, (a, b))
    assert torch.autograd.gradcheck(lambda x: safe_cosine_matrix(x), (a,))


def test_gradient_is_finite_and_right_at_1e_minus_30() -> None:
    a = (torch.randn(256) * 1e-30).requires_grad_()
    b = torch.randn(256)
    (grad,) = torch.autograd.grad(safe_cosine(a, b), a)
    x = a.detach().double().requires_grad_()
    (true,) = torch.autograd.grad(torch.cosine_similarity(x * 1e30, b.double(), dim=-1), x)
    assert torch.isfinite(grad).all()
    assert float((grad - true).norm() / true.norm()) < 6e-8
    (old,) = torch.autograd.grad(torch.cosine_similarity(a, b, dim=-1), a)
    assert float((old - true).norm() / true.norm()) > 0.5


def test_same_tensor_twice_and_one_sided_gradients() -> None:
    a = torch.randn(4, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(safe_cosine(a, a).sum(), a)
    assert float(grad.abs().max()) < 1e-6
    (twice,) = torch.autograd.grad(safe_cosine(a, a).sum(), a, create_graph=True)
    assert float(twice.detach().abs().max()) < 1e-6
    b = torch.randn(8, requires_grad=True)
    (grad_b,) = torch.autograd.grad(safe_cosine(a.detach(), b).sum(), b)
    assert grad_b.shape == (8,)


def test_autocast_does_not_reach_it() -> None:
    a, b = torch.randn(64, 300) * 1e-12, torch.randn(64, 300)
    plain = [safe_cosine(a, b), safe_norm(a), safe_angle(a, b), safe_cosine_matrix(a, b), safe_unit(a)]
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            inside = [safe_cosine(a, b), safe_norm(a), safe_angle(a, b), safe_cosine_matrix(a, b), safe_unit(a)]
            mapped = torch.func.vmap(safe_cosine)(a, b)
        assert all(torch.equal(x, y) for x, y in zip(plain, inside, strict=True))
        torch.testing.assert_close(mapped, plain[0], rtol=1e-6, atol=1e-9)


@torch_deprecates_itself
def test_torch_func() -> None:
    a, b = double(5, 7), double(5, 7)
    torch.testing.assert_close(torch.func.vmap(safe_cosine)(a * 1e-200, b), safe_cosine(a, b))
    pairwise = torch.func.vmap(torch.func.vmap(safe_cosine, in_dims=(None, 0)), in_dims=(0, None))(a, b)
    torch.testing.assert_close(pairwise, safe_cosine_matrix(a, b))
    gradient = torch.func.vmap(torch.func.grad(safe_cosine))(a, b)
    a.requires_grad_()
    torch.testing.assert_close(gradient, torch.autograd.grad(safe_cosine(a, b).sum(), a)[0])
    value, tangent = torch.func.jvp(lambda x: safe_cosine(x, b), (a.detach(),), (b,))
    torch.testing.assert_close(value, safe_cosine(a.detach(), b))
    assert torch.isfinite(tangent).all()
    assert torch.isfinite(torch.func.hessian(lambda x: safe_cosine(x * 1e-100, b[0]))(a[0].detach() * 1e-3)).all()
    for function in (safe_norm, safe_unit):
        torch.testing.assert_close(torch.func.vmap(function)(a.detach()), function(a.detach()))
    with pytest.raises(RuntimeError, match="must look at values"):
        torch.func.vmap(lambda x, y: safe_cosine(x, y, undefined="raise"))(a.detach(), b)


def test_meta_and_fake_tensors() -> None:
    a, b = torch.empty(4, 1, 6, device="meta"), torch.empty(3, 6, device="meta")
    for function in PAIRWISE:
        result = function(a, b)
        assert result.is_meta
        assert result.shape == (4, 3)
    assert safe_norm(a, keepdim=True).shape == (4, 1, 1)
    assert safe_cosine_matrix(a, b).shape == (4, 1, 3)
    with FakeTensorMode() as mode:
        x = torch.randn(4, 6)
        assert safe_cosine(x, x).shape == (4,)
        assert safe_norm(mode.from_tensor(torch.ones(2, 3))).shape == (2,)
    with pytest.raises(RuntimeError, match="must look at values"):
        safe_cosine(a, b, undefined="raise")


@torch_deprecates_itself
@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_fullgraph(dynamic: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(safe_cosine, fullgraph=True, dynamic=dynamic)
    for scale, dtype in ((1.0, torch.float32), (1e-38, torch.float32), (1e-300, torch.float64), (1.0, torch.bfloat16)):
        a = (torch.randn(6, 33) * 1.0).to(dtype) * scale
        b = torch.randn(6, 33).to(dtype)
        torch.testing.assert_close(
            compiled(a, b), safe_cosine(a, b), rtol=1e-2 if dtype == torch.bfloat16 else 3e-7, atol=1e-12
        )
    a.requires_grad_()
    (compiled_grad,) = torch.autograd.grad(compiled(a, b).sum(), a)
    (eager_grad,) = torch.autograd.grad(safe_cosine(a, b).sum(), a)
    torch.testing.assert_close(compiled_grad, eager_grad)
    for function in (safe_norm, safe_unit, lambda x: safe_angle(x, x.flip(0)), safe_cosine_matrix):
        x = torch.randn(6, 33)
        torch.testing.assert_close(torch.compile(function, fullgraph=True, dynamic=dynamic)(x), function(x))


def test_inference_mode_then_training() -> None:
    workspace.views.clear()
    with torch.inference_mode():
        safe_cosine(torch.randn(3, 77), torch.randn(3, 77))
        safe_norm(torch.randn(3, 77))
    a = torch.randn(3, 77, requires_grad=True)
    safe_cosine(a, torch.randn(3, 77)).sum().backward()
    assert a.grad is not None


def test_parallel_rows_columns_and_user_threads_agree_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "PARALLEL_FROM", 1 << 20)
    cases = [(3000, 800), (3, 900_001), (1, 2_100_000)]
    threads = torch.get_num_threads()
    try:
        for rows, columns in cases:
            a, b = torch.randn(rows, columns), torch.randn(rows, columns)
            torch.set_num_threads(1)
            alone = safe_cosine(a, b)
            torch.set_num_threads(2)
            assert torch.equal(safe_cosine(a, b), alone)
            results: list[Tensor] = []
            users = [threading.Thread(target=lambda x=a, y=b, r=results: r.append(safe_cosine(x, y))) for _ in range(3)]
            for user in users:
                user.start()
            for user in users:
                user.join()
            assert all(torch.equal(r, alone) for r in results)
    finally:
        torch.set_num_threads(threads)


def test_a_failing_worker_is_heard() -> None:
    def work(share: object) -> None:
        raise OverflowError("from a worker")

    with pytest.raises(OverflowError, match="from a worker"):
        workers.run(work, [1, 2, 3], 2)


def test_gradients_of_parallel_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "PARALLEL_FROM", 1 << 20)
    a, b = torch.randn(3000, 800, requires_grad=True), torch.randn(3000, 800)
    (found,) = torch.autograd.grad(safe_cosine(a, b).sum(), a)
    x = a.detach().double().requires_grad_()
    (true,) = torch.autograd.grad(torch.cosine_similarity(x, b.double(), dim=-1).sum(), x)
    assert float((found - true).norm() / true.norm()) < 6e-8


def test_memory_stays_within_a_fixed_workspace() -> None:
    """No full fp64 copy: what is allocated during a call is a small part of the operands."""
    resource = pytest.importorskip("resource")
    a, b = torch.randn(200, 100_000), torch.randn(200, 100_000)
    safe_cosine(a[:4], b[:4])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.randn(30_000_000).sum()  # lift the high-water mark by a known amount: the meter works
    middle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    safe_cosine(a, b)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert middle >= before
    assert (after - middle) * 1024 < 40 << 20  # operands: 160 MB, their fp64 copies: 320 MB


@pytest.mark.parametrize("magnitude", [1e-45, 1e-40, 1e-30, 1e-10, 1.0, 1e20, 1e38])
def test_compensated_path_for_devices_without_fp64(magnitude: float) -> None:
    a = torch.randn(500, 64).clamp(-3, 3) * magnitude
    b = torch.randn(500, 64)
    found = compensated.cosine(a, b, 1, False)
    ok = ~torch.isnan(safe_cosine(a, b))
    assert torch.equal(torch.isnan(found), ~ok)
    assert float((found - safe_cosine(a, b))[ok].abs().max()) <= 6e-8
    x = a.clone().requires_grad_()
    (grad,) = torch.autograd.grad(compensated.cosine(x, b, 1, True).nansum(), x)
    (true,) = torch.autograd.grad(safe_cosine(x, b).nansum(), x)
    finite = torch.isfinite(true) & (true.abs() < 1e37)
    assert not torch.isnan(grad).any()
    torch.testing.assert_close(
        grad[finite], true[finite], rtol=1e-4, atol=2e-6 * float(true[finite].abs().max()) if finite.any() else 0.0
    )
    assert torch.isnan(compensated.cosine(torch.zeros(2, 0), torch.zeros(2, 0), 1, False)).all()


def test_norms_at_the_ends_of_the_range() -> None:
    tiny, big = torch.finfo(torch.float64).smallest_normal * 2.0**-52, torch.finfo(torch.float64).max
    x = torch.tensor(
        [[3 * tiny, 4 * tiny], [big / 2, big / 4], [0.0, 0.0], [float("inf"), 1.0], [float("nan"), 1.0]]
    ).double()
    x = torch.tensor([[3 * tiny, 4 * tiny], [0.6 * big, 0.8 * big * (1 - 2**-40)], [0.0, 0.0]], dtype=torch.float64)
    assert safe_norm(x)[0].item() == 5 * tiny
    assert safe_norm(x)[1].item() == pytest.approx(big, rel=1e-11)
    assert safe_norm(x)[2].item() == 0.0
    special = torch.tensor([[float("inf"), 1.0], [float("nan"), 1.0]])
    assert safe_norm(special)[0].item() == math.inf
    assert math.isnan(safe_norm(special)[1].item())
    half = torch.full((40_000,), 200.0, dtype=torch.float16)
    assert safe_norm(half).item() == 40_000.0
    torch.testing.assert_close(safe_norm(x, 1, True), safe_norm(x.requires_grad_(), 1, True), rtol=3e-16, atol=0)
    (grad,) = torch.autograd.grad(safe_norm(x)[2], x)
    assert not grad.any()


@pytest.mark.parametrize("true", [1e-12, 1e-8, 1e-3, 1.0, math.pi - 1e-9])
def test_angles_near_zero_and_pi(true: float) -> None:
    a = torch.tensor([1e-20, 0.0], dtype=torch.float64)
    b = torch.tensor([math.cos(true), math.sin(true)], dtype=torch.float64) * 1e15
    assert abs(safe_angle(a, b).item() - true) <= 5e-16
    assert safe_angle(b, b).item() == 0.0


def test_matrix_agrees_with_pairs_and_is_symmetric() -> None:
    a, b = torch.randn(1100, 40) * 1e-25, torch.randn(1030, 40) * 1e25
    matrix = safe_cosine_matrix(a, b)
    torch.testing.assert_close(matrix, safe_cosine(a[:, None], b[None]), rtol=0, atol=6e-8)
    own = safe_cosine_matrix(a)
    assert torch.equal(own, own.mT)
    assert torch.equal(own.diagonal(), torch.ones(1100))
    a[3] = 0
    assert torch.isnan(safe_cosine_matrix(a)[3]).all()
    assert torch.isnan(safe_cosine_matrix(a)[:, 3]).all()
    assert torch.isnan(safe_cosine_matrix(a)).sum() == 2 * 1100 - 1


@pytest.mark.slow
def test_dtensor_on_one_process(tmp_path: object) -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        a, b = torch.randn(8, 16), torch.randn(8, 16)
        for left, right in ((Shard(0), Shard(0)), (Shard(1), Shard(1)), (Replicate(), Shard(0))):
            x, y = distribute_tensor(a, mesh, [left]), distribute_tensor(b, mesh, [right])
            result = safe_cosine(x.requires_grad_(), y)
            torch.testing.assert_close(result.full_tensor().detach(), safe_cosine(a, b))
            (grad,) = torch.autograd.grad(result.sum(), x)
            assert grad.full_tensor().shape == a.shape
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_in_place_of_those_of_torch(dim: int) -> None:
    a, b = torch.randn(5, 7, requires_grad=True), torch.randn(5, 7)
    expected = F.cosine_similarity(a, b, dim=dim)
    module = SafeCosineSimilarity(dim=dim)
    for found in (safe_cosine_similarity(x1=a, x2=b, dim=dim), module(a, b), module(x1=a, x2=b)):
        torch.testing.assert_close(found, expected)
        assert torch.equal(found, safe_cosine(a, b, dim=dim))
    assert torch.equal(safe_cosine_similarity(a, b), safe_cosine(a, b, dim=1))
    assert (
        SafeCosineSimilarity().dim == nn.CosineSimilarity().dim and repr(module) == f"SafeCosineSimilarity(dim={dim})"
    )


@pytest.mark.filterwarnings("ignore")  # torch says of some of these layouts that they are in beta
@pytest.mark.parametrize("layout", ["coo", "csr", "mkldnn", "jagged", "nested"])
def test_layouts_without_plain_memory_are_refused_by_name(layout: str) -> None:
    x, plain = torch.ones(2, 4), torch.ones(2, 4)
    made = {
        "coo": x.to_sparse,
        "csr": x.to_sparse_csr,
        "mkldnn": x.to_mkldnn,
        "jagged": lambda: torch.nested.nested_tensor([torch.ones(4), torch.ones(3)], layout=torch.jagged),
        "nested": lambda: torch.nested.nested_tensor([torch.ones(4), torch.ones(3)]),
    }[layout]()
    for call in (lambda: safe_cosine(made, plain), lambda: safe_cosine(plain, made), lambda: safe_norm(made)):
        with pytest.raises(TypeError, match=r"^(a|b|x) (has the layout|is a nested)"):
            call()
