"""The power of the loss scale in a value: 1 in gradients that carry it, 2 in their squares, 0 in a cosine of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls, argument
from fa_lint.semantics.names import Binding
from fa_lint.semantics.slices import function_of
from fa_lint.semantics.words import EPS_WORDS, words

__all__ = ["Degree", "Degrees", "carries", "operands", "short_name"]

# "any": a literal zero or an empty list, of every degree at once; "unknown": mixed, or not in sight.
Degree = float | Literal["any", "unknown"]

_SCALE_FREE = frozenset(
    "isfinite isnan isinf sign sgn zeros_like randn_like rand_like ones_like empty_like full_like numel size dim len "
    "cosine_similarity normalize argmax argmin argsort all any count_nonzero isinstance id type is_floating_point "
    "get_device ndimension stride randn rand zeros ones range arange".split()
)
_KEEPING = frozenset(
    "detach clone float double cpu to flatten view reshape mean sum contiguous cuda numpy abs fabs norm vector_norm "
    "matrix_norm _foreach_norm max min amax amin std item tolist stack cat concat concatenate list tuple sorted tensor "
    "as_tensor asarray array squeeze unsqueeze ravel median neg transpose permute expand quantile half bfloat16 "
    "nan_to_num nan_to_num_ get_total_norm parameters_to_vector clamp clamp_ clamp_min clip maximum fsum hypot "
    "reversed zip values items view_as reshape_as type_as retain_grad trace diag next iter set filter".split()
)
_POWERS = {"square": 2.0, "var": 2.0, "sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0}
_PRODUCTS = frozenset("mul multiply mm matmul dot vdot inner mv bmm outer mul_".split())
_QUOTIENTS = frozenset("div true_divide divide div_".split())
_SUMS = frozenset("add sub subtract add_ sub_".split())
_DEPTH = 40


def carries(degree: Degree) -> bool:
    """Return True if a value is known to grow with the scale."""
    return isinstance(degree, float) and degree != 0


def short_name(func: ir.Expr) -> str:
    return ir.last_name(func)


class Degrees:
    """Answers :meth:`of` inside one function, where ``is_source`` accepts the gradients that carry the scale."""

    def __init__(
        self,
        calls: Calls,
        home: ir.FunctionDef | None,
        is_source: Callable[[ir.Expr], bool],
        given: Mapping[int, Degree] | None = None,
        depth: int = 0,
    ) -> None:
        self.home = home
        self._calls = calls
        self._facts = calls.facts
        self._is_source = is_source
        self._given = given or {}
        self._depth = depth
        self._known: dict[int, Degree] = {}

    def of(self, node: ir.Expr) -> Degree:
        if node.nid not in self._known:
            self._known[node.nid] = "any"  # a value that is computed from itself adds nothing of its own
            self._known[node.nid] = self._find(node)
        return self._known[node.nid]

    def entering(self, call: ir.Call, function: ir.FunctionDef) -> Degrees:
        """Return the degrees inside a function that ``call`` enters."""
        given: dict[int, Degree] = {}
        for param in function.params:
            passed = None if param.name in ("self", "cls") else argument(call, function, param)
            if passed is not None:
                given[param.nid] = self.of(passed)
        return Degrees(self._calls, function, self._is_source, given, self._depth + 1)

    def _find(self, node: ir.Expr) -> Degree:
        if self._is_source(node):
            return 1.0
        match node:
            case ir.Const(value=value):
                return "any" if value is None or value == 0 else 0.0
            case ir.Name():
                return self._joined(self._bound(b) for b in self._facts.names.reaching(node))
            case ir.Attr(attr="data" | "T" | "mT" | "values", value=value):
                return self.of(value)
            case ir.Attr():
                found = self._facts.names.self_attribute(node)
                return self._joined(self._bound(b) for b in found if function_of(b.node, self._facts) is self.home)
            case ir.Unary(op=op, operand=operand):
                return 0.0 if op == "not" else self.of(operand)
            case ir.Binary(op=op, left=left, right=right):
                return self._binary(op, left, right)
            case ir.Compare(left=left, comparators=comparators):
                joined = self._joined(map(self.of, (left, *comparators)))
                return joined if joined == "unknown" else 0.0
            case ir.Bool(left=left, right=right) | ir.Conditional(body=left, orelse=right):
                return self._joined(map(self.of, (left, right)))
            case ir.Subscript(value=ir.Call() as value, index=[ir.Const(value=0)]) if _gives_items(value):
                return 0.0
            case ir.Subscript(value=value) | ir.Starred(value=value) | ir.Walrus(value=value):
                return self.of(value)
            case ir.Sequence(items=items) | ir.Keyed(values=items):
                return self._joined(map(self.of, items)) if items else "any"
            case ir.Comprehension(elements=elements):
                return self.of(elements[-1])
            case ir.Call():
                return self._call(node)
        return 0.0

    def _joined(self, degrees: Iterable[Degree]) -> Degree:
        every = list(degrees)
        found = {degree for degree in every if degree != "any"}
        if len(found) > 1:
            return "unknown"
        return found.pop() if found else "any" if every else 0.0

    def _bound(self, binding: Binding) -> Degree:
        if isinstance(binding.node, ir.Param):
            return self._given.get(binding.node.nid, 0.0)
        if binding.value is None:
            return 0.0
        if isinstance(binding.node, ir.AugAssign) and binding.node.op not in ("+", "-"):
            return "any" if not carries(self.of(binding.value)) else "unknown"
        value = binding.value
        if binding.how == "iterate" and isinstance(value, ir.Call) and short_name(value.func) == "enumerate":
            inner = value.args[0].value if value.args else value
            if binding.index == 0 and not (isinstance(inner, ir.Call) and short_name(inner.func) == "zip"):
                return 0.0
            value = inner
        if isinstance(value, ir.Call) and short_name(value.func) == "zip" and binding.index is not None:
            if binding.index < len(value.args):
                return self.of(value.args[binding.index].value)
        return self.of(value)

    def is_floor(self, node: ir.Expr) -> bool:
        """Return True for a number, or for what is called eps: in a sum it stands for nothing."""
        if self._facts.values.number(node) is not None:
            return True
        match node:
            case ir.Name(id=name) | ir.Attr(attr=name) | ir.Subscript(index=[ir.Const(value=str() as name)]):
                return bool(set(words(name)) & EPS_WORDS)
        return False

    def _sum(self, parts: Iterable[ir.Expr]) -> Degree:
        return self._joined(self.of(part) for part in parts if not self.is_floor(part))

    def _binary(self, op: str, left: ir.Expr, right: ir.Expr) -> Degree:
        if op in ("+", "-"):
            return self._sum((left, right))
        if op in ("*", "@", "/", "//"):
            return self._product(left, right, -1 if "/" in op else 1)
        if op == "**":
            return self._power(left, right)
        joined = self._joined(map(self.of, (left, right)))
        return "unknown" if carries(joined) else joined

    def _product(self, left: ir.Expr, right: ir.Expr, sign: int) -> Degree:
        sides = self.of(left), self.of(right)
        if "unknown" in sides:
            return "unknown"
        first, second = (side if isinstance(side, float) else 0.0 for side in sides)
        return first + sign * second

    def _power(self, base: ir.Expr, exponent: ir.Expr | None) -> Degree:
        degree, power = self.of(base), self._facts.values.number(exponent)
        if not isinstance(degree, float) or degree == 0:
            return degree
        return degree * power if power is not None else "unknown"

    def _call(self, node: ir.Call) -> Degree:
        entered = self._calls.entered(node)
        if len(entered) == 1 and self._depth < 3:
            inside = self.entering(node, entered[0])
            return self._joined(inside.of(value) for value in self._facts.names.returned(entered[0]))
        short, parts = short_name(node.func), operands(node, self._calls)
        if short in _SCALE_FREE or not parts or _gives_keys(node, short, parts[0]):
            return 0.0
        if short in _KEEPING:
            return self.of(parts[0])
        if short in _POWERS:
            degree = self.of(parts[0])
            return degree * _POWERS[short] if isinstance(degree, float) else degree
        if short in ("pow", "pow_") and len(parts) > 1:
            return self._power(parts[0], parts[1])
        if short in _PRODUCTS | _QUOTIENTS and len(parts) > 1:
            return self._product(parts[0], parts[1], 1 if short in _PRODUCTS else -1)
        if short in _SUMS:
            return self._sum(parts)
        degrees = [self.of(part) for part in parts]
        return "unknown" if any(d == "unknown" or carries(d) for d in degrees) else 0.0


def operands(call: ir.Call, calls: Calls) -> list[ir.Expr]:
    """Return the receiver of a method, and the positional arguments."""
    given = [arg.value for arg in call.args if arg.keyword is None]
    if isinstance(call.func, ir.Attr) and calls.facts.qualified(call.func) is None:
        return [call.func.value, *given]
    return given


_PICKS = frozenset({"max", "min", "sorted"})


def _gives_keys(call: ir.Call, short: str, first: ir.Expr) -> bool:
    """``max(norms, key=norms.get)``, ``min(norms, key=lambda n: norms[n])``: which one it is, not how large."""
    order = next((arg.value for arg in call.args if arg.keyword == "key"), None)
    if short not in _PICKS or order is None:
        return False
    return any(
        ir.same(part.value, first) for part in ir.walk(order) if isinstance(part, ir.Attr | ir.Subscript)
    ) and isinstance(first, ir.Name | ir.Attr)


def _gives_items(call: ir.Call) -> bool:
    """``max(norms.items(), key=...)``, whose first item is a key."""
    match call:
        case ir.Call(func=ir.Name(id="max" | "min"), args=[ir.Arg(value=ir.Call(func=ir.Attr(attr="items"))), *_]):
            return True
    return False
