"""Which position of (B, T, d) is compared: one that the loss reads, or no verdict."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import GPT, C, D, PreNormBlock, T, VisionTransformer, images, tokens

from fa_lint_runtime import DiagnosticReport, diagnose


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.LSTM(7, 16, batch_first=True), nn.LSTM(16, 16, batch_first=True)])
        self.head = nn.Linear(16, C)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)[0]
        return self.head(x[:, -1])  # type: ignore[no-any-return]


class Pooled(VisionTransformer):
    """Average pooling of the patches, without the class token."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x)[:, 1:].mean(1))  # type: ignore[no-any-return]


class Third(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.blocks, self.head = (
            nn.Linear(7, D),
            nn.ModuleList(PreNormBlock() for _ in range(2)),
            nn.Linear(D, C),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        for block in self.blocks:
            h = block(h)
        return self.head(h[:, 2])  # type: ignore[no-any-return]


def classes(n: int = 16) -> Tensor:
    return torch.randint(0, C, (n,))


def sequences(n: int = 16) -> Tensor:
    return torch.randn(n, T, 7)


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], str, str]] = {
    "LSTM, last": (Recurrent, sequences, "last", f"position {T - 1} of 0 to {T - 1}"),
    "ViT, pooled": (Pooled, lambda: images(16), "mean", "positions 1 to 4 of 0 to 4"),
    "GPT, last": (GPT, lambda: tokens(16), "last", f"position {T - 1} of 0 to {T - 1}"),
    "third": (Third, sequences, "2", f"position 2 of 0 to {T - 1}"),
}


def outcome(report: DiagnosticReport, name: str) -> tuple[str, str]:
    (found,) = [o for o in report.criteria if o.name == name]
    return found.state, found.text


@pytest.mark.parametrize("case", CASES)
def test_a_token_that_the_loss_does_not_read_is_not_measurable_and_those_that_it_reads_are_named(case: str) -> None:
    make, x, _, named = CASES[case]
    torch.manual_seed(0)
    data = [(x(), classes()) for _ in range(3)]
    report = diagnose(make(), data, token="cls", progress=False)
    assert report.verdict == "not measurable"
    assert outcome(report, "finite") == ("not measured", outcome(report, "finite")[1])
    assert named in outcome(report, "finite")[1]
    assert outcome(report, "elasticity")[0] == "not measured"


@pytest.mark.parametrize("case", CASES)
def test_without_a_token_one_is_found_from_the_gradient(case: str) -> None:
    make, x, token, _ = CASES[case]
    torch.manual_seed(0)
    model = make()
    data = [(x(), classes()) for _ in range(3)]
    report = diagnose(model, data, progress=False)
    assert report.provenance is not None
    assert report.provenance.token == token
    assert outcome(report, "finite")[0] == "passes"
    assert report.verdict == "no fault found"
    assert any(f"token {token}" in caveat for caveat in report.provenance.caveats)
    asked = diagnose(model, data, token=int(token) if token.isdigit() else token, progress=False)  # type: ignore[arg-type]
    assert [x.gradient_norm for x in report.layers] == [x.gradient_norm for x in asked.layers]


def test_a_loss_of_shifted_labels_reads_the_first_position() -> None:
    torch.manual_seed(0)

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), y[:, 1:].flatten(), reduction="sum")

    data = [(x := tokens(16), x) for _ in range(3)]
    report = diagnose(GPT(whole=True), data, loss_fn=loss, progress=False)
    assert report.provenance is not None
    assert report.provenance.token == "cls"
    last = diagnose(GPT(whole=True), data, loss_fn=loss, token="last", progress=False)
    assert last.verdict == "not measurable"
    assert f"positions 0 to {T - 2}" in outcome(last, "finite")[1]


@pytest.mark.parametrize("steps", [8, 20, 60])
def test_an_untrained_recurrent_network_is_not_walked_back_for_fading_over_time(steps: int) -> None:
    class Unrolled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.GRUCell(7, 32), nn.Linear(32, C)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.zeros(len(x), 32, dtype=x.dtype)
            for t in range(x.shape[1]):
                h = self.cell(x[:, t], h)
            return self.head(h)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    data = [(torch.randn(16, steps, 7), classes()) for _ in range(3)]
    report = diagnose(Unrolled(), data, layers=["cell"], progress=False)
    assert outcome(report, "elasticity")[0] == "passes"
    assert report.verdict == "no fault found"


def test_running_statistics_that_no_batch_has_set_are_named_as_the_cause() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(7, 8), *(x for _ in range(6) for x in (nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 8)))]
    for layer in layers[3::3]:
        nn.init.normal_(layer.weight, std=0.1)  # type: ignore[arg-type]
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    model = nn.Sequential(*layers, nn.Linear(8, C))
    data = [(torch.randn(32, 7), classes(32)) for _ in range(3)]
    report = diagnose(model, data, progress=False)
    assert report.verdict == "not measurable"
    expected = "no batch has set the running statistics of 6 layers (1 …)"
    assert expected in outcome(report, "elasticity")[1]
    assert f"note: {expected}" in report.to_text()
    model.train()
    for _ in range(50):
        model(data[0][0])
    assert "running statistics" not in diagnose(model, data, progress=False).to_text()


def test_a_block_that_lets_no_credit_through_is_still_walked_back() -> None:
    class Saturated(nn.Module):
        def forward(self, h: Tensor) -> Tensor:
            return torch.tanh(30 * h)

    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(4)]
    blocks[2] = nn.Sequential(nn.Linear(8, 8), Saturated())
    with torch.no_grad():
        blocks[2][0].bias += 5.0
    model = nn.Sequential(nn.Linear(7, 8), nn.Sequential(*blocks), nn.Linear(8, C))
    report = diagnose(model, [(torch.randn(32, 7), classes(32)) for _ in range(3)], progress=False)
    assert "elasticity" in report.fired or report.verdict == "invalid"


@pytest.mark.parametrize("start", [0.0, 1e-6])
def test_a_class_token_that_starts_at_zero_is_no_dead_state(start: float) -> None:
    class Vision(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(7, 16), nn.Linear(16, C)
            self.first = nn.Parameter(torch.full((1, 1, 16), start))
            self.blocks = nn.ModuleList(
                nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True, norm_first=True) for _ in range(3)
            )

        def forward(self, x: Tensor) -> Tensor:
            h = torch.cat([self.first.expand(len(x), -1, -1), self.embed(x)], 1)
            for block in self.blocks:
                h = block(h)
            return self.head(h[:, 0])  # type: ignore[no-any-return]

    torch.manual_seed(0)
    report = diagnose(Vision(), [(torch.randn(16, 9, 7), classes()) for _ in range(3)], progress=False)
    assert outcome(report, "elasticity")[0] == "passes"
    assert report.layers[0].elasticity > 0.1
