"""What the arguments of one call make of the autocast in the function that it enters."""

from __future__ import annotations

from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.autocast import HALF, truths
from fa_lint.semantics.calls import Calls, argument
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["Choice"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A call in one module, and the function of another (or the same) that it enters."""

    call: ir.Call
    facts: ModuleFacts
    function: ir.FunctionDef
    inside: ModuleFacts

    def switches_off(self, opening: ir.Node) -> bool:
        """Return True if an autocast of the function is off for these arguments, or on a branch that is not taken."""
        below: ir.Node = opening
        for above in self.inside.names.ancestors(opening):
            if above is self.function:
                return isinstance(opening, ir.Call) and any(self._is_off(arg) for arg in opening.args)
            match above:
                case ir.If(test=test) | ir.Conditional(test=test) if below is not test:
                    if self._truth(test) is (below is not above.body):
                        return True
            below = above
        return False

    def _is_off(self, arg: ir.Arg) -> bool:
        """Return True for ``enabled`` that is False, or a dtype that is not fp16."""
        if arg.keyword in ("enabled", None) and self._truth(arg.value) is False:
            return True
        passed = self._passed(arg.value)
        dtype = self.facts.qualified(passed) if passed is not None else None
        return dtype is not None and dtype.startswith("torch.") and dtype not in HALF

    def _truth(self, test: ir.Expr) -> bool | None:
        """Return what a test comes to with the arguments of the call; None where they do not say."""
        match test:
            case ir.Unary(op="not", operand=operand):
                inner = self._truth(operand)
                return None if inner is None else not inner
            case ir.Bool(op=op, left=left, right=right):
                sides = (self._truth(left), self._truth(right))
                if (op == "or") in sides:
                    return op == "or"
                return None if None in sides else op == "and"
        passed = self._passed(test)
        if passed is None:
            return None
        found = truths(passed, self.facts.derived(Calls))
        return next(iter(found)) if len(found) == 1 else None

    def _passed(self, node: ir.Expr) -> ir.Expr | None:
        """Return what the call gives for a parameter of the function."""
        bound = self.inside.names.reaching(node) if isinstance(node, ir.Name) else []
        param = bound[0].node if len(bound) == 1 else None
        if not isinstance(param, ir.Param) or self.inside.names.parent(param) is not self.function:
            return None
        if any(arg.star for arg in self.call.args):
            return None
        return argument(self.call, self.function, param) or param.default
