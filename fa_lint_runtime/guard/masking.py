"""Whether the source treats the NaN of a call: in its own statement, or in a later one that names the result."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice

from torch import Tensor

from .callsite import Call
from .measurement import Measurement

__all__ = ["masks_nan", "unmasked"]

# Functions and methods that choose between the result and something else, or leave NaN out.
_MASKING = frozenset(
    "where nan_to_num nan_to_num_ masked_fill masked_fill_ masked_select masked_scatter isnan isfinite "
    "nanmean nansum nanmedian nanquantile".split()
)
_CONDITIONS = ast.Compare | ast.UnaryOp | ast.BinOp | ast.BoolOp | ast.Call
_SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module

Found = tuple[int, Measurement | None]

_known: dict[tuple[int, int], bool] = {}


def masks_nan(call: Call | None) -> bool:
    """Return True if what the call returns is masked; False where there is no source to tell."""
    if call is None:
        return False
    found = _known.get(call.key)
    if found is None:
        found = _known[call.key] = _is_masked(call)
    return found


def unmasked(check: Callable[..., Found], result: Tensor, call: Call | None) -> Callable[..., Found]:
    """The check, which finds nothing where the NaN is masked.

    But for a result with a graph: its gradient is NaN although the value is masked, as 0 times NaN is NaN.
    """

    def run(operands: tuple[Tensor, ...], now: bool) -> Found:
        total, found = check(*operands, now=now)
        return total, None if found is not None and not result.requires_grad and masks_nan(call) else found

    return run


class _Source:
    """The syntax tree of a file, with the way up."""

    def __init__(self, text: str) -> None:
        self.tree = ast.parse(text)
        self._parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """Its parent first, the module last."""
        while (parent := self._parents.get(node)) is not None:
            yield parent
            node = parent

    def at(self, position: tuple[int | None, ...]) -> ast.AST | None:
        """What lies from there to there: (line, end line, column, end column)."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.expr | ast.AugAssign):
                if (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset) == position:
                    return node
        return None


@lru_cache(maxsize=16)
def _source(file: str) -> _Source | None:
    try:
        return _Source("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return None


def _is_masked(call: Call) -> bool:
    position = next(islice(call.code.co_positions(), call.instruction // 2, None), None)
    source = _source(call.code.co_filename)
    node = None if source is None or position is None else source.at(position)
    if source is None or node is None:
        return False
    statement: ast.AST = node
    below = node
    for above in source.above(node):
        if isinstance(statement, ast.stmt):
            break
        if _masks(above, below):
            return True
        statement = below = above
    scope = next((above for above in source.above(statement) if isinstance(above, _SCOPES)), source.tree)
    end = getattr(statement, "end_lineno", 0), getattr(statement, "end_col_offset", 0)
    return any(_masks_later(scope, name, end) for name in _names(statement))


def _masks(node: ast.AST, part: ast.AST) -> bool:
    """``where(…, part, …)``, ``part.nan_to_num()``, ``part[condition]``, or a comparison in which NaN is expected."""
    if isinstance(node, ast.Call):
        return _name(node.func) in _MASKING or _expects_nan(node)
    return isinstance(node, ast.Subscript) and node.value is part and isinstance(node.slice, _CONDITIONS)


def _expects_nan(call: ast.Call) -> bool:
    """``equal_nan=True``: of ``torch.testing.assert_close``, ``allclose`` and ``isclose``."""
    return any(
        k.arg == "equal_nan" and isinstance(k.value, ast.Constant) and bool(k.value.value) for k in call.keywords
    )


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _names(statement: ast.AST) -> list[str]:
    """What the statement assigns to, as text: names and attributes."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
        targets = [statement.target]
    return [ast.unparse(target) for target in targets if isinstance(target, ast.Name | ast.Attribute)]


def _masks_later(scope: ast.AST, name: str, end: tuple[int, int]) -> bool:
    """Whether a statement of this scope after that line and column masks ``name``."""
    for node in ast.walk(scope):
        if (getattr(node, "lineno", 0), getattr(node, "col_offset", 0)) <= end:
            continue
        if isinstance(node, ast.Call) and (_name(node.func) in _MASKING or _expects_nan(node)):
            if any(_is(part, name) for part in ast.walk(node)):
                return True
        if isinstance(node, ast.Subscript) and _is(node.value, name) and isinstance(node.slice, _CONDITIONS):
            return True
    return False


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) == name
