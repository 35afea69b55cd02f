"""Batches and arguments as people have them: each works, or one line says what to write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from zoo import GPT, C, ResidualMLP, T, tokens, vectors

from fa_lint_runtime import Feedback, Monitor, diagnose


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


class Sample(NamedTuple):
    x: Tensor
    y: Tensor


@dataclass
class ModelOutput:
    logits: Tensor
    loss: Tensor | None = None


class Two(nn.Module):
    """Two arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.net = ResidualMLP(inputs=14)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.net(torch.cat([left, right], 1))  # type: ignore[no-any-return]


class Listed(Two):
    """One argument that is a list."""

    def forward(self, both: list[Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(*both)


class Splat(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.net(*inputs)  # type: ignore[no-any-return]


def classes(n: int = 16) -> Tensor:
    return torch.randint(0, C, (n,))


def norms(model: nn.Module, batches: Any, **given: Any) -> list[float]:
    return [x.gradient_norm for x in diagnose(model, batches, progress=False, **given).layers]


def test_pairs_of_inputs_however_they_are_held() -> None:
    torch.manual_seed(0)
    model, listed = Two(), Listed()
    listed.load_state_dict(model.state_dict())
    given = [((vectors(16), vectors(16)), classes()) for _ in range(2)]
    expected = norms(model, given)
    samples = [((x[0][i], x[1][i]), y[i]) for x, y in given for i in range(16)]
    loader = DataLoader(samples, batch_size=16)  # type: ignore[arg-type,var-annotated]
    assert isinstance(next(iter(loader))[0], list)
    assert norms(model, loader) == expected
    assert norms(listed, loader) == expected
    assert norms(model, [(Pair(*x), y) for x, y in given]) == expected
    assert norms(model, [Sample(x, y) for x, y in given]) == expected  # type: ignore[arg-type]
    for net in (model, listed, Splat(model)):
        assert diagnose(net, loader, progress=False).verdict == "no fault found"  # lists reach the run in fp64, too


def test_batches_of_the_trainer() -> None:
    torch.manual_seed(0)
    model = GPT()
    given = [(tokens(16), classes()) for _ in range(2)]
    expected = norms(model, [({"input_ids": x}, y) for x, y in given])
    assert norms(model, [{"input_ids": x, "labels": y} for x, y in given]) == expected
    with pytest.raises(ValueError, match="without labels"):
        norms(model, [{"input_ids": x} for x, _ in given])
    with pytest.raises(ValueError, match=r"a tuple of 3: several inputs are \(\(a, b\), y\)"):
        norms(model, [(x, y, y) for x, y in given])


@pytest.mark.parametrize("shift", [0, 1])
def test_labels_that_the_model_itself_shifts(shift: int) -> None:
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = GPT(whole=True)

        def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Any:
            logits = self.net(input_ids).logits
            if labels is None:
                return ModelOutput(logits)
            kept = logits[:, : logits.shape[1] - shift]
            return ModelOutput(logits, F.cross_entropy(kept.flatten(0, 1), labels[:, shift:].flatten()))

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        kept = logits[:, : logits.shape[1] - shift]
        return F.cross_entropy(kept.flatten(0, 1), y[:, shift:].flatten(), reduction="sum")

    torch.manual_seed(0)
    model, given = Language(), [tokens(16) % C for _ in range(2)]
    batches = [{"input_ids": x, "labels": x} for x in given]
    expected = norms(model, [({"input_ids": x}, x) for x in given], loss_fn=loss)
    assert norms(model, batches) == pytest.approx(expected, rel=1e-5)
    report = diagnose(model, batches, progress=False)
    assert report.provenance is not None
    assert report.provenance.loss == "cross-entropy" + " of the next token" * shift
    reading = Monitor(model, batches[0], every=1).step()
    assert reading is not None
    assert reading.gradient_norms == pytest.approx(norms(model, batches[:1]), rel=1e-5)


def test_sequences_of_unlike_length() -> None:
    torch.manual_seed(0)
    model = GPT()
    given = [(tokens(16)[:, :length], classes()) for length in (T, T - 2, T - 1)]
    assert norms(model, given, token="last") == norms(model, given)


def test_regression_without_a_headline() -> None:
    torch.manual_seed(0)
    given = [(vectors(16), torch.randn(16, C)) for _ in range(3)]
    for loss in (F.mse_loss, nn.MSELoss(), nn.MSELoss(reduction="none"), lambda out, y: (out - y).square().sum()):
        report = diagnose(ResidualMLP(), given, None, loss_fn=loss, progress=False)
        assert report.verdict == "no fault found"
        assert report.headline_acc != report.headline_acc


def test_several_outputs_are_named() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = ResidualMLP()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            out = self.net(x)
            return {"kind": out, "size": out[:, :1]}

    with pytest.raises(TypeError, match=r"several outputs \(kind, size\).*wrap it"):
        diagnose(Heads(), [(vectors(16), classes())], progress=False)


def test_several_targets() -> None:
    def loss(out: Tensor, y: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(out[:, :2], y["kind"]) + F.mse_loss(out[:, 2:3], y["size"])

    torch.manual_seed(0)
    given = [(vectors(16), {"kind": torch.randint(0, 2, (16,)), "size": torch.randn(16, 1)}) for _ in range(3)]
    assert diagnose(ResidualMLP(), given, loss_fn=loss, progress=False).verdict == "no fault found"


def test_a_loss_of_several_outputs_is_told_what_it_is_given() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = ResidualMLP()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            out = self.net(x)
            return out, out[:, :1]

    def loss(out: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        return F.cross_entropy(out[0], y) + out[1].mean()

    with pytest.raises(ValueError, match=r"loss_fn fails.*given the logits \(3, \d+\).*wrap the model"):
        diagnose(Heads(), [(vectors(16), classes())], loss_fn=loss, progress=False)  # type: ignore[arg-type]


def test_samples_that_are_the_nodes_of_a_graph_are_measured_together() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.head = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)]), nn.Linear(8, C)

        def forward(self, x: Tensor, edges: Tensor) -> Tensor:
            if edges.max() >= len(x):
                raise IndexError("an edge to a node that does not exist")
            for block in self.blocks:
                x = torch.tanh(x + torch.zeros_like(x).index_add(0, edges[1], block(x)[edges[0]]))
            return self.head(x)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    given = [((torch.randn(40, 8), torch.randint(0, 40, (2, 90))), classes(40)) for _ in range(3)]
    report = diagnose(Graph(), given, progress=False)
    assert report.verdict == "no fault found"
    assert report.provenance is not None
    assert report.provenance.caveats == ()
    assert report.layers[0].precision is not None
    assert report.layers[0].precision.resolution > 0.999


def test_a_state_of_the_size_of_a_batch() -> None:
    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(7, 8)
            self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
            self.head = nn.Linear(8, C)
            self.register_buffer("state", torch.zeros(16, 8))

        def forward(self, x: Tensor) -> Tensor:
            h = self.linear(x)
            self.state = 0.5 * self.state + h.detach()
            for block in self.blocks:
                h = torch.tanh(block(h + self.state))
            return self.head(h)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    report = diagnose(Stateful(), [(vectors(16), classes()) for _ in range(3)], progress=False)
    assert len(report.layers) >= 2
    assert report.verdict != "trustworthy"


def test_credit_of_feedback_in_the_dtype_of_the_model() -> None:
    torch.manual_seed(0)
    model, given = ResidualMLP(), [(vectors(16), classes()) for _ in range(3)]
    feedback = Feedback.dfa([8] * 4, C, seed=1)
    own = diagnose(model, given, credit=lambda inputs: feedback.credit(inputs.error), progress=False)
    stored = diagnose(model, given, feedback=feedback, progress=False)
    for a, b in zip(own.layers, stored.layers, strict=True):
        assert a.alignment is not None
        assert b.alignment is not None
        assert a.alignment.gamma == b.alignment.gamma
    matrix = torch.randn(8, C)
    with pytest.raises(TypeError, match=r"inputs\.error is float64.*matrix\.double"):
        diagnose(model, given, credit=lambda inputs: [inputs.error @ matrix.T] * 4, progress=False)


def test_feedback_that_meets_no_state_says_what_to_write() -> None:
    torch.manual_seed(0)
    feedback = Feedback.dfa([8] * 2, C, seed=1, sites=["here", "there"])
    with pytest.raises(ValueError, match=r"2 credit sites \(here, there\).*sites="):
        diagnose(ResidualMLP(), [(vectors(16), classes())], feedback=feedback, progress=False)


@pytest.mark.parametrize("how", ["replaced", "data replaced", "in place", "data in place"])
def test_feedback_that_a_forward_pass_derives_from_the_weights_is_restored(how: str) -> None:
    """biotorch's usf and brsf: ``weight_backward`` follows the signs of the weights in every forward pass."""

    class Signs(nn.Linear):
        def __init__(self) -> None:
            super().__init__(8, 8)
            self.weight_backward = nn.Parameter(torch.randn(8, 8), requires_grad=False)

        def forward(self, h: Tensor) -> Tensor:
            with torch.no_grad():
                derived = self.weight.sign() * 0.1
                if how == "replaced":
                    self.weight_backward = nn.Parameter(derived, requires_grad=False)
                elif how == "data replaced":
                    self.weight_backward.data = derived
                elif how == "in place":
                    self.weight_backward.copy_(derived)
                else:
                    self.weight_backward.data.copy_(derived)
            return torch.tanh(super().forward(h))

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(7, 8), nn.Sequential(nn.Sequential(Signs()), nn.Sequential(Signs())), nn.Linear(8, C)
    )
    objects = list(model.parameters())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    diagnose(model, [(vectors(16), classes()) for _ in range(2)], progress=False)
    assert all(a is b for a, b in zip(objects, model.parameters(), strict=True))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in objects]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_data_loader_does_not_move_the_global_generator(shuffle: bool) -> None:
    samples = [(x, y) for x, y in zip(vectors(32), classes(32), strict=True)]
    loader = DataLoader(samples, batch_size=16, shuffle=shuffle)  # type: ignore[arg-type,var-annotated]
    model = ResidualMLP()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    diagnose(model, loader, progress=False)
    assert torch.equal(before, torch.get_rng_state())


def test_a_backward_pass_that_wants_its_own_training_loop_says_so_in_one_line() -> None:
    """biotorch's DFA: a hook multiplies what its own loss wrapper would have left."""
    torch.manual_seed(0)
    model = ResidualMLP()
    model.loss_gradient = None

    def hook(*_: Any) -> tuple[Tensor]:
        return (model.loss_gradient.mm(torch.ones(C, 8)),)  # type: ignore[union-attr]

    model.blocks[1].register_full_backward_hook(hook)
    with pytest.raises(ValueError, match=r'only its own training loop sets.*reference="twin"'):
        diagnose(model, [(vectors(16), classes()) for _ in range(2)], progress=False)
    model.loss_gradient = torch.ones(16, C)  # of the last step of training; the first samples are fewer
    with pytest.raises(ValueError, match=r"only its own training loop sets .*has changed the size of value"):
        diagnose(model, [(vectors(16), classes()) for _ in range(2)], progress=False, reference="twin")
    feedback = Feedback.dfa([8] * 4, C, seed=0)
    report = diagnose(
        model, [(vectors(16), classes()) for _ in range(2)], progress=False, reference="twin", feedback=feedback
    )
    assert {o.name: o.state for o in report.criteria}["reference"] == "passes"
