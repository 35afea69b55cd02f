"""What the families share: the shape of a rewrite, the expressions that matter in a seed, and their operands."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

from ..programs import Draft, Program
from ..trees import Parents, first_definition, imported, marked, top_names
from ._reading import read

# Returns None where the rewrite does not apply to the seed.
Apply = Callable[[Draft], Draft | Program | None]
_COSINES = ("cosine_similarity", "CosineSimilarity", "cosine_embedding_loss")
_NO_VALUES = {"dim", "axis", "eps", "mode", "self", "keepdim"}


@dataclass(frozen=True)
class Rewrite:
    name: str
    family: str
    apply: Apply

    def program(self, draft: Draft) -> Program | None:
        made = self.apply(draft)
        return made.program() if isinstance(made, Draft) else made


def cosines(draft: Draft) -> list[ast.AST]:
    """The cosines in the function of the mark, else those of the whole program."""
    parents = Parents(draft.tree)
    functions = [f for node in marked(draft.tree) if (f := parents.function(node)) is not None]
    for holder in (*functions, draft.tree):
        found = [n for n in ast.walk(holder) if _is_library(n) or read(n, parents.function(n)) is not None]
        if found:
            return found[:1]
    return []


def _is_library(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _COSINES


def focus(draft: Draft) -> list[ast.AST]:
    """The expressions whose vectors a rewrite changes: the marked ones, or the cosines a rule follows to its mark."""
    if draft.seed.rule in ("FAL405", "FAL501"):
        return cosines(draft) or reported(draft)
    return reported(draft) or cosines(draft)


def reported(draft: Draft) -> list[ast.AST]:
    """The marked expressions that compute with vectors."""
    parents = Parents(draft.tree)
    found = [node for node in marked(draft.tree) if isinstance(node, ast.expr) and values_in(draft, node)]
    if found:
        return list(found)
    for node in marked(draft.tree):
        statement = parents.statement(node)
        if isinstance(statement, ast.AugAssign) and list(operands(statement.value)):
            return [statement.value]
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Subscript):
            if values_in(draft, statement.targets[0]) and draft.seed.rule == "FAL203":
                return [statement.targets[0]]
    return []


def operands(node: ast.AST) -> Iterator[ast.expr]:
    """The values that ``node`` computes with: names, and attributes and items of names, as far as they reach."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            yield from operands(node.func.value)
        for argument in node.args:
            yield from operands(argument)
        for keyword in node.keywords:
            if keyword.arg in ("x1", "x2", "input"):
                yield from operands(keyword.value)
    elif isinstance(node, ast.Compare | ast.Lambda | ast.IfExp):
        return
    elif isinstance(node, ast.Attribute | ast.Subscript | ast.Name) and _is_chain(node):
        yield node
    else:
        for child in ast.iter_child_nodes(node):
            yield from operands(child)


def _is_chain(node: ast.expr) -> bool:
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Name | ast.Constant) and _is_chain(node.value)
    if isinstance(node, ast.Attribute):
        return _is_chain(node.value) or ast.unparse(node.value) == "self"
    return isinstance(node, ast.Name)


def root(node: ast.expr) -> str:
    while not isinstance(node, ast.Name):
        assert isinstance(node, ast.Attribute | ast.Subscript)
        node = node.value
    return node.id


def values_in(draft: Draft, node: ast.AST) -> dict[str, list[ast.expr]]:
    """The first two vectors in ``node`` by their text; not modules, functions, constants nor dimensions."""
    top = {name for s in draft.tree.body for name in top_names(s)} | imported(draft.tree) | set(dir(builtins))
    function = Parents(draft.tree).function(node)
    numbers = _numbers(function) if function is not None else set()
    top |= _bound_below(node)
    found: dict[str, list[ast.expr]] = {}
    for value in operands(node):
        text = ast.unparse(value)
        local = root(value) not in top and text not in _NO_VALUES | numbers
        if local and not text.endswith((".dim", "sensitivity", "eps")):
            found.setdefault(text, []).append(value)
    return dict(list(found.items())[:2])


def _bound_below(node: ast.AST) -> set[str]:
    """The names that comprehensions and lambdas inside ``node`` bind."""
    found: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.comprehension):
            found |= {n.id for n in ast.walk(inner.target) if isinstance(n, ast.Name)}
        elif isinstance(inner, ast.arg):
            found.add(inner.arg)
    return found


def _numbers(function: ast.FunctionDef) -> set[str]:
    """The names that stand for numbers and for norms."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            text = ast.unparse(node.value)
            if isinstance(node.value, ast.Constant) or "norm" in text or "sum" in text:
                found.add(node.targets[0].id)
    return found


def hoistable(draft: Draft, node: ast.AST) -> tuple[list[ast.stmt], ast.stmt] | None:
    """The block and the statement before which values of ``node`` can be prepared; None inside a comprehension."""
    parents = Parents(draft.tree)
    statement = parents.statement(node)
    if statement is None or isinstance(statement, ast.While | ast.FunctionDef | ast.ClassDef):
        return None
    used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    if used & parents.inner_names(node):
        return None
    block = parents.block(statement)
    return None if block is None else (block, statement)


def before(block: list[ast.stmt], statement: ast.stmt, added: list[ast.stmt]) -> None:
    place = next(n for n, s in enumerate(block) if s is statement)
    block[place:place] = added


def define(draft: Draft, code: list[ast.stmt]) -> None:
    """Add definitions below the imports."""
    place = first_definition(draft.tree)
    draft.tree.body[place:place] = deepcopy(code)
