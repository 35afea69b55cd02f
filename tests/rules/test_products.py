"""Vectors that are computed from others: a cosine of ``e @ B``, ``g * mask`` or ``-g[k]`` is a cosine."""

from __future__ import annotations

import pytest

from tests.rules.shapes import rows

HEAD = "import numpy as np\nimport torch\nimport torch.nn.functional as F\n"
GAMMA = """def gamma(loss, x, e, B, Bs, C, b, h, mask, p, y, fb, n, gs):
    (g,) = torch.autograd.grad(loss, x)
    (other,) = torch.autograd.grad(loss * 2, x)
    c = {}
    return {}
"""
COMPUTED = """
e @ B | e @ B.T | torch.matmul(e, B.t()) | e.mm(B) | torch.mv(B, e) | torch.bmm(e, B).squeeze() | e.dot(B) | e @ B @ C
torch.einsum('bi,ij->bj', e, B) | torch.tensordot(e, B, 1) | F.linear(e, B) | fb(e) | torch.outer(e, h) | e.t() @ h / n
(e @ B) * (1 - y ** 2) | (e * mask) @ B | -(e @ B) | 0.5 * (e @ B) | (e @ B) / n | e @ B + b | torch.tanh(e @ B)
(e @ B).reshape(-1) | (e @ B).detach().clone() | torch.cat([e @ B, g]) | torch.stack([e @ B for B in Bs]).mean(0)
g * mask | torch.mul(g, mask) | p.grad * p.data | g ** 2 | g * h[:, None] | g[mask] | g.masked_fill(mask, 0) | g - g.mean()
torch.where(mask, g, torch.zeros_like(g)) | gs[0] + gs[1] | sum(gs) | (B * e[:, None]).sum(0) | np.asarray(e) @ B | g.abs()
"""
COSINES = {
    "FAL201": ["F.cosine_similarity(c, other, dim=-1)", "torch.cosine_similarity(other, c)"],
    "FAL203": [
        "(c * other).sum() / (c.norm() * other.norm() + 1e-6)",
        "c.flatten() @ other.flatten() / max(c.norm() * other.norm(), 1e-6)",
        "((c / (c.norm() + 1e-6)) * (other / (other.norm() + 1e-6))).sum()",
    ],
}
DIFFERENT = """
F.cosine_similarity(g * mask, g * h, dim=0, eps=1e-30)
F.cosine_similarity(e @ B, e @ C, dim=0, eps=1e-30)
(e @ B) / ((e @ B).norm(dim=-1, keepdim=True) + 1e-6)
((h.T @ y) ** 2).sum() / ((h.T @ h).norm() * (y.T @ y).norm())
(e @ B) / ((e @ B).sum(-1, keepdim=True) + 1e-6)
p.data.norm() / (p.grad * mask).norm()
"""


@pytest.mark.parametrize("computed", [c.strip() for c in COMPUTED.replace("\n", "|").split("|") if c.strip()])
@pytest.mark.parametrize(("code", "cosine"), [(code, cosine) for code, forms in COSINES.items() for cosine in forms])
def test_a_cosine_of_a_vector_that_is_computed(computed: str, code: str, cosine: str) -> None:
    assert rows(code, HEAD + GAMMA.format(computed, cosine)) == [8]


@pytest.mark.parametrize("value", DIFFERENT.strip().splitlines())
@pytest.mark.parametrize("code", ["FAL201", "FAL203", "FAL404"])
def test_products_that_are_no_cosine_with_a_floor_or_of_one_value(value: str, code: str) -> None:
    assert rows(code, HEAD + GAMMA.format("e @ B", value)) == []


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ("", 1),
        ("B.add_(1.0)", 0),
        ("B = B * mask", 0),
        ("B = B * 2", 1),
        ("c[0] = 0", 0),
        ("c.mul_(mask)", 0),
        ("d = -c", 1),
    ],
)
def test_a_product_is_one_value_until_something_changes_it(change: str, count: int) -> None:
    body = f"    c = e @ B\n    d = (e @ B).clone()\n    {change}\n"
    text = f"def f(e, B, mask):\n{body}    return F.cosine_similarity(c, e @ B, dim=-1, eps=1e-30)\n"
    assert len(rows("FAL404", HEAD + text)) == count


CALLED = [
    "TABLE = {'cos': F.cosine_similarity, 'dot': torch.dot}\ndef f(p, c, kind):\n    return TABLE[kind](p.grad, c)\n",
    "FORMS = [torch.dot, F.cosine_similarity]\ndef f(p, c):\n    return FORMS[1](p.grad, c)\n",
    "def f(p, c, fn=F.cosine_similarity):\n    return fn(p.grad, c)\n",
    "def f(p, c, *, fn=torch.cosine_similarity):\n    return fn(p.grad, c, dim=0)\n",
]


@pytest.mark.parametrize("code", CALLED)
def test_a_cosine_out_of_a_table_or_a_default(code: str) -> None:
    assert rows("FAL201", HEAD + code)
    assert rows("FAL201", HEAD + code.replace("p.grad", "p.relu()")) == []


@pytest.mark.parametrize(
    "below",
    ["torch.outer(n, n)", "n.outer(n)", "torch.ger(n, n)", "(n[:, None] * n[None])"],
)
def test_the_norms_of_all_pairs(below: str) -> None:
    text = f"def f(w):\n    G = w.grad\n    n = G.norm(dim=1)\n    return G @ G.T / ({below} + 1e-8)\n"
    assert rows("FAL203", HEAD + text) == [7]
    assert rows("FAL203", HEAD + text.replace("+ 1e-8", "+ 1e-30")) == []


@pytest.mark.parametrize(
    "angle",
    ["torch.acos(torch.stack(cs))", "torch.stack(cs).acos()", "torch.cat(cs).arccos()", "np.arccos(np.array(cs))"],
)
def test_the_angles_of_cosines_in_a_list(angle: str) -> None:
    made = "def f(pairs):\n    cs = []\n    for a, b in pairs:\n        c = torch.dot(a, b) / (a.norm() * b.norm())\n        cs.append(c{})\n"
    assert rows("FAL204", HEAD + made.format("") + f"    return {angle}\n") == [9]
    assert rows("FAL204", HEAD + made.format(".clamp(-1, 1)") + f"    return {angle}\n") == []


NORMS = [
    "norms = [g.norm() + 1e-8 for g in grads]",
    "norms = []\n    for g in grads:\n        norms.append(g.norm() + 1e-8)",
]


@pytest.mark.parametrize("norms", NORMS)
@pytest.mark.parametrize("pair", [("i", "j"), ("0", "1")])
def test_norms_that_were_taken_before_in_a_list(norms: str, pair: tuple[str, str]) -> None:
    head = "def f(losses, w, i, j):\n    grads = [torch.autograd.grad(l, w, retain_graph=True)[0] for l in losses]\n"
    i, j = pair
    text = HEAD + head + f"    {norms}\n    return (grads[{i}] * grads[{j}]).sum() / (norms[{i}] * norms[{j}])\n"
    assert len(rows("FAL203", text)) == 1
    assert rows("FAL203", text.replace(" + 1e-8", "")) == []
    assert rows("FAL204", text.replace(" + 1e-8", "").replace("return ", "return torch.acos(").rstrip() + ")\n") == [
        len(text.splitlines())
    ]
    filtered = text.replace("for g in grads]", "for g in grads if g.any()]")
    assert filtered == text or rows("FAL203", filtered) == [], "the norms are not those of the same gradients"


@pytest.mark.parametrize(
    "clip", ["np.clip(cs, -1, 1)", "torch.clamp(torch.stack(cs), -1, 1)", "[c.clamp(-1, 1) for c in cs]"]
)
def test_cosines_in_a_list_that_are_clipped(clip: str) -> None:
    text = (
        "def f(us, v):\n    cs = [u @ v / (u.norm() * v.norm()) for u in us]\n    cs = {}\n    return np.arccos(cs)\n"
    )
    assert rows("FAL204", HEAD + text.format(clip)) == []
    assert rows("FAL204", HEAD + text.format("cs")) == [7]


@pytest.mark.parametrize(
    "carried", ["g @ B", "B @ g", "g.mv(B)", "torch.matmul(g, B.T)", "g @ B.T * mask", "(g @ B) / n"]
)
def test_what_is_computed_of_a_gradient_is_as_small(carried: str) -> None:
    assert rows("FAL201", HEAD + GAMMA.format(carried, "F.cosine_similarity(c, h, dim=-1)")) == [8]
    assert (
        rows(
            "FAL201",
            HEAD + GAMMA.format(carried.replace("g", "y").replace("B", "mask"), "F.cosine_similarity(c, h, dim=-1)"),
        )
        == []
    )
