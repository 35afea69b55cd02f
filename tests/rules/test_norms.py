"""FAL101, FAL102, FAL103: orders that are meant, and constants that are no order at all."""

from __future__ import annotations

import pytest

from tests.conftest import diagnostics_of, found_in
from tests.rules.shapes import rows

HEAD = "import math\nimport numpy as np\nimport torch\nimport torch.nn.functional as F\n"
MEANT = [
    "r.norm(-2) ** -2",
    "r.norm(-1).pow(-1)",
    "r.norm(-2).pow(exponent=-2)",
    "torch.pow(torch.norm(r, -1), -1)",
    "np.power(np.linalg.norm(r, -1), -1)",
    "pow(r.norm(-3), -3)",
    "F.pairwise_distance(r, x, -2) ** -2",
]
OTHER_POWERS = ["r.norm(-1) ** 2", "r.norm(-2).pow(2)", "2 ** r.norm(-1)", "r.norm(-1) ** k", "(r.norm(-1) + 1) ** -1"]
ODD = [
    'float("nan")',
    '-float("nan")',
    "10**400",
    "-10**400",
    "-10**300",
    "-1e400",
    "math.nan",
    "-1e308 * 10",
    "0x" + "f" * 6000,
    "-0x" + "f" * 6000,
    "-True",
    "1j",
    "10**400 // 3",
    'float("x")',
]
PLACES = [
    "x.norm({})",
    "x.norm({}, keepdim=True)",
    "torch.norm(x, p={}, keepdim=True)",
    "np.linalg.norm(x, {})",
    "F.normalize(x, {}) @ g",
    "F.pairwise_distance(x, g, {})",
    "(g @ x) / (g.norm() * x.norm() + {})",
    "(g @ x) / (g.norm() * x.norm()).clamp(min={})",
    "(g @ x) / max(g.norm() * x.norm(), {})",
    "F.cosine_similarity(g, x, dim={})",
    "F.cosine_similarity(g[{0}], x[{0}], dim=0)",
    "torch.nn.CosineSimilarity(dim={})(g, x)",
    "torch.acos(F.cosine_similarity(g, x, dim=0).clamp({0}, {0}))",
    "{0} if g.norm() < {0} else F.cosine_similarity(g, x, dim=0)",
]


@pytest.mark.parametrize("expression", MEANT)
def test_a_norm_to_the_power_of_its_order_is_meant(expression: str) -> None:
    assert rows("FAL101", f"{HEAD}def f(r, x, k): return {expression}") == []


def test_the_power_may_come_later() -> None:
    code = HEAD + "def f(r):\n    n = r.norm(-2)\n    return n ** {}"
    assert rows("FAL101", code.format("-2")) == []
    assert rows("FAL101", code.format("2")) == [6]


@pytest.mark.parametrize("expression", OTHER_POWERS)
def test_another_power_says_nothing(expression: str) -> None:
    assert rows("FAL101", f"{HEAD}def f(r, x, k): return {expression}") == [5]


@pytest.mark.parametrize("constant", ODD)
@pytest.mark.parametrize("place", PLACES)
def test_no_constant_is_an_internal_error(place: str, constant: str) -> None:
    written = place.format(constant)
    named = place.format("k")
    diagnostics_of(
        f"{HEAD}def f(x, p):\n    g = p.grad\n    k = {constant}\n    g[g.abs() <= {constant}] = 0\n    return {written}, {named}\n"
    )


def test_what_no_tensor_has_is_no_dimension() -> None:
    assert found_in(HEAD + "def f(x): return x.norm(-1000), x.norm(-10**300), x.norm(-64)") == ["5:51 FAL101"]
