"""Bit for bit: results, gradients, weights, random numbers, autocast and exceptions are the same with the guard on."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.guard import ResMLP, ViT
from fa_lint_runtime import guard

THOROUGH = pytest.mark.parametrize("thorough", [False, True], ids=["", "thorough"])


class CNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv2d(8, 8, 3),
            nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.normalize(self.body(x).flatten(1)))


class Checkpointed(ResMLP):
    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        for block in self.blocks:
            h = checkpoint(block, h, use_reentrant=False)
        return self.head(h)


def measured(model: nn.Module, x: Tensor, dtype: torch.dtype | None) -> list[Tensor]:
    """Three training steps with cosines, norms and casts of gradients in between: everything they computed."""
    torch.manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    target, seen = torch.randint(0, 10, (len(x),)), []
    for scale in (1.0, 1e-6, 1e-12):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
            logits = model(x)
            loss = F.cross_entropy(logits, target) * scale
        loss.backward()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        g = torch.cat(grads)
        noise = torch.randn_like(g)
        seen += [logits, loss, g, F.cosine_similarity(g, noise, dim=0), F.normalize(g, dim=0), g.half(), g.norm()]
        seen += [g.norm(-1), torch.acos(F.cosine_similarity(g, g, dim=0)), g.view(-1, 1) / g.view(-1, 1), torch.rand(2)]
        optimizer.step()
    return [x.detach().clone() for x in [*seen, *model.state_dict().values()]]


def identical(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(
        x.dtype == y.dtype and x.stride() == y.stride() and torch.equal(x.nan_to_num(7.0), y.nan_to_num(7.0))
        for x, y in zip(a, b, strict=True)
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], torch.dtype | None]] = {
    "MLP": (lambda: ResMLP(16, 2), (8, 16), None),
    "CNN": (CNN, (4, 3, 12, 12), None),
    "ViT": (lambda: ViT(16, 1), (2, 3, 32, 32), None),
    "bfloat16 autocast": (lambda: ResMLP(16, 2), (8, 16), torch.bfloat16),
    "float16 autocast": (lambda: ResMLP(16, 2), (8, 16), torch.float16),
    "ViT bfloat16": (lambda: ViT(16, 1), (2, 3, 32, 32), torch.bfloat16),
    "checkpointing": (lambda: Checkpointed(16, 2), (8, 16), None),
}


@THOROUGH
@pytest.mark.parametrize("name", MODELS)
def test_training_is_the_same_bit_for_bit(name: str, thorough: bool) -> None:
    make, shape, dtype = MODELS[name]
    torch.manual_seed(0)
    model = make()
    x = torch.randn(shape)
    other = copy.deepcopy(model)
    off = measured(model, x, dtype)
    state = torch.get_rng_state()
    with guard("record", thorough=thorough) as log:
        on = measured(other, x, dtype)
    assert identical(off, on)
    assert torch.equal(state, torch.get_rng_state())
    assert log and not log.unchecked


@pytest.mark.parametrize("order", [2, -1, 0, 1, 3.5, float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_norms_of_every_kind(order: float, dtype: torch.dtype) -> None:
    x = torch.randn(3, 4, 5).to(dtype)
    views = [x, x.permute(2, 0, 1), x[:, ::2], x.expand(2, 3, 4, 5), x[:, :0], x[0, 0, 0]]
    wishes = [
        {},
        {"dim": -1},
        {"dim": (0, 1), "keepdim": True},
        {"dtype": torch.complex128 if dtype.is_complex else torch.float64},
    ]

    def results() -> list[Any]:
        found: list[Any] = []
        for view in views:
            for wish in wishes:
                try:
                    r = torch.linalg.vector_norm(view, order, **wish)
                    found.append((r.dtype, r.shape, r.stride(), r.nan_to_num(3.0).tolist()))
                except Exception as error:
                    found.append((type(error), str(error)))
        return found

    with warnings.catch_warnings():  # torch warns about complex zeros once in a process
        warnings.simplefilter("ignore")
        results()
    off = results()
    with guard("record"):
        on = results()
    assert on == off


def test_acos_of_every_layout_and_dtype() -> None:
    x = torch.rand(2, 3, 4, 5).mul(2.2).sub(1.1)
    inputs = [x, x.permute(3, 1, 0, 2), x.to(memory_format=torch.channels_last), x[..., ::2], x[0, 0, 0, :1].expand(5)]
    inputs += [torch.tensor([0, 1, 2]), torch.tensor([True]), x.half(), x.to(torch.complex64), x.double(), x[:0]]

    def results() -> list[tuple[Any, ...]]:
        found = []
        for value in inputs:
            r = torch.acos(value)
            found.append(
                (r.dtype, r.stride(), torch.view_as_real(r).tolist() if r.is_complex() else r.nan_to_num(9.0).tolist())
            )
        leaf = x.clone().requires_grad_()
        leaf.acos().nansum().backward()
        copied = x.clone()
        same = copied.acos_() is copied
        return [*found, (leaf.grad.nan_to_num(5.0).tolist(), same, copied.nan_to_num(5.0).tolist())]

    off = results()
    with guard("record"):
        on = results()
    assert on == off


def test_second_derivatives() -> None:
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 3, dtype=torch.float64)
    with guard("record"):
        assert torch.autograd.gradgradcheck(lambda x: F.cosine_similarity(x, y, dim=1), (x,))
        assert torch.autograd.gradgradcheck(lambda x: x.norm(dim=1), (x,))
        assert torch.autograd.gradgradcheck(lambda x: torch.acos(x.tanh() / 2), (x,))


def failures() -> list[Callable[[], Any]]:
    a, b = torch.ones(2, 3), torch.ones(4, 5)
    return [
        lambda: F.cosine_similarity(a, b),
        lambda: F.cosine_similarity(a, a, dim=9),
        lambda: F.cosine_similarity(a.int(), a.int()),
        lambda: F.cosine_similarity(a.to(torch.complex64), a),
        lambda: F.cosine_similarity(a, "x"),
        lambda: F.cosine_embedding_loss(a, b, torch.ones(2)),
        lambda: a.norm(dim=7),
        lambda: torch.linalg.vector_norm(a.int()),
        lambda: torch.linalg.norm(torch.ones(2, 2, 2), -1),
        lambda: F.normalize(a, dim=5),
        lambda: F.pairwise_distance(a, b),
        lambda: torch.acos("x"),
        lambda: torch.asin("x"),
        lambda: a.sqrt("x"),
        lambda: torch.Tensor.sqrt("x"),
        lambda: torch.ones(2, dtype=torch.int64).sqrt_(),
        lambda: torch.ones(2, requires_grad=True).sqrt_(),
        lambda: a ** "x",
        lambda: torch.tensor([1, 2]).mean(),
        lambda: torch.dot(a, b),
        lambda: torch.dot(a[0], b[0]),
        lambda: torch.tensor([1, 2]).acos_(),
        lambda: a / b,
        lambda: a / "x",
        lambda: a.half("x"),
        lambda: a.to("nowhere"),
        lambda: torch.autograd.grad(a.sum(), a),
        lambda: a.sum().backward(),
        lambda: torch.save({}, "/nowhere/at/all.pt"),
    ]


def test_exceptions_are_the_same() -> None:
    def told() -> list[tuple[type, str]]:
        found = []
        for call in failures():
            with pytest.raises(Exception) as caught:  # noqa: PT011
                call()
            found.append((caught.type, str(caught.value)))
        return found

    off = told()
    with guard("record", thorough=True) as log:
        on = told()
    assert on == off
    assert not log


def test_identities_survive() -> None:
    x = torch.ones(3)
    table = {torch.Tensor.half: "half", torch.Tensor.to: "to", F.normalize: "normalize", torch.acos: "acos"}
    names = [F.normalize, torch.norm, torch.save, F.cosine_similarity, torch.autograd.grad]
    frozen = pickle.dumps(names)
    with guard("record"):
        assert x.to(torch.float32) is x
        assert x.type(torch.float32) is x
        assert [table[f] for f in (torch.Tensor.half, torch.Tensor.to, F.normalize, torch.acos)] == list(table.values())
        assert pickle.loads(frozen) == names
        assert pickle.dumps(names) == frozen
        assert pickle.loads(pickle.dumps(torch.Tensor.half))(x).dtype is torch.float16
        root = pickle.dumps(torch.Tensor.sqrt)
        assert pickle.loads(root) is torch.Tensor.sqrt
        assert torch.Tensor.half in table
    assert pickle.loads(root) is torch.Tensor.sqrt


def test_subclasses_see_the_same_functions() -> None:
    class Logging(Tensor):
        seen: list[str]

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            cls.seen.append(getattr(func, "__qualname__", str(func)))
            return super().__torch_function__(func, types, args, kwargs or {})

    def told() -> list[str]:
        Logging.seen = []
        x = torch.ones(2, 3).as_subclass(Logging)
        x / x, x.half(), x.norm(), F.normalize(x), F.cosine_similarity(x, x), torch.acos(x), x.to(torch.float64)
        y = x.requires_grad_()
        y.sqrt(), torch.asin(y), y**0.5, torch.pow(y, 0.5), y.sum().mean(), torch.dot(y[0], y[0]), torch.sqrt(y)
        (y.norm() * 0).sqrt().backward()
        return [name.rpartition(".")[2] for name in Logging.seen]

    off = told()
    with guard("record"):
        on = told()
    assert on == off


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_modes_of_the_user_see_the_same_calls() -> None:
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class Functions(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func.__name__)
            return func(*args, **(kwargs or {}))

    class Dispatches(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    def told(mode: Any) -> list[str]:
        seen.clear()
        g = (torch.randn(2, 3) * 1e-10).requires_grad_()
        with mode:
            F.cosine_similarity(g, torch.ones(2, 3)).sum().backward()
            (g.sqrt() + g.asin() + g**0.5 + torch.sqrt(g) + g[0] @ g[0]).sum().mean().backward()
            z = g.detach().mul(0).requires_grad_()
            torch.autograd.grad((z.sqrt() + (z + 1).acos()).sum(), z)
            traced(g.detach() + 1)
            F.normalize(g.detach()), g.detach().norm(-1), torch.acos(g.detach() + 2), g.detach().half()
            (
                g.detach() / (g.detach() * 0 + 1),
                g.detach().clone().__itruediv__(g.detach()),
                torch.div(g.detach(), g.detach().norm()),
                torch.empty(2, 3, dtype=torch.float16).copy_(g.detach()),
            )
        return list(seen)

    seen: list[str] = []
    # Calls the norm from C++, with the modes still on their stack.
    traced = torch.jit.trace(lambda x: torch.linalg.vector_norm(x), (torch.ones(2, 3),), check_trace=False)
    for mode in (Functions, Dispatches):
        off = told(mode())
        for thorough in (False, True):
            with guard("record", thorough=thorough) as log:
                on = told(mode())
            assert on == off
            assert log.codes == ["FAL101", "FAL202", "FAL204", "FAL206", "FAL207", "FAL302"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_derivatives_of_what_thorough_hooks() -> None:
    """Of any order and either direction, batched, of every kind of operand."""

    def f(a: Tensor, b: Tensor) -> Tensor:
        buffer = torch.zeros(3, dtype=torch.float32)
        buffer.copy_(a / b.exp())
        return torch.div(buffer.to(torch.float64), 3).sum() / a.sum() + (a.half() / 2).float().sum()

    def results() -> list[Tensor]:
        torch.manual_seed(0)
        a, b = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
        [g] = torch.autograd.grad(f(a, b), a, create_graph=True)
        g.square().sum().backward()
        rows = torch.randn(4, 3)
        assert a.grad is not None
        assert b.grad is not None
        with torch.inference_mode():
            inference = f(rows[0], rows[1]).clone()
        return [
            g.detach(), a.grad, b.grad, inference,
            torch.func.jvp(f, (a.detach(), b.detach()), (rows[0], rows[1]))[1],
            torch.func.jacrev(torch.func.grad(lambda x: (x / x.exp()).sum()))(rows[0]),
            torch.vmap(lambda x: x / x.sum())(rows),
            torch.vmap(torch.func.grad(lambda x: (x.half() / x.sum()).sum().float()))(rows),
            torch.div(rows, 3, rounding_mode="floor"), torch.arange(3) / torch.tensor(2),
            torch.div(rows[:, ::2], rows[:, ::2], out=torch.empty(0)), rows.T / rows.T.contiguous(),
        ]  # fmt: skip

    off = results()
    with guard("record", thorough=True) as log:
        on = results()
    assert identical(off, on)
    assert [x.stride() for x in off] == [x.stride() for x in on]
    assert [x.dtype for x in off] == [x.dtype for x in on]
    assert not log
    assert not log.unchecked


METHODS = ("half", "to", "type", "type_as", "__truediv__", "__itruediv__", "sqrt", "sqrt_")


def test_nothing_is_left_behind() -> None:
    def state() -> list[Any]:
        functions = [
            torch.save,
            nn.Module.state_dict,
            torch.autograd.grad,
            torch.autograd.backward,
            torch.autocast.__enter__,
        ]
        return [f.__code__ for f in functions] + [
            {k for k in vars(torch.Tensor) if k in METHODS},
            [
                torch._C._dispatch_dump("aten::" + n)
                for n in ("cosine_similarity", "acos", "linalg_vector_norm", "to.dtype", "asin", "mean", "dot")
            ],
            len([k for k in torch.nn.modules.module.__dict__ if "fa_lint" in k]),
        ]

    before = state()
    with guard("record"), guard("error", thorough=True):
        torch.ones(2).half()
        assert state() != before
    assert state() == before
    with pytest.raises(ZeroDivisionError), guard("error"):
        1 / 0  # noqa: B018
    assert state() == before
