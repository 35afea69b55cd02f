"""One file: bytes → gates → facts → findings → suppressions → located diagnostics. Pure, picklable in and out."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from fa_lint.analysis.modules import ClassBases, Imports, classes_of, imports_of
from fa_lint.analysis.project import Project
from fa_lint.analysis.summaries import Fact, Noted
from fa_lint.findings import (
    Diagnostic,
    Finding,
    Level,
    Located,
    Rows,
)
from fa_lint.project.places import locate
from fa_lint.project.unused import unused
from fa_lint.rules import ENGINE_CODES, select
from fa_lint.rules.base import Gate, ProjectRule, Rule
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts, extract
from fa_lint.semantics.roles import RoleNames
from fa_lint.source.parsing import on_any_stack
from fa_lint.source.suppressions import Suppression, read_suppressions
from fa_lint.source.text import ParseFailure, Source, SourceError

__all__ = ["FileResult", "Rows", "analyse"]

# What may stand between the last expression of a compound statement's header and its colon.
_HEADER_END = re.compile(r"(?:[\s)\]},\\]|#[^\r\n]*+)*+:")
# In a pattern of ``fnmatch``: one of several characters, and what stands for itself.
_CHOICE = re.compile(r"\[[^\[\]]*+\]")
_PLAIN = re.compile(r"\w+")
_T = TypeVar("_T")
# The code of a rule, what it states for other files, and where that stands.
_Stated = tuple[str, Fact, Finding | None]


@dataclass(slots=True)
class FileResult:
    """What one file gave: its diagnostics, and its summary: facts by rule code, imports and classes.

    ``problems`` are internal errors: the tool's fault, never the file's.
    """

    path: str
    diagnostics: list[Diagnostic] = field(default_factory=list)
    facts: dict[str, list[Noted]] = field(default_factory=dict)
    imports: Imports = ()
    classes: tuple[ClassBases, ...] = ()
    problems: list[str] = field(default_factory=list)
    parsed: bool = False
    # Findings in functions of other files that this one calls, and the suppressions there that silence some.
    elsewhere: list[Diagnostic] = field(default_factory=list)
    silenced: list[tuple[str, str, Rows]] = field(default_factory=list)
    # Other files that all this rests on, each with a digest of its content.
    depends: tuple[tuple[str, str], ...] = ()


def analyse(
    path: str,
    data: bytes,
    codes: frozenset[str],
    declared: RoleNames,
    elsewhere: Iterable[tuple[str, Rows]] = (),
    project: Project | None = None,
) -> FileResult:
    """Lint one file's bytes with the given codes. Never raises for what the file holds.

    ``elsewhere`` are the code and rows of findings that only other files can make here: a suppression of one is used.
    In a ``project`` values are followed into the files that this one imports.
    """
    result = FileResult(path)
    try:
        source = Source.read(path, data)
    except SourceError as error:
        if "FAL900" in codes:
            result.diagnostics.append(_unreadable(error))
        return result
    findings, stated, facts, judged = _findings(source, codes, declared, result, project)
    suppressions = read_suppressions(source, bool(findings or stated))

    def other(name: str) -> Source | None:
        loaded = project.source(name) if project is not None else None
        return loaded[0] if loaded is not None else None

    calls: set[tuple[int, int, str]] = set()
    for finding in findings:
        here = finding.call if finding.call is not None else finding
        rows = _logical_rows(here, source, facts)
        if _silenced(here.code, rows, suppressions):
            continue
        if finding.path and project is not None and not _report_elsewhere(finding, project, source, result):
            continue
        if finding.path and finding.call is None:
            continue
        if (here.start, here.end, here.code) not in calls:
            calls.add((here.start, here.end, here.code))
            result.diagnostics.append(locate(here, source, facts, rows, other))
    if project is not None:
        result.depends = project.depends(path, result.imports)
    for code, fact, place in stated:
        at = _located(place, source, facts, suppressions) if place is not None else None
        result.facts.setdefault(code, []).append(Noted(path, fact, at))
    for code, lines in elsewhere:
        _silenced(code, lines, suppressions)
    # Where a rule could not run, it is unknown whether a suppression is needed.
    if "FAL901" in codes and judged:
        for finding in unused(suppressions, codes, source):
            row = source.row(finding.start)
            result.diagnostics.append(locate(finding, source, facts, (row, row)))
    result.diagnostics.sort(key=lambda d: d.sort_key)
    if facts is not None:
        facts.forget()
    return result


def _report_elsewhere(finding: Finding, project: Project, source: Source, result: FileResult) -> bool:
    """Locate a finding in another file; return False where a suppression there silences it."""
    loaded = project.source(finding.path)
    if loaded is None:
        return False
    there, facts = loaded
    rows = _logical_rows(finding, there, facts)
    if _silenced(finding.code, rows, read_suppressions(there, True)):
        result.silenced.append((finding.path, finding.code, rows))
        return False
    located = locate(finding, there, facts, rows, lambda path: source if path == source.path else None)
    result.elsewhere.append(located)
    return True


def _located(place: Finding, source: Source, facts: ModuleFacts | None, suppressions: list[Suppression]) -> Located:
    rows = _logical_rows(place, source, facts)
    # What a suppression silences here marks it as used only once a finding is made of it.
    hit = any(_covers(suppression, place.code, rows) for suppression in suppressions)
    return Located(locate(place, source, facts, rows), rows, hit)


def _findings(
    source: Source, codes: frozenset[str], declared: RoleNames, result: FileResult, project: Project | None
) -> tuple[list[Finding], list[_Stated], ModuleFacts | None, bool]:
    """Findings, what rules state for others, the facts where a rule needed them, and whether all of it was seen."""
    findings: list[Finding] = []
    data = source.data if source.written is source.text else source.text.encode()
    known: dict[Gate, bool] = {}
    # The gates know the usual names; a file with names that the project has declared goes past them.
    told = _is_told(data, declared)
    rules = [rule for rule in select(codes) if told or rule.across or rule.may_match(data, known)]
    broken: list[ParseFailure] = []
    tree = source.parse()
    if isinstance(tree, ParseFailure):
        broken = [tree]
        if source.notebook is not None:
            source, broken = _without_broken_cells(source)
            tree = source.parse()
        if "FAL900" in codes:
            findings += [_unparsable(failure, source) for failure in broken]
        if isinstance(tree, ParseFailure):
            return findings, [], None, False
    result.imports = imports_of(tree)
    result.classes = classes_of(tree, result.imports)
    if not told:
        rules = [rule for rule in rules if not rule.across or _opens(rule, source.path, data, result.imports, project)]
    stating = [
        rule
        for rule in select(codes)
        if isinstance(rule, ProjectRule)
        and (told or rule.may_state(data, known) or _leads(rule, source.path, result.imports, project))
    ]
    if not rules and not stating:
        return findings, [], None, not broken
    facts = _facts(source, tree, declared)
    facts.path = source.path
    if project is not None:
        facts.load = partial(project.load, own=facts)
        facts.callers = partial(project.callers, source.path)
        facts.holds = partial(project.holds_text, source.path)
    result.parsed = True
    stated: list[_Stated] = []
    for rule in sorted({*rules, *stating}, key=lambda rule: rule.code):
        try:
            if rule in rules:
                findings += _of(rule.check, facts)
            if isinstance(rule, ProjectRule) and rule in stating:
                stated += [(rule.code, fact, place) for fact, place in _of(rule.summarise, facts)]
        except Exception as error:  # one broken rule must not cost the user the others
            result.problems.append(f"{source.path}: rule {rule.code} failed: {type(error).__name__}: {error}")
    return findings, stated, facts, not broken and not result.problems


def _leads(rule: ProjectRule, path: str, imports: Imports, project: Project | None) -> bool:
    """Return True where the imports of a file lead to what a rule is about."""
    return project is not None and rule.subject is not None and project.leads_to(rule.subject, path, imports)


def _opens(rule: Rule, path: str, data: bytes, imports: Imports, project: Project | None) -> bool:
    return rule.may_match(data) if project is None else project.opens(rule, path, data, imports)


def _facts(source: Source, tree: ast.Module, declared: RoleNames) -> ModuleFacts:
    return on_any_stack(lambda: extract(source.text, declared, source.is_snippets, tree))


def _of(ask: Callable[[ModuleFacts], Iterable[_T]], facts: ModuleFacts) -> list[_T]:
    return on_any_stack(lambda: list(ask(facts)))


def _is_told(data: bytes, declared: RoleNames) -> bool:
    """Return True where a file can use a name that the configuration declares: a plain part of its pattern."""
    for pattern in (*declared.feedback, *declared.credit, *declared.alignment):
        plain = max(_PLAIN.findall(_CHOICE.sub(" ", pattern)), key=len, default="")
        if plain.encode() in data:
            return True
    return False


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
    grammar = f"{sys.version_info.major}.{sys.version_info.minor}"
    part = "cell" if source.notebook is not None else "file"
    message = f"not Python {grammar}: {failure.reason}; the {part} was not checked"
    return Finding("FAL900", failure.offset, max(end, failure.offset), message, Level.ERROR)


def _unreadable(error: SourceError) -> Diagnostic:
    from fa_lint.findings import Place

    place = Place(error.row, 1)
    message = f"cannot be read: {error.reason}; the file was not checked"
    return Diagnostic(
        error.path, None, place, place, "FAL900", ENGINE_CODES["FAL900"], message, Level.ERROR, noqa_row=error.row
    )


# -- suppressions -------------------------------------------------------------------------------------------------


def _logical_rows(finding: Finding, source: Source, facts: ModuleFacts | None) -> Rows:
    """First and last row of the logical line a finding stands on."""
    first, last = source.row(finding.start), source.row(max(finding.end - 1, finding.start))
    statement = facts.statement_at(finding.start) if facts is not None else None
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


def _silenced(code: str, rows: Rows, suppressions: list[Suppression]) -> bool:
    """Return True where a suppression covers a finding on these rows. Each that does is marked as used."""
    hit = False
    for suppression in suppressions:
        if _covers(suppression, code, rows):
            suppression.used.add(code)
            hit = True
    return hit


def _covers(suppression: Suppression, code: str, rows: Rows) -> bool:
    inside = suppression.whole_file or rows[0] <= suppression.row <= rows[1]
    return inside and suppression.covers(code) and code not in ENGINE_CODES
