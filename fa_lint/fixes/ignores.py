"""``--add-ignore``: suppressions for what is found, each on a line of its statement that can take a comment."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fa_lint.findings import IN_HELPER, Diagnostic
from fa_lint.fixes.edits import FixError, apply_spans
from fa_lint.rules import ENGINE_CODES
from fa_lint.source.parsing import on_any_stack
from fa_lint.source.text import ParseFailure, Source, SourceError

__all__ = ["Insertion", "add_ignores", "insertion", "to_silence"]

_OURS = re.compile(r"#\s*fa-lint:\s*ignore\s*\[(?P<codes>[^\[\]]*)\]", re.IGNORECASE)
_INSIDE_A_STRING = frozenset(
    getattr(tokenize, name)
    for name in ("STRING", "FSTRING_START", "FSTRING_MIDDLE", "TSTRING_START", "TSTRING_MIDDLE")
    if hasattr(tokenize, name)
)


@dataclass(frozen=True, slots=True)
class Insertion:
    """Text to insert at an offset of the whole text."""

    offset: int
    content: str


def to_silence(found: list[Diagnostic]) -> list[Diagnostic]:
    """The findings that want a suppression of their own.

    A helper that is wrong only for the gradients passed to it is silenced at those calls; the next call is reported.
    """
    helpers = {(r.path, r.cell, r.start) for item in found for r in item.related if r.message == IN_HELPER}
    return [
        item for item in found if item.code not in ENGINE_CODES and (item.path, item.cell, item.start) not in helpers
    ]


def add_ignores(path: str, data: bytes, found: Iterable[Diagnostic], reason: str = "") -> tuple[bytes, Counter[str]]:
    """The file with a suppression for each finding, and for how many of each code there was a place.

    ``# fa-lint: ignore[FAL101] reason`` goes behind the statement's last line, or joins the suppression there. Findings
    of the engine itself cannot be silenced. Raises :class:`FixError`; the file is to be left as it is then.
    """
    wanted: dict[tuple[int | None, int, int], list[Diagnostic]] = {}
    for item in found:
        if item.code not in ENGINE_CODES:
            wanted.setdefault((item.cell, item.start.row, item.noqa_row), []).append(item)
    if not wanted:
        return data, Counter()
    try:
        source = Source.read(path, data)
        rows = _open_rows(source)
        edits: dict[int, set[str]] = {}
        placed: Counter[str] = Counter()
        for items in wanted.values():
            row = _row_for(items[0], source, rows)
            if row is not None:
                edits.setdefault(row, set()).update(item.code for item in items)
                placed.update(item.code for item in items)
        made = [_insertion(source, row, codes, reason) for row, codes in sorted(edits.items())]
        new = apply_spans(source, [(i.offset, i.offset, i.content) for i in made])
        _check(path, source, Source.read(path, new))
    except SourceError as error:
        raise FixError(path, error.reason) from None
    except UnicodeEncodeError as error:
        raise FixError(path, f"{error.encoding} cannot hold the reason") from None
    return new, placed


def insertion(source: Source, found: Diagnostic, reason: str = "") -> Insertion | None:
    """The edit that silences one finding, or None where no line of its statement can take a comment."""
    row = _row_for(found, source, _open_rows(source)) if found.code not in ENGINE_CODES else None
    return None if row is None else _insertion(source, row, {found.code}, reason)


def _row_for(found: Diagnostic, source: Source, rows: frozenset[int]) -> int | None:
    first, last = source.whole_row(found.cell, found.start.row), source.whole_row(found.cell, found.noqa_row)
    return next((row for row in range(last, first - 1, -1) if row in rows), None)


def _open_rows(source: Source) -> frozenset[int]:
    """The rows of the whole text at whose end a comment can stand: not in a string, not before a continuation."""
    if source.notebook is None:
        return _open_rows_of(source.text, 0)
    cells = source.notebook.cells
    parts = (_open_rows_of(source.text[cell.start : cell.end], source.row(cell.start) - 1) for cell in cells)
    return frozenset().union(*parts)


def _open_rows_of(text: str, above: int) -> frozenset[int]:
    rows: set[int] = set()
    closed: set[int] = set()
    commented: set[int] = set()
    nesting: list[int] = []
    lines = io.StringIO(text, newline="").readlines()
    try:
        for token in tokenize.generate_tokens(iter([*lines, ""]).__next__):
            name = tokenize.tok_name[token.type]
            rows.update(range(token.start[0], token.end[0] + 1))
            if token.type in _INSIDE_A_STRING:
                closed.update(range(token.start[0], token.end[0]))
            if name in ("FSTRING_START", "TSTRING_START"):
                nesting.append(token.start[0])
            elif name in ("FSTRING_END", "TSTRING_END") and nesting:
                closed.update(range(nesting.pop(), token.end[0]))
            elif token.type == tokenize.COMMENT:
                commented.add(token.start[0])
    except (tokenize.TokenError, SyntaxError, IndexError):
        return frozenset()
    closed |= {row for row in rows - commented if row <= len(lines) and lines[row - 1].rstrip("\r\n").endswith("\\")}
    return frozenset(above + row for row in rows - closed)


def _insertion(source: Source, row: int, codes: set[str], reason: str) -> Insertion:
    start, line = source.starts[row - 1], source.line(row)
    ours = _OURS.search(line)
    if ours is not None:
        known = {code.strip().upper() for code in ours["codes"].split(",")}
        more = sorted(codes - known)
        lead = ", " if ours["codes"].strip() else ""
        return Insertion(start + ours.end("codes"), lead + ", ".join(more) if more else "")
    end = len(line.rstrip())
    tail = f" {reason}" if reason else ""
    return Insertion(start + end, f"  # fa-lint: ignore[{', '.join(sorted(codes))}]{tail}")


def _check(path: str, before: Source, after: Source) -> None:
    """Comments change no program."""
    old, new = before.parse(), after.parse()
    if isinstance(old, ParseFailure):
        return
    if isinstance(new, ParseFailure) or not on_any_stack(lambda: ast.dump(old) == ast.dump(new)):
        raise FixError(path, "a suppression would change the program")
