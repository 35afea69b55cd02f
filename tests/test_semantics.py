"""Names, constants, kinds and roles: what the rules are told about a program."""

from __future__ import annotations

import math
import sys

import pytest

from fa_lint.analysis.terms import Role
from fa_lint.analysis.values import values_of
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts, extract
from fa_lint.semantics.roles import COMPUTED, NAMED, RoleNames
from fa_lint.semantics.values import UNKNOWN
from fa_lint.semantics.words import suggests, words


def argument(facts: ModuleFacts, function: str = "probe") -> ir.Expr:
    """The first argument of the last call of ``probe``."""
    call = [c for c in facts.calls if isinstance(c.func, ir.Name) and c.func.id == function][-1]
    return call.args[0].value


IMPORTS = [
    ("import torch.nn.functional as F", "F.cosine_similarity", "torch.nn.functional.cosine_similarity"),
    ("import torch", "torch.nn.functional.cosine_similarity", "torch.nn.functional.cosine_similarity"),
    ("import torch", "torch.cosine_similarity", "torch.nn.functional.cosine_similarity"),
    ("from torch.nn.functional import cosine_similarity as cos", "cos", "torch.nn.functional.cosine_similarity"),
    ("from torch import linalg as LA", "LA.norm", "torch.linalg.norm"),
    ("from torch import nn", "nn.functional.normalize", "torch.nn.functional.normalize"),
    ("from torch.nn import functional", "functional.normalize", "torch.nn.functional.normalize"),
    ("from torch import *", "norm", "torch.norm"),
    ("import torch.nn.functional as F\ncos = F.cosine_similarity", "cos", "torch.nn.functional.cosine_similarity"),
    ("try:\n    import numpy as np\nexcept ImportError:\n    np = None", "np.linalg.norm", "numpy.linalg.norm"),
    ("import autograd.numpy as np", "np.linalg.norm", "numpy.linalg.norm"),
    ("import jax.numpy as jnp", "jnp.linalg.norm", "jax.numpy.linalg.norm"),
    ("if True:\n    import torch as th", "th.norm", "torch.norm"),
    ("norm = len", "norm", None),
    ("import torch\ndef norm(x): ...", "norm", None),
    ("from .metrics import angle", "angle", ".metrics.angle"),
]


@pytest.mark.parametrize(("prelude", "expression", "name"), IMPORTS)
def test_qualified_names(prelude: str, expression: str, name: str | None) -> None:
    facts = extract(f"{prelude}\nprobe({expression})\n")
    assert facts.qualified(argument(facts)) == name


def test_imports_inside_functions_are_seen_there_only() -> None:
    facts = extract("def f():\n    from torch import norm\n    probe(norm)\n")
    assert facts.qualified(argument(facts)) == "torch.norm"
    facts = extract("def f():\n    from torch import norm\nprobe(norm)\n")
    assert facts.qualified(argument(facts)) is None


CONSTANTS = [
    ("probe(-1)", -1),
    ("d = -1\nprobe(d)", -1),
    ("def f(x, d=-1):\n    probe(d)", -1),
    ("def f(x, *, d=1e-8):\n    probe(d)", 1e-8),
    ("probe(10 ** -8)", 1e-8),
    ("probe(float('-inf'))", -math.inf),
    ("import math\nprobe(-math.inf)", -math.inf),
    ("import torch\nprobe(torch.finfo(torch.float32).eps)", 2.0**-23),
    ("class A:\n    def __init__(self, e=1e-8):\n        self.e = e\n    def f(self):\n        probe(self.e)", 1e-8),
    ("class A:\n    e = 1e-6\n    def f(self):\n        probe(self.e)", 1e-6),
    ("d = -1\nif c:\n    d = 2\nprobe(d)", UNKNOWN),
    ("d = -1\nd = 2\nprobe(d)", 2),
    ("for d in x:\n    probe(d)", UNKNOWN),
    ("def f(d):\n    probe(d)", UNKNOWN),
    ("d = 1\ndef f():\n    global d\n    d = 2\nprobe(d)", UNKNOWN),
    ("a = b = 3\nprobe(a)", 3),
    ("a, b = 1, -1\nprobe(b)", -1),
    ("x = x + 1\nprobe(x)", UNKNOWN),
    ("probe(1 / 0)", UNKNOWN),
    ("probe(not False)", True),
]


@pytest.mark.parametrize(("code", "value"), CONSTANTS)
def test_constants(code: str, value: object) -> None:
    facts = extract(code)
    assert facts.values.constant(argument(facts)) == value


KINDS = [
    ("import torch\nprobe(torch.ones(3))", "array"),
    ("import torch\ndef f(x: torch.Tensor):\n    probe(x)", "array"),
    ("import torch\ndef f(x: 'torch.Tensor'):\n    probe(x)", "array"),
    ("def f(x):\n    probe(x)", "unknown"),
    ("class V: ...\nv = V()\nprobe(v)", "foreign"),
    ("import torch\nclass V(torch.Tensor): ...\nprobe(V())", "array"),
    ("from geometry import Vector\nprobe(Vector(1) - Vector(2))", "foreign"),
    ("from geometry import Vector\ndef f(v: Vector):\n    probe(v)", "foreign"),
    ("from pykeops.torch import LazyTensor\nx = LazyTensor(a)\nprobe((x - y).abs())", "foreign"),
    ("import torch\nprobe(x.view(-1) + 1e-8)", "array"),
    ("probe('text')", "foreign"),
    ("from models import Encoder\nenc = Encoder()\nprobe(enc(x))", "unknown"),
    ("import torch\nprobe(torch)", "foreign"),
    ("import torch\nprobe(torch.pi)", "foreign"),
    ("import torch\nx: torch.Tensor = load()\nprobe(x)", "array"),
    ("import numpy as np\nprobe(np.zeros(3)[0])", "array"),
    ("import torch\nprobe(torch.ones(1) if c else None)", "array"),
    ("import torch\nprobe(-torch.ones(1))", "array"),
    ("class V:\n    def norm(self, p): ...\n    def f(self):\n        probe(self)", "foreign"),
    (
        "class M:\n    def __init__(self):\n        self.v = torch.ones(2)\n    def f(self):\n        probe(self.v)\nimport torch",
        "array",
    ),
    ("def norm(): ...\nprobe(norm)", "foreign"),
    ("import torch\nlayer = torch.nn.Linear(2, 2)\nprobe(layer)", "unknown"),
    ("from shapes import make\nprobe(make())", "unknown"),
    ("from shapes import MyTensor\nprobe(MyTensor())", "unknown"),
    ("def f(x: 'Vector'):\n    probe(x)", "unknown"),
    ("from pykeops.torch import Vi\nx = Vi(a)\nprobe((-x)[0].sum().abs())", "foreign"),
    ("import torch\nx = x.detach()\nprobe(x)", "array"),
    ("probe(await f())", "foreign"),
    ("for x in y:\n    probe(x)", "unknown"),
]


@pytest.mark.parametrize(("code", "kind"), KINDS)
def test_kinds(code: str, kind: str) -> None:
    facts = extract(code)
    assert facts.kinds.kind(argument(facts)) == kind


ROLES = [
    ("probe(p.grad)", "gradient", COMPUTED),
    ("g = p.grad.flatten().clone()\nprobe(g)", "gradient", COMPUTED),
    ("import torch\n(g,) = torch.autograd.grad(loss, [h])\nprobe(g)", "gradient", COMPUTED),
    ("import torch\ng, = torch.autograd.grad(loss, [h])\nprobe(-2 * g[0])", "gradient", COMPUTED),
    ("from torch.autograd import grad\nprobe(grad(loss, w)[0])", "gradient", COMPUTED),
    ("from torch.func import grad, vmap\nprobe(vmap(grad(loss))(w))", "gradient", COMPUTED),
    ("import jax\ng = jax.grad(loss)\nprobe(g(w))", "gradient", COMPUTED),
    ("import jax\nv, g = jax.value_and_grad(loss)(w)\nprobe(g)", "gradient", COMPUTED),
    ("import jax\nv, g = jax.value_and_grad(loss)(w)\nprobe(v)", "unknown", 0),
    (
        "d = {}\nfor n, p in model.named_parameters():\n    d[n] = p.grad\nfor n, g in d.items():\n    probe(g)",
        "gradient",
        3,
    ),
    ("gs = []\ngs.append(p.grad)\nprobe(gs[0])", "gradient", COMPUTED),
    ("def f(m):\n    return [p.grad for p in m.parameters()]\nprobe(f(model))", "gradient", COMPUTED),
    ("def f(m):\n    return 1, m.w.grad\na, b = f(m)\nprobe(b)", "gradient", COMPUTED),
    ("def f(m):\n    return 1, m.w.grad\na, b = f(m)\nprobe(a)", "unknown", 0),
    ("def f(a, b):\n    probe(b)\nf(x, p.grad)", "gradient", COMPUTED),
    ("h.register_hook(lambda g: probe(g))", "gradient", COMPUTED),
    ("def hook(m, gi, go):\n    probe(go[0])\nm.register_full_backward_hook(hook)", "gradient", COMPUTED),
    (
        "def make(n):\n    def hook(m, gi, go):\n        probe(go[0])\n    return hook\nm.register_full_backward_hook(make(1))",
        "gradient",
        COMPUTED,
    ),
    (
        "import torch\nclass F(torch.autograd.Function):\n    @staticmethod\n    def backward(ctx, g):\n        probe(g)",
        "gradient",
        COMPUTED,
    ),
    ("for a, b in zip(x, (p.grad for p in ps)):\n    probe(b)", "gradient", COMPUTED),
    ("for i, g in enumerate(p.grad for p in ps):\n    probe(g)", "gradient", COMPUTED),
    ("with tf.GradientTape() as tape:\n    pass\nprobe(tape.gradient(l, w))", "gradient", COMPUTED),
    ("probe(bp_grad)", "gradient", NAMED),
    ("probe(get_grads(m))", "gradient", NAMED),
    ("def cosine_of_gradients(g1, g2):\n    probe(g1)", "gradient", NAMED),
    ("probe(credit)", "credit", NAMED),
    ("probe(error @ self.feedback_matrix)", "credit", NAMED),
    ("import torch\ng = torch.autograd.grad(sdf, points)[0]\nprobe(g)", "spatial", COMPUTED),
    ("grad_proxy = logits.softmax(-1) - onehot\nprobe(grad_proxy)", "feature", COMPUTED),
    ("grads = model(x)\nprobe(grads)", "feature", NAMED),
    ("g = p.grad / p.grad.norm()\nprobe(g)", "unit", COMPUTED),
    ("probe(layer.weight)", "weight", COMPUTED),
    ("probe(layer.weight.grad)", "gradient", COMPUTED),
    ("probe(image_features)", "feature", NAMED),
    ("probe({'a': p.grad}['a'])", "gradient", COMPUTED),
    ("probe(out['bp_grad'])", "gradient", NAMED),
    ("probe(p.grad if c else None)", "gradient", COMPUTED),
    ("probe(p.grad or q)", "gradient", COMPUTED),
    ("probe(x := p.grad)", "gradient", COMPUTED),
    ("import torch\nprobe(torch.autograd.functional.jacobian(f, x))", "gradient", COMPUTED),
    ("from torch.func import vjp\nr, f = vjp(g, x)\nprobe(r)", "unknown", 0),
    ("from torch.func import vjp\nr, f = vjp(g, x)\nprobe(f(ones)[0])", "gradient", COMPUTED),
    ("import jax\nprobe(jax.jit(jax.grad(f))(x))", "gradient", COMPUTED),
    ("from torch.func import grad_and_value\ng, v = grad_and_value(f)(x)\nprobe(g)", "gradient", COMPUTED),
    ("d = dict(w=p.grad)\nprobe(d.get('w'))", "gradient", COMPUTED),
    ("m.register_hook(make_hook)\nprobe(x)", "unknown", 0),
    (
        "def f(g):\n    probe(g)\nclass A:\n    def go(self):\n        m.register_hook(self.on)\n    def on(self, g):\n        probe(g)",
        "gradient",
        COMPUTED,
    ),
    (
        "from functools import partial\ndef hook(m, a, go):\n    probe(go)\nl.register_full_backward_hook(partial(hook))",
        "gradient",
        COMPUTED,
    ),
    ("probe(x @ y)", "unknown", 0),
    ("probe(Bs @ error)", "credit", NAMED),
    ("probe(p.grad > 0)", "unknown", 0),
    ("import torch\nprobe(torch.nn.functional.normalize(p.grad))", "unit", COMPUTED),
    ("import torch\nprobe(torch.randn(3))", "draw", COMPUTED),
    ("probe(m.state_dict())", "weight", COMPUTED),
    ("probe(x.softmax(-1))", "feature", COMPUTED),
    ("n = p.grad.norm().unsqueeze(0)\ng = p.grad / n\nprobe(g)", "unit", COMPUTED),
    ("probe(x.shape)", "unknown", 0),
    ("import torch\ng = torch.autograd.grad(outputs=e, inputs=pos)\nprobe(g)", "spatial", COMPUTED),
    ("def f(*args):\n    probe(args)\nf(p.grad)", "gradient", COMPUTED),
    ("def f(a):\n    probe(a)\nf(*p.grad)", "unknown", 0),
    ("def f(a):\n    probe(a)\nf(a=p.grad)", "gradient", COMPUTED),
    ("class A:\n    def f(self, g):\n        probe(g)\n    def h(self):\n        self.f(p.grad)", "gradient", COMPUTED),
    ("def f(x):\n    return f(x)\nprobe(f(1))", "unknown", 0),
    ("a = b\nb = a\nprobe(a)", "unknown", 0),
    ("for n, w in model.named_parameters():\n    probe(n)", "unknown", 0),
    ("for k, v in d.items():\n    probe(k)", "unknown", 0),
    ("for i, g in enumerate(p.grad for p in ps):\n    probe(i)", "unknown", 0),
    ("a, b = x, p.grad\nprobe(b)", "gradient", COMPUTED),
    ("a, *b = p.grad\nprobe(b)", "gradient", COMPUTED),
    ("import copy\nprobe(copy.deepcopy(p.grad))", "gradient", COMPUTED),
    ("probe(grad_norm)", "unknown", 0),
    ("probe(alignment)", "unknown", 0),
    ("probe(gamma)", "unknown", 0),
    ("probe(x)", "unknown", 0),
]


@pytest.mark.parametrize(("code", "kind", "strength"), ROLES)
def test_roles(code: str, kind: str, strength: int) -> None:
    facts = extract(code)
    vector = values_of(facts).vector(argument(facts))
    assert (vector.role.value, vector.computed) == (kind, strength == COMPUTED)


def test_declared_names_are_computed_evidence() -> None:
    declared = RoleNames(feedback=("W_back*",), credit=("teach",))
    facts = extract("probe(teach)", declared)
    assert values_of(facts).vector(argument(facts)).role is Role.CREDIT
    facts = extract("probe(e @ W_back1)", declared)
    assert values_of(facts).vector(argument(facts)).computed


def test_evidence_names_the_places() -> None:
    facts = extract("g = p.grad\nh = g.clone()\nprobe(h)")
    steps = values_of(facts).vector(argument(facts)).evidence
    assert [facts.source(facts.node(step.site.node)) for step in steps] == ["p.grad"]


def test_words() -> None:
    assert words("dfa_gradW1") == ("dfa", "grad", "w", "1")
    assert words("HTTPGradient") == ("http", "gradient")
    assert suggests("requires_grad") is None
    assert suggests("weight_grad") == "gradient"
    assert suggests("feedback_weights") == "feedback"
    assert suggests("Bs") == "feedback"
    assert suggests("beta") is None


def test_spans_are_the_source_of_every_node() -> None:
    text = (
        "def f(a, *, b=1, **k):\n    return (a\r\n            + b) if a else [x for x in k]  # é\n\n\nclass C: pass\n"
    )
    facts = extract(text)
    names = {facts.source(n) for n in facts.nodes() if isinstance(n, ir.Name)}
    assert names == {"a", "b", "k", "x"}
    assert any(facts.source(n) == "(a\r\n            + b)"[1:-1] for n in facts.nodes() if isinstance(n, ir.Binary))
    assert facts.span(facts.module)[1] <= len(text)


def test_every_statement_is_lowered() -> None:
    text = (
        "import a.b, c as d\nfrom . import e\nfrom .f import *\nx: int = 1\nx += 1\ndel x\nassert x, 'm'\n"
        "async def f():\n    async with a as b, c: pass\n    async for i in j: pass\n    else: pass\n    await g\n    yield 1\n"
        "@dec\nclass K(Base, metaclass=M):\n    y = lambda *p, **q: (yield)\n"
        "try:\n    raise E from None\nexcept (A, B) as err: pass\nexcept* C: pass\n".replace("except* C: pass\n", "")
        + "else: pass\nfinally: pass\nwhile (n := 1) < 2 <= 3:\n    break\nelse:\n    nonlocal_ = 1\n"
        "match x:\n    case [1, *r] | {'k': v, **s} if r: pass\n    case K(a=1) as z: pass\n    case None: pass\n"
        "t = {1: 2, **u}, {1, *v}, [*w], (1,), x[1:2, ..., ::3], f'{a!r:>{b}}' 'c', -1j, not a or b and c\n"
        "g = {k: v for k, v in z if k if v for q in v}, {a for a in b}, (a for a in b)\nglobal h\nif a: b\nelif c: d\nelse: e\n"
        "print(*a, **b)\n"
    )
    if sys.version_info >= (3, 12):
        text += "def gen[T](x: T) -> T: ...\ntype A = int\n"
    facts = extract(text)
    kinds = {type(n).__name__ for n in ir.walk(facts.module)}
    assert kinds >= {
        "Import", "ImportFrom", "AnnAssign", "AugAssign", "Delete", "Assert", "FunctionDef", "With", "WithItem", "For",
        "Await", "Yield", "ClassDef", "Lambda", "Try", "Raise", "Handler", "While", "Walrus", "Compare", "Match", "Case",
        "Keyed", "Sequence", "Starred", "Slice", "FString", "Unary", "Bool", "Comprehension", "Clause", "Simple", "If",
        "Conditional", "Param", "Arg",
    } - {"Conditional"}  # fmt: skip
