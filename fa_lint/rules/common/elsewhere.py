"""Findings in functions of other files: reported there, and at the calls of this file that bring the values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from fa_lint.analysis import terms as t
from fa_lint.analysis.frames import Frame
from fa_lint.analysis.program import Module
from fa_lint.analysis.values import Values
from fa_lint.findings import IN_HELPER, Finding, Level, Related
from fa_lint.semantics import ir

__all__ = ["at_calls", "related_steps"]


def at_calls(
    finding: Finding, module: Module, reasons: Iterable[tuple[Frame, t.Vector]], values: Values, what: str, advice: str
) -> Iterator[Finding]:
    """Return a finding in another file once for each call of this one that leads there.

    ``reasons`` are the frames in which it holds and the vector that makes it one; ``what`` ends the sentence "passes a
    gradient to …".
    """
    calls: dict[int, tuple[ir.Node, t.Vector]] = {}
    for frame, vector in reasons:
        for node in values.calls_to(frame):
            known = calls.get(node.nid)
            if known is None or vector.computed > known[1].computed:
                calls[node.nid] = node, vector
    row = module.facts.text.count("\n", 0, finding.start) + 1
    for node, vector in calls.values():
        named = "a" if vector.computed else "what is named like a"
        span = values.module.facts.span(node)
        level = Level.ERROR if vector.computed else Level.WARNING
        level = min(level, finding.level, key=lambda value: value.rank) if finding.level is Level.HINT else level
        call = Finding(
            finding.code,
            *span,
            f"passes {named} {vector.role.value} to {what} ({module.path}:{row}); {advice}",
            level,
            finding.computes,
            None,
            (*related_steps(values, vector.evidence), Related(finding.start, finding.end, IN_HELPER, module.path)),
        )
        there = finding.level if vector.computed else min(finding.level, Level.WARNING, key=lambda value: value.rank)
        passed = Related(*span, "a gradient is passed here", values.module.path)
        yield replace(finding, path=module.path, call=call, related=(passed,), level=there)


def related_steps(values: Values, steps: Iterable[t.Step], home: Module | None = None) -> tuple[Related, ...]:
    """Return evidence as related locations of a finding in ``home`` (in this file, if not given), each place once."""
    places: dict[t.Site, str] = {}
    for step in steps:
        places.setdefault(step.site, step.text)
    found = []
    for site, text in places.items():
        module = values.program.modules[site.module]
        path = module.path if module is not (home or values.module) else ""
        found.append(Related(*module.facts.span(module.facts.node(site.node)), text, path))
    return tuple(found)
