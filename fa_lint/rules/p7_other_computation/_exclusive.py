"""Two places of which only one runs: arms of one branch, arms of two tests that never agree, what follows a return."""

from __future__ import annotations

from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["never_both"]


@dataclass(frozen=True, slots=True)
class _Arm:
    """``node`` is the branch, ``part`` what of it runs; ``test`` came to ``holds`` there."""

    node: int
    part: int
    test: ir.Expr | None = None
    holds: bool = True


def never_both(one: ir.Node, other: ir.Node, facts: ModuleFacts) -> bool:
    """Return True if two nodes of one function never run in one call of it."""
    mine, yours = _arms(one, facts), _arms(other, facts)
    return any(_exclude(a, b) for a in mine for b in yours)


def _arms(node: ir.Node, facts: ModuleFacts) -> list[_Arm]:
    found: list[_Arm] = []
    below = node
    for above in facts.names.ancestors(node):
        match above:
            case ir.FunctionDef() | ir.Lambda():
                break
            case ir.If(test=test) | ir.Conditional(test=test) if below is not test:
                found.append(_arm(above.nid, below.nid, test, below is above.body))
            case ir.Match() if isinstance(below, ir.Case):
                found.append(_Arm(above.nid, below.nid))
            case ir.Block(body=body):
                for statement in body:
                    if statement is below:
                        break
                    if isinstance(statement, ir.If) and statement.orelse is None and _leaves(statement.body):
                        found.append(_arm(statement.nid, -1, statement.test, False))
        below = above
    return found


def _arm(node: int, part: int, test: ir.Expr, holds: bool) -> _Arm:
    while isinstance(test, ir.Unary) and test.op == "not":
        test, holds = test.operand, not holds
    return _Arm(node, part, test, holds)


def _leaves(block: ir.Block) -> bool:
    match block.body:
        case [*_, ir.Return() | ir.Raise() | ir.Simple(kind="continue" | "break")]:
            return True
    return False


def _exclude(one: _Arm, other: _Arm) -> bool:
    if one.node == other.node:
        return one.part != other.part
    if one.test is None or other.test is None:
        return False
    if ir.same(one.test, other.test):
        return one.holds != other.holds
    return one.holds and other.holds and _are_different_cases(one.test, other.test)


def _are_different_cases(one: ir.Expr, other: ir.Expr) -> bool:
    """``kind == "a"`` and ``kind == "b"``."""
    match one, other:
        case (
            ir.Compare(left=left, ops=["==" | "is"], comparators=[ir.Const(value=first)]),
            ir.Compare(left=right, ops=["==" | "is"], comparators=[ir.Const(value=second)]),
        ):
            return ir.same(left, right) and first != second
    return False
