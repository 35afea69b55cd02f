"""The same program as a notebook, with cell markers, and in other layouts."""

from __future__ import annotations

import ast
import json

from ..programs import Draft, Program
from ..trees import is_import
from ._common import Rewrite


def _notebook(draft: Draft) -> Program | None:
    """One cell of imports, and one for each other statement."""
    if any(isinstance(s, ast.ImportFrom) and (s.level or s.module == "__future__") for s in draft.tree.body):
        return None
    program = draft.program()
    text = program.files[program.main]
    cells = [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": cell}
        for cell in _cells(text)
    ]
    path = "main.ipynb"
    program.files = {path: json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4})}
    program.main = path
    shift = _notebook_rows(text)
    program.wanted = [({(path, shift[row]) for _, row in places}, level) for places, level in program.wanted]
    return program


def _parts(text: str) -> list[tuple[int, int]]:
    """First and last row of each cell: the imports, then each statement."""
    body = ast.parse(text).body
    starts = [min([s.lineno, *(d.lineno for d in getattr(s, "decorator_list", []))]) for s in body]
    cuts = [starts[0]] + [
        start for n, start in enumerate(starts) if n and not (is_import(body[n]) and is_import(body[n - 1]))
    ]
    last = len(text.splitlines())
    return [(cut, (cuts[n + 1] - 1) if n + 1 < len(cuts) else last) for n, cut in enumerate(cuts)]


def _cells(text: str) -> list[str]:
    lines = text.splitlines()
    return ["\n".join(lines[first - 1 : last]).rstrip("\n") for first, last in _parts(text)]


def _notebook_rows(text: str) -> dict[int, int]:
    """Rows of the text as rows of the joined notebook."""
    rows, place = {}, 0
    for (first, _), cell in zip(_parts(text), _cells(text), strict=True):
        for offset in range(cell.count("\n") + 1):
            place += 1
            rows[first + offset] = place
    return rows


def _markers(draft: Draft) -> Program:
    """``# %%`` before each statement."""
    program = draft.program()
    text = program.files[program.main]
    lines = text.splitlines()
    made: list[str] = []
    rows: dict[int, int] = {}
    for first, last in _parts(text):
        made.append("# %%")
        for row in range(first, last + 1):
            made.append(lines[row - 1])
            rows[row] = len(made)
    program.files = {program.main: "\n".join(made) + "\n"}
    program.wanted = [({(path, rows[row]) for path, row in places}, level) for places, level in program.wanted]
    return program


def _under_main(draft: Draft) -> Draft:
    """A program that is run: a call guard at its end changes nothing."""
    draft.tree.body += ast.parse("if __name__ == '__main__':\n    print('done')").body
    return draft


def _in_a_class(draft: Draft) -> Draft | None:
    """Every function becomes a static method of one class; calls go through it."""
    functions = [s for s in draft.tree.body if isinstance(s, ast.FunctionDef)]
    if not functions:
        return None
    names = {f.name for f in functions}
    holder = ast.ClassDef("Holder_m", [], [], [], [], type_params=[])
    for function in functions:
        function.decorator_list.append(ast.Name("staticmethod", ast.Load()))
        holder.body.append(function)
    for node in ast.walk(holder):
        for field, value in ast.iter_fields(node):
            items = value if isinstance(value, list) else [value]
            new = [_qualified(item, names) for item in items]
            if isinstance(value, list):
                value[:] = new
            elif new[0] is not value:
                setattr(node, field, new[0])
    place = draft.tree.body.index(functions[0])
    draft.tree.body = [s for s in draft.tree.body if s not in functions]
    draft.tree.body.insert(place, holder)
    return draft


def _qualified(item: object, names: set[str]) -> object:
    if isinstance(item, ast.Name) and item.id in names and isinstance(item.ctx, ast.Load):
        return ast.Attribute(ast.Name("Holder_m", ast.Load()), item.id, ast.Load())
    return item


REWRITES = [
    Rewrite("canonical layout", "files", lambda draft: draft),
    Rewrite("a notebook", "files", _notebook),
    Rewrite("# %% cells", "files", _markers),
    Rewrite("beside a main guard", "files", _under_main),
    Rewrite("static methods of one class", "files", _in_a_class),
]
