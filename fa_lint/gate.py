"""Cheap gates: which rules can possibly fire in a file, before libcst is asked.

Two gates, both sound (they may let a clean file pass, they never hold back one with a finding):

1. a byte pattern per rule, over the raw file;
2. the *outline*: one pass over the interpreter's own ``ast`` (ten times faster than a lossless parse, and needed
   anyway to report files that are not Python). It keeps the shapes of the calls that rules watch.

Where the interpreter cannot parse a file that libcst can (a newer grammar), the second gate lets everything pass.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

__all__ = ["CallShape", "Outline", "outline"]

_WATCHED = frozenset(
    "norm vector_norm normalize pairwise_distance cosine_similarity CosineSimilarity cosine_embedding_loss "
    "CosineEmbeddingLoss acos arccos acos_ arccos_".split()
)
_EPS_NAME = re.compile(r"eps|epsilon|tiny|stabil|sensitiv|delta|smooth|tol", re.IGNORECASE)
_FLOORS = frozenset({"clamp", "clamp_", "clamp_min", "clamp_min_", "maximum", "max", "clip", "fmax", "finfo"})


@dataclass(frozen=True, slots=True)
class CallShape:
    """A watched call: its last name, whether a dot stands before it, one letter a positional argument, keywords.

    The letters: ``-`` a negative literal, ``0`` another literal, ``n`` a name or attribute, ``*`` unpacking,
    ``x`` anything else.
    """

    name: str
    dotted: bool
    positional: str
    keywords: frozenset[str]


@dataclass(slots=True)
class Outline:
    """What the second gate knows of a file."""

    calls: list[CallShape] = field(default_factory=list)
    aliased: set[str] = field(default_factory=set)
    floored_division: bool = False
    zeroed_entries: bool = False
    zero_test: bool = False

    def called(self, *names: str) -> list[CallShape]:
        return [call for call in self.calls if call.name in names]


def _letter(node: ast.expr) -> str:
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
            return "-"
        case ast.Constant():
            return "0"
        case ast.Name() | ast.Attribute():
            return "n"
        case ast.Starred():
            return "*"
    return "x"


def _last(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _children(node: ast.AST) -> list[ast.AST]:
    below: list[ast.AST] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            below.append(value)
        elif isinstance(value, list):
            below.extend(item for item in value if isinstance(item, ast.AST))
    return below


def _has_floor(node: ast.AST) -> bool:
    stack = [node]
    while stack:
        top = stack.pop()
        match top:
            case ast.Constant(value=float() as value) if 0 < value < 1e-2:
                return True
            case ast.BinOp(op=ast.Pow(), right=ast.UnaryOp()):
                return True
            case ast.Name() | ast.Attribute() if _EPS_NAME.search(_last(top)) or _last(top) in _FLOORS:
                return True
        stack.extend(_children(top))
    return False


class _Outliner:
    def __init__(self) -> None:
        self.found = Outline()
        self._floored: set[str] = set()
        self._divisors: set[str] = set()

    def run(self, tree: ast.AST) -> Outline:
        stack: list[ast.AST] = [tree]
        while stack:
            node = stack.pop()
            match node:
                case ast.Call(func=func):
                    self._call(node, func)
                    # The function part was judged; what it is called on was not.
                    stack.extend(_children(func) if _last(func) in _WATCHED else [func])
                    stack.extend(node.args)
                    stack.extend(keyword.value for keyword in node.keywords)
                    continue
                case ast.Name() | ast.Attribute() if _last(node) in _WATCHED:
                    self.found.aliased.add(_last(node))
                case ast.ImportFrom(names=names):
                    self.found.aliased.update(n.name for n in names if n.asname and n.name in _WATCHED)
                case ast.BinOp(op=ast.Div(), right=divisor):
                    self._division(divisor)
                case ast.AugAssign(op=ast.Div(), value=divisor):
                    self._division(divisor)
                case ast.Assign(targets=targets, value=value):
                    self._assign(targets, value)
                case ast.AnnAssign(target=target, value=ast.expr() as value):
                    self._assign([target], value)
                case ast.Compare(ops=[ast.Eq() | ast.NotEq()], left=left, comparators=[right]):
                    if "sum" in (self._called(left), self._called(right)):
                        self.found.zero_test = True
            stack.extend(_children(node))
        self.found.floored_division |= bool(self._divisors & self._floored)
        return self.found

    def _called(self, node: ast.AST) -> str:
        while isinstance(node, ast.Call | ast.BinOp | ast.UnaryOp):
            if isinstance(node, ast.Call):
                name = _last(node.func)
                if name not in ("item", "all", "any", "float", "abs", "int"):
                    return name
                node = node.args[0] if isinstance(node.func, ast.Name) and node.args else _receiver(node.func)
            else:
                node = node.left if isinstance(node, ast.BinOp) else node.operand
        return ""

    def _call(self, node: ast.Call, func: ast.expr) -> None:
        name = _last(func)
        if name in _WATCHED:
            letters = "".join(_letter(arg) for arg in node.args)
            keywords = frozenset(keyword.arg or "**" for keyword in node.keywords)
            self.found.calls.append(CallShape(name, isinstance(func, ast.Attribute), letters, keywords))
        if name in ("div", "divide", "true_divide", "div_") and node.args:
            self._division(node.args[-1])

    def _division(self, divisor: ast.AST) -> None:
        stack = [divisor]
        while stack:
            top = stack.pop()
            if isinstance(top, ast.Name | ast.Attribute):
                self._divisors.add(_last(top))
            elif isinstance(top, ast.BinOp) and isinstance(top.op, ast.Add) and _has_floor(top):
                # Either side may be a name bound to a norm elsewhere, so a root is not asked for here.
                self.found.floored_division = True
            elif isinstance(top, ast.Call) and _last(top.func) in _FLOORS:
                self.found.floored_division = True
            stack.extend(_children(top))

    def _assign(self, targets: list[ast.expr], value: ast.expr) -> None:
        if _has_floor(value):
            for target in targets:
                for part in target.elts if isinstance(target, ast.Tuple) else [target]:
                    self._floored.add(_last(part))
        if isinstance(value, ast.Constant) and value.value == 0:
            for target in targets:
                if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Compare | ast.Name | ast.BinOp):
                    self.found.zeroed_entries = True


def _receiver(func: ast.expr) -> ast.AST:
    return func.value if isinstance(func, ast.Attribute) else func


def outline(tree: ast.AST) -> Outline:
    """The outline of a parsed file."""
    return _Outliner().run(tree)
