"""Suppressions in comments: ``# fa-lint: ignore[FAL101] reason``, ``# fa-lint: ignore-file[…]``, ``# noqa: FAL101``."""

from __future__ import annotations

import io
import re
import tokenize
from dataclasses import dataclass, field

from fa_lint.source.text import Source

__all__ = ["Suppression", "named_codes", "read_suppressions"]

_NAMES = re.compile(r"fa-lint|noqa", re.IGNORECASE)
# Without a finding to silence, only a comment that names this tool or its codes can matter (as unused).
_OURS = re.compile(r"fa-lint\s*:", re.IGNORECASE)
_SMALL_CODE = re.compile(r"fal\d")
_OUR_CODE = re.compile(r"\bFAL\d", re.IGNORECASE)
_IGNORE = re.compile(r"#\s*fa-lint:\s*(?P<kind>ignore-file|ignore)\b(?:\s*\[(?P<codes>[^\[\]]*)\])?", re.IGNORECASE)
_NOQA = re.compile(r"#\s*noqa(?P<codes>\s*:\s*[A-Z]+[0-9]+(?:[,\s]+[A-Z]+[0-9]+)*)?", re.IGNORECASE)
# From the first letter of a word only: from each of them the search would read the word again.
_CODE = re.compile(r"(?<![A-Za-z])[A-Za-z]+[0-9]+")


@dataclass(slots=True)
class Suppression:
    """One comment. ``codes`` is None for all; ``row`` counts in the whole text; ``used`` fills as findings match."""

    row: int
    start: int
    end: int
    codes: frozenset[str] | None
    whole_file: bool
    ours: bool
    used: set[str] = field(default_factory=set)

    def covers(self, code: str) -> bool:
        return self.codes is None or code in self.codes


def named_codes(comment: str) -> list[str]:
    """The codes in the text of a suppression, as written and in their order."""
    return _CODE.findall(comment)


def read_suppressions(source: Source, has_findings: bool) -> list[Suppression]:
    """The suppressions of a file that can matter, in order; a string that looks like one is none."""
    if not _may_hold_one(source.text, has_findings):
        return []
    found: list[Suppression] = []
    for row, start, text in _comments(source):
        for match in _IGNORE.finditer(text):
            codes = match["codes"]
            named = None if codes is None else frozenset(c.upper() for c in _CODE.findall(codes))
            whole = match["kind"].lower() == "ignore-file"
            found.append(Suppression(row, start + match.start(), start + match.end(), named, whole, True))
        noqa = _NOQA.search(text)
        if noqa is not None:
            named = frozenset(c.upper() for c in _CODE.findall(noqa["codes"] or "")) if noqa["codes"] else None
            found.append(Suppression(row, start + noqa.start(), start + noqa.end(), named, False, False))
    return found


def _may_hold_one(text: str, has_findings: bool) -> bool:
    """Return True where a comment can matter. Line by line: a pattern would go on from each ``#`` to the end."""
    small = text.lower()
    if "fa-lint" not in small and ("noqa" not in small or not (has_findings or _SMALL_CODE.search(small))):
        return False
    for line in text.split("\n"):
        comment = line.partition("#")[2]
        named = _NAMES.search(comment)
        if named is not None and (
            has_findings or _OURS.search(comment) or _OUR_CODE.search(comment, named.end()) is not None
        ):
            return True
    return False


def _comments(source: Source) -> list[tuple[int, int, str]]:
    """(row, offset, text) of every comment; by tokenising, or by lines where that fails."""
    found: list[tuple[int, int, str]] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source.text, newline="").readline):
            if token.type == tokenize.COMMENT:
                row = token.start[0]
                found.append((row, source.starts[row - 1] + token.start[1], token.string))
    except (tokenize.TokenError, SyntaxError, IndexError):
        found = []
        for row, start in enumerate(source.starts, 1):
            line = source.line(row)
            if "#" in line:
                found.append((row, start + line.index("#"), line[line.index("#") :]))
    return found
