"""One file: bytes → gates → facts → findings → suppressions → located diagnostics. Pure, picklable in and out."""

from __future__ import annotations

import ast
import re
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from fa_lint.findings import (
    Applicability,
    Assumption,
    Diagnostic,
    Edit,
    Finding,
    Fix,
    Level,
)
from fa_lint.gate import outline
from fa_lint.places import locate
from fa_lint.rules import ENGINE_CODES, Rule, registry, select
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts, extract
from fa_lint.semantics.roles import RoleNames
from fa_lint.source import ParseFailure, Source, SourceError
from fa_lint.suppressions import Suppression, named_codes, read_suppressions

__all__ = ["FileResult", "Pending", "Rows", "analyse", "facts_of", "logical_rows", "silenced"]

# First and last row of a logical line, in the whole text.
Rows = tuple[int, int]

_T = TypeVar("_T")
# Above this nesting the lossless parser and its position pass need more stack than a thread has by default.
_DEEP = 80
# Far above any human nesting, far below what makes a lossless parse crawl.
_MAX_DEPTH = 1500
_STACK = 512 * 1024 * 1024
# What may stand between the last expression of a compound statement's header and its colon.
_HEADER_END = re.compile(r"(?:[\s)\]},\\]|#[^\r\n]*)*:")


@dataclass(frozen=True, slots=True)
class Pending:
    """A diagnostic that holds only if a caller elsewhere makes one of ``when`` true."""

    diagnostic: Diagnostic
    when: tuple[Assumption, ...]


@dataclass(slots=True)
class FileResult:
    """What one file gave. ``problems`` are internal errors: the tool's fault, never the file's."""

    path: str
    diagnostics: list[Diagnostic] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    parsed: bool = False


def analyse(
    path: str, data: bytes, codes: frozenset[str], declared: RoleNames, elsewhere: Iterable[tuple[str, Rows]] = ()
) -> FileResult:
    """Lint one file's bytes with the given codes. Never raises for what the file holds.

    ``elsewhere`` are the code and rows of findings that only the linker can make here: a suppression of one is used.
    """
    result = FileResult(path)
    try:
        source = Source.read(path, data)
    except SourceError as error:
        if "FAL900" in codes:
            result.diagnostics.append(_unreadable(error))
        return result
    findings, facts, judged = _findings(source, codes, declared, result)
    suppressions = read_suppressions(source, bool(findings))
    for finding in findings:
        rows = logical_rows(finding, source, facts)
        if silenced(finding.code, rows, suppressions):
            continue
        diagnostic = locate(finding, source, facts, rows)
        if finding.when:
            result.pending.append(Pending(diagnostic, finding.when))
        else:
            result.diagnostics.append(diagnostic)
    for code, place in elsewhere:
        silenced(code, place, suppressions)
    # Where a rule could not look, nobody knows what a suppression is good for.
    if "FAL901" in codes and judged:
        for finding in _unused(suppressions, codes, source):
            row = source.row(finding.start)
            result.diagnostics.append(locate(finding, source, facts, (row, row)))
    result.diagnostics.sort(key=lambda d: d.sort_key)
    return result


def facts_of(path: str, data: bytes, declared: RoleNames) -> tuple[Source, ModuleFacts] | None:
    """The facts of one file, or None where it cannot be parsed; for the linker."""
    try:
        source = Source.read(path, data)
    except SourceError:
        return None
    parsed = source.parse()
    facts = _extract(source, parsed, declared) if not isinstance(parsed, ParseFailure) else None
    return (source, facts) if isinstance(facts, ModuleFacts) else None


# -- parsing ------------------------------------------------------------------------------------------------------


def _extract(source: Source, tree: ast.Module | None, declared: RoleNames) -> ModuleFacts | ParseFailure:
    import libcst

    deep = False
    if tree is not None:
        depth, row, levels = source.expression_depth(tree)
        if depth > _MAX_DEPTH:
            reason = f"an expression is nested more than {_MAX_DEPTH} levels deep"
            return ParseFailure(reason, source.offset_of(row, 1))
        deep = levels > _DEEP
    try:
        facts = (
            _on_a_deep_stack(lambda: _resolved(extract(source.text, declared)))
            if deep
            else extract(source.text, declared)
        )
    except libcst.ParserSyntaxError as error:
        return ParseFailure(error.message.split("\n")[0], source.offset_of(error.raw_line, error.raw_column + 1))
    except RecursionError:
        return ParseFailure("nested too deeply to analyse", 0)
    return facts


def _resolved(facts: ModuleFacts) -> ModuleFacts:
    facts.span(facts.module)
    return facts


def _on_a_deep_stack(work: Callable[[], _T]) -> _T:
    """Run ``work`` in a thread with a stack that deep nesting cannot exhaust."""
    outcome: list[_T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # carried over to the caller's thread
            failure.append(error)

    old_stack, old_limit = threading.stack_size(_STACK), sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(max(old_limit, 100_000))
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(old_stack)
        sys.setrecursionlimit(old_limit)
    if failure:
        raise failure[0]
    return outcome[0]


def _findings(
    source: Source, codes: frozenset[str], declared: RoleNames, result: FileResult
) -> tuple[list[Finding], ModuleFacts | None, bool]:
    """The findings, the facts where a rule needed them, and whether every rule saw the whole file."""
    broken: list[ParseFailure] = []
    findings: list[Finding] = []
    data = source.data if source.notebook is None else source.text.encode()
    rules = [rule for rule in select(codes) if rule.may_match(data)]
    tree: ast.Module | None = None
    parsed = source.parse()
    if isinstance(parsed, ParseFailure):
        source, broken = _without_broken_cells(source) if source.notebook is not None else (source, [])
        failures = broken
        facts: ModuleFacts | ParseFailure | None = None
        if not broken:
            # Perhaps only this interpreter's grammar is too old.
            facts = (
                _extract(source, None, declared)
                if not parsed.reason.startswith(("nested", "null", "too many nested"))
                else parsed
            )
            failures = [parsed] if isinstance(facts, ParseFailure) else []
        if failures and "FAL900" in codes:
            findings += [_unparsable(failure, source) for failure in failures]
        if not broken and isinstance(facts, ParseFailure):
            return findings, None, False
        if broken:
            parsed = source.parse()
            if isinstance(parsed, ParseFailure):
                return findings, None, False
            tree = parsed
    else:
        tree = parsed
        facts = None
    if tree is not None:
        shape = outline(tree, data) if rules else None
        rules = [rule for rule in rules if shape is None or rule.may_fire(shape)]
        if rules:
            facts = _extract(source, tree, declared)
            if isinstance(facts, ParseFailure):
                if "FAL900" in codes:
                    findings.append(_unparsable(facts, source))
                return findings, None, False
    if not isinstance(facts, ModuleFacts):
        return findings, None, not broken
    result.parsed = True
    for rule in rules:
        try:
            findings += _checked(rule, facts)
        except Exception as error:  # one broken rule must not cost the user the others
            result.problems.append(f"{source.path}: rule {rule.code} failed: {type(error).__name__}: {error}")
    return findings, facts, not broken and not result.problems


def _checked(rule: Rule, facts: ModuleFacts) -> list[Finding]:
    try:
        return list(rule.check(facts))
    except RecursionError:
        # Hundreds of strings side by side nest in libcst's tree alone.
        return _on_a_deep_stack(lambda: list(rule.check(_resolved(facts))))


def _without_broken_cells(source: Source) -> tuple[Source, list[ParseFailure]]:
    """The notebook with the cells that do not parse blanked, and a failure for each."""
    assert source.notebook is not None
    text = source.text
    failures = []
    for cell in source.notebook.cells:
        code = source.text[cell.start : cell.end]
        failure = Source("cell.py", b"", code).parse()
        if isinstance(failure, ParseFailure):
            failures.append(ParseFailure(failure.reason, cell.start + failure.offset))
            blank = "".join(c if c in "\r\n" else " " for c in code)
            text = text[: cell.start] + blank + text[cell.end :]
    return Source(source.path, source.data, text, source.encoding, source.bom, source.notebook), failures


def _unparsable(failure: ParseFailure, source: Source) -> Finding:
    end = min(failure.offset + 1, len(source.text))
    message = f"not Python: {failure.reason}; the file was not checked"
    if source.notebook is not None:
        message = f"not Python: {failure.reason}; the cell was not checked"
    return Finding("FAL900", failure.offset, max(end, failure.offset), message, Level.ERROR)


def _unreadable(error: SourceError) -> Diagnostic:
    from fa_lint.findings import Place

    place = Place(error.row, 1)
    message = f"cannot be read: {error.reason}; the file was not checked"
    return Diagnostic(
        error.path, None, place, place, "FAL900", ENGINE_CODES["FAL900"], message, Level.ERROR, noqa_row=error.row
    )


# -- suppressions -------------------------------------------------------------------------------------------------


def logical_rows(finding: Finding, source: Source, facts: ModuleFacts | None) -> Rows:
    """First and last row of the logical line a finding stands on."""
    first, last = source.row(finding.start), source.row(max(finding.end - 1, finding.start))
    statement = _statement_at(finding.start, facts) if facts is not None else None
    if facts is None or statement is None:
        return first, last
    begin = facts.span(statement)[0]
    parts = list(ir.children(statement))
    heads = [part for part in parts if not _is_body(part)]
    if len(heads) < len(parts):
        # A parameter's span is its name; its annotation and default are its children.
        ends = (facts.span(node)[1] for part in heads for node in (part, *ir.children(part)))
        end = max(ends, default=begin + 1)
        closing = _HEADER_END.match(source.text, end)
        end = closing.end() if closing is not None else end
    else:
        end = facts.span(statement)[1]
    return min(source.row(begin), first), max(source.row(max(end - 1, begin)), last)


def _is_body(node: ir.Node) -> bool:
    return isinstance(node, ir.Block | ir.Handler | ir.Case | ir.If | ir.FunctionDef | ir.ClassDef)


def _statement_at(offset: int, facts: ModuleFacts) -> ir.Stmt | None:
    found: ir.Stmt | None = None
    for node in facts.nodes():
        if isinstance(node, ir.Stmt):
            start, end = facts.span(node)
            if start <= offset < end:
                found = node
    return found


def silenced(code: str, rows: Rows, suppressions: list[Suppression]) -> bool:
    """Does a suppression cover a finding on these rows? Each that does is marked as used."""
    hit = False
    for suppression in suppressions:
        inside = suppression.whole_file or rows[0] <= suppression.row <= rows[1]
        if inside and suppression.covers(code) and code not in ENGINE_CODES:
            suppression.used.add(code)
            hit = True
    return hit


def _unused(suppressions: list[Suppression], codes: frozenset[str], source: Source) -> list[Finding]:
    found = []
    for item in suppressions:
        if item.codes is None:
            if item.used or not item.ours:
                continue
            idle = set[str]()
        else:
            idle = {c for c in item.codes if c in codes and c not in item.used and c not in ENGINE_CODES}
            # Another tool's codes are its own affair after `noqa`, and a mistake in our own comment.
            known = {*registry(), *ENGINE_CODES}
            idle |= {c for c in item.codes if c not in known and (item.ours or c.startswith("FAL"))}
            if not idle and (item.codes or not item.ours):
                continue
        what = ", ".join(f"`{c}`" for c in sorted(idle)) or "anything"
        fix = _drop_suppression(item, idle, source)
        message = f"unused suppression: nothing here is silenced for {what}"
        found.append(Finding("FAL901", item.start, item.end, message, Level.WARNING, "", fix))
    return found


def _drop_suppression(item: Suppression, idle: set[str], source: Source) -> Fix:
    """Delete the comment, or only its idle codes where others are left. What else the line says stays."""
    kept = [code for code in named_codes(source.text[item.start : item.end]) if code.upper() not in idle]
    if kept:
        head = "# noqa: " if not item.ours else f"# fa-lint: ignore{'-file' if item.whole_file else ''}["
        content = head + ", ".join(kept) + ("]" if item.ours else "")
        return Fix(Applicability.SAFE, "Drop the idle codes", (Edit(item.start, item.end, content),))
    return Fix(Applicability.SAFE, "Delete the suppression", (_deletion(item, source),))


def _deletion(item: Suppression, source: Source) -> Edit:
    row_start = source.starts[item.row - 1]
    row_end = row_start + len(source.line(item.row))
    start, end = item.start, item.end
    rest = source.text[end:row_end]
    other = rest.find("#")
    if item.ours and other >= 0:
        return Edit(start, end + other, "")
    if rest.strip() and not item.ours and other != len(rest) - len(rest.lstrip()):
        # "noqa: FAL101 because": the words are a comment of their own.
        return Edit(start, end + len(rest) - len(rest.lstrip()), "# ")
    while start > row_start and source.text[start - 1] in " \t":
        start -= 1
    if item.ours or not rest.strip():
        end = row_end
    following = source.starts[item.row] if item.row < len(source.starts) else end
    whole_line = start == row_start and end == row_end
    if whole_line and (source.notebook is None or following <= source.cell_at(start).end):
        end = following
    return Edit(start, end, "")
