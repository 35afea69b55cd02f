"""Read a hand-written or library cosine: its two vectors, its dimension and its floor."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

_PRODUCTS = ("dot", "inner", "vdot", "matmul")


@dataclass(frozen=True)
class Cosine:
    left: ast.expr
    right: ast.expr
    dim: str | None
    eps: ast.expr | None
    is_library: bool
    # A projection has one norm, squared.
    is_projection: bool
    is_numpy: bool


def read(node: ast.AST, function: ast.FunctionDef | None) -> Cosine | None:
    if isinstance(node, ast.Call):
        return _library(node)
    if not isinstance(node, ast.BinOp):
        return None
    if isinstance(node.op, ast.Mult):  # a projection times its direction
        return None
    if not isinstance(node.op, ast.Div):
        return None
    product = _product(_resolved(node.left, function))
    if product is None:
        return None
    left, right, dim, is_numpy = product
    below = ast.unparse(_deep(node.right, function))
    first, second = (_occurs(value, below) for value in (left, right))
    if not second or not re.search(r"norm|sqrt|\*\* ?0?\.5|\*\*", below):
        return None
    return Cosine(left, right, dim, _eps(node.right, function), False, not first, is_numpy or "np." in below)


def _library(node: ast.Call) -> Cosine | None:
    keywords = {k.arg: k.value for k in node.keywords}
    vectors = [*node.args[:2], *(keywords[n] for n in ("x1", "x2") if n in keywords)]
    text = ast.unparse(node.func)
    if text not in ("F.cosine_similarity", "torch.cosine_similarity", "cos") or len(vectors) != 2:
        return None
    if any(isinstance(value, ast.Call) for value in vectors) and text == "cos":
        return None
    dim = keywords.get("dim", node.args[2] if len(node.args) > 2 else None)
    if dim is None:
        number: str | None = "1"
    else:
        number = ast.unparse(dim)
    eps = keywords.get("eps", node.args[3] if len(node.args) > 3 else None)
    return Cosine(vectors[0], vectors[1], number, eps, True, False, False)


def _product(node: ast.expr) -> tuple[ast.expr, ast.expr, str | None, bool] | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        return (node.left, node.right, None, False) if not node_is_transposed(node) else None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    holder, name = ast.unparse(node.func.value), node.func.attr
    is_numpy = holder in ("np", "numpy", "jnp")
    if name in _PRODUCTS and len(node.args) == 2 and (is_numpy or holder == "torch"):
        return node.args[0], node.args[1], None, is_numpy
    if name != "sum":
        return None
    is_function = is_numpy or holder == "torch"
    factors = node.args[0] if is_function else node.func.value
    rest = node.args[1:] if is_function else node.args
    keywords = {k.arg: k.value for k in node.keywords}
    dim = rest[0] if rest else keywords.get("dim", keywords.get("axis"))
    if isinstance(factors, ast.BinOp) and isinstance(factors.op, ast.Mult):
        return factors.left, factors.right, None if dim is None else ast.unparse(dim), is_numpy
    return None


def node_is_transposed(node: ast.BinOp) -> bool:
    return ast.unparse(node.right).endswith((".T", ".t()"))


def _bound(name: str, function: ast.FunctionDef | None) -> ast.expr | None:
    """The one value of a local name."""
    found = []
    for node in ast.walk(function) if function is not None else ():
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    found.append(node.value)
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    found += [
                        v
                        for t, v in zip(target.elts, node.value.elts, strict=False)
                        if isinstance(t, ast.Name) and t.id == name
                    ]
    return found[0] if len(found) == 1 else None


def _resolved(node: ast.expr, function: ast.FunctionDef | None) -> ast.expr:
    value = _bound(node.id, function) if isinstance(node, ast.Name) else None
    return node if value is None else value


def _deep(node: ast.expr, function: ast.FunctionDef | None) -> ast.expr:
    """A denominator with the names that stand for norms written out."""
    if isinstance(node, ast.Name):
        value = _bound(node.id, function)
        return value if value is not None and re.search("norm|sum", ast.unparse(value)) else node
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.expr):
            found = _deep(value, function)
            if found is not value:
                copied = ast.parse(ast.unparse(node), mode="eval").body
                setattr(copied, name, found)
                node = copied
    return node


def _occurs(value: ast.expr, text: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(ast.unparse(value))}(?!\w)", text) is not None


def _eps(node: ast.expr, function: ast.FunctionDef | None) -> ast.expr | None:
    """A small number, or what is called eps, anywhere in the denominator."""
    for inner in ast.walk(_deep(node, function)):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, float) and 1e-13 < inner.value <= 1e-4:
            return inner
        if isinstance(inner, ast.Name) and inner.id.lower() == "eps":
            value = _bound(inner.id, function)
            return inner if value is None else value
    return None
