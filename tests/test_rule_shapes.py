"""The spellings of the wild, one line each: what must fire and what must not, rule by rule."""

from __future__ import annotations

import pytest

from fa_lint.findings import Applicability, Level
from fa_lint.project.check_file import analyse
from fa_lint.rules import registry
from fa_lint.semantics.roles import RoleNames

GRADS = "import math\nimport numpy as np\nimport torch\nimport torch.nn.functional as F\na, b = p.grad.flatten(), q.grad.flatten()\n"
FEATS = "import numpy as np\nimport torch\nimport torch.nn.functional as F\na, b = model(x), model(y)\n"
ROWS = GRADS.count("\n")

FLOORED = [
    "c = a @ b / (a.norm() * b.norm() + 1e-8)",
    "c = a.dot(b) / (1e-8 + a.norm() * b.norm())",
    "c = torch.dot(a, b) / (torch.norm(a) * torch.norm(b) + 1e-8)",
    "c = torch.sum(a * b) / (torch.linalg.norm(a) * torch.linalg.vector_norm(b) + 10 ** -8)",
    "c = (a * b).sum().item() / float(a.norm() * b.norm() + 1e-8)",
    "c = -(a * b).sum() / (a.norm() * b.norm() + 1e-8)",
    "c = a.mul(b).sum() / (a.norm() * b.norm() + torch.finfo(a.dtype).eps)",
    "c = torch.mul(a, b).sum() / (a.norm() * b.norm() + 1e-8)",
    "c = torch.einsum('i,i->', a, b) / (a.norm() * b.norm() + 1e-8)",
    "c = torch.div(a @ b, a.norm() * b.norm() + 1e-8)",
    "c = (a @ b).div(a.norm() * b.norm() + 1e-8)",
    "c = a @ b\nc /= a.norm() * b.norm() + 1e-8",
    "n = a.norm() * b.norm()\nn = n + 1e-8\nc = a @ b / n",
    "na, nb = a.norm(), b.norm()\nc = torch.dot(a, b) / (na * nb + 1e-8)",
    "c = a @ b / ((a.norm() + 1e-8) * (b.norm() + 1e-8))",
    "c = a @ b / (a.norm().clamp_min(1e-8) * b.norm().clamp_min(1e-8))",
    "c = a @ b / torch.clamp_min(a.norm() * b.norm(), 1e-8)",
    "c = a @ b / torch.maximum(a.norm() * b.norm(), torch.tensor(1e-8))",
    "c = a @ b / max(1e-8, float(a.norm() * b.norm()))",
    "c = a @ b / torch.sqrt((a ** 2).sum() * (b ** 2).sum() + 1e-12)",
    "c = a @ b / (torch.sqrt(torch.sum(a.pow(2))) * torch.sqrt(torch.sum(torch.square(b))) + 1e-8)",
    "c = a @ b / ((a.square().sum() ** 0.5) * ((b * b).sum().sqrt()) + 1e-8)",
    "c = (a @ b) / (a @ a + 1e-8) * a",
    "c = (a @ b) / (b.norm().pow(2) + 1e-8)",
    "c = torch.dot(a, b) / (torch.dot(b, b) + 1e-12)",
    "c = sum((x * y).sum() for x, y in zip(a, b)) / (a.norm() * b.norm() + 1e-8)",
    "c = np.dot(a.numpy(), b.numpy()) / (np.linalg.norm(a.numpy()) * np.linalg.norm(b.numpy()) + 1e-8)",
    "u = a / (a.norm() + 1e-8)\nv = b / (b.norm() + 1e-8)\nc = torch.dot(u, v)",
    "u = a / a.norm().clamp(min=1e-6)\nc = (u * b).sum()",
    "u = a / (a.norm() + 1e-8)\nc = u.unsqueeze(0) @ b",
    "mask = a.abs() < 1e-8\na[mask] = 0",
    "a[torch.abs(a) <= 1e-7] = 0.0",
    "u = F.normalize(a, dim=0)\nc = u @ b",
    "c = (F.normalize(a, dim=0) * F.normalize(b, dim=0)).sum()",
]
UNFLOORED = [
    "c = a @ b / (a.norm() * b.norm())",
    "c = a @ b / (a.norm() * b.norm() + 1e-30)",
    "c = a @ b / (a.norm().clamp_min(1e-12) * b.norm().clamp_min(1e-12))",
    "c = a @ b / (a.norm() * b.norm() + 0.5)",
    "c = a @ b / (len(a) + 1e-8)",
    "c = a @ b / a.numel()",
    "c = a / (a.norm() + 1e-8)",
    "p.data -= 0.1 * a / (a.norm() + 1e-8)",
    "s = a.sum() / (b.sum() + 1e-8)",
    "c = (a + b) / (a.norm() * b.norm() + 1e-8)",
    "a[a.abs() > 1e-8] = 0",
    "a[a.abs() < threshold] = 0",
    "a[a < 1e-8] = 0",
    "a[0] = 0",
    "a[mask] = 0",
    "c = (F.normalize(a, dim=0, eps=1e-30) * b).sum()",
    "u = F.normalize(a, dim=0)",
    "if a.norm() > 1e-3:\n    c = a @ b / (a.norm() * b.norm() + 1e-8)",
    "c = a @ b / (a.norm() * b.norm() + 1e-8) if a.norm() > 1e-3 else None",
    "assert a.norm() > 1e-3\nc = a @ b / (a.norm() * b.norm() + 1e-8)",
    "c = a @ b / (a.norm() * b.norm() + 1e-8)\nassert c > 0.99",
]


def codes(program: str, only: str) -> list[tuple[int, Level]]:
    result = analyse("example.py", program.encode(), frozenset({only}), RoleNames())
    assert result.problems == []
    # Whatever fires must have passed the gates, whatever does not may be held back.
    rule = registry()[only]
    if result.diagnostics:
        assert rule.may_match(program.encode())
    return [(d.start.row, d.level) for d in result.diagnostics]


@pytest.mark.parametrize("line", FLOORED)
def test_floored_gradient_cosines(line: str) -> None:
    assert codes(GRADS + line, "FAL203")


@pytest.mark.parametrize("line", UNFLOORED)
def test_what_only_looks_like_one(line: str) -> None:
    assert codes(GRADS + line, "FAL203") == []


@pytest.mark.parametrize("line", FLOORED)
def test_the_same_on_features_is_fine(line: str) -> None:
    assert codes(FEATS + line, "FAL203") == []


def test_levels_follow_the_evidence() -> None:
    named = "def f(grad_a, grad_b):\n    return grad_a @ grad_b / (grad_a.norm() * grad_b.norm() + 1e-8)\n"
    assert codes(named, "FAL203") == [(2, Level.WARNING)]
    assert codes(GRADS + "eps = cfg.get()\nc = a @ b / (a.norm() * b.norm() + eps)", "FAL203") == [
        (ROWS + 2, Level.WARNING)
    ]
    assert codes(GRADS + "c = a @ b / (a.norm() * b.norm() + 1e-8)", "FAL203") == [(ROWS + 1, Level.ERROR)]
    assert codes(GRADS + "c = F.normalize(a, dim=0) @ b", "FAL203") == [(ROWS + 1, Level.HINT)]


FIXED_203 = [
    ("c = torch.dot(a, b) / (a.norm() * b.norm() + 1e-8)", "c = safe_cosine(a, b, dim=0)"),
    ("c = torch.dot(b, a) / (a.norm() * b.norm() + 1e-8)", "c = safe_cosine(b, a, dim=0)"),
    ("c = a @ b / (a.norm() * b.norm() + 1e-8)", "c = safe_cosine(a, b, dim=0)"),
    ("c = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-8)", "c = safe_cosine(a, b, dim=1)"),
    ("c = (a * -b).sum() / (a.norm() * (-b).norm() + 1e-8)", "c = safe_cosine(a, (-b).flatten(), dim=0)"),
    ("c = torch.dot(a, b) / (a.norm() * a.norm() + 1e-8)", None),
    ("c = torch.einsum('i,i->', a, b) / (a.norm() * b.norm() + 1e-8)", None),
    ("c = (  # why\n    a @ b / (a.norm()  # here\n    * b.norm() + 1e-8))", None),
    ("c = a @ b\nc /= a.norm() * b.norm() + 1e-8", None),
    ("x, y = p.grad, q.grad\nc = x @ y / (x.norm() * y.norm() + 1e-8)", None),
    ("c = np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-8)", None),
]


@pytest.mark.parametrize(("line", "fixed"), FIXED_203)
def test_fixes_of_quotients(line: str, fixed: str | None) -> None:
    result = analyse("example.py", (GRADS + line).encode(), frozenset({"FAL203"}), RoleNames())
    (found,) = result.diagnostics
    if fixed is None:
        assert found.fix is None
        return
    assert found.fix is not None
    assert found.fix.applicability is Applicability.UNSAFE
    assert any(edit.content in fixed and "safe_cosine(" in edit.content for edit in found.fix.edits)
    assert fixed.startswith("c = ") and fixed.removeprefix("c = ") in [e.content for e in found.fix.edits]


def test_no_fix_where_the_name_is_taken() -> None:
    program = GRADS + "def safe_cosine(): ...\nc = F.cosine_similarity(a, b, dim=0)"
    (found,) = analyse("example.py", program.encode(), frozenset({"FAL201"}), RoleNames()).diagnostics
    assert found.fix is None


CLAMPED = [
    "c = F.cosine_similarity(a, b, dim=0)",
    "c = F.cosine_similarity(x1=a, x2=b)",
    "c = torch.cosine_similarity(-a, b.detach().cpu(), -1)",
    "c = torch.nn.CosineSimilarity(dim=0)(a, b)",
    "cos = torch.nn.CosineSimilarity()\nc = cos(a, b)",
    "cos = torch.nn.CosineSimilarity(0)\nc = cos(a, b)",
    "class M:\n    cos = torch.nn.CosineSimilarity(dim=0)\n    def f(self, p, q):\n        return self.cos(p.grad, q.grad)",
    "loss = torch.nn.CosineEmbeddingLoss()\nc = loss(a, b, target)",
    "print(f'{F.cosine_similarity(a, b, dim=0):.3f}')",
    "c = [F.cosine_similarity(x, y, dim=0) for x, y in zip(a, b)]",
    "cos = F.cosine_similarity\nc = cos(a, b)",
    "if a.norm() == 0:\n    raise ValueError\nc = F.cosine_similarity(a, b, dim=0)",
    "if a.norm() < 1e-12:\n    raise ValueError\nc = F.cosine_similarity(a, b, dim=0)",
    "if n > 3:\n    raise ValueError\nc = F.cosine_similarity(a, b, dim=0)",
]
NOT_CLAMPED = [
    "c = F.cosine_similarity(a, b, **options)",
    "c = F.cosine_similarity(*pair)",
    "c = F.cosine_similarity(a)",
    "c = torch.nn.CosineSimilarity(0, 1e-30)(a, b)",
    "c = torch.nn.CosineSimilarity(dim=0, eps=1e-30)(a, b)",
    "c = torch.nn.CosineSimilarity(**options)(a, b)",
    "np.testing.assert_allclose(F.cosine_similarity(a, b, dim=0), 1)",
    "n = a.norm()\nif n < 1e-6:\n    raise ValueError\nc = F.cosine_similarity(a, b, dim=0)",
    "while a.norm() > 1e-3:\n    c = F.cosine_similarity(a, b, dim=0)",
    "c = F.cosine_similarity(a, b, dim=0) if a.abs().max() > 1e-4 else None",
    "c = F.cosine_similarity(a, b, dim=0)\ntorch.testing.assert_close(c, one)",
    "from fa_lint_runtime import check_magnitude\ncheck_magnitude(a)\nc = F.cosine_similarity(a, b, dim=0)",
]


@pytest.mark.parametrize("line", CLAMPED)
def test_clamped_gradient_cosines(line: str) -> None:
    assert codes(GRADS + line, "FAL201")
    assert codes(GRADS + line, "FAL202") == []


@pytest.mark.parametrize("line", NOT_CLAMPED)
def test_guarded_or_explicit_cosines(line: str) -> None:
    assert codes(GRADS + line, "FAL201") == []


ANGLES = [
    "t = torch.acos(F.cosine_similarity(f, g, dim=-1))",
    "t = F.cosine_similarity(f, g).acos()",
    "t = torch.arccos(-F.cosine_similarity(f, g))",
    "t = torch.acos(F.cosine_similarity(f, g).mean())",
    "t = torch.acos(f @ g / (f.norm() * g.norm()))",
    "t = torch.acos((f * g).sum(-1) / (f.norm(dim=-1) * g.norm(dim=-1)))",
    "t = math.acos(float(f @ g / (f.norm() * g.norm())))".replace("float(", "(")
    .replace(")))", "))))")
    .replace("))))", ")))"),
    "u, v = F.normalize(f), F.normalize(g)\nt = torch.acos((u * v).sum(-1))",
    "u, v = F.normalize(f), F.normalize(g)\nt = torch.acos(u @ v)",
    "c = (f @ g).div(f.norm() * g.norm())\nt = torch.acos(c)",
]
NO_ANGLES = [
    "t = torch.acos(x)",
    "t = torch.acos(torch.clamp(F.cosine_similarity(f, g), -1, 1))",
    "t = torch.acos(F.cosine_similarity(f, g).clip(-1, 1))",
    "c = F.cosine_similarity(f, g)\nc.clamp_(-1, 1)\nt = torch.acos(c)",
    "c = F.cosine_similarity(f, g)\nc[c > 1] = 1\nt = torch.acos(c)",
    "c = f @ g / (f.norm() * g.norm())\nif c < 1:\n    t = torch.acos(c)",
    "t = torch.acos(f @ g)",
    "t = torch.acos(x / y)",
    "t = torch.acos(torch.cos(x))",
    "t = np.arccos(np.minimum(1.0, f @ g))",
]
ANGLE_HEAD = "import math\nimport numpy as np\nimport torch\nimport torch.nn.functional as F\n"


@pytest.mark.parametrize("line", ANGLES)
def test_unclamped_acos(line: str) -> None:
    assert codes(ANGLE_HEAD + line, "FAL204")


@pytest.mark.parametrize("line", NO_ANGLES)
def test_clamped_acos(line: str) -> None:
    assert codes(ANGLE_HEAD + line, "FAL204") == []


FIXED_204 = [
    ("t = torch.acos(F.cosine_similarity(f, g, dim=-1))", "safe_angle(f, g, dim=-1)"),
    ("t = torch.acos(F.cosine_similarity(f, g))", "safe_angle(f, g, dim=1)"),
    ("t = torch.acos(F.cosine_similarity(f, g, -1))", "safe_angle(f, g, dim=-1)"),
    ("t = torch.acos((f * g).sum(-1) / (f.norm(dim=-1) * g.norm(dim=-1)))", "safe_angle(f, g, dim=-1)"),
    ("t = torch.acos(f @ g / (f.norm() * g.norm()))", "(f @ g / (f.norm() * g.norm())).clamp(-1.0, 1.0)"),
    ("t = F.cosine_similarity(f, g, eps=1e-3).acos()", "F.cosine_similarity(f, g, eps=1e-3).clamp(-1.0, 1.0)"),
    ("t = math.acos(f @ g / (f.norm() * g.norm()))", None),
    ("from numpy import arccos\nt = arccos(f @ g / (f.norm() * g.norm()))", None),
]


@pytest.mark.parametrize(("line", "content"), FIXED_204)
def test_fixes_of_angles(line: str, content: str | None) -> None:
    (found,) = analyse("example.py", (ANGLE_HEAD + line).encode(), frozenset({"FAL204"}), RoleNames()).diagnostics
    if content is None:
        assert found.fix is None
    else:
        assert found.fix is not None
        assert content in [edit.content for edit in found.fix.edits]


ZERO_TESTS = [
    "if p.grad.sum() == 0: pass",
    "if 0 == p.grad.detach().sum(): pass",
    "if p.grad.sum().item() != 0: pass",
    "g = p.grad.view(-1)\ns = g.sum()\nif s == 0: pass",
    "if np.sum(p.grad.numpy()) == 0: pass",
    "if a.sum() - b.sum() == 0.0: pass",
    "if (layer.weight - other.weight).sum() == 0: pass",
    "if layer.weight.sum() == 0: pass",
]
NO_ZERO_TESTS = [
    "if p.grad.sum() == 1: pass",
    "if (p.grad > 0).sum() == 0: pass",
    "if (~p.grad.isnan()).sum() == 0: pass",
    "if p.grad.isnan().sum() == 0: pass",
    "if (p.grad ** 2).sum() == 0: pass",
    "if mask.sum() == 0: pass",
    "if sum(p.grad) == 0: pass",
    "if p.grad.sum() == False: pass",
    "if p.grad.mean() == 0: pass",
    "if (x - y).sum() == 0: pass",
    "if p.grad.sum() < 0 == 0: pass",
]


@pytest.mark.parametrize("line", ZERO_TESTS)
def test_sums_as_zero_tests(line: str) -> None:
    assert codes(GRADS + line, "FAL205")


@pytest.mark.parametrize("line", NO_ZERO_TESTS)
def test_sums_that_are_sound(line: str) -> None:
    assert codes(GRADS + line, "FAL205") == []


NORMS = [
    ("FAL101", "x.norm(-1, dim=0)", Level.WARNING),
    ("FAL101", "torch.linalg.vector_norm(x, -2)", Level.ERROR),
    ("FAL101", "torch.norm(x, -1, True)", Level.WARNING),
    ("FAL101", "(x - y).norm(-1)", Level.ERROR),
    ("FAL101", "x.norm(-1 * 2)", Level.ERROR),
    ("FAL101", "F.normalize(x, -1, 0)", Level.WARNING),
    ("FAL102", "F.normalize(x, 0)", Level.WARNING),
    ("FAL102", "F.normalize(x, 1)", Level.HINT),
    ("FAL102", "torch.mm(F.normalize(x, 1).detach(), F.normalize(y, dim=0))", Level.WARNING),
    ("FAL102", "x.norm(axis)", Level.WARNING),
    ("FAL103", "torch.norm(x, p=1, keepdim=True)", Level.HINT),
]


@pytest.mark.parametrize(("code", "call", "level"), NORMS)
def test_norm_calls(code: str, call: str, level: Level) -> None:
    assert codes(f"import torch\nimport torch.nn.functional as F\nz = {call}\n", code) == [(3, level)]


NO_NORMS = [
    ("FAL101", "x.norm(*args)"),
    ("FAL101", "torch.linalg.norm(x, -2)"),
    ("FAL101", "x.norm(-0.5)"),
    ("FAL101", "x.norm()"),
    ("FAL102", "x.norm(dim='fro')"),
    ("FAL102", "F.normalize(x, 1, 1)"),
    ("FAL102", "F.normalize(x, 1.0)"),
    ("FAL102", "F.pairwise_distance(x, y, 1)"),
    ("FAL102", "x.norm(1)"),
    ("FAL102", "x.norm(1).mean(0)"),
    ("FAL103", "x.norm(keepdim=True)"),
    ("FAL103", "x.norm('fro', keepdim=True)"),
    ("FAL103", "x.norm(1, keepdim=False)"),
]


@pytest.mark.parametrize(("code", "call"), NO_NORMS)
def test_norm_calls_that_are_meant(code: str, call: str) -> None:
    assert codes(f"import torch\nimport torch.nn.functional as F\nz = {call}\n", code) == []
