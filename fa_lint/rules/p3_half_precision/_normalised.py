"""Values that fp16 holds: a gradient divided by its own size, and what only a name calls a gradient."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.degrees import short_name
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.slices import slice_of

__all__ = ["is_drawn", "is_normalised"]

_SIZES = frozenset("max amax norm vector_norm matrix_norm std quantile aminmax nanmax rms".split())
_QUOTIENTS = frozenset("div div_ divide true_divide true_divide_".split())
_PRODUCTS = frozenset("mul mul_ multiply".split())
# Ramps of colours, grids and differences of pixels are called gradients, too.
_DRAWN = frozenset("linspace arange logspace geomspace meshgrid gradient sobel Sobel imread cmap get_cmap".split())
_DEPTH = 6


def is_drawn(operand: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True for what is called a gradient and made as a ramp or a picture."""
    return any(short_name(call.func) in _DRAWN for call in slice_of(operand, facts).calls)


def is_normalised(node: ir.Expr, facts: ModuleFacts, depth: int = 0) -> bool:
    """Return True for a value that was divided by its own largest entry or norm."""
    if depth > _DEPTH:
        return False
    match node:
        case ir.Binary(op="/", left=left, right=right):
            return _is_size_of(right, left, facts) or is_normalised(left, facts, depth + 1)
        case ir.Binary(op="*", left=left, right=right):
            sides = ((left, right), (right, left))
            return any(_is_inverse_size(a, b, facts) or is_normalised(b, facts, depth + 1) for a, b in sides)
        case ir.Call(func=func, args=args):
            given = [arg.value for arg in args if arg.keyword is None]
            if isinstance(func, ir.Attr) and facts.qualified(func) is None:
                given.insert(0, func.value)
            if not given:
                return False
            name = short_name(func)
            if name in _QUOTIENTS and len(given) > 1 and _is_size_of(given[1], given[0], facts):
                return True
            if name in _PRODUCTS and len(given) > 1 and _is_inverse_size(given[1], given[0], facts):
                return True
            return is_normalised(given[0], facts, depth + 1)
        case ir.Name():
            bound = facts.names.reaching(node)
            return bool(bound) and any(
                _is_divided_in_place(b.node, facts)
                or (b.how == "value" and b.value is not None and is_normalised(b.value, facts, depth + 1))
                for b in bound
            )
    return False


def _is_divided_in_place(statement: ir.Node, facts: ModuleFacts) -> bool:
    match statement:
        case ir.AugAssign(op="/", target=target, value=value):
            return _is_size_of(value, target, facts)
        case ir.AugAssign(op="*", target=target, value=value):
            return _is_inverse_size(value, target, facts)
    return False


def _is_inverse_size(node: ir.Expr, value: ir.Expr, facts: ModuleFacts) -> bool:
    """``1 / g.abs().max()``, also through a name."""
    match node:
        case ir.Binary(op="/", right=right):
            return _is_size_of(right, value, facts)
        case ir.Call(func=ir.Attr(attr="reciprocal", value=inner)):
            return _is_size_of(inner, value, facts)
        case ir.Name():
            bound = facts.names.reaching(node)
            if len(bound) == 1 and bound[0].how == "value" and bound[0].value is not None:
                return not isinstance(bound[0].value, ir.Name) and _is_inverse_size(bound[0].value, value, facts)
    return False


def _is_size_of(node: ir.Expr, value: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True for a largest entry or a norm of the value."""
    found = slice_of(node, facts)
    if not any(short_name(call.func) in _SIZES for call in found.calls):
        return False
    root = _root(value)
    return any(isinstance(part, ir.Expr) and (ir.same(part, value) or ir.same(part, root)) for part in found.nodes)


def _root(node: ir.Expr) -> ir.Expr:
    """``p.grad`` of ``p.grad.flatten()``."""
    while isinstance(node, ir.Call) and isinstance(node.func, ir.Attr):
        node = node.func.value
    return node
