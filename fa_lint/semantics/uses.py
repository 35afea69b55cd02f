"""Uses: which names and attributes of ``self`` are read where, and which calls name a function."""

from __future__ import annotations

from collections import defaultdict

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["Uses"]


class Uses:
    """The names, attributes of ``self`` and calls of one module by identifier, in source order."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._reaching = facts.names.reaching
        self._reached: dict[str, dict[int, list[ir.Name]]] = {}
        self._names: dict[str, list[ir.Name]] = defaultdict(list)
        self._attributes: dict[str, list[ir.Attr]] = defaultdict(list)
        self._calls: dict[str, list[ir.Call]] = defaultdict(list)
        self._bound: dict[int, set[str]] = defaultdict(set)
        for node in facts.nodes_of(ir.Name, ir.Attr, ir.Call):
            match node:
                case ir.Name(id=identifier):
                    self._names[identifier].append(node)
                case ir.Attr(value=ir.Name(id="self" | "cls"), attr=attr):
                    self._attributes[attr].append(node)
                case ir.Call(func=ir.Name(id=called) | ir.Attr(attr=called)):
                    self._calls[called].append(node)
        tables = [scope.bindings for scope in facts.names.scopes.values()]
        for bindings in (*(found for table in tables for found in table.values()), *facts.names.attributes.values()):
            for binding in bindings:
                if binding.how == "value" and binding.value is not None:
                    self._bound[binding.value.nid].add(binding.name)

    def of(self, identifier: str) -> list[ir.Name]:
        """Every place that mentions a name, whatever its scope."""
        return self._names.get(identifier, [])

    def after(self, statement: ir.Node, identifier: str) -> list[ir.Name]:
        """Return every later place that reads what a statement binds to a name."""
        reached = self._reached.get(identifier)
        if reached is None:
            reached = self._reached[identifier] = defaultdict(list)
            for use in self.of(identifier):
                for binding in self._reaching(use):
                    reached[binding.node.nid].append(use)
        return [use for use in reached.get(statement.nid, ()) if use.nid > statement.nid]

    def of_attribute(self, identifier: str) -> list[ir.Attr]:
        """Return every place that mentions an attribute of ``self``."""
        return self._attributes.get(identifier, [])

    def of_value(self, node: ir.Expr) -> list[ir.Name | ir.Attr]:
        """Every place that mentions a name, or an attribute of ``self``, that ``node`` is bound to somewhere."""
        found: list[ir.Name | ir.Attr] = []
        for identifier in self._bound.get(node.nid, ()):
            found += [*self._names.get(identifier, ()), *self._attributes.get(identifier, ())]
        return sorted(found, key=lambda use: use.nid)

    def calls_named(self, identifier: str) -> list[ir.Call]:
        """The calls of anything of that name: a function, or a method of any object."""
        return self._calls.get(identifier, [])
