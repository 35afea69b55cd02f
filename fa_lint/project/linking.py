"""Across files: the rules conclude from the summaries of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fa_lint.analysis.modules import Modules
from fa_lint.analysis.summaries import Noted
from fa_lint.findings import Diagnostic, Rows
from fa_lint.rules import registry
from fa_lint.rules.base import ProjectRule

__all__ = ["Linked", "link"]


@dataclass(slots=True)
class Linked:
    """The confirmed diagnostics, and by path the code and rows of those that a suppression silences."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    silenced: dict[str, list[tuple[str, Rows]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def link(facts: Mapping[str, Sequence[Noted]], modules: Modules) -> Linked:
    """Conclude from what the files state, by rule code."""
    linked = Linked()
    for code, noted in sorted(facts.items()):
        rule = registry().get(code)
        try:
            for place, diagnostic in rule.conclude(noted, modules) if isinstance(rule, ProjectRule) else ():
                if place.silenced:
                    linked.silenced.setdefault(place.path, []).append((code, place.rows))
                else:
                    linked.diagnostics.append(diagnostic)
        except Exception as error:  # one broken rule must not cost the user the others
            linked.problems.append(f"rule {code} failed across files: {type(error).__name__}: {error}")
    return linked
