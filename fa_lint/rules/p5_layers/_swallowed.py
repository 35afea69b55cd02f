"""Handlers around metrics: what is computed in a ``try`` block, and what its handlers make of an error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.analysis.values import values_of
from fa_lint.rules.common.alignments import SHOWN, alignments
from fa_lint.rules.common.fabricated import literal
from fa_lint.rules.common.products import norm_operand
from fa_lint.rules.p5_layers._accounted import is_accounted, is_retried, starts_missing
from fa_lint.rules.p5_layers._around import given_default, starts_as_number, wrapped
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["Swallowed", "swallowed"]

# Errors that are not about the values.
_OTHER_ERRORS = frozenset(
    "ImportError ModuleNotFoundError KeyboardInterrupt StopIteration StopAsyncIteration FileNotFoundError OSError "
    "IOError "
    "EOFError GeneratorExit SystemExit NotImplementedError PermissionError".split()
)
_LOGS = frozenset("print warn warning error exception info debug critical log write echo".split())


@dataclass(frozen=True, slots=True)
class Swallowed:
    """``node`` (a handler, or a ``with suppress``) drops errors of ``metric``, which is ``what``."""

    node: ir.Node
    metric: ir.Node
    what: str
    how: str


def swallowed(facts: ModuleFacts) -> Iterator[Swallowed]:
    """Every dropped error of an alignment or gradient metric, in source order."""
    for node in facts.nodes_of(ir.Try, ir.With):
        match node:
            case ir.Try(body=body, handlers=handlers):
                found = _metric(body, facts)
                if found is None:
                    yield from _swallowed_around(node, facts)
                    continue
                for handler in handlers:
                    how = _how(handler, node, facts) or _how_started(handler, node, found[0], facts)
                    if how:
                        yield Swallowed(handler, *found, how)
            case ir.With(items=[ir.WithItem(context=ir.Call() as call)], body=body):
                if facts.qualified(call.func) == "contextlib.suppress":
                    found = _metric(body, facts)
                    if found is not None and not all(ir.last_name(a.value) in _OTHER_ERRORS for a in call.args):
                        if _is_marked(body, facts):
                            continue
                        yield Swallowed(call, *found, "dropped")


def _swallowed_around(attempt: ir.Try, facts: ModuleFacts) -> Iterator[Swallowed]:
    """The handlers of a decorator that return a number in the place of the alignment that it wraps."""
    for metric, applied in wrapped(attempt, facts):
        for handler in attempt.handlers:
            if _catches_others(handler) or not handler.body.body:
                continue
            last = handler.body.body[-1]
            logs = all(_is_log(statement) for statement in handler.body.body[:-1])
            if logs and isinstance(last, ir.Return) and literal(given_default(last.value, applied, facts)) is not None:
                yield Swallowed(handler, metric, "an alignment", "replaced by a number")
        return


def _how_started(handler: ir.Handler, attempt: ir.Try, metric: ir.Node, facts: ModuleFacts) -> str:
    """``replaced by a number`` where a handler only logs, and the value was a number right before the attempt."""
    if _catches_others(handler) or not all(_is_log(statement) for statement in handler.body.body):
        return ""
    return "replaced by a number" if starts_as_number(attempt, metric, facts) else ""


def _is_log(statement: ir.Stmt) -> bool:
    match statement:
        case ir.ExprStmt(value=ir.Call(func=func)):
            return ir.last_name(func) in _LOGS
    return False


def _catches_others(handler: ir.Handler) -> bool:
    """Return True for a handler of errors that are not about the values."""
    parts = ir.walk(handler.type) if handler.type else ()
    caught = [ir.last_name(part) for part in parts if isinstance(part, ir.Name | ir.Attr)]
    return bool(caught) and all(name in _OTHER_ERRORS for name in caught)


def _metric(body: ir.Block, facts: ModuleFacts) -> tuple[ir.Node, str] | None:
    """The first alignment or gradient norm that a block computes itself."""
    known = alignments(facts)
    function = facts.names.enclosing_function(body)
    for node in ir.walk(body):
        if not isinstance(node, ir.Call | ir.Binary) or facts.names.enclosing_function(node) is not function:
            continue
        if _is_handled_inside(node, body, facts):
            continue
        pair = known.operands(node)
        calls = isinstance(node, ir.Call) and (
            facts.names.function_called(node) is not None or facts.qualified(node.func) is None
        )
        if pair is not None or calls:
            found = known.of(node)
            if found.is_measured and (pair is not None or _computes(node, facts)) and found.strength >= SHOWN:
                return node, "an alignment"
        if not isinstance(node, ir.Call) or ir.last_name(node.func) not in ("norm", "vector_norm"):
            continue
        operand = norm_operand(node, facts)
        if operand is not None:
            vector = values_of(facts).vector(operand)
            if vector.role.is_gradient and vector.computed:
                return node, "a gradient norm"
    return None


def _computes(node: ir.Node, facts: ModuleFacts) -> bool:
    """True for a call of a function of the module, but not of a method that only passes an alignment on."""
    return isinstance(node, ir.Call) and facts.names.function_called(node) is not None


def _is_handled_inside(node: ir.Node, body: ir.Block, facts: ModuleFacts) -> bool:
    for outer in facts.names.ancestors(node):
        if outer is body:
            return False
        if isinstance(outer, ir.Try):
            return True
    return False


def _how(handler: ir.Handler, attempt: ir.Try, facts: ModuleFacts) -> str:
    """``dropped`` or ``replaced by a number``; empty where a handler does its duty."""
    if _catches_others(handler):
        return ""
    logged = made_up = False
    for statement in handler.body.body:
        match statement:
            case ir.Simple(kind="pass" | "continue" | "break"):
                pass
            case ir.ExprStmt(value=ir.Const()):
                pass
            case ir.ExprStmt(value=ir.Call(func=func, args=args)) if ir.last_name(func) in ("append", "add", "insert"):
                if not args or literal(args[-1].value) is None:
                    return ""
                made_up = True
            case ir.ExprStmt(value=ir.Call(func=func)) if ir.last_name(func) in _LOGS:
                logged = True
            case ir.Assign(value=value):
                values = value.items if isinstance(value, ir.Sequence) else [value]
                if not values or any(literal(item) is None for item in values):
                    return ""
                made_up = True
            case ir.Return(value=ir.Expr() as value):
                values = value.items if isinstance(value, ir.Sequence) else [value]
                if not any(literal(item) is not None for item in values):
                    return ""
                made_up = True
            case _:
                return ""
    if made_up:
        return "replaced by a number"
    if logged or is_retried(attempt, attempt.body, facts):
        return ""
    return "" if _is_marked(attempt.body, facts) else "dropped"


def _is_marked(body: ir.Block, facts: ModuleFacts) -> bool:
    return starts_missing(body, facts) or is_accounted(body, facts)
