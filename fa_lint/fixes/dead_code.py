"""Local values that only the replaced code read: their assignments go with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fa_lint.source.text import ParseFailure, Source

__all__ = ["dead_spans"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef
# Arithmetic on tensors: nobody misses the call where the value is not read.
_PURE_CALLS = frozenset(
    "norm vector_norm dot vdot inner matmul mm mv sum mean pow square sqrt rsqrt abs clamp clamp_min clip flatten view "
    "reshape ravel detach item float double half mul add sub div cosine_similarity max min maximum unsqueeze "
    "squeeze".split()
)
_PURE_NODES = (
    ast.Name, ast.Attribute, ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.expr_context,
    ast.Subscript, ast.Slice, ast.Tuple, ast.keyword,
)  # fmt: skip


def dead_spans(before: ast.Module, source: Source) -> list[tuple[int, int, str]]:
    """The lines of a fixed file that assign a local value which the file ``before`` read and this one does not."""
    after = source.parse()
    if isinstance(after, ParseFailure) or source.blocks:
        return []
    old = dict(_functions(before))
    spans = []
    for path, function in _functions(after):
        if path in old:
            spans += [_span(node, source) for node in _dead(old[path], function) if _is_alone(node, source)]
    return sorted(set(spans))


def _functions(tree: ast.Module) -> Iterator[tuple[str, _Function]]:
    """Yield every function with its path, in source order; without recursion, as expressions may be deep."""
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, path = waiting.pop()
        if isinstance(node, _Function):
            yield path, node
        for child in reversed(list(ast.iter_child_nodes(node))):
            waiting.append((child, f"{path}.{child.name}" if isinstance(child, _Function | ast.ClassDef) else path))


def _dead(old: _Function, new: _Function) -> Iterator[ast.Assign]:
    unread = _names(old, ast.Load) & _names(new, ast.Store) - _names(new, ast.Load) - _declared(new)
    for name in unread:
        bound = [n for n in ast.walk(new) if isinstance(n, ast.Name) and n.id == name]
        plain = [n for body in _bodies(new) if len(body) > 1 for n in body if _assigns(n, name)]
        if len(bound) == len(plain):
            yield from (node for node in plain if isinstance(node, ast.Assign))


def _assigns(node: ast.stmt, name: str) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name(id=target)], value=value):
            return target == name and all(_is_pure(part) for part in ast.walk(value))
    return False


def _is_pure(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        func = node.func
        return (func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")) in _PURE_CALLS
    return isinstance(node, _PURE_NODES)


def _names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, context)}


def _declared(node: ast.AST) -> set[str]:
    return {name for part in ast.walk(node) if isinstance(part, ast.Global | ast.Nonlocal) for name in part.names}


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for part in ast.walk(node):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(part, field, None)
            if isinstance(block, list):
                yield block


def _is_alone(node: ast.stmt, source: Source) -> bool:
    """Return True where a statement shares its rows with a comment at the most."""
    start, end = source.line(node.lineno), source.line(node.end_lineno or node.lineno)
    rest = end.encode()[node.end_col_offset or 0 :].decode().strip()
    return not start.encode()[: node.col_offset].strip() and (not rest or rest.startswith("#"))


def _span(node: ast.stmt, source: Source) -> tuple[int, int, str]:
    last = node.end_lineno or node.lineno
    end = source.starts[last] if last < len(source.starts) else len(source.text)
    return source.starts[node.lineno - 1], end, ""
