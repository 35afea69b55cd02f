"""The spellings of one cosine: its product, its norms, its unit vectors, its floor, and the library's own."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from fa_lint.findings import Level

from ..programs import Draft
from ..trees import Parents, add_marks, drop_marks, ensure_import, expression, marks, statements
from ._common import Rewrite, before, define, focus, hoistable
from ._reading import Cosine, read

_BY_HAND = ("FAL203", "FAL204", "FAL404", "FAL405", "FAL501")
_FLOORED = ("FAL203",)
_LIBRARY = ("FAL201", "FAL202", "FAL204", "FAL404", "FAL405", "FAL501")


@dataclass(frozen=True)
class Way:
    """``x`` and ``y`` are the vectors, NX and NY their norms, XY the product, E the floor and D the dimension."""

    result: str
    prelude: str = ""
    # Only without a dimension (one number comes out), or only with one.
    whole: bool | None = None
    definitions: str = ""
    line: str = "import torch"
    rules: tuple[str, ...] = _BY_HAND
    level: Level | None = None


_PRODUCTS = {
    "@": Way("(x.flatten() @ y.flatten()) / NORMS", whole=True),
    "matmul": Way("torch.matmul(x.flatten(), y.flatten()) / NORMS", whole=True),
    "dot": Way("torch.dot(x.flatten(), y.flatten()) / NORMS", whole=True),
    "tensor.dot": Way("x.flatten().dot(y.flatten()) / NORMS", whole=True),
    "vdot": Way("torch.vdot(x.flatten(), y.flatten()) / NORMS", whole=True),
    "inner": Way("torch.inner(x.flatten(), y.flatten()) / NORMS", whole=True),
    "vecdot": Way("torch.linalg.vecdot(x, y, dim=D) / NORMS", whole=False),
    "(a * b).sum": Way("(x * y).sum(SUM) / NORMS"),
    "torch.sum": Way("torch.sum(x * y COMMA) / NORMS"),
    "torch.mul": Way("torch.mul(x, y).sum(SUM) / NORMS"),
    "mul().sum": Way("x.mul(y).sum(SUM) / NORMS"),
    "einsum": Way("torch.einsum('i,i->', x.flatten(), y.flatten()) / NORMS", whole=True),
    "einsum of rows": Way("torch.einsum('...i,...i->...', x, y) / NORMS", whole=False),
    "tensordot": Way("torch.tensordot(x.flatten(), y.flatten(), dims=1) / NORMS", whole=True),
    "a loop that adds up": Way(
        "total_m / NORMS", "total_m = 0.0\nfor s_m, t_m in zip([x], [y]):\n    total_m += (s_m * t_m).sum(SUM)"
    ),
    "a loop of three sums": Way(
        "total_m / FLOOR(nx_m ** 0.5 * ny_m ** 0.5)",
        "total_m, nx_m, ny_m = 0.0, 0.0, 0.0\nfor s_m, t_m in zip([x], [y]):\n    total_m += (s_m * t_m).sum(SUM)\n"
        "    nx_m += (s_m * s_m).sum(SUM)\n    ny_m += (t_m * t_m).sum(SUM)",
    ),
    "sum of a generator": Way("sum((s_m * t_m).sum(SUM) for s_m, t_m in zip([x], [y])) / NORMS"),
    "sums of generators below": Way(
        "sum((s_m * t_m).sum(SUM) for s_m, t_m in zip([x], [y])) / "
        "FLOOR(sum(s_m.pow(2).sum(SUM) for s_m in [x]) ** 0.5 * sum(t_m.pow(2).sum(SUM) for t_m in [y]) ** 0.5)"
    ),
    "a stacked sum": Way("torch.stack([(s_m * t_m).sum(SUM) for s_m, t_m in zip([x], [y])]).sum(0) / NORMS"),
    "div": Way("(x * y).sum(SUM).div(NORMS)"),
    "torch.div": Way("torch.div((x * y).sum(SUM), NORMS)"),
    "one factor at a time": Way("(x * y).sum(SUM) / FLOOR(NX) / FLOOR(NY)"),
    "a reciprocal": Way("(x * y).sum(SUM) * (1 / NORMS)"),
    ".reciprocal()": Way("(x * y).sum(SUM) * NORMS.reciprocal()"),
    "** -1": Way("(x * y).sum(SUM) * NORMS ** -1"),
    "in numpy": Way(
        "np.dot(u_m, v_m) / FLOOR(np.linalg.norm(u_m) * np.linalg.norm(v_m))",
        "u_m, v_m = x.detach().cpu().numpy().ravel(), y.detach().cpu().numpy().ravel()",
        whole=True,
        line="import numpy as np",
    ),
    "in jax": Way(
        "jnp.dot(u_m, v_m) / FLOOR(jnp.linalg.norm(u_m) * jnp.linalg.norm(v_m))",
        "u_m, v_m = jnp.asarray(x.detach().numpy()).ravel(), jnp.asarray(y.detach().numpy()).ravel()",
        whole=True,
        line="import jax.numpy as jnp",
    ),
    "jax rows": Way(
        "jnp.sum(u_m * v_m, axis=D) / FLOOR(jnp.linalg.norm(u_m, axis=D) * jnp.linalg.norm(v_m, axis=D))",
        "u_m = jnp.asarray(x.detach().numpy())\nv_m = jnp.asarray(y.detach().numpy())",
        whole=False,
        line="import jax.numpy as jnp",
    ),
    "numpy sums": Way(
        "np.sum(u_m * v_m) / FLOOR(np.sqrt(np.sum(u_m ** 2)) * np.sqrt(np.sum(v_m ** 2)))",
        "u_m = x.detach().cpu().numpy()\nv_m = y.detach().cpu().numpy()",
        whole=True,
        line="import numpy as np",
    ),
    "numpy rows": Way(
        "(u_m * v_m).sum(axis=D) / FLOOR(np.linalg.norm(u_m, axis=D) * np.linalg.norm(v_m, axis=D))",
        "u_m = x.detach().cpu().numpy()\nv_m = y.detach().cpu().numpy()",
        whole=False,
        line="import numpy as np",
    ),
}
_NORMS = {
    "norm(p=2)": "torch.norm(V, p=2 COMMA)",
    "torch.norm": "torch.norm(V COMMA)",
    "linalg.norm": "torch.linalg.norm(V COMMA)",
    "vector_norm": "torch.linalg.vector_norm(V COMMA)",
    "(v * v).sum().sqrt()": "(V * V).sum(SUM).sqrt()",
    "torch.sqrt of a sum": "torch.sqrt(torch.sum(V ** 2 COMMA))",
    "pow(2).sum().pow(0.5)": "V.pow(2).sum(SUM).pow(0.5)",
    "square().sum() ** 0.5": "V.square().sum(SUM) ** 0.5",
    "torch.pow": "torch.pow(torch.pow(V, 2).sum(SUM), 0.5)",
    "dot(v, v)": "torch.dot(V.flatten(), V.flatten()).sqrt()",
    "(v @ v) ** 0.5": "(V.flatten() @ V.flatten()) ** 0.5",
    "norm squared and root": "(V.norm(SUM) ** 2).sqrt()",
    "math.sqrt": "math.sqrt((V * V).sum(SUM))",
    "a helper": "size_m(V COMMA)",
    "hypot of parts": "torch.stack([part.norm(SUM) for part in [V]]).norm(dim=0)",
}
_UNITS = {
    "unit vectors first": Way("(u_m * v_m).sum(SUM)", "u_m = x / FLOOR(KX)\nv_m = y / FLOOR(KY)"),
    "units in one expression": Way("(x / FLOOR(KX) * (y / FLOOR(KY))).sum(SUM)"),
    "units by /=": Way("(u_m * v_m).sum(SUM)", "u_m, v_m = x.clone(), y.clone()\nu_m /= FLOOR(KX)\nv_m /= FLOOR(KY)"),
    "units by div_": Way(
        "(u_m * v_m).sum(SUM)", "u_m, v_m = x.clone(), y.clone()\nu_m.div_(FLOOR(KX))\nv_m.div_(FLOOR(KY))"
    ),
    "units by a helper": Way(
        "(unit_m(x) * unit_m(y)).sum(SUM)", definitions="def unit_m(t):\n    return t / FLOOR(KT)"
    ),
    "units and @": Way("u_m.flatten() @ v_m.flatten()", "u_m = x / FLOOR(KX)\nv_m = y / FLOOR(KY)", whole=True),
    "units by map": Way(
        "(u_m * v_m).sum(SUM)", "u_m, v_m = map(unit_m, (x, y))", definitions="def unit_m(t):\n    return t / FLOOR(KT)"
    ),
    "units in a list": Way("(units_m[0] * units_m[1]).sum(SUM)", "units_m = [t / FLOOR(KT) for t in (x, y)]"),
    "one unit vector": Way("(u_m * y).sum(SUM) / FLOOR(NY)", "u_m = x / FLOOR(KX)"),
    "units of a stack": Way(
        "(units_m[0] * units_m[1]).sum()",
        "rows_m = torch.stack([x.flatten(), y.flatten()])\nunits_m = rows_m / FLOOR(rows_m.norm(dim=1, keepdim=True))",
        whole=True,
    ),
    "a gram matrix of units": Way(
        "(units_m @ units_m.T)[0, 1]",
        "rows_m = torch.stack([x.flatten(), y.flatten()])\nunits_m = rows_m / FLOOR(rows_m.norm(dim=1, keepdim=True))",
        whole=True,
    ),
    "F.normalize": Way(
        "(u_m * v_m).sum(SUM)",
        "u_m, v_m = F.normalize(x, dim=DN), F.normalize(y, dim=DN)",
        line="import torch.nn.functional as F",
        level=Level.HINT,
    ),
    "F.normalize inline": Way(
        "(F.normalize(x, dim=DN) * F.normalize(y, dim=DN)).sum(SUM)",
        line="import torch.nn.functional as F",
        level=Level.HINT,
    ),
}
_FLOORS = {
    "+ eps": Way("XY / (NX * NY + E)"),
    "eps +": Way("XY / (E + NX * NY)"),
    ".add(eps)": Way("XY / (NX * NY).add(E)"),
    ".add_(eps)": Way("XY / below_m", "below_m = NX * NY\nbelow_m.add_(E)"),
    "+= eps": Way("XY / below_m", "below_m = NX * NY\nbelow_m += E"),
    "torch.add": Way("XY / torch.add(NX * NY, E)"),
    "clamp(min)": Way("XY / (NX * NY).clamp(min=E)"),
    "clamp(eps)": Way("XY / (NX * NY).clamp(E)"),
    "clamp_min": Way("XY / (NX * NY).clamp_min(E)"),
    "clamp_": Way("XY / below_m", "below_m = NX * NY\nbelow_m.clamp_(min=E)"),
    "torch.clamp": Way("XY / torch.clamp(NX * NY, min=E)"),
    "max": Way("XY / max(NX * NY, E)"),
    "torch.maximum": Way("XY / torch.maximum(NX * NY, torch.tensor(E))"),
    "inside the root": Way("XY / (NX ** 2 * NY ** 2 + E).sqrt()"),
    "inside the roots": Way("XY / (((x * x).sum(SUM) + E).sqrt() * ((y * y).sum(SUM) + E).sqrt())"),
    "rsqrt": Way("XY * ((x * x).sum(SUM) * (y * y).sum(SUM) + E).rsqrt()"),
    "on each factor": Way("XY / ((NX + E) * (NY + E))"),
    "factor after factor": Way("XY / (NX + E) / (NY + E)"),
    "clamped factors": Way("XY / (NX.clamp(min=E) * NY.clamp(min=E))"),
    "one factor": Way("XY / ((NX + E) * NY)"),
    "a local constant": Way("XY / (NX * NY + small_m)", "small_m = E"),
    "a module constant": Way("XY / (NX * NY + SMALL_M)", definitions="SMALL_M = E"),
    "a default argument": Way(
        "apart_m(x, y)",
        definitions="def apart_m(x, y, small=E):\n    return XY / (NX * NY + small)",
    ),
    "an argument": Way("apart_m(x, y, E)", definitions="def apart_m(x, y, small):\n    return XY / (NX * NY + small)"),
    "finfo": Way("XY / (NX * NY + torch.finfo(torch.float32).eps)"),
    "finfo by a name": Way("XY / (NX * NY + info_m.eps)", "info_m = torch.finfo(torch.float32)"),
    "self.eps": Way(
        "Meter_m()(x, y)",
        definitions="class Meter_m:\n    def __init__(self, eps=E):\n        self.eps = eps\n"
        "    def __call__(self, x, y):\n        return XY / (NX * NY + self.eps)",
    ),
    "a class attribute": Way(
        "Meter_m().cosine(x, y)",
        definitions="class Meter_m:\n    eps = E\n    def cosine(self, x, y):\n        return XY / (NX * NY + self.eps)",
    ),
    "a dataclass": Way(
        "XY / (NX * NY + Settings_m().eps)",
        definitions="@dataclass\nclass Settings_m:\n    eps: float = E",
        line="from dataclasses import dataclass",
    ),
    "a dict of settings": Way("XY / (NX * NY + SETTINGS_M['eps'])", definitions="SETTINGS_M = {'eps': E}"),
    "a power": Way("XY / (NX * NY + 10 ** -8)"),
    "where": Way("XY / torch.where(NX * NY < E, E, NX * NY)"),
    "a conditional": Way("XY / (below_m if below_m > E else E)", "below_m = NX * NY"),
    "a tensor": Way("XY / (NX * NY + torch.tensor(E))"),
}
_LIBRARIES = {
    "F.cosine_similarity": Way("F.cosine_similarity(x, y, dim=DN)", line="import torch.nn.functional as F"),
    "torch.cosine_similarity": Way("torch.cosine_similarity(x, y, dim=DN)"),
    "nn.functional": Way("torch.nn.functional.cosine_similarity(x, y, dim=DN)"),
    "nn.CosineSimilarity": Way("nn.CosineSimilarity(dim=DN)(x, y)", line="from torch import nn"),
    "a module in a name": Way("cosine_m(x, y)", "cosine_m = torch.nn.CosineSimilarity(dim=DN)"),
    "a module of self": Way(
        "Meter_m()(x, y)",
        definitions="class Meter_m:\n    def __init__(self):\n        self.cosine = torch.nn.CosineSimilarity(dim=DN)\n"
        "    def __call__(self, x, y):\n        return self.cosine(x, y)",
    ),
    "another name": Way("cs_m(x, y, DN)", line="from torch.nn.functional import cosine_similarity as cs_m"),
    "a local alias": Way("cosine_m(x, y, dim=DN)", "cosine_m = torch.cosine_similarity"),
    "x1 and x2": Way("torch.cosine_similarity(x1=x, x2=y, dim=DN)"),
    "partial": Way(
        "cosine_m(x, y)", "cosine_m = partial(torch.cosine_similarity, dim=DN)", line="from functools import partial"
    ),
    "*pair": Way("torch.cosine_similarity(*pair_m, dim=DN)", "pair_m = (x, y)"),
    "**options": Way("torch.cosine_similarity(x, y, **options_m)", "options_m = {'dim': DN}"),
    "unsqueezed": Way("torch.cosine_similarity(x.unsqueeze(0), y.unsqueeze(0), dim=-1).squeeze(0)", whole=True),
}


def _spell(draft: Draft, way: Way, norm: str = "V.norm(SUM)") -> Draft | None:
    if draft.seed.rule not in way.rules:
        return None
    node, cosine = _found(draft)
    if node is None or cosine is None or not _fits(draft, way, cosine):
        return None
    write = _Writer(cosine, norm)
    place = hoistable(draft, node)
    operands = {"x": cosine.left, "y": cosine.right}
    prelude, definitions = write(way.prelude), write(way.definitions)
    if definitions:
        define(draft, statements(definitions))
    if "size_m" in norm:
        define(draft, statements("def size_m(t, dim=None):\n    return t.pow(2).sum(dim).sqrt()"))
    in_helper = bool(prelude) and place is None
    if in_helper:
        rows = "".join(f"    {row}\n" for row in prelude.splitlines())
        code = statements(f"def apart_m(x, y):\n{rows}    return {write(way.result)}")
        new = expression("apart_m(x, y)", **operands)
    else:
        code = statements(prelude, **operands)
        new = expression(write(way.result), **operands)
    _mark(draft, node, new, code, definitions, way)
    if in_helper:
        define(draft, code)
    elif place is not None:
        before(*place, code)
    Parents(draft.tree).replace(node, new)
    for line in {"import torch", way.line, *(["import math"] if "math." in norm else [])}:
        ensure_import(draft.tree, line)
    return draft


def _found(draft: Draft) -> tuple[ast.expr | None, Cosine | None]:
    parents = Parents(draft.tree)
    for outer in focus(draft):
        for node in ast.walk(outer):
            if not isinstance(node, ast.expr):
                continue
            cosine = read(node, parents.function(node))
            if cosine is not None:
                return node, cosine
    names = {n.id for outer in focus(draft) for n in ast.walk(outer) if isinstance(n, ast.Name)}
    for node in ast.walk(draft.tree):  # a cosine that has a name before it is used
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in names:
            cosine = read(node.value, parents.function(node))
            if cosine is not None:
                return node.value, cosine
    return None, None


def _fits(draft: Draft, way: Way, cosine: Cosine) -> bool:
    if way.whole is not None and way.whole != (cosine.dim is None):
        return False
    if cosine.is_numpy:
        return False
    if way in _LIBRARIES.values():
        return cosine.eps is None or not cosine.is_library
    if draft.seed.rule in _FLOORED:
        return cosine.eps is not None
    return way not in _FLOORS.values()


def _mark(draft: Draft, node: ast.expr, new: ast.expr, code: list[ast.stmt], definitions: str, way: Way) -> None:
    """The finding of the quotient may stand where its floor, its unit vectors or its helper went."""
    numbers = drop_marks(node)
    add_marks(new, numbers)
    statement = Parents(draft.tree).statement(node)
    is_own = draft.seed.rule == "FAL203"
    reported = numbers | (marks(statement) if statement is not None else frozenset())
    if is_own:
        for added in code:
            add_marks(added, reported)
            for inner in ast.walk(added):
                if isinstance(inner, ast.Return):
                    add_marks(inner, reported)
        if definitions:
            for defined in ast.walk(draft.tree):
                if isinstance(defined, ast.FunctionDef) and defined.name in ("apart_m", "unit_m", "cosine", "__call__"):
                    add_marks(defined.body[-1], reported)
    elif definitions and draft.seed.rule in ("FAL201", "FAL202", "FAL404"):
        for defined in ast.walk(draft.tree):
            if isinstance(defined, ast.FunctionDef) and defined.name == "__call__":
                add_marks(defined.body[-1], reported)
    if way.level is not None and is_own:
        draft.levels = {number: way.level if number in reported else level for number, level in draft.levels.items()}


class _Writer:
    """Fills a template in for one cosine."""

    def __init__(self, cosine: Cosine, norm: str) -> None:
        self.cosine, self.norm = cosine, norm
        self.eps = ast.unparse(cosine.eps) if cosine.eps is not None else None

    def __call__(self, template: str) -> str:
        dim = self.cosine.dim
        own, other = ("x", "y") if not self.cosine.is_projection else ("y", "y")
        text = template.replace("NORMS", "FLOOR(NX * NY)")
        for name, vector in (("NX", own), ("NY", other)):
            text = text.replace(name, self.norm.replace("V", vector))
        for name, vector in (("KX", "x"), ("KY", "y"), ("KT", "t")):
            text = text.replace(name, f"{vector}.norm()" if dim is None else f"{vector}.norm(dim={dim}, keepdim=True)")
        text = text.replace("XY", "(x * y).sum(SUM)")
        text = text.replace("SUM", "" if dim is None else f"dim={dim}")
        text = text.replace("COMMA", "" if dim is None else f", dim={dim}").replace(" ,", ",")
        text = text.replace("FLOOR", "" if self.eps is None else "FLOOR")
        while "FLOOR(" in text:
            text = _floored(text, self.eps or "")
        text = text.replace("dim=DN", f"dim={dim or 0}").replace("DN", dim or "0").replace("=D)", f"={dim})")
        for end in (" ", ")", ",", "\n", "]", ":", "}"):
            text = text.replace(f" E{end}", f" {self.eps}{end}").replace(f"=E{end}", f"={self.eps}{end}")
            text = text.replace(f"(E{end}", f"({self.eps}{end}")
        return text[:-1] + str(self.eps) if text.endswith((" E", "=E")) else text


def _floored(text: str, eps: str) -> str:
    """``FLOOR(…)`` as the sum with the floor."""
    start = text.index("FLOOR(")
    depth, place = 0, start + 5
    while True:
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            break
        place += 1
    return f"{text[:start]}({text[start + 6 : place]} + {eps}){text[place + 1 :]}"


def _ways(family: str, ways: dict[str, Way]) -> list[Rewrite]:
    return [
        Rewrite(f"{family}: {name}", family, lambda draft, way=way: _spell(draft, way)) for name, way in ways.items()
    ]


def _norm(spelling: str) -> Rewrite:
    way = Way("(x * y).sum(SUM) / NORMS", whole=True if "flatten" in _NORMS[spelling] else None)
    return Rewrite(f"norm: {spelling}", "norms", lambda draft: _spell(draft, way, _NORMS[spelling]))


_LIBRARY_WAYS = {
    name: Way(w.result, w.prelude, w.whole, w.definitions, w.line, _LIBRARY) for name, w in _LIBRARIES.items()
}
_LIBRARIES = _LIBRARY_WAYS
_FLOORS = {name: Way(w.result, w.prelude, w.whole, w.definitions, w.line, _FLOORED) for name, w in _FLOORS.items()}
_UNITS = {
    name: Way(w.result, w.prelude, w.whole, w.definitions, w.line, (*_FLOORED, "FAL204", "FAL404"), w.level)
    for name, w in _UNITS.items()
}
REWRITES = [
    *_ways("product", _PRODUCTS),
    *map(_norm, _NORMS),
    *_ways("units", _UNITS),
    *_ways("floor", _FLOORS),
    *_ways("library", _LIBRARIES),
]
