"""Checks that keep a small vector from a place: a branch on its norm, an assertion, a helper that refuses it."""

from __future__ import annotations

from collections.abc import Iterable

from fa_lint.analysis import terms as t
from fa_lint.analysis.evaluator import DERIVED, Evaluator
from fa_lint.analysis.frames import Frame
from fa_lint.analysis.values import Values
from fa_lint.semantics import ir

__all__ = ["is_guarded"]

_CHECKS = frozenset({"assert_magnitude", "check_magnitude"})
_STACKS = frozenset({"stack", "vstack", "row_stack"})
_MOST_CALLS = 8


def is_guarded(values: Values, frame: Frame, node: ir.Expr, operands: Iterable[ir.Expr], floor: float = 1e-8) -> bool:
    """Return True if a check of the operands' magnitude dominates a place, or an assertion tests its value.

    A place in a function that is entered by calls is guarded where each of the calls is; where this module does not
    call it, those of other files count.
    """
    sides = tuple(operands)
    if _is_guarded(values.evaluator, frame, node, sides, floor, frozenset(), 0):
        return True
    function = frame.home.node
    if frame.home.calls or frame.module is not values.module or not isinstance(function, ir.FunctionDef):
        return False
    evaluator, frames = values.frames_elsewhere(function, comparing=False)
    return bool(frames) and all(_is_guarded(evaluator, f, node, sides, floor, frozenset(), 0) for f in frames)


def _is_guarded(
    evaluator: Evaluator,
    frame: Frame,
    node: ir.Expr,
    operands: Iterable[ir.Expr],
    floor: float,
    guarded: frozenset[int],
    depth: int,
) -> bool:
    found = _Guards(evaluator, frame, floor)
    guarded = guarded.union(*(found.parts(operand) for operand in operands))
    if found.around(node, guarded):
        return True
    outer = frame.home.outer
    if outer is not None and isinstance(outer.node, ir.FunctionDef):
        # A function in a function is made where the checks before it have passed.
        if _Guards(evaluator, outer, floor).around(frame.home.node, guarded):
            return True
    calls = frame.calls[:_MOST_CALLS] if depth < _MOST_CALLS else []
    for site, caller in calls:
        call = caller.module.facts.node(site.node)
        if not isinstance(call, ir.Call):
            return False
        given = [argument.value for argument in call.args]
        if not _is_guarded(evaluator, caller, call, given, floor, guarded, depth + 1):
            return False
    return bool(calls)


class _Guards:
    def __init__(self, evaluator: Evaluator, frame: Frame, floor: float) -> None:
        self._evaluator = evaluator
        self._frame = frame
        self._facts = frame.module.facts
        self._floor = floor

    def around(self, node: ir.Node, guarded: frozenset[int]) -> bool:
        names = self._facts.names
        around = names.ancestors(node)
        if any(isinstance(n, ir.Assert) or (isinstance(n, ir.Call) and _is_assertion(n)) for n in around):
            return True
        function = names.enclosing_function(node)
        if self._result_is_asserted(node, function or self._facts.module):
            return True
        inner: ir.Node = node
        for outer in around:
            inside = isinstance(outer, ir.If | ir.While) and inner is not outer.test
            inside |= isinstance(outer, ir.Conditional) and inner is not outer.test
            if inside and isinstance(outer, ir.If | ir.While | ir.Conditional) and self._tests(outer.test, guarded):
                return True
            inner = outer
        blocks = {n.nid for n in around}
        for statement in ir.walk(function.body if function else self._facts.module):
            if not isinstance(statement, ir.Stmt) or statement.nid >= node.nid:
                continue
            if names.parent(statement) is not None and names.parent_number(statement) not in blocks:
                continue
            match statement:
                case ir.If(
                    test=test, body=ir.Block(body=[*_, ir.Return() | ir.Raise() | ir.Simple(kind="continue" | "break")])
                ):
                    if self._tests(test, guarded):
                        return True
                case ir.Assert(test=test) if self._tests(test, guarded):
                    return True
                case ir.ExprStmt(value=ir.Call() as check) if self._refuses_small(check):
                    if any(guarded & self.parts(argument.value) for argument in check.args):
                        return True
        return False

    def _refuses_small(self, call: ir.Call) -> bool:
        """Return True for a call of a function that raises where a norm is small."""
        function = self._facts.names.function_called(call)
        if function is None:
            return ir.last_name(call.func) in _CHECKS
        for part in ir.walk(function.body):
            match part:
                case ir.If(test=test, body=ir.Block(body=[*_, ir.Raise()])) | ir.Assert(test=test):
                    if self._limits(test):
                        return True
        return False

    def parts(self, node: ir.Expr, depth: int = 0) -> frozenset[int]:
        """Return the identities of the values that an expression is made of, and of what these were taken from."""
        found: set[int] = set()
        for part in ir.walk(node):
            if isinstance(part, ir.Name | ir.Attr | ir.Subscript) or (part is node and isinstance(part, ir.Call)):
                for term, _ in self._evaluator.of(self._frame, part):
                    for ident in t.identities(term):
                        found |= self._bases(ident)
            for binding in self._facts.names.reaching(part) if isinstance(part, ir.Name) else ():
                # Rows of a stack are no smaller than the vectors that it is made of.
                if (
                    isinstance(binding.value, ir.Call)
                    and ir.last_name(binding.value.func) in _STACKS
                    and depth < _MOST_CALLS
                ):
                    found |= self.parts(binding.value, depth + 1)
        return frozenset(found)

    def _bases(self, ident: int) -> set[int]:
        found = {ident}
        while True:
            key = self._evaluator.identities.key(ident)
            if len(key) < 2 or key[0] not in DERIVED or not isinstance(key[1], int):
                return found
            ident = key[1]
            found.add(ident)

    def _tests(self, test: ir.Expr, guarded: frozenset[int], depth: int = 0) -> bool:
        """Return True for a comparison of a norm, or a largest entry, with a threshold that is not zero.

        It may stand in a helper that gets the vector, or before, under a name.
        """
        for part in ir.walk(test):
            match part:
                case ir.Compare():
                    if any(guarded & self.parts(side) for side in self._limited(part)):
                        return True
                case ir.Name() if depth < _MOST_CALLS:
                    bound = [b.value for b in self._facts.names.reaching(part) if b.how == "value"]
                    tests = [value for value in bound if isinstance(value, ir.Compare | ir.Bool | ir.Unary | ir.Call)]
                    if any(self._tests(value, guarded, depth + 1) for value in tests):
                        return True
                case ir.Call(args=args):
                    function = self._facts.names.function_called(part)
                    values = self._facts.names.returned(function) if function is not None else []
                    if any(map(self._limits, values)) and any(guarded & self.parts(arg.value) for arg in args):
                        return True
        return False

    def _limits(self, test: ir.Expr) -> bool:
        return any(isinstance(part, ir.Compare) and bool(self._limited(part)) for part in ir.walk(test))

    def _limited(self, compare: ir.Compare) -> list[ir.Expr]:
        """Return the sides of a comparison that measure something against a threshold."""
        if not set(compare.ops) & {"<", "<=", ">", ">="}:
            return []
        sides = [compare.left, *compare.comparators]
        limits = [value for side in sides if (value := self._facts.values.number(side)) is not None]
        if limits and max(map(abs, limits)) < self._floor:
            return []
        return [side for side in sides if self._measures(side)]

    def _measures(self, node: ir.Expr) -> bool:
        for part in ir.walk(node):
            if isinstance(part, ir.Call) and _is_measure(ir.last_name(part.func)):
                return True
            for binding in self._facts.names.reaching(part) if isinstance(part, ir.Name) else ():
                below = ir.walk(binding.value) if binding.how == "value" and binding.value is not None else ()
                if any(isinstance(n, ir.Call) and _is_measure(ir.last_name(n.func)) for n in below):
                    return True
        return False

    def _result_is_asserted(self, node: ir.Node, region: ir.Node) -> bool:
        statement = self._facts.names.statement(node)
        if not isinstance(statement, ir.Assign):
            return False
        bound = {target.id for target in statement.targets if isinstance(target, ir.Name)}
        for part in ir.walk(region):
            asserts = isinstance(part, ir.Assert) or (isinstance(part, ir.Call) and _is_assertion(part))
            if part.nid > node.nid and asserts:
                if any(isinstance(n, ir.Name) and n.id in bound for n in ir.walk(part)):
                    return True
        return False


def _is_assertion(call: ir.Call) -> bool:
    return ir.last_name(call.func).lower().startswith("assert")


def _is_measure(name: str) -> bool:
    return "norm" in name.lower() or name in ("abs", "max", "amax", "sqrt", "magnitude")
