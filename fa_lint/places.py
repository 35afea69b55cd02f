"""Findings with offsets become diagnostics with places: rows, columns, cells, source lines, and edits with imports."""

from __future__ import annotations

from collections.abc import Callable

from fa_lint.findings import Diagnostic, DiagnosticEdit, DiagnosticFix, Edit, Finding, Fix, Related, RelatedPlace
from fa_lint.fingerprints import without_layout
from fa_lint.rules import ENGINE_CODES, Rule, registry
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.source import Source

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
        statement=without_layout("\n".join(source.line(row) for row in range(rows[0], rows[1] + 1))),
    )


def _related(item: Related, source: Source) -> RelatedPlace:
    cell, start = source.place(item.start)
    return RelatedPlace(source.path, start, source.place(item.end)[1], item.message, cell)


def _scope(offset: int, facts: ModuleFacts) -> str:
    """The functions and classes around an offset, outermost first: ``Probe.gamma``."""
    statement = facts.statement_at(offset)
    around = [statement, *facts.names.ancestors(statement)] if statement is not None else []
    return ".".join(node.name for node in reversed(around) if isinstance(node, ir.FunctionDef | ir.ClassDef))


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
            edit = _import_edit(name, source, facts, fix.edits[0].start)
            if edit is not None:
                edits.append(edit)
    located = []
    for edit in sorted(edits, key=lambda e: (e.start, e.end)):
        cell, start = source.place(edit.start)
        _, end = source.place(edit.end)
        located.append(DiagnosticEdit(start, end, edit.content, cell))
    return DiagnosticFix(fix.applicability, fix.message, tuple(located))


def _newline(source: Source) -> str:
    return "\r\n" if "\r\n" in source.text else "\n"


def _is_docstring(statement: ir.Stmt) -> bool:
    match statement:
        case ir.ExprStmt(value=ir.Const(value=str())):
            return True
    return False


def _is_magic(statement: ir.Stmt) -> bool:
    """What a magic of a notebook is blanked to."""
    match statement:
        case ir.ExprStmt(value=ir.Const(value=0)):
            return True
    return False


def _import_edit(name: str, source: Source, facts: ModuleFacts, use: int) -> Edit | None:
    """Bring a runtime function in: join an existing import of it, else a line after the leading imports.

    Where the use at offset ``use`` shares its row with the last import, the line goes before that row.
    """
    imported = facts.names.module_scope.bindings.get(name, ())
    if any(binding.target == f"fa_lint_runtime.{name}" for binding in imported):
        return None
    if source.blocks:
        block = next(b for b in source.blocks if b.start <= use < b.end)
        return Edit(block.start, block.start, f"{block.indent}from fa_lint_runtime import {name}{_newline(source)}")
    anchor: ir.Stmt | None = None
    body = facts.module.body.body
    for number, statement in enumerate(body):
        if isinstance(statement, ir.ImportFrom) and statement.module == "fa_lint_runtime" and statement.names:
            text = facts.source(statement)
            if not text.endswith(")") and "\n" not in text:
                end = facts.span(statement)[1]
                return Edit(end, end, f", {name}")
        if isinstance(statement, ir.Import | ir.ImportFrom) or (number == 0 and _is_docstring(statement)):
            anchor = statement
        elif source.notebook is None or not _is_magic(statement):
            break
    newline = _newline(source)
    line = f"from fa_lint_runtime import {name}"
    if anchor is None:
        start = facts.span(body[0])[0] if body else 0
        row = source.row(start)
        # A cell magic is the first line of its cell or nothing.
        while source.notebook is not None and source.line(row).startswith("%%") and row < len(source.starts):
            row += 1
        start = source.starts[row - 1]
        return Edit(start, start, line + newline)
    last = facts.span(anchor)[1] - 1
    row = source.row(last)
    if source.row(use) <= row:
        return Edit(source.starts[row - 1], source.starts[row - 1], line + newline)
    if source.notebook is not None and source.starts[row] >= source.cell_at(last).end:
        end = source.cell_at(last).end
        return Edit(end, end, newline + line)
    if row < len(source.starts):
        following = source.starts[row]
        return Edit(following, following, line + newline)
    end = len(source.text)
    return Edit(end, end, newline + line)
