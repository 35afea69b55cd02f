"""Which entries of its source a value holds: lengths as numbers with an identity, and lists without what is None."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from fa_lint.analysis import terms as t
from fa_lint.analysis.frames import Frame
from fa_lint.semantics import ir

if TYPE_CHECKING:
    from fa_lint.analysis.evaluator import Evaluator

__all__ = ["Entries"]

_MOST_STEPS = 32


class Entries:
    """Measures and compares what the values of an evaluator hold."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._ev = evaluator

    # -- lengths ----------------------------------------------------------------------------------------------

    def length(self, term: t.Term) -> t.Scalar:
        """Return the length of a value."""
        match term:
            case t.Scalar():
                return term
            case t.Vector(ident=ident) | t.Sequence(ident=ident) | t.Monomial(vectors=(t.Vector(ident=ident),)):
                return t.Scalar(self._ev.identities.of("length", self._ev.members.live(ident)))
        return t.Scalar()

    def combined(self, how: str, terms: Iterable[t.Term]) -> t.Scalar | None:
        """Return the ``least``, the ``greatest`` or the ``difference`` of lengths; None for other values."""
        idents = []
        for term in terms:
            match term:
                case t.Scalar(ident=ident):
                    idents += [ident] if ident else []
                case t.Constant() | t.Unknown():
                    pass
                case _:
                    return None
        if not idents:
            return None
        if how != "difference":
            idents = sorted(set(idents))
        return t.Scalar(self._ev.identities.of(how, *idents))

    def measured(self, length: int) -> Iterator[int]:
        """The identities of the values whose lengths a number is made of."""
        waiting, steps = [length], 0
        while waiting and steps < _MOST_STEPS:
            steps += 1
            match self._ev.identities.key(waiting.pop()):
                case ("length", int() as value):
                    yield value
                case ("least" | "greatest" | "difference", *parts):
                    waiting += [part for part in parts if isinstance(part, int)]

    # -- filters ----------------------------------------------------------------------------------------------

    def tested(self, frame: Frame, clause: ir.Clause | None) -> int:
        """Return the identity of what the conditions of a comprehension test for None, where that is one value."""
        conditions = []
        while clause is not None:
            conditions += clause.conditions
            clause = clause.inner
        return self._tested(frame, conditions)

    def tested_before(self, frame: Frame, node: ir.Node) -> int:
        """The same for a statement that adds to a container: the ``if`` around it, or ``continue`` before it."""
        names = frame.module.facts.names
        conditions: list[ir.Expr] = []
        inner = node
        for outer in names.ancestors(node):
            if isinstance(outer, ir.If) and outer.orelse is None and inner is outer.body:
                conditions.append(outer.test)
            elif isinstance(outer, ir.For | ir.While):
                for statement in outer.body.body:
                    if statement.nid > node.nid:
                        break
                    match statement:
                        case ir.If(test=test, body=ir.Block(body=[*_, ir.Simple(kind="continue")]), orelse=None):
                            conditions.append(ir.Unary(test.nid, "not", test))
                break
            elif isinstance(outer, ir.FunctionDef):
                return 0
            inner = outer
        return self._tested(frame, conditions)

    def _tested(self, frame: Frame, conditions: list[ir.Expr]) -> int:
        found = {ident for test in conditions for ident in self._present(frame, test, True)}
        return found.pop() if len(found) == 1 else 0

    def _present(self, frame: Frame, test: ir.Expr, holds: bool) -> Iterator[int]:
        """What is not None where a test holds (or does not)."""
        match test:
            case ir.Unary(op="not", operand=operand):
                yield from self._present(frame, operand, not holds)
            case ir.Bool(op=op, left=left, right=right) if (op == "and") == holds:
                yield from self._present(frame, left, holds)
                yield from self._present(frame, right, holds)
            case ir.Compare(left=left, ops=["is" | "is not" as op], comparators=[ir.Const(value=None)]):
                if (op == "is not") == holds:
                    for term, _ in self._ev.of(frame, left):
                        whole = self._ev.variables.over_all(term)
                        if isinstance(whole, t.Vector):
                            yield whole.ident
                            return

    def passing(self, test: ir.Expr, values: t.Alternatives) -> int:
        """The same for the function that ``filter`` is given."""
        match test:
            case ir.Lambda(
                params=[ir.Param(name=name)],
                body=ir.Compare(left=ir.Name(id=tested), ops=["is not"], comparators=[ir.Const(value=None)]),
            ) if name == tested:
                for term, _ in values:
                    whole = self._ev.variables.over_all(term)
                    return whole.ident if isinstance(whole, t.Vector) else 0
        return 0

    def marked(self, values: t.Alternatives, filtered: int) -> t.Alternatives:
        """Return values as elements of a filtered list."""
        if not filtered:
            return values
        return tuple((replace(x, filtered=filtered) if isinstance(x, t.Vector) else x, tags) for x, tags in values)
