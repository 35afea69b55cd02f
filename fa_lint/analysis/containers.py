"""Operations on lists, dictionaries and iterators, and on the parameters of models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fa_lint.analysis import terms as t
from fa_lint.analysis.operations import Arguments, Given, Operations
from fa_lint.semantics import ir

__all__ = ["Containers"]


class Containers(Operations):
    """What loops and containers make of terms."""

    def zip(self, given: Given) -> t.Alternatives:
        ident = self._ev.identities.of("zip", given.frame.number, given.node.nid)
        over: t.Over = "unknown"
        columns = []
        arguments = [arg.value for arg in given.node.args if arg.keyword is None]
        for number, values in enumerate(given.positional):
            column: list[t.Alternative] = []
            later = arguments[number] if number < len(arguments) and _is_later(arguments[number]) else None
            for term, tags in values:
                filtered = term.filtered if isinstance(term, t.Sequence) else 0
                whole = self._ev.entries.marked(self._whole(term), filtered)
                if later is not None:
                    whole = t.unique(self._ev.elements.renamed(way, "later", later.nid) for way in whole)
                column += [(inner, tags | more) for inner, more in whole]
                if isinstance(term, t.Sequence | t.Mapping) and term.over != "unknown":
                    over = term.over
            columns.append(t.unique(column))
        known = [x.items if isinstance(x := t.one(values), t.Sequence) else None for values in given.positional]
        lists = [items for items in known if items is not None and 0 < len(items) <= t.MOST_TURNS]
        if known and len(lists) == len(known):
            rows = [t.single(t.Sequence(ident, items=row)) for row in zip(*lists, strict=False)]
            return t.single(t.Sequence(ident, items=tuple(rows), over=over))
        row = t.Sequence(ident, items=tuple(columns))
        return t.single(t.Sequence(ident, t.single(row), over=over))

    def _whole(self, term: t.Term) -> t.Alternatives:
        """What stands for each element of a container."""
        match term:
            case t.Sequence(element=element, items=None):
                return element
            case t.Sequence() | t.Mapping():
                return self._elements(term)
            case t.Vector():
                return t.single(term.at(self._ev.identities.of("element", term.ident, "each")))
        return t.single(t.Unknown())

    def enumerate(self, given: Given) -> t.Alternatives:
        ident = self._ev.identities.of("enumerate", given.frame.number, given.node.nid)
        index = t.single(t.Vector(self._ev.identities.of("index", given.frame.number, given.node.nid)))
        found: list[t.Alternative] = []
        for term, tags in given.first:
            over = term.over if isinstance(term, t.Sequence | t.Mapping) else "unknown"
            if isinstance(term, t.Sequence) and term.items is not None and 0 < len(term.items) <= t.MOST_TURNS:
                rows = [t.Sequence(ident, items=(index, item)) for item in term.items]
                found.append((t.Sequence(ident, items=tuple(map(t.single, rows)), over=over), tags))
                continue
            row = t.Sequence(ident, items=(index, self._whole(term)))
            found.append((t.Sequence(ident, t.single(row), over=over), tags))
        return t.unique(found)

    def items(self, given: Given) -> t.Alternatives:
        ident = self._ev.identities.of("items", given.frame.number, given.node.nid)
        over: t.Over = "layers" if given.name.rpartition(".")[2].startswith("named_") else "unknown"
        found: list[t.Alternative] = []
        for term, tags in given.first:
            name = t.single(t.Vector(self._ev.identities.of("key", ident)))
            value = self._whole(term)
            if given.name.endswith(("parameters", "state_dict")):
                value = t.single(self._parameter(given))
            if isinstance(term, t.Mapping) and term.over != "unknown":
                over = term.over
            if isinstance(term, t.Mapping) and 0 < len(term.items) <= t.MOST_TURNS and not term.element:
                pairs = [t.Sequence(ident, items=(t.single(t.Constant(k)), v)) for k, v in term.items]
                found.append((t.Sequence(ident, items=tuple(map(t.single, pairs)), over=over), tags))
                continue
            row = t.Sequence(ident, items=(name, value))
            found.append((t.Sequence(ident, t.single(row), over=over), tags))
        return t.unique(found)

    def _parameter(self, given: Given) -> t.Vector:
        owners = [x.ident for x, _ in given.first if isinstance(x, t.Vector | t.Instance)]
        ident = owners[0] if owners else self._ev.identities.of("model", given.frame.number, given.node.nid)
        vector = self._ev.source(given.frame, given.node, t.Role.PARAMETER, "parameters of a model")
        return replace(vector, ident=self._ev.identities.of("parameters of", ident))

    def parameters(self, given: Given) -> t.Alternatives:
        element: t.Vector = self._parameter(given)
        if not given.name.endswith(("parameters", "variables")):
            element = t.Vector(element.ident)
        return t.single(t.Sequence(element.ident, t.single(element), over="layers"))

    def values(self, given: Given) -> t.Alternatives:
        return self._each(
            given.first,
            lambda term: (
                t.Sequence(term.ident, self._elements(term), over=term.over, filtered=term.filtered)
                if isinstance(term, t.Mapping)
                else term
            ),
        )

    def element(self, given: Given) -> t.Alternatives:
        """``d.get(key, default)``, ``getattr(x, name, default)``."""
        name = t.one(given["key"])
        key = name.value if isinstance(name, t.Constant) else None
        found: list[t.Alternative] = []
        for term, tags in given.first:
            if key is None and given.name == ".pop" and isinstance(term, t.Sequence) and term.items:
                inner = term.items[-1]
            elif key is None:
                inner = self._ev.elements.element(term, "index", *[v.ident for v in (name,) if isinstance(v, t.Vector)])
            else:
                inner = self._ev.elements.item(term, key)
            found += [(x, tags | more) for x, more in inner]
        default = given["default"]
        if not default:
            return t.unique(found)
        return self._ev.arms(given.node, [t.unique(found), default])

    def set_default(self, given: Given) -> t.Alternatives:
        """``d.setdefault(key, default)``"""
        name = t.one(given["key"])
        found: list[t.Alternative] = []
        for term, tags in given.first:
            held = term.items if isinstance(term, t.Mapping) and isinstance(name, t.Constant) else ()
            inner = next((value for key, value in held if isinstance(name, t.Constant) and key == name.value), ())
            # Whether anything else stands under the key is not known: the default is one way, by another identity.
            other = (self._ev.elements.renamed(way, "default", given.node.nid) for way in given["default"])
            found += [(x, tags | more) for x, more in inner or t.unique(other)]
        return t.unique(found)

    def first_of(self, given: Given) -> t.Alternatives:
        # Two calls of ``next`` give two elements.
        key = ("first", given.frame.number, given.node.nid)
        return t.unique((x, tags | y) for term, tags in given.first for x, y in self._ev.elements.element(term, *key))

    def dictionary(self, given: Given) -> t.Alternatives:
        for term, tags in given.first:
            match term:
                case t.Sequence(element=((t.Sequence(items=(_, value)), _), *_)):
                    ident = self._ev.identities.of("dict", given.frame.number, given.node.nid)
                    return ((t.Mapping(ident, element=value, over=term.over), tags),)
                case t.Mapping():
                    return t.single(term)
        ident = self._ev.identities.of("dict", given.frame.number, given.node.nid)
        return t.single(t.Mapping(ident, tuple((k, v) for k, v in given.values.items() if k)))

    def range(self, given: Given) -> t.Alternatives:
        ident = self._ev.identities.of("range", given.frame.number, given.node.nid)
        return t.single(t.Sequence(ident, t.single(t.Vector(ident))))

    def map(self, given: Given) -> t.Alternatives:
        if len(given.positional) < 2:
            return ()
        ident = self._ev.identities.of("map", given.frame.number, given.node.nid)
        known = [x.items if isinstance(x := t.one(v), t.Sequence) else None for v in given.positional[1:]]
        rows = [row for row in known if row is not None and 0 < len(row) <= t.MOST_TURNS]
        if len(rows) == len(known):
            return t.single(
                t.Sequence(ident, items=tuple(self._mapped(given, row) for row in zip(*rows, strict=False)))
            )
        found = self._mapped(
            given, [t.unique(x for term, _ in v for x in self._whole(term)) for v in given.positional[1:]]
        )
        overs: list[t.Over] = [x.over for x, _ in given.positional[1] if isinstance(x, t.Sequence | t.Mapping)]
        over: t.Over = overs[0] if overs else "unknown"
        return t.single(t.Sequence(ident, found, over=over))

    def _mapped(self, given: Given, row: Iterable[t.Alternatives]) -> t.Alternatives:
        """Return what the function that is mapped gives for a row of arguments."""
        arguments: Arguments = [(None, values) for values in row]
        found: list[t.Alternative] = []
        for term, _ in given.positional[0]:
            if isinstance(term, t.Library) and term.name == "builtins.len":
                found += self._each(arguments[0][1], self._ev.entries.length)
        for callee in self._ev.calls_into(given.positional[0]):
            frame = self._ev.entered(callee, arguments, given.site, given.frame)
            if frame is not None:
                found += self._ev.returned(frame)
        return t.unique(found) or t.single(self._named(given.frame, given.node))

    def pairs(self, given: Given) -> t.Alternatives:
        """``combinations(x, 2)``, ``product(x, y)``: rows of one element each; the elements of one row differ."""
        node = given.node.nid
        ident = self._ev.identities.of("pairs", given.frame.number, node)
        picked = given.positional if given.name.endswith("product") else 2 * given.positional[:1]
        items = tuple(
            t.unique(
                a
                for term, _ in values
                for a in self._ev.elements.element(term, "pick", number, given.frame.number, node)
            )
            for number, values in enumerate(picked)
        )
        return t.single(t.Sequence(ident, t.single(t.Sequence(ident, items=items))))

    def filter(self, given: Given) -> t.Alternatives:
        if len(given.positional) != 2:
            return ()
        ident = self._ev.identities.of("filter", given.frame.number, given.node.nid)
        found: list[t.Alternative] = []
        for term, tags in given.positional[1]:
            whole = self._whole(term)
            filtered = self._ev.entries.passing(given.node.args[0].value, whole)
            over = term.over if isinstance(term, t.Sequence | t.Mapping) else "unknown"
            found.append((t.Sequence(ident, whole, over=over, filtered=filtered), tags))
        return t.unique(found)

    def chain(self, given: Given) -> t.Alternatives:
        ident = self._ev.identities.of("chain", given.frame.number, given.node.nid)
        element = t.unique(x for values in given.positional for term, _ in values for x in self._whole(term))
        return t.single(t.Sequence(ident, element))


def _is_later(node: ir.Expr) -> bool:
    """Return True for ``xs[1:]``: beside ``xs``, an element of a turn is another one."""
    match node:
        case ir.Subscript(index=[ir.Slice(lower=lower, step=step)]):
            return step is not None or (lower is not None and not (isinstance(lower, ir.Const) and lower.value == 0))
    return False
