"""All blocks of a model are found, or the first lines say which are not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from zoo import C, ResidualBlock, vectors

from fa_lint_runtime import diagnose


def classes(n: int = 16) -> Tensor:
    return torch.randint(0, C, (n,))


def data() -> list[tuple[Tensor, Tensor]]:
    return [(vectors(16), classes()) for _ in range(3)]


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "wrap",
    [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal, nn.utils.weight_norm],
)
def test_layers_with_parametrised_weights_are_layers(wrap: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    widths = [(7, 8), (8, 8), (8, 8)]
    parts = [part for a, b in widths for part in (wrap(nn.Linear(a, b)), nn.Tanh())]
    model = nn.Sequential(*parts, wrap(nn.Linear(8, C)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = diagnose(model, data(), progress=False)
    assert [x.name for x in report.layers] == ["0", "2", "4"]
    assert report.verdict == "no fault found"
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Stage(nn.Module):
    """timm's: a downsampling in front of the blocks."""

    def __init__(self, d: int, out: int, depth: int) -> None:
        super().__init__()
        self.down = nn.Linear(d, out)
        self.blocks = nn.Sequential(*(Skip(out) for _ in range(depth)))

    def forward(self, h: Tensor) -> Tensor:
        return self.blocks(self.down(h))  # type: ignore[no-any-return]


class Skip(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.inner = ResidualBlock(d)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.inner(h)  # type: ignore[no-any-return]


def test_stages_of_a_hierarchical_network_are_all_measured() -> None:
    torch.manual_seed(0)
    stages = [Stage(7, 8, 1), Stage(8, 10, 1), Stage(10, 12, 3), Stage(12, 14, 1)]
    model = nn.Module()
    model.stages, model.head = nn.Sequential(*stages), nn.Linear(14, C)
    model.forward = lambda x: model.head(model.stages(x))  # type: ignore[method-assign]
    report = diagnose(model, data(), progress=False)
    assert {x.width for x in report.layers} >= {8, 10, 12, 14}
    assert report.provenance is not None
    assert "6 × Skip" in report.provenance.layers


class EncoderDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(7, 8), nn.Linear(8, C)
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.block = nn.ModuleList(Skip(8) for _ in range(3))
        self.decoder.block = nn.ModuleList(Skip(8) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        for block in [*self.encoder.block, *self.decoder.block]:  # type: ignore[misc]
            h = block(h)
        return self.head(h)  # type: ignore[no-any-return]


def test_like_blocks_elsewhere_are_named_in_the_first_lines() -> None:
    torch.manual_seed(0)
    report = diagnose(EncoderDecoder(), data(), progress=False)
    note = "not measured: decoder.block.0 … decoder.block.1 (2 × Skip); name them with layers=…"
    assert any(note in line for line in report.to_text(width=200).splitlines()[:3])
    assert any(note in line for line in report.to_markdown().splitlines()[:8])
    whole = diagnose(EncoderDecoder(), data(), layers=["encoder.block.*", "decoder.block.*"], progress=False)
    assert len(whole.layers) >= 5
    assert whole.provenance is not None
    assert not whole.provenance.caveats


def test_experts_are_no_stages() -> None:
    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(Skip(8) for _ in range(2))

        def forward(self, h: Tensor) -> Tensor:
            return sum(expert(h) for expert in self.experts) / 2  # type: ignore[return-value]

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 8), nn.Sequential(*(Mixture() for _ in range(3))), nn.Linear(8, C))
    report = diagnose(model, data(), progress=False)
    assert report.provenance is not None
    assert "3 × Mixture" in report.provenance.layers


def test_parts_of_a_block_are_no_blocks() -> None:
    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer, self.head = nn.Transformer(8, 2, 2, 2, 16, 0.0, batch_first=True), nn.Linear(8, C)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.transformer(x, x)[:, 0])  # type: ignore[no-any-return]

    batches = [(torch.randn(8, 5, 8), torch.randint(0, C, (8,))) for _ in range(2)]
    report = diagnose(Translator(), batches, progress=False)
    assert [x.name for x in report.layers[1:]] == ["transformer.encoder.layers.0", "transformer.encoder.layers.1"]
    expected = "not measured: transformer.decoder.layers.0 … transformer.decoder.layers.1 (2 × TransformerDecoderLayer)"
    assert f"note: {expected}" in " ".join(report.to_text().split())


def test_one_block_that_is_called_several_times() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(11, 8), nn.Linear(8, C)
            self.layers = nn.ModuleList([nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)])

        def forward(self, ids: Tensor) -> Tensor:
            h = self.table(ids)
            for _ in range(3):
                h = self.layers[0](h)
            return self.head(h[:, 0])  # type: ignore[no-any-return]

    batches = [(torch.randint(0, 11, (8, 5)), torch.randint(0, C, (8,))) for _ in range(2)]
    report = diagnose(Shared(), batches, progress=False)
    assert [x.name for x in report.layers] == ["input of layers.0", "layers.0#0", "layers.0#1", "layers.0#2"]


def test_a_recurrent_network_over_a_table() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.net, self.head = nn.Embedding(11, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, C)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.net(self.table(ids))[0][:, -1])  # type: ignore[no-any-return]

    batches = [(torch.randint(0, 11, (8, 5)), torch.randint(0, C, (8,))) for _ in range(2)]
    report = diagnose(Words(), batches, progress=False)
    assert [x.name for x in report.layers] == ["net"]
    assert report.verdict == "no fault found"


class Conv(nn.Module):
    def __init__(self, inputs: int = 8) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(inputs, 8, 3, padding=1), nn.GroupNorm(2, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class Branches(nn.Module):
    """Two branches of two convolutions each, beside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.branch1, self.branch2 = nn.Sequential(Conv(), Conv()), nn.Sequential(Conv(), Conv())

    def forward(self, x: Tensor) -> Tensor:
        return self.branch1(x) + self.branch2(x)  # type: ignore[no-any-return]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.b1, self.b2 = Conv(), Conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.b2(self.b1(x))  # type: ignore[no-any-return]


class Attributes(nn.Module):
    def __init__(self, kind: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.stem, self.s1, self.s2, self.s3 = nn.Conv2d(3, 8, 1), kind(), kind(), kind()

    def forward(self, x: Tensor) -> Tensor:
        return self.s3(torch.max_pool2d(self.s2(self.s1(self.stem(x))), 2))  # type: ignore[no-any-return]


TRUNKS: dict[str, tuple[nn.Module, list[str]]] = {
    "attributes, each with branches": (Attributes(Branches), ["s1", "s2", "s3"]),
    "attributes of stages": (Attributes(Twice), ["s1.b1", "s1.b2", "s2.b1", "s2.b2", "s3.b1", "s3.b2"]),
    "a stem and blocks in one": (nn.Sequential(Conv(3), Branches(), Twice(), Branches()), ["0", "1", "2", "3"]),
    "pooling between blocks": (
        nn.Sequential(nn.Conv2d(3, 8, 1), Conv(), nn.MaxPool2d(2), Conv(), Conv()),
        ["1", "3", "4"],
    ),
}


@pytest.mark.parametrize("name", TRUNKS)
def test_the_trunk_is_measured_and_not_what_lies_in_a_branch(name: str) -> None:
    trunk, expected = TRUNKS[name]
    model = nn.Sequential(
        OrderedDict(trunk=trunk, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), head=nn.Linear(8, C))
    )
    batches = [(torch.randn(8, 3, 8, 8), torch.randint(0, C, (8,))) for _ in range(2)]
    report = diagnose(model, batches, progress=False)
    assert [x.name.removeprefix("input of ") for x in report.layers if not x.name.startswith("input")] == [
        f"trunk.{block}" for block in expected
    ]
    assert report.verdict == "no fault found"
