"""What the tests of this folder rely on: true of a GPU, and so of the double."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conftest import IS_DOUBLE, Waiting

double_only = pytest.mark.skipif(not IS_DOUBLE, reason="a GPU need not be slow, nor need there be two")


def cuda(*shape: int, index: int = 0) -> Tensor:
    return torch.ones(*shape, device=torch.device("cuda", index))


REFUSED: dict[str, Callable[[], Any]] = {
    "addition": lambda: cuda(3) + torch.ones(3),
    "product": lambda: cuda(2, 2) @ torch.ones(2, 2),
    "concatenation": lambda: torch.cat([cuda(2), torch.ones(2)]),
    "in place": lambda: cuda(2).add_(torch.ones(2)),
    "layer": lambda: nn.Linear(2, 2)(cuda(1, 2)),
    "index of the device": lambda: torch.ones(3)[torch.tensor([0], device="cuda")],
    "embedding": lambda: F.embedding(torch.tensor([0]), cuda(2, 2)),
    "out": lambda: torch.add(cuda(2), cuda(2), out=torch.empty(2)),
    "generator": lambda: torch.randn(2, device="cuda", generator=torch.Generator()),
    "numpy": lambda: cuda(2).numpy(),
    "product of integers": lambda: cuda(2, 2).long() @ cuda(2, 2).long(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_gpu_refuses(name: str) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        REFUSED[name]()


@double_only
def test_two_devices_are_refused_and_copied() -> None:
    with pytest.raises(RuntimeError, match="cuda:0 and cuda:1"):
        cuda(2) + cuda(2, index=1)
    assert (cuda(2) + cuda(2, index=1).to("cuda:0")).tolist() == [2.0, 2.0]


ACCEPTED: dict[str, Callable[[], Tensor]] = {
    "a number of the host": lambda: cuda(3) * torch.tensor(2.0) - 1,
    "an index of the host": lambda: cuda(3)[torch.tensor([0, 1, 2])],
    "a mask of the host": lambda: cuda(3)[torch.tensor([True] * 3)],
    "out": lambda: torch.add(cuda(3), 0.0, out=torch.empty(0, device="cuda")),
    "a view": lambda: cuda(3, 2).t()[0],
    "storage": lambda: torch.empty(0, device="cuda").set_(cuda(3).untyped_storage())[:3],
    "deep copies": lambda: cuda(3).clone().detach().contiguous(),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_a_gpu_accepts(name: str) -> None:
    result = ACCEPTED[name]()
    assert result.is_cuda and result.tolist() == [1.0, 1.0, 1.0]


@double_only
@pytest.mark.parametrize(
    ("values", "unread"), [(torch.ones(2), None), (torch.ones(2, dtype=torch.int64), [-99, -99])], ids=["fp32", "int64"]
)
def test_a_copy_that_nobody_waited_for_holds_something_else(values: Tensor, unread: list[int] | None) -> None:
    early = values.to("cuda").to("cpu", non_blocking=True)
    assert bool(early.isnan().all()) if unread is None else early.tolist() == unread
    torch.cuda.synchronize()
    assert torch.equal(early, values)


def test_waits(no_wait: Waiting) -> None:
    x = cuda(4, 4)
    with no_wait():
        y = torch.where(x > 0, x @ x, 0.0).sum(0).softmax(0)
        x[0] = 2.0
        torch.full((3,), 2.0, device="cuda")
    waiting: list[Callable[[], Any]] = [lambda: float(y[0]), y.cpu, y.tolist, lambda: bool(y.any()), lambda: x[x > 0]]
    for wait in waiting:
        with pytest.raises((AssertionError, RuntimeError)), no_wait():
            wait()


def test_backward_runs_in_a_thread_of_the_device() -> None:
    threads: list[int] = []
    x = cuda(2).requires_grad_()
    y = x * 2
    y.register_hook(lambda g: threads.append(threading.get_ident()))
    y.sum().backward()
    assert threads and threads[0] != threading.get_ident()
    assert x.grad is not None and x.grad.is_cuda and x.grad.tolist() == [2.0, 2.0]


def test_random_numbers_belong_to_the_device() -> None:
    torch.manual_seed(3)
    host, first = torch.random.get_rng_state(), torch.randn(4, device="cuda")
    assert torch.equal(torch.random.get_rng_state(), host)
    torch.manual_seed(3)
    assert torch.equal(torch.randn(4, device="cuda"), first)
    own = torch.Generator("cuda").manual_seed(5)
    drawn = torch.rand(4, device="cuda", generator=own)
    assert torch.equal(torch.rand(4, device="cuda", generator=own.manual_seed(5)), drawn)


def test_autocast_and_the_scaler_of_gradients() -> None:
    model = nn.Linear(4, 2).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0)
    with torch.autocast("cuda", torch.float16):
        out = model(cuda(3, 4))
    assert out.dtype == torch.float16
    scaler.scale(out.float().square().sum()).backward()
    before = model.weight.detach().clone()
    scaler.step(optimizer)
    scaler.update()
    assert not torch.equal(before, model.weight)


def test_saved_tensors_come_back_to_their_device(tmp_path: Path) -> None:
    torch.save({"w": cuda(2)}, tmp_path / "w.pt")
    assert torch.load(tmp_path / "w.pt")["w"].is_cuda
    assert torch.load(tmp_path / "w.pt", map_location="cpu")["w"].tolist() == [1.0, 1.0]
