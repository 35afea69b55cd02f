"""What `diagnose` says to arguments of the wrong kind, and to credits that are no direction."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import C, NoContract, ResidualMLP, vectors

from fa_lint_runtime import CreditInputs, DiagnosticReport, Feedback, diagnose, residual_norms

WIDTH, SITES = 8, 3


def batches(count: int = 3) -> list[tuple[Tensor, Tensor]]:
    return [(vectors(16), torch.randint(0, C, (16,))) for _ in range(count)]


@pytest.mark.parametrize(
    ("arguments", "error", "expected"),
    [
        ({"token": "first"}, ValueError, 'token must be "cls", "last", "mean", "all" or an index, got \'first\''),
        ({"token": True}, ValueError, "token must be"),
        ({"layers": 3}, TypeError, "layers takes a glob or a sequence of names and modules, got 3"),
        ({"layers": ["blocks.0", 1]}, TypeError, "layers takes a glob or a sequence of names and modules"),
        ({"loss_fn": "mse"}, TypeError, r"loss_fn must be a function of \(logits, y\), got 'mse'"),
    ],
)
def test_arguments_of_the_wrong_kind(arguments: dict[str, Any], error: type[Exception], expected: str) -> None:
    with pytest.raises(error, match=expected):
        diagnose(NoContract(), batches(), 0.5, **arguments)


def test_a_model_that_is_no_module() -> None:
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got function"):
        diagnose(lambda x: x, batches(), 0.5)  # type: ignore[arg-type]


def with_credit(value: float, samples: slice, entries: slice = slice(None)) -> DiagnosticReport:
    """Random credit; that of blocks.1, which trains hidden state 2, is ``value`` in some entries of some samples."""

    def credit(given: CreditInputs) -> list[Tensor]:
        signals = [torch.randn(len(given.y), WIDTH) for _ in range(SITES)]
        signals[1][samples, entries] = value
        return signals

    return diagnose(ResidualMLP(depth=SITES), batches(), 0.5, credit=credit)


def outcome(report: DiagnosticReport) -> tuple[str, str]:
    (found,) = [o for o in report.criteria if o.name == "alignment"]
    return found.state, found.text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("samples", [slice(None), slice(1, 2)])
def test_one_credit_that_is_not_finite_is_invalid(value: float, samples: slice) -> None:
    report = with_credit(value, samples, slice(0, 1))
    assert outcome(report) == ("invalid", "the credit of layers [2] holds an inf or a NaN")
    assert report.verdict == "invalid"


@pytest.mark.parametrize(("samples", "share"), [(slice(None), "100%"), (slice(8, None), "50%")])
def test_a_credit_that_does_not_arrive_is_walked_back(samples: slice, share: str) -> None:
    report = with_credit(0.0, samples)
    assert outcome(report) == ("fires", f"the credit of layers [2] is zero in {share} of samples or more")
    assert report.verdict == "walked back"
    assert report.layers[2].alignment is not None
    assert report.layers[2].alignment.decision == "undefined"


def test_a_few_samples_without_credit_are_left_out() -> None:
    report = with_credit(0.0, slice(0, 7))
    assert "differ from fresh feedback" in outcome(report)[1]
    assert report.layers[2].alignment is not None
    assert report.layers[2].alignment.undefined_share == 7 / 16
    assert report.layers[2].alignment.decision != "undefined"


def test_a_token_that_the_loss_does_not_see_is_not_the_fault_of_the_credit() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
            self.head = nn.Linear(WIDTH, C)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = torch.tanh(block(x))
            return self.head(x[:, -1])  # type: ignore[no-any-return]

    given = [(torch.randn(16, 4, WIDTH), torch.randint(0, C, (16,))) for _ in range(3)]
    report = diagnose(Last(), given, feedback=Feedback.dfa([WIDTH] * 2, C, seed=0), token="cls")
    assert outcome(report)[0] == "not measured"
    assert report.verdict == "not measurable"
    assert "does not read the chosen token" in next(o.text for o in report.criteria if o.name == "finite")


def test_another_default_device_changes_nothing() -> None:
    model, feedback, given = ResidualMLP(depth=SITES), Feedback.dfa([WIDTH] * SITES, C, seed=0), batches()
    before = diagnose(model, given, 0.5, 0.4, feedback=feedback)
    with torch.device("meta"):
        assert diagnose(model, given, 0.5, 0.4, feedback=feedback).to_json() == before.to_json()
        assert residual_norms(model, given[0][0]) == before.residual_norms


def test_feedback_in_a_network_that_detaches_in_some_batches() -> None:
    class Sometimes(NoContract):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            h = self.embed(x)
            for index, block in enumerate(self.blocks):
                h = h + block(h)
                h = h.detach() if index == 0 and bool(x.detach()[0, 0] > 0) else h
            return self.out_head(self.out_ln(h))  # type: ignore[no-any-return]

    given = batches(4)
    for index, (x, _) in enumerate(given):
        x[0, 0] = 1.0 if index == 2 else -1.0
    model = Sometimes()
    report = diagnose(model, given, None, feedback=Feedback.dfa([WIDTH] * len(model.blocks), C, seed=0))
    assert report.verdict == "not measurable"
    assert report.layers[0].alignment is None
    assert report.layers[-1].alignment is not None


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_traced_model() -> None:
    traced = torch.jit.trace(NoContract().eval(), vectors(4))
    with pytest.raises(TypeError, match=r"TorchScript calls no hooks: give the nn\.Module"):
        diagnose(traced, batches(), 0.5)
