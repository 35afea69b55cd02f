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
_LINE_END = re.compile(r"\r\n|\r|\n")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")
# A cell magic after which the rest of the cell is still Python.
_PYTHON_CELL_MAGICS = re.compile(r"%%(?:time|timeit|capture|prun|python|python3|debug|mypy|pypy)\b")
_LINE_MAGIC = re.compile(r"(?P<indent>[ \t]*+)(?:[%!?]|(?:[\w.*, ]+=[ \t]*)?%{0,2}[\w.*]+(?:\[[^\]]*\])*\?{1,2}\s*$)")
_ASSIGNED_MAGIC = re.compile(r"(?P<head>[ \t]*[A-Za-z_][\w, \t.]*=[ \t]*)[%!](?!=)")
_MAX_NESTING = 200
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_CODE_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
# What can open or close something on a line of Python, and what ends a long string.
_TOKEN = re.compile(r"""'''|\"\"\"|'(?:\\.|[^'\\])*+'?|"(?:\\.|[^"\\])*+"?|\#.*|[([{]|[)\]}]""")
_LONG_END = {quote: re.compile(r"(?:\\.|[^\\])*?" + quote) for quote in ("'''", '"""')}


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
    bom: bool = False

    @classmethod
    def read(cls, data: bytes) -> Notebook:
        """Parse the JSON; raises :class:`NotebookError`."""
        try:
            raw = data.decode()
        except UnicodeDecodeError as error:
            raise NotebookError(f"not utf-8: {error.reason}", data.count(b"\n", 0, error.start) + 1) from None
        bom = raw.startswith("\ufeff")
        raw = raw.removeprefix("\ufeff")
        try:
            document = json.loads(raw)
        except json.JSONDecodeError as error:
            raise NotebookError(f"not a notebook: {error.msg}", error.lineno) from None
        except ValueError as error:  # a number of thousands of digits
            raise NotebookError(f"not a notebook: {error}") from None
        except RecursionError:
            raise NotebookError("not a notebook: JSON nested too deeply") from None
        if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
            raise NotebookError("not a notebook of format 4: no list of cells")
        language = _language(document.get("metadata"))
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
            if _HALF_PAIR.search(code):
                raise NotebookError(f"cell {index + 1}: half of a surrogate pair is no character")
            text = _blank_magics(code)
            cells.append(Cell(index + 1, offset, offset + len(code), *sources[index], isinstance(source, list)))
            joined += [code, "\n"]
            blanked += [text, "\n"]
            offset += len(code) + 1
        return cls(raw, "".join(blanked), "".join(joined), tuple(cells), bom)

    def cell_at(self, offset: int) -> Cell:
        """The cell an offset of the joined text lies in."""
        index = bisect_right([cell.start for cell in self.cells], offset) - 1
        return self.cells[max(index, 0)]

    def numbered(self, number: int) -> Cell:
        return next(cell for cell in self.cells if cell.number == number)

    def raw_row(self, number: int, row: int) -> int:
        """Return the row of the JSON file in which a row of a cell stands; raises :class:`LookupError`."""
        cell = next((cell for cell in self.cells if cell.number == number), None)
        if cell is None:
            raise LookupError(number)
        position = cell.raw_start
        if cell.as_list:
            # From one string to the next, until as many lines of code have gone by.
            last = _skip(self.raw, position + 1)
            while self.raw[last] == '"':
                position = last
                line, end = scanstring(self.raw, position + 1, False)
                row -= len(_LINE_END.findall(line))
                if row < 1:
                    break
                last = _skip(self.raw, end)
                if self.raw[last] == ",":
                    last = _skip(self.raw, last + 1)
        return self.raw.count("\n", 0, position) + 1

    def with_cells(self, changed: dict[int, str]) -> bytes:
        """The notebook's bytes with the source of some cells replaced; the rest is kept byte for byte."""
        pieces: list[str] = []
        position = 0
        for cell in self.cells:
            if cell.number in changed:
                pieces += [self.raw[position : cell.raw_start], self._dump(cell, changed[cell.number])]
                position = cell.raw_end
        pieces.append(self.raw[position:])
        return (b"\xef\xbb\xbf" if self.bom else b"") + "".join(pieces).encode()

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
    out = []
    state = _State()
    continued = False  # a magic goes on after a backslash
    for line in _CODE_LINES.findall(code):
        body = line.rstrip("\r\n")
        magic = None if state.inside or continued else _LINE_MAGIC.match(body) or _ASSIGNED_MAGIC.match(body)
        if continued:
            out.append(" " * len(body) + line[len(body) :])
        elif magic:
            head = magic.groupdict().get("head") or magic.groupdict().get("indent") or ""
            out.append(head + "0".ljust(len(body) - len(head)) + line[len(body) :])
        else:
            state.read(body)
            out.append(line)
        continued = (continued or magic is not None) and body.endswith("\\")
    return "".join(out)


class _State:
    """Whether the next line begins a statement: a ``%`` inside brackets, or in a long string, is no magic."""

    def __init__(self) -> None:
        self._depth = 0
        self._quote = ""
        self._backslash = False

    @property
    def inside(self) -> bool:
        return self._depth > 0 or bool(self._quote) or self._backslash

    def read(self, line: str) -> None:
        position = 0
        comment = False
        while True:
            # From the place on, once: what does not end here does not end after a later sign either.
            match = _LONG_END[self._quote].match(line, position) if self._quote else _TOKEN.search(line, position)
            if match is None:
                break
            token, position = match.group(), match.end()
            if self._quote:
                self._quote = ""
            elif token in _LONG_END:
                self._quote = token
            elif token in "([{":
                self._depth += 1
            elif token in ")]}":
                self._depth = max(self._depth - 1, 0)
            comment = token.startswith("#") and not self._quote
        self._backslash = line.endswith("\\") and not comment


def _language(metadata: object) -> str:
    """The language of the kernel; Python where the notebook does not say."""
    for table, key in (("language_info", "name"), ("kernelspec", "language")):
        entry = metadata.get(table) if isinstance(metadata, dict) else None
        name = entry.get(key) if isinstance(entry, dict) else None
        if isinstance(name, str) and name:
            return name.lower()
    return "python"


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
