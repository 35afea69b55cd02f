"""Tests for zero in any spelling: ``x == 0``, ``x.eq(0)``, ``not x``, ``if x:``, ``case 0:``, ``abs(x) < 1e-9``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["ZeroTest", "bare", "is_zero", "zero_tests"]

_EQUAL = frozenset({"eq", "ne", "equal", "not_equal"})
_CLOSE = frozenset({"isclose", "allclose"})
_LIBRARIES = ("torch.", "numpy.", "jax.numpy.", "math.")
_SHAPING = frozenset("item cpu to view reshape detach flatten contiguous numpy clone abs float double int".split())
# Below this a comparison asks for zero.
_TINY = 1e-4


@dataclass(frozen=True, slots=True)
class ZeroTest:
    """``tested`` is asked at ``node`` whether it is zero; ``how`` is equal, truth, or close (within a tolerance)."""

    node: ir.Node
    tested: ir.Expr
    how: str


def is_zero(node: ir.Expr | None) -> bool:
    return isinstance(node, ir.Const) and not isinstance(node.value, bool) and node.value == 0


def zero_tests(facts: ModuleFacts) -> Iterator[ZeroTest]:
    """The tests for zero of a module, in source order."""
    kinds = (ir.Compare, ir.Call, ir.Unary, ir.If, ir.While, ir.Assert, ir.Conditional, ir.Clause, ir.Match)
    for node in facts.nodes_of(*kinds):
        match node:
            case ir.Compare(ops=[op], left=left, comparators=[right]):
                yield from _compared(node, op, left, right)
            case ir.Call():
                yield from _called(node, facts)
            case ir.Unary(op="not", operand=operand):
                yield from (ZeroTest(node, part, "truth") for part in _truths(operand))
            case ir.If(test=test) | ir.While(test=test) | ir.Assert(test=test) | ir.Conditional(test=test):
                yield from (ZeroTest(part, part, "truth") for part in _truths(test))
            case ir.Clause(conditions=conditions):
                yield from (ZeroTest(part, part, "truth") for test in conditions for part in _truths(test))
            case ir.Match(subject=subject, cases=cases):
                yield from (ZeroTest(c.pattern, subject, "equal") for c in cases if _is_zero_pattern(c.pattern))


def _compared(node: ir.Compare, op: str, left: ir.Expr, right: ir.Expr) -> Iterator[ZeroTest]:
    if op in ("==", "!="):
        if is_zero(right):
            yield ZeroTest(node, left, "equal")
        elif is_zero(left):
            yield ZeroTest(node, right, "equal")
    for small, tested in ((right, left), (left, right)):
        asks = op in ("<", "<=", ">", ">=") and isinstance(small, ir.Const) and isinstance(small.value, float)
        if asks and _is_tiny(small) and _is_absolute(tested):
            yield ZeroTest(node, tested, "close")


def _is_tiny(node: ir.Expr) -> bool:
    return isinstance(node, ir.Const) and isinstance(node.value, float) and 0 < node.value <= _TINY


def _is_absolute(node: ir.Expr) -> bool:
    """``abs(x)``, ``torch.abs(x)``, ``x.abs().item()``."""
    return any(ir.last_name(part.func) in ("abs", "fabs") for part in ir.walk(node) if isinstance(part, ir.Call))


def _called(node: ir.Call, facts: ModuleFacts) -> Iterator[ZeroTest]:
    """``torch.eq(x, 0)``, ``x.ne(0)``, ``math.isclose(x, 0)``, ``bool(x)``."""
    values = [arg.value for arg in node.args if arg.keyword is None and not arg.star]
    name = facts.qualified(node.func)
    last = ir.last_name(node.func)
    if isinstance(node.func, ir.Name) and name is None:
        if last == "bool" and len(values) == 1 and not facts.names.bindings(node.func):
            yield from (ZeroTest(node, part, "truth") for part in _truths(values[0]))
        return
    if last not in _EQUAL | _CLOSE or (name is not None and not name.startswith(_LIBRARIES)):
        return
    if name is None and isinstance(node.func, ir.Attr):
        values = [node.func.value, *values]
    if len(values) >= 2:
        how = "equal" if last in _EQUAL else "close"
        for tested, other in ((values[0], values[1]), (values[1], values[0])):
            if is_zero(other):
                yield ZeroTest(node, tested, how)


def _truths(node: ir.Expr) -> Iterator[ir.Expr]:
    """What the truth of an expression asks the truth of; comparisons and ``not`` are tests of their own."""
    match node:
        case ir.Bool(left=left, right=right):
            yield from _truths(left)
            yield from _truths(right)
        case ir.Name() | ir.Call() | ir.Subscript() | ir.Binary():
            yield node


def _is_zero_pattern(pattern: ir.Node) -> bool:
    parts = pattern.parts if isinstance(pattern, ir.Opaque) else [pattern]
    return len(parts) == 1 and isinstance(parts[0], ir.Const) and is_zero(parts[0])


def bare(node: ir.Expr, facts: ModuleFacts) -> ir.Expr:
    """Return ``x`` of ``abs(x)``, ``float(x)``, ``x.item()``, ``torch.abs(x)``: zero exactly where ``x`` is."""
    for _ in range(8):
        match node:
            case ir.Call(func=ir.Name(id="abs" | "float" | "int" | "round"), args=[ir.Arg(value=inner)]):
                node = inner
            case ir.Call(func=func, args=[ir.Arg(value=inner)]) if facts.qualified(func) in (
                *("torch.abs", "numpy.abs", "jax.numpy.abs", "math.fabs"),
            ):
                node = inner
            case ir.Call(func=ir.Attr(attr=attr, value=inner) as func) if attr in _SHAPING:
                if facts.qualified(func) is not None:
                    break
                node = inner
            case _:
                break
    return node
