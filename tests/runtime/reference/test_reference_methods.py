"""Every method against its definition; backprop as the special case that pins the local machinery down."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fa_lint_runtime import MissingFeedbackError, output_error, safe_cosine
from fa_lint_runtime.reference import (
    METHODS,
    Backprop,
    CreditBridge,
    DirectFeedbackAlignment,
    EquilibriumPropagation,
    FeedbackAlignment,
    Recipe,
    ReferenceModel,
    ResidualMLP,
    SmallCNN,
    StateBridge,
    StudentNet,
    ViTMini,
    freeze,
    local_step,
    residual_penalty,
    train_step,
)

FACTORIES: dict[str, tuple[Callable[[], ReferenceModel], tuple[int, ...]]] = {
    "mlp": (lambda: ResidualMLP(12, 16, 3, 3), (12,)),
    "student": (lambda: StudentNet(12, 16, 3, 2), (12,)),
    "vit": (lambda: ViTMini((3, 8, 8), 3, width=16, depth=2, heads=2), (3, 8, 8)),
    "cnn": (lambda: SmallCNN((3, 8, 8), 3, width=16), (3, 8, 8)),
}


def made(name: str = "mlp", batch: int = 9) -> tuple[ReferenceModel, Tensor, Tensor]:
    factory, shape = FACTORIES[name]
    return factory(), torch.randn(batch, *shape), torch.randint(0, 3, (batch,))


def gradients(model: ReferenceModel) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


class Still(torch.optim.SGD):
    """An optimiser that leaves the weights alone, so that gradients can be read afterwards."""

    def __init__(self, model: ReferenceModel) -> None:
        super().__init__([p for p in model.parameters() if p.requires_grad], lr=0.0)


@pytest.mark.parametrize("name", FACTORIES)
def test_backprop_credit_is_the_gradient_of_every_hidden_state(name: str) -> None:
    model, x, y = made(name)
    credits = Backprop(model, x).credit(local_step(model, x, y))
    logits, hidden = model(x, return_hidden=True)
    true = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), hidden)
    for a, g in zip(credits, true, strict=True):
        torch.testing.assert_close(a, g, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FACTORIES)
def test_local_training_by_exact_credit_is_backprop(name: str) -> None:
    """The oracle of the whole local path: same gradients of every parameter as ``loss.backward()``."""
    model, x, y = made(name)
    step = local_step(model, x, y)
    credits = Backprop(model, x).credit(step)
    roots = [step.losses.mean(), *step.outputs]
    torch.autograd.backward(roots, [None, *(a / len(x) for a in credits)], inputs=list(model.parameters()))
    local = gradients(model)
    model.zero_grad()
    train_step(model, Backprop(model, x), Still(model), x, y)
    for parameter, gradient in gradients(model).items():
        torch.testing.assert_close(local[parameter], gradient, rtol=1e-4, atol=1e-6, msg=parameter)


def test_penalty_reaches_each_block_alone() -> None:
    model, x, y = made()
    method = DirectFeedbackAlignment(model, x)
    train_step(model, method, Still(model), x, y)
    without = gradients(model)
    train_step(model, method, Still(model), x, y, penalty=2.0)
    penalised = gradients(model)
    step = local_step(model, x, y)
    for index, block in enumerate(model.blocks):
        own = 2.0 * block(step.states[index].detach()).square().sum(1).mean()
        for (name, _), wanted in zip(
            block.named_parameters(), torch.autograd.grad(own, list(block.parameters())), strict=True
        ):
            key = f"blocks.{index}.{name}"
            torch.testing.assert_close(penalised[key] - without[key], wanted, rtol=1e-3, atol=1e-5)
    for key in ("embed.weight", "out_head.weight"):
        assert torch.equal(penalised[key], without[key])
    total = sum(model.blocks[i](step.states[i]).square().sum(1).mean() for i in range(3))
    torch.testing.assert_close(residual_penalty(step, 2.0), 2.0 * total)


def test_dfa_trains_each_block_by_its_own_matrix() -> None:
    model, x, y = made()
    method = DirectFeedbackAlignment(model, x)
    train_step(model, method, Still(model), x, y)
    found = gradients(model)
    error = output_error(model(x).detach(), y) / len(x)
    _, hidden = model(x, return_hidden=True)
    for index, block in enumerate(model.blocks):
        surrogate = (block(hidden[index].detach()) * (error @ method.feedback[f"blocks.{index}"].T)).sum()
        for (name, _), wanted in zip(
            block.named_parameters(), torch.autograd.grad(surrogate, list(block.parameters())), strict=True
        ):
            torch.testing.assert_close(found[f"blocks.{index}.{name}"], wanted, rtol=1e-4, atol=1e-6)
    embed = (model.start(x) * (error @ method.feedback["blocks.0"].T)).sum()
    (wanted,) = torch.autograd.grad(embed, [model.embed.weight])
    torch.testing.assert_close(found["embed.weight"], wanted, rtol=1e-4, atol=1e-6)
    head = torch.autograd.grad(F.cross_entropy(model(x), y), [model.out_head.weight])[0]
    torch.testing.assert_close(found["out_head.weight"], head, rtol=1e-4, atol=1e-6)
    assert method.feedback.kind == "dfa"
    assert 0.8 < float(method.feedback["blocks.1"].std()) * 3**0.5 < 1.2


def test_fa_chains_its_matrices() -> None:
    model, x, y = made()
    method = FeedbackAlignment(model, x)
    credits = method.credit_of(model, x, y)
    a = output_error(model(x).detach(), y)
    for site, credit in zip(reversed(method.sites), reversed(credits), strict=True):
        a = a @ method.feedback[site].T
        torch.testing.assert_close(credit, a)
    assert dict(method.feedback_of_site) == {site: site for site in method.sites}


def test_state_bridge_differentiates_the_loss_through_the_prediction() -> None:
    model, x, y = made()
    method = StateBridge(model, x)
    credits = method.credit_of(model, x, y)
    _, hidden = model(x, return_hidden=True)
    h = hidden[1].detach().requires_grad_()
    depth = F.one_hot(torch.full((len(x),), 1), 4).float()
    predicted = method.bridge(torch.cat([F.layer_norm(h, (16,)), depth], 1))
    (wanted,) = torch.autograd.grad(F.cross_entropy(model.readout(predicted), y, reduction="sum"), h)
    torch.testing.assert_close(credits[1], wanted)


def test_credit_bridge_is_the_gradient_of_its_value() -> None:
    model, x, y = made()
    method = CreditBridge(model, x)
    credits = method.credit_of(model, x, y)
    _, hidden = model(x, return_hidden=True)
    h = hidden[2].detach().requires_grad_()
    inputs = [F.layer_norm(h, (16,)), F.one_hot(y, 3).float(), F.one_hot(torch.full((len(x),), 2), 4).float()]
    (wanted,) = torch.autograd.grad(method.bridge(torch.cat(inputs, 1)).sum(), h)
    torch.testing.assert_close(credits[2], wanted)


@pytest.mark.parametrize("kind", [StateBridge, CreditBridge])
def test_bridges_learn_and_leave_the_model_alone(kind: type[StateBridge] | type[CreditBridge]) -> None:
    model, x, y = made(batch=64)
    method = kind(model, x)
    true = Backprop(model, x).credit_of(model, x, y)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    untrained = float(safe_cosine(method.credit_of(model, x, y)[-1], true[-1]).nanmean())
    for _ in range(150):
        method.learn(local_step(model, x, y))
    trained = float(safe_cosine(method.credit_of(model, x, y)[-1], true[-1]).nanmean())
    assert trained > max(0.6, untrained + 0.2), (untrained, trained)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())


def test_bridges_refuse_states_of_different_shapes() -> None:
    model, x, _ = made("cnn")
    with pytest.raises(ValueError, match=r"hidden states \(B, d\) of one size"):
        StateBridge(model, x)


def test_equilibrium_propagation_becomes_backprop() -> None:
    """As β goes to 0 and the relaxation converges, the credit is the gradient."""
    model, x, y = made()
    model.double()
    x = x.double()
    true = Backprop(model, x).credit_of(model, x, y)
    errors = []
    for beta in (1e-1, 1e-3):
        method = EquilibriumPropagation(model, x, beta=beta, steps=400, rate=0.2)
        credits = method.credit_of(model, x, y)
        errors.append(max(float((a - g).norm() / g.norm()) for a, g in zip(credits, true, strict=True)))
    assert errors[1] < 0.05 * max(errors[0], 1e-2), errors
    assert errors[1] < 1e-2


@pytest.mark.parametrize("name", METHODS)
def test_credit_of_a_sample_does_not_depend_on_the_batch(name: str) -> None:
    model, x, y = made()
    method = METHODS[name](model, x)
    whole, part = method.credit_of(model, x, y), method.credit_of(model, x[:4], y[:4])
    for a, b, h in zip(whole, part, model(x, return_hidden=True)[1], strict=True):
        assert a.shape == h.shape
        assert not a.requires_grad
        torch.testing.assert_close(a[:4], b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model_name", ["vit", "cnn"])
@pytest.mark.parametrize("name", ["bp", "dfa", "fa", "ep"])
def test_methods_train_every_kind_of_network(name: str, model_name: str) -> None:
    model, x, y = made(model_name)
    method = METHODS[name](model, x)
    optimizer = Recipe(lr=1e-3, epochs=1, cosine=False).make_optimizer(list(model.parameters()))
    before = [p.detach().clone() for p in model.parameters()]
    loss = train_step(model, method, optimizer, x, y)
    assert torch.isfinite(loss)
    moved = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    unmoved = [n for (n, _), m in zip(model.named_parameters(), moved, strict=True) if not m]
    # Biases in front of a BatchNorm, and the keys' part of attention's bias, have no gradient in any method.
    assert all("bias" in n for n in unmoved), unmoved


def test_frozen_rules() -> None:
    for rule, learning in (("method", {"embed", "out_ln", "out_head"}), ("head", {"out_ln", "out_head"})):
        model, x, y = made()
        freeze(model, rule)  # type: ignore[arg-type]
        train_step(model, DirectFeedbackAlignment(model, x), Still(model), x, y, penalty=0.1)
        assert {name.split(".")[0] for name in gradients(model)} == learning
    with pytest.raises(ValueError, match="frozen must be one of"):
        freeze(model, "blocks")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["dfa", "fa", "sb", "cb"])
def test_auxiliaries_are_taken_whole_or_refused(name: str) -> None:
    model, x, y = made()
    method, other = METHODS[name](model, x), METHODS[name](model, x)
    source = method.auxiliaries
    assert source is not None
    stored = {
        site: {"": item} if isinstance(item, Tensor) else dict(item.state_dict()) for site, item in source.items()
    }
    other.load_auxiliaries(stored)
    for a, b in zip(method.credit_of(model, x, y), other.credit_of(model, x, y), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(MissingFeedbackError):
        other.load_auxiliaries({})
    if name in ("dfa", "fa"):
        with pytest.raises(ValueError, match="has shape"):
            other.load_auxiliaries({site: {"": torch.zeros(2, 2)} for site in stored})
