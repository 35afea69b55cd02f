"""A gradient kept without a copy: ``g = p.grad`` stays the tensor that the next ``backward()`` adds to."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.names import Binding

__all__ = ["kept_gradient"]

_VIEWS = frozenset({"detach", "view", "flatten", "reshape", "squeeze", "contiguous"})


def kept_gradient(left: ir.Expr, right: ir.Expr, at: ir.Node, facts: ModuleFacts) -> tuple[Binding, Binding] | None:
    """The two bindings that hold one ``.grad`` tensor; None where anything may have given the parameter another.

    ``zero_grad()`` and ``p.grad = None`` let the next backward make a new tensor; ``p.grad.zero_()`` and
    ``zero_grad(set_to_none=False)`` write into the one that is there. The retained gradient of
    an intermediate value, and one made with ``create_graph``, is a new tensor each time (torch 2.13, measured).
    """
    one, two = _held(left, facts), _held(right, facts)
    if one is None or two is None or one[0].node is two[0].node:
        return None
    if not ir.same(one[1], two[1]) or "retain_grad" in facts.text:
        return None
    first, last = sorted((one[0], two[0]), key=lambda b: b.node.nid)
    names = facts.names
    if names.parent_number(first.node) != names.parent_number(last.node):
        return None
    if names.enclosing_function(first.node) is not names.enclosing_function(at):
        return None
    owner = {part.id for part in ir.walk(one[1]) if isinstance(part, ir.Name)}
    backward = False
    for node in facts.nodes():
        if not first.node.nid < node.nid < last.node.nid:
            continue
        backward = backward or (isinstance(node, ir.Call) and _attr(node) == "backward")
        if _replaces(node, owner, facts):
            return None
    return (first, last) if backward else None


def _held(node: ir.Expr, facts: ModuleFacts) -> tuple[Binding, ir.Attr] | None:
    """The binding that gives a value, and the ``x.grad`` it holds without a copy."""
    node = _view(node, facts)
    if not isinstance(node, ir.Name):
        return None
    bound = facts.names.reaching(node)
    if len(bound) != 1 or bound[0].how != "value" or bound[0].value is None or bound[0].node.nid > node.nid:
        return None
    value = _view(bound[0].value, facts)
    return (bound[0], value) if isinstance(value, ir.Attr) and value.attr == "grad" else None


def _view(node: ir.Expr, facts: ModuleFacts) -> ir.Expr:
    while True:
        match node:
            case ir.Call(func=ir.Attr(attr=attr, value=value)) if attr in _VIEWS and facts.qualified(node.func) is None:
                node = value
            case ir.Attr(attr="data", value=value):
                node = value
            case _:
                return node


def _attr(call: ir.Call) -> str:
    return call.func.attr if isinstance(call.func, ir.Attr) else ""


def _replaces(node: ir.Node, owner: set[str], facts: ModuleFacts) -> bool:
    """True if a node may give the parameter a new gradient tensor, or rebind the name through which it is reached."""
    match node:
        case ir.Assign(targets=targets):
            for target in targets:
                for part in ir.walk(target):
                    if (isinstance(part, ir.Attr) and part.attr == "grad") or (
                        isinstance(part, ir.Name)
                        and part.id in owner
                        and not isinstance(target, ir.Attr | ir.Subscript)
                    ):
                        return True
        case ir.Call(func=ir.Attr(attr="backward"), args=args):
            return any(arg.keyword == "create_graph" for arg in args)
        case ir.Call(func=ir.Attr(attr="zero_grad"), args=args):
            keep = next((arg.value for arg in args if arg.keyword == "set_to_none"), None)
            return not (isinstance(keep, ir.Const) and keep.value is False)
        case ir.Call(func=ir.Name(id=name) as func):
            if facts.qualified(func) is not None:
                return not (facts.qualified(func) or "").startswith(("torch.", "numpy."))
            called = facts.names.function_called(node)
            if called is not None:
                return any(isinstance(p, ir.Attr) and p.attr in ("zero_grad", "grad") for p in ir.walk(called.body))
            return name in owner and name == "self"
        case ir.Call(func=ir.Attr(value=ir.Name(id="self" | "cls"))):
            called = facts.names.function_called(node)
            return called is None or any(
                isinstance(p, ir.Attr) and p.attr in ("zero_grad", "grad") for p in ir.walk(called.body)
            )
    return False
