"""Takes imports out of a file and keeps the layout and the comments around them."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Iterator
from itertools import accumulate
from typing import Any

import libcst as cst

from fa_lint.source.text import Source

__all__ = ["removal_spans"]


def removal_spans(gone: Collection[ast.alias], tree: ast.Module, source: Source) -> Iterator[tuple[int, int, str]]:
    """What to replace so that the names ``gone`` are not imported; each cell of a notebook is a module here."""
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    names = sorted((alias.lineno, alias.col_offset, alias in gone) for node in imports for alias in node.names)
    parts = [(0, len(source.text))]
    if source.notebook is not None:
        parts = [(cell.start, cell.end) for cell in source.notebook.cells]
    for begin, stop in parts:
        are_gone = [is_gone for row, _, is_gone in names if begin <= source.starts[row - 1] < stop]
        if not any(are_gone):
            continue
        text = source.text[begin:stop]
        try:
            changed = cst.parse_module(text).visit(_Remover(iter(are_gone))).code
        except (cst.ParserSyntaxError, RecursionError):
            continue
        old, new = text.splitlines(keepends=True), changed.splitlines(keepends=True)
        starts = [*accumulate(map(len, old), initial=begin)]
        for tag, start, end, first, last in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if tag != "equal":
                yield starts[start], starts[end], "".join(new[first:last])


class _Remover(cst.CSTTransformer):
    """Removes names of imports, by one flag for each name in the order of the text."""

    def __init__(self, are_gone: Iterator[bool]) -> None:
        super().__init__()
        self._are_gone = are_gone
        self._empty: set[cst.CSTNode] = set()

    def on_visit(self, node: cst.CSTNode) -> bool:
        return not isinstance(node, cst.SimpleStatementLine | cst.SimpleStatementSuite | cst.BaseExpression)

    def on_leave(self, original_node: Any, updated_node: Any) -> Any:
        match updated_node:
            case cst.IndentedBlock() | cst.Module() if not self._empty.isdisjoint(updated_node.body):
                return self._closed_up(updated_node)
            case cst.SimpleStatementLine() | cst.SimpleStatementSuite():
                body = [left for part in updated_node.body if (left := self._left(part)) is not None]
                if body:
                    body[-1] = body[-1].with_changes(semicolon=updated_node.body[-1].semicolon)
                elif isinstance(updated_node, cst.SimpleStatementLine):
                    self._empty.add(updated_node)  # its block removes it, and places the lines above it
                    return updated_node
                return updated_node.with_changes(body=body)
        return updated_node

    def _left(self, part: cst.BaseSmallStatement) -> cst.BaseSmallStatement | None:
        match part:
            case cst.ImportFrom(names=cst.ImportStar()):
                next(self._are_gone)
            case cst.Import(names=[*names]) | cst.ImportFrom(names=[*names]):
                left = [name for name in names if not next(self._are_gone)]
                return _with_names(part, left, names[-1].comma) if left else None
        return part

    def _closed_up(self, block: cst.Module | cst.IndentedBlock) -> cst.Module | cst.IndentedBlock:
        """The block without its empty statements.

        Comments stay. Blank lines part the sections: those above an import at the end of its section go along.
        """
        lines = [*block.header] if isinstance(block, cst.Module) else []
        kept, is_behind = list[Any](), False
        rest: list[Any] = [*block.body, None]
        for statement in rest:
            leading = statement.leading_lines if statement else block.footer
            if is_behind:
                while lines and not lines[-1].comment and (not leading[0].comment if leading else not statement):
                    lines.pop()
            lines += leading
            while is_behind and not kept and lines and not lines[0].comment:
                del lines[0]
            is_behind = statement in self._empty
            if statement and not is_behind:
                kept.append(statement.with_changes(leading_lines=lines))
                lines = []
        changed = block.with_changes(body=kept, footer=lines)
        return changed.with_changes(header=[]) if isinstance(changed, cst.Module) else changed


def _with_names(
    part: cst.Import | cst.ImportFrom, names: list[cst.ImportAlias], comma: cst.Comma | cst.MaybeSentinel
) -> cst.BaseSmallStatement:
    """The import with some of its names, of which the last ends with ``comma``, as the last one did."""
    own, bracket = names[-1].comma, getattr(part, "rpar", None)
    changed = part.with_changes(names=[*names[:-1], names[-1].with_changes(comma=comma)])
    if isinstance(own, cst.Comma) and own is not comma:
        # Its comment stays, and so does the place of the bracket.
        space = own.whitespace_after
        end = comma.whitespace_after if isinstance(comma, cst.Comma) else bracket and bracket.whitespace_before
        if isinstance(space, cst.ParenthesizedWhitespace) and isinstance(end, cst.ParenthesizedWhitespace):
            ending: Any = space.with_changes(last_line=end.last_line, indent=end.indent)
            changed = changed.deep_replace(end, ending)
    return changed
