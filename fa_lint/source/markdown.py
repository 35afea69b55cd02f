"""Markdown: its fenced Python blocks as one text of the same length, the prose blanked."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

__all__ = ["SUFFIXES", "Block", "python_blocks", "without_prose"]

SUFFIXES = (".md", ".markdown")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_FENCE = re.compile(r"[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\r\n]*)")
_PYTHON = frozenset({"python", "py", "python3", "py3"})
_PROSE = re.compile(r"[^\r\n]")
# Opens a suite around a block that is indented as a whole; never longer than the fence it stands for.
_SUITE = "if 1:"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of Python: ``opening`` is the offset of its fence, ``start:end`` its lines."""

    opening: int
    start: int
    end: int
    indent: str


def python_blocks(text: str) -> tuple[Block, ...]:
    """The blocks that are marked as Python and parse; snippets that do not (sketches, sessions) are prose."""
    found: list[Block] = []
    opening: tuple[str, int, int, bool] | None = None
    for line in _LINE.finditer(text):
        match = _FENCE.match(line.group())
        if opening is None:
            if match is not None:
                word = match["info"].strip(" \t{}.").partition(" ")[0].lower().strip("{}.,:")
                opening = (match["fence"], line.start(), line.end(), word in _PYTHON)
        elif match is not None and match["fence"].startswith(opening[0]) and not match["info"].strip():
            _, fence, start, is_python = opening
            if is_python:
                found += _parsed(text, fence, start, line.start())
            opening = None
    return tuple(found)


def _parsed(text: str, opening: int, start: int, end: int) -> list[Block]:
    code = text[start:end]
    indents = [line[: len(line) - len(line.lstrip())] for line in code.splitlines() if line.strip()]
    indent = min(indents, key=len, default="")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(f"{_SUITE if indent else ''}\n{code}")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [Block(opening, start, end, indent)]


def without_prose(text: str, blocks: tuple[Block, ...]) -> str:
    """``text`` with all but the blocks replaced by blanks, so that every offset and row stays true."""
    pieces: list[str] = []
    position = 0
    for block in blocks:
        blank = _PROSE.sub(" ", text[position : block.start])
        if block.indent:
            at = block.opening - position
            blank = blank[:at] + _SUITE + blank[at + len(_SUITE) :]
        pieces += [blank, text[block.start : block.end]]
        position = block.end
    pieces.append(_PROSE.sub(" ", text[position:]))
    # A blank before a line that holds code would be an indent; a line of blanks is none.
    return "".join(pieces)
