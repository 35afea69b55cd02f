"""Loss scaling: whether a loss is multiplied up before its gradient is taken, and whether the scaler is enabled."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.autocast import truths
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.memory import Memory
from fa_lint.semantics.slices import function_of, slice_of
from fa_lint.semantics.words import words

__all__ = ["Scaling"]

_SCALERS = ("GradScaler", "ShardedGradScaler")
_SCALE_WORDS = frozenset({"scale", "scaler", "scaling", "scaled", "multiplier"})
# No weight of a loss is as large.
_LARGE = 128
_LINEAR = frozenset("mean sum float squeeze view reshape item to double neg backward contiguous cuda".split())
_PRODUCTS = frozenset({"mul", "mul_", "multiply"})


class Scaling:
    """Answers whether a loss is scaled, and which scalers are dummies."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._calls = facts.derived(Calls)
        self._facts = facts
        self._factors = Memory(False)

    def scale_call(self, node: ir.Call) -> bool:
        """True for the spelling of loss scaling: ``scaler.scale(loss)``, apex ``scale_loss``, and the like."""
        func = node.func
        last = ir.last_name(func)
        if last == "scale":
            return isinstance(func, ir.Attr) and bool(node.args)
        said = set(words(last))
        return last in ("scaler", "scaled") or bool(said & {"loss", "losses"} and said & _SCALE_WORDS)

    def scales(self, node: ir.Call) -> bool:
        """True if a scaling call scales: its receiver is no dummy."""
        return self.scale_call(node) and self.dummy(node) is None

    def dummy(self, node: ir.Call) -> ir.Node | None:
        """The identity ``scale`` (or the disabled scaler) that a scaling call always enters; None if it may scale."""
        if not (isinstance(node.func, ir.Attr) and node.func.attr == "scale"):
            entered = self._calls.entered(node)
            return entered[0] if entered and all(self._is_identity(f) for f in entered) else None
        found: ir.Node | None = None
        for leaf in self._calls.sources(node.func.value):
            idle = self._idle(leaf) if isinstance(leaf, ir.Call) else None
            if idle is None:
                return None
            found = idle
        return found

    def _idle(self, made: ir.Call) -> ir.Node | None:
        name = self._facts.qualified(made.func) or ""
        if name.rpartition(".")[2] in _SCALERS:
            enabled = next((a.value for a in made.args if a.keyword == "enabled"), None)
            return made if enabled is not None and truths(enabled, self._calls) == {False} else None
        owner = self._calls.class_of(made)
        method = self._calls.method(owner, "scale") if owner is not None else None
        return method if method is not None and self._is_identity(method) else None

    def _is_identity(self, function: ir.FunctionDef) -> bool:
        """True if a function returns its argument on every path."""
        given = [p for p in function.params if p.name not in ("self", "cls") and p.kind in ("plain", "posonly")]
        values = self._facts.names.returned(function)
        return bool(given and values) and all(isinstance(v, ir.Name) and v.id == given[0].name for v in values)

    def factor(self, node: ir.Expr) -> bool:
        """True if a loss is a multiple of something by a constant above one, or by what is called a scale."""
        return self._factors.ask(node.nid, lambda: self._find_factor(node))

    def _find_factor(self, node: ir.Expr) -> bool:
        match node:
            case ir.Binary(op="*", left=left, right=right):
                return any(self._is_factor(side) or self.factor(side) for side in (left, right))
            case ir.Binary(op="+" | "-", left=left, right=right):
                terms = [t for t in (left, right) if not isinstance(t, ir.Const)]
                return all(self.factor(term) for term in terms)
            case ir.Binary(op="/", left=left):
                return self.factor(left)
            case ir.Unary(operand=operand):
                return self.factor(operand)
            case ir.Conditional(body=body, orelse=orelse):
                return self.factor(body) or self.factor(orelse)
            case ir.Call(func=ir.Attr(attr=attr, value=value), args=args) if self._facts.qualified(node.func) is None:
                if attr in _PRODUCTS and args and self._is_factor(args[0].value):
                    return True
                return attr in _LINEAR | _PRODUCTS and self.factor(value)
            case ir.Name():
                return any(self._bound_factor(b.node, b.value) for b in self._facts.names.reaching(node))
            case ir.Attr():
                here = function_of(node, self._facts)
                bound = [b for b in self._facts.names.self_attribute(node) if function_of(b.node, self._facts) is here]
                return any(self._bound_factor(b.node, b.value) for b in bound)
        return False

    def _bound_factor(self, statement: ir.Node, value: ir.Expr | None) -> bool:
        if isinstance(statement, ir.AugAssign):
            return statement.op == "*" and self._is_factor(statement.value)
        return isinstance(statement, ir.Assign | ir.AnnAssign) and value is not None and self.factor(value)

    def _is_factor(self, node: ir.Expr) -> bool:
        value = self._facts.values.number(node)
        if value is not None:
            return value > 1
        match node:
            case ir.Name(id=name) | ir.Attr(attr=name) | ir.Call(func=ir.Attr(attr=name) | ir.Name(id=name)):
                return bool(set(words(name)) & _SCALE_WORDS) or self._is_built_large(node)
        return False

    def _is_built_large(self, node: ir.Expr) -> bool:
        """Return True for an attribute that is a large number wherever an object is made in this module."""
        if not isinstance(node, ir.Attr) or not self._facts.names.self_attribute(node):
            return False
        numbers = [self._facts.values.number(leaf) for leaf in self._calls.sources(node)]
        return bool(numbers) and all(number is not None and number >= _LARGE for number in numbers)

    def scaled(self, loss: ir.Expr) -> bool:
        """True if a loss is scaled in its own function."""
        return self.factor(loss) or any(self.scales(call) for call in slice_of(loss, self._facts).calls)
