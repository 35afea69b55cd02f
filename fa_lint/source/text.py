"""Source: one file as bytes, as text, and as places a person can go to.

A Python file is its decoded text. A notebook is the text of its code cells, joined; IPython magics are blanked to
an expression of the same length, so that offsets stay true. A Markdown file is its fenced Python, the prose blanked.
Either way a rule sees one text and one offset.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from fa_lint.findings import Place
from fa_lint.source import markdown
from fa_lint.source.notebook import Cell, Notebook, NotebookError

__all__ = ["ParseFailure", "Source", "SourceError"]

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class ParseFailure:
    """Why a file is no Python: a reason and an offset into the text (or a row where there is no text)."""

    reason: str
    offset: int


class SourceError(Exception):
    """A file whose bytes cannot be read as text."""

    def __init__(self, path: str, reason: str, row: int = 1) -> None:
        super().__init__(path, reason, row)
        self.path = path
        self.reason = reason
        self.row = row

    def __str__(self) -> str:
        return f"{self.path}:{self.row}: {self.reason}"


@dataclass(slots=True)
class Source:
    """``text`` is what the rules read; ``places`` maps its offsets to rows, columns and cells."""

    path: str
    data: bytes
    text: str
    encoding: str = "utf-8"
    bom: bool = False
    notebook: Notebook | None = None
    prose: str = ""
    blocks: tuple[markdown.Block, ...] = ()
    # The imports of the module, once a fix has asked for them: a file of many findings is parsed for them once.
    head: tuple[list[list[Any]], int] | ParseFailure | None = None
    _starts: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, path: str, data: bytes) -> Source:
        """Decode ``data``; raises :class:`SourceError` where that is impossible."""
        if PurePath(path).suffix == ".ipynb":
            try:
                notebook = Notebook.read(data)
            except NotebookError as error:
                raise SourceError(path, str(error), error.row) from None
            return cls(path, data, notebook.text, "utf-8", False, notebook)
        bom = data.startswith(_BOM)
        encoding = "utf-8"
        try:
            if not bom and b"coding" in b"".join(data.split(b"\n", 2)[:2]):
                encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
            text = data[len(_BOM) if bom else 0 :].decode(encoding)
        except UnicodeDecodeError as error:
            row = data.count(b"\n", 0, error.start) + 1
            raise SourceError(
                path, f"not {encoding}: byte 0x{data[error.start]:02x} at offset {error.start}", row
            ) from None
        except (SyntaxError, LookupError, UnicodeError) as error:
            raise SourceError(path, str(error).removeprefix("(<unknown>) "), 1) from None
        if PurePath(path).suffix.lower() in markdown.SUFFIXES:
            blocks = markdown.python_blocks(text)
            return cls(path, data, markdown.without_prose(text, blocks), encoding, bom, None, prose=text, blocks=blocks)
        return cls(path, data, text, encoding, bom)

    @property
    def written(self) -> str:
        """``text`` as its author wrote it: with magics, with prose."""
        return self.notebook.original if self.notebook is not None else self.prose or self.text

    @property
    def is_snippets(self) -> bool:
        """Code out of its context, where ``torch`` and ``np`` need no import to be what they are called."""
        return bool(self.blocks)

    # -- places -----------------------------------------------------------------------------------------------

    @property
    def starts(self) -> list[int]:
        """Offsets of the line starts of the whole text."""
        if not self._starts:
            self._starts = [0, *(match.end() for match in _LINE_END.finditer(self.text))]
        return self._starts

    def row(self, offset: int) -> int:
        """The 1-based row of an offset in the whole text."""
        return bisect_right(self.starts, offset)

    def line(self, row: int) -> str:
        """A row of the whole text, as written, without its line end."""
        start = self.starts[row - 1]
        end = self.starts[row] if row < len(self.starts) else len(self.text)
        return self.written[start:end].rstrip("\r\n")

    def place(self, offset: int) -> tuple[int | None, Place]:
        """The cell (1-based, None for plain files) and the row and column in it."""
        row = self.row(offset)
        column = offset - self.starts[row - 1] + 1
        if self.notebook is None:
            return None, Place(row, column)
        cell = self.cell_at(offset)
        return cell.number, Place(row - self.row(cell.start) + 1, column)

    def cell_at(self, offset: int) -> Cell:
        assert self.notebook is not None
        return self.notebook.cell_at(offset)

    def whole_row(self, cell: int | None, row: int) -> int:
        """The row of the whole text for a row of a cell."""
        if cell is None or self.notebook is None:
            return row
        return self.row(self.notebook.numbered(cell).start) + row - 1

    # -- parsing ----------------------------------------------------------------------------------------------

    def parse(self) -> ast.Module | ParseFailure:
        """The interpreter's own tree, or why there is none. Never raises."""
        if "\0" in self.text:
            return ParseFailure("null byte in source", self.text.index("\0"))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes are not our business
                tree = ast.parse(self.text)
        except SyntaxError as error:
            return ParseFailure(error.msg or "invalid syntax", self.offset_of(error.lineno, error.offset))
        except (RecursionError, MemoryError):
            return ParseFailure("nested too deeply for Python itself", 0)
        except (ValueError, OverflowError) as error:
            return ParseFailure(str(error) or "invalid source", 0)
        return tree

    def offset_of(self, row: int | None, column: int | None) -> int:
        """The offset of a 1-based row and column, held inside the text."""
        row = min(max(row or 1, 1), len(self.starts))
        start = self.starts[row - 1]
        end = self.starts[row] if row < len(self.starts) else len(self.text)
        return min(start + max((column or 1) - 1, 0), max(start, end - 1) if end > start else start)

    # -- writing ----------------------------------------------------------------------------------------------

    def encode(self, text: str) -> bytes:
        """The bytes of a plain file with ``text`` in place of its text."""
        data = text.encode(self.encoding)
        return _BOM + data if self.bom else data
