"""What stands around an attempt: the number that a value had before it, and the alignment that a decorator wraps."""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.rules.common.alignments import SHOWN, alignments
from fa_lint.rules.common.fabricated import literal
from fa_lint.semantics import ir
from fa_lint.semantics.calls import argument
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["given_default", "starts_as_number", "wrapped"]


def starts_as_number(attempt: ir.Try, metric: ir.Node, facts: ModuleFacts) -> bool:
    """Return True if a measured value was a number in the block of the attempt, and is read behind it."""
    statement = facts.names.statement(metric)
    match statement:
        case ir.Assign(targets=[ir.Name() as target], value=value):
            pass
        case _:
            return False
    if any(isinstance(part, ir.Name) and part.id == target.id for part in ir.walk(value)):
        return False
    before = [b for b in facts.names.bindings(target) if b.node.nid < attempt.nid]
    if not before or before[-1].how != "value" or literal(before[-1].value) is None:
        return False
    start = facts.names.statement(before[-1].node)
    if start is None or facts.names.parent(start) is not facts.names.parent(attempt):
        return False
    inside = {part.nid for part in ir.walk(attempt)}
    return any(
        isinstance(use, ir.Name) and use.id == target.id and use.nid > attempt.nid and use.nid not in inside
        for use in ir.walk(facts.names.scope_of(attempt).node)
    )


def wrapped(attempt: ir.Try, facts: ModuleFacts) -> Iterator[tuple[ir.Expr, ir.Expr]]:
    """The alignments that are returned by the functions that an attempt in a decorator calls, with the decorator."""
    for call in ir.walk(attempt.body):
        if not isinstance(call, ir.Call) or not isinstance(call.func, ir.Name):
            continue
        params = [b.node for b in facts.names.bindings(call.func) if isinstance(b.node, ir.Param)]
        around = facts.names.parent(params[0]) if len(params) == 1 else None
        if not isinstance(around, ir.FunctionDef) or around is facts.names.enclosing_function(call):
            continue
        for function in facts.names.functions:
            applied = next((d for d in function.decorators if _is_made_by(d, around, facts)), None)
            found = alignments(facts).returned(function) if applied is not None else None
            values = facts.names.returned(function)
            if applied is not None and found is not None and values and found.is_measured and found.strength >= SHOWN:
                yield values[0], applied


def _is_made_by(decorator: ir.Expr, around: ir.FunctionDef, facts: ModuleFacts) -> bool:
    """Return True for a decorator of the module, or one that a call of the function around it makes."""
    match decorator:
        case ir.Name():
            return any(b.node is around for b in facts.names.bindings(decorator))
        case ir.Call():
            made = facts.names.function_called(decorator)
            return made is not None and made is facts.names.enclosing_function(around)
    return False


def given_default(value: ir.Expr | None, applied: ir.Expr, facts: ModuleFacts) -> ir.Expr | None:
    """Return a value, or what the call of a decorator gives for the parameter that it is."""
    bound = facts.names.bindings(value) if isinstance(value, ir.Name) else []
    param = bound[0].node if len(bound) == 1 else None
    function = facts.names.parent(param) if isinstance(param, ir.Param) else None
    if not isinstance(param, ir.Param) or not isinstance(function, ir.FunctionDef):
        return value
    if not isinstance(applied, ir.Call) or facts.names.function_called(applied) is not function:
        return None
    return argument(applied, function, param) or param.default
