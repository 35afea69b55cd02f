"""Bindings that take a value out of the graph: ``detach``, ``.data``, copies, and what is made without a graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.calls import argument
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.names import Binding
from fa_lint.semantics.slices import function_of

__all__ = ["Cut", "cut_of", "holder"]

_GRAPHLESS = frozenset({"torch.no_grad", "torch.inference_mode", "torch.autograd.no_grad"})
_GRAPHLESS_NAMES = frozenset({"no_grad", "inference_mode"})
_KEEPING = frozenset("clone requires_grad_ to float double cuda cpu contiguous view reshape flatten squeeze".split())
_COPIES = frozenset({"torch.tensor", "torch.nn.Parameter", "torch.nn.parameter.Parameter"})
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Cut:
    """A binding of ``target`` that takes a value out of the graph; ``sources`` are what it was taken from."""

    target: ir.Name | ir.Attr
    binding: Binding
    sources: tuple[ir.Expr, ...]
    how: str


def holder(node: ir.Expr | None, facts: ModuleFacts) -> ir.Name | ir.Attr | None:
    """Return the name, or the attribute of ``self``, that a tensor is or is taken from: ``acts`` of ``acts[0]``."""
    match node:
        case ir.Subscript(value=value):
            return holder(value, facts)
        case ir.Call(func=ir.Name(id="list" | "tuple"), args=[ir.Arg(value=value)]) | ir.Starred(value=value):
            return holder(value, facts)
        case ir.Name():
            bound = facts.names.reaching(node)
            if len(bound) == 1 and bound[0].how == "iterate" and isinstance(bound[0].value, ir.Name):
                return bound[0].value
            return node
        case ir.Attr(value=ir.Name(id="self")):
            return node
    return None


def cut_of(target: ir.Name | ir.Attr, facts: ModuleFacts) -> Cut | None:
    """Return the one binding that a name or an attribute has, if it takes the value out of the graph."""
    binding = _only(target, facts) if isinstance(target, ir.Name) else _last(target, facts)
    if binding is None or binding.how != "value" or binding.value is None:
        return None
    if function_of(binding.node, facts) is not function_of(target, facts):
        return None
    taken = _taken_out(binding.value, facts)
    if taken is not None:
        return Cut(target, binding, tuple(_parts(taken[0])), taken[1])
    return Cut(target, binding, (), "was made without a graph") if _is_graphless(binding.node, facts) else None


def _only(target: ir.Name, facts: ModuleFacts) -> Binding | None:
    bound = facts.names.reaching(target)
    return bound[0] if len(bound) == 1 else None


def _last(target: ir.Attr, facts: ModuleFacts) -> Binding | None:
    """The binding before a read that always runs before it; None where a method in between may bind it again."""
    home = function_of(target, facts)
    bound = [b for b in facts.names.self_attribute(target) if function_of(b.node, facts) is home]
    before = [b for b in bound if b.node.nid < target.nid]
    if not before or home is None:
        return None
    last = max(before, key=lambda b: b.node.nid)
    if facts.names.parent(last.node) not in facts.names.ancestors(target):
        return None
    calls = (n for n in ir.walk(home) if isinstance(n, ir.Call) and last.node.nid < n.nid < target.nid)
    # The first call in between may be the value that is bound.
    inside = {part.nid for part in ir.walk(last.node)}
    return None if any(_enters_self(call) for call in calls if call.nid not in inside) else last


def _enters_self(call: ir.Call) -> bool:
    """``self.f()`` and ``f(self)``."""
    match call.func:
        case ir.Attr(value=ir.Name(id="self")):
            return True
    return any(isinstance(arg.value, ir.Name) and arg.value.id == "self" for arg in call.args)


def _taken_out(value: ir.Expr, facts: ModuleFacts, depth: int = 0) -> tuple[ir.Expr, str] | None:
    """What a value is cut off from, and how; None where it is still in the graph."""
    if depth > _DEEPEST:
        return None
    match value:
        case ir.Call(func=ir.Attr(attr="detach", value=source)) | ir.Attr(attr="data", value=source):
            return _bare(source), "was detached"
        case ir.Call(func=func, args=[ir.Arg(value=source), *_]) if facts.qualified(func) in _COPIES:
            return _taken_out(source, facts, depth + 1) or (_bare(source), "was copied")
        case ir.Call(func=ir.Attr(attr=attr, value=inner)) if attr in _KEEPING:
            return _taken_out(inner, facts, depth + 1)
        case ir.Call(func=ir.Name(id="list" | "tuple"), args=[ir.Arg(value=inner)]):
            return _taken_out(inner, facts, depth + 1)
        case ir.Comprehension(
            elements=[each], clause=ir.Clause(target=ir.Name(id=name), iter=iterated, conditions=[], inner=None)
        ):
            taken = _taken_out(each, facts, depth + 1)
            is_each = taken is not None and isinstance(taken[0], ir.Name) and taken[0].id == name
            return (iterated, taken[1]) if taken is not None and is_each else None
        case ir.Call():
            return _returned(value, facts, depth)
    return None


def _returned(call: ir.Call, facts: ModuleFacts, depth: int) -> tuple[ir.Expr, str] | None:
    """``h`` of ``leaf(h)``, where the function returns its argument cut off."""
    function = facts.names.function_called(call)
    returned = facts.names.returned(function) if function is not None else []
    if function is None or len(returned) != 1:
        return None
    taken = _taken_out(_bound(returned[0], facts), facts, depth + 1)
    source = taken[0] if taken is not None else None
    param = next((p for p in function.params if isinstance(source, ir.Name) and p.name == source.id), None)
    given = argument(call, function, param) if param is not None else None
    return (_bare(given), taken[1]) if given is not None and taken is not None else None


def _bound(node: ir.Expr, facts: ModuleFacts) -> ir.Expr:
    if isinstance(node, ir.Name):
        bound = facts.names.reaching(node)
        if len(bound) == 1 and bound[0].how == "value" and bound[0].value is not None:
            return bound[0].value
    return node


def _bare(source: ir.Expr) -> ir.Expr:
    while isinstance(source, ir.Call) and isinstance(source.func, ir.Attr) and source.func.attr in _KEEPING:
        source = source.func.value
    return source


def _parts(source: ir.Expr) -> Iterator[ir.Expr]:
    match source:
        case ir.Sequence(items=items):
            yield from items
        case ir.Call(func=ir.Name(id="list" | "tuple"), args=[ir.Arg(value=inner)]):
            yield from _parts(inner)
        case _:
            yield source


def _is_graphless(node: ir.Node, facts: ModuleFacts) -> bool:
    for above in facts.names.ancestors(node):
        if isinstance(above, ir.FunctionDef):
            break
        for item in above.items if isinstance(above, ir.With) else ():
            opened = item.context.func if isinstance(item.context, ir.Call) else item.context
            last = ir.last_name(opened)
            if last in _GRAPHLESS_NAMES and facts.qualified(opened) in _GRAPHLESS:
                return True
    return False
