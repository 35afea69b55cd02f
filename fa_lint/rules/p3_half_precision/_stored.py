"""fp16 away from the cast: arrays of fp16 that a value is stored into, and functions mapped over a tree of values."""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.rules.p3_half_precision._halves import half_operand, is_half
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.degrees import short_name
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["half_stores", "mapped_over"]

_MAKERS = frozenset("zeros empty ones full zeros_like empty_like memmap open_memmap".split())
_METHODS = frozenset({"new_zeros", "new_empty", "new_full", "new_ones"})
_MAPS = frozenset({"jax.tree_util.tree_map", "jax.tree.map", "jax.tree_map", "torch.utils._pytree.tree_map"})


def half_stores(calls: Calls) -> Iterator[tuple[ir.Node, ir.Expr]]:
    """Yield each ``rows[i] = g`` and ``rows[i].copy_(g)`` where the array was made as fp16, and what is written."""
    for node in calls.facts.nodes_of(ir.Assign, ir.Call):
        match node:
            case ir.Assign(targets=[ir.Subscript() as target], value=value):
                pass
            case ir.Call(func=ir.Attr(attr="copy_", value=target), args=[ir.Arg(value=value), *_]):
                pass
            case _:
                continue
        if _is_half_array(_whole(target), calls):
            yield node, value


def _whole(node: ir.Expr) -> ir.Expr:
    """``rows`` of ``rows[i].data``."""
    while isinstance(node, ir.Subscript) or (isinstance(node, ir.Attr) and node.attr == "data"):
        node = node.value
    return node


def _is_half_array(node: ir.Expr, calls: Calls) -> bool:
    names = calls.facts.names
    bound = names.reaching(node) if isinstance(node, ir.Name) else []
    if isinstance(node, ir.Attr):
        bound = names.self_attribute(node)
    made = [b for b in bound if b.how != "item"]
    return bool(made) and all(b.how == "value" and _makes_half(b.value, calls) for b in made)


def _makes_half(node: ir.Expr | None, calls: Calls) -> bool:
    if not isinstance(node, ir.Call):
        return False
    if half_operand(node, calls) is not None:
        return isinstance(node.func, ir.Attr) and _makes(node.func.value, calls)
    return _makes(node, calls) and any(is_half(arg.value, calls) for arg in node.args)


def _makes(node: ir.Expr, calls: Calls) -> bool:
    """Return True for a new array, as ``torch.zeros(…)`` makes one."""
    if not isinstance(node, ir.Call):
        return False
    name = calls.facts.qualified(node.func)
    if name is None:
        return isinstance(node.func, ir.Attr) and node.func.attr in _METHODS
    return name.startswith(("torch.", "numpy.")) and short_name(node.func) in _MAKERS


def mapped_over(operand: ir.Expr, facts: ModuleFacts) -> ir.Expr:
    """Return the tree that a function is mapped over, where the operand is the argument of that function."""
    bound = facts.names.reaching(operand) if isinstance(operand, ir.Name) else []
    param = bound[0].node if len(bound) == 1 else None
    owner = facts.names.parent(param) if isinstance(param, ir.Param) else None
    if not isinstance(owner, ir.Lambda | ir.FunctionDef):
        return operand
    place = next(i for i, p in enumerate(owner.params) if p is param) + 1
    for call in facts.calls:
        if facts.qualified(call.func) in _MAPS and len(call.args) > place and _is(call.args[0].value, owner, facts):
            tree = call.args[place]
            return operand if tree.star or tree.keyword is not None else tree.value
    return operand


def _is(node: ir.Expr, function: ir.Lambda | ir.FunctionDef, facts: ModuleFacts) -> bool:
    if isinstance(node, ir.Name):
        return any(binding.node is function for binding in facts.names.bindings(node))
    return node is function
