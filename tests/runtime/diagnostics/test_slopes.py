"""Feedback whose credit is multiplied by the derivative of the activation: ``(e B^T) f'``, the published form."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fa_lint_runtime import (
    CreditInputs,
    DiagnosticReport,
    Feedback,
    Monitor,
    diagnose,
    load_checkpoint,
    save_checkpoint,
)

C = 4
ACTIVATIONS = {
    "relu": (nn.ReLU, lambda z: (z > 0).to(z.dtype)),
    "in place": (lambda: nn.ReLU(inplace=True), lambda z: (z > 0).to(z.dtype)),
    "tanh": (nn.Tanh, lambda z: 1 - z.tanh() ** 2),
    "leaky": (lambda: nn.LeakyReLU(0.3), lambda z: torch.where(z > 0, 1.0, 0.3)),
    "sigmoid": (nn.Sigmoid, lambda z: z.sigmoid() * (1 - z.sigmoid())),
    "softplus": (nn.Softplus, torch.sigmoid),
    "relu6": (nn.ReLU6, lambda z: ((z > 0) & (z < 6)).to(z.dtype)),
}


def data(*shape: int, count: int = 2) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(48, *shape), torch.randint(0, C, (48,))) for _ in range(count)]


def gammas(report: DiagnosticReport) -> list[float]:
    return [x.alignment.gamma.value for x in report.layers if x.alignment]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["dfa", "fa"])
def test_the_credit_is_that_of_the_formula(activation: str, kind: str) -> None:
    torch.manual_seed(0)
    make, slope = ACTIVATIONS[activation]
    net = nn.Sequential(nn.Linear(6, 12), make(), nn.Linear(12, 9), make(), nn.Linear(9, C))
    draw = Feedback.dfa if kind == "dfa" else Feedback.fa
    feedback = draw([12, 9], C, 3, sites=["0", "2"], derivative=True)

    def formula(inputs: CreditInputs) -> dict[str, Tensor]:
        first, last = (slope(z.double()) for z in inputs.hidden[-2:])
        a = (inputs.error @ feedback["2"].double().T) * last
        signal = inputs.error if kind == "dfa" else a
        return {"0": (signal @ feedback["0"].double().T) * first, "2": a}

    own = diagnose(net, data(6), 0.3, feedback=feedback, progress=False)
    explicit = diagnose(net, data(6), 0.3, credit=formula, progress=False)
    without = Feedback(dict(feedback.items()), kind=feedback.kind)
    assert len(gammas(own)) == 2
    assert gammas(own) == pytest.approx(gammas(explicit)[-2:], abs=1e-6)
    assert gammas(own) != pytest.approx(gammas(diagnose(net, data(6), 0.3, feedback=without))[-2:], abs=1e-3)
    for a, b in zip(own.layers[-2:], explicit.layers[-2:], strict=True):
        assert a.alignment is not None
        assert b.alignment is not None
        assert a.alignment.statistic == pytest.approx(b.alignment.statistic, abs=1e-6)
        assert a.alignment.parameter_cosine == pytest.approx(b.alignment.parameter_cosine, abs=1e-6)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(nn.Linear(8, 8) for _ in range(3)), nn.Linear(8, C)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.gelu(layer(x))
        return self.head(x)  # type: ignore[no-any-return]


def test_activations_that_are_functions() -> None:
    feedback = Feedback.dfa([8] * 3, C, 3, sites=[f"layers.{i}" for i in range(3)], derivative=True)
    report = diagnose(Functional(), data(8), 0.3, feedback=feedback, layers="layers.*", progress=False)
    assert [x.name for x in report.layers] == ["layers.0", "layers.1", "layers.2"]
    assert len(gammas(report)) == 3


def test_feature_maps() -> None:
    torch.manual_seed(0)
    convolutions = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
    net = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, C))
    maps = Feedback.dfa([6 * 25] * 2, C, 3, sites=["0", "2"], derivative=True)

    def formula(inputs: CreditInputs) -> dict[str, Tensor]:
        slopes = [(z > 0).double().flatten(1) for z in inputs.hidden]
        return maps.credit(inputs.error, dict(zip(maps.sites, slopes, strict=True)))

    own, explicit = (
        diagnose(net, data(3, 5, 5), 0.3, layers=["0", "2"], progress=False, **given)
        for given in ({"feedback": maps}, {"credit": formula})
    )
    assert len(gammas(own)) == 2
    assert gammas(own) == pytest.approx(gammas(explicit))


def test_a_state_behind_its_activation_is_named() -> None:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(3)]
    net = nn.Sequential(*blocks, nn.Linear(8, C))
    feedback = Feedback.dfa([8] * 3, C, 3, sites=["0.1", "1.1", "2.1"], derivative=True)
    with pytest.raises(ValueError, match=r"is followed by .*, not by one activation"):
        diagnose(net, data(8), 0.3, feedback=feedback, layers=["0.1", "1.1", "2.1"], progress=False)


def test_the_derivative_travels_with_the_feedback(tmp_path: Path) -> None:
    feedback = Feedback.dfa([8], C, 3, derivative=True)
    assert feedback.digest != Feedback.dfa([8], C, 3).digest
    other = Feedback.dfa([8], C, 4)
    other.load_state_dict(feedback.state_dict())
    assert other.derivative
    save_checkpoint(tmp_path / "a.pt", nn.Linear(2, 2), feedback=feedback)
    loaded = load_checkpoint(tmp_path / "a.pt").feedback()
    assert loaded.derivative
    assert loaded.digest == feedback.digest
    with pytest.raises(ValueError, match="slopes"):
        feedback.credit(torch.ones(1, C))
    with pytest.raises(ValueError, match="slopes"):
        Feedback.dfa([8], C, 3).credit(torch.ones(1, C), {"blocks.0": torch.ones(1, 8)})


@pytest.mark.parametrize("kind", ["dfa", "fa"])
def test_the_monitor_knows_it_too(kind: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, C))
    draw = Feedback.dfa if kind == "dfa" else Feedback.fa
    feedback = draw([12, 12], C, 3, sites=["0", "2"], derivative=True)
    batch = data(6, count=1)
    reading = Monitor(net, batch[0], every=1, feedback=feedback).check()
    assert reading is not None
    report = diagnose(net, batch, 0.3, feedback=feedback, progress=False)
    assert [g for g in reading.gamma if g is not None] == pytest.approx(gammas(report), abs=1e-6)
