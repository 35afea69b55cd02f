"""Where the nodes of a lossless tree stand in the text, rendered piece by piece.

libcst knows positions only by rendering, which costs twice the parse. Where the interpreter has parsed the module too,
it knows the first row of every function and statement; then it is enough to render the one that is asked about.
"""

from __future__ import annotations

import ast
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

__all__ = ["Positions"]

_NEWLINE = re.compile(r"\r\n?|\n")
_Span = tuple[int, int]


@dataclass(slots=True)
class _Piece:
    """A statement of the module or of a class: its first node, its row by the interpreter, what stands before it.

    ``row`` is that of its first token behind the decorators, ``first`` that of the first decorator.
    """

    number: int
    node: cst.BaseStatement
    row: int
    first: int
    indent: str


class _DifferentTrees(Exception):
    """The two parsers do not agree on the statements of a body."""


class Positions:
    """Answers :meth:`span` for the nodes of one module, listed in pre-order."""

    def __init__(self, module: cst.Module, nodes: Sequence[cst.CSTNode], text: str, tree: ast.Module | None) -> None:
        self._module = module
        self._nodes = nodes
        # libcst may place the end of a module one line below its last.
        self._starts = [0, *(newline.end() for newline in _NEWLINE.finditer(text)), len(text)]
        self._known: dict[int, _Span] = {}
        self._whole = False
        try:
            self._pieces = list(self._split(module.body, tree.body, "")) if tree is not None else []
        except _DifferentTrees:
            self._pieces = []
        numbers = {id(node): number for number, node in enumerate(nodes)} if self._pieces else {}
        for piece in self._pieces:
            piece.number = numbers[id(piece.node)]
        self._pieces.sort(key=lambda piece: piece.number)
        self._numbers = [piece.number for piece in self._pieces]
        self._done: set[int] = set()

    def span(self, number: int) -> _Span:
        """Character offsets of the node, without the parentheses and layout around it; zeros for one without any."""
        if number not in self._known and not self._whole:
            self._render(bisect_right(self._numbers, number) - 1)
            if number not in self._known:
                self._render_all()
        return self._known.get(number, (0, 0))

    def all(self) -> list[_Span]:
        if not self._whole:
            self._render_all()
        return [self._known.get(number, (0, 0)) for number in range(len(self._nodes))]

    def near(self, offset: int) -> range:
        """Numbers among which are those of all nodes of the piece that an offset stands in."""
        row = bisect_right(self._starts, offset)
        index = max((i for i, piece in enumerate(self._pieces) if piece.first <= row), default=-1)
        if index < 0 or self._whole:
            return range(len(self._nodes))
        following = self._numbers[index + 1] if index + 1 < len(self._numbers) else len(self._nodes)
        return range(self._numbers[index], following)

    # -- splitting --------------------------------------------------------------------------------------------

    def _split(self, body: Sequence[Any], tree: Sequence[ast.stmt], indent: str) -> list[_Piece]:
        sizes = [len(node.body) if isinstance(node, cst.SimpleStatementLine) else 1 for node in body]
        if sum(sizes) != len(tree):
            raise _DifferentTrees
        found: list[_Piece] = []
        at = 0
        for node, size in zip(body, sizes, strict=True):
            statement = tree[at]
            at += size
            if isinstance(node, cst.ClassDef) and isinstance(node.body, cst.IndentedBlock):
                if not isinstance(statement, ast.ClassDef):
                    raise _DifferentTrees
                inside = indent + (self._module.default_indent if node.body.indent is None else node.body.indent)
                found += self._split(node.body.body, statement.body, inside)
            else:
                decorators = [part.lineno for part in getattr(statement, "decorator_list", ())]
                found.append(_Piece(0, node, statement.lineno, min([statement.lineno, *decorators]), indent))
        return found

    # -- rendering --------------------------------------------------------------------------------------------

    def _render(self, index: int) -> None:
        if index < 0 or index in self._done:
            return
        self._done.add(index)
        piece = self._pieces[index]
        body: list[Any] = [piece.node]
        if piece.indent:
            body = [cst.If(cst.Name("x"), cst.IndentedBlock(body, indent=piece.indent))]
        ranges = self._ranges(self._module.with_changes(body=body, header=(), footer=()))
        shift = piece.row - ranges[piece.node].start.line
        end = self._numbers[index + 1] if index + 1 < len(self._numbers) else len(self._nodes)
        for number in range(piece.number, end):
            self._place(number, ranges, shift)

    def _render_all(self) -> None:
        self._whole = True
        ranges = self._ranges(self._module)
        for number in range(len(self._nodes)):
            self._place(number, ranges, 0)

    def _ranges(self, module: cst.Module) -> Mapping[cst.CSTNode, CodeRange]:
        return MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)

    def _place(self, number: int, ranges: Mapping[cst.CSTNode, CodeRange], shift: int) -> None:
        found = ranges.get(self._nodes[number])
        if found is not None:
            start = self._starts[found.start.line - 1 + shift] + found.start.column
            self._known[number] = (start, self._starts[found.end.line - 1 + shift] + found.end.column)
