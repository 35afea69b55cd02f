"""FAL104 executed: the fixed penalty has one norm for each sample."""

from __future__ import annotations

import pytest

from tests.fixes_executed.programs import HEAD, fixed, run, same, torch

PENALTY = """def f(critic, real, fake):
    a = torch.rand(real.size(0), {ones}, dtype=real.dtype)
    mixed = (a * real + (1 - a) * fake).requires_grad_(True)
    g = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)[0]
    {last}
"""
IMAGES = [
    "return ((g.norm(2, dim=1) - 1) ** 2).mean()",
    "return ((g.norm(dim=-1) - 1) ** 2).mean()",
    "return torch.mean((torch.norm(g, 2, 1) - 1).square())",
    "return ((torch.linalg.vector_norm(g, dim=1) - 1) ** 2).mean()  # per sample",
    "n = torch.norm(g, p=2, dim=1)\n    return F.mse_loss(n, torch.ones_like(n))",
]
BATCHES = [
    "return ((g.norm(2) - 1) ** 2).mean()",
    "return ((g.norm() - 1) ** 2).mean()",
    "return ((torch.norm(g, p=2) - 1) ** 2).mean()",
    "return (torch.linalg.vector_norm(g) - 1).pow(2).mean()",
]


def _cases() -> list[tuple[str, str, tuple[int, ...]]]:
    images = [(line, "1, 1, 1", (4, 3, 5, 5)) for line in IMAGES + BATCHES]
    return [*images, *((line, "1", (4, 6)) for line in BATCHES)]


@pytest.mark.parametrize(("last", "ones", "shape"), _cases())
def test_the_fixed_penalty_is_that_of_each_sample(last: str, ones: str, shape: tuple[int, ...]) -> None:
    after = fixed(HEAD + PENALTY.format(ones=ones, last=last), select=("FAL104",))
    assert ".flatten(1)" in after
    factors = torch.randn(shape[1:], dtype=torch.float64)
    real, fake = torch.randn(2, *shape, dtype=torch.float64)
    got = run(after)["f"](lambda x: (x**2 * factors).flatten(1).sum(1), real, real)
    lengths = (2 * real * factors).flatten(1).square().sum(1).sqrt()
    same(got, ((lengths - 1) ** 2).mean())
    assert torch.isfinite(run(after)["f"](lambda x: (x * factors).flatten(1).sum(1), real, fake))


@pytest.mark.parametrize(
    "last",
    [
        "return ((g.norm(2, dim=2) - 1) ** 2).mean()",
        "return ((g.norm(2, dim=1, keepdim=True) - 1) ** 2).mean()",
        "return (((g ** 2).sum(1).sqrt() - 1) ** 2).mean()",
        "return ((g.view(-1).norm(2) - 1) ** 2).mean()",
    ],
)
def test_what_is_left_to_the_author(last: str) -> None:
    code = HEAD + PENALTY.format(ones="1, 1, 1", last=last)
    assert fixed(code, select=("FAL104",)) == code
