"""Casts to fp16: their operand, and what becomes of the result."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from fa_lint.astwalk import last_name
from fa_lint.gate import Outline
from fa_lint.rules._taint import Taint
from fa_lint.semantics import ir
from fa_lint.semantics.autocast import HALF
from fa_lint.semantics.calls import Calls

__all__ = ["SUBNORMAL", "half_operand", "is_upcast", "may_cast"]

_T = TypeVar("_T")
# The smallest normal fp16 number: below it there are fewer than 11 bits.
SUBNORMAL = 2.0**-14
_NAMES = frozenset({"float16", "half", "f2", "<f2", "torch.HalfTensor", "torch.cuda.HalfTensor", "float16_t"})
_TYPES = HALF | {"torch.HalfTensor", "torch.cuda.HalfTensor"}
_CASTS = frozenset({"to", "type", "astype", "type_as"})
_MAKERS = frozenset({"torch.tensor", "torch.as_tensor", "numpy.array", "numpy.asarray", "numpy.float16"})
_BINDING = (ast.Assign, ast.AnnAssign, ast.NamedExpr)
_BOUND = frozenset({ast.Name, ast.Attribute, ast.Constant, ast.Tuple})
_WIDE = frozenset({"float", "double", "bfloat16"})


def half_operand(call: ir.Call, calls: Calls) -> ir.Expr | None:
    """What a call casts to fp16; None where it does not, or where the dtype is not in sight."""
    facts = calls.facts
    name = facts.qualified(call.func)
    if name is not None:
        if name not in _MAKERS or not call.args:
            return None
        dtype = next((a.value for a in call.args if a.keyword == "dtype"), None)
        return call.args[0].value if name == "numpy.float16" or _is_half(dtype, calls) else None
    if not isinstance(call.func, ir.Attr):
        return None
    if call.func.attr == "half" and not call.args:
        return call.func.value
    if call.func.attr in _CASTS and any(_is_half(arg.value, calls) for arg in call.args):
        return call.func.value
    return None


def _is_half(node: ir.Expr | None, calls: Calls) -> bool:
    """Is a dtype fp16 where it is written, or where its name is bound?"""
    facts = calls.facts
    if node is None:
        return False
    if isinstance(node, ir.Const):
        return node.value in _NAMES
    if facts.qualified(node) is not None:
        return facts.qualified(node) in _TYPES
    bound = facts.names.reaching(node) if isinstance(node, ir.Name) else []
    if isinstance(node, ir.Attr):
        bound = facts.names.self_attribute(node)
    return bool(bound) and all(
        b.how == "value" and b.value is not None and not isinstance(b.value, ir.Name) and _is_half(b.value, calls)
        for b in bound
    )


def is_upcast(call: ir.Call, calls: Calls) -> bool:
    """Is the result cast up again at once (``x.half().float()``), as where rounding is emulated?"""
    method = calls.facts.names.parent(call)
    outer = calls.facts.names.parent(method) if method is not None else None
    if not (isinstance(method, ir.Attr) and isinstance(outer, ir.Call) and outer.func is method):
        return False
    return method.attr in _WIDE or (method.attr in _CASTS and half_operand(outer, calls) is None)


def may_cast(outline: Outline) -> bool:
    """Is anything that can hold a gradient or feedback cast to what can be fp16?"""
    bindings = [node for node in outline.every(*_BINDING) if node.value.__class__ in _BOUND]
    bindings += [node for node in outline.every(ast.alias) if node.asname]
    dtypes = _names_for({"half", "float16", "HalfTensor"}, bindings, _NAMES)
    makers = _names_for({"tensor", "as_tensor", "array", "asarray"}, bindings)
    if not any(True for _ in _casts(((call, None) for call in outline.every(ast.Call)), dtypes, makers)):
        return False
    taint = outline.derived(Taint)
    return any(taint.reaches(operand, scope) for operand, scope in _casts(taint.calls, dtypes, makers))


def _casts(calls: Iterable[tuple[ast.Call, _T]], dtypes: set[str], makers: set[str]) -> Iterator[tuple[ast.AST, _T]]:
    """The operands of what can be casts, each with what came along."""
    telling = {"half", *_CASTS, *dtypes, *makers}
    for call, along in calls:
        operand = _cast(call, dtypes, makers) if last_name(call.func) in telling else None
        if operand is not None:
            yield operand, along


def _cast(node: ast.Call, dtypes: set[str], makers: set[str]) -> ast.AST | None:
    """The operand of what can be a cast to fp16."""
    match node:
        case ast.Call(func=ast.Attribute(attr="half", value=value), args=[]):
            return value
        case ast.Call(func=ast.Attribute(attr=attr, value=value), args=args, keywords=keywords) if attr in _CASTS:
            if any(_may_be_half(part, dtypes) for part in [*args, *(k.value for k in keywords)]):
                return value
        case ast.Call(func=ast.Attribute(attr="half")):
            return None
        case ast.Call(args=[first, *_], keywords=keywords):
            name = last_name(node.func)
            if name in dtypes or (name in makers and any(_may_be_half(k.value, dtypes) for k in keywords)):
                return first
    return None


def _may_be_half(node: ast.AST, dtypes: set[str]) -> bool:
    if isinstance(node, ast.Constant):
        return node.value in _NAMES
    return last_name(node) in dtypes


def _names_for(own: set[str], bindings: list[Any], spelt: frozenset[str] = frozenset()) -> set[str]:
    """The names that can stand for what is called ``own`` (or written as a string of ``spelt``)."""

    def means(node: ast.AST) -> bool:
        return node.value in spelt if isinstance(node, ast.Constant) else last_name(node) in own

    found = set(own)
    for node in bindings:
        match node:
            case ast.Assign(targets=targets, value=value) if means(value):
                found |= {last_name(part) for target in targets for part in ast.walk(target)}
            case ast.Assign(targets=targets, value=ast.Tuple(elts=parts)) if any(map(means, parts)):
                found |= {last_name(part) for target in targets for part in ast.walk(target)}
            case ast.AnnAssign(target=target, value=ast.expr() as value) if means(value):
                found.add(last_name(target))
            case ast.NamedExpr(target=target, value=value) if means(value):
                found.add(last_name(target))
            case ast.alias(name=name, asname=str() as local) if name.rpartition(".")[2] in own:
                found.add(local)
    return found - {""}
