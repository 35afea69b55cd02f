"""FAL203 where the floor is a tensor, or stands in a helper that makes unit vectors."""

from __future__ import annotations

import pytest

from tests.rules.shapes import found, rows

HEAD = "import torch\nimport torch.nn.functional as F\nfrom fa_lint_runtime import safe_unit\n"
COSINE = """def gamma(loss, h, delta):
    (g,) = torch.autograd.grad(loss, h)
    n = g.norm(dim=-1) * delta.norm(dim=-1)
    return (g * delta).sum(-1) / {}
"""
UNIT = """def unit(v, tiny=1e-6):
    n = torch.sqrt((v * v).sum(-1, keepdim=True))
    return v / {}
"""
PRODUCTS = [
    "return (unit(g) * unit(delta)).sum(-1)",
    "a, b = unit(g), unit(delta)\n    return (a * b).sum(-1)",
    "return torch.einsum('bi,bi->b', unit(g), unit(delta))",
    "return (unit(g) * delta / delta.norm(dim=-1, keepdim=True)).sum(-1)",
    "return [torch.dot(unit(a), b / b.norm()) for a, b in zip(g, delta)]",
]


@pytest.mark.parametrize(
    "below",
    [
        "torch.maximum(n, torch.full_like(n, 1e-6))",
        "torch.maximum(torch.tensor(1e-6), n)",
        "torch.max(n, n.new_tensor(1e-6))",
        "n.maximum(n.new_full((), 1e-6))",
        "n.clamp(min=torch.full((), 1e-6))",
        "(n + torch.as_tensor(1e-6))",
    ],
)
def test_a_floor_that_is_a_tensor(below: str) -> None:
    assert rows("FAL203", HEAD + COSINE.format(below)) == [7]


@pytest.mark.parametrize(
    "below", ["torch.maximum(n, torch.full_like(n, 0.0))", "torch.maximum(n, torch.full_like(n, 1e-30))"]
)
def test_a_tensor_that_is_no_floor(below: str) -> None:
    assert rows("FAL203", HEAD + COSINE.format(below)) == []


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("below", ["n.clamp(min=tiny)", "(n + tiny)", "torch.maximum(n, torch.tensor(tiny))"])
def test_a_product_of_units_that_a_helper_makes(product: str, below: str) -> None:
    caller = f"def gamma(loss, h, delta):\n    (g,) = torch.autograd.grad(loss, h)\n    {product}\n"
    assert rows("FAL203", HEAD + UNIT.format(below) + caller) == [6]


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("origin", ["(g,) = torch.autograd.grad(loss, h)", "g = h.relu()"])
def test_units_without_a_floor_or_without_a_gradient(product: str, origin: str) -> None:
    below = "n" if "grad" in origin else "(n + tiny)"
    caller = f"def gamma(loss, h, delta):\n    {origin}\n    {product}\n"
    assert rows("FAL203", HEAD + UNIT.format(below) + caller) == []


def test_a_unit_vector_alone_is_a_direction() -> None:
    caller = "def step(loss, h):\n    (g,) = torch.autograd.grad(loss, h)\n    return h - 0.1 * unit(g)\n"
    assert rows("FAL203", HEAD + UNIT.format("(n + tiny)") + caller) == []


@pytest.mark.parametrize(
    ("below", "said"),
    [
        ("(n + 1e-8)", "halves the cosine at norms of 1e-04"),
        ("torch.sqrt((g * g).sum(-1) * (delta * delta).sum(-1) + 1e-12)", "halves the cosine at norms of 8e-04"),
        (
            "(torch.sqrt((g * g).sum(-1) + 1e-12) * delta.norm(dim=-1))",
            "halves what is divided by it at norms of 6e-07",
        ),
        ("((g.norm(dim=-1) + 1e-8) * delta.norm(dim=-1))", "halves what is divided by it at norms of 1e-08"),
        ("n.clamp(min=1e-8)", "the cosine shrinks below norms of 1e-04"),
        ("(g.norm(dim=-1).clamp(min=1e-8) * delta.norm(dim=-1))", "what is divided by it shrinks below norms of 1e-08"),
    ],
)
def test_the_message_says_at_which_norm_half_is_left(below: str, said: str) -> None:
    (finding,) = found("FAL203", HEAD + COSINE.format(below))
    assert said in finding.message


def test_a_projection_is_called_a_projection() -> None:
    (finding,) = found(
        "FAL203", HEAD + "def f(p, h):\n    g = p.grad.flatten()\n    return h @ g / (g @ g + 1e-8) * g\n"
    )
    assert "halves the projection at norms of 1e-04" in finding.message
