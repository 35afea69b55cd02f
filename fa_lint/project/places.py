"""Findings with offsets become diagnostics with places: rows, columns, cells, source lines, and edits with imports."""

from __future__ import annotations

from collections.abc import Callable

from fa_lint.findings import Diagnostic, DiagnosticEdit, DiagnosticFix, Finding, Fix, Related, RelatedPlace
from fa_lint.installing import RUNTIME
from fa_lint.project.fingerprints import without_layout
from fa_lint.rules import ENGINE_CODES, Rule, registry
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.source.imports import import_edit
from fa_lint.source.text import Source

__all__ = ["locate"]

_CONTEXT_ROWS = 2


# The text of another file of the run.
Other = Callable[[str], "Source | None"]


def locate(
    finding: Finding, source: Source, facts: ModuleFacts | None, rows: tuple[int, int], other: Other = lambda path: None
) -> Diagnostic:
    """Return a finding as a person and a tool see it: rows, columns, cells, source lines.

    ``rows`` are the first and last of its statement, in the whole text; ``other`` gives the files of related places.
    """
    rules: dict[str, Rule] = dict(registry())
    rule = rules.get(finding.code)
    cell, start = source.place(finding.start)
    _, end = source.place(finding.end)
    first = source.row(finding.start)
    last = source.row(max(finding.end - 1, finding.start))
    return Diagnostic(
        path=source.path,
        cell=cell,
        start=start,
        end=end,
        code=finding.code,
        name=rule.name if rule is not None else ENGINE_CODES[finding.code],
        message=finding.message,
        level=finding.level,
        computes=finding.computes,
        runtime=rule.runtime if rule is not None else "",
        noqa_row=source.place(source.starts[rows[1] - 1])[1].row,
        fix=_located_fix(finding.fix, source, facts) if finding.fix is not None else None,
        related=tuple(
            _related(item, there)
            for item in finding.related
            if (there := source if item.path in ("", source.path) else other(item.path)) is not None
        ),
        frame=_frame(source, first, last),
        scope=_scope(finding.start, facts) if facts is not None else "",
        torch_fix=_located_fix(finding.torch_fix, source, facts) if finding.torch_fix is not None else None,
        statement=without_layout("\n".join(source.line(row) for row in range(rows[0], rows[1] + 1))),
    )


def _related(item: Related, source: Source) -> RelatedPlace:
    cell, start = source.place(item.start)
    return RelatedPlace(source.path, start, source.place(item.end)[1], item.message, cell)


def _scope(offset: int, facts: ModuleFacts) -> str:
    """The functions and classes around an offset, outermost first: ``Probe.gamma``."""
    statement = facts.statement_at(offset)
    around = [statement.name] if isinstance(statement, ir.FunctionDef | ir.ClassDef) else []
    scope = facts.names.scope_of(statement) if statement is not None else None
    while scope is not None:
        around += [scope.node.name] if isinstance(scope.node, ir.FunctionDef | ir.ClassDef) else []
        scope = scope.parent
    return ".".join(reversed(around))


def _frame(source: Source, first: int, last: int) -> tuple[tuple[int, str], ...]:
    low, high = max(first - _CONTEXT_ROWS, 1), min(last + _CONTEXT_ROWS, len(source.starts))
    shift = 0
    if source.notebook is not None:
        cell = source.cell_at(source.starts[first - 1])
        begin, end = source.row(cell.start), source.row(max(cell.end - 1, cell.start))
        low, high, shift = max(low, begin), min(high, end), begin - 1
    rows = [(row - shift, source.line(row)) for row in range(low, high + 1)]
    while rows and not rows[-1][1].strip() and rows[-1][0] > last - shift:
        rows.pop()
    while rows and not rows[0][1].strip() and rows[0][0] < first - shift:
        rows.pop(0)
    return tuple(rows)


def _located_fix(fix: Fix, source: Source, facts: ModuleFacts | None) -> DiagnosticFix:
    edits = list(fix.edits)
    if facts is not None:
        for name in fix.imports:
            bound = facts.names.module_scope.bindings.get(name, ())
            known = any(binding.target == f"{RUNTIME}.{name}" for binding in bound)
            edit = None if known else import_edit(RUNTIME, name, source, fix.edits[0].start)
            if edit is not None:
                edits.append(edit)
    located = []
    for edit in sorted(edits, key=lambda e: (e.start, e.end)):
        cell, start = source.place(edit.start)
        _, end = source.place(edit.end)
        located.append(DiagnosticEdit(start, end, edit.content, cell))
    return DiagnosticFix(fix.applicability, fix.message, tuple(located))
