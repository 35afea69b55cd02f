"""Gates on bytes and on the stdlib ``ast``: can a file hold a cosine at all, in a library call, a helper or a formula?

They answer "perhaps" for every module in which ``rules/_alignments.py`` finds a cosine or an angle by formula or by the
name of what is called, and look through names by their last part alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from fa_lint.astwalk import children, last_name
from fa_lint.gate import Outline, Scope
from fa_lint.rules._measure_words import is_measure_name, may_hold_cosine, says_alignment_anywhere
from fa_lint.rules.base import Gate
from fa_lint.semantics.words import NORM_WORDS, words

__all__ = ["COSINE_GATE", "Cosines", "cosines_in", "tries", "tries_norms"]


@dataclass(frozen=True, slots=True)
class _CosineGate(Gate):
    """Open where bytes allow a library cosine, a formula, or a helper named after one."""

    def open_for(self, data: bytes) -> bool:
        if not any(library in data for library in self.literals):
            return False
        return may_hold_cosine(data)


_IMPORTS = (b"import",)
COSINE_GATE: tuple[Gate, ...] = (_CosineGate(_IMPORTS),)
_LIBRARY = frozenset("cosine_similarity CosineSimilarity safe_cosine safe_angle cosine".split())
_PRODUCTS = frozenset("dot vdot inner matmul mm bmm mv einsum sum vecdot".split())
_SQUARES = frozenset("sqrt sqrt_ rsqrt square square_ pow pow_ mul multiply".split())


class Cosines:
    """The places of one file that may compute a cosine: ``calls`` by name, ``formula`` by quotient."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._known: dict[tuple[Scope, str], frozenset[str]] = {}
        self.calls = [call for call in outline.every(ast.Call) if self._is_measure(call)]
        self.imported = any(a.asname and a.name in _LIBRARY for n in outline.every(ast.ImportFrom) for a in n.names)
        self.formula = any(self._is_cosine(*quotient) for quotient in outline.quotients)

    @property
    def found(self) -> bool:
        return bool(self.formula or self.calls or self.imported)

    @cached_property
    def measured(self) -> bool:
        """Found, or spoken of: does any name, or short text, speak of the alignment of something?"""
        return self.found or says_alignment_anywhere(self._outline.data)

    def _is_measure(self, node: ast.Call) -> bool:
        name = last_name(node.func)
        return name in _LIBRARY or (len(node.args) + len(node.keywords) > 1 and is_measure_name(name))

    def _is_cosine(self, above: ast.expr, below: ast.expr, scope: Scope) -> bool:
        """A product over norms: named so, or roots or sums of squares. The ratio of two sums is none."""
        found = self._marks(below, scope)
        is_norm = "norm" in found or "matmul" in found or {"product", "square"} <= found
        return is_norm and bool(self._marks(above, scope) & {"product", "matmul"})

    def _marks(self, node: ast.expr, scope: Scope) -> frozenset[str]:
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
                    found |= _said(last_name(top))
                    found |= self._through(top, scope)
            stack += children(top)
        return frozenset(found)

    def _through(self, node: ast.Name | ast.Attribute, scope: Scope) -> frozenset[str]:
        name = last_name(node)
        owner = scope.owner(node, self._outline.module)
        if owner is None:
            return frozenset()
        key = (owner, name)
        if key not in self._known:
            self._known[key] = frozenset()
            marks = (self._marks(value, where) for value, where in owner.bound[name])
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


def tries(outline: Outline) -> Iterator[list[ast.stmt]]:
    """The blocks whose errors may be dropped."""
    yield from (node.body for node in outline.every(ast.Try, ast.TryStar))
    suppressing = _suppressing(outline)
    for node in outline.every(ast.With):
        called = (last_name(i.context_expr.func) for i in node.items if isinstance(i.context_expr, ast.Call))
        if any(name in suppressing for name in called):
            yield node.body


def _suppressing(outline: Outline) -> set[str]:
    """``suppress`` and what it is imported as."""
    return {"suppress"} | {a.asname for a in outline.every(ast.alias) if a.asname and a.name.endswith("suppress")}


def tries_norms(outline: Outline) -> bool:
    """Is anything named ``norm`` called in such a block?"""
    return bool(outline.called("norm", "vector_norm")) and any(
        isinstance(part, ast.Call) and last_name(part.func) in ("norm", "vector_norm")
        for body in tries(outline)
        for statement in body
        for part in ast.walk(statement)
    )


def cosines_in(outline: Outline) -> Cosines:
    """The possible cosines of a file."""
    return outline.derived(Cosines)
