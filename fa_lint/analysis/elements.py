"""Elements of values: items of containers, parts of arrays, what a subscript takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fa_lint.analysis import terms as t
from fa_lint.analysis.frames import NOTHING, Frame
from fa_lint.semantics import ir

if TYPE_CHECKING:
    from fa_lint.analysis.evaluator import Evaluator

__all__ = ["Elements"]

_TELLING = ("turn", "index")


class Elements:
    """Evaluate the elements of containers and arrays."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._ev = evaluator

    def unpacked(self, values: t.Alternatives, path: tuple[int, ...], place: int) -> t.Alternatives:
        for index in path:
            values = t.unique(
                (inner, tags | more)
                for term, tags in values
                for inner, more in (self.item(term, index) if index >= 0 else t.single(term))
            )
        return values

    def item(self, term: t.Term, key: object) -> t.Alternatives:
        """Return the element of a container, or the part of an array, under a constant key."""
        match term:
            case t.Sequence() if isinstance(key, int) and -len(term.items or ()) <= key < len(term.items or ()):
                return (term.items or ())[key]
            case t.Mapping():
                for name, value in term.items:
                    if name == key:
                        return value
                if isinstance(key, int) and not isinstance(key, bool) and 0 <= key < len(term.items):
                    # The items of a named tuple.
                    return term.items[key][1] if not any(isinstance(k, int) for k, _ in term.items) else NOTHING
                if term.items and isinstance(key, int | str):
                    return t.unique(self.renamed(a, "at", key) for a in term.element)
            case t.Vector(ident=ident) if ident in self._ev.stacked and isinstance(key, int):
                parts = self._ev.stacked[ident]
                return parts[key] if -len(parts) <= key < len(parts) else NOTHING
            case t.Instance() if isinstance(key, int):
                return self._ev.members.given_field(term, key) or NOTHING
        return self.element(term, "at", key)

    def element(self, term: t.Term, *key: object) -> t.Alternatives:
        """Return one element of a container or an array; equal keys of one container give the same element."""
        match term:
            case t.Sequence(items=None, turn=(_, place) as turn) if place and key[:1] in (("index",), ("at",)):
                return t.unique(
                    (self._in_turn(inner, turn, key), tags) if _is_number(inner) else self.renamed((inner, tags), *key)
                    for inner, tags in term.element
                )
            case t.Sequence(items=None) | t.Mapping(items=()):
                return t.unique(self.renamed(a, *key) for a in term.element)
            case t.Sequence():
                found = t.unique(a for item in term.items or () for a in item)
                # Which of several items it is, the key alone says.
                if key and key[0] in _TELLING and len(term.items or ()) > 1:
                    return t.unique(self.renamed(a, *key) for a in found)
                return found
            case t.Mapping():
                found = t.unique((*(a for _, item in term.items for a in item), *term.element))
                if key and key[0] == "index" and len(term.items) > 1:
                    return t.unique(self.renamed(a, *key) for a in found)
                return found
            case t.Vector():
                return t.single(term.at(self._ev.identities.of("element", term.ident, *key)))
            case t.Monomial():
                return (self.renamed((term, frozenset()), *key),)
        return NOTHING

    def _in_turn(self, term: t.Term, turn: tuple[int, int], key: tuple[object, ...]) -> t.Term:
        """Return the norm that a loop took of an element as that of the element under an index."""
        of = self._ev.identities.of

        def at(ident: int) -> int | None:
            match self._ev.identities.key(ident):
                case ("element", int() as base, "turn", *place) if tuple(place) == turn:
                    return of("element", base, *key)
                case ("element" | "attribute" | "view" | "copied after" | "copy" as kind, int() as base, *rest):
                    whole = at(base)
                    return None if whole is None else of(kind, whole, *rest)
            return None

        def rename(ident: int) -> int:
            found = at(ident)
            return of("element", ident, *key) if found is None else found

        return t.relabelled(term, rename)

    def renamed(self, value: t.Alternative, *key: object) -> t.Alternative:
        """One of the values that an element stands for: its vectors are others than those of the next one."""
        term, tags = value

        def rename(ident: int) -> int:
            return self._ev.identities.of("element", ident, *key)

        return t.relabelled(term, rename), tags

    def subscript(self, frame: Frame, node: ir.Subscript) -> t.Alternatives:
        found: list[t.Alternative] = []
        index = node.index[0] if len(node.index) == 1 else None
        for term, tags in self._ev.of(frame, node.value):
            for inner, more in self._taken(frame, node, term, index):
                found.append((inner, tags | more))
        return t.unique(found)

    def _taken(self, frame: Frame, node: ir.Subscript, term: t.Term, index: ir.Expr | None) -> t.Alternatives:
        if isinstance(term, t.Vector | t.Monomial) and self._keeps_values(node):
            layout = tuple(part.value if isinstance(part, ir.Const) else ":" for part in node.index)
            return t.single(t.renamed(term, lambda vector: replace(vector, layout=(*vector.layout, *layout))))
        if isinstance(term, t.Vector) and self._is_shape(node.value, term):
            return t.single(self._ev.entries.length(term.at(self._owner_of(term))))
        if isinstance(index, ir.Slice) and isinstance(term, t.Sequence):
            ident = self._ev.identities.of("slice", frame.number, node.nid, term.ident)
            return t.single(
                t.Sequence(ident, term.element or t.unique(a for i in term.items or () for a in i), over=term.over)
            )
        key = self._index_key(frame, index) if index is not None else self._several_key(frame, node)
        if key is not None and key[0] == "constant":
            found = self.item(term, key[1])
        else:
            found = self.element(term, "index", *(key or (frame.number, node.nid)))
        if isinstance(term, t.Vector) and not term.computed:
            said = self._ev.vector(frame, node)
            if said.role is not t.Role.UNKNOWN:
                return t.single(
                    replace(said, ident=self._ev.identities.of("element", term.ident, *(key or (node.nid,))))
                )
        return found

    def _keeps_values(self, node: ir.Subscript) -> bool:
        """``x[:, None]``, ``x[None]``, ``x[...]``, ``x[:]``."""
        return all(
            (isinstance(part, ir.Const) and part.value in (None, ...))
            or (isinstance(part, ir.Slice) and part.lower is part.upper is part.step is None)
            for part in node.index
        )

    def _several_key(self, frame: Frame, node: ir.Subscript) -> tuple[object, ...]:
        """What tells ``x[:, k]`` from other parts of ``x``."""
        keys = [("new",) if _is_new_axis(part) else self._index_key(frame, part) for part in node.index]
        return ("many", node.nid) if None in keys else ("many", *keys)

    def _index_key(self, frame: Frame, index: ir.Expr) -> tuple[object, ...] | None:
        """What tells one index from another: a constant, or the value of a variable."""
        if isinstance(index, ir.Slice):
            parts = [self._index_key(frame, p) if p is not None else () for p in (index.lower, index.upper, index.step)]
            parts[0] = () if parts[0] == ("constant", 0) else parts[0]
            return None if None in parts else ("slice", tuple(parts))
        values = self._ev.of(frame, index)
        value = t.one(values) or self._ev.entries.combined("least", (term for term, _ in values))
        match value:
            case t.Constant(value=int() | str() as constant):
                return "constant", constant
            case t.Vector(ident=ident):
                return "value", ident
            case t.Scalar(ident=ident) if ident:
                return "value", ident
            case t.Monomial(vectors=(only,), norms=()):
                return "value", only.ident
        return None

    def _is_shape(self, node: ir.Expr, term: t.Vector) -> bool:
        return (
            isinstance(node, ir.Attr)
            and node.attr == "shape"
            and self._ev.identities.key(term.ident)[:1] == ("attribute",)
        )

    def _owner_of(self, shape: t.Vector) -> int:
        owner = self._ev.identities.key(shape.ident)[1]
        return owner if isinstance(owner, int) else 0


def _is_new_axis(node: ir.Expr) -> bool:
    return isinstance(node, ir.Const) and node.value in (None, ...)


def _is_number(term: t.Term) -> bool:
    return isinstance(term, t.Monomial) and bool(term.norms) and not term.vectors
