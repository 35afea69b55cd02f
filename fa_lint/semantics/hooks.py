"""Which functions of the module a hook expression stands for, and which of their parameters is which."""

from __future__ import annotations

from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls

__all__ = ["Hook", "hooks", "replaces", "uses"]

_PARTIAL = frozenset({"functools.partial"})


@dataclass(frozen=True, slots=True)
class Hook:
    """A function that runs as a hook; ``params`` are those that the caller of the hook fills, in order."""

    function: ir.FunctionDef | ir.Lambda
    params: tuple[ir.Param, ...]


def hooks(node: ir.Expr, calls: Calls, depth: int = 0) -> list[Hook]:
    """The hooks that an expression can be: a function, a method, a lambda, a ``partial`` or what a factory returns."""
    if depth > 4:
        return []
    found: list[Hook] = []
    facts = calls.facts
    match node:
        case ir.Lambda():
            return [_hook(node, 0)]
        case ir.Name():
            for binding in facts.names.reaching(node):
                if isinstance(binding.node, ir.FunctionDef):
                    found.append(_hook(binding.node, 0))
                elif binding.how == "value" and binding.value is not None:
                    found += hooks(binding.value, calls, depth + 1)
        case ir.Attr(value=ir.Name() as receiver, attr=attr):
            owner = facts.names.class_named(receiver)
            if receiver.id in ("self", "cls"):
                owner = facts.names.enclosing_class(node)
            elif owner is None:
                owner = calls.class_of(receiver)
            method = calls.method(owner, attr) if owner is not None else None
            found += [_hook(method, 0)] if method is not None else []
        case ir.Call(args=args) if facts.qualified(node.func) in _PARTIAL and args:
            bound = {arg.keyword for arg in args[1:] if arg.keyword}
            given = sum(arg.keyword is None for arg in args[1:])
            for hook in hooks(args[0].value, calls, depth + 1):
                left = tuple(p for p in hook.params[given:] if p.name not in bound)
                found.append(Hook(hook.function, left))
        case ir.Call():
            for factory in calls.entered(node):
                for made in facts.names.returned(factory):
                    found += hooks(made, calls, depth + 1)
    return found or _called(node, calls)


def _called(node: ir.Expr, calls: Calls) -> list[Hook]:
    """The ``__call__`` of an object of a class of this module."""
    owner = calls.class_of(node)
    method = calls.method(owner, "__call__") if owner is not None else None
    return [_hook(method, 0)] if method is not None else []


def _hook(function: ir.FunctionDef | ir.Lambda, skipped: int) -> Hook:
    params = [p for p in function.params if p.kind in ("plain", "posonly")]
    if params and params[0].name in ("self", "cls"):
        skipped += 1
    return Hook(function, tuple(params[skipped:]))


def uses(hook: Hook, param: ir.Param, calls: Calls) -> list[ir.Name]:
    """The reads of a parameter of a hook, those of its inner functions included."""
    body = hook.function.body
    return [
        node
        for node in ir.walk(body)
        if isinstance(node, ir.Name)
        and node.id == param.name
        and not isinstance(calls.facts.names.parent(node), ir.Delete)
        and not _is_bound(node, calls)
    ]


def _is_bound(node: ir.Name, calls: Calls) -> bool:
    """True if a name is the target of an assignment."""
    above = calls.facts.names.parent(node)
    return isinstance(above, ir.Assign) and any(target is node for target in above.targets)


def replaces(hook: Hook, calls: Calls) -> ir.Expr | None:
    """What a hook returns in place of the gradient; None where it returns nothing."""
    if isinstance(hook.function, ir.Lambda):
        body = hook.function.body
        return body if isinstance(body, ir.Sequence | ir.Binary | ir.Name) else None
    values = calls.facts.names.returned(hook.function)
    return next((v for v in values if not (isinstance(v, ir.Const) and v.value is None)), None)
