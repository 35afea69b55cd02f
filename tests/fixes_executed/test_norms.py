"""FAL101 and FAL102 executed: the fixed program takes the norm of every row, and every row meets its own norm."""

from __future__ import annotations

import pytest

from tests.conftest import diagnostics_of
from tests.fixes_executed.programs import HEAD, fixed, run, same, tensors, torch

# Programs with one mistake, each of which means the rows of x as unit vectors; the fix adds `keepdim=True`, …
UNIT = [
    "def f(x): return x / x.norm(-1)",
    "def f(x): return x / x.norm(-1, keepdim=True)",
    "def f(x): return x / torch.norm(x, -1)",
    "def f(x): return x / torch.linalg.vector_norm(x, -1)",
    "def f(x): return x * (1.0 / x.norm(-1))",
    "def f(x): return torch.div(x, x.norm(-1))",
    "def f(x): return x.div(x.norm(-1))",
    "def f(x):\n    x = x.clone()\n    x /= x.norm(-1)\n    return x",
    "def f(x):\n    x = x.clone()\n    x.div_(x.norm(-1))\n    return x",
    "def f(x):\n    n = x.norm(-1)\n    return x / n",
    "def f(x):\n    n = x.norm(-1)\n    n += 0\n    m = n * 1.0\n    return x / m",
    "def f(x):\n    n, m = x.norm(-1), 1\n    return m * x / n",
    "def f(x):\n    y = x * 1\n    return y / x.norm(-1)",
    "def f(x): return x / x.norm(-1).expand_as(x)",
    "def f(x): return x / x.detach().abs().norm(-1)",
    "def f(x): return -x / -x.norm(-1)",
    "def f(x):\n    def half(v): return v / v.norm(-1)\n    return half(x)",
    "class M:\n    def g(self, x):\n        self.n = x.norm(-1)\n        return x / self.n\nf = M().g",
    "def f(x): return x / torch.as_tensor(x.norm(-1))",
    "def f(x): return x / abs(x.norm(-1))",
    "def f(x): return x / torch.Tensor.norm(x, -1)",
    "def f(x):\n    y = x.clone()\n    y.data.div_(x.norm(-1))\n    return y",
    # Norms that meet each other get the dimension together.
    "def f(x):\n    s = torch.where(x.norm(-1) > 0, 1.0 / x.norm(-1), torch.full_like(x.norm(-1), torch.inf))\n    return x * s",
    "def f(x): return x * x.norm(-1) / (x.norm(-1) * x.norm(-1))",
]
# … or the program adds the dimension by itself.
UNIT_OWN = [
    "def f(x): return x / x.norm(-1).unsqueeze(-1)",
    "def f(x): return x / x.norm(-1)[..., None]",
    "def f(x): return x / (x.norm(-1).unsqueeze(-1) * 1.0)",
]
# The same in NumPy, which has another keyword.
UNIT_NUMPY = [
    "def f(x): return x / np.linalg.norm(x, -1)",
    "def f(x): return x / np.maximum(np.linalg.norm(x, -1), 0.0)",
    "def f(x): return np.divide(x, np.linalg.norm(x, -1))",
    "def f(x): return x / np.float64(np.linalg.norm(x, -1))",
    "def f(x): return np.array(x) / np.asarray(np.linalg.norm(x, -1))",
    "from numpy import linalg as LA\ndef f(x): return x * np.reciprocal(LA.norm(x, -1))",
    "def f(x):\n    x = x.copy()\n    x /= np.linalg.norm(x, -1)\n    return x",
]
# Programs whose norm meets other rows, or nothing: what they give for (x, y), with the norms of the rows n and m.
OTHER = {
    "def f(x, y): return x.norm(-1)": lambda x, y, n, m: n,
    "def f(x, y): return x.norm(-1).mean()": lambda x, y, n, m: n.mean(),
    "def f(x, y): return x.norm(-1) * y.norm(-1)": lambda x, y, n, m: n * m,
    "def f(x, y): return (x * y).sum(-1) * x.norm(-1)": lambda x, y, n, m: (x * y).sum(-1) * n,
    "def f(x, y): return (x * y).sum(-1) / (x.norm(-1) * y.norm(-1) + 1.0)": lambda x, y, n, m: (
        (x * y).sum(-1) / (n * m + 1)
    ),
    "def f(x, y): return (x - y).norm(-1)": lambda x, y, n, m: ((x - y) ** 2).sum(-1).sqrt(),
    "def f(x, y): return torch.where(x.norm(-1) > 2, x / 2, x)": lambda x, y, n, m: torch.where(
        n[..., None] > 2, x / 2, x
    ),
    "def f(x, y): return x * (x.norm(-1) > 2)": lambda x, y, n, m: x * (n[..., None] > 2),
    "def f(x, y): return x.norm(-1) ** x": lambda x, y, n, m: n[..., None] ** x,
    "def f(x, y): return x > x.norm(-1)": lambda x, y, n, m: x > n[..., None],
    "def f(x, y): return x[x.norm(-1) > 2]": lambda x, y, n, m: x[n > 2],
    "def f(x, y): return torch.clamp(x.norm(-1), min=0.5) * x": lambda x, y, n, m: n.clamp(min=0.5)[..., None] * x,
    "def f(x, y): return F.relu(x) / (x.norm(-1) + 1.0)": lambda x, y, n, m: x.clamp(min=0) / (n[..., None] + 1),
    "def f(x, y): return (x - y) / (1 + (x - y).norm(-1))": lambda x, y, n, m: (
        (x - y) / (1 + ((x - y) ** 2).sum(-1).sqrt()[..., None])
    ),
    "def f(x, y): return x / (1 + x.norm(-1)), y / (1 + y.norm(-1))": lambda x, y, n, m: torch.cat(
        (x / (1 + n[..., None]), y / (1 + m[..., None]))
    ),
    # A dimension that the author kept meets rows as they stand.
    "def f(x, y): return x @ x.mT / x.norm(-1, keepdim=True)": lambda x, y, n, m: x @ x.mT / n[..., None],
    "def f(x, y): return y / x.norm(-1, keepdim=True)": lambda x, y, n, m: y / n[..., None],
    "def f(x, y): return F.pairwise_distance(x, y, -1)": lambda x, y, n, m: ((x - y + 1e-6) ** 2).sum(-1).sqrt(),
}
# What the norm meets is not known, or one number is wanted: no fix, and the message says why.
WITHHELD = {
    "def f(x, y): return x / y.norm(-1)": "the shape of `x` is not known",
    "def f(x, y): return x * (y / x.norm(-1))": "the shape of `y` is not known",
    "def f(x, y): return x @ y / (x.norm(-1) * 2)": "the shape of `x @ y` is not known",
    "def f(x, y): return x.T / x.norm(-1)": "the shape of `x.T` is not known",
    "def f(x, y): return (x * y).sum() / x.norm(-1)": "`(x * y).sum()` sums over the whole tensor",
    "def f(x, y): return x / (x.norm(-1) * y.sum(-1))": "has no dimension for it",
    "def f(x, y): return (x * y).sum(-1) / x.norm(-1, keepdim=True)": "has no dimension where the norm keeps one",
    "def f(x, y): return x / x.norm(-1, keepdim=False)": "`keepdim=False` contradicts it",
    "def f(x, y): return x / x.norm(-1, keepdim=y)": "`keepdim=y` contradicts it",
    "def f(x, y): return y(x, x.norm(-1))": "`y` takes it together with its operand",
    "def f(x, y): return torch.einsum('bd,b->bd', x, x.norm(-1))": "`torch.einsum` takes it together",
    "def f(x, y): return x / x.norm(-1).expand(x.shape)": "gives it a shape of its own",
    "def f(x, y): return x / x.norm(-1).unsqueeze(0)": "gives it a shape of its own",
    "def f(x, y):\n    n = x.norm(-1)\n    return x / n, n": "the norm is handed on as well",
    "def f(x, y):\n    n = x.norm(-1)\n    return x / n + y[n > 1]": "another one number a row",
    "def length(v): return v.norm(-1)\ndef f(x, y): return x / length(x)": "the norm is handed on as well",
    "length = lambda v: v.norm(-1)\ndef f(x, y): return x / length(x)": "the norm is handed on as well",
    "class M:\n    def n(self, v): return v.norm(-1)\ndef f(x, m): return x / m.n(x)": "the norm is handed on as well",
    "def f(x, y):\n    x.norm(-1).backward()": "one number",
    "def f(x, y):\n    n = x.norm(-1)\n    n.backward()": "one number",
    "def f(x, y):\n    if x.norm(-1) > 1: return y": "one number",
    "def f(x, y): return x if x.norm(-1) + 1 > 2 else y": "one number",
    "def f(x, y): return max(x.norm(-1), 1e-8)": "one number",
    "def f(x, y): return math.sqrt(x.norm(-1) + 1)": "one number",
    "def f(x, y): return not x.norm(-1)": "one number",
    "def f(x, y):\n    assert x.norm(-1) > 0": "one number",
    "def f(x, y):\n    total = 0\n    for v in x: total += v.norm(-1)\n    return total": "the shape of `total`",
    "def f(x, y): return np.linalg.norm(x, -1) * y": "the shape of `y` is not known",
    "def f(x, y): return x / x.norm(-1).t()": "gives it a shape of its own",
    "def f(x, y): return x / x.norm(-1).T": "gives it a shape of its own",
    "def f(x, y): return x.T / x.norm(-1, keepdim=True)": "the shape of `x.T` is not known",
    "def f(x, y): return x[0] / x.norm(-1, keepdim=True)": "the shape of `x[0]` is not known",
    "def f(x, y): return x.flatten() / x.norm(-1, keepdim=True)": "the shape of `x.flatten()` is not known",
    "def f(x, y): return x.sum(0) / x.norm(-1, keepdim=True)": "the shape of `x.sum(0)` is not known",
    "def f(x, y): return x.mT @ x / x.norm(-1, keepdim=True)": "the shape of `x.mT @ x` is not known",
    "def f(x, y):\n    z = x.T\n    return z / x.norm(-1, keepdim=True)": "the shape of `z` is not known",
    "def f(x, y): return x / x.norm(-1, keepdim=True)[:, None]": "adds a dimension of its own",
    "def f(x, y):\n    def g(n): return x / n\n    return g(x.norm(-1))": "which shape `g` needs is not known",
    "def f(x, y): y.add_scalar('norm', x.norm(-1))": "one number",
    "def f(x, y): return '%.3f' % x.norm(-1)": "one number",
    "def f(x, y): return '%s %.3f' % (y, x.norm(-1))": "one number",
    "def f(x, y): return '{:.3f}'.format(x.norm(-1))": "one number",
    "def f(x, y): return np.arange(np.linalg.norm(x, -1))": "which shape `np.arange` needs is not known",
    "def f(x, y): return np.full_like(x, np.linalg.norm(x, -1))": "`np.full_like` takes it together with its operand",
    "def f(x, y):\n    y['n'] = x.norm(-1)\n    return x / y['n']": "`y['n']` holds it",
    "def f(x, y):\n    y.n = x.norm(-1)\n    return x / y.n": "`y.n` holds it",
    "def f(x, y):\n    d = {'n': x.norm(-1)}\n    return x / d['n']": "holds it",
    "def f(x, y):\n    d = [x.norm(-1)]\n    return x / d[0]": "`[x.norm(-1)]` holds it",
    "def f(x, y): return [x / n for n in [x.norm(-1)]]": "holds it",
    "def f(x, y): return y.dot(x.norm(-1), x)": "`y.dot` takes it together with its operand",
    "def f(v, dim): return dim @ v / v.norm(dim)": "the shape of `dim @ v` is not known",
}


@pytest.mark.parametrize("program", UNIT + UNIT_OWN)
def test_every_row_is_divided_by_its_own_norm(program: str) -> None:
    code = fixed(HEAD + program)
    assert code != HEAD + program
    assert ("keepdim=True" in code) is (program in UNIT)
    f = run(code)["f"]
    for (x,) in tensors():
        for requires_grad in (False, True):
            given = x.clone().requires_grad_(requires_grad)
            want = x / (x.double() ** 2).sum(-1, keepdim=True).sqrt()
            if not (requires_grad and ".div_" in program):
                same(f(given).detach(), want, dtype=x.dtype)


@pytest.mark.parametrize("program", UNIT_NUMPY)
def test_the_same_in_numpy(program: str) -> None:
    code = fixed(HEAD + program)
    assert "axis=-1, keepdims=True" in code
    f = run(code)["f"]
    for (x,) in tensors(dtypes=[torch.float32, torch.float64], zero=False):
        same(f(x.numpy()), x / (x**2).sum(-1, keepdim=True).sqrt())


@pytest.mark.parametrize("program", OTHER)
def test_what_else_a_norm_meets(program: str) -> None:
    code = fixed(HEAD + program)
    assert diagnostics_of(code, select=("FAL1",)) == []
    f = run(code)["f"]
    for x, y in tensors(least=2, many=2, dtypes=[torch.float32, torch.float64]):
        n, m = (v.pow(2).sum(-1).sqrt() for v in (x, y))
        got = f(x, y)
        same(torch.cat(got) if isinstance(got, tuple) else got, OTHER[program](x, y, n, m))


@pytest.mark.parametrize("program", WITHHELD)
def test_no_fix_where_shapes_are_not_known_and_the_message_says_why(program: str) -> None:
    code = HEAD + program
    assert fixed(code, select=("FAL1",)) == code
    (found,) = diagnostics_of(code, select=("FAL101", "FAL102"))
    assert found.fix is None
    assert f"; no fix: {WITHHELD[program]}" in found.message or WITHHELD[program] in found.message.split("no fix: ")[1]


@pytest.mark.parametrize("beside", ["x.norm(-1).unsqueeze(0)", "y(x.norm(-1))"])
def test_norms_that_meet_are_fixed_together_or_not_at_all(beside: str) -> None:
    code = f"{HEAD}def f(x, y): return x.norm(-1) * {beside}"
    assert fixed(code, select=("FAL1",)) == code
    assert all("no fix: " in found.message for found in diagnostics_of(code, select=("FAL101",)))


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_a_named_dimension(dim: int) -> None:
    f = run(fixed(HEAD + "def f(v, dim): return v / v.norm(dim)"))["f"]
    g = run(fixed(HEAD + "def f(v, dim): return torch.norm(v, dim) * 2"))["f"]
    for (x,) in tensors(least=2, zero=False):
        norms = x.pow(2).sum(dim, keepdim=True).sqrt()
        same(f(x, dim), x / norms, dtype=x.dtype)
        same(g(x, dim), norms.squeeze(dim) * 2, dtype=x.dtype)


def test_of_a_vector_there_is_one_norm() -> None:
    f = run(fixed(HEAD + "def f(x): return x / x.flatten().norm(-1)"))["f"]
    g = run(fixed(HEAD + "def f(x): return torch.dot(x, x) / x.norm(-1)"))["f"]
    for (x,) in tensors(zero=False):
        same(f(x), x / x.pow(2).sum().sqrt(), dtype=x.dtype)
        same(g(x.flatten()), x.pow(2).sum().sqrt(), dtype=x.dtype)


@pytest.mark.parametrize("dim", ["dim=-1", "-1"])
def test_normalize_keeps_its_shape(dim: str) -> None:
    f = run(fixed(HEAD + f"def f(x): return F.normalize(x, {dim})"))["f"]
    for (x,) in tensors(least=2):
        same(f(x), x / x.pow(2).sum(-1, keepdim=True).sqrt().clamp(min=1e-12), dtype=x.dtype)
