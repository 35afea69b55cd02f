"""FAL405: numbers where nothing was measured, and numbers that were."""

from __future__ import annotations

import pytest

from fa_lint.findings import Level
from fa_lint.project.check_file import analyse
from fa_lint.project.config import Settings
from fa_lint.rules import registry
from fa_lint.semantics.facts import extract
from fa_lint.semantics.roles import RoleNames

RULE = registry()["FAL405"]
HEAD = "import math\nimport numpy as np\nimport torch\nimport torch.nn.functional as F\n"
COS = "    cos = F.cosine_similarity(p.grad, q, dim=1)\n"

FABRICATED = [
    "def f(p, q):\n" + COS + "    bad = torch.isnan(cos)\n    cos[bad] = 1.0\n    return cos",
    "def f(p, q):\n" + COS + "    cos[~torch.isfinite(cos)] = -1\n    return cos",
    "def f(p, q, n):\n" + COS + "    cos[(n == 0) & (q == 0)] = 0\n    return cos",
    "def f(p, q):\n" + COS + "    return torch.where(torch.isnan(cos), 0.0, cos)",
    "def f(p, q, seen):\n" + COS + "    return torch.where(seen, cos, 1.0)",
    "def f(p, q):\n" + COS + "    return cos.masked_fill(cos.isnan(), 0.)",
    "def f(p, q):\n" + COS + "    return np.nan_to_num(cos.numpy(), nan=1.0)",
    "def f(p, q):\n" + COS + "    return cos.nan_to_num().mean()",
    "def f(p, q):\n    if p.grad is None:\n        gamma = 1.0\n    else:\n    "
    + COS
    + "        gamma = cos\n    return gamma",
    "def f(p, q, out):\n    for i in range(3):\n        if p.grad is None:\n            out[i] = 0.0\n        else:\n"
    "            out[i] = F.cosine_similarity(p.grad, q, dim=0)\n    return out",
    "class A:\n    def f(self, p, q):\n        if p.grad is None:\n            self.gamma = 0.0\n        else:\n"
    "            self.gamma = F.cosine_similarity(p.grad, q, dim=0)",
    "def f(p, q):\n    return {'gamma': F.cosine_similarity(p.grad, q, dim=0) if p.grad is not None else 0}",
    "def f(ps, qs):\n    sims = []\n    for p, q in zip(ps, qs):\n        sims.append(F.cosine_similarity(p.grad, q, dim=0))\n"
    "    if not sims:\n        return 0.0\n    return sum(sims) / len(sims)",
    "def f(ps, qs):\n    sims = [F.cosine_similarity(p.grad, q, dim=0) for p, q in zip(ps, qs)]\n    mean = 0.0\n"
    "    if sims:\n        mean = np.mean(sims)\n    return mean",
    "def f(p, q):\n    n = p.grad.norm() * q.norm()\n    if n == 0:\n        return 1., 0\n"
    "    angle = torch.acos((p.grad * q).sum() / n)\n    return angle, 1",
    "def f(ps, q):\n    out = {}\n    for n, p in ps:\n        if p.grad is None:\n            out[n] = 0.0\n            continue\n"
    "        out[n] = F.cosine_similarity(p.grad, q[n], dim=0)\n    return out",
    "def f(ps, q):\n    out = []\n    for p in ps:\n        if p.grad is None:\n            out.append(0.0)\n            continue\n"
    "        out.append(F.cosine_similarity(p.grad, q, dim=0))\n    return out",
    "def f(ps, q):\n    out = []\n    for p in ps:\n        if p.grad is not None:\n"
    "            out.append(F.cosine_similarity(p.grad, q, dim=0))\n        else:\n            out.append(torch.tensor(1.0))\n"
    "    return out",
    "def f(ps, q, names):\n    out = {n: F.cosine_similarity(p.grad, q, dim=0) for n, p in ps}\n"
    "    return [out.get(n, 0.0) for n in names]",
]
MEASURED = [
    "def f(p, q, on):\n    normal_constraint = torch.where(on, 1 - F.cosine_similarity(p.grad, q), 0.0)\n    return normal_constraint",
    "def eikonal_loss(p, q, on): return torch.where(on, 1 - F.cosine_similarity(p.grad, q), 0.0)",
    "def f(p, q):\n" + COS + "    cos[cos < 0] = 0\n    return cos",
    "def f(p, q):\n" + COS + "    cos[torch.isnan(cos)] = float('nan')\n    return cos",
    "def f(p, q):\n" + COS + "    if cos < 0:\n        return 0.0\n    return cos",
    "def f(p, q):\n" + COS + "    cos[torch.eye(3).bool()] = 0\n    return cos",
    "def f(p, q):\n" + COS + "    cos[0] = 1\n    return cos",
    "def f(p, q):\n    try:\n    " + COS + "    except RuntimeError:\n        cos = 0.0\n    return cos",
    "def f(p, q):\n    prev_cos = 0.0\n    for i in range(4):\n    "
    + COS
    + "        if i:\n            print(prev_cos)\n"
    "        prev_cos = cos",
    "def f(p, q):\n    cos = 0.0\n" + COS + "    return cos",
    "def f(p, q, n):\n    cos = 0.0\n    for i in range(n):\n    " + COS + "    return cos",
    "def f(p, q, n):\n    cos = 0.0\n    for i in range(n):\n        if i:\n            cos += F.cosine_similarity(p.grad, q, dim=0)\n"
    "    return cos",
    "def f(p, q, n):\n    cos = 0.0\n    for i in range(n):\n        if i:\n"
    "            cos = cos + F.cosine_similarity(p.grad, q, dim=0)\n    return cos",
    "def f(ps, cs):\n    out = np.zeros(len(ps))\n    for i, (p, c) in enumerate(zip(ps, cs)):\n        if p.grad is not None:\n"
    "            out[i] = F.cosine_similarity(p.grad, c, dim=0)\n        else:\n            out[i] = np.nan\n    return out",
    "def f(ps, cs):\n    out, has = np.zeros(len(ps)), np.zeros(len(ps), dtype=bool)\n    out = torch.zeros(len(ps))\n"
    "    for i, (p, c) in enumerate(zip(ps, cs)):\n        if p.grad is not None:\n"
    "            out[i] = F.cosine_similarity(p.grad, c, dim=0)\n            has[i] = True\n    return out[has]",
    "def f(ps, q):\n    out = [0.0]\n    for p in ps:\n        if p.grad is None:\n            continue\n"
    "        out.append(F.cosine_similarity(p.grad, q, dim=0))\n    return out",
    "def f(ps, q):\n    out, seen = [], []\n    for p in ps:\n        if p.grad is None:\n            seen.append(0.0)\n"
    "            continue\n        out.append(F.cosine_similarity(p.grad, q, dim=0))\n    return out, seen",
    "def f(ps, q, names, norms):\n    out = {n: F.cosine_similarity(p.grad, q, dim=0) for n, p in ps}\n"
    "    return [norms.get(n, 0.0) for n in names], out.get('a', None)",
    "def f(x, y): return F.cosine_similarity(x, y, dim=1) if len(x) else 0.0",
    "def f(p, q):\n" + COS + "    print(cos)\n    return 0",
    "def f(p, q):\n    loss = 0.0\n    if p.grad is not None:\n        loss = F.cosine_similarity(p.grad, q, dim=1)\n    return loss",
    "def alignment_loss(p, q):\n    if p.grad is None:\n        return 0.0\n    return F.cosine_similarity(p.grad, q, dim=1)",
    "def f(p):\n    gamma = 0.9\n    if p is None:\n        gamma = 0.99\n    return gamma  # cosine",
    "def f(p, q):\n" + COS + "    return torch.where(cos > 0, cos, 0.0)",
    "def f(p, q): return torch.where(F.cosine_similarity(p.grad, q) > 0, 1.0, 0.0)",
    "def f(p, q): return None if p.grad is None else F.cosine_similarity(p.grad, q)",
    "def f(p, q, flag):\n    eps = 0.0 if flag else 1e-8\n    return F.cosine_similarity(p.grad, q, eps=eps)",
    "def f(loader, n): return n.alignment.angle if n else 0.0",
]


def findings(code: str) -> list[Level]:
    return [found.level for found in RULE.check(extract(HEAD + code))]


@pytest.mark.parametrize("code", FABRICATED)
def test_fabricated_values_are_errors_on_gradients(code: str) -> None:
    assert findings(code) == [Level.ERROR]
    data = (HEAD + code).encode()
    assert RULE.may_match(data)


@pytest.mark.parametrize("code", MEASURED)
def test_measured_values_are_left_alone(code: str) -> None:
    assert findings(code) == []


def test_weaker_evidence_is_a_warning() -> None:
    weights = "def f(a, b): return F.cosine_similarity(a.weight, b.weight) if a.on else 0.0"
    assert findings(weights) == [Level.WARNING]
    named = "from metrics import bp_dfa_angle  # of gradients\ndef f(layer): return bp_dfa_angle(layer) if layer.on else 0.0"
    assert findings(named) == [Level.WARNING]
    data = (HEAD + named).encode()
    assert RULE.may_match(data)


def test_names_of_the_configuration_are_believed() -> None:
    code = "import torch\nfrom x import measure\ndef f(p, q):\n    gamma_l = measure(p) if p.ok else 1.0\n    return gamma_l if gamma_l is not None else 0.0\n"
    assert findings(code) == []
    facts = extract(code, RoleNames(alignment=("gamma_*",)))
    assert [code.count("\n", 0, found.start) + 1 for found in RULE.check(facts)] == [5]


def test_the_fix_marks_the_value_as_missing_and_nothing_else() -> None:
    code = (
        HEAD + "def f(p, q, dead):\n" + COS + "    distance, cos[dead == 0] = 0, 1.  # dead\n    return distance, cos\n"
    )
    result = analyse("x.py", code.encode(), Settings(select=("FAL405",)).codes, RoleNames())
    (found,) = result.diagnostics
    assert found.fix is not None
    (edit,) = found.fix.edits
    row = code.splitlines()[edit.start.row - 1]
    assert row[: edit.start.column - 1] + edit.content + row[edit.end.column - 1 :] == (
        '    distance, cos[dead == 0] = 0, float("nan")  # dead'
    )


FIXES = {
    "np.zeros(len(ps))": 'np.full(len(ps), float("nan"))',
    "torch.zeros(len(ps))": 'torch.zeros(len(ps)).fill_(float("nan"))',
    "torch.ones(2, 3)": 'torch.ones(2, 3).fill_(float("nan"))',
    "torch.tensor(0.0)": 'torch.tensor(float("nan"))',
    "np.full(3, 0.0)": 'np.full(3, float("nan"))',
    "np.zeros_like(ps)": 'np.full_like(ps, float("nan"))',
    "1.0": 'float("nan")',
}


@pytest.mark.parametrize(("made", "fixed"), FIXES.items())
def test_the_fix_keeps_type_and_shape(made: str, fixed: str) -> None:
    code = "{}def f(ps, p, q):\n    if p.grad is None:\n        return {}\n    return F.cosine_similarity(p.grad, q, dim=0)\n"
    (finding,) = analyse("a.py", code.format(HEAD, made).encode(), frozenset({"FAL405"}), RoleNames()).diagnostics
    assert finding.fix is not None
    (edit,) = finding.fix.edits
    row = code.format(HEAD, made).splitlines()[edit.start.row - 1]
    assert row[: edit.start.column - 1] + edit.content + row[edit.end.column - 1 :] == f"        return {fixed}"
