"""Networks of :mod:`benchmarks.models` that are a few lines around a library's layers."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 10


def plain_mlp() -> nn.Module:
    """Three hidden layers."""
    widths = (64, 128, 128, 128)
    layers = [x for a, b in pairwise(widths) for x in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(128, CLASSES))


class MixerBlock(nn.Module):
    def __init__(self, tokens: int, d: int) -> None:
        super().__init__()
        self.of_tokens = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens))
        self.of_channels = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.first, self.second = nn.LayerNorm(d), nn.LayerNorm(d)

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.of_tokens(self.first(h).mT).mT
        return h + self.of_channels(self.second(h))  # type: ignore[no-any-return]


class Mixer(nn.Module):
    """16 positions, read by their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(16, 32), nn.Linear(32, CLASSES)
        self.blocks = nn.ModuleList(MixerBlock(16, 32) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        for block in self.blocks:
            h = block(h)
        return self.head(h.mean(1))  # type: ignore[no-any-return]


class AutoEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 16))
        self.decoder = nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 64))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))  # type: ignore[no-any-return]


class Variational(AutoEncoder):
    """Draws a code in evaluation mode, too."""

    def forward(self, x: Tensor) -> Tensor:
        code = self.encoder(x)
        return self.decoder(code + 0.1 * torch.randn_like(code))  # type: ignore[no-any-return]


class Last(nn.Module):
    """A recurrent layer whose last step is read."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])  # type: ignore[no-any-return]


class Unrolled(nn.Module):
    """A cell that is called once a step."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), 32, dtype=x.dtype)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.head(h)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """``nn.TransformerEncoder``, positions first, read by their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(16, 32), nn.Linear(32, CLASSES)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64), 4, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x).transpose(0, 1)).mean(0))  # type: ignore[no-any-return]


class Seq2Seq(nn.Module):
    """``nn.Transformer``: a class at every position of the target."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(words, 32), nn.Linear(32, words)
        self.transformer = nn.Transformer(32, 4, 2, 2, 64, batch_first=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.head(self.transformer(self.table(source), self.table(target)))  # type: ignore[no-any-return]


class Graph(nn.Module):
    """A class for every node of one graph."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net: Any = getattr(import_module("torch_geometric.nn"), kind)(16, 32, 3, CLASSES)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        return self.net(x, edges)  # type: ignore[no-any-return]


class Spiking(nn.Module):
    """Two layers of leaky neurons over ten steps; the gradient of a spike is a surrogate."""

    def __init__(self) -> None:
        super().__init__()
        leaky = import_module("snntorch").Leaky
        self.fc1, self.fc2, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, CLASSES)
        self.leaky1, self.leaky2 = leaky(beta=0.9), leaky(beta=0.9)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.leaky1.init_leaky(), self.leaky2.init_leaky()
        total = torch.zeros(len(x), CLASSES)
        for _ in range(10):
            spikes, first = self.leaky1(self.fc1(x), first)
            spikes, second = self.leaky2(self.fc2(spikes), second)
            total = total + self.head(spikes)
        return total
