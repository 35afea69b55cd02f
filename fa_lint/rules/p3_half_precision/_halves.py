"""Casts to fp16: their operand, and what becomes of the result."""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.semantics import ir
from fa_lint.semantics.autocast import HALF, dtype_name
from fa_lint.semantics.calls import Calls

__all__ = [
    "SUBNORMAL",
    "half_operand",
    "is_half",
    "is_upcast",
]

# The smallest normal fp16 number: below it there are fewer than 11 bits.
SUBNORMAL = 2.0**-14
_NAMES = frozenset({"float16", "half", "f2", "<f2", "torch.HalfTensor", "torch.cuda.HalfTensor", "float16_t"})
_TYPES = HALF | {"torch.HalfTensor", "torch.cuda.HalfTensor"}
_CASTS = frozenset({"to", "type", "astype", "type_as"})
_MAKERS = frozenset({"torch.tensor", "torch.as_tensor", "numpy.array", "numpy.asarray", "numpy.float16"})
_WIDE = frozenset({"float", "double", "bfloat16"})


def half_operand(call: ir.Call, calls: Calls) -> ir.Expr | None:
    """What a call casts to fp16; None where it does not, or where the dtype is not in sight."""
    facts = calls.facts
    name = facts.qualified(call.func)
    if name is not None:
        if name not in _MAKERS or not call.args:
            return None
        dtype = next((a.value for a in call.args if a.keyword == "dtype"), None)
        return call.args[0].value if name == "numpy.float16" or is_half(dtype, calls) else None
    if not isinstance(call.func, ir.Attr):
        return None
    if call.func.attr == "half" and not call.args:
        return call.func.value
    if call.func.attr in _CASTS and any(is_half(value, calls) for value in _given(call, calls)):
        return call.func.value
    return None


def _given(call: ir.Call, calls: Calls) -> Iterator[ir.Expr]:
    """The arguments of a call, with those of ``**dict(dtype=…)``."""
    for arg in call.args:
        made = list(calls.sources(arg.value)) if arg.star == "**" else []
        match made:
            case [ir.Call(func=ir.Name(id="dict"), args=args)]:
                yield from (inner.value for inner in args if inner.keyword == "dtype")
            case [ir.Keyed(keys=keys, values=values)]:
                pairs = zip(keys, values, strict=True)
                yield from (value for key, value in pairs if isinstance(key, ir.Const) and key.value == "dtype")
            case _:
                yield arg.value


def is_half(node: ir.Expr | None, calls: Calls) -> bool:
    """True if a dtype is fp16 where it is written, or on every way that this module shows to its name."""
    if node is None:
        return False
    if isinstance(node, ir.Const):
        return node.value in _NAMES
    leaves = list(calls.sources(node))
    return bool(leaves) and all(
        leaf.value in _NAMES if isinstance(leaf, ir.Const) else dtype_name(leaf, calls) in _TYPES for leaf in leaves
    )


def is_upcast(call: ir.Call, calls: Calls) -> bool:
    """True if the result is cast up again at once (``x.half().float()``), as where rounding is emulated."""
    method = calls.facts.names.parent(call)
    outer = calls.facts.names.parent(method) if method is not None else None
    if not (isinstance(method, ir.Attr) and isinstance(outer, ir.Call) and outer.func is method):
        return False
    return method.attr in _WIDE or (method.attr in _CASTS and half_operand(outer, calls) is None)
