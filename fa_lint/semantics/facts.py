"""ModuleFacts: everything a rule asks about one module, extracted once."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cached_property

from fa_lint.semantics import ir
from fa_lint.semantics.derived import Derived
from fa_lint.semantics.kinds import Kinds
from fa_lint.semantics.lower import Lowered, Statements, lower
from fa_lint.semantics.names import Names
from fa_lint.semantics.roles import RoleNames, Roles
from fa_lint.semantics.values import Values

__all__ = ["Callers", "Load", "ModuleFacts", "extract"]

# A file, a dotted name in it and whether it is given a gradient → path and facts of the module that the name begins
# with, and the rest of the name.
Load = Callable[[str, str, bool], "tuple[str, ModuleFacts, str] | None"]

# Names of functions and classes of this module → path and facts of the files that lead to one (those that can make a
# cosine, or all), and by which names.
Callers = Callable[[frozenset[str], bool], "list[tuple[str, ModuleFacts, frozenset[str]]]"]


class ModuleFacts(Derived):
    """The façade the rules see.

    ``text`` is the module's source; ``calls`` its calls in source order; ``names``, ``values``, ``kinds`` and
    ``roles`` answer what an identifier is, which constant reaches a place, whether a value is an array, and what it
    stands for.
    """

    def __init__(self, lowered: Lowered, text: str, declared: RoleNames, snippets: bool = False) -> None:
        self.text = text
        self._lowered = lowered
        self._declared = declared
        super().__init__()
        self._of_kinds: dict[tuple[type[ir.Node], ...], list[ir.Node]] = {}
        # How the values of this module lead to other files of the run, where there are any.
        self.load: Load | None = None
        self.callers: Callers | None = None
        self.holds: Callable[[str, bool], bool] | None = None
        self.path = ""
        self.names = Names(lowered, snippets)
        self.values = Values(self.names)
        self.kinds = Kinds(self.names)
        self.roles = Roles(self.names, self._declared)

    @property
    def declared(self) -> RoleNames:
        """The identifier patterns of the project's configuration."""
        return self._declared

    @property
    def module(self) -> ir.Module:
        return self._lowered.module

    @property
    def calls(self) -> list[ir.Call]:
        return self.names.calls

    @cached_property
    def backward_calls(self) -> list[int]:
        """The numbers of the calls named ``backward``."""
        return [c.nid for c in self.calls if isinstance(c.func, ir.Attr) and c.func.attr == "backward"]

    @cached_property
    def gradient_resets(self) -> list[int]:
        """The numbers of the nodes that let the next backward pass make new gradient tensors."""
        found = []
        for node in self.nodes_of(ir.Call, ir.Assign):
            match node:
                case ir.Call(func=ir.Attr(attr="zero_grad"), args=args):
                    kept = any(a.keyword == "set_to_none" and self.values.constant(a.value) is False for a in args)
                    found += [] if kept else [node.nid]
                case ir.Assign(targets=targets):
                    # The value is read before: `a, p.grad = p.grad, None`.
                    parts = (part for target in targets for part in ir.flat(target))
                    if any(isinstance(part, ir.Attr) and part.attr == "grad" for part in parts):
                        found.append(max(part.nid for part in ir.walk(node)))
                # Each of these makes a new tensor (torch 2.13, measured).
                case ir.Call(func=ir.Attr(attr="backward"), args=args):
                    if any(a.keyword == "create_graph" for a in args) or "retain_grad(" in self.text:
                        found.append(node.nid)
        return sorted(found)

    def imported_names(self, *, speaking: bool) -> set[str]:
        """Return the local names of imports that lead to functions of the run that measure, or name gradients."""
        holds = self.holds
        if holds is None:
            return set()
        found = {b.name for b in self.names.imports if b.target and holds(b.target, speaking)}
        if any(holds(f"{module}.*", speaking) for module in self.names.star_modules):
            called = {c.func.id for c in self.calls if isinstance(c.func, ir.Name)}
            found |= called - set(self.names.module_scope.bindings)
        return found

    def forget(self) -> None:
        """Drop every analysis, and the way to the other files."""
        super().forget()
        self.load = self.holds = self.callers = None

    def nodes(self) -> Iterator[ir.Node]:
        """Every node of the module in source order."""
        return (node for node in self.names.nodes if node is not None)

    def nodes_of(self, *kinds: type[ir.Node]) -> list[ir.Node]:
        """Every node of these classes (not of classes derived from them) in source order."""
        if kinds not in self._of_kinds:
            found = [node for kind in kinds for node in self._by_kind.get(kind, ())]
            self._of_kinds[kinds] = sorted(found, key=_number) if len(kinds) > 1 else found
        return self._of_kinds[kinds]

    @cached_property
    def _by_kind(self) -> dict[type[ir.Node], list[ir.Node]]:
        found: dict[type[ir.Node], list[ir.Node]] = {}
        for node in self.nodes():
            found.setdefault(type(node), []).append(node)
        return found

    def node(self, nid: int) -> ir.Node:
        found = self.names.nodes[nid]
        assert found is not None
        return found

    def span(self, node: ir.Node) -> tuple[int, int]:
        return self._lowered.span(node)

    def source(self, node: ir.Node) -> str:
        """The text of a node."""
        start, end = self.span(node)
        return self.text[start:end]

    def statement_at(self, offset: int) -> ir.Stmt | None:
        """The innermost statement around an offset."""
        return self.derived(_statements).at(offset)

    def qualified(self, node: ir.Expr) -> str | None:
        return self.names.qualified(node)


def _number(node: ir.Node) -> int:
    return node.nid


def _statements(facts: ModuleFacts) -> Statements:
    return Statements(facts._lowered, facts.names.nodes)


def extract(
    text: str, declared: RoleNames | None = None, snippets: bool = False, tree: ast.Module | None = None
) -> ModuleFacts:
    """Return the facts of ``text``, with ``tree`` where it has been parsed; raises ``SyntaxError`` for no Python.

    In ``snippets`` the usual names of the array libraries (``torch``, ``np``, ``F``) mean them without an import.
    """
    return ModuleFacts(lower(tree or ast.parse(text), text), text, declared or RoleNames(), snippets)
