"""What a rule asks: every term that the functions of a module make, whoever calls them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.analysis import terms as t
from fa_lint.analysis.evaluator import Evaluator, Frame, interesting
from fa_lint.analysis.program import Module, Program
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["Made", "Values", "values_of"]


@dataclass(frozen=True, slots=True)
class Made:
    """``term`` is a value of ``node`` in ``frame``."""

    frame: Frame
    node: ir.Expr | ir.AugAssign
    term: t.Term

    @property
    def module(self) -> Module:
        return self.frame.module


class Values:
    """The values of the expressions of one module, also in the functions that it calls with gradients."""

    def __init__(self, facts: ModuleFacts) -> None:
        self.program = Program(facts.load)
        self.module = self.program.add(facts.path, facts)
        self.evaluator = Evaluator(self.program)
        self._made: list[Made] | None = None
        self._candidates: dict[tuple[int, int], list[ir.Expr | ir.AugAssign]] = {}

    def of(self, node: ir.Expr) -> t.Alternatives:
        """Return the values of an expression of this module, with the arguments of its function unbound."""
        return self.evaluator.of(self._frame(node), node)

    def _frame(self, node: ir.Node) -> Frame:
        names = self.module.facts.names
        scope = names.scope_of(node)
        while isinstance(scope.node, ir.ClassDef | ir.Comprehension) and scope.parent is not None:
            scope = scope.parent
        owner = scope.node
        return self.evaluator.root(
            self.module, owner if isinstance(owner, ir.FunctionDef | ir.Lambda) else self.module.facts.module
        )

    def calls_to(self, frame: Frame) -> list[ir.Node]:
        """Return the calls of this module that lead into a frame of another one."""
        found: dict[int, ir.Node] = {}
        waiting, seen = [frame], {frame.number}
        while waiting:
            for site, caller in waiting.pop().calls:
                if site.module == self.module.number:
                    found[site.node] = self.module.facts.node(site.node)
                elif caller.number not in seen:
                    seen.add(caller.number)
                    waiting.append(caller)
        return [found[number] for number in sorted(found)]

    def made(self) -> list[Made]:
        """Return what quotients, products and calls make, in each function and each way in which it is called."""
        if self._made is None:
            self._made = list(self._all())
        return self._made

    def _all(self) -> Iterator[Made]:
        facts = self.module.facts
        roots = [self.evaluator.root(self.module, facts.module)]
        roots += [self.evaluator.root(self.module, function) for function in facts.names.functions]
        done = set()
        for frame in roots:
            done.add(frame.number)
            yield from self._in(frame)
        # Calls bind arguments, which makes frames; those may call further.
        for frame in self.evaluator.frames:
            if frame.number in done or not any(interesting(values) for values in frame.parameters.values()):
                continue
            if frame.calls:
                done.add(frame.number)
                yield from self._in(frame)

    def _in(self, frame: Frame) -> Iterator[Made]:
        for node in self._candidates_of(frame):
            if isinstance(node, ir.AugAssign):
                values = self.evaluator.augmented(frame, node)
            else:
                values = self.evaluator.of(frame, node)
            for term, _ in values:
                if isinstance(term, t.Monomial | t.Aggregate | t.Angle):
                    yield Made(frame, node, term)

    def _candidates_of(self, frame: Frame) -> list[ir.Expr | ir.AugAssign]:
        key = (frame.module.number, frame.node.nid)
        if key not in self._candidates:
            self._candidates[key] = list(_candidates(frame.node))
        return self._candidates[key]


def _candidates(root: ir.Module | ir.FunctionDef | ir.Lambda) -> Iterator[ir.Expr | ir.AugAssign]:
    """Quotients, products and calls of a function, without those of the functions inside it."""
    stack: list[ir.Node] = [root.body]
    while stack:
        node = stack.pop()
        match node:
            case ir.FunctionDef():
                stack += [*node.decorators]
                continue
            case ir.Lambda():
                continue
            case ir.Call() | ir.Binary(op="/" | "*" | "@") | ir.AugAssign(op="/" | "*"):
                yield node
        stack.extend(ir.children(node))


def values_of(facts: ModuleFacts) -> Values:
    """Return the values of a module, built once for all rules."""
    return facts.derived(Values)
