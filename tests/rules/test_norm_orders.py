"""FAL101 and FAL102: what a norm is taken of, and the spellings of a dimension in the order slot."""

from __future__ import annotations

import textwrap

import pytest

from tests.rules.shapes import found, rows

HEAD = "import numpy as np\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n"


def stored(first: str, body: str, value: str) -> str:
    return (
        f"class M(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.c = {first}\n"
        f"    def forward(self, y):\n        {body}\n        return {value}\n"
    )


ARRAYS = [
    stored('{"out": None}', "pass", '(y - self.c["out"]).norm(-1)'),
    stored("dict(out=None)", "pass", 'self.c["out"].norm(-1)'),
    stored("[None, None]", "self.c[0] = y", "self.c[0].norm(-1)"),
    stored("None", "self.c = y * 2", "self.c.norm(-1)"),
    stored("0.0", "self.c = self.c + y", "(self.c / 2).norm(-1)"),
    "def f(xs):\n    c = {'a': 1}\n    for x in xs:\n        c['a'] = x\n    return c['a'].norm(-1)",
    "def f(xs):\n    t = 0\n    for x in xs:\n        t = t + x\n    return t.norm(-1)",
    "def f(xs):\n    hs = []\n    for x in xs:\n        hs.append(x * 2)\n    return hs[-1].norm(-1)",
    "def f(x): return torch.Tensor.norm(x, -1)",
]
FOREIGN = [
    "from shapes import Vector\nc = {'v': Vector(1, 2)}\ndef f(): return c['v'].norm(-1)",
    "from shapes import Vector\ndef f():\n    vs = [Vector(1, 2)]\n    return vs[0].norm(-1)",
    "from shapes import Vector\ndef f():\n    vs = {}\n    vs['a'] = Vector(1, 2)\n    return vs['a'].norm(-1)",
]
# Lists whose items are others by the time they are read.
CHANGED = [
    "orders = [-1, 2]\n    orders.sort(reverse=True)",
    "orders = [-1, 2]\n    orders.reverse()",
    "orders = [-1, 2]\n    orders.pop(0)",
    "orders = [-1, 2]\n    del orders[0]",
    "orders = [-1, 2]\n    arrange(orders)",
    "orders = {0: -1}\n    orders.update(read())",
]
DIMENSIONS = [
    "def f(x, feature_dim): return x.norm(feature_dim)",
    "def f(x, dim):\n    d = dim\n    return x.norm(d)",
    "def f(x): return x / x.norm(x.dim() - 1)",
    "def f(x): return torch.norm(x, x.ndim - 1)",
    "def f(x): return torch.linalg.vector_norm(x, len(x.shape) - 1)",
    "def f(x): return torch.mean(x.norm(1))",
    "def f(x): return torch.norm(x, 1).mean()",
    "def f(x): return x.norm(0).max()",
    "def f(a, b): return (F.normalize(a, 1) * F.normalize(b, dim=1)).sum(1)",
    "def f(a, b): return torch.sum(F.normalize(a, 1) * (b / b.norm(dim=1, keepdim=True)), 1)",
    "from torch import einsum\ndef f(a, b): return einsum('id,jd->ij', F.normalize(a, 1), F.normalize(b, dim=1))",
]
ORDERS = [
    "def f(x, p): return x.norm(p)",
    "def f(x, dim_order): return x.norm(dim_order)",
    "def f(x): return x.norm(1) + x.norm(2).square()",
    "def f(x): return torch.norm(x, 1, dim=1).mean()",
    "def f(x, dim): return x.norm(2, dim).mean()",
    "def f(x): return (x.norm(1) * 0.5).sqrt()",
    "def f(xs): return sum(x.norm(1) for x in xs)",
    "def f(x, n): return x.norm(n - 1)",
]


@pytest.mark.parametrize("code", ARRAYS)
def test_what_may_be_an_array_is_one(code: str) -> None:
    assert len(rows("FAL101", HEAD + textwrap.dedent(code))) == 1


@pytest.mark.parametrize("code", FOREIGN)
def test_an_item_of_another_class_is_none(code: str) -> None:
    assert rows("FAL101", HEAD + code) == []


@pytest.mark.parametrize("made", CHANGED)
def test_an_item_of_a_list_that_is_changed_is_unknown(made: str) -> None:
    assert rows("FAL101", f"{HEAD}def f(x):\n    {made}\n    return x.norm(orders[0])") == []
    assert rows(
        "FAL101", f"{HEAD}def f(x):\n    orders = [-1, 2]\n    print(len(orders))\n    return x.norm(orders[0])"
    )


@pytest.mark.parametrize("code", DIMENSIONS)
def test_a_dimension_in_the_order_slot(code: str) -> None:
    assert len(rows("FAL102", HEAD + code)) == 1


@pytest.mark.parametrize("code", ORDERS)
def test_an_order_in_the_order_slot(code: str) -> None:
    assert rows("FAL102", HEAD + code) == []


@pytest.mark.parametrize(
    "call", ["F.normalize(x, p=-1)", "F.normalize(input=x, p=-1.0)", "nn.functional.normalize(x, p=-2)"]
)
def test_a_named_negative_order_of_normalize_without_a_dimension_is_a_warning(call: str) -> None:
    (finding,) = found("FAL101", f"{HEAD}def f(x): return {call}")
    assert finding.level.name == "WARNING"


@pytest.mark.parametrize("call", ["F.normalize(x, p=-1, dim=-1)", "F.normalize(x, p=1)", "torch.norm(x, p=-1)"])
def test_a_named_order_is_meant_elsewhere(call: str) -> None:
    assert rows("FAL101", f"{HEAD}def f(x): return {call}") == []


ROWS_THAT_SUM = [
    "def f(adj, x): return F.normalize(adj, 1) @ x",
    "def f(adj, r):\n    P = F.normalize(adj, 1)\n    for _ in range(9):\n        r = 0.85 * r @ P + 0.15 / len(r)\n    return r",
    "def f(A, h, w): return F.normalize(A, 1) @ h @ w",
    "def f(adj): return F.normalize(adj, 1) @ F.normalize(adj, 1)",
    "def f(x):\n    p = F.normalize(x, 1)\n    return p @ p",
    "def f(x, h): return torch.matmul(F.normalize(x, 1), h)",
    "def f(x, h): return torch.mm(F.normalize(x, 1).t(), h)",
    "def f(x, h): return (F.normalize(x, 1)[..., None] * h).sum(1)",
    "def f(x, h): return (F.normalize(x, 1) * h).sum(1)",
    "def f(W, H): return F.normalize(W, 1) @ F.normalize(H, 1)",
    "def f(s, v): return F.normalize(s.exp(), 1, -1) @ v",
    "def f(counts, idf): return F.normalize(counts, 1) * idf",
    "def f(counts): return F.normalize(counts.float(), 1)",
    "def f(rows):\n    h = torch.stack([torch.histc(r, 9, 0, 1) for r in rows])\n    return F.normalize(h, 1)",
    "def f(x): return F.normalize(torch.relu(x), 1)",
    "def f(weights, xs): return (F.normalize(weights.abs(), 1) * xs).sum(1)",
]
NO_COSINES = [
    "def f(a, b): return F.normalize(a, 1) @ F.normalize(b, dim=1).t()",
    "def f(a): \n    z = F.normalize(a, 1)\n    return z @ z.t()",
    "def f(a, b):\n    a = F.normalize(a, 1)\n    b = b / b.norm(dim=1, keepdim=True)\n    return (a * b).sum(1)",
    "def f(a, b):\n    z = F.normalize(a, 1)\n    return torch.mm(z, F.normalize(b, dim=1).t())",
    "def f(a, b):\n    z = F.normalize(a, 1)\n    print(z @ b)\n    return z @ z.T",
    "def unit(b): return b / b.norm(dim=1, keepdim=True)\ndef f(a, b): return F.normalize(a, 1) @ unit(b).t()",
]


@pytest.mark.parametrize("code", ROWS_THAT_SUM)
def test_rows_that_sum_to_one_are_meant(code: str) -> None:
    assert rows("FAL102", HEAD + code) == []


@pytest.mark.parametrize("code", NO_COSINES)
def test_one_norm_of_each_side_in_a_product_is_found(code: str) -> None:
    (finding,) = found("FAL102", HEAD + code)
    assert finding.level.name == "WARNING"


def test_features_that_go_nowhere_in_sight_are_a_hint() -> None:
    (finding,) = found("FAL102", f"{HEAD}def f(feats): return F.normalize(feats, 1)")
    assert finding.level.name == "HINT"


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("distance = nn.PairwiseDistance(-1)", 1),
        ("from torch.nn import PairwiseDistance as D\ndistance = D(-2, 1e-6)", 1),
        (
            "class M(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.d = nn.PairwiseDistance(-1)",
            1,
        ),
        ("distance = nn.PairwiseDistance()", 0),
        ("distance = nn.PairwiseDistance(2)", 0),
        ("distance = nn.PairwiseDistance(p=-1)", 0),
        ("distance = nn.PairwiseDistance(float('-inf'))", 0),
        ("distance = nn.CosineSimilarity(-1)", 0),
    ],
)
def test_distances_that_are_modules(code: str, count: int) -> None:
    assert len(rows("FAL101", HEAD + code)) == count


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("def f(x): return x / x.norm(p=2, dim=None, keepdim=True)", 1),
        ("def f(x): return x / x.norm(2, None, True)", 1),
        ("def f(x): return x / torch.norm(x, 2, None, True)", 1),
        ("def f(x): return x / np.linalg.norm(x, 2, axis=None, keepdims=True)", 1),
        ("def f(x): return x / x.norm(p=2, dim=1, keepdim=True)", 0),
        ("def f(x): return x / x.norm(2, 1, True)", 0),
        ("def f(x): return x / x.norm(2, None, False)", 0),
        ("def f(x): return x / x.norm(2, None)", 0),
        ("def f(x, dim): return x / x.norm(2, dim, True)", 0),
        ("def f(w): return w.norm(1, None, True).div(w.numel())", 0),
    ],
)
def test_a_dimension_that_is_none_is_no_dimension(code: str, count: int) -> None:
    assert len(rows("FAL103", HEAD + code)) == count


SINGLE = [
    "def f(x):\n    row = x.norm(1)\n    return row.mean()",
    "class T:\n    def f(self, h):\n        sizes = torch.norm(h, 1)\n        self.log.append(sizes.mean().item())",
    "def f(x):\n    count = torch.linalg.vector_norm(x, 0)\n    return torch.max(count)",
    "def f(X): return np.linalg.norm(X, 1).mean()",
    "def f(X): return np.mean(np.linalg.norm(X, 1))",
    "def f(X): return torch.linalg.norm(X, 1).std()",
    "def sizes(X):\n    return np.linalg.norm(X, 1)\ndef f(X):\n    rows = sizes(X)\n    return rows.mean(), rows.std()",
    "def sizes(x): return x.norm(1)\ndef f(x): return sizes(x).max()",
]
NOT_SINGLE = [
    "def f(x):\n    row = x.norm(1)\n    return row / x.numel()",
    "def f(x):\n    row = x.norm(2, 1)\n    return row.mean()",
    "def f(x, rows):\n    row = x.norm(1)\n    if rows:\n        row = x.norm(dim=1)\n    return row.mean()",
    "def f(x):\n    row = x.norm(1)\n    row = row * torch.ones(3)\n    return row.mean()",
    "def f(w, loss):\n    l1_reg = w.norm(1)\n    return loss + 1e-4 * l1_reg.mean()",
    "def l1_penalty(w): return w.norm(1)\ndef f(w, loss): return loss + l1_penalty(w).mean()",
    "def f(X): return np.linalg.norm(X, 1, 1).mean()",
    "def f(X): return np.linalg.norm(X, 1)",
    "def f(xs): return np.mean([np.linalg.norm(x, 1) for x in xs])",
    "def size(x): return x.norm(1)\ndef f(xs): return torch.stack([size(x) for x in xs]).mean()",
    "def size(x, rows):\n    if rows:\n        return x.norm(dim=1)\n    return x.norm(1)\ndef f(x): return size(x, True).mean()",
]


@pytest.mark.parametrize("code", SINGLE)
def test_a_reduction_of_one_norm_is_found(code: str) -> None:
    assert len(rows("FAL102", f"{HEAD}{code}")) == 1


@pytest.mark.parametrize("code", NOT_SINGLE)
def test_a_reduction_of_several_norms_is_silent(code: str) -> None:
    assert rows("FAL102", f"{HEAD}{code}") == []


def test_the_place_of_the_reduction_is_shown() -> None:
    (finding,) = found("FAL102", f"{HEAD}def f(x):\n    row = x.norm(1)\n    return row.mean()")
    assert finding.related[0].start.row == finding.start.row + 1
