"""What the intervals and the null promise, measured; and a system whose exact credit is a formula."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training import CLASSES, DEPTH, WIDTH, accuracy, batches, trained

from fa_lint_runtime import CreditInputs, Feedback, diagnose, safe_cosine
from fa_lint_runtime.diagnostics.null import FeedbackNull, Moments, SignNull, SignSums
from fa_lint_runtime.diagnostics.rows import as_rows, group_sums
from fa_lint_runtime.diagnostics.stability import drifts
from fa_lint_runtime.diagnostics.statistics import binomial_interval, bootstrap_mean
from fa_lint_runtime.feedback import Kind


@functools.cache
def gradients_and_errors(method: str) -> tuple[tuple[Tensor, ...], Tensor]:
    """Per-sample gradients (n, d) of every hidden state, and unit errors (n, C), by a plain explicit pass."""
    model, _ = trained(method)
    x, y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    logits, hidden = model.double()(x.double(), return_hidden=True)
    error = (logits.softmax(1) - torch.nn.functional.one_hot(y, CLASSES)).detach()
    loss = torch.nn.functional.cross_entropy(logits, y, reduction="sum")
    found = torch.autograd.grad(loss, hidden), error
    model.float()
    return found


def moments_of(gradient: Tensor, error: Tensor) -> Moments:
    g, u = gradient / gradient.norm(dim=1, keepdim=True), error / error.norm(dim=1, keepdim=True)
    return Moments(g.T @ u, u.T @ u, torch.tensor(float(len(g)), dtype=torch.float64))


@pytest.mark.slow
def test_alignment_of_a_backprop_network_is_found_in_5_percent_of_cases_where_samples_say_70() -> None:
    gradients, error = gradients_and_errors("bp")
    layers = [(g, moments_of(g, error)) for g in gradients]
    by_null, by_samples = [], []
    for simulated in range(200):
        feedback = Feedback.dfa([WIDTH], CLASSES, seed=10_000 + simulated)["blocks.0"].double()
        for index, (gradient, moments) in enumerate(layers):
            observed, fresh = FeedbackNull("dfa", feedback, (WIDTH,), 199, 1000 * index + simulated).values([moments])
            by_null.append((1 + (np.abs(fresh) >= abs(observed)).sum()) / 200 <= 0.05)
            (gamma,) = bootstrap_mean([safe_cosine(error @ feedback.T, gradient)], 199, 0.05, simulated)
            by_samples.append(gamma.low > 0 or gamma.high < 0)
    assert 0.02 <= np.mean(by_null) <= 0.08
    assert np.mean(by_samples) > 0.5


SLOPES = {
    "relu": lambda z: (z > 0).to(z.dtype),
    "tanh": lambda z: 1 - z.tanh() ** 2,
}


def preactivations(
    activation: str, width: int, seed: int, count: int = 256
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """States, gradients at them and output errors of an untrained network of three hidden layers, fp64."""
    torch.manual_seed(seed)
    h, states = torch.randn(count, 16, dtype=torch.float64), []
    for fan_in in (16, width, width):
        states.append(h @ torch.randn(fan_in, width, dtype=torch.float64) / fan_in**0.5)
        states[-1].requires_grad_(True)
        h = getattr(torch, activation)(states[-1])
    logits = h @ torch.randn(width, CLASSES, dtype=torch.float64) / width**0.5
    y = torch.randint(0, CLASSES, (count,))
    gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, y, reduction="sum"), states)
    return states, list(gradients), (logits.softmax(1) - torch.nn.functional.one_hot(y, CLASSES)).detach()


@pytest.mark.slow
@pytest.mark.parametrize("activation", SLOPES)
@pytest.mark.parametrize("width", [10, 32, 128])
def test_credit_times_the_derivative_of_the_activation_is_aligned_by_chance_in_5_percent_of_layers(
    activation: str, width: int
) -> None:
    p_values = []
    for trial in range(200):
        states, gradients, error = preactivations(activation, width, trial)
        for index, (z, gradient) in enumerate(zip(states, gradients, strict=True)):
            feedback = Feedback.dfa([width], CLASSES, seed=10_000 + 3 * trial + index)
            credit = feedback.credit(error)["blocks.0"] * SLOPES[activation](z.detach())
            sums = SignSums.of(as_rows(gradient).unit, as_rows(credit).unit, (width,))
            observed, fresh = SignNull(199, trial).values([sums])
            p_values.append((1 + (np.abs(fresh) >= (1 - 1e-12) * abs(observed)).sum()) / (len(fresh) + 1))
    interval = binomial_interval(int((np.array(p_values) <= 0.05).sum()), len(p_values), 0.01)
    assert interval.low <= 0.05
    assert width == 10 or interval.high >= 0.05  # a few units have few sums of signs: at most 5 %


def test_signs_are_redrawn_for_features_and_channels_that_share_a_row_of_the_feedback() -> None:
    rng = torch.Generator().manual_seed(0)
    for shape in [(12, 7), (7, 3, 5)]:  # positions of 7 features; 7 channels of 3 by 5
        credit = torch.randn(7, generator=rng, dtype=torch.float64)
        credit = credit.expand(12, 7) if len(shape) == 2 else credit.reshape(7, 1, 1).expand(shape)
        sums = SignSums.of(torch.ones(1, credit.numel(), dtype=torch.float64), credit.reshape(1, -1), shape)
        assert sums.units.shape == (7,)
        assert float(sums.units.sum()) == pytest.approx(float(credit.sum()))
        observed, fresh = SignNull(199, 0).values([sums])
        assert len(fresh) == 2**7 - 1
        assert fresh.sum() == pytest.approx(-observed)  # over all patterns of signs, nothing


def test_power_of_a_credit_function_on_a_network_that_was_trained_by_feedback() -> None:
    model, feedback = trained("dfa")
    report = diagnose(model, batches(), accuracy(model), credit=lambda inputs: feedback.credit(inputs.error))
    found = [x.alignment for x in report.layers]
    assert all(a is not None and a.decision == "aligned" and a.z > 3.5 for a in found)
    other = Feedback.dfa([WIDTH] * DEPTH, CLASSES, seed=999)
    fresh = diagnose(model, batches(), accuracy(model), credit=lambda inputs: other.credit(inputs.error))
    assert [x.alignment.decision for x in fresh.layers if x.alignment] == ["not distinguishable"] * 5


@pytest.mark.parametrize("width", [1, 3, 5])
def test_too_few_units_to_redraw_their_signs_decide_nothing(width: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))
    data = [(torch.randn(32, 4), torch.randint(0, 3, (32,))) for _ in range(2)]
    matrix = torch.randn(width, 3, dtype=torch.float64)
    report = diagnose(model, data, 0.4, credit=lambda inputs: dict.fromkeys(("0", "2"), inputs.error @ matrix.T))
    assert {x.alignment.decision for x in report.layers if x.alignment} == {"undefined"}
    (found,) = [o for o in report.criteria if o.name == "alignment"]
    assert found.state == "not measured"
    assert "too few units" in found.text


@pytest.mark.parametrize(("kind", "sizes"), [("dfa", (WIDTH,)), ("fa", (WIDTH, 12, 20)), ("fa", (WIDTH, 6))])
def test_draws_from_the_law_have_the_distribution_of_real_fresh_feedback(kind: Kind, sizes: tuple[int, ...]) -> None:
    gradients, error = gradients_and_errors("bp")
    moments = moments_of(gradients[2], error)
    u = error / error.norm(dim=1, keepdim=True)
    g = gradients[2] / gradients[2].norm(dim=1, keepdim=True)
    rng = np.random.default_rng(5)
    product = np.broadcast_to(np.eye(CLASSES), (5000, CLASSES, CLASSES))
    for size in reversed(sizes):
        product = rng.standard_normal((5000, size, product.shape[1])) @ product
    cross, second = moments.cross.numpy(), moments.second.numpy()
    real = (product * cross).sum((1, 2)) / np.sqrt(len(g) * ((product @ second) * product).sum((1, 2)))
    for drawn, value in zip(product[:3], real[:3], strict=True):  # the two sums are all that samples matter for
        credit = u @ torch.from_numpy(drawn).T
        assert value == pytest.approx(float((g * credit).sum() / (len(g) * credit.square().sum()).sqrt()))
    observed, law = FeedbackNull(kind, torch.from_numpy(product[0]), sizes, 20_000, 1).values([moments])
    assert observed == pytest.approx(real[0])
    assert law.std() == pytest.approx(real.std(), rel=0.06)
    assert abs(law.mean()) < 4 * law.std() / 20_000**0.5
    for q in (0.05, 0.25, 0.75, 0.95):
        assert np.quantile(law, q) == pytest.approx(np.quantile(real, q), abs=0.12 * law.std())


def test_the_statistic_is_gamma_to_a_few_percent() -> None:
    model, feedback = trained("dfa")
    report = diagnose(model, batches(), accuracy(model), feedback=feedback)
    for layer in report.layers[1:]:
        assert layer.alignment is not None
        assert layer.alignment.statistic == pytest.approx(layer.alignment.gamma.value, rel=0.15, abs=0.02)


def test_power_on_a_network_that_was_trained_by_feedback() -> None:
    model, feedback = trained("dfa")
    report = diagnose(model, batches(), accuracy(model), feedback=feedback)
    found = [x.alignment for x in report.layers]
    assert all(a is not None and a.decision == "aligned" and a.p_holm <= 0.05 for a in found)
    other = Feedback.dfa([WIDTH] * DEPTH, CLASSES, seed=999)
    fresh = diagnose(model, batches(), accuracy(model), feedback=other)
    assert [x.alignment.decision for x in fresh.layers if x.alignment] == ["not distinguishable"] * 5
    assert fresh.verdict == "walked back"
    assert "alignment" in fresh.fired
    assert report.alignment is not None
    assert fresh.alignment is not None
    assert report.alignment.digest == feedback.digest != fresh.alignment.digest


@pytest.mark.slow
@pytest.mark.parametrize("tail", ["equal norms", "lognormal norms"])
@pytest.mark.parametrize("common", [0.5, 1.5])
def test_coverage_of_rho(common: float, tail: str) -> None:
    d, n, repeats = 24, 1024, 300
    rng = torch.Generator().manual_seed(7)

    def sample(count: int) -> Tensor:
        g = torch.randn(count, d, generator=rng, dtype=torch.float64)
        g[:, 0] += common
        size = torch.randn(count, 1, generator=rng, dtype=torch.float64) if tail != "equal norms" else 0.0
        return g * torch.exp(torch.as_tensor(0.7 * size))

    many = sample(1_000_000)
    energy = float(many.mean(0).square().sum() / many.square().sum(1).mean())
    direction = float((many / many.norm(dim=1, keepdim=True)).mean(0).square().sum())
    hits = np.zeros(2)
    for _ in range(repeats):
        (found,) = drifts([[group_sums(as_rows(b.unsqueeze(0)), 4)[0] for b in sample(n).split(128)]], 0.05)
        hits += [
            found.rho_energy.low <= energy <= found.rho_energy.high,
            found.rho_direction.low <= direction <= found.rho_direction.high,
        ]
    assert 0.91 <= hits[0] / repeats <= 0.98
    assert 0.91 <= hits[1] / repeats <= 0.98


def test_the_original_stability_is_a_function_of_the_batch_size_and_rho_is_not() -> None:
    rng = torch.Generator().manual_seed(3)
    g = torch.randn(4096, 32, generator=rng, dtype=torch.float64)
    g[:, 0] += 0.5  # rho = 0.25 / 32.25
    rho = 0.25 / 32.25
    for size in (16, 64, 256):
        (found,) = drifts([[group_sums(as_rows(b.unsqueeze(0)), 4)[0] for b in g.split(size)]], 0.05)
        assert found.stability == pytest.approx(size * rho / (1 + (size - 1) * rho), abs=0.06)
        assert found.rho_energy.value == pytest.approx(rho, abs=0.002)


class LinearQuadratic(nn.Module):
    """Optimal linear-quadratic control as a network: hidden states are the states, the output is the cost."""

    def __init__(self, n: int = 12, horizon: int = 6) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64)

        a, b = torch.eye(n, dtype=torch.float64) + 0.3 * normal(n, n) / n**0.5, normal(n, 4) / n**0.5
        self.q, self.r = 0.1 * torch.eye(n, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
        self.P = [torch.eye(n, dtype=torch.float64)]
        self.gains: list[Tensor] = []
        for _ in range(horizon):
            after = self.P[0]
            gain = torch.linalg.solve(self.r + b.T @ after @ b, b.T @ after @ a)
            self.P.insert(0, self.q + a.T @ after @ (a - b @ gain))
            self.gains.insert(0, gain)
        self.blocks = nn.ModuleList(nn.Linear(n, n, bias=False, dtype=torch.float64) for _ in range(horizon))
        for block, gain in zip(self.blocks, self.gains, strict=True):
            block.weight.data = a - b @ gain

    def forward(self, x: Tensor) -> Tensor:
        cost = torch.zeros(len(x), dtype=torch.float64)
        for block, gain in zip(self.blocks, self.gains, strict=True):
            u = x @ gain.T
            cost = cost + ((x @ self.q) * x).sum(1) / 2 + ((u @ self.r) * u).sum(1) / 2
            x = block(x)
        return (cost + (x @ self.P[-1] * x).sum(1) / 2).unsqueeze(1)


def test_linear_quadratic_control_with_the_exact_costate() -> None:
    system = LinearQuadratic()
    starts = torch.randn(512, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    data = [(part, torch.zeros(len(part))) for part in starts.split(64)]

    def costate(inputs: CreditInputs) -> dict[str, Tensor]:
        return {f"blocks.{t}": inputs.hidden[t + 1] @ system.P[t + 1] for t in range(len(system.blocks))}

    def cost(z: Tensor, _y: Tensor) -> Tensor:
        return z.sum()

    exact = diagnose(system, data, 0.5, loss_fn=cost, credit=costate)
    for layer in exact.layers[1:]:
        assert layer.alignment is not None
        assert abs(layer.alignment.gamma.value - 1) < 1e-6
        assert abs(layer.alignment.parameter_cosine - 1) < 1e-6
        assert layer.alignment.decision == "aligned"
        assert layer.alignment.null_high < 0.9

    matrices = {f"blocks.{t}": torch.randn(12, 12, dtype=torch.float64) for t in range(len(system.blocks))}

    def random_feedback(inputs: CreditInputs) -> dict[str, Tensor]:
        return {site: inputs.hidden[-1] @ B.T for site, B in matrices.items()}

    chance = diagnose(system, data, 0.5, loss_fn=cost, credit=random_feedback)
    for layer in chance.layers[1:]:
        assert layer.alignment is not None
        assert layer.alignment.decision == "not distinguishable"
        assert abs(layer.alignment.z) < 3.5
    assert "alignment" in chance.fired
