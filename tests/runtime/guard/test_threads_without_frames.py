"""Threads whose whole Python stack is the hook, as the backward threads of a CUDA device: here, C functions as threads."""

from __future__ import annotations

import _thread
import functools
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fa_lint_runtime import GuardEvent, guard

SMALL = torch.tensor([3e-10, 4e-10])


def on_a_bare_thread(function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function of C on a thread of its own; what it raises fails the test."""
    raised: list[BaseException | None] = []
    done, work = threading.Event(), functools.partial(function, *arguments)
    weakref.finalize(work, done.set)  # the thread drops it last
    hook, sys.unraisablehook = sys.unraisablehook, lambda info: raised.append(info.exc_value)
    try:
        _thread.start_new_thread(work, ())
        del work
        assert done.wait(60)
    finally:
        sys.unraisablehook = hook
    assert raised == []


def backward(loss: Tensor) -> None:
    """What ``loss.backward()`` calls in C, so that no Python frame of anybody's is on the thread."""
    engine: Any = torch.autograd.Variable._execution_engine
    on_a_bare_thread(engine.run_backward, (loss,), (torch.ones_like(loss),), False, False, (), True, True)


def flushes(events: Any) -> list[tuple[str, str, int]]:
    return [(e.kind, e.file, e.line) for e in events if e.kind == "gradient-flush"]


@pytest.mark.parametrize(
    ("function", "arguments", "kind"),
    [
        (torch.cosine_similarity, (SMALL, torch.ones(2), 0), "clamped-cosine"),
        (torch.cosine_embedding_loss, (SMALL[None], torch.ones(1, 2), torch.ones(1)), "floored-embedding-loss"),
        (torch._C._linalg.linalg_norm, (SMALL, -1), "negative-norm-order"),
        (torch.pairwise_distance, (SMALL[None], torch.ones(1, 2), -1.0), "negative-norm-order"),
        (torch.acos, (torch.tensor([1.5]),), "acos-out-of-range"),
        (torch._C._linalg.linalg_vector_norm, (SMALL * 1e-15,), "underflowed-norm"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_hook_works_where_it_is_the_whole_stack(
    function: Callable[..., Any], arguments: tuple[Any, ...], kind: str
) -> None:
    with guard("record") as log:
        on_a_bare_thread(function, *arguments)
    assert [(e.kind, e.file) for e in log] == [(kind, "<backward thread>")] and not log.unchecked


def test_a_gradient_that_flushes_lies_at_the_cast_of_the_forward_pass() -> None:
    model, x = nn.Linear(8, 4), torch.randn(3, 8)
    with guard("record") as log:
        with torch.autocast("cpu", torch.float16):
            y = model(x)
        loss = F.mse_loss(y.float(), torch.zeros(3, 4))
        line = sys._getframe().f_lineno - 1
        backward(loss * 1e-9)
    assert flushes(log) == [("gradient-flush", __file__, line)]
    assert model.weight.grad is not None and bool((model.weight.grad == 0).all())


def test_a_gradient_that_arrives_too_small_lies_at_the_cast_of_the_layer() -> None:
    x, first = torch.ones(4, 8), torch.full((8, 8), 0.1, requires_grad=True)
    second = torch.full((8, 2), 1e-4, requires_grad=True)
    with guard("record") as log:
        with torch.autocast("cpu", torch.float16):
            h = x @ first
            line = sys._getframe().f_lineno - 1
            y = h @ second
        backward((y.float() * 1e-5).sum())
    assert flushes(log) == [("gradient-flush", __file__, line)]


def small_half() -> Tensor:
    """A loss whose backward casts to float16 although no cast of the forward pass is at fault."""
    with torch.enable_grad():
        x = torch.ones(4, dtype=torch.float16, requires_grad=True)
        return (x * 1.0).sum(dtype=torch.float32) * 1e-9


def events_of_a_gradient(wanted: Callable[[], Any]) -> list[GuardEvent]:
    with guard("record", rules=["FAL301"]) as log:
        torch.ones(1).half()  # float16 is in play
        wanted()
    return log.events


def test_without_a_cast_it_lies_where_the_backward_pass_was_called() -> None:
    class OnAnotherThread(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            backward(small_half())
            return g

    line = sys._getframe().f_lineno + 1
    events = events_of_a_gradient(lambda: OnAnotherThread.apply(torch.ones(1, requires_grad=True)).backward())
    assert flushes(events) == [("gradient-flush", __file__, line)]


def test_two_backward_passes_from_two_lines_are_no_reason_to_guess() -> None:
    def inner(g: Tensor) -> None:
        backward(small_half())

    def outer(g: Tensor) -> None:
        with torch.enable_grad():
            x = torch.ones(1, requires_grad=True)
            x.register_hook(inner)
            x.sum().backward()

    x = torch.ones(1, requires_grad=True)
    x.register_hook(outer)
    events = events_of_a_gradient(x.sum().backward)
    assert flushes(events) == [("gradient-flush", "<backward thread>", 0)]


def test_a_watched_gradient_keeps_no_tensor_alive() -> None:
    """A frame kept in the graph would keep the tensors that it names, and they the graph."""
    model, alive = nn.Linear(8, 4), []
    with guard("record"):
        for _ in range(3):
            with torch.autocast("cpu", torch.float16):
                h = torch.randn(3, 8) * 1.0
                y = model(h)
            alive += [weakref.ref(h), weakref.ref(y)]
            y.float().sum().backward()
            del h, y
    assert [reference() for reference in alive] == [None] * 6
