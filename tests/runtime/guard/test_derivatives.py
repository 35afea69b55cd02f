"""Gradients that are inf or NaN because acos at 1 and roots at 0 have an infinite derivative."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, acos, nn
from torch.utils.checkpoint import checkpoint

from fa_lint_runtime import GuardError, GuardWarning, guard
from fa_lint_runtime.guard.session import Session, enter, leave

from .test_threads_without_frames import backward

ENDS = [1.0, 0.5, -1.0, 0.0]
ZEROS = [0.0, 4.0, 0.0]


def kinds(values: list[float], f: Callable[[Tensor], Tensor], **options: Any) -> list[tuple[str, int, int]]:
    """Events of ``f(x).sum().backward()``, and that neither value nor gradient differs from those without a guard."""

    def results() -> tuple[Tensor, Tensor]:
        x = torch.tensor(values, requires_grad=True)
        y = f(x)
        y.sum().backward()
        assert x.grad is not None
        return y.detach(), x.grad

    off = results()
    with guard("record", **options) as log:
        on = results()
    assert all(torch.equal(a.nan_to_num(7, 8, 9), b.nan_to_num(7, 8, 9)) for a, b in zip(off, on, strict=True))
    assert not log.unchecked
    lines = f.__code__ if hasattr(f, "__code__") else None
    for event in log:
        assert event.file == __file__ and (lines is None or event.line == lines.co_firstlineno)
    return [(event.code, event.count, event.total) for event in log]


ARCS: dict[str, Callable[[Tensor], Tensor]] = {
    "method": lambda x: x.acos(),
    "function": lambda x: torch.acos(x),
    "imported": lambda x: acos(x),
    "alias": lambda x: torch.arccos(x),
    "asin": lambda x: torch.asin(x),
    "in place": lambda x: (x * 1).acos_(),
    "clamped": lambda x: torch.acos(x.clamp(-1, 1)),
    "where outside": lambda x: torch.where(x.abs() < 1, x.acos(), 0.0),
    "squared": lambda x: x.acos().square(),
}


@pytest.mark.parametrize("name", ARCS)
def test_arcs_at_the_ends(name: str) -> None:
    assert kinds(ENDS, ARCS[name]) == [("FAL206", 2, 4)]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.clamp(-0.999, 0.999).acos(),
        lambda x: torch.where(x.abs() < 1, x, 0.0).acos(),
        lambda x: x.detach().acos() + x,
        lambda x: x[x.abs() < 1].acos(),
        lambda x: (x * 0.9).acos(),
        lambda x: (x * 1.001).clamp(-1, 1).acos(),  # its gradient beyond the ends is 0
        lambda x: x.cos(),
    ],
)
def test_arcs_elsewhere(f: Callable[[Tensor], Tensor]) -> None:
    assert kinds(ENDS, f) == []


IMPORTED = torch.sqrt  # before any guard
ROOTS: dict[str, Callable[[Tensor], Tensor]] = {
    "method": lambda x: x.sqrt(),
    "function": lambda x: torch.sqrt(x),
    "by keyword": lambda x: torch.sqrt(input=x),
    "function in place": lambda x: torch.sqrt_(x * 1),
    "power": lambda x: x**0.5,
    "pow": lambda x: torch.pow(x, 0.5),
    "pow method": lambda x: x.pow(0.25),
    "in place": lambda x: (x * 1).sqrt_(),
    "where outside": lambda x: torch.where(x > 0, x.sqrt(), 0.0),
    "clamped": lambda x: x.clamp(min=0).sqrt(),
    "squares": lambda x: (x * x).sqrt(),
}


@pytest.mark.parametrize("name", ROOTS)
@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_roots_of_zero(name: str, thorough: bool) -> None:
    assert kinds(ZEROS, ROOTS[name], thorough=thorough) == [("FAL207", 2, 3)]


@pytest.mark.parametrize("f", [lambda x: IMPORTED(x), lambda x: partial(torch.sqrt)(x), lambda x: torch.Tensor.sqrt(x)])
def test_thorough_sees_roots_by_any_name(f: Callable[[Tensor], Tensor]) -> None:
    assert kinds(ZEROS, f, thorough=True) == [("FAL207", 2, 3)]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (x + 1e-12).sqrt(),
        lambda x: torch.where(x > 0, x, 1.0).sqrt(),
        lambda x: F.relu(x).sqrt(),  # the gradient of relu at 0 is 0
        lambda x: (x - 1e-9).clamp(min=0).sqrt(),
        lambda x: F.relu(x).square().sqrt(),
        lambda x: x.masked_fill(x == 0, 0.0).sqrt(),
        lambda x: x[x > 0].sqrt(),
        lambda x: x.norm() + torch.linalg.vector_norm(x[:1]),
        lambda x: x**2 + x**1.5 + x**1,
        lambda x: x.detach().sqrt() * x,
        lambda x: (x + 1) ** 0.5,
    ],
)
def test_other_roots(f: Callable[[Tensor], Tensor]) -> None:
    assert kinds(ZEROS, f, thorough=True) == []


def test_a_gradient_that_came_in_as_nan_is_of_another() -> None:
    assert kinds(ZEROS, lambda x: (x.sqrt() * float("nan")).sqrt()) == []


def test_views_that_are_changed_in_place() -> None:
    def rooted(x: Tensor) -> Tensor:
        y = (x * 1).expand(2, 3).clone()
        y[0].sqrt_()
        return y

    assert kinds(ZEROS, rooted) == []


def test_a_hook_may_mend_the_gradient() -> None:
    def mended(x: Tensor) -> Tensor:
        y = x * 1
        y.register_hook(lambda g: g.nan_to_num(0, 0, 0))
        return y.sqrt()

    assert kinds(ZEROS, mended) == []


def test_nothing_is_an_event_before_the_backward_pass() -> None:
    with guard("error"):
        x = torch.zeros(3, requires_grad=True)
        y = x.sqrt() + x.acos() + x**0.5
        with torch.no_grad():
            x.sqrt(), (x + 1).acos()
    with pytest.raises(GuardError, match="FAL207"), guard("error"):
        x.sqrt().sum().backward()
    y.sum().backward()  # the guard is over


@pytest.mark.parametrize("create_graph", [False, True])
def test_results_of_autograd_grad(create_graph: bool) -> None:
    x = torch.tensor(ZEROS, requires_grad=True)
    with guard("record") as log:
        y = x.sqrt().sum()
        line = sys._getframe().f_lineno - 1
        torch.autograd.grad(y, x, create_graph=create_graph)
    assert [(e.code, e.line, e.count) for e in log] == [("FAL207", line, 2)]


def test_the_message() -> None:
    with pytest.warns(GuardWarning) as caught, guard("warn"):
        torch.zeros(3, requires_grad=True).sqrt().sum().backward()
    [warning] = caught
    assert str(warning.message).startswith(
        "FAL207 root-gradient-at-zero: torch.sqrt: 3 of 3 gradients are inf or NaN: the derivative of a root at exactly 0 "
        "is infinite; operands [3] float32. For a norm use "
    )
    assert warning.filename == __file__


def test_deferred_as_on_a_gpu() -> None:
    """Nothing is looked at before the log is read, and zeros that a later ``relu`` blocks count for nothing."""
    with guard("record"):
        later = Session("record", ("FAL",), (), 1.0, deferred=True)
        enter(later)
        for f in (lambda x: x.sqrt(), lambda x: F.relu(x).sqrt(), lambda x: x.acos()):
            x = torch.tensor([0.0, 1.0, 1.0], requires_grad=True)
            f(x).sum().backward()
        leave(later)
        later.finish()
    assert [(e.code, e.count, e.total) for e in later.log] == [("FAL207", 1, 3), ("FAL206", 2, 3)]


def test_nodes_that_run_on_a_thread_of_the_engine() -> None:
    class OnAnotherThread(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            backward(y)
            return g

    with guard("record") as log:
        y = torch.zeros(3, requires_grad=True).sqrt().sum()
        line = sys._getframe().f_lineno - 1
        OnAnotherThread.apply(torch.ones(1, requires_grad=True)).backward()
    assert [(e.code, e.line) for e in log] == [("FAL207", line)]


def test_only_what_is_asked_for() -> None:
    with guard("record", rules=["FAL206"]) as log:
        torch.zeros(3, requires_grad=True).sqrt().sum().backward()
    assert not log


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(reentrant: bool) -> None:
    x = torch.tensor(ZEROS, requires_grad=True)
    with guard("record") as log:
        checkpoint(ROOTS["method"], x, use_reentrant=reentrant).sum().backward()
    assert [(e.code, e.line) for e in log] == [("FAL207", ROOTS["method"].__code__.co_firstlineno)]
    assert not log.unchecked


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_second_derivatives_and_transforms() -> None:
    x = torch.rand(4, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_()
    edge = torch.tensor([0.0, 1.0])

    def results() -> list[Tensor]:
        f = lambda x: x.sqrt() + x.acos() + x**0.5 + x.asin()  # noqa: E731
        total = lambda x: f(x).sum()  # noqa: E731
        z = edge.clone().requires_grad_()
        (g,) = torch.autograd.grad(total(z), z, create_graph=True)
        (h,) = torch.autograd.grad(g.sum(), z)
        rows = torch.autograd.functional.jacobian(f, edge, vectorize=True)
        transforms = [torch.func.grad(total)(edge), torch.func.hessian(total)(edge), torch.func.jacrev(f)(edge)]
        return [g.detach(), h, rows, *transforms, torch.vmap(torch.func.grad(total))(edge[:, None])]

    off = results()
    with guard("record") as log:
        on = results()
        assert torch.autograd.gradcheck(lambda x: x.sqrt() + x.acos() + x**0.5, (x,))
        assert torch.autograd.gradgradcheck(lambda x: x.sqrt() + x.acos() + x**0.5, (x,))
    assert all(torch.equal(a.nan_to_num(7, 8, 9), b.nan_to_num(7, 8, 9)) for a, b in zip(off, on, strict=True))
    assert log.codes == ["FAL206", "FAL207"] and not log.unchecked


def test_no_graph_is_kept_alive() -> None:
    with guard("record") as log:
        x = torch.zeros(3, requires_grad=True)
        h = x * 1
        y = h.sqrt() + (h + 1).acos()
        alive = [weakref.ref(h), weakref.ref(y)]
        y.sum().backward()
        del h, y
        assert [reference() for reference in alive] == [None, None]
        h = x * 1
        y, alive = h.sqrt(), [weakref.ref(h)]
        del h, y
        gc.collect()
        assert alive[0]() is None
    assert log.codes == ["FAL206", "FAL207"]


def test_optimizers_are_left_alone() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    with guard("error", thorough=True):
        for _ in range(2):
            optimizer.zero_grad()
            (model(torch.zeros(4, 3)) * 0).sum().backward()  # all second moments are 0
            optimizer.step()


def test_compiled_code_runs_unchanged() -> None:
    def f(x: Tensor) -> Tensor:
        return x.sqrt() + x**0.5 + x.acos() + torch.sqrt(x)

    x = torch.zeros(3, requires_grad=True)
    compiled = torch.compile(f, backend="aot_eager", fullgraph=True)
    off = compiled(x)
    with guard("record", thorough=False) as log:
        assert torch.equal(compiled(x), off)
        assert torch.equal(torch.compile(lambda x: f(x) * 1, backend="aot_eager", fullgraph=True)(x), off)
    assert not log
    with guard("record", force_eager=True) as log:
        compiled(x).sum().backward()
    assert {e.code for e in log} == {"FAL207"}
