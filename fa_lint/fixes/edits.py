"""Fixes: edits by place, overlaps rejected, re-linted to a fixpoint, written atomically or not at all."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fa_lint.findings import Applicability, Diagnostic, DiagnosticEdit
from fa_lint.fixes.dead_code import dead_spans
from fa_lint.project.config import Settings
from fa_lint.project.engine import lint_text
from fa_lint.source.files import replace_file
from fa_lint.source.imports import unused_spans
from fa_lint.source.text import ParseFailure, Source, SourceError

__all__ = ["FixError", "FixResult", "apply_edits", "apply_spans", "fix_data", "write_atomically"]

_MOST_ROUNDS = 20
_IMPORT = re.compile(r"(\s*from \w+ import )(\w+)(\s*)")


class FixError(Exception):
    """A file that could not be fixed; it was left as it was."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: not fixed: {self.reason}"


@dataclass(frozen=True, slots=True)
class FixResult:
    """The new bytes of a file and how many fixes of each code they hold."""

    data: bytes
    applied: Counter[str]


def fix_data(
    path: str,
    data: bytes,
    diagnostics: Iterable[Diagnostic],
    settings: Settings,
    *,
    unsafe: bool,
    only_these: bool = False,
) -> FixResult:
    """Apply the fixes of ``diagnostics`` to ``data``, then those that a new look finds, until none is left.

    With ``only_these`` there is no new look: the other findings of the file are not wanted.

    Raises :class:`FixError` where the outcome would not parse; nothing is written here.
    """
    applied: Counter[str] = Counter()
    current = list(diagnostics)
    for _ in range(1 if only_these else _MOST_ROUNDS):
        wanted = [d for d in current if d.fix is not None and (unsafe or d.fix.applicability is Applicability.SAFE)]
        if not wanted:
            break
        try:
            source = Source.read(path, data)
            if source.notebook is None and source.encode(source.written) != data:
                raise FixError(path, f"text in {source.encoding} cannot be written back unchanged")
            new, count = apply_edits(source, wanted)
            new = _without_leftovers(path, source, new)
            changed = Source.read(path, new)
        except SourceError as error:
            raise FixError(path, error.reason) from None
        if not count or new == data:
            break
        parsed = changed.parse()
        if isinstance(parsed, ParseFailure) and not isinstance(source.parse(), ParseFailure):
            raise FixError(path, f"the fixed file would not parse ({parsed.reason})")
        data = new
        applied += count
        current = lint_text(path, data, settings).diagnostics
    return FixResult(data, applied)


def _without_leftovers(path: str, source: Source, new: bytes) -> bytes:
    """Take out what the fixed file has no use for any more: local values, then imports."""
    before = source.parse()
    if isinstance(before, ParseFailure):
        return new
    changed = Source.read(path, new)
    for _ in range(_MOST_ROUNDS):
        dead = dead_spans(before, changed)
        if not dead:
            break
        changed = Source.read(path, apply_spans(changed, dead))
    unused = unused_spans(before, changed)
    return apply_spans(changed, unused) if unused else changed.data


def apply_edits(source: Source, diagnostics: Iterable[Diagnostic]) -> tuple[bytes, Counter[str]]:
    """Apply fixes from the top; one that overlaps an earlier one waits for the next round."""
    taken: list[tuple[int, int, str]] = []
    applied: Counter[str] = Counter()
    for diagnostic in sorted(diagnostics, key=lambda d: d.sort_key):
        assert diagnostic.fix is not None
        edits = [_span(edit, source) for edit in diagnostic.fix.edits]
        new = [edit for edit in edits if edit not in taken]
        if any(_overlap(edit, other) for edit in new for other in taken):
            continue
        taken += new
        applied[diagnostic.code] += 1
    return apply_spans(source, _merged(taken)), applied


def _merged(spans: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """One import of two names where two fixes each bring one in at the same place."""
    found: dict[tuple[int, int, str, str], list[str]] = {}
    others = []
    for start, end, content in spans:
        match = _IMPORT.fullmatch(content)
        if match is None:
            others.append((start, end, content))
        else:
            found.setdefault((start, end, match[1], match[3]), []).append(match[2])
    return others + [(s, e, f"{head}{', '.join(sorted(names))}{tail}") for (s, e, head, tail), names in found.items()]


def apply_spans(source: Source, spans: Iterable[tuple[int, int, str]]) -> bytes:
    """The bytes of the file with each span of its text (start, end) replaced; spans must not overlap."""
    ordered = sorted(spans)
    if source.notebook is not None:
        return _in_cells(source, ordered)
    return source.encode(_splice(source.written, ordered, 0))


def _span(edit: DiagnosticEdit, source: Source) -> tuple[int, int, str]:
    start = source.starts[source.whole_row(edit.cell, edit.start.row) - 1] + edit.start.column - 1
    end = source.starts[source.whole_row(edit.cell, edit.end.row) - 1] + edit.end.column - 1
    return start, end, edit.content


def _overlap(left: tuple[int, int, str], right: tuple[int, int, str]) -> bool:
    if left[0] == left[1] == right[0] == right[1]:
        return left[2] == right[2]
    return left[0] < right[1] and right[0] < left[1]


def _splice(text: str, edits: list[tuple[int, int, str]], base: int) -> str:
    pieces = []
    position = 0
    for start, end, content in edits:
        pieces += [text[position : start - base], content]
        position = end - base
    pieces.append(text[position:])
    return "".join(pieces)


def _in_cells(source: Source, edits: list[tuple[int, int, str]]) -> bytes:
    assert source.notebook is not None
    changed: dict[int, str] = {}
    for cell in source.notebook.cells:
        inside = [e for e in edits if cell.start <= e[0] and e[1] <= cell.end]
        if inside:
            changed[cell.number] = _splice(source.notebook.original[cell.start : cell.end], inside, cell.start)
    return source.notebook.with_cells(changed)


def write_atomically(path: str, data: bytes) -> None:
    """Replace the content of a file that is there (see :func:`~fa_lint.source.files.replace_file`).

    Raises :class:`FixError`; the old file is whole then.
    """
    try:
        os.stat(path)
        replace_file(path, data)
    except OSError as error:
        raise FixError(path, error.strerror or str(error)) from None
