"""A rule that is off by default, as another package would bring it; it raises where it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fa_lint.findings import Finding, Level
from fa_lint.rules.base import SECTIONS, Gate, Invalid, Rule, occurs
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["OptIn"]


class OptIn(Rule):
    code = "FAL999"
    name = "opt-in"
    summary = "a call of `opt_in`"
    level = Level.WARNING
    pitfall = "P1"
    runtime = "fa_lint_runtime.safe_norm"
    gate: ClassVar[tuple[Gate, ...]] = (occurs(b"opt_in"),)
    default = False
    VALID = ("x = 1",)
    INVALID = (Invalid("opt_in()", lines=(1,)),)

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        for call in facts.calls:
            if isinstance(call.func, ir.Name) and call.func.id == "opt_in":
                if call.args:
                    raise ZeroDivisionError("boom")
                yield self.find(facts, call, "calls opt_in")


OptIn.__doc__ = "\n\n".join(f"## {section}\nText." for section in SECTIONS)
