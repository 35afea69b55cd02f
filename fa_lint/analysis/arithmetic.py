"""Arithmetic on values: what ``a * b``, ``a / b``, ``a - b``, ``a @ b`` compute."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fa_lint.analysis import terms as t
from fa_lint.analysis.flow import dotted
from fa_lint.analysis.frames import Frame
from fa_lint.semantics import ir
from fa_lint.semantics.words import EPS_WORDS, words

if TYPE_CHECKING:
    from fa_lint.analysis.evaluator import Evaluator

__all__ = ["Arithmetic"]


class Arithmetic:
    """Evaluate the binary operations of frames."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._ev = evaluator

    def operation(
        self, frame: Frame, node: ir.Node, op: str, left: t.Alternatives, right: t.Alternatives
    ) -> t.Alternatives:
        """Return the values of a binary operation, for each pair of alternatives that can meet."""
        site = self._ev.site(frame, node)
        found: list[t.Alternative] = []
        for a, b, tags in t.both(left, right):
            if any(isinstance(side, t.Constant) and side.value is None for side in (a, b)):
                continue  # Python raises there
            if op in "*@/":
                a, b = self._ev.members.copied(frame, node, a), self._ev.members.copied(frame, node, b)
            a, b = self._grouped(op, a, b)
            term: t.Term = t.Unknown()
            match op:
                case "/" | "*" if isinstance(a, t.Aggregate) and a.how == "trace less one":
                    half = isinstance(b, t.Constant) and b.value == (2 if op == "/" else 0.5)
                    term = replace(a, how="cosine of a rotation") if half else t.Unknown()
                case "*" if isinstance(b, t.Aggregate) and b.how == "trace less one":
                    half = isinstance(a, t.Constant) and a.value == 0.5
                    term = replace(b, how="cosine of a rotation") if half else t.Unknown()
                case "*":
                    term = t.multiply(a, b)
                case "/":
                    term = self._of_order_one(frame, node, a, b) or t.divide(a, b, site)
                case "+":
                    term = t.add(a, b, site)
                case "-":
                    term = self._ev.entries.combined("difference", (a, b)) or self._difference(a, b)
                    if isinstance(term, t.Unknown) and isinstance(b, t.Constant):
                        term = t.add(a, t.negate(b), site)
                case "@":
                    term = t.dot(self.as_array(a), self.as_array(b), site)
                case "**" if isinstance(b, t.Constant) and isinstance(b.value, int | float):
                    # The entries of a product are squared, not the arrays that it was made of.
                    base = self.as_array(a) if isinstance(a, t.Monomial) and a.vectors else a
                    term = t.power(base, float(b.value), site) if abs(b.value) < 64 else t.Unknown()
            if isinstance(node, ir.Expr):
                if isinstance(term, t.Unknown):
                    term = self._unknown_floor(frame, node, op, a, b) or self._mixed(frame, node, op, a, b)
                elif isinstance(term, t.Monomial) and term.inexact and not term.norms:
                    # A vector times an unknown factor is a new vector.
                    whole = self.as_array(replace(term, inexact=False))
                    if isinstance(whole, t.Monomial) and len(whole.vectors) == 1:
                        whole = whole.vectors[0]
                    if isinstance(whole, t.Vector):
                        term = whole.at(self._ev.identities.of("scaled", frame.number, node.nid, whole.ident))
            found.append((term, tags))
        return t.unique(found)

    def _of_order_one(self, frame: Frame, node: ir.Node, a: t.Term, b: t.Term) -> t.Term | None:
        """``g / g.abs().max()``, ``(g - g.mean()) / g.std()``"""
        whole = self.as_array(a)
        if not isinstance(b, t.Scalar) or not isinstance(whole, t.Vector):
            return None
        key, live = self._ev.identities.key(b.ident), self._ev.members.live
        parts = [whole.ident, *(side.ident for side in whole.sides or () if whole.name == t.DIFFERENCE)]
        if key[:1] != ("size",) or not isinstance(key[1], int) or live(key[1]) not in map(live, parts):
            return None
        return t.Vector(self._ev.identities.of("scaled", frame.number, node.nid, whole.ident), t.Role.UNIT, True)

    def as_array(self, term: t.Term) -> t.Term:
        """Return a product of arrays (``e @ B``, ``g * mask``) as one vector, where more is computed of it."""
        if t.factors(term) < 2 or not isinstance(term, t.Monomial):
            return term
        parts = [vector.ident for pair in term.dots for vector in pair] + [vector.ident for vector in term.vectors]
        ident = self._ev.identities.of("product", len(term.vectors), *parts)
        whole = t.surest(t.single(term))
        if not whole.computed and not term.vectors and len(term.dots) == 1:
            # A gradient that a matrix carries on is as small.
            sides = [side for side in term.dots[0] if side.computed and side.role.is_gradient]
            whole = sides[0] if len(sides) == 1 else whole
        return whole.at(ident)

    def _grouped(self, op: str, a: t.Term, b: t.Term) -> tuple[t.Term, t.Term]:
        """Return the operands, products of arrays as one vector where it is that vector which is multiplied."""
        if op == "*" and t.factors(a) and t.factors(b) and t.factors(a) + t.factors(b) > 2:
            if not _is_projection(a, b) and not _is_projection(b, a):
                return self.as_array(a), self.as_array(b)
        if op == "/" and isinstance(b, t.Monomial) and t.factors(a) >= 2:
            whole = self.as_array(a)
            if isinstance(whole, t.Vector) and any(vector.ident == whole.ident for vector, _ in b.norms):
                return whole, b
        return a, b

    def trace(self, frame: Frame, node: ir.Node) -> t.Term:
        """Return the sum of a matrix's diagonal."""
        return t.Aggregate("trace", t.Unknown(), "unknown", self._ev.site(frame, node))

    def _unknown_floor(self, frame: Frame, node: ir.Expr, op: str, a: t.Term, b: t.Term) -> t.Term | None:
        """A norm plus what is called eps."""
        if op != "+" or not isinstance(node, ir.Binary):
            return None
        for term, other, said in ((a, b, node.right), (b, a, node.left)):
            if isinstance(term, t.Monomial) and isinstance(other, t.Vector | t.Scalar | t.Unknown):
                name = (dotted(said) or "").rpartition(".")[2]
                if set(words(name)) & EPS_WORDS and frame.module.facts.qualified(said) is None:
                    found = t.floored(term, None, "add", self._ev.site(frame, said))
                    return found if found is not term else None
        return None

    def _difference(self, a: t.Term, b: t.Term) -> t.Term:
        if isinstance(a, t.Aggregate | t.Monomial) and isinstance(b, t.Constant) and b.value == 1:
            # Of a rotation: one plus twice the cosine of its angle. <R, S> is the trace of RᵀS.
            if (isinstance(a, t.Aggregate) and a.how == "trace") or (isinstance(a, t.Monomial) and a.is_inner_product):
                limited = a.limited if isinstance(a, t.Aggregate) else a.limit == 3
                return t.Aggregate("trace less one", t.Unknown(), "unknown", t.Site(0, 0), limited)
            if isinstance(a, t.Monomial) and len(a.dots) == 2 and a.dots[0] == a.dots[1] and not a.vectors:
                # Twice the squared inner product of two unit quaternions, less one.
                return t.Aggregate("cosine of a rotation", t.Unknown(), "unknown", t.Site(0, 0))
        if isinstance(a, t.Constant) and a.value == 1 and isinstance(b, t.Monomial | t.Aggregate):
            return b  # one minus a cosine is as good as the cosine
        if isinstance(a, t.Vector) and a.lagged and isinstance(b, t.Monomial) and not b.vectors:
            return t.Accumulated(a, b)
        return t.Unknown()

    def _mixed(self, frame: Frame, node: ir.Expr, op: str, a: t.Term, b: t.Term) -> t.Term:
        """Something new of two values: its role is that of its parts."""
        left, right = (x if isinstance(x, t.Vector) else t.surest(t.single(x)) for x in (a, b))
        origin = left if op == "/" else t.surest((*t.single(left), *t.single(right))) if op in "+-*@" else t.Vector(0)
        if op == "-" and right.role is t.Role.HIDDEN and left.role is not t.Role.GRADIENT:
            origin = replace(right, computed=left.computed or right.computed)
        if op == "@":
            origin = t.surest((*t.single(t.Monomial(dots=((left, right),))), *t.single(origin)))
        parts = (x.ident for x in (a, b) if isinstance(x, t.Vector))
        ident = self._ev.identities.of("node", frame.number, node.nid, *parts)
        name = t.DIFFERENCE if op == "-" else ""
        sides = (left, right) if op in "+-" else None
        return t.Vector(ident, origin.role, origin.computed, origin.evidence, name=name, sides=sides)


def _is_projection(product: t.Term, vector: t.Term) -> bool:
    """Return True for ``(a @ b) * b``: the inner product is a number there."""
    if not isinstance(product, t.Monomial) or not isinstance(vector, t.Vector):
        return False
    return any(vector.ident == side.ident for pair in product.dots for side in pair)
