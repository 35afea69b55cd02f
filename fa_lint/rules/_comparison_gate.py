"""Gates on bytes and on the stdlib ``ast``: can a file hold a cosine at all, in a library call, a helper or a formula?

They answer "perhaps" for every module in which ``rules/_alignments.py`` finds a cosine or an angle by formula or by the
name of what is called, and look through names by their last part alone.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fa_lint.gate import Outline
from fa_lint.rules._measure_words import is_measure_name, may_hold_cosine, says_alignment
from fa_lint.rules.base import Gate
from fa_lint.semantics.words import NORM_WORDS, words

__all__ = ["ALIGNMENT_GATE", "COSINE_GATE", "Cosines", "cosines_in", "may_norm_gradients"]


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
_NO_CODE = frozenset({int, str, type(None), bytes, float, complex, bool, type(...)})


class Cosines:
    """The places of one file that may compute a cosine: ``calls`` by name, ``formula`` by quotient."""

    def __init__(self, tree: ast.AST) -> None:
        self._bound: dict[str, list[ast.expr]] = {}
        self._known: dict[tuple[str, str], bool] = {}
        self._divisions: list[tuple[ast.expr, ast.expr]] = []
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
        self._seen: set[str] = set()
        self.named = False
        self._walk(tree)
        self.formula = any(self._has(above, "product") and self._has(below, "root") for above, below in self._divisions)

    @property
    def found(self) -> bool:
        return bool(self.formula or self.calls)

    @property
    def measured(self) -> bool:
        """Found, or spoken of."""
        return self.found or self.named

    def _walk(self, tree: ast.AST) -> None:
        stack: list[ast.AST] = [tree]
        visits = self._visits
        while stack:
            node = stack.pop()
            if node.__class__ is ast.Name or node.__class__ is ast.Constant:
                self._name(node)
                continue
            visit = visits.get(node.__class__)
            if visit is not None:
                visit(node)
            for value in node.__dict__.values():
                kind = value.__class__
                if kind is list:
                    stack += [item for item in value if isinstance(item, ast.AST)]
                elif kind is str:
                    # The name of an attribute, a parameter, a keyword, a function.
                    self._say(value)
                elif kind not in _NO_CODE:
                    stack.append(value)

    def _name(self, node: Any) -> None:
        said = node.id if isinstance(node, ast.Name) else node.value
        if isinstance(said, str) and len(said) < 64:
            self._say(said)

    def _say(self, name: str) -> None:
        if not self.named and name not in self._seen:
            self._seen.add(name)
            self.named = says_alignment(name)

    def _call(self, node: ast.Call) -> None:
        name = _last(node.func)
        if name in _LIBRARY or (len(node.args) + len(node.keywords) > 1 and is_measure_name(name)):
            self.calls.append(node)
        elif name in _DIVISIONS and node.args:
            self._divisions.append((node.args[0] if len(node.args) > 1 else node.func, node.args[-1]))

    def _operator(self, node: ast.BinOp | ast.AugAssign) -> None:
        if isinstance(node.op, ast.Div):
            pair = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.target, node.value)
            self._divisions.append(pair)

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
            self._bound.setdefault(_last(target), []).append(value)

    def _has(self, node: ast.expr, what: str) -> bool:
        stack: list[ast.AST] = [node]
        while stack:
            top = stack.pop()
            match top:
                case ast.BinOp(op=ast.MatMult()):
                    return True
                case ast.Name() | ast.Attribute():
                    name = _last(top)
                    # The root of a sum of squares is a norm; ``sqrt(head_dim)`` is not.
                    if name in _PRODUCTS:
                        return True
                    if what == "root" and NORM_WORDS & set(words(name)):
                        return True
                    if self._through(name, what):
                        return True
            stack.extend(ast.iter_child_nodes(top))
        return False

    def _through(self, name: str, what: str) -> bool:
        key = (name, what)
        if key not in self._known:
            self._known[key] = False
            self._known[key] = any(self._has(value, what) for value in self._bound.get(name, ()))
        return self._known[key]


def _last(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def may_norm_gradients(outline: Outline) -> bool:
    """Is there a call of something named ``norm``?"""
    return any(call.name in ("norm", "vector_norm") for call in outline.calls)


def cosines_in(outline: Outline) -> Cosines:
    """The possible cosines of a file."""
    return _cosines(outline.tree)


@lru_cache(maxsize=1)
def _cosines(tree: ast.AST) -> Cosines:
    return Cosines(tree)
