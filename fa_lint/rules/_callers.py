"""Helpers that are judged by their callers: which parameters a value comes from, and who passes a gradient there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.names import Binding
from fa_lint.semantics.roles import COMPUTED, NOTHING, Role

__all__ = ["called_names", "gradients_passed", "open_parameters", "starred"]

_STEPS = 12


def open_parameters(values: Iterable[ir.Expr], facts: ModuleFacts) -> list[dict[str, Any]]:
    """The parameters of module-level functions that ``values`` are made of, where nothing says what they hold.

    Each as ``{"function", "position", "parameter"}``, for every name the function is reached by.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for value in values:
        if facts.role(value) is not NOTHING and facts.role(value).strength == COMPUTED:
            return []
        binding = _parameter(value, facts)
        function = facts.names.parent(binding.node) if binding is not None else None
        if binding is not None and isinstance(function, ir.FunctionDef) and facts.names.parent(function) is None:
            position = [p.name for p in function.params].index(binding.name)
            for name in (function.name, *_dispatched_by(function)):
                found[name, position] = {"function": name, "position": position, "parameter": binding.name}
    return list(found.values())


def _parameter(value: ir.Expr, facts: ModuleFacts) -> Binding | None:
    """The one parameter that a value is a part or a form of."""
    root = value
    binding: Binding | None = None
    for _ in range(_STEPS):
        match root:
            case ir.Call(func=ir.Attr(value=inner)) | ir.Attr(value=inner) | ir.Subscript(value=inner):
                root = inner
            case ir.Name():
                bindings = facts.names.reaching(root)
                binding = bindings[0] if len(bindings) == 1 else None
                if binding is None or binding.how == "param":
                    return binding
                if binding.how not in ("value", "iterate") or binding.value is None:
                    return None
                root = binding.value
            case ir.Call(func=ir.Name(id="zip"), args=args) if binding is not None and binding.how == "iterate":
                if binding.index is None or binding.index >= len(args):
                    return None
                root = args[binding.index].value
            case _:
                return None
    return None


def _dispatched_by(function: ir.FunctionDef) -> Iterator[str]:
    """The ``functools.singledispatch`` functions that a function is registered with."""
    for decorator in function.decorators:
        target = decorator.func if isinstance(decorator, ir.Call) else decorator
        if isinstance(target, ir.Attr) and target.attr == "register" and isinstance(target.value, ir.Name):
            yield target.value.id


def called_names(call: ir.Call, facts: ModuleFacts) -> Iterator[str]:
    """The dotted names that a call of something imported can have; several where a star import may bring it."""
    name = facts.qualified(call.func)
    if name is not None:
        if "." in name:
            yield name
        return
    match call.func:
        case ir.Name(id=identifier) if not facts.names.bindings(call.func):
            yield from starred(identifier, facts)
        case ir.Attr(value=ir.Name() | ir.Attr() as receiver, attr=method):
            # ``probe.gamma(x)`` of ``probe = Probe()``
            bound = facts.names.reaching(receiver) if isinstance(receiver, ir.Name) else []
            for binding in bound or (facts.names.self_attribute(receiver) if isinstance(receiver, ir.Attr) else []):
                if binding.how == "value" and isinstance(binding.value, ir.Call):
                    owner = facts.qualified(binding.value.func)
                    if owner is not None and "." in owner:
                        yield f"{owner}.{method}"


def starred(identifier: str, facts: ModuleFacts) -> Iterator[str]:
    """The dotted names that an identifier which nothing binds can have through star imports."""
    for module in facts.names.star_modules:
        yield f"{module}{'' if module.endswith('.') else '.'}{identifier}"


def gradients_passed(facts: ModuleFacts, names: Iterable[str]) -> Iterator[tuple[ir.Call, str, list[tuple[Any, Role]]]]:
    """The calls of imported functions of these names with gradients among their arguments.

    Each with the dotted name and the gradients, as (position or keyword, role).
    """
    wanted = set(names)
    for call in facts.calls:
        for name in called_names(call, facts):
            if name.rpartition(".")[2] not in wanted or any(arg.star for arg in call.args):
                continue
            roles = [
                (number if arg.keyword is None else arg.keyword, facts.role(arg.value))
                for number, arg in enumerate(call.args)
            ]
            passed = [(slot, role) for slot, role in roles if role.is_gradient]
            if passed:
                yield call, name, passed
