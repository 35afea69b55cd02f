"""Jupyter notebooks: the code of their cells as one text, and edits that leave every other byte alone."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

__all__ = ["Cell", "Notebook", "NotebookError"]

# The standard library's own string scanner: it says where a literal ends.
scanstring: Any = json.decoder.__dict__["scanstring"]

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|NaN|-?Infinity")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")
# A cell magic after which the rest of the cell is still Python.
_PYTHON_CELL_MAGICS = re.compile(r"%%(?:time|timeit|capture|prun|python|python3|debug|mypy|pypy)\b")
_LINE_MAGIC = re.compile(r"(?P<indent>[ \t]*)(?:[%!?]|.*\?\s*$)")
_ASSIGNED_MAGIC = re.compile(r"(?P<head>[ \t]*[A-Za-z_][\w, \t.]*=[ \t]*)[%!](?!=)")
_MAX_NESTING = 200


class NotebookError(ValueError):
    """A file that is no notebook, with the row where that shows."""

    def __init__(self, reason: str, row: int = 1) -> None:
        super().__init__(reason, row)
        self.reason = reason
        self.row = row

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class Cell:
    """A code cell: its 1-based number among *all* cells, its span in the joined text, and where its source lies
    in the raw JSON (``raw_start:raw_end`` is the value of "source")."""

    number: int
    start: int
    end: int
    raw_start: int
    raw_end: int
    as_list: bool


@dataclass(frozen=True, slots=True)
class Notebook:
    """``text`` is what the rules read (magics blanked), ``original`` the same with the magics in place."""

    raw: str
    text: str
    original: str
    cells: tuple[Cell, ...]

    @classmethod
    def read(cls, data: bytes) -> Notebook:
        """Parse the JSON; raises :class:`NotebookError`."""
        try:
            raw = data.decode("utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8")
        except UnicodeDecodeError as error:
            raise NotebookError(f"not utf-8: {error.reason}", data.count(b"\n", 0, error.start) + 1) from None
        try:
            document = json.loads(raw)
        except json.JSONDecodeError as error:
            raise NotebookError(f"not a notebook: {error.msg}", error.lineno) from None
        except RecursionError:
            raise NotebookError("not a notebook: JSON nested too deeply") from None
        if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
            raise NotebookError("not a notebook of format 4: no list of cells")
        language = document.get("metadata", {}).get("language_info", {}).get("name", "python")
        kinds = [c.get("cell_type") if isinstance(c, dict) else None for c in document["cells"]]
        sources = _source_spans(raw)
        cells: list[Cell] = []
        joined: list[str] = []
        blanked: list[str] = []
        offset = 0
        for index, kind in enumerate(kinds):
            if kind != "code" or index not in sources or language != "python":
                continue
            source = document["cells"][index]["source"]
            if not isinstance(source, str) and not (
                isinstance(source, list) and all(isinstance(s, str) for s in source)
            ):
                raise NotebookError(f"cell {index + 1}: its source is neither text nor a list of lines")
            code = source if isinstance(source, str) else "".join(source)
            text = _blank_magics(code)
            cells.append(Cell(index + 1, offset, offset + len(code), *sources[index], isinstance(source, list)))
            joined += [code, "\n"]
            blanked += [text, "\n"]
            offset += len(code) + 1
        return cls(raw, "".join(blanked), "".join(joined), tuple(cells))

    def cell_at(self, offset: int) -> Cell:
        """The cell an offset of the joined text lies in."""
        index = bisect_right([cell.start for cell in self.cells], offset) - 1
        return self.cells[max(index, 0)]

    def numbered(self, number: int) -> Cell:
        return next(cell for cell in self.cells if cell.number == number)

    def with_cells(self, changed: dict[int, str]) -> bytes:
        """The notebook's bytes with the source of some cells replaced; the rest is kept byte for byte."""
        pieces: list[str] = []
        position = 0
        for cell in self.cells:
            if cell.number in changed:
                pieces += [self.raw[position : cell.raw_start], self._dump(cell, changed[cell.number])]
                position = cell.raw_end
        pieces.append(self.raw[position:])
        return "".join(pieces).encode("utf-8")

    def _dump(self, cell: Cell, code: str) -> str:
        old = self.raw[cell.raw_start : cell.raw_end]
        ascii_only = self.raw.isascii()
        if not cell.as_list:
            return json.dumps(code, ensure_ascii=ascii_only)
        lines = [json.dumps(line, ensure_ascii=ascii_only) for line in _LINES.findall(code)]
        opening = re.match(r"\[\s*", old)
        closing = re.search(r"\s*\]$", old)
        assert opening is not None
        assert closing is not None
        between = "," + opening.group().removeprefix("[") if "\n" in old else ", "
        return opening.group() + between.join(lines) + closing.group()


def _blank_magics(code: str) -> str:
    """The code with every magic line replaced by an expression of the same length."""
    head = code.lstrip()
    if head.startswith("%%") and not _PYTHON_CELL_MAGICS.match(head):
        return re.sub(r"[^\n\r]", " ", code)
    lines = code.splitlines(keepends=True)
    out = []
    continued = False
    in_string = _string_rows(code)
    for number, line in enumerate(lines):
        body = line.rstrip("\r\n")
        end = line[len(body) :]
        magic = _LINE_MAGIC.match(body) if number not in in_string else None
        assigned = _ASSIGNED_MAGIC.match(body) if number not in in_string else None
        if continued:
            out.append(" " * len(body) + end)
        elif magic and body.strip():
            indent = magic.group("indent")
            out.append(indent + "0".ljust(len(body) - len(indent)) + end)
        elif assigned:
            out.append(assigned.group("head") + "0".ljust(len(body) - len(assigned.group("head"))) + end)
        else:
            out.append(line)
        continued = (continued or bool(magic and body.strip()) or bool(assigned)) and body.endswith("\\")
    return "".join(out)


_TRIPLE = re.compile(r"'''|\"\"\"")


def _string_rows(code: str) -> set[int]:
    """Rows that lie inside a triple-quoted string, where a leading ``%`` is text."""
    rows: set[int] = set()
    quote: str | None = None
    for number, line in enumerate(code.splitlines()):
        if quote is not None:
            rows.add(number)
        for match in _TRIPLE.finditer(line):
            if quote is None:
                quote = match.group()
            elif match.group() == quote:
                quote = None
    return rows


def _skip(raw: str, position: int) -> int:
    match = _SPACE.match(raw, position)
    assert match is not None
    return match.end()


def _value_end(raw: str, position: int, depth: int = 0) -> int:
    """The end of the JSON value at ``position`` (the document is known to be valid)."""
    if depth > _MAX_NESTING:
        raise NotebookError("not a notebook: JSON nested too deeply")
    first = raw[position]
    if first == '"':
        return int(scanstring(raw, position + 1, False)[1])
    if first not in "[{":
        match = _NUMBER.match(raw, position)
        assert match is not None
        return match.end()
    position = _skip(raw, position + 1)
    while raw[position] not in "]}":
        if first == "{":
            position = _skip(raw, _value_end(raw, position, depth + 1))
            position = _skip(raw, position + 1)
        position = _skip(raw, _value_end(raw, position, depth + 1))
        if raw[position] == ",":
            position = _skip(raw, position + 1)
    return position + 1


def _members(raw: str, position: int) -> dict[str, tuple[int, int]]:
    """The spans of the values of the object at ``position``."""
    found: dict[str, tuple[int, int]] = {}
    position = _skip(raw, position + 1)
    while raw[position] != "}":
        key, position = scanstring(raw, position + 1, False)
        position = _skip(raw, _skip(raw, position) + 1)
        end = _value_end(raw, position)
        found[key] = (position, end)
        position = _skip(raw, end)
        if raw[position] == ",":
            position = _skip(raw, position + 1)
    return found


def _source_spans(raw: str) -> dict[int, tuple[int, int]]:
    """For every cell, by index, where its "source" value lies."""
    spans: dict[int, tuple[int, int]] = {}
    position = _skip(raw, _members(raw, _skip(raw, 0))["cells"][0] + 1)
    index = 0
    while raw[position] != "]":
        if raw[position] == "{":
            members = _members(raw, position)
            if "source" in members:
                spans[index] = members["source"]
        position = _skip(raw, _value_end(raw, position))
        if raw[position] == ",":
            position = _skip(raw, position + 1)
        index += 1
    return spans
