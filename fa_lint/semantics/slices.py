"""What a value is computed from, inside its function: a backward slice over the names and attributes it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.names import Binding

__all__ = ["Slice", "function_of", "slice_of"]

_LIMIT = 4000


@dataclass(slots=True)
class Slice:
    """``nodes``: every expression the value is computed from; ``params``: the parameters it comes from.

    ``bindings``: the assignments it went through, by the number of the binding statement; ``complete`` is False where
    the walk was cut off.
    """

    nodes: list[ir.Node] = field(default_factory=list)
    params: list[ir.Param] = field(default_factory=list)
    bindings: dict[int, Binding] = field(default_factory=dict)
    complete: bool = True

    @property
    def calls(self) -> list[ir.Call]:
        return [node for node in self.nodes if isinstance(node, ir.Call)]


def function_of(node: ir.Node, facts: ModuleFacts) -> ir.FunctionDef | None:
    return facts.names.enclosing_function(node)


def _bindings(node: ir.Name | ir.Attr, facts: ModuleFacts) -> list[Binding]:
    if isinstance(node, ir.Name):
        return facts.names.reaching(node) if facts.qualified(node) is None else []
    if not (isinstance(node.value, ir.Name) and node.value.id == "self"):
        return []
    found = facts.names.self_attribute(node)
    here = function_of(node, facts)
    mine = [b for b in found if function_of(b.node, facts) is here]
    return mine or [b for b in found if b.how == "value"]


def slice_of(root: ir.Expr, facts: ModuleFacts, ends: Callable[[ir.Node, ModuleFacts], bool] | None = None) -> Slice:
    """The slice of ``root``, within its function: names of other scopes end it, and nodes that ``ends`` accepts."""
    found = Slice()
    home = function_of(root, facts)
    seen: set[int] = set()
    queue: list[ir.Node] = [root]
    while queue:
        top = queue.pop()
        if top.nid in seen:
            continue
        if len(seen) > _LIMIT:
            found.complete = False
            break
        seen.add(top.nid)
        if ends is not None and ends(top, facts):
            continue
        found.nodes.append(top)
        if isinstance(top, ir.Lambda):
            continue
        queue += list(ir.children(top))
        if not isinstance(top, ir.Name | ir.Attr):
            continue
        for binding in _bindings(top, facts):
            if isinstance(binding.node, ir.Param):
                if facts.names.parent(binding.node) is home and binding.node not in found.params:
                    found.params.append(binding.node)
            elif binding.value is not None and (isinstance(top, ir.Attr) or function_of(binding.node, facts) is home):
                found.bindings[binding.node.nid] = binding
                queue.append(binding.value)
    return found
