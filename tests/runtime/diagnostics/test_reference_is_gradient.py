"""Networks whose backward pass is not the derivative of their forward pass are told from those that look like it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from zoo import NoContract, ResidualBlock, ResidualMLP, tokens, vectors

from fa_lint_runtime import CreditInputs, DiagnosticReport, diagnose
from fa_lint_runtime.diagnostics.derivative import Difference, _second_opinion


class FixedFeedback(torch.autograd.Function):
    """A linear layer in the style of biotorch: the backward pass uses another matrix."""

    @staticmethod
    def forward(ctx, x, weight, feedback):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, feedback)
        return x @ weight.T

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, feedback = ctx.saved_tensors
        return grad @ feedback, grad.T @ x, None


class FeedbackLinear(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(d, d) / d**0.5)
        self.register_buffer("feedback", torch.randn(d, d) / d**0.5)

    def forward(self, h: Tensor) -> Tensor:
        return h + torch.tanh(FixedFeedback.apply(h, self.weight, self.feedback))  # type: ignore[no-any-return]


class Straight(nn.Module):
    """A straight-through estimator: forward rounds, backward does not."""

    def forward(self, h: Tensor) -> Tensor:
        return h + (torch.sin(5 * h) - h).detach()


class Detached(NoContract):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        h = self.embed(x)
        for block in self.blocks:
            h = (h + block(h)).detach()
        return self.out_head(self.out_ln(h))  # type: ignore[no-any-return]


class EarlyUse(NoContract):
    """h_0 is read before the block whose entrance shows it: honest, though a nudge there does not reach that reader."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        h = self.embed(x)
        early = torch.tanh(3 * h)
        for block in self.blocks:
            h = h + block(h)
        return self.out_head(self.out_ln(h + early))  # type: ignore[no-any-return]


def stack(*blocks: nn.Module, d: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(7, d), nn.Sequential(*(nn.Sequential(b) for b in blocks)), nn.Linear(d, 5))


def measured(model: nn.Module) -> DiagnosticReport:
    return diagnose(model, [(vectors(16), torch.randint(0, 5, (16,))) for _ in range(3)], None)


def reference(report: DiagnosticReport) -> tuple[str, str]:
    (found,) = [o for o in report.criteria if o.name == "reference"]
    return found.state, found.text


def test_feedback_in_the_backward_pass_is_no_reference() -> None:
    report = measured(stack(*(FeedbackLinear(8) for _ in range(3))))
    state, text = reference(report)
    assert state == "not measured"
    assert "FixedFeedback" in text
    assert report.verdict == "not measurable"
    by_name = {o.name: o.state for o in report.criteria}
    assert by_name["credit size"] == by_name["elasticity"] == by_name["drift"] == "not measured"


def test_a_straight_through_estimator_is_no_reference() -> None:
    report = measured(stack(nn.Linear(8, 8), Straight(), nn.Linear(8, 8)))
    assert report.verdict == "not measurable"
    assert report.provenance is not None
    assert report.provenance.derivative_error > 0.1


def test_a_backward_hook_that_replaces_gradients_is_no_reference() -> None:
    model = NoContract()
    model.blocks[2].register_full_backward_hook(lambda _m, grads, _out: (torch.randn_like(grads[0]),))
    assert measured(model).verdict == "not measurable"


class Layers(nn.Module):
    """Three layers of tanh; what stands after each is up to subclasses."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(7 if i == 0 else 16, 16) for i in range(3))
        self.head = nn.Linear(16, 5)

    def after(self, h: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.after(torch.tanh(layer(x)))
        return self.head(x)  # type: ignore[no-any-return]


class HookedFeedback(Layers):
    """Direct feedback by tensor hooks, as light TinyDFA: the matrix is fp32, so that no backward pass runs in fp64."""

    def __init__(self, lean: float) -> None:
        super().__init__()
        self.lean = lean
        self.matrix = torch.randn(16, 16) * 0.25

    def _replace(self, grad: Tensor) -> Tensor:
        other = torch.mm(grad, self.matrix.to(grad.device))
        return self.lean * grad + (1 - self.lean) * other * (grad.norm() / other.norm())

    def after(self, h: Tensor) -> Tensor:
        if h.requires_grad:
            h.register_hook(self._replace)
        return h


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("lean", [0.0, 0.5, 0.8])
def test_hooks_that_do_not_run_in_fp64_are_checked_all_the_same(lean: float, seed: int) -> None:
    """Seed 1 at 0.5: agrees with a central difference to 0.03 in the sum over samples, not in each of them."""
    torch.manual_seed(seed)
    report = measured(HookedFeedback(lean))
    assert report.verdict == "not measurable"
    assert "is not the derivative" in reference(report)[1]


@pytest.mark.parametrize(
    ("at_roots", "reported"), [(Difference(0.07), 0.2), (Difference(0.3), 0.2), (Difference(1e-6), 1e-6)]
)
def test_a_second_opinion_acquits_only_if_it_is_clear(at_roots: Difference, reported: float) -> None:
    """0.07: light TinyDFA, whose credit leans towards the gradient."""
    assert _second_opinion(Difference(0.2), at_roots).error == reported
    assert math.isnan(_second_opinion(Difference(0.2), Difference(math.nan)).error)


@pytest.mark.parametrize("noise", [1.0, 0.2, 0.05, 0.01])
@pytest.mark.parametrize("seed", range(3))
def test_feedback_close_to_the_weights_is_no_reference_either(noise: float, seed: int) -> None:
    torch.manual_seed(seed)
    layers = [FeedbackLinear(8) for _ in range(3)]
    for layer in layers:
        layer.feedback = layer.weight.detach() * (1 + noise * torch.randn(8, 8))
    state, text = reference(measured(stack(*layers)))
    assert state == "not measured"
    assert "is not the derivative" in text


class InFp32(nn.Module):
    """Whatever dtype comes in: ``self.net(x.float())``, with weights of that dtype."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return torch.func.functional_call(  # type: ignore[no-any-return]
            self.net, {n: p.float() for n, p in self.net.named_parameters()}, (x.float(),)
        )


class FloatInput(NoContract):
    """Runs in no other dtype: fp64 weights meet fp32 inputs."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x.float())


class StateInForward(nn.Module):
    """An fp32 state made in forward, as spiking networks do."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, h: Tensor) -> Tensor:
        state = torch.zeros(h.shape, dtype=torch.float32)
        for _ in range(2):
            state = self.block(0.5 * state + h.float())
        return state


class Spike(torch.autograd.Function):
    """A hand-written spike: a step forward, a surrogate backward."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return (x > 0).float()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return grad / (1 + 10 * x.abs()) ** 2


class Spikes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, h: Tensor) -> Tensor:
        return h + Spike.apply(self.linear(h.float()))  # type: ignore[no-any-return]


def fa_layers() -> list[nn.Module]:
    return [FeedbackLinear(8) for _ in range(3)]


DISHONEST = {
    "functional call in fp32": lambda: InFp32(stack(*fa_layers())),
    "x.float() first": lambda: nn.Sequential(OnlyFp32(), *stack(*fa_layers())),
    "state made in forward": lambda: stack(*(StateInForward(b) for b in fa_layers())),
    "surrogate spikes": lambda: stack(*(Spikes() for _ in range(3))),
}


class OnlyFp32(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


@pytest.mark.parametrize("kind", DISHONEST)
@pytest.mark.parametrize("seed", range(4))
def test_feedback_in_a_network_that_does_not_run_in_fp64_is_no_reference(kind: str, seed: int) -> None:
    torch.manual_seed(seed)
    report = measured(DISHONEST[kind]())
    assert reference(report)[0] == "not measured"
    assert report.verdict == "not measurable"


def test_a_reference_that_is_not_verified_decides_nothing_about_alignment() -> None:
    torch.manual_seed(0)
    layers = [FeedbackLinear(8) for _ in range(3)]
    batches = [(vectors(16), torch.randint(0, 5, (16,))) for _ in range(3)]
    matrix = torch.randn(8, 5, dtype=torch.float64)
    found = []
    for net in (stack(*layers), stack(*(nn.Linear(8, 8) for _ in layers))):

        def credit(inputs: CreditInputs) -> dict[str, Tensor]:
            return {f"blocks.{i}": inputs.error @ matrix.T for i in range(len(inputs.hidden))}

        found.append(diagnose(net, batches, 0.2, credit=credit, progress=False))
    decisions = [{x.alignment.decision for x in report.layers if x.alignment} for report in found]
    assert decisions[0] == {"undefined"}
    assert decisions[1] != {"undefined"}
    assert all(math.isnan(x.alignment.p_holm) for x in found[0].layers if x.alignment)
    below = [report.to_text().split("alignment Γ")[1].split("what decides")[0] for report in found]
    assert "✓" not in below[0]
    assert "✓" in below[1]


def test_hooks_in_a_network_that_does_not_run_in_fp64_are_no_reference() -> None:
    torch.manual_seed(0)

    class Casting(HookedFeedback):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float())

    report = measured(Casting(0.0))
    assert reference(report)[0] == "not measured"
    assert report.verdict == "not measurable"


HONEST = {
    "x.float() first": lambda: nn.Sequential(
        OnlyFp32(), nn.Linear(7, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 5)
    ),
    "relu": lambda: nn.Sequential(
        OnlyFp32(), nn.Linear(7, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5)
    ),
    "residual": FloatInput,
    "state made in forward": lambda: stack(*(StateInForward(nn.Sequential(nn.Linear(8, 8), nn.Tanh())) for _ in "abc")),
}


@pytest.mark.parametrize("kind", HONEST)
@pytest.mark.parametrize("seed", range(4))
def test_an_honest_network_that_does_not_run_in_fp64_is_verified_in_its_own_dtype(kind: str, seed: int) -> None:
    torch.manual_seed(seed)
    state, text = reference(measured(HONEST[kind]()))
    assert state == "passes", text


def test_a_network_that_fits_its_data_perfectly_is_verified() -> None:
    """The loss is flat to fp64 there; the logits are not."""
    torch.manual_seed(0)
    model = stack(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
    x = vectors(48)
    y = model(x).argmax(1)
    with torch.no_grad():
        model[2].weight *= 400.0
        model[2].bias *= 400.0
    report = diagnose(model, list(zip(x.split(16), y.split(16), strict=True)), 1.0)
    assert reference(report)[0] == "passes"


class Noise(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, h: Tensor) -> Tensor:
        return h + self.scale * torch.randn_like(h)


def test_a_random_forward_pass_is_called_random() -> None:
    torch.manual_seed(0)
    report = measured(stack(nn.Linear(8, 8), Noise(1.0), nn.Linear(8, 8)))
    assert report.provenance is not None
    assert any("is random" in caveat for caveat in report.provenance.caveats)
    assert "derivative of the forward" not in reference(report)[1]
    assert [o.state for o in report.criteria if o.name == "resolution"] == ["not measured"]


def test_noise_that_no_seed_repeats_is_not_measurable() -> None:
    import random

    class Outside(nn.Module):
        def forward(self, h: Tensor) -> Tensor:
            return h * (1 + random.random())

    torch.manual_seed(0)
    report = measured(stack(nn.Linear(8, 8), Outside(), nn.Linear(8, 8)))
    state, text = reference(report)
    assert state == "not measured"
    assert "is random" in text
    assert report.verdict == "not measurable"


def test_a_state_that_buffers_keep_does_not_count_as_noise() -> None:
    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)
            self.register_buffer("state", torch.zeros(8))

        def forward(self, h: Tensor) -> Tensor:
            self.state = self.state + 0.1
            return torch.tanh(self.linear(h) + self.state)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    assert reference(measured(stack(Stateful(), Stateful())))[0] == "passes"


def test_an_honest_network_whose_backward_stays_in_fp32_passes() -> None:
    class Cast(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):  # type: ignore[no-untyped-def]
            return x * 2

        @staticmethod
        def backward(ctx, grad):  # type: ignore[no-untyped-def]
            return torch.mm(grad, 2 * torch.eye(grad.shape[1]))

    class Doubled(Layers):
        def after(self, h: Tensor) -> Tensor:
            return Cast.apply(h)  # type: ignore[no-any-return]

    report = measured(Doubled())
    assert reference(report)[0] == "passes"
    assert report.provenance is not None
    assert report.provenance.derivative_error < 1e-5


def test_a_hook_whose_forward_casts_is_verified_in_its_own_dtype_or_named() -> None:
    class Casts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.float()

    torch.manual_seed(0)
    states = []
    for factor in (1.0, 0.5):
        model = NoContract()
        model.blocks[0].register_full_backward_hook(lambda _m, grads, _out, by=factor: (grads[0] * by,))
        model.out_head = nn.Sequential(Casts(), model.out_head)
        states.append(reference(measured(model))[0])
    assert states == ["passes", "not measured"]


@pytest.mark.parametrize("seed", [0, 2, 6, 7])
def test_ties_of_an_honest_network_are_no_false_alarm(seed: int) -> None:
    """Max pooling over a constant background: at the ties themselves 0.2 to 0.5 off."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(784, 10),
    )  # fmt: skip
    images = torch.zeros(32, 1, 28, 28)
    images[:, :, 10:14, 8:20] = torch.rand(32, 1, 4, 12)
    target = torch.randint(0, 10, (32,))
    report = diagnose(model, [(images[:16], target[:16]), (images[16:], target[16:])], 0.1, progress=False)
    assert reference(report)[0] == "passes"


def test_detached_hidden_states_are_not_measurable() -> None:
    report = measured(Detached())
    assert report.verdict == "not measurable"
    assert "no graph leads from the loss to any hidden state" in reference(report)[1]
    assert report.original_verdict != "trustworthy"


def test_an_early_reader_is_no_false_alarm() -> None:
    report = measured(EarlyUse())
    assert reference(report)[0] == "passes"
    assert report.provenance is not None
    assert report.provenance.derivative_error < 1e-6


def test_a_network_that_detaches_in_some_batches_is_not_measurable() -> None:
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(7, 8), nn.Linear(8, 5)
            self.blocks = nn.ModuleList(ResidualBlock() for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            h = self.embed(x)
            for block in self.blocks:
                h = h + block(h)
                h = h.detach() if bool(x.detach()[0, 0] > 0) and block is self.blocks[0] else h
            return self.head(h)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    batches = [(vectors(16), torch.randint(0, 5, (16,))) for _ in range(4)]
    for index, (x, _) in enumerate(batches):
        x[0, 0] = 1.0 if index == 2 else -1.0
    report = diagnose(Sometimes(), batches)
    assert report.verdict == "not measurable"
    state, text = reference(report)
    assert state == "not measured"
    assert text == "no graph leads from the loss to 2 of 4 hidden states in some batches (input of blocks.0, blocks.0)"
    assert [math.isnan(layer.gradient_norm) for layer in report.layers] == [True, True, False, False]
    assert [layer.undefined_share for layer in report.layers] == [0.25, 0.25, 0.0, 0.0]


def test_an_early_reader_behind_a_table_of_its_own_is_no_false_alarm() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Parameter(torch.randn(11, 8)), nn.Linear(8, 5)
            self.blocks = nn.ModuleList(ResidualBlock() for _ in range(2))

        def forward(self, ids: Tensor) -> Tensor:
            h = self.table[ids].mean(1)
            early = torch.tanh(3 * h)
            for block in self.blocks:
                h = h + block(h)
            return self.head(h + early)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    report = diagnose(Table(), [(tokens(16), torch.randint(0, 5, (16,))) for _ in range(3)], None)
    assert reference(report)[0] == "passes"


def test_an_early_reader_behind_an_embedding_is_no_false_alarm() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(11, 8), nn.Linear(8, 5)
            self.blocks = nn.ModuleList(ResidualBlock() for _ in range(2))

        def forward(self, ids: Tensor) -> Tensor:
            h = self.embed(ids).sum(1)
            early = torch.tanh(3 * h)
            for block in self.blocks:
                h = h + block(h)
            return self.head(h + early)  # type: ignore[no-any-return]

    report = diagnose(Tokens(), [(tokens(16), torch.randint(0, 5, (16,))) for _ in range(2)], 0.5)
    assert reference(report)[0] == "passes"


def test_honest_networks_pass() -> None:
    assert reference(measured(ResidualMLP()))[0] == "passes"


@pytest.mark.parametrize("honest", [True, False])
def test_a_network_that_stretches_small_changes_is_verified_with_a_finer_step(honest: bool) -> None:
    class Stretch(nn.Module):
        def forward(self, h: Tensor) -> Tensor:
            wave = torch.sin(3e5 * h)
            return wave if honest else torch.tanh(h) + (wave - torch.tanh(h)).detach()

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 16), nn.Tanh(), nn.Linear(16, 16), Stretch(), nn.Linear(16, 5))
    state, text = reference(measured(model))
    assert state == ("passes" if honest else "not measured"), text
