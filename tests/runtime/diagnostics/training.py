"""Small networks trained on a Gaussian mixture by backprop and by direct feedback alignment, once a session."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor
from zoo import ResidualMLP

from fa_lint_runtime import Feedback, output_error

DIM, WIDTH, CLASSES, DEPTH = 64, 64, 10, 4
Batches = tuple[tuple[Tensor, Tensor], ...]


@functools.cache
def mixture(train: int = 4096, test: int = 1024) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Eight clusters a class in 24 dimensions, embedded in 64 with noise; 10 % of the labels redrawn."""
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES * 8, 24, generator=rng)
    cluster = torch.randint(0, CLASSES * 8, (train + test,), generator=rng)
    z = centres[cluster] + 0.6 * torch.randn(train + test, 24, generator=rng)
    basis = torch.linalg.qr(torch.randn(DIM, 24, generator=rng)).Q
    x = (DIM / 24) ** 0.5 * z @ basis.T + 0.3 * torch.randn(train + test, DIM, generator=rng)
    x = (x - x.mean()) / x.std()
    y = cluster % CLASSES
    noisy = torch.rand(train + test, generator=rng) < 0.1
    y = torch.where(noisy, torch.randint(0, CLASSES, (train + test,), generator=rng), y)
    return x[:train], y[:train], x[train:], y[train:]


def batches(size: int = 128) -> Batches:
    """Disjoint test batches."""
    _, _, x, y = mixture()
    return tuple(zip(x.split(size), y.split(size), strict=True))


@functools.cache
def trained(method: str, seed: int = 0, epochs: int = 8, lr: float = 1e-3) -> tuple[ResidualMLP, Feedback]:
    """(network, its feedback), ``method`` "bp" or "dfa"; block l is trained by B_l, the embedding by B_0."""
    torch.manual_seed(seed)
    model = ResidualMLP(DIM, WIDTH, CLASSES, DEPTH)
    feedback = Feedback.dfa([WIDTH] * DEPTH, CLASSES, seed=seed + 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    x, y, _, _ = mixture()
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            if method == "bp":
                F.cross_entropy(model(x[index]), y[index]).backward()
            else:
                dfa_step(model, feedback, x[index], y[index])
            optimizer.step()
    return model, feedback


def dfa_step(model: ResidualMLP, feedback: Feedback, x: Tensor, y: Tensor) -> None:
    h = model.embed(x)
    pieces = [h]
    for block in model.blocks:
        h = h.detach()
        piece = block(h)
        pieces.append(piece)
        h = h + piece
    logits = model.out_head(model.out_ln(h.detach()))
    error = output_error(logits.detach(), y) / len(y)
    credits = list(feedback.credit(error).values())
    local = sum((p * c).sum() for p, c in zip(pieces, [credits[0], *credits], strict=True))
    (local + F.cross_entropy(logits, y)).backward()


def accuracy(model: ResidualMLP) -> float:
    _, _, x, y = mixture()
    with torch.no_grad():
        return float((model(x).argmax(1) == y).double().mean())
