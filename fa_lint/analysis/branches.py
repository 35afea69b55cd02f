"""Branches that a call decides: where a parameter is bound to a constant, the other arm of its test does not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fa_lint.analysis import terms as t
from fa_lint.analysis.flow import Flow
from fa_lint.semantics import ir

__all__ = ["decided", "idle_blocks"]


class _Undecided(Exception):
    """A test depends on more than constants."""


def idle_blocks(flow: Flow, parameters: Mapping[str, t.Alternatives]) -> frozenset[int]:
    """Return the blocks that do not run where a function's parameters have these values."""
    idle: set[tuple[int, int]] = set()
    for number, test in flow.tests.items():
        found = decided(flow, parameters, test)
        if found is not None:
            idle.add((number, 1 if found else 0))
    if not idle:
        return frozenset()
    blocks: set[int] = set()
    for block in flow.blocks:
        # What goes round a loop has come in at its head.
        incoming = block.before[: block.entries] if block.entries >= 0 else block.before
        if incoming and all(before in blocks or arm in idle for before, arm in incoming):
            blocks.add(block.number)
    return frozenset(blocks)


def decided(flow: Flow, parameters: Mapping[str, t.Alternatives], test: ir.Expr) -> bool | None:
    """Return whether a test always or never holds; None where the parameters do not say so."""
    try:
        return bool(_value(flow, parameters, test))
    except (_Undecided, TypeError):
        return None


def _value(flow: Flow, parameters: Mapping[str, t.Alternatives], node: ir.Expr) -> object:
    match node:
        case ir.Const(value=value):
            return value
        case ir.Name(id=name) if name not in flow.names:
            term = t.one(parameters.get(name, ()))
            if isinstance(term, t.Constant):
                return term.value
        case ir.Unary(op="not", operand=operand):
            return not _value(flow, parameters, operand)
        case ir.Sequence(items=items):
            return [_value(flow, parameters, item) for item in items]
        case ir.Compare(ops=[op], left=left, comparators=[right]) if op in _COMPARISONS:
            one, other = _value(flow, parameters, left), _value(flow, parameters, right)
            return _COMPARISONS[op](one, other)
        case ir.Bool(op=op, left=left, right=right):
            first = decided(flow, parameters, left)
            second = decided(flow, parameters, right)
            if (op == "or") in (first, second):
                return op == "or"
            if first is not None and second is not None:
                return second
    raise _Undecided


def _is(one: object, other: object) -> bool:
    if one is not None and other is not None and not isinstance(one, bool):
        raise _Undecided
    return one is other


def _contains(one: object, other: object) -> bool:
    return isinstance(other, list | str) and one in other


_COMPARISONS: dict[str, Callable[[object, object], bool]] = {
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "is": _is,
    "is not": lambda one, other: not _is(one, other),
    "in": _contains,
    "not in": lambda one, other: not _contains(one, other),
}
