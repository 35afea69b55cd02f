"""A plain twin: the same logits bit by bit, the gradients of the forward pass; a reference for what replaces them."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fa_lint_runtime import diagnose, plain_twin
from fa_lint_runtime.diagnostics.credits import CreditInputs
from fa_lint_runtime.diagnostics.twin import own_credit


class Fixed(torch.autograd.Function):
    """A layer as biotorch has it: the backward pass uses another matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, feedback: Tensor) -> Tensor:
        ctx.save_for_backward(x, feedback)
        ctx.mark_non_differentiable()
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, feedback = ctx.saved_tensors
        return grad @ feedback, grad.T @ x, None


class WithSetup(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.tanh(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


_BOUND = Fixed.apply


class Layer(nn.Module):
    def __init__(self, d: int, bound: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(d, d) / d**0.5)
        self.register_buffer("feedback", torch.randn(d, d) / d**0.5)
        self.bound = bound

    def forward(self, x: Tensor) -> Tensor:
        apply = _BOUND if self.bound else Fixed.apply
        return WithSetup.apply(apply(x, self.weight, self.feedback))  # type: ignore[no-any-return,no-untyped-call]


class Plain(nn.Module):
    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.weight = layer.weight

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight.T)


def network(d: int = 8, depth: int = 3, **options: Any) -> nn.Sequential:
    blocks = nn.Sequential(*(nn.Sequential(Layer(d, **options)) for _ in range(depth)))
    return nn.Sequential(nn.Linear(7, d), blocks, nn.Linear(d, 5))


def batches(count: int = 4, size: int = 32) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(size, 7), torch.randint(0, 5, (size,))) for _ in range(count)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 4))
def test_gradients_are_those_of_the_forward_pass(seed: int, d: int, depth: int) -> None:
    torch.manual_seed(seed)
    model = network(d, depth)
    x = torch.randn(6, 7)
    twin = plain_twin(model, x)
    by_hand = nn.Sequential(model[0], *(Plain(block[0]) for block in model[1]), model[2])
    assert torch.equal(twin(x), model(x))
    found = torch.autograd.grad(twin(x).square().sum(), list(twin.parameters()))
    true = torch.autograd.grad(by_hand(x).square().sum(), list(by_hand.parameters()))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(found, true, strict=True))


def test_the_model_keeps_its_own_backward_pass() -> None:
    model, x = network(), torch.randn(4, 7)
    before = torch.autograd.grad(model(x).sum(), model[0].weight)
    hook = Tensor.register_hook
    plain_twin(model, x)
    assert torch.equal(before[0], torch.autograd.grad(model(x).sum(), model[0].weight)[0])
    assert Tensor.register_hook is hook


def test_hooks_of_modules_and_tensors_are_gone() -> None:
    class Hooked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(7, 7) for _ in range(3))
            self.layers[1].register_full_backward_hook(lambda _m, _i, _o: (torch.zeros(4, 7),))
            self.layers[1].register_full_backward_pre_hook(lambda _m, g: tuple(2 * x for x in g))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
                if x.requires_grad:
                    x.register_hook(lambda g: -g)
            return x

    model, x = Hooked(), torch.randn(4, 7)
    twin = plain_twin(model, x)
    plain = nn.Sequential(*model.layers)
    for layer in plain:
        layer._backward_hooks.clear()
        layer._backward_pre_hooks.clear()
    found, true = (torch.autograd.grad(m(x).sum(), next(m.parameters()))[0] for m in (twin, plain))
    assert torch.equal(found, true)


def test_a_function_that_was_bound_before_is_named_and_replaced() -> None:
    model, x = network(bound=True), torch.randn(4, 7)
    with pytest.raises(ValueError, match=r"still runs Fixed: name the layer with replace="):
        plain_twin(model, x)
    assert torch.equal(plain_twin(model, x, replace={Layer: Plain})(x), model(x))
    with pytest.raises(ValueError, match="gives other logits"):
        plain_twin(model, x, replace={Layer: lambda layer: nn.Identity()})


def test_a_feedback_network_is_measured_against_its_twin() -> None:
    torch.manual_seed(0)
    model = network(d=32)
    data = batches()
    assert diagnose(model, data, progress=False).verdict == "not measurable"
    report = diagnose(model, data, progress=False, reference="twin")
    states = {o.name: o.state for o in report.criteria}
    assert states["reference"] == "passes"
    assert "plain twin" in report.notes
    assert report.alignment is not None
    twin = plain_twin(model, data[0][0])
    x, y = data[0]
    gradients = []
    for network_ in (model, twin):
        h = network_[0](x)
        loss = nn.functional.cross_entropy(nn.Sequential(*network_[1:])(h) if network_ is model else _rest(twin, h), y)
        gradients.append(torch.autograd.grad(loss, h)[0])
    expected = torch.cosine_similarity(gradients[0].double(), gradients[1].double(), eps=0.0).mean()
    first = report.layers[0].alignment
    assert first is not None
    assert math.isfinite(float(expected))
    assert first.gamma.value == pytest.approx(float(expected), abs=0.15), "of batch 0; the report has four"


def _rest(twin: nn.Sequential, h: Tensor) -> Tensor:
    for block in twin[1]:
        h = torch.tanh(h @ block[0].weight.T)
    return twin[2](h)  # type: ignore[no-any-return]


def test_an_unknown_reference_is_named() -> None:
    with pytest.raises(ValueError, match='reference must be "own" or "twin"'):
        diagnose(network(), batches(2), reference="other")  # type: ignore[arg-type]


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x) + torch.as_tensor(np.random.rand(), dtype=x.dtype)


def test_model_and_twin_draw_the_same_numbers_and_only_the_gpus_of_the_model_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fork = torch.random.fork_rng

    def named(devices: Any = None, *args: Any, **kwargs: Any) -> Any:
        assert devices is not None, "each GPU of the machine would be initialised"
        return fork(devices, *args, **kwargs)

    monkeypatch.setattr(torch.random, "fork_rng", named)
    model, x = nn.Sequential(network(), Noisy()), torch.randn(4, 7)
    before = torch.random.get_rng_state()
    plain_twin(model, x)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_layer_that_is_used_twice_under_two_names_is_replaced_under_both() -> None:
    layer = Layer(7, bound=True)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    x = torch.randn(4, 7)
    twin = plain_twin(model, x, replace={Layer: Plain})
    assert [type(module) for module in twin] == [Plain, nn.ReLU, Plain]
    assert torch.equal(twin(x), model(x))


def test_a_copy_of_a_twin_computes_with_its_own_weights() -> None:
    twin = plain_twin(network(), torch.randn(4, 7))
    other = copy.deepcopy(twin)
    x = torch.randn(4, 7)
    with torch.no_grad():
        other[0].weight.zero_()
        other[0].bias.zero_()
    assert torch.equal(other(x), other(torch.zeros(4, 7)))
    assert not torch.equal(other(x), twin(x))
    found = torch.autograd.grad(other(x).sum(), other[2].weight)[0]
    assert torch.isfinite(found).all()


def test_a_forward_that_keeps_and_removes_the_handle_of_its_hook() -> None:
    class Removing(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            if y.requires_grad:
                handle = y.register_hook(hook=lambda g: -g)
                handle.remove()
            return y

    model, x = nn.Sequential(Removing(7, 3)), torch.randn(4, 7)
    assert torch.equal(plain_twin(model, x)(x), model(x))


@pytest.mark.parametrize(
    ("own", "other", "same"),
    [
        (math.nan, math.nan, True),
        (math.nan, 0.0, False),
        (0.0, math.nan, False),
        (math.inf, math.inf, True),
        (math.inf, torch.finfo(torch.float32).max, False),
        (-math.inf, math.inf, False),
    ],
)
def test_a_nan_is_equal_to_a_nan_in_the_same_place_only(own: float, other: float, same: bool) -> None:
    class Spoilt(nn.Linear):
        value = own

        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return torch.cat([torch.full_like(y[:, :1], self.value), y[:, 1:]], 1)

    def replaced(layer: Spoilt) -> nn.Module:
        changed = copy.deepcopy(layer)
        changed.value = other
        return changed

    model, x = nn.Sequential(Spoilt(7, 3)), torch.randn(4, 7)
    if same:
        assert torch.equal(plain_twin(model, x, replace={Spoilt: replaced})(x), model(x)) == (not math.isnan(own))
    else:
        with pytest.raises(ValueError, match="gives other logits"):
            plain_twin(model, x, replace={Spoilt: replaced})


def test_logits_of_another_shape_or_dtype_are_others() -> None:
    model, x = nn.Sequential(nn.Linear(7, 1), nn.Identity()), torch.randn(1, 7)
    for layer in (nn.Unflatten(1, (1, 1)), _Double()):
        with pytest.raises(ValueError, match="gives other logits"):
            plain_twin(model, x, replace={nn.Identity: lambda _, layer=layer: layer})


class _Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.double()


def test_the_class_of_the_whole_model_is_no_layer() -> None:
    with pytest.raises(ValueError, match="replace names Sequential, the class of the model itself: name its layers"):
        plain_twin(network(), torch.randn(4, 7), replace={nn.Sequential: lambda layer: layer})


def test_own_credit_is_what_the_backward_pass_of_the_model_gives_each_sample() -> None:
    model, (x, y) = network(depth=2), batches(1, 6)[0]
    inputs = CreditInputs(x=x, y=y, logits=model(x), error=torch.empty(0), hidden=(), model=model)
    found = own_credit(model, None, None, None)(inputs)
    states = [model[0](x)]
    for block in model[1]:
        states.append(block(states[-1]))
    loss = nn.functional.cross_entropy(model[2](states[-1]), y, reduction="sum")
    true = torch.autograd.grad(loss, states)
    assert list(found) == ["input of 1.0", "1.0", "1.1"]
    for (name, credit), gradient in zip(found.items(), true, strict=True):
        torch.testing.assert_close(credit, gradient, rtol=1e-5, atol=1e-7, check_dtype=False, msg=name)
    last = own_credit(model, ["1.1"], lambda logits, y: 3 * nn.functional.cross_entropy(logits, y), None)(inputs)
    assert list(last) == ["input of 1.1.0", "1.1.0"]
    torch.testing.assert_close(last["1.1.0"], 3 * true[-1], rtol=1e-5, atol=1e-7, check_dtype=False)
    plain = torch.autograd.grad(nn.functional.cross_entropy(_rest_of(model, states[0]), y, reduction="sum"), states[0])
    assert not torch.allclose(found["input of 1.0"].float(), plain[0], rtol=1e-2), (
        "and not the gradient of its forward pass"
    )


def _rest_of(model: nn.Sequential, h: Tensor) -> Tensor:
    return _rest(plain_twin(model, torch.randn(4, 7)), h)


def test_a_forward_learns_which_inputs_need_a_gradient() -> None:
    seen = []

    class Asking(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor, factor: float, feedback: Tensor) -> Tensor:
            seen.append(ctx.needs_input_grad)
            return x @ weight.T * factor

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Any:
            return None, None, None, None

    class Layered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(7, 7))
            self.register_buffer("feedback", torch.randn(7, 7))

        def forward(self, x: Tensor) -> Tensor:
            return Asking.apply(x, self.weight, 2.0, self.feedback)  # type: ignore[no-any-return,no-untyped-call]

    model, x = Layered(), torch.randn(4, 7)
    twin = plain_twin(model, x)
    seen.clear()
    model(x.requires_grad_())
    twin(x)
    twin(x.detach())
    assert seen == [(True, True, False, False)] * 2 + [(False, True, False, False)]
