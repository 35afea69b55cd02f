"""FAL104 executed: the fixed penalty has one norm for each sample."""

from __future__ import annotations

import itertools

import pytest

from tests.fixes_executed.programs import DTYPES, HEAD, fixed, run, same, torch

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
    """Of images, sequences and vectors; square ones, and a batch of one."""
    images = [(line, "1, 1, 1", shape) for line in IMAGES + BATCHES for shape in ((4, 3, 5, 5), (1, 2, 3, 4), (4,) * 4)]
    sequences = [(line, "1, 1", shape) for line in BATCHES for shape in ((3, 5, 2), (3, 3, 3), (1, 2, 4))]
    return [*images, *sequences, *((line, "1", shape) for line in BATCHES for shape in ((4, 6), (5, 5), (1, 3)))]


@pytest.mark.parametrize(("last", "ones", "shape"), _cases())
def test_the_fixed_penalty_is_that_of_each_sample(last: str, ones: str, shape: tuple[int, ...]) -> None:
    after = fixed(HEAD + PENALTY.format(ones=ones, last=last), select=("FAL104",))
    assert ".flatten(1)" in after
    torch.manual_seed(0)  # one draw in some hundred is beyond what bfloat16 keeps of a square
    f = run(after)["f"]
    for dtype, zero in itertools.product(DTYPES, (False, True)):
        factors = torch.randn(shape[1:], dtype=torch.float64)
        real, fake = torch.randn(2, *shape, dtype=torch.float64)
        real[0] *= not zero
        real, fake, factors = real.to(dtype), fake.to(dtype), factors.to(dtype)
        got = f(lambda x, k=factors: (x**2 * k).flatten(1).sum(1), real, real)
        lengths = (2 * real * factors).double().flatten(1).square().sum(1).sqrt()
        assert got.dtype == dtype
        same(got, ((lengths - 1) ** 2).mean(), dtype=dtype)
        assert torch.isfinite(f(lambda x, k=factors: (x * k).flatten(1).sum(1), real, fake))


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
