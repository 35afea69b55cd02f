"""Gates on bytes and on the stdlib ``ast``: can a file hold a cosine at all, in a library call, a helper or a formula?

They answer "perhaps" for every module in which ``rules/_alignments.py`` finds a cosine or an angle by formula or by the
name of what is called, and look through names by their last part alone.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from fa_lint.gate import Outline, children
from fa_lint.rules._measure_words import is_measure_name, may_hold_cosine, says_alignment
from fa_lint.rules.base import Gate
from fa_lint.semantics.words import NORM_WORDS, words

__all__ = ["ALIGNMENT_GATE", "COSINE_GATE", "Cosines", "cosines_in", "tries", "tries_norms"]


@dataclass(frozen=True, slots=True)
class _CosineGate(Gate):
    """Open where bytes allow a library cosine, a formula, or a helper named after one."""

    def open_for(self, data: bytes) -> bool:
        if not any(library in data for library in self.literals):
            return False
        return may_hold_cosine(data)


_IMPORTS = (b"import",)
COSINE_GATE: tuple[Gate, ...] = (_CosineGate(_IMPORTS),)
ALIGNMENT_GATE = COSINE_GATE
_LIBRARY = frozenset("cosine_similarity CosineSimilarity safe_cosine safe_angle cosine".split())
_PRODUCTS = frozenset("dot vdot inner matmul mm bmm mv einsum sum vecdot".split())
_DIVISIONS = frozenset({"div", "div_", "true_divide"})
_FUNCTIONS = frozenset({ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda})
_Key = tuple[int, str]
_SQUARES = frozenset("sqrt sqrt_ rsqrt square square_ pow pow_ mul multiply".split())
_NO_CODE = frozenset({int, str, type(None), bytes, float, complex, bool, type(...)})


class Cosines:
    """The places of one file that may compute a cosine: ``calls`` by name, ``formula`` by quotient."""

    def __init__(self, outline: Outline) -> None:
        tree = outline.tree
        self._bound: dict[_Key, list[tuple[ast.expr, int]]] = {}
        self._known: dict[_Key, frozenset[str]] = {}
        self._divisions: list[tuple[ast.expr, ast.expr, int]] = []
        # Scopes by number; 0 is the module, and attributes belong to it.
        self._above: list[int] = [0]
        self._scope = 0
        self.calls: list[ast.Call] = []
        self._visits: dict[type[ast.AST], Callable[[Any], None]] = {
            ast.Call: self._call,
            ast.BinOp: self._operator,
            ast.AugAssign: self._operator,
            ast.Assign: self._assign,
            ast.AnnAssign: self._assign,
            ast.NamedExpr: self._assign,
            ast.ImportFrom: self._import,
        }
        self._outline = outline
        self._walk(tree)
        self.formula = any(self._is_cosine(*division) for division in self._divisions)

    @property
    def found(self) -> bool:
        return bool(self.formula or self.calls)

    @cached_property
    def measured(self) -> bool:
        """Found, or spoken of."""
        return self.found or self._is_named()

    def _is_named(self) -> bool:
        """Does any name, or short text, speak of the alignment of something?"""
        said: set[str] = set()
        for node in self._outline.nodes:
            for value in node.__dict__.values():
                for item in value if value.__class__ is list else (value,):
                    kind = item.__class__
                    if kind is str:
                        said.add(item)
                    elif kind is ast.Name:
                        said.add(item.id)
                    elif kind is ast.Constant and item.value.__class__ is str and len(item.value) < 64:
                        said.add(item.value)
        return any(says_alignment(name) for name in said)

    def _walk(self, tree: ast.AST) -> None:
        stack: list[tuple[ast.AST, int]] = [(tree, 0)]
        visits = self._visits
        while stack:
            node, scope = stack.pop()
            self._scope = scope
            if node.__class__ is ast.Name or node.__class__ is ast.Constant:
                continue
            visit = visits.get(node.__class__)
            if visit is not None:
                visit(node)
            if node.__class__ in _FUNCTIONS:
                self._above.append(scope)
                scope = len(self._above) - 1
            for value in node.__dict__.values():
                kind = value.__class__
                if kind is list:
                    stack += [(item, scope) for item in value if isinstance(item, ast.AST)]
                elif kind not in _NO_CODE:
                    stack.append((value, scope))

    def _call(self, node: ast.Call) -> None:
        name = _last(node.func)
        if name in _LIBRARY or (len(node.args) + len(node.keywords) > 1 and is_measure_name(name)):
            self.calls.append(node)
        elif name in _DIVISIONS and node.args:
            self._divisions.append((node.args[0] if len(node.args) > 1 else node.func, node.args[-1], self._scope))

    def _operator(self, node: ast.BinOp | ast.AugAssign) -> None:
        if isinstance(node.op, ast.Div):
            pair = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.target, node.value)
            self._divisions.append((*pair, self._scope))

    def _assign(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr) -> None:
        if node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._bind(target, node.value)

    def _import(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.asname and alias.name in _LIBRARY:
                self.calls.append(ast.Call(ast.Name(alias.name), [], []))

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            fits = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts)
            for number, part in enumerate(target.elts):
                self._bind(part, value.elts[number] if fits and isinstance(value, ast.Tuple | ast.List) else value)
        elif _last(target):
            scope = self._scope if isinstance(target, ast.Name) else 0
            self._bound.setdefault((scope, _last(target)), []).append((value, self._scope))

    def _is_cosine(self, above: ast.expr, below: ast.expr, scope: int) -> bool:
        """A product over norms: named so, or roots or sums of squares. The ratio of two sums is none."""
        found = self._marks(below, scope)
        is_norm = "norm" in found or "matmul" in found or {"product", "square"} <= found
        return is_norm and bool(self._marks(above, scope) & {"product", "matmul"})

    def _marks(self, node: ast.expr, scope: int) -> frozenset[str]:
        """What stands in an expression, names looked through: a norm, a product, something squared or its root."""
        found: set[str] = set()
        stack: list[ast.AST] = [node]
        while stack:
            top = stack.pop()
            match top:
                case ast.BinOp(op=ast.MatMult()):
                    found.add("matmul")
                case ast.BinOp(op=ast.Pow() | ast.Mult()):
                    found.add("square")
                case ast.Name() | ast.Attribute():
                    found |= _said(_last(top))
                    found |= self._through(top, scope)
            stack.extend(children(top))
        return frozenset(found)

    def _through(self, node: ast.Name | ast.Attribute, scope: int) -> frozenset[str]:
        name = _last(node)
        if isinstance(node, ast.Attribute):
            scope = 0
        while scope and (scope, name) not in self._bound:
            scope = self._above[scope]
        key = (scope, name)
        if key not in self._known:
            self._known[key] = frozenset()
            marks = (self._marks(value, where) for value, where in self._bound.get(key, ()))
            self._known[key] = frozenset().union(*marks)
        return self._known[key]


def _said(name: str) -> set[str]:
    found = set()
    if name in _PRODUCTS:
        found.add("product")
        if name not in ("sum", "einsum"):
            found.add("square")
    if name in _SQUARES:
        found.add("square")
    if NORM_WORDS & set(words(name)):
        found.add("norm")
    return found


def _last(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def tries(outline: Outline) -> Iterator[list[ast.stmt]]:
    """The blocks whose errors may be dropped."""
    for node in outline.nodes:
        match node:
            case ast.Try(body=body) | ast.TryStar(body=body):
                yield body
            case ast.With(items=items, body=body):
                called = [_last(i.context_expr.func) for i in items if isinstance(i.context_expr, ast.Call)]
                if not _suppressing(outline).isdisjoint(called):
                    yield body


def _suppressing(outline: Outline) -> set[str]:
    """``suppress`` and what it is imported as."""
    aliases = (node for node in outline.nodes if isinstance(node, ast.alias))
    return {"suppress"} | {a.asname for a in aliases if a.asname and a.name.endswith("suppress")}


def tries_norms(outline: Outline) -> bool:
    """Is anything named ``norm`` called in such a block?"""
    return bool(outline.called("norm", "vector_norm")) and any(
        isinstance(part, ast.Call) and _last(part.func) in ("norm", "vector_norm")
        for body in tries(outline)
        for statement in body
        for part in ast.walk(statement)
    )


def cosines_in(outline: Outline) -> Cosines:
    """The possible cosines of a file."""
    return _cosines(outline)


@lru_cache(maxsize=1)
def _cosines(outline: Outline) -> Cosines:
    return Cosines(outline)
