"""Whether zeros are kept from a root: a branch or an assertion before it, or a change of the values in place."""

from __future__ import annotations

from fa_lint.rules.p2_floors._bounds import Bounds
from fa_lint.rules.p2_floors._differences import Difference
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.slices import slice_of

__all__ = ["is_kept_from_zero"]

_FILLS = frozenset(
    "fill_diagonal_ clamp_ clamp_min_ clip_ masked_fill_ index_fill_ add_ relu_ fill_ copy_ index_put_ masked_scatter_ "
    "maximum_ put_".split()
)
_DEPTH = 6


def is_kept_from_zero(root: ir.Expr, under: ir.Expr, found: list[Difference], facts: ModuleFacts) -> bool:
    """Return True where the code before a root tests what is under it for zero, or overwrites the zeros.

    What is under it are the differences ``found`` and what is computed of them, not the two sides of a difference.
    """
    made = {difference.node.nid for difference in found}
    named = [node for node in slice_of(under, facts).nodes if isinstance(node, ir.Name)]
    values: list[ir.Expr] = [n for n in named if any(part.nid in made for part in slice_of(n, facts).nodes)]
    tests = facts.derived(Bounds).conditions(root, under)
    return any(_keeps(*test, values, facts, 0) for test in tests) or _is_changed(root, values, facts)


def _is_changed(root: ir.Expr, values: list[ir.Expr], facts: ModuleFacts) -> bool:
    """``d2.fill_diagonal_(1.0)``, ``d2[mask] = 1``, ``d2.diagonal().fill_(1)`` before the root."""
    names = [value for value in values if isinstance(value, ir.Name)]
    for node in ir.walk(facts.names.scope_of(root).node):
        if node.nid >= root.nid:
            break
        match node:
            case ir.Call(func=ir.Attr(attr=attr, value=value)) if attr in _FILLS:
                changed: ir.Expr = value
            case ir.Assign(targets=[ir.Subscript(value=value)]):
                changed = value
            case _:
                continue
        base = _base(changed)
        if isinstance(base, ir.Name) and any(_is_same_variable(base, name, facts) for name in names):
            return True
    return False


def _base(node: ir.Expr) -> ir.Expr:
    """``d2`` of ``d2.diagonal()`` and ``d2[mask]``."""
    while True:
        match node:
            case ir.Call(func=ir.Attr(value=value)) | ir.Subscript(value=value):
                node = value
            case _:
                return node


def _is_same_variable(one: ir.Name, other: ir.Name, facts: ModuleFacts) -> bool:
    if one.id != other.id or other.nid < one.nid:
        return False
    bound = [{b.node.nid for b in facts.names.reaching(name) if b.how != "item"} for name in (one, other)]
    return bool(bound[0] & bound[1])


def _keeps(test: ir.Expr, truth: bool, values: list[ir.Expr], facts: ModuleFacts, depth: int) -> bool:
    """Return True if a test that came to ``truth`` says that a value is not zero."""
    if depth > _DEPTH:
        return False
    match test:
        case ir.Unary(op="not" | "~", operand=operand):
            return _keeps(operand, not truth, values, facts, depth + 1)
        case ir.Bool(op=op, left=left, right=right) | ir.Binary(op="&" | "|" as op, left=left, right=right):
            parts = [_keeps(part, truth, values, facts, depth + 1) for part in (left, right)]
            return any(parts) if (op in ("and", "&")) == truth else all(parts)
        case ir.Compare(left=left, ops=[op], comparators=[right]):
            return _compares(left, op, right, truth, values, facts)
        case ir.Name():
            bound = facts.names.reaching(test)
            if len(bound) == 1 and bound[0].how == "value" and bound[0].value is not None:
                return _keeps(bound[0].value, truth, values, facts, depth + 1)
        case ir.Call(func=func, args=args):
            given = [arg.value for arg in args if arg.keyword is None]
            if isinstance(func, ir.Attr) and facts.qualified(func) is None:
                given.insert(0, func.value)
            return bool(given) and _call_keeps(ir.last_name(func), given, truth, values, facts, depth)
    return False


def _call_keeps(
    name: str, given: list[ir.Expr], truth: bool, values: list[ir.Expr], facts: ModuleFacts, depth: int
) -> bool:
    if name in ("any", "all"):
        return truth == (name == "all") and _keeps(given[0], truth, values, facts, depth + 1)
    if name in ("bool", "item"):
        return _keeps(given[0], truth, values, facts, depth + 1)
    if name in ("eq", "ne") and len(given) == 2:
        return _compares(given[0], "==" if name == "eq" else "!=", given[1], truth, values, facts)
    return False


def _compares(left: ir.Expr, op: str, right: ir.Expr, truth: bool, values: list[ir.Expr], facts: ModuleFacts) -> bool:
    """``err == 0`` that is false, ``err > 0`` that is true, ``err < eps`` that is false."""
    for value, limit, way in ((left, right, op), (right, left, _TURNED.get(op, op))):
        if _is_of(value, values, facts) and _is_limit(limit, way, facts):
            return way in (("!=", ">", ">=") if truth else ("==", "<", "<="))
    return False


_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _is_limit(node: ir.Expr, op: str, facts: ModuleFacts) -> bool:
    number = facts.values.number(node)
    if number is None:
        return op not in ("==", "!=")
    if op in ("==", "!="):
        return number == 0
    return number > 0 or (number == 0 and op in (">", "<="))


def _is_of(node: ir.Expr, values: list[ir.Expr], facts: ModuleFacts) -> bool:
    """Return True for one of the values, or what is computed of it alone: ``err.min()``, ``diff.abs()``."""
    if facts.values.number(node) is not None:
        return False
    base = _base(node)
    if isinstance(base, ir.Call) and base.args:
        base = _base(base.args[0].value)
    return isinstance(base, ir.Name) and any(ir.same(base, value) for value in values)
