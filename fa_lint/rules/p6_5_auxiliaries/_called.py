"""The dotted names that a call of something imported can have."""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["called_names", "starred"]


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
