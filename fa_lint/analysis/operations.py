"""Operations on arrays and numbers: one method for each operation of :mod:`fa_lint.analysis.models`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fa_lint.analysis import terms as t
from fa_lint.analysis.frames import Frame
from fa_lint.analysis.models import Row
from fa_lint.semantics import ir
from fa_lint.semantics.words import PLACES, words

if TYPE_CHECKING:
    from fa_lint.analysis.evaluator import Evaluator

__all__ = ["Arguments", "Given", "Operations"]

# The arguments of a call with their keywords; None for a positional one.
Arguments = list[tuple[str | None, t.Alternatives]]

_LAYER_WORDS = frozenset("hidden hiddens hs layers layer activations acts states blocks".split())
_MODEL_WORDS = frozenset("parameters params layers modules children".split())
_OWN_COPIES = frozenset("clone copy array tensor".split())
_HALVES = frozenset({"half", "bfloat16"})
_LAYOUTS = frozenset("unsqueeze expand repeat expand_as".split())
_LENGTHS = frozenset("len numel nelement size int".split())
_COPIES = frozenset("clone copy float double half bfloat16 numpy tolist item array tensor".split())


@dataclass(slots=True)
class Given:
    """A call with its arguments by parameter name."""

    frame: Frame
    node: ir.Call
    site: t.Site
    row: Row
    values: dict[str, t.Alternatives]
    positional: list[t.Alternatives]
    name: str

    def __getitem__(self, name: str) -> t.Alternatives:
        return self.values.get(name, ())

    @property
    def first(self) -> t.Alternatives:
        return t.present(self.positional[0] if self.positional else next(iter(self.values.values()), ()))


class Operations:
    """What the operations on arrays and numbers make of terms, one method for each name in the table of models."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._ev = evaluator

    def _named(self, frame: Frame, node: ir.Call) -> t.Vector:
        return self._ev.vector(frame, node)

    def _as_now(self, given: Given, values: t.Alternatives) -> t.Alternatives:
        """Return values as they are at a call: the next backward pass adds to a ``.grad``."""
        return self._each(values, lambda term: self._ev.members.copied(given.frame, given.node, term))

    def _each(self, values: t.Alternatives, make: Callable[[t.Term], t.Term]) -> t.Alternatives:
        return t.unique((make(term), tags) for term, tags in values)

    def _pairs(self, given: Given, make: Callable[[t.Term, t.Term], t.Term]) -> t.Alternatives:
        left = given.first
        right = given["other"] or given["b"] or (given.positional[1] if len(given.positional) > 1 else ())
        return t.unique((make(a, b), tags) for a, b, tags in t.both(left, t.present(right)))

    def _or_named(self, given: Given, term: t.Term) -> t.Term:
        if not isinstance(term, t.Unknown):
            return term
        return self._named(given.frame, given.node)

    def _gradient_vector(self, frame: Frame, node: ir.Node, text: str) -> t.Vector:
        return self._ev.source(frame, node, t.Role.GRADIENT, text)

    def same(self, given: Given) -> t.Alternatives:
        name = given.name.rpartition(".")[2]
        if name in _LAYOUTS:
            layout = (name, *(t.key(term) for values in given.positional[1:] for term, _ in values))
            return self._each(
                given.first, lambda term: _changed(term, lambda v: replace(v, layout=(*v.layout, *layout)))
            )
        if name not in _COPIES:
            return given.first
        if name in _HALVES:
            return self._each(given.first, lambda term: _changed(term, lambda vector: replace(vector, half=True)))
        own = name in _OWN_COPIES
        return self._each(given.first, lambda term: self._ev.members.copied(given.frame, given.node, term, own=own))

    def copy(self, given: Given) -> t.Alternatives:
        """``copy.deepcopy``: training one of the two leaves the other as it was."""

        def of(term: t.Term) -> t.Term:
            if isinstance(term, t.Vector) and not term.role.is_gradient:
                return term.at(self._ev.identities.of("deep copy", term.ident, given.frame.number, given.node.nid))
            return self._ev.members.copied(given.frame, given.node, term, own=True)

        return self._each(given.first, of)

    def view(self, given: Given) -> t.Alternatives:
        if given.name.endswith("narrow") and len(given.positional) == 4:
            start, size = t.one(given.positional[2]), t.one(given.positional[3])
            if isinstance(start, t.Constant) and start.value == 0 and isinstance(size, t.Scalar) and size.ident:
                part = ("slice", ((), ("value", size.ident), ()))
                return t.unique(x for term, _ in given.first for x in self._ev.elements.element(term, "index", *part))
        # The same transposition of one value is one value; where its arguments differ, another.
        key = tuple(
            repr(term.value) if isinstance(term, t.Constant) else given.node.nid
            for values in given.positional[1:]
            for term, _ in values
        )
        return t.unique(
            (inner, tags | more)
            for term, tags in given.first
            for inner, more in self._ev.elements.element(term, "view", given.name.rpartition(".")[2], *key)
        )

    def wrapped(self, given: Given) -> t.Alternatives:
        """``jit(grad(f))`` computes what ``grad(f)`` does."""
        return tuple(way for way in given.first if isinstance(way[0], t.Library) and way[0].options is not None)

    def pullback(self, given: Given) -> t.Alternatives:
        """``out, pull = vjp(f, x)``: what ``pull`` gives is a gradient."""
        ident = self._ev.identities.of("node", given.frame.number, given.node.nid, "pair")
        pull = t.Library("torch.func.grad", (), given.site)
        return t.single(t.Sequence(ident, items=(t.single(self._named(given.frame, given.node)), t.single(pull))))

    def gradient(self, given: Given) -> t.Alternatives:
        vector = self._gradient_of(given)
        return t.single(t.Sequence(vector.ident, t.single(vector), over=self._differentiated_over(given)))

    def _gradient_of(self, given: Given) -> t.Vector:
        inputs = next((a.value for a in given.node.args if a.keyword in ("inputs", "xs")), None)
        if inputs is None and len(given.node.args) > 1 and given.node.args[1].keyword is None:
            inputs = given.node.args[1].value
        for part in ir.walk(inputs) if inputs is not None else ():
            identifier = ir.last_name(part)
            if set(words(identifier)) & PLACES:
                text = f"derivative by position `{identifier}`"
                return self._ev.source(given.frame, given.node, t.Role.SPATIAL, text)
        text = f"`{given.name}` computes a gradient"
        return self._ev.source(given.frame, given.node, t.Role.GRADIENT, text)

    def _differentiated_over(self, given: Given) -> t.Over:
        inputs = given["inputs"]
        for term, _ in inputs:
            if isinstance(term, t.Sequence) and term.over == "layers":
                return "layers"
        node = next((a.value for a in given.node.args if a.keyword == "inputs"), None)
        if node is None and len(given.node.args) > 1:
            node = given.node.args[1].value
        identifier = ir.last_name(node)
        said = set(words(identifier))
        return "layers" if said & (_LAYER_WORDS | _MODEL_WORDS) else "unknown"

    def dot(self, given: Given) -> t.Alternatives:
        return self._pairs(given, lambda a, b: self._or_named(given, self._dot(a, b, given.site, given.name)))

    def _dot(self, a: t.Term, b: t.Term, site: t.Site, label: str = "") -> t.Term:
        return t.dot(self._ev.arithmetic.as_array(a), self._ev.arithmetic.as_array(b), site, label)

    def einsum(self, given: Given) -> t.Alternatives:
        said = t.one(given.positional[0]) if len(given.positional) == 2 else None
        if isinstance(said, t.Constant) and isinstance(said.value, str) and _is_trace(said.value):
            return t.single(self._ev.arithmetic.trace(given.frame, given.node))
        if len(given.positional) != 3:
            return ()
        said = t.one(given.positional[0])
        if isinstance(said, t.Constant) and isinstance(said.value, str) and not _contracts(said.value):
            return t.single(self._named(given.frame, given.node))
        left, right = given.positional[1:3]
        return t.unique((self._dot(a, b, given.site, "einsum"), tags) for a, b, tags in t.both(left, right))

    def sum(self, given: Given) -> t.Alternatives:
        def of(term: t.Term) -> t.Term:
            match term:
                case t.Sequence() | t.Mapping():
                    return self._sum_of_elements(given, term)
                case t.Vector(ident=ident) if self._is_diagonal(ident):
                    return self._ev.arithmetic.trace(given.frame, given.node)
                case t.Monomial(dots=(one, other), vectors=(), norms=(), floors=()) if one == other:
                    # ``((x.T @ d) ** 2).sum()``: nobody sums one number.
                    whole = self._ev.arithmetic.as_array(replace(term, dots=(one,)))
                    return t.total(t.power(whole, 2, given.site), given.site)
                case t.Monomial(vectors=()) if term.dots or term.norms:
                    return self._aggregate("sum", term, "unknown", given) if term.is_cosine else term
            found = t.total(term, given.site)
            return self._reduced(given, term) if isinstance(found, t.Unknown) else found

        return self._each(given.first, of)

    def _reduced(self, given: Given, term: t.Term) -> t.Term:
        """Return a sum or mean of entries: a new vector of the same origin."""
        said, origin = self._named(given.frame, given.node), t.surest(t.single(term))
        if said.role is not t.Role.UNKNOWN:
            return said
        return replace(said, role=origin.role, computed=origin.computed, evidence=origin.evidence)

    def _is_diagonal(self, ident: int) -> bool:
        return self._ev.identities.key(ident)[2:4] in (("view", "diagonal"), ("view", "diag"))

    def trace(self, given: Given) -> t.Alternatives:
        return t.single(self._ev.arithmetic.trace(given.frame, given.node))

    def _elements(self, term: t.Sequence | t.Mapping) -> t.Alternatives:
        if isinstance(term, t.Mapping):
            return t.unique((*(a for _, item in term.items for a in item), *term.element))
        return term.element or t.unique(a for item in term.items or () for a in item)

    def _over_all(self, whole: t.Sequence | t.Mapping, summand: t.Monomial) -> t.Term:
        """Return one summand as the sum over all elements; it is the sum where there is no other."""
        if isinstance(whole, t.Sequence) and whole.items is not None and len(whole.items) == 1:
            return summand
        return self._ev.variables.over_all(summand)

    def _sum_of_elements(self, given: Given, term: t.Sequence | t.Mapping) -> t.Term:
        for inner, _ in self._elements(term):
            match inner:
                case t.Monomial() if inner.is_cosine:
                    return self._aggregate("sum", inner, term.over, given)
                case t.Angle():
                    return self._aggregate("sum", inner, term.over, given)
                case t.Monomial():
                    summand = t.total(inner, given.site) if len(inner.vectors) == 2 else inner
                    if isinstance(summand, t.Monomial) and (summand.dots or summand.norms):
                        return self._over_all(term, summand)
                case t.Vector(role=role) if role.is_gradient:
                    return inner.at(self._ev.identities.of("sum", given.frame.number, given.node.nid))
        return self._reduced(given, term)

    def _aggregate(self, how: str, term: t.Term, over: t.Over, given: Given) -> t.Term:
        return t.Aggregate(how, term, over, given.site)

    def mean(self, given: Given) -> t.Alternatives:
        def of(term: t.Term) -> t.Term:
            match term:
                case t.Sequence() | t.Mapping():
                    for inner, _ in self._elements(term):
                        if isinstance(inner, t.Angle) or (isinstance(inner, t.Monomial) and inner.is_cosine):
                            return self._aggregate("mean", inner, term.over, given)
                case t.Monomial() if term.is_cosine:
                    return self._aggregate("mean", term, "unknown", given)
                case t.Monomial(vectors=(_, _)):
                    return self._or_named(given, t.total(term, given.site))
            return self._reduced(given, term)

        return self._each(given.first, of)

    def cat(self, given: Given) -> t.Alternatives:
        def of(term: t.Term) -> t.Term:
            if not isinstance(term, t.Sequence):
                return term
            elements = self._elements(term)
            filled = self._filled(given, term)
            if filled is not None:
                return filled
            for element, _ in elements:
                # What is stacked may be inner products; what is joined is arrays.
                arrays = isinstance(element, t.Monomial) and element.dots and not given.name.endswith("stack")
                inner = self._ev.arithmetic.as_array(element) if arrays else element
                match inner:
                    case t.Vector():
                        if term.items is not None and len(term.items) == 1:
                            return self._ev.members.copied(given.frame, given.node, inner)
                        joined = self._joined(given, term, inner)
                        copied = self._ev.members.copied(given.frame, given.node, joined)
                        joined = copied if isinstance(copied, t.Vector) else joined
                        if given.name.endswith("stack") and term.items:
                            self._ev.stacked[joined.ident] = term.items
                        return joined
                    case t.Monomial(vectors=(only,)):
                        return replace(inner, vectors=(self._joined(given, term, only),)) if not inner.norms else term
                    case t.Monomial() | t.Angle() | t.Aggregate():
                        return term
            return self._named(given.frame, given.node)

        return self._each(given.first, of)

    def _filled(self, given: Given, term: t.Sequence) -> t.Term | None:
        """``cat([a, zeros(n - len(a))])``: an array with zeros behind it up to a length."""
        match given.node.args:
            case [ir.Arg(value=ir.Sequence(items=[_, ir.Call(func=func, args=args)])), *_]:
                name = ir.last_name(func)
                if "zeros" in name and term.items is not None:
                    sizes = t.unique(x for arg in args for x in self._ev.of(given.frame, arg.value))
                    whole = t.one(term.items[0])
                    if whole is not None and self._ev.entries.combined("difference", (x for x, _ in sizes)) is not None:
                        return t.one(self._padded(given, whole, sizes))
        return None

    def pad(self, given: Given) -> t.Alternatives:
        sizes = t.unique(x for term, _ in given["pad"] if isinstance(term, t.Sequence) for x in self._elements(term))
        return t.unique(x for term, _ in given.first for x in self._padded(given, term, sizes))

    def _padded(self, given: Given, term: t.Term, sizes: t.Alternatives) -> t.Alternatives:
        """An array with more entries, as many as a length says."""
        said = [size.ident for size, _ in sizes if isinstance(size, t.Scalar) and size.ident]
        key = said[0] if said else -given.node.nid
        return self._ev.elements.element(term, "padded", key) if isinstance(term, t.Vector) else t.single(term)

    def _joined(self, given: Given, sequence: t.Sequence, element: t.Vector) -> t.Vector:
        whole = self._ev.variables.over_all(element)
        ident = self._ev.identities.of("joined", sequence.ident)
        if isinstance(whole, t.Vector) and whole.ident != element.ident:
            ident = whole.ident
        origin = element
        for inner, _ in self._elements(sequence):
            if isinstance(inner, t.Vector) and inner.name == t.ONES:
                # No vector with a one in it is tiny.
                origin = replace(element, role=t.Role.HIDDEN, computed=True)
                break
            if isinstance(inner, t.Vector) and inner.role.is_gradient:
                origin = inner
        joined = origin.at(ident)
        if sequence.over == "layers":
            joined.name = t.WHOLE
        return replace(joined, filtered=sequence.filtered) if sequence.filtered else joined

    def norm(self, given: Given) -> t.Alternatives:
        order = t.one(given["p"]) or t.one(given["ord"])
        if isinstance(order, t.Constant) and order.value in (math.inf, "inf"):
            return self.size(given)
        if isinstance(order, t.Constant) and order.value not in (None, 2, 2.0, "fro"):
            return t.single(self._named(given.frame, given.node))

        def of(term: t.Term) -> t.Term:
            if isinstance(term, t.Sequence):
                # The norm of the norms of the parts.
                parts = [x for x, _ in self._elements(term)]
                first = parts[0] if parts else None
                whole = self._over_all(term, first) if isinstance(first, t.Monomial) else None
                is_norm = (
                    isinstance(whole, t.Monomial) and len(whole.norms) == 1 and not whole.dots and not whole.vectors
                )
                return whole if is_norm and whole is not None else self._named(given.frame, given.node)
            found = t.norm(self._ev.arithmetic.as_array(term))
            if isinstance(found, t.Unknown) and isinstance(term, t.Monomial) and term.norms and not term.dots:
                return term  # the norm of a vector of norms
            return self._or_named(given, found)

        return self._each(given.first, of)

    def normalize(self, given: Given) -> t.Alternatives:
        size = self._eps(given)
        return self._each(given.first, lambda term: self._unit(given, term, size))

    def _unit(self, given: Given, term: t.Term, size: float | None) -> t.Term:
        term = self._ev.arithmetic.as_array(term)
        length = t.norm(term)
        if size != 0:
            length = t.floored(length, size, "normalize", given.site)
        return self._or_named(given, t.divide(term, length, given.site))

    def unit(self, given: Given) -> t.Alternatives:
        return self._each(given.first, lambda term: self._unit(given, term, 0.0))

    def _eps(self, given: Given) -> float | None:
        """The size of a library's floor: its default, or what the call says; None where that is not known."""
        said = given["eps"]
        if not said:
            return given.row.floor
        term = t.one(said)
        value = term.value if isinstance(term, t.Constant) else None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def cosine(self, given: Given) -> t.Alternatives:
        first, second = given.row.names[:2]
        return self._cosine(given, given[first], given[second])

    def distance(self, given: Given) -> t.Alternatives:
        return self._cosine(given, given["u"], given["v"])

    def _cosine(self, given: Given, left: t.Alternatives, right: t.Alternatives) -> t.Alternatives:
        size = None if given["**"] else self._eps(given)
        found: list[t.Alternative] = []
        for a, b, tags in t.both(left, right):
            if any(isinstance(side, t.Constant) and side.value is None for side in (a, b)):
                continue  # torch raises there
            a, b = self._ev.arithmetic.as_array(a), self._ev.arithmetic.as_array(b)
            product = t.dot(a, b, given.site, given.row.label)
            first, second = t.norm(a), t.norm(b)
            quotient = t.divide(t.divide(product, first, given.site), second, given.site)
            if not isinstance(quotient, t.Monomial):
                found.append((self._named(given.frame, given.node), tags))
                continue
            under = tuple(v for x in (a, b) if (m := t.monomial(x)) is not None and not m.norms for v in m.vectors)
            if size != 0 and given.row.floor is not None and under:
                floor = t.Floor(size, "library", size, under, given.site, given.site, bool(given["eps"] or given["**"]))
                quotient = replace(quotient, floors=(*quotient.floors, (floor, -1)))
            label = given.row.label or given.name
            found.append((replace(quotient, label=label, clamped=label == "safe_cosine"), tags))
        return t.unique(found)

    def multiply(self, given: Given) -> t.Alternatives:
        return self._binary(given, "*")

    def outer(self, given: Given) -> t.Alternatives:
        """Of norms, all products of two; of arrays, something new."""
        found = self._binary(given, "*")
        norms = all(isinstance(term, t.Monomial) and term.norms and not term.vectors for term, _ in found)
        return found if norms else t.single(self._named(given.frame, given.node))

    def divide(self, given: Given) -> t.Alternatives:
        return self._binary(given, "/")

    def add(self, given: Given) -> t.Alternatives:
        return self._binary(given, "+")

    def subtract(self, given: Given) -> t.Alternatives:
        return self._binary(given, "-")

    def _binary(self, given: Given, op: str) -> t.Alternatives:
        left = given.first
        right = given["other"] or (given.positional[1] if len(given.positional) > 1 else ())
        return self._ev.arithmetic.operation(given.frame, given.node, op, left, right)

    def root(self, given: Given) -> t.Alternatives:
        return self._each(given.first, lambda term: self._or_named(given, t.power(term, 0.5, given.site)))

    def reverse_root(self, given: Given) -> t.Alternatives:
        return self._each(given.first, lambda term: self._or_named(given, t.power(term, -0.5, given.site)))

    def reciprocal(self, given: Given) -> t.Alternatives:
        return self._each(given.first, lambda term: self._or_named(given, t.inverse(term, given.site)))

    def square(self, given: Given) -> t.Alternatives:
        return self._ev.arithmetic.operation(given.frame, given.node, "**", given.first, t.single(t.Constant(2)))

    def power(self, given: Given) -> t.Alternatives:
        right = given[given.row.names[1]]
        return self._ev.arithmetic.operation(given.frame, given.node, "**", given.first, right)

    def clamp(self, given: Given) -> t.Alternatives:
        low, high = given["min"] or given["a_min"], given["max"] or given["a_max"]
        return self._each_bounded(given, given.first, t.one(low), t.one(high))

    def maximum(self, given: Given) -> t.Alternatives:
        return self._bound(given, lower=True)

    def minimum(self, given: Given) -> t.Alternatives:
        return self._bound(given, lower=False)

    def _bound(self, given: Given, *, lower: bool) -> t.Alternatives:
        how = "greatest" if lower else "least"
        length = self._ev.entries.combined(how, self._compared(given))
        if length is not None:
            return t.single(length)
        if len(given.positional) < 2:
            return given.first if given.name.startswith("builtins.") else self.size(given)
        found: list[t.Alternative] = []
        for a, b, tags in t.both(given.positional[0], given.positional[1]):
            limit, term = (a, b) if isinstance(a, t.Constant) or not isinstance(a, t.Monomial | t.Aggregate) else (b, a)
            bounds = (limit, None) if lower else (None, limit)
            found.append((self._bounded(given, term, *bounds), tags))
        return t.unique(found)

    def _compared(self, given: Given) -> list[t.Term]:
        """What ``min`` and ``max`` compare: their arguments, or the elements of the only one."""
        found = [term for values in given.positional for term, _ in values]
        if len(given.positional) == 1 and len(found) == 1 and isinstance(found[0], t.Sequence):
            return [term for term, _ in self._elements(found[0])]
        return found

    def _bounded(self, given: Given, term: t.Term, low: t.Term | None, high: t.Term | None) -> t.Term:
        if isinstance(term, t.Sequence):
            items = None if term.items is None else tuple(self._each_bounded(given, i, low, high) for i in term.items)
            return replace(term, element=self._each_bounded(given, term.element, low, high), items=items)
        if isinstance(term, t.Monomial) and (term.is_cosine or term.is_squared_cosine):
            return replace(term, clamped=True, limit=_limit(high, term.limit))
        if isinstance(term, t.Aggregate):
            # What a rotation's trace, its trace less one and its cosine are at the identity.
            ends = {"trace": 3.0, "trace less one": 2.0, "cosine of a rotation": 1.0}
            limit = _limit(high, ends.get(term.how) if term.limited else None)
            limited = limit is not None and limit == ends.get(term.how)
            return replace(term, limited=True) if limited else t.Scalar()
        if isinstance(term, t.Monomial) and (term.is_inner_product or term.is_component) and high is not None:
            return replace(term, limit=_limit(high, None))
        if isinstance(low, t.Constant) and isinstance(low.value, int | float) and not isinstance(low.value, bool):
            if 0 < low.value <= 1e-2:
                return t.floored(term, float(low.value), "clamp", low.site or given.site)
            return term
        return term if low is None or not isinstance(low, t.Vector) else t.floored(term, None, "clamp", given.site)

    def _each_bounded(
        self, given: Given, values: t.Alternatives, low: t.Term | None, high: t.Term | None
    ) -> t.Alternatives:
        return t.unique((self._bounded(given, term, low, high), tags) for term, tags in values)

    def absolute(self, given: Given) -> t.Alternatives:
        return given.first

    def negate(self, given: Given) -> t.Alternatives:
        return given.first

    def angle(self, given: Given) -> t.Alternatives:
        return self._each(
            given.first,
            lambda term: (
                t.Angle(term, given.site)
                if isinstance(term, t.Monomial) and term.is_cosine
                else self._named(given.frame, given.node)
            ),
        )

    def repair(self, given: Given) -> t.Alternatives:
        return given.first

    def where(self, given: Given) -> t.Alternatives:
        return self._ev.choice(given.frame, given.node, given["input"], given["other"])

    def sign(self, given: Given) -> t.Alternatives:
        return t.single(self._ev.source(given.frame, given.node, t.Role.UNIT, "signs are of order one"))

    def zeros(self, given: Given) -> t.Alternatives:
        if given.name.endswith("zeros_like") and given.first:
            return t.single(self._ev.source(given.frame, given.node, t.Role.ZEROS, "zeros"))
        return t.single(t.Constant(0.0, given.site))

    def full(self, given: Given) -> t.Alternatives:
        return given["fill_value"] or t.single(self._named(given.frame, given.node))

    def content(self, given: Given) -> t.Alternatives:
        return given["data"]

    def ones(self, given: Given) -> t.Alternatives:
        vector = self._ev.source(given.frame, given.node, t.Role.DRAW, "ones")
        vector.name = t.ONES
        return t.single(vector)

    def draw(self, given: Given) -> t.Alternatives:
        return t.single(self._ev.source(given.frame, given.node, t.Role.DRAW, f"`{given.name}` draws of order one"))

    def hidden(self, given: Given) -> t.Alternatives:
        said = self._named(given.frame, given.node)
        if said.role is not t.Role.UNKNOWN:
            return t.single(said)
        return t.single(self._ev.source(given.frame, given.node, t.Role.HIDDEN, "values of order one"))

    def linear(self, given: Given) -> t.Alternatives:
        """``F.linear`` of two unit vectors is their cosine."""
        found = t.one(
            self._pairs(replace(given, values={"other": given["weight"]}), lambda a, b: t.dot(a, b, given.site))
        )
        if not given["bias"] and isinstance(found, t.Monomial) and found.is_cosine:
            return t.single(found)
        return self.hidden(given)

    def size(self, given: Given) -> t.Alternatives:
        """Return the largest entry or the spread of an array: divided by it, the array is of order one."""

        def of(term: t.Term) -> t.Term:
            whole = self._ev.arithmetic.as_array(term)
            if not isinstance(whole, t.Vector):
                return self._named(given.frame, given.node)
            return t.Scalar(self._ev.identities.of("size", whole.ident))

        return self._each(given.first, of)

    def number(self, given: Given) -> t.Alternatives:
        if given.name.rpartition(".")[2] in _LENGTHS:
            return t.unique((self._ev.entries.length(term), tags) for term, tags in given.first)
        return t.single(t.Scalar())


def _changed(term: t.Term, change: Callable[[t.Vector], t.Vector]) -> t.Term:
    return t.renamed(term, change) if isinstance(term, t.Vector | t.Monomial) else term


def _contracts(formula: str) -> bool:
    """Return True for an einsum over an index of both operands: ``i,i``, ``bi,ij->bj``; not for ``b,b...->b...``."""
    inputs, arrow, output = formula.replace(" ", "").partition("->")
    one, _, other = inputs.partition(",")
    shared = set(one) & set(other) - {"."}
    if ("..." in one) != ("..." in other):
        return False
    return bool(shared - set(output)) if arrow else bool(shared)


def _limit(high: t.Term | None, before: float | None) -> float | None:
    """Return the upper bound after a clamp at ``high``: a number, a tensor of ones, or none."""
    match high:
        case None:
            return before
        case t.Constant(value=int() | float() as value) if not isinstance(value, bool) and abs(value) < 1e3:
            return float(value)
        case t.Vector(name=t.ONES):
            return 1.0
    return None


def _is_trace(equation: str) -> bool:
    """Return True for ``bii->b`` and ``...ii``."""
    operand, _, result = equation.replace(" ", "").partition("->")
    index = operand[-1:]
    return len(operand) > 1 and operand[-2:] == 2 * index and index.isalpha() and index not in result
