"""``diagnose`` and the monitor on a device, on two, and with tensors that lie elsewhere: as on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fa_lint_runtime import (
    CreditInputs,
    DiagnosticReport,
    Feedback,
    FrozenBaseline,
    Monitor,
    bp_grad_norms,
    cross_batch_direction_stability,
    diagnose,
    residual_norms,
)

from .conftest import Waiting

SIZE, CLASSES, BLOCKS = 16, 5, 3


class Net(nn.Module):
    """Residual; every part on a device of its own."""

    def __init__(self, *devices: str | torch.device, residual: bool = True) -> None:
        super().__init__()
        places = [torch.device(d) for d in devices] * (BLOCKS + 2 if len(devices) == 1 else 1)
        assert len(places) == BLOCKS + 2
        generator = torch.Generator().manual_seed(0)
        with torch.device("cpu"):
            self.embed = nn.Linear(8, SIZE)
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(SIZE, SIZE), nn.Tanh()) for _ in range(BLOCKS))
            self.head = nn.Linear(SIZE, CLASSES)
            for p in self.parameters():
                p.data = torch.randn(p.shape, generator=generator) / 4
        self.residual = residual
        for part, place in zip((self.embed, *self.blocks, self.head), places, strict=True):
            part.to(place)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.to(self.embed.weight.device))
        for block in self.blocks:
            h = h.to(block[0].weight.device)
            h = h + block(h) if self.residual else block(h)
        return self.head(h.to(self.head.weight.device))


def batches(device: str | torch.device = "cpu") -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(32, 8, generator=generator, device="cpu").to(device),
            torch.randint(0, CLASSES, (32,), generator=generator, device="cpu").to(device),
        )
        for _ in range(3)
    ]


def feedback() -> Feedback:
    return Feedback.dfa([SIZE] * BLOCKS, CLASSES, seed=0)


def credit(device: str | torch.device | None = None) -> Callable[[CreditInputs], dict[str, Tensor]]:
    def of(inputs: CreditInputs) -> dict[str, Tensor]:
        error = inputs.error if device is None else inputs.error.to(device)
        return {site: error @ matrix.to(error.device, error.dtype).mT for site, matrix in feedback().items()}

    return of


def figures(report: DiagnosticReport) -> list[Any]:
    """Everything that must not depend on where it was computed."""
    layers: list[Any] = []
    for layer in report.layers:
        layers += [layer.name, layer.hidden_norm, layer.gradient_norm, layer.elasticity, layer.drift.stability]
        layers += [None if layer.precision is None else layer.precision.resolution]
        if layer.alignment is not None:
            layers += [layer.alignment.gamma.value, layer.alignment.p]
    return [report.verdict, *((c.name, c.state) for c in report.criteria), *layers]


def assert_alike(found: DiagnosticReport, expected: DiagnosticReport) -> None:
    for own, other in zip(figures(found), figures(expected), strict=True):
        numbers = isinstance(own, float) and isinstance(other, float)
        assert own == (pytest.approx(other, rel=1e-4, abs=1e-5, nan_ok=True) if numbers else other)


WAYS: dict[str, dict[str, Any]] = {
    "alone": {},
    "feedback": {"feedback": feedback()},
    "credit": {"credit": credit()},
    "a loss of the user": {"loss_fn": lambda logits, y: F.cross_entropy(logits, y, reduction="none")},
}
SPLIT = (["cuda:0", "cuda:0", "last", "last", "last"], ["cuda:0", "last", "cuda:0", "last", "cuda:0"], ["last"] * 5)


def placed(places: list[str], last: torch.device, **options: Any) -> Net:
    return Net(*(last if place == "last" else place for place in places), **options)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("data", ["cpu", "cuda"])
def test_as_on_the_host(way: str, data: str) -> None:
    expected = diagnose(Net("cpu"), batches(), 0.5, **WAYS[way])
    assert_alike(diagnose(Net("cuda"), batches(data), 0.5, **WAYS[way]), expected)


@pytest.mark.parametrize("way", WAYS)
def test_under_another_default_device(way: str, request: pytest.FixtureRequest) -> None:
    expected = diagnose(Net("cpu"), batches(), 0.5, **WAYS[way])
    request.getfixturevalue("cuda_default")
    assert_alike(diagnose(Net("cpu"), batches(), 0.5, **WAYS[way]), expected)
    assert_alike(diagnose(Net("cuda"), batches(), 0.5, **WAYS[way]), expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("places", SPLIT, ids=lambda places: " ".join(places))
@pytest.mark.parametrize("residual", [True, False])
def test_a_model_on_two_devices(places: list[str], way: str, residual: bool, last: torch.device) -> None:
    expected = diagnose(Net("cpu", residual=residual), batches(), 0.5, **WAYS[way])
    model = placed(places, last, residual=residual)
    assert_alike(diagnose(model, batches(), 0.5, **WAYS[way]), expected)
    assert [p.device for p in model.parameters()] == [
        p.device for p in placed(places, last, residual=residual).parameters()
    ]


@pytest.mark.parametrize("places", SPLIT, ids=lambda places: " ".join(places))
def test_the_functions_of_the_protocol(places: list[str], last: torch.device) -> None:
    x, y = batches()[0]
    for function, arguments in (
        (residual_norms, (x,)),
        (bp_grad_norms, (x, y)),
        (cross_batch_direction_stability, (batches(),)),
    ):
        expected = function(Net("cpu"), *arguments)  # type: ignore[operator]
        assert function(placed(places, last), *arguments) == pytest.approx(expected, rel=1e-4)  # type: ignore[operator]


def test_a_split_model_is_not_pushed_together(last: torch.device) -> None:
    model = placed(SPLIT[0], last)
    if last != torch.device("cuda", 0):
        with pytest.raises(ValueError, match="leave device out"):
            diagnose(model, batches(), 0.5, device="cuda:0")


@pytest.mark.parametrize("lying", ["cpu", "cuda", "last"])
def test_credits_may_lie_anywhere(lying: str, last: torch.device) -> None:
    expected = diagnose(Net("cpu"), batches(), 0.5, credit=credit())
    where = last if lying == "last" else lying
    assert_alike(diagnose(Net("cuda"), batches(), 0.5, credit=credit(where)), expected)


def test_the_host_measures_a_batch_of_the_device_when_it_has_arrived() -> None:
    expected = diagnose(Net("cpu"), batches(), 0.5, feedback=feedback())
    assert_alike(diagnose(Net("cpu"), batches("cuda"), 0.5, feedback=feedback()), expected)


def test_correctness_of_each_sample_may_lie_on_a_device() -> None:
    own = torch.rand(96) < 0.8
    baseline = own & (torch.rand(96) < 0.7)

    def margin(*devices: str, named: bool = False) -> Any:
        headline, other = own.to(devices[0]), baseline.to(devices[1])
        return diagnose(Net("cpu"), batches(), headline, FrozenBaseline(other) if named else other).margin

    expected = margin("cpu", "cpu")
    assert expected.method.startswith("paired bootstrap")
    assert margin("cuda", "cpu") == margin("cpu", "cuda") == margin("cuda", "cuda") == expected
    assert margin("cuda", "cuda", named=True) == expected


def test_a_batch_is_measured_without_a_wait(no_wait: Waiting) -> None:
    """The one transfer comes after all batches have been queued."""
    from fa_lint_runtime.diagnostics.batches import to_batch
    from fa_lint_runtime.diagnostics.capture import Capture
    from fa_lint_runtime.diagnostics.losses import summed_loss
    from fa_lint_runtime.diagnostics.restore import measured
    from fa_lint_runtime.diagnostics.taps import make_plan

    model = Net("cuda")
    first, second = (to_batch(batch, index) for index, batch in enumerate(batches("cuda")[:2]))
    with measured(model, track_parameters=True):
        plan, logits = make_plan(model, None, first.head(3))
        capture = Capture(model, plan, summed_loss(None, logits, first.y))
        capture(first, 0)
        with no_wait():
            capture(second, 1)


def test_a_monitor_follows_its_model(last: torch.device) -> None:
    model = Net("cpu")
    monitor = Monitor(model, batches()[0], every=1, feedback=feedback(), warn=False)
    readings = []
    for device in ("cpu", "cuda:0", last, "cpu"):
        model.to(device)
        readings.append(monitor.step())
    assert readings[0] is not None and None not in readings[0].gamma
    for reading in readings[1:]:
        assert reading is not None
        assert reading.gamma == pytest.approx(readings[0].gamma, rel=1e-4)
        assert reading.gradient_norms == pytest.approx(readings[0].gradient_norms, rel=1e-4)
