"""A norm over all samples of which a mean is taken, and gradients of different lengths cut to the same one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fa_lint_runtime import guard


def batch_gradient(*shape: int, leaf: type[Tensor] = Tensor) -> Tensor:
    torch.manual_seed(0)
    x = torch.randn(shape)
    x = nn.Parameter(x) if leaf is nn.Parameter else x.requires_grad_()
    (g,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
    return g


PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "norm(2)": lambda g: ((g.norm(2) - 1) ** 2).mean(),
    "torch.norm": lambda g: torch.mean((torch.norm(g) - 1) ** 2),
    "vector_norm": lambda g: (torch.linalg.vector_norm(g) - 1).pow(2).mean(),
    "by hand": lambda g: ((torch.sqrt((g * g).sum()) - 1) ** 2).mean(),
    "by hand, power": lambda g: ((g.pow(2).sum() ** 0.5 - 1) ** 2).mean(),
    "flattened": lambda g: 10 * (g.view(g.size(0), -1).norm(2) - 1).square().mean(),
    "one-sided": lambda g: F.relu(g.norm() - 1).pow(2).mean(),
    "the norm itself": lambda g: g.norm().mean(),
}


def events(f: Callable[[Tensor], Any], *shape: int, leaf: type[Tensor] = Tensor) -> list[Any]:
    off = f(batch_gradient(*shape, leaf=leaf))
    with guard("record", rules=["FAL104"]) as log:
        on = f(batch_gradient(*shape, leaf=leaf))
    assert torch.equal(off, on) and not log.unchecked
    return log.events


@pytest.mark.parametrize("name", PENALTIES)
def test_the_mean_of_a_norm_over_the_batch(name: str) -> None:
    f = PENALTIES[name]
    [event] = events(f, 4, 3, 2)
    assert (event.code, event.kind, event.line) == ("FAL104", "averaged-scalar-norm", f.__code__.co_firstlineno)
    g = batch_gradient(4, 3, 2).detach()
    assert event.was == pytest.approx(float(g.norm()))
    assert event.should == pytest.approx(float(g.flatten(1).norm(dim=1).mean()))
    assert "runs over all 4 samples of a gradient; was " in event.message()


@pytest.mark.parametrize(
    "f",
    [
        lambda g: ((g.flatten(1).norm(2, dim=1) - 1) ** 2).mean(),
        lambda g: ((g.norm(2, dim=-1) - 1) ** 2).mean(),
        lambda g: (g.norm(2) - 1) ** 2,
        lambda g: g.square().mean(),
        lambda g: g.square().sum().mean(),
        lambda g: (g[0].norm() - 1).square().mean(),
        lambda g: torch.stack([row.norm() for row in g]).mean(),
        lambda g: (g.norm() + g.sum()).mean(),
        lambda g: (g * 2 + 1).norm().mean(),
        lambda g: g.detach().norm().mean(),
    ],
)
def test_other_means(f: Callable[[Tensor], Tensor]) -> None:
    assert events(f, 4, 3) == []


def test_what_is_no_batch() -> None:
    for shape in ((1, 3), (5,), ()):
        assert events(PENALTIES["norm(2)"], *shape) == []
    assert events(PENALTIES["norm(2)"], 4, 3, leaf=nn.Parameter) == []
    with guard("record") as log:  # no gradient
        torch.randn(3, 4, requires_grad=True).norm().mean()
    assert not log


def weight_gradients(*shapes: tuple[int, ...]) -> list[Tensor]:
    torch.manual_seed(0)
    weights = [torch.randn(shape, requires_grad=True) for shape in shapes]
    return list(torch.autograd.grad(torch.stack([(w**3).sum() for w in weights]).sum(), weights))


CUTS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "cosine": lambda a, b, n: F.cosine_similarity(a[:n], b[:n], dim=0),
    "rows": lambda a, b, n: F.cosine_similarity(a[:n].unsqueeze(0), b[:n][None]),
    "module": lambda a, b, n: nn.CosineSimilarity(dim=0)(a[:n], b[:n]),
    "narrow": lambda a, b, n: torch.cosine_similarity(a.narrow(0, 0, n), b.narrow(0, 0, n), dim=0),
    "dot": lambda a, b, n: torch.dot(a[:n], b[:n]) / (a.norm() * b.norm()),
    "matmul": lambda a, b, n: a[:n] @ b[:n],
    "less than both": lambda a, b, n: F.cosine_similarity(a[: n - 3], b[: n - 3], dim=0),
}


@pytest.mark.parametrize("name", CUTS)
def test_gradients_cut_to_one_length(name: str) -> None:
    def run() -> Tensor:
        a, b = (g.flatten() for g in weight_gradients((6, 8), (4, 6)))
        return CUTS[name](a, b, min(len(a), len(b)))

    off = run()
    with guard("record") as log:
        on = run()
    assert torch.equal(off, on) and not log.unchecked
    [event] = log
    assert (event.code, event.kind, event.count) == ("FAL409", "cut-to-common-length", 1)
    assert event.line == CUTS[name].__code__.co_firstlineno
    assert "gradients of 48 and 24 entries were cut" in event.message()


def test_gradients_of_leaves() -> None:
    first, second = nn.Linear(8, 6), nn.Linear(6, 4)
    with guard("record", rules=["FAL409"]) as log:
        second(first(torch.randn(3, 8))).square().sum().backward()
        a, b = first.weight.grad.view(-1), second.weight.grad.view(-1)
        F.cosine_similarity(a[: len(b)], b, dim=0)
        line = sys._getframe().f_lineno - 1
    assert [(e.code, e.line) for e in log] == [("FAL409", line)]


@pytest.mark.parametrize(
    ("shapes", "f"),
    [
        (((6, 8), (6, 8)), lambda a, b: (a.flatten()[:24], b.flatten()[:24])),  # the same parameter of two networks
        (((6, 8), (6, 8)), lambda a, b: (a.flatten(), b.flatten())),
        (((6, 8), (8,)), lambda a, b: (a[0], b)),  # a row against a bias
        (((6, 8), (4, 8)), lambda a, b: (a[:4].flatten(), b.flatten())),  # fewer samples
        (((6, 8), (4, 8)), lambda a, b: (a[0], b[0])),
        (((6, 8), (24,)), lambda a, b: (a.flatten()[:24], torch.ones(24))),  # what it is compared with is whole
        (((6, 8), (4, 6)), lambda a, b: (a.flatten()[24:], b.flatten())),  # not the beginning
        (((6, 8), (4, 6)), lambda a, b: (a.flatten()[:24].clone(), b.flatten().clone())),  # not known
    ],
)
def test_vectors_that_belong_together(shapes: Any, f: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    with guard("record") as log:
        x, y = f(*weight_gradients(*shapes))
        F.cosine_similarity(x, y, dim=0)
        torch.dot(x, y)
    assert not log and not log.unchecked


def test_slices_of_what_is_no_gradient() -> None:
    x, y = torch.randn(48), torch.randn(24)
    with guard("record") as log:
        F.cosine_similarity(x[:24], y, dim=0), x[:20] @ y[:20]
    assert not log
