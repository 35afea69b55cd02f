"""Whether the code around a place keeps a cosine within bounds: branches, assertions, masks, helpers, factors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import values_of
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls, argument
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.slices import slice_of

__all__ = ["Bounds", "is_shrunk"]

Form = Literal["value", "magnitude", "distance", "falling"]

_DEPTH = 6
_SAME_VALUE = frozenset("item detach cpu numpy float double abs max amax float64 asarray sqrt squeeze".split())
_MAGNITUDES = frozenset("abs fabs absolute".split())
_FILLED = frozenset("ones ones_like zeros zeros_like full full_like tensor sign copysign".split())
_CLOSE = frozenset("isclose allclose".split())
_CLAMPS = frozenset("clamp clip clamp_ clip_ hardtanh".split())
_ORDER = {"gt": ">", "greater": ">", "ge": ">=", "greater_equal": ">=", "lt": "<", "less": "<", "le": "<="}
_ORDER["less_equal"] = "<="
_EXITS = frozenset({"sys.exit", "os._exit"})
_NAN_TESTS = frozenset("isnan isfinite nan_to_num nan_to_num_".split())
_DOMAIN_ERRORS = {"math": {"ValueError", "ArithmeticError", "Exception"}, "numpy": {"FloatingPointError", "Exception"}}


class Bounds:
    """Answers for one module what bounds a cosine from above at a place, or handles the NaN that follows."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._facts = facts
        self._values = values_of(facts)

    def hold(self, place: ir.Node, value: ir.Expr, depth: int = 0) -> bool:
        """Return True where ``value`` cannot be above 1 at a place, as far as the code around it says."""
        if depth > _DEPTH:
            return False
        conditions = self.conditions(place, value)
        return any(self._implies(*condition, value) for condition in conditions) or self._is_made_bounded(value, depth)

    # -- what holds at a place ------------------------------------------------------------------------------------

    def conditions(self, place: ir.Node, value: ir.Expr) -> Iterator[tuple[ir.Expr, bool]]:
        """The tests that are known at a place, with what they came to; a branch that assigns ``value`` has left."""
        if isinstance(place, ir.Call):
            yield from ((a.value, True) for a in place.args if a.keyword == "where")
        inner = place
        for outer in self._facts.names.ancestors(place):
            match outer:
                case ir.If(test=test) | ir.While(test=test) | ir.Conditional(test=test) if inner is not test:
                    yield test, inner is outer.body
                case ir.Bool(left=left, op=op) if inner is not left:
                    yield left, op == "and"
                case ir.Comprehension(clause=clause) if inner is not clause:
                    yield from ((test, True) for test in _filters(clause))
                case ir.Call(args=[ir.Arg(value=test), one, other]) if ir.last_name(outer.func) == "where":
                    if inner is one or inner is other:
                        yield test, inner is one
                case ir.Block(body=body):
                    for statement in body:
                        if statement is inner:
                            break
                        yield from self._passed(statement, value)
                case ir.FunctionDef() | ir.Lambda():
                    return
            inner = outer

    def _passed(self, statement: ir.Stmt, value: ir.Expr) -> Iterator[tuple[ir.Expr, bool]]:
        """The tests that are known behind a statement."""
        match statement:
            case ir.Assert(test=test):
                yield test, True
            case ir.ExprStmt(value=ir.Call(func=func, args=[ir.Arg(value=test), *_])) if "assert" in ir.last_name(func):
                yield test, True
            case ir.With(body=body):
                for inner in body.body:
                    yield from self._passed(inner, value)
            case ir.If(test=test, body=body, orelse=orelse):
                if self._is_left_or_assigned(body, value):
                    yield test, False
                    if isinstance(orelse, ir.If):
                        yield from self._passed(orelse, value)
                if isinstance(orelse, ir.Block) and self._is_left_or_assigned(orelse, value):
                    yield test, True

    def _is_left_or_assigned(self, block: ir.Block, value: ir.Expr) -> bool:
        match block.body:
            case [*_, ir.Return() | ir.Raise() | ir.Simple(kind="continue" | "break")]:
                return True
            case [*_, ir.ExprStmt(value=ir.Call(func=func))] if self._facts.qualified(func) in _EXITS:
                return True
        return any(
            ir.same(target, value)
            for statement in block.body
            if isinstance(statement, ir.Assign)
            for target in statement.targets
        )

    # -- what a test says -----------------------------------------------------------------------------------------

    def _implies(self, test: ir.Expr, truth: bool, value: ir.Expr, depth: int = 0) -> bool:
        """Return True if a test that came to ``truth`` bounds a value from above."""
        if depth > _DEPTH:
            return False
        match test:
            case ir.Unary(op="not" | "~", operand=operand):
                return self._implies(operand, not truth, value, depth + 1)
            case ir.Bool(op=op, left=left, right=right) | ir.Binary(op="&" | "|" as op, left=left, right=right):
                parts = [self._implies(part, truth, value, depth + 1) for part in (left, right)]
                return any(parts) if (op in ("and", "&")) == truth else all(parts)
            case ir.Compare(left=left, ops=ops, comparators=comparators):
                sides = [left, *comparators]
                if len(ops) > 1 and not truth:
                    return False
                return any(self._orders(*pair, truth, value) for pair in zip(sides, ops, sides[1:], strict=False))
            case ir.Name() if (only := self._only_value(test)) is not None:
                return self._implies(only, truth, value, depth + 1)
            case ir.Call():
                return self._call_implies(test, truth, value, depth)
        return False

    def _call_implies(self, call: ir.Call, truth: bool, value: ir.Expr, depth: int) -> bool:
        name, operands = ir.last_name(call.func), self._operands(call)
        if name in ("any", "all") and operands:
            return truth == (name == "all") and self._implies(operands[0], truth, value, depth + 1)
        if name in ("bool", "item", "nonzero", "flatnonzero", "where", "argwhere", "cpu", "squeeze") and operands:
            return self._implies(operands[0], truth, value, depth + 1)
        if name in ("logical_and", "logical_or") and len(operands) == 2:
            parts = [self._implies(part, truth, value, depth + 1) for part in operands]
            return any(parts) if (name == "logical_and") == truth else all(parts)
        if name == "logical_not" and operands:
            return self._implies(operands[0], not truth, value, depth + 1)
        if name in _ORDER and len(operands) == 2:
            return self._orders(operands[0], _ORDER[name], operands[1], truth, value)
        if name in _CLOSE and len(operands) >= 2 and not truth:
            return self._is_close_to_one(operands[0], operands[1], value)
        return False

    def _operands(self, call: ir.Call) -> list[ir.Expr]:
        given = [a.value for a in call.args if a.keyword is None and not a.star]
        if isinstance(call.func, ir.Attr) and self._facts.qualified(call.func) is None:
            return [call.func.value, *given]
        return given

    def _orders(self, left: ir.Expr, op: str, right: ir.Expr, truth: bool, value: ir.Expr) -> bool:
        if op not in ("<", "<=", ">", ">="):
            return False
        low, high = (left, right) if op.startswith("<") == truth else (right, left)
        if self._form(low, value) in ("value", "magnitude"):
            return self._is_limit(high)
        number = self._facts.values.number(low)
        return self._form(high, value) in ("falling", "distance") and (number is None or number >= 0)

    def _is_limit(self, node: ir.Expr) -> bool:
        """Return True for a number, other than 0, that is at most 1, or one that nothing is known of."""
        number = self._facts.values.number(node)
        if number is not None:
            return number <= 1 and number != 0
        return not any(_is_cosine(term) for term, _ in self._values.of(node))

    def _form(self, node: ir.Expr, value: ir.Expr, depth: int = 0) -> Form | None:
        """Return how a side of a comparison is made of the value: itself, its size, ``1 - c``, ``abs(c - 1)``."""
        if depth > _DEPTH:
            return None
        if ir.same(node, value):
            return "value" if self._is_same_variable(node, value) else None
        match node:
            case ir.Binary(op="-", left=left, right=right):
                if self._form(right, value, depth + 1) in ("value", "magnitude"):
                    return "falling"
                return "distance" if self._form(left, value, depth + 1) in ("value", "magnitude") else None
            case ir.Binary(op="**", left=left):
                return "magnitude" if self._form(left, value, depth + 1) in ("value", "magnitude") else None
            case ir.Binary(op="*", left=left, right=right) if ir.same(left, right):
                return "magnitude" if self._form(left, value, depth + 1) in ("value", "magnitude") else None
            case ir.Call() if ir.last_name(node.func) in _SAME_VALUE | _MAGNITUDES and (
                operands := self._operands(node)
            ):
                inner = self._form(operands[0], value, depth + 1)
                sized = inner == "value" and ir.last_name(node.func) in _MAGNITUDES
                return "magnitude" if sized else "distance" if inner == "falling" and _is_size(node) else inner
            case ir.Name() if (only := self._only_value(node)) is not None:
                return self._form(only, value, depth + 1)
        return "value" if self._is_same(node, value) else None

    def _is_same_variable(self, node: ir.Expr, value: ir.Expr) -> bool:
        """Return False for a name that was bound to something else in between."""
        if not isinstance(node, ir.Name) or not isinstance(value, ir.Name):
            return True
        bound = [{b.node.nid for b in self._facts.names.reaching(name)} for name in (node, value)]
        return not all(bound) or bool(bound[0] & bound[1])

    def _is_same(self, node: ir.Expr, value: ir.Expr) -> bool:
        """Return True for a cosine of the same vectors."""
        pairs = [term.dots for term, _ in self._values.of(value) if isinstance(term, t.Monomial) and term.is_cosine]
        found = (term for term, _ in self._values.of(node) if isinstance(term, t.Monomial) and term.is_cosine)
        return any(term.dots in pairs for term in found)

    def _is_close_to_one(self, left: ir.Expr, right: ir.Expr, value: ir.Expr) -> bool:
        """Return True for a comparison of the cosine with 1, or of the vectors that it is taken of."""
        for one, other in ((left, right), (right, left)):
            form = self._form(one, value)
            number = self._facts.values.number(other)
            if form is not None and number != 0 and (number != -1 or form == "magnitude"):
                return True
        parts = slice_of(value, self._facts).nodes
        return all(any(ir.same(side, part) for part in parts) for side in (left, right))

    # -- how a value is made --------------------------------------------------------------------------------------

    def _is_made_bounded(self, value: ir.Expr, depth: int) -> bool:
        match value:
            case ir.Name():
                return self._is_bound_to_bounded(value, depth)
            case ir.Subscript(value=base, index=[index]):
                return self._implies(index, True, base)
            case ir.Conditional(body=one, orelse=other):
                return self._are_bounded([one, other], depth)
            case ir.Call():
                return self._gives_bounded(value, depth)
            case ir.Binary(op="*" | "/"):
                return is_shrunk(value, self._facts)
        return False

    def _are_bounded(self, arms: list[ir.Expr], depth: int) -> bool:
        return bool(arms) and all(self._is_filled(arm) or self.hold(arm, arm, depth + 1) for arm in arms)

    def _is_filled(self, node: ir.Expr) -> bool:
        """Return True for a number, or an array of one."""
        if isinstance(node, ir.Unary):
            return self._is_filled(node.operand)
        if self._facts.values.number(node) is not None:
            return True
        return isinstance(node, ir.Call) and ir.last_name(node.func) in _FILLED

    def _is_bound_to_bounded(self, name: ir.Name, depth: int) -> bool:
        bindings = self._facts.names.reaching(name)
        if len(bindings) == 1 and isinstance(bindings[0].node, ir.Param):
            return self._is_given_bounded(bindings[0].node, depth)
        values = [b.value for b in bindings if b.how == "value" and b.value is not None]
        return len(values) == len(bindings) and self._are_bounded(values, depth)

    def _is_given_bounded(self, param: ir.Param, depth: int) -> bool:
        function = self._facts.names.parent(param)
        if not isinstance(function, ir.FunctionDef):
            return False
        calls = self._facts.derived(Calls).callers(function)
        given = [(call, argument(call, function, param)) for call in calls]
        return bool(given) and all(value is not None and self.hold(call, value, depth + 1) for call, value in given)

    def _gives_bounded(self, call: ir.Call, depth: int) -> bool:
        name, operands = ir.last_name(call.func), self._operands(call)
        is_method = isinstance(call.func, ir.Attr) and self._facts.qualified(call.func) is None
        if name == "where" and len(operands) == 3:
            if is_method:
                return self._implies(operands[1], True, operands[0])
            return self._are_bounded(operands[1:], depth)
        if name in ("masked_fill", "masked_select") and len(operands) >= 2:
            return self._implies(operands[1], name == "masked_select", operands[0])
        if name in _SAME_VALUE and operands:
            return self.hold(call, operands[0], depth + 1)
        entered = self._facts.derived(Calls).entered(call)
        returned = [value for function in entered for value in self._facts.names.returned(function)]
        return self._are_bounded(returned, depth)

    def _only_value(self, name: ir.Name) -> ir.Expr | None:
        bindings = self._facts.names.reaching(name)
        return bindings[0].value if len(bindings) == 1 and bindings[0].how == "value" else None

    # -- what is done about the NaN -------------------------------------------------------------------------------

    def is_handled(self, call: ir.Call, library: str, depth: int = 0) -> bool:
        """Return True where the result is tested for NaN, or the error of a value outside the domain is caught."""
        names = self._facts.names
        inner: ir.Node = call
        for outer in names.ancestors(call):
            match outer:
                case ir.Call() if ir.last_name(outer.func) in _NAN_TESTS:
                    return True
                case ir.Try(body=body, handlers=handlers) if inner is body:
                    if any(_catches(handler, library) for handler in handlers):
                        return True
                case ir.Assign(targets=targets):
                    if any(self._is_tested(target, call) for target in targets):
                        return True
                case ir.Return() if depth < _DEPTH and (function := names.enclosing_function(call)) is not None:
                    callers = self._facts.derived(Calls).callers(function)
                    if callers and all(self.is_handled(caller, "", depth + 1) for caller in callers):
                        return True
                case ir.FunctionDef():
                    return False
            inner = outer
        return False

    def _is_tested(self, target: ir.Expr, call: ir.Call) -> bool:
        """Return True if what an angle is bound to is tested for NaN behind it."""
        for node in ir.walk(self._facts.names.scope_of(call).node):
            if node.nid <= call.nid:
                continue
            match node:
                case ir.Call(func=func) if ir.last_name(func) in _NAN_TESTS:
                    if any(ir.same(operand, target) for operand in self._operands(node)):
                        return True
                case ir.Compare(left=left, ops=["!=" | "=="], comparators=[right]):
                    if ir.same(left, target) and ir.same(right, target):
                        return True
        return False


def is_shrunk(value: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True for a cosine times a number below 1, whatever clamp follows."""
    if any(isinstance(term, t.Aggregate) for term, _ in values_of(facts).of(value)):
        return False  # the half of (trace - 1) / 2 belongs to the cosine
    return abs(_factor(value, facts, 0)) < 1


def _factor(node: ir.Expr, facts: ModuleFacts, depth: int, *, multiplied: bool = False) -> float:
    """Return the number that a value is multiplied with, as far as the expression shows it."""
    number = facts.values.number(node)
    if number is not None:
        return number
    if depth > _DEPTH:
        return 1.0
    match node:
        case ir.Binary(op="*" | "@", left=left, right=right):
            one = _factor(left, facts, depth + 1, multiplied=True)
            return one * _factor(right, facts, depth + 1, multiplied=True)
        case ir.Binary(op="/", left=left, right=right):
            one = _factor(left, facts, depth + 1, multiplied=True)
            return one / (_factor(right, facts, depth + 1, multiplied=True) or 1.0)
        case ir.Binary(op="-" | "+" as op, left=left) if multiplied and facts.values.number(left) == 1:
            return 0.999 if op == "-" else 1.001  # 1 - eps
        case ir.Unary(operand=operand):
            return _factor(operand, facts, depth + 1, multiplied=multiplied)
        case ir.Name():
            bindings = facts.names.reaching(node)
            if len(bindings) == 1 and bindings[0].how == "value" and bindings[0].value is not None:
                return _factor(bindings[0].value, facts, depth + 1, multiplied=multiplied)
        case ir.Call(func=ir.Attr(value=base) as func, args=args) if ir.last_name(func) in _CLAMPS:
            inner = base if facts.qualified(func) is None else args[0].value if args else base
            return _factor(inner, facts, depth + 1)
    return 1.0


def _filters(clause: ir.Clause) -> Iterator[ir.Expr]:
    while True:
        yield from clause.conditions
        if clause.inner is None:
            return
        clause = clause.inner


def _catches(handler: ir.Handler, library: str) -> bool:
    errors = _DOMAIN_ERRORS.get(library.partition(".")[0], set())
    if handler.type is None:
        return bool(errors)
    return any(isinstance(part, ir.Name) and part.id in errors for part in ir.walk(handler.type))


def _is_cosine(term: t.Term) -> bool:
    return isinstance(term, t.Aggregate | t.Angle) or (isinstance(term, t.Monomial) and term.is_cosine)


def _is_size(node: ir.Expr) -> bool:
    return isinstance(node, ir.Call) and ir.last_name(node.func) in _MAGNITUDES
