"""The seeds: the examples of the value rules and the functions of the fixtures, one program each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fa_lint.findings import Diagnostic
from fa_lint.project.config import Settings
from fa_lint.project.engine import lint_text
from fa_lint.rules import registry

from .programs import MAIN, Seed
from .trees import add_marks, is_import, render, top_names

RULES = ("FAL101", "FAL102", "FAL201", "FAL202", "FAL203", "FAL204", "FAL404", "FAL405", "FAL501")
FIXTURES = Path(__file__).parents[2] / "fixtures"
_EXPECT = re.compile(r"# expect: ((?:FAL\d{3} ?)+)")


@cache
def seeds() -> tuple[Seed, ...]:
    return tuple(seed for rule in RULES for seed in (*_examples(rule), *_from_fixtures(rule)))


def _examples(rule: str) -> Iterator[Seed]:
    of = registry()[rule]
    for number, case in enumerate(of.INVALID):
        yield _seed(f"invalid-{number}", rule, ast.parse(case.code), sorted(set(case.lines)))
    for number, code in enumerate(of.VALID):
        yield _seed(f"valid-{number}", rule, ast.parse(code), [])


def _from_fixtures(rule: str) -> Iterator[Seed]:
    for path in sorted(FIXTURES.glob("*.py")):
        lines = path.read_text().splitlines()
        expected = {n: match[1].split() for n, line in enumerate(lines, 1) if (match := _EXPECT.search(line))}
        codes = {code for found in expected.values() for code in found}
        if rule not in codes or path.stem == "broken":
            continue
        rows = [n for n, found in expected.items() if rule in found and not lines[n - 1].startswith("Lines that")]
        tree = ast.parse(path.read_text())
        for statement in tree.body:
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
                continue
            mine = [n for n in rows if statement.lineno <= n <= (statement.end_lineno or 0)]
            part = _slice(tree, statement)
            inside = [n for n in rows if any(s.lineno <= n <= (s.end_lineno or 0) for s in part.body)]
            if mine or not inside:
                yield _seed(f"{path.stem}-{statement.name}", rule, part, inside)


def _slice(tree: ast.Module, wanted: ast.stmt) -> ast.Module:
    """The imports, ``wanted``, what refers to it, and what all of these refer to."""
    by_name = {name: s for s in tree.body for name in top_names(s) if not is_import(s)}
    kept = {id(wanted)}
    callers = True
    while True:
        before = len(kept)
        for statement in tree.body:
            used = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
            if id(statement) in kept:
                kept |= {id(by_name[name]) for name in used if name in by_name}
            elif callers and used & top_names(wanted) and not is_import(statement):
                kept.add(id(statement))
        if len(kept) == before:
            break
    return ast.Module([s for s in tree.body if id(s) in kept or is_import(s)], [])


def _seed(name: str, rule: str, tree: ast.Module, rows: list[int]) -> Seed:
    """The seed in canonical layout, each mark on the very node that is reported."""
    for number, row in enumerate(rows):
        add_marks(_statement_at(tree, row), frozenset({number}))
    text, places = render(tree)
    tree = ast.parse(text)
    found = lint_text(MAIN, text.encode(), Settings(select=(rule,))).diagnostics
    levels = {}
    for number in range(len(rows)):
        here = [d for d in found if d.start.row in places[number]]
        levels[number] = here[0].level if here else None
        nodes = [_node_of(tree, d) for d in here] or [_statement_at(tree, min(places[number]))]
        for node in nodes:
            add_marks(node, frozenset({number}))
    return Seed(name, rule, tree, levels)


def _statement_at(tree: ast.Module, row: int) -> ast.AST:
    """The innermost statement that covers ``row``."""
    over = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt | ast.ExceptHandler) and node.lineno <= row <= (node.end_lineno or 0)
    ]
    return max(over, key=lambda node: (node.lineno, -(node.end_lineno or 0), node.col_offset))


def _node_of(tree: ast.Module, found: Diagnostic) -> ast.AST:
    place = (found.start.row, found.start.column - 1, found.end.row, found.end.column - 1)
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.expr):
            if (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset) == place:
                return node
    return _statement_at(tree, found.start.row)
