"""A new import, where an import sorter would put it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.findings import Edit
from fa_lint.source.text import ParseFailure, Source

__all__ = ["import_edit"]

_Import = ast.Import | ast.ImportFrom
# Of the packages that code with gradients imports: their section is that of the third-party packages.
_THIRD_PARTY = frozenset(
    "torch numpy jax scipy sklearn torchvision torchaudio lightning pytorch_lightning transformers einops pandas "
    "matplotlib tqdm functorch torchmetrics fa_lint_runtime optax".split()
)
_DEFINITION = re.compile(r"@|(async\s+)?def\b|class\b")


@dataclass(frozen=True, slots=True)
class _Line:
    """An import at the head of a file, or several on its row: first and last row."""

    node: _Import
    first: int
    last: int

    @property
    def packages(self) -> set[str]:
        if isinstance(self.node, ast.ImportFrom):
            return {"." if self.node.level else (self.node.module or "").partition(".")[0]}
        return {alias.name.partition(".")[0] for alias in self.node.names}

    @property
    def is_early(self) -> bool:
        """Return True in the sections that come before the third-party packages."""
        return all(package == "__future__" or package in sys.stdlib_module_names for package in self.packages)


def import_edit(module: str, name: str, source: Source, use: int) -> Edit | None:
    """Bring a name in with ``from module import name``, for a use at offset ``use``.

    It joins an import of the module, else it goes where an import sorter puts it: among the third-party packages, after
    the plain imports, by the alphabet. Where the use shares its row with the imports, it goes before that row.
    """
    newline = "\r\n" if "\r\n" in source.text else "\n"
    line = f"from {module} import {name}"
    if source.blocks:
        block = next(b for b in source.blocks if b.start <= use < b.end)
        return Edit(block.start, block.start, f"{block.indent}{line}{newline}")
    if source.head is None:
        tree = source.parse()
        source.head = tree if isinstance(tree, ParseFailure) else _head(tree, source)
    if isinstance(source.head, ParseFailure):
        return None
    runs, top = source.head
    earlier = [[entry for entry in run if source.starts[entry.first - 1] <= use] for run in runs]
    for entry in (entry for run in earlier for entry in run):
        if isinstance(entry.node, ast.ImportFrom) and entry.node.module == module and not entry.node.level:
            joined = _joined(entry.node, name, source)
            if joined is not None:
                return joined
    # What runs before the first of these packages may set variables of the environment that it reads.
    known = [run for run in earlier if any(entry.packages & _THIRD_PARTY for entry in run)]
    before = next((run for run in (*known, *earlier) if run), [])
    if not before:
        return _at(source, top, line + newline + newline * _blank_lines(source, top))
    if source.row(use) <= before[-1].last:
        return _at(source, before[-1].first, line + newline)
    return _placed(before, line, module, source, newline)


def _blank_lines(source: Source, row: int) -> int:
    """How many blank lines are missing for an import sorter between an import before this row and what follows."""
    there = 0
    while row + there < len(source.starts) and not source.line(row + there).strip():
        there += 1
    wanted = 2 if _DEFINITION.match(source.line(row + there)) else 1
    return max(0, wanted - there)


def _head(tree: ast.Module, source: Source) -> tuple[list[list[_Line]], int]:
    """The imports of a file in runs with nothing between them, and the row where the first would stand."""
    runs: list[list[_Line]] = [[]]
    top: int | None = None
    for number, node in enumerate(tree.body):
        match node:
            case ast.Import() | ast.ImportFrom():
                runs[-1].append(_Line(node, node.lineno, node.end_lineno or node.lineno))
                continue
            case ast.Expr(value=ast.Constant(value=str())) if number == 0:
                top = (node.end_lineno or 1) + 1
                continue
            case ast.Expr(value=ast.Constant(value=0)) if source.notebook is not None:
                continue  # a magic, blanked
        if top is None and not any(runs):
            top = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        if runs[-1]:
            runs.append([])
    top = top or 1
    if source.notebook is not None:
        # A cell magic is the first line of its cell or nothing.
        while source.line(top).startswith("%%") and top < len(source.starts):
            top += 1
    return runs, top


def _joined(node: ast.ImportFrom, name: str, source: Source) -> Edit | None:
    """Put a name among those of an import, by the alphabet; None for a star and where names have aliases."""
    names = node.names
    if any(alias.name == "*" or alias.asname for alias in names):
        return None
    later = next((alias for alias in names if alias.name > name), None)
    has_brackets = "(" in source.line(node.lineno)
    start = _offset(source, later or names[-1])
    if later is None:
        last = names[-1]
        end = source.offset_of(last.end_lineno, (last.end_col_offset or 0) + 1)
        own_row = last.lineno != node.lineno and has_brackets
        indent = source.line(last.lineno)[: last.col_offset] if own_row else ""
        if own_row and not indent.strip():
            return Edit(end, end, f",{_newline(source)}{indent}{name}")
        return Edit(end, end, f", {name}")
    indent = source.line(later.lineno)[: later.col_offset]
    separator = (
        f"{_newline(source)}{indent}" if has_brackets and later.lineno != node.lineno and not indent.strip() else " "
    )
    return Edit(start, start, f"{name},{separator}")


def _placed(head: list[_Line], line: str, module: str, source: Source, newline: str) -> Edit:
    sections = list(_sections(head, source))
    known = [section for section in sections if any(entry.packages & _THIRD_PARTY for entry in section)]
    others = [section for section in sections if not all(entry.is_early for entry in section)]
    own = [section for section in others if not all(entry.packages == {"."} for entry in section)]
    section = (known or own or [[]])[0]
    if section:
        earlier = [
            entry
            for entry in section
            if isinstance(entry.node, ast.Import)
            or entry.is_early
            or _key(entry.node) < module
            or _is_star(entry.node, module)
        ]
        if earlier:
            return _after(source, earlier[-1], line, newline)
        return _at(source, section[0].first, line + newline)
    early = [section for section in sections if all(entry.is_early for entry in section)]
    if early:
        return _after(source, early[-1][-1], newline + line, newline)
    return _at(source, sections[0][0].first, line + newline + newline)


def _is_star(node: _Import, module: str) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == module and node.names[0].name == "*"


def _key(node: _Import) -> str:
    # Relative imports sort last.
    return "~" if isinstance(node, ast.ImportFrom) and node.level else (getattr(node, "module", "") or "").lower()


def _sections(head: list[_Line], source: Source) -> Iterator[list[_Line]]:
    """The imports by sections: a blank line, or another cell, begins a new one."""
    section: list[_Line] = []
    for entry in head:
        if section and _is_apart(section[-1], entry, source):
            yield section
            section = []
        section.append(entry)
    if section:
        yield section


def _is_apart(one: _Line, two: _Line, source: Source) -> bool:
    if any(not source.line(row).strip() for row in range(one.last + 1, two.first)):
        return True
    if source.notebook is None:
        return False
    return source.cell_at(source.starts[one.first - 1]) is not source.cell_at(source.starts[two.first - 1])


def _after(source: Source, entry: _Line, line: str, newline: str) -> Edit:
    begin, row = source.starts[entry.last - 1], entry.last
    if source.notebook is not None:
        end = source.cell_at(begin).end
        if row >= len(source.starts) or source.starts[row] >= end:
            return Edit(end, end, newline + line)
    if row < len(source.starts):
        return _at(source, row + 1, line + newline)
    end = len(source.text)
    return Edit(end, end, newline + line)


def _at(source: Source, row: int, content: str) -> Edit:
    offset = source.starts[row - 1] if row <= len(source.starts) else len(source.text)
    return Edit(offset, offset, content)


def _offset(source: Source, alias: ast.alias) -> int:
    return source.offset_of(alias.lineno, alias.col_offset + 1)


def _newline(source: Source) -> str:
    return "\r\n" if "\r\n" in source.text else "\n"
