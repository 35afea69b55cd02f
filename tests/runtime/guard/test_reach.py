"""What the guard sees into, and what it does not: names, threads, hooks, transforms, compiled code, other processes."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, acos, divide, nn
from torch.linalg import vector_norm
from torch.nn.functional import cosine_similarity, normalize
from torch.utils.checkpoint import checkpoint

from fa_lint_runtime import guard

SMALL = torch.tensor([[3e-10, 4e-10], [6e-10, 8e-10]])
FIXED = torch.tensor([[0.6, 0.8], [0.8, 0.6]])
TABLE = [
    F.cosine_similarity,
    functools.partial(F.cosine_similarity, FIXED, dim=1),
    functools.partial(torch.norm, p=2.0),
]


def low(x: Tensor, y: Tensor = FIXED) -> Tensor:
    return F.cosine_similarity(x, y, dim=-1)


LINE = low.__code__.co_firstlineno + 1


def lines(log: Any) -> list[tuple[str, int]]:
    return [(event.code, event.line) for event in log]


def test_names_bound_before_entry() -> None:
    default = low.__kwdefaults__
    with guard("record") as log:
        cosine_similarity(SMALL, FIXED)
        TABLE[0](SMALL, FIXED)
        TABLE[1](SMALL)
        TABLE[2](SMALL * 1e-16)
        normalize(SMALL * 1e-4)
        vector_norm(FIXED, -1)
        acos(FIXED + 0.5)
        list(map(torch.Tensor.half, [SMALL]))
        torch.ops.aten.cosine_similarity(SMALL, FIXED)
    assert default is None
    assert [event.code for event in log] == [
        "FAL202", "FAL202", "FAL202", "FAL203", "FAL203", "FAL101", "FAL204", "FAL302", "FAL202",
    ]  # fmt: skip
    assert len({event.line for event in log}) == 9


def test_a_cast_by_a_stored_method_is_seen_once_float16_is_in_play() -> None:
    stored = [torch.Tensor.half]
    with guard("record") as log:
        stored[0](SMALL)  # the documented blind spot: nothing has asked for float16 yet
        torch.ones(1).half()
        stored[0](SMALL)
    assert len(log) == 1


def test_numbers_of_python_may_be_cast() -> None:
    """They reach the hook as numbers, and leave it as numbers where the cast changes nothing."""
    casts: list[Any] = [
        lambda: torch.ops.aten.to.dtype(0.5, torch.float64),
        lambda: torch.ops.aten.to.dtype(0.5, torch.float16),
        lambda: torch.ops.aten.to.dtype(2, torch.int64),
        lambda: torch.ops.aten.to.dtype(True, torch.bool),
        lambda: torch.ops.aten.to.dtype(1j, torch.complex128),
        lambda: torch.ops.aten.to.other(0.5, torch.ones(2, dtype=torch.float64)),
    ]
    expected = [cast() for cast in casts]
    with guard("record") as log:
        torch.ones(1).half()  # from here on casts are hooked
        assert [cast() for cast in casts] == expected
    assert not log and not log.unchecked


def test_threads_of_the_user() -> None:
    with guard("record") as log:
        workers = [threading.Thread(target=low, args=(SMALL,)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert lines(log) == [("FAL202", LINE)]
    assert (log.events[0].calls, log.events[0].count, log.events[0].total) == (4, 8, 8)


class Custom(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1e-10

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        low(g * 1e-10)
        return g * 1e-10


@pytest.mark.parametrize("thorough", [False, True])
def test_backward_of_functions_and_tensor_hooks(thorough: bool) -> None:
    x = torch.ones(2, 2, requires_grad=True)
    with guard("record", thorough=thorough) as log:
        y = Custom.apply(x)
        y.sum().backward()
        z = x * 1.0
        z.register_hook(lambda g: (low(g * 1e-10), None)[1])
        torch.autograd.grad(z.sum(), x)
    assert lines(log) == [("FAL201", LINE)]
    assert log.events[0].backward
    assert log.events[0].calls == 2


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint_recomputation(reentrant: bool) -> None:
    x = torch.ones(2, 2, requires_grad=True)
    with guard("record") as log:
        checkpoint(lambda x: (low(x * 1e-10)[:, None] * x).exp(), x, use_reentrant=reentrant).sum().backward()
    assert lines(log)[0][1] == LINE
    assert log.events[0].calls == 2


def test_thorough_sees_more_spellings_also_in_backward() -> None:
    def hook(g: Tensor) -> None:
        torch.div(g * 0, g * 0)

    def program() -> None:
        z = (torch.ones(2, requires_grad=True) * 2).requires_grad_()
        z.register_hook(hook)
        z.sum().backward()
        torch.zeros(2).div(torch.zeros(2))
        torch.empty(2, 2, dtype=torch.float16).copy_(SMALL)

    with guard("record") as plain:
        program()
    with guard("record", thorough=True) as thorough:
        program()
    assert plain.codes == []
    assert sorted(event.code for event in thorough) == ["FAL302", "FAL405", "FAL405"]


def test_thorough_sees_a_cast_that_nothing_announced() -> None:
    stored = [torch.Tensor.half]
    with guard("record", thorough=True) as log:
        stored[0](SMALL)
        stored[0](SMALL)
    assert [(event.code, event.calls) for event in log] == [("FAL302", 1), ("FAL302", 1)]


QUOTIENTS = [torch.div, functools.partial(torch.true_divide, torch.zeros(2))]
ZERO = torch.zeros(2)


def test_thorough_sees_divisions_by_any_name() -> None:
    with guard("record", thorough=True) as log:
        QUOTIENTS[0](ZERO, ZERO)
        QUOTIENTS[1](ZERO)
        divide(ZERO, ZERO)
        ZERO.divide(ZERO)
        ZERO / ZERO
    assert [(event.code, event.calls, event.count) for event in log] == [("FAL405", 1, 2)] * 5


@pytest.mark.filterwarnings("ignore:cov")
def test_thorough_leaves_alone_what_torch_divides_on_the_way() -> None:
    x = torch.full((3,), float("nan"))
    with guard("record", thorough=True) as log:
        assert torch.nanmean(x).isnan()
        assert x.nanmean().isnan()
        assert torch.corrcoef(torch.ones(2, 4)).isnan().any()
        torch.ones(2) / ZERO
        torch.div(x, x)
        torch.div(ZERO, 3.0)
        F.normalize(torch.zeros(2, 2))
        torch.zeros(2, 2, dtype=torch.float16).copy_(FIXED)
    assert not log
    assert not log.unchecked


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transforms_of_torch_func() -> None:
    with guard("record") as log:
        torch.vmap(low)(SMALL, FIXED)
        torch.func.grad(lambda x: low(x).sum())(SMALL)
        torch.func.vmap(torch.func.grad(low))(SMALL, FIXED)
        torch.func.jvp(low, (SMALL,), (FIXED,))
        torch.func.jacrev(low)(SMALL)
        torch.vmap(torch.vmap(low, (None, 0)), (0, None))(SMALL, FIXED)
    assert lines(log) == [("FAL202", LINE)]
    event = log.events[0]
    assert event.calls == 6
    assert event.total == event.count == 2 + 2 + 2 + 2 + 2 + 4
    assert event.worst == pytest.approx(0.05)
    assert not log.unchecked


@pytest.mark.parametrize("in_dims", [(0, None), (1, 0), (-1, None)])
def test_batch_dimensions_anywhere(in_dims: tuple[int, int | None]) -> None:
    a, b = torch.randn(4, 4, 4) * 1e-9, torch.randn(4, 4)
    f = torch.vmap(lambda x, y: F.cosine_similarity(x, y, dim=0), in_dims)
    with guard("record") as log:
        f(a, b)
    event = log.events[0]
    shares = (a.movedim(in_dims[0], 0).norm(dim=1) / 1e-8).clamp(max=1)
    assert event.worst == pytest.approx(float(shares.min()), rel=1e-5)


def test_operands_that_broadcast_along_the_vectors() -> None:
    a, b = torch.full((4,), 1e-9), torch.randn(3, 5, 4)
    for f in (F.cosine_similarity, torch.vmap(F.cosine_similarity, (None, 0))):
        with guard("record") as log:
            f(a, b)
        dim = 1 if f is F.cosine_similarity else 2
        assert log.events[0].magnitude == pytest.approx(1e-9 * b.shape[dim] ** 0.5, rel=1e-5) or dim == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_inference_mode_and_scripted_code() -> None:
    scripted = torch.jit.trace(lambda x: F.cosine_similarity(x, FIXED, dim=1), (SMALL,), check_trace=False)
    with guard("record") as log:
        with torch.inference_mode():
            low(SMALL.clone())
        scripted(SMALL)
    assert len(log) == 2


def test_values_that_do_not_exist_are_counted_as_unchecked() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with guard("record") as log:
        low(SMALL.to("meta"), FIXED.to("meta"))
        with FakeTensorMode():
            low(torch.empty(2, 2), torch.empty(2, 2))
    assert not log
    assert sum(log.unchecked.values()) >= 1


def test_compiled_code_is_not_seen_and_runs_unchanged() -> None:
    compiled = torch.compile(low, backend="aot_eager", fullgraph=True)
    off = compiled(SMALL, FIXED)
    with guard("record") as log:
        assert torch.equal(compiled(SMALL, FIXED), off)
        fresh = torch.compile(lambda x: normalize(x).to(torch.float16) / x, backend="aot_eager", fullgraph=True)
        fresh(FIXED)
    assert not log
    with guard("record", force_eager=True) as log:
        compiled(SMALL, FIXED)
    assert lines(log) == [("FAL202", LINE)]


class Rows(torch.utils.data.Dataset[Tensor]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Tensor:
        low(SMALL)
        return SMALL[0]


def test_workers_of_a_loader_are_not_seen_and_not_disturbed() -> None:
    context = "fork" if "fork" in torch.multiprocessing.get_all_start_methods() else None
    with guard("error") as log:
        loader = torch.utils.data.DataLoader(Rows(), num_workers=1, multiprocessing_context=context)
        assert len(list(loader)) == 4
    assert not log
    with guard("record") as log:
        list(torch.utils.data.DataLoader(Rows()))
    assert lines(log) == [("FAL202", LINE)]


def test_data_parallel_and_ddp(tmp_path: Path) -> None:
    class Net(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            h = super().forward(x)
            if h.requires_grad:
                h.register_hook(lambda g: (low(g), None)[1])
            return h

    net = Net(2, 2)
    with guard("record") as log:
        (nn.DataParallel(net)(FIXED).mean() * 1e-9).backward()
    assert lines(log) == [("FAL201", LINE)]
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        with guard("record") as log:
            (nn.parallel.DistributedDataParallel(net)(FIXED).mean() * 1e-9).backward()
    finally:
        dist.destroy_process_group()
    assert lines(log) == [("FAL201", LINE)]


def test_a_module_calls_for_its_user() -> None:
    cosine = nn.CosineSimilarity(dim=1)
    with guard("record") as log:
        nn.Sequential(nn.Identity())(cosine(SMALL, FIXED))
        nn.Linear(2, 2).half()
        nn.Linear(2, 2).requires_grad_(False).apply(lambda m: m.weight.data.mul_(1e-12)).half()
    assert [event.function for event in log] == ["nn.CosineSimilarity", "Module.half"]
    assert {event.file for event in log} == {__file__}
