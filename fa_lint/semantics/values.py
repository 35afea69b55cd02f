"""Constants: the literal that reaches an expression, through names, defaults, ``self`` attributes and arithmetic."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import cached_property
from typing import Final

from fa_lint.semantics import ir
from fa_lint.semantics.names import Binding, Names

__all__ = ["UNKNOWN", "Values", "is_number"]


class _Unknown:
    """No single literal reaches the expression."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __reduce__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()

_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "**": operator.pow,
}
_NAMED = {
    "math.inf": math.inf,
    "torch.inf": math.inf,
    "numpy.inf": math.inf,
    "jax.numpy.inf": math.inf,
    "math.nan": math.nan,
    "torch.nan": math.nan,
    "numpy.nan": math.nan,
    "sys.float_info.epsilon": 2.220446049250313e-16,
    "sys.float_info.min": 2.2250738585072014e-308,
}
_FINFO = frozenset({"torch.finfo", "numpy.finfo", "jax.numpy.finfo"})
# IEEE 754 constants of the formats; ``finfo(x.dtype)`` is read as fp32, the dtype gradients have by default.
_FORMATS = {
    "float16": {"eps": 2.0**-10, "tiny": 2.0**-14, "smallest_normal": 2.0**-14, "max": 65504.0},
    "bfloat16": {"eps": 2.0**-7, "tiny": 2.0**-126, "smallest_normal": 2.0**-126, "max": 3.39e38},
    "float32": {"eps": 2.0**-23, "tiny": 2.0**-126, "smallest_normal": 2.0**-126, "max": 3.4028235e38},
    "float64": {"eps": 2.0**-52, "tiny": 2.0**-1022, "smallest_normal": 2.0**-1022, "max": 1.7976931348623157e308},
}
_FORMATS["half"], _FORMATS["float"], _FORMATS["double"] = (
    _FORMATS["float16"],
    _FORMATS["float32"],
    _FORMATS["float64"],
)
_DEPTH = 12
_CHANGING = frozenset(
    "append appendleft extend insert pop popleft popitem remove clear sort reverse rotate update setdefault".split()
)
_READING = frozenset("len range enumerate zip print sum min max sorted reversed tuple list dict set iter".split())


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Values:
    """Answers :meth:`constant` for the expressions of one module."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def constant(self, node: ir.Expr | None, depth: int = 0) -> object:
        """The literal an expression always has, or :data:`UNKNOWN`."""
        if node is None or depth > _DEPTH:
            return UNKNOWN
        match node:
            case ir.Const(value=value):
                return value
            case ir.Unary(op="-" | "+" as op, operand=operand):
                value = self.constant(operand, depth + 1)
                return (-value if op == "-" else value) if isinstance(value, int | float) else UNKNOWN
            case ir.Unary(op="not", operand=operand):
                value = self.constant(operand, depth + 1)
                return UNKNOWN if value is UNKNOWN else not value
            case ir.Binary(op=op, left=left, right=right) if op in _ARITHMETIC:
                return self._arithmetic(op, self.constant(left, depth + 1), self.constant(right, depth + 1))
            case ir.Name():
                return self._common(self._names.reaching(node), depth) if self._names.bindings(node) else UNKNOWN
            case ir.Attr():
                return self._attribute(node, depth)
            case ir.Call(func=ir.Name(id="float" | "int" as name), args=[ir.Arg(value=inner, keyword=None)]):
                return _converted(name, self.constant(inner, depth + 1))
            case ir.Subscript(value=value, index=[index]):
                return self._item(value, self.constant(index, depth + 1), depth)
        return UNKNOWN

    def number(self, node: ir.Expr | None) -> float | None:
        """The number an expression always has, or None; infinite where an integer is beyond every float."""
        value = self.constant(node)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf

    def _arithmetic(self, op: str, left: object, right: object) -> object:
        if not (is_number(left) and is_number(right)):
            return UNKNOWN
        assert isinstance(left, int | float)
        assert isinstance(right, int | float)
        if op == "**" and (abs(right) > 1000 or abs(left) > 1e6):
            return UNKNOWN
        try:
            value = _ARITHMETIC[op](left, right)
        except (ArithmeticError, ValueError):
            return UNKNOWN
        return value if isinstance(value, int | float) else UNKNOWN

    def _attribute(self, node: ir.Attr, depth: int) -> object:
        made = node.value
        if isinstance(made, ir.Name):
            bound = [b.value for b in self._names.reaching(made)] if node.attr in _FORMATS["float32"] else []
            made = bound[0] if len(bound) == 1 and bound[0] is not None else made
        if isinstance(made, ir.Call) and self._names.qualified(made.func) in _FINFO:
            dtype = made.args[0].value if made.args else None
            name = dtype.attr if isinstance(dtype, ir.Attr) else "float32"
            return _FORMATS.get(name, _FORMATS["float32"]).get(node.attr, UNKNOWN)
        found = self._names.self_attribute(node)
        if found:
            return self._common(found, depth)
        return _NAMED.get(self._names.qualified(node) or "", UNKNOWN)

    def _item(self, node: ir.Expr, key: object, depth: int) -> object:
        """An item of a tuple, list or dictionary that is written out and bound once."""
        if isinstance(node, ir.Name):
            bound = self._names.bindings(node)
            if len(bound) != 1 or bound[0].how != "value" or bound[0].value is None or node.id in self._changed:
                return UNKNOWN
            node = bound[0].value
        match node:
            case ir.Sequence(items=items) if isinstance(key, int) and not any(isinstance(i, ir.Starred) for i in items):
                return self.constant(items[key], depth + 1) if -len(items) <= key < len(items) else UNKNOWN
            case ir.Keyed(keys=keys, values=values) if key is not UNKNOWN:
                found = [
                    value
                    for name, value in zip(keys, values, strict=True)
                    if isinstance(name, ir.Const) and name.value == key
                ]
                return self.constant(found[-1], depth + 1) if found and None not in keys else UNKNOWN
        return UNKNOWN

    @cached_property
    def _changed(self) -> frozenset[str]:
        """The names of containers that may hold other items later: a method changes them, or a function gets them."""
        found: set[str] = set()
        for node in self._names.nodes:
            match node:
                case ir.Call(func=func, args=args):
                    if isinstance(func, ir.Attr) and func.attr in _CHANGING and isinstance(func.value, ir.Name):
                        found.add(func.value.id)
                    if not (isinstance(func, ir.Name) and func.id in _READING):
                        found |= {arg.value.id for arg in args if isinstance(arg.value, ir.Name)}
                case ir.Assign(targets=targets):
                    found |= {
                        x.value.id for x in targets if isinstance(x, ir.Subscript) and isinstance(x.value, ir.Name)
                    }
                case ir.AugAssign(target=target) | ir.Delete(target=target):
                    while isinstance(target, ir.Subscript):
                        target = target.value
                    found |= {target.id} if isinstance(target, ir.Name) else set()
        return frozenset(found)

    def _common(self, bindings: list[Binding], depth: int) -> object:
        value: object = UNKNOWN
        for position, binding in enumerate(bindings):
            if binding.how == "import":
                return _NAMED.get(binding.target or "", UNKNOWN)
            if binding.how not in ("value", "param") or binding.value is None:
                return UNKNOWN
            found = self.constant(binding.value, depth + 1)
            if found is UNKNOWN or (position and found != value):
                return UNKNOWN
            value = found
        return value


def _converted(name: str, value: object) -> object:
    """``float("nan")``, ``int(-1.0)``."""
    try:
        return float(str(value)) if name == "float" else int(float(str(value)))
    except (ValueError, OverflowError):
        return UNKNOWN
