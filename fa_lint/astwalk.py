"""Walking the interpreter's own syntax trees, fast: most files are walked, and few hold anything."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

__all__ = ["FUNCTIONS", "LEAVES", "USUAL", "children", "last_name"]

FUNCTIONS = frozenset({ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda})
LEAVES = frozenset({ast.Name, ast.Constant})
# What a node's dictionary holds besides code: positions, identifiers, contexts and operators.
_NO_CODE = frozenset({int, str, type(None), bytes, float, complex, bool, type(...)}) | frozenset(
    kind
    for base in (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
    for kind in base.__subclasses__()
)
# Nine in ten nodes that have parts are of these classes.
USUAL: dict[type[ast.AST], Callable[[Any], list[Any]]] = {
    ast.Assign: lambda node: [*node.targets, node.value],
    ast.Attribute: lambda node: [node.value],
    ast.BinOp: lambda node: [node.left, node.right],
    ast.BoolOp: lambda node: node.values,
    ast.Call: lambda node: [node.func, *node.args, *node.keywords],
    ast.Compare: lambda node: [node.left, *node.comparators],
    ast.Constant: lambda node: [],
    ast.Expr: lambda node: [node.value],
    ast.If: lambda node: [node.test, *node.body, *node.orelse],
    ast.List: lambda node: node.elts,
    ast.Name: lambda node: [],
    ast.Subscript: lambda node: [node.value, node.slice],
    ast.Tuple: lambda node: node.elts,
    ast.UnaryOp: lambda node: [node.operand],
    ast.keyword: lambda node: [node.value],
}


def children(node: ast.AST) -> list[Any]:
    """What ``ast.iter_child_nodes`` gives, operators and contexts left out, in a fraction of the time.

    The list may be the tree's own: it is not to be changed.
    """
    usual = USUAL.get(node.__class__)
    if usual is not None:
        return usual(node)
    below: list[Any] = []
    for value in node.__dict__.values():
        kind = value.__class__
        if kind is list:
            below += [item for item in value if isinstance(item, ast.AST)]
        elif kind not in _NO_CODE:
            below.append(value)
    return below


def last_name(node: ast.AST) -> str:
    """``c`` of ``a.b.c`` and of ``c``; nothing for what is neither a name nor an attribute."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
