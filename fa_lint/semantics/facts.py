"""ModuleFacts: everything a rule asks about one module, extracted once and picklable."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fa_lint.semantics import ir
from fa_lint.semantics.derived import Derived
from fa_lint.semantics.kinds import Kinds
from fa_lint.semantics.names import Names
from fa_lint.semantics.roles import Role, RoleNames, Roles
from fa_lint.semantics.values import Values

if TYPE_CHECKING:
    from fa_lint.quick import QuickLowered
    from fa_lint.walk import Lowered

__all__ = ["ModuleFacts", "extract"]


class ModuleFacts(Derived):
    """The façade the rules see.

    ``text`` is the module's source; ``calls`` its calls in source order; ``names``, ``values``, ``kinds`` and
    ``roles`` answer what an identifier is, which constant reaches a place, whether a value is an array, and what it
    stands for.
    """

    def __init__(self, lowered: Lowered | QuickLowered, text: str, declared: RoleNames, snippets: bool = False) -> None:
        self.text = text
        self._lowered = lowered
        self._declared = declared
        self.names = Names(lowered, snippets)
        self._derive()

    def _derive(self) -> None:
        super().__init__()
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

    def nodes(self) -> Iterator[ir.Node]:
        """Every node of the module in source order."""
        return (node for node in self.names.nodes if node is not None)

    def node(self, nid: int) -> ir.Node:
        found = self.names.nodes[nid]
        assert found is not None
        return found

    def span(self, node: ir.Node) -> tuple[int, int]:
        return self._lowered.span(node)

    def source(self, node: ir.Node) -> str:
        """The text of a node."""
        text = self._lowered.source(node)
        if text is None:
            start, end = self.span(node)
            text = self.text[start:end]
        return text

    def statement_at(self, offset: int) -> ir.Stmt | None:
        """The innermost statement around an offset."""
        # What stands before or between the statements of a class, only a look at all of them shows.
        for numbers in (self._lowered.near(offset), range(len(self.names.nodes))):
            around = [node for number in numbers if isinstance(node := self.names.nodes[number], ir.Stmt)]
            found = [node for node in around if self.span(node)[0] <= offset < self.span(node)[1]]
            if found:
                return found[-1]
        return None

    def qualified(self, node: ir.Expr) -> str | None:
        return self.names.qualified(node)

    def role(self, node: ir.Expr | None) -> Role:
        return self.roles.of(node)

    def __getstate__(self) -> dict[str, Any]:
        return {"text": self.text, "_lowered": self._lowered, "_declared": self._declared, "names": self.names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._derive()


def extract(
    text: str, declared: RoleNames | None = None, snippets: bool = False, tree: ast.Module | None = None
) -> ModuleFacts:
    """Parse and lower ``text``; raises ``libcst.ParserSyntaxError`` where it is not Python.

    ``tree`` is the interpreter's own, where there is one: it makes positions cheap. In ``snippets`` the usual names of
    the array libraries (``torch``, ``np``, ``F``) mean them without an import.
    """
    # Imported here: most runs parse few files or none, and libcst is the slowest import of the linter.
    import libcst

    from fa_lint.walk import lower

    return ModuleFacts(lower(libcst.parse_module(text), text, tree), text, declared or RoleNames(), snippets)
