"""Syntax trees that carry marks: which node must be reported, wherever a rewrite moves it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

Position = list[ast.stmt]
_BLOCKS = (ast.stmt, ast.ExceptHandler, ast.match_case)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef)
_INNER = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)


def marks(node: ast.AST) -> frozenset[int]:
    return getattr(node, "marks", frozenset())


def add_marks(node: ast.AST, numbers: frozenset[int]) -> None:
    node.marks = marks(node) | numbers  # type: ignore[attr-defined]


def drop_marks(node: ast.AST) -> frozenset[int]:
    """Remove and return the marks of ``node`` and of everything below."""
    found: frozenset[int] = frozenset()
    for child in ast.walk(node):
        found |= marks(child)
        child.marks = frozenset()  # type: ignore[attr-defined]
    return found


def marked(tree: ast.AST) -> Iterator[ast.AST]:
    return (node for node in ast.walk(tree) if marks(node))


def render(tree: ast.Module) -> tuple[str, dict[int, set[int]]]:
    """The text of ``tree``, and the rows of the statements of each mark."""
    text = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
    rows: dict[int, set[int]] = {}
    for old, new in zip(_blocks(tree), _blocks(ast.parse(text)), strict=True):
        numbers = frozenset().union(*(marks(node) for node in _header(old)))
        for number in numbers:
            rows.setdefault(number, set()).update(_rows(new))
    return text, rows


def _blocks(tree: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, _BLOCKS):
            found.append(child)
        found += _blocks(child)
    return found


def _header(block: ast.AST) -> Iterator[ast.AST]:
    yield block
    for child in ast.iter_child_nodes(block):
        if not isinstance(child, _BLOCKS):
            yield from _header(child)


def _rows(block: Any) -> range:
    first = block.lineno if hasattr(block, "lineno") else block.pattern.lineno
    body = getattr(block, "body", None)
    last = max(first, body[0].lineno - 1) if body else block.end_lineno
    return range(first, last + 1)


class Parents:
    """Where each node of a tree stands."""

    def __init__(self, tree: ast.AST) -> None:
        self._of = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}

    def up(self, node: ast.AST) -> Iterator[ast.AST]:
        while node in self._of:
            node = self._of[node]
            yield node

    def statement(self, node: ast.AST) -> ast.stmt | None:
        return next((n for n in (node, *self.up(node)) if isinstance(n, ast.stmt)), None)

    def function(self, node: ast.AST) -> ast.FunctionDef | None:
        return next((n for n in self.up(node) if isinstance(n, ast.FunctionDef)), None)

    def block(self, statement: ast.stmt) -> Position | None:
        """The list of statements that holds ``statement``."""
        holder = self._of.get(statement)
        for name in ("body", "orelse", "finalbody"):
            block = getattr(holder, name, None)
            if isinstance(block, list) and statement in block:
                return block
        return None

    def inner_names(self, node: ast.AST) -> set[str]:
        """The names that comprehensions and lambdas around ``node`` bind."""
        found: set[str] = set()
        for outer in self.up(node):
            if isinstance(outer, ast.stmt):
                break
            if isinstance(outer, _INNER):
                found |= {n.id for n in ast.walk(outer) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
                found |= {n.arg for n in ast.walk(outer) if isinstance(n, ast.arg)}
        return found

    def replace(self, old: ast.AST, new: ast.AST) -> None:
        holder = self._of[old]
        for name, value in ast.iter_fields(holder):
            if value is old:
                setattr(holder, name, new)
            elif isinstance(value, list) and any(item is old for item in value):
                value[:] = [new if item is old else item for item in value]


class _Substitute(ast.NodeTransformer):
    def __init__(self, names: dict[str, ast.expr]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return deepcopy(self.names[node.id]) if node.id in self.names else node


def statements(template: str, **names: ast.expr) -> list[ast.stmt]:
    """Parse ``template`` with some of its names replaced by expressions."""
    tree = _Substitute(names).visit(ast.parse(template))
    for node in ast.walk(tree):  # a replaced target would stand there as a load
        if isinstance(node, ast.Assign):
            node.targets = [_stored(target) for target in node.targets]
    return tree.body


def _stored(target: ast.expr) -> ast.expr:
    if hasattr(target, "ctx"):
        target.ctx = ast.Store()
    return target


def expression(template: str, **names: ast.expr) -> ast.expr:
    (statement,) = statements(template, **names)
    assert isinstance(statement, ast.Expr)
    return statement.value


def imported(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def top_names(statement: ast.stmt) -> set[str]:
    """The names a top-level statement binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def is_import(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom)


def first_definition(tree: ast.Module) -> int:
    """Where a new definition goes: below the imports and the constants."""
    imports = max((n + 1 for n, s in enumerate(tree.body) if is_import(s)), default=0)
    definitions = (n for n, s in enumerate(tree.body) if isinstance(s, ast.FunctionDef | ast.ClassDef))
    return max(imports, next(definitions, imports))


def ensure_import(tree: ast.Module, line: str) -> None:
    if line not in {ast.unparse(s) for s in tree.body}:
        place = sum(isinstance(s, ast.ImportFrom) and s.module == "__future__" for s in tree.body)
        tree.body.insert(place, ast.parse(line).body[0])
