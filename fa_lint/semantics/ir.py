"""The lowered program: what is left of a syntax tree once layout is forgotten.

One class a construct, plain slots, no parent pointers, so that a module can be pickled.
Every node carries ``nid``, its number in pre-order: parents are smaller than their children, and tables that are
indexed by it (``parents``, positions) replace pointers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

__all__ = [
    "AnnAssign",
    "Arg",
    "Assert",
    "Assign",
    "AugAssign",
    "Await",
    "Binary",
    "Block",
    "Bool",
    "Call",
    "Case",
    "ClassDef",
    "Clause",
    "Compare",
    "Comprehension",
    "Conditional",
    "Const",
    "Delete",
    "Expr",
    "ExprStmt",
    "FString",
    "For",
    "FunctionDef",
    "Handler",
    "If",
    "Import",
    "ImportFrom",
    "Keyed",
    "Lambda",
    "Module",
    "Name",
    "Attr",
    "Node",
    "Opaque",
    "Param",
    "Raise",
    "Return",
    "Sequence",
    "Simple",
    "Slice",
    "Starred",
    "Stmt",
    "Subscript",
    "Try",
    "Unary",
    "Walrus",
    "While",
    "With",
    "WithItem",
    "Yield",
    "children",
    "flat",
    "same",
    "walk",
]


@dataclass(slots=True, eq=False)
class Node:
    nid: int


class Expr(Node):
    __slots__ = ()


class Stmt(Node):
    __slots__ = ()


@dataclass(slots=True, eq=False)
class Name(Expr):
    id: str


@dataclass(slots=True, eq=False)
class Attr(Expr):
    value: Expr
    attr: str


@dataclass(slots=True, eq=False)
class Const(Expr):
    """A literal number, string, bytes, bool, None or Ellipsis."""

    value: object


@dataclass(slots=True, eq=False)
class Arg(Node):
    value: Expr
    keyword: str | None
    star: str


@dataclass(slots=True, eq=False)
class Call(Expr):
    func: Expr
    args: list[Arg]


@dataclass(slots=True, eq=False)
class Unary(Expr):
    op: str
    operand: Expr


@dataclass(slots=True, eq=False)
class Binary(Expr):
    op: str
    left: Expr
    right: Expr


@dataclass(slots=True, eq=False)
class Bool(Expr):
    op: str
    left: Expr
    right: Expr


@dataclass(slots=True, eq=False)
class Compare(Expr):
    left: Expr
    ops: list[str]
    comparators: list[Expr]


@dataclass(slots=True, eq=False)
class Subscript(Expr):
    value: Expr
    index: list[Expr]


@dataclass(slots=True, eq=False)
class Slice(Expr):
    lower: Expr | None
    upper: Expr | None
    step: Expr | None


@dataclass(slots=True, eq=False)
class Sequence(Expr):
    """A tuple, list or set display."""

    kind: str
    items: list[Expr]


@dataclass(slots=True, eq=False)
class Keyed(Expr):
    """A dict display; a key of None is ``**value``."""

    keys: list[Expr | None]
    values: list[Expr]


@dataclass(slots=True, eq=False)
class Param(Node):
    name: str
    default: Expr | None
    annotation: Expr | None
    kind: str


@dataclass(slots=True, eq=False)
class Lambda(Expr):
    params: list[Param]
    body: Expr


@dataclass(slots=True, eq=False)
class Conditional(Expr):
    test: Expr
    body: Expr
    orelse: Expr


@dataclass(slots=True, eq=False)
class Clause(Node):
    target: Expr
    iter: Expr
    conditions: list[Expr]
    inner: Clause | None


@dataclass(slots=True, eq=False)
class Comprehension(Expr):
    kind: str
    elements: list[Expr]
    clause: Clause


@dataclass(slots=True, eq=False)
class Await(Expr):
    value: Expr


@dataclass(slots=True, eq=False)
class Starred(Expr):
    value: Expr


@dataclass(slots=True, eq=False)
class FString(Expr):
    parts: list[Expr]


@dataclass(slots=True, eq=False)
class Walrus(Expr):
    target: Expr
    value: Expr


@dataclass(slots=True, eq=False)
class Yield(Expr):
    value: Expr | None


@dataclass(slots=True, eq=False)
class Opaque(Expr):
    """A construct no rule asks about; its parts are still walked."""

    parts: list[Node]


@dataclass(slots=True, eq=False)
class Block(Node):
    body: list[Stmt]


@dataclass(slots=True, eq=False)
class Assign(Stmt):
    targets: list[Expr]
    value: Expr


@dataclass(slots=True, eq=False)
class AugAssign(Stmt):
    target: Expr
    op: str
    value: Expr


@dataclass(slots=True, eq=False)
class AnnAssign(Stmt):
    target: Expr
    annotation: Expr
    value: Expr | None


@dataclass(slots=True, eq=False)
class ExprStmt(Stmt):
    value: Expr


@dataclass(slots=True, eq=False)
class Return(Stmt):
    value: Expr | None


@dataclass(slots=True, eq=False)
class Assert(Stmt):
    test: Expr
    msg: Expr | None


@dataclass(slots=True, eq=False)
class Raise(Stmt):
    exc: Expr | None
    cause: Expr | None


@dataclass(slots=True, eq=False)
class Delete(Stmt):
    target: Expr


@dataclass(slots=True, eq=False)
class Simple(Stmt):
    """pass, break, continue, global, nonlocal, type alias: ``names`` where there are any."""

    kind: str
    names: list[str]


@dataclass(slots=True, eq=False)
class Import(Stmt):
    """``aliases``: (dotted name, local name or None)."""

    aliases: list[tuple[str, str | None]]


@dataclass(slots=True, eq=False)
class ImportFrom(Stmt):
    """``names`` is None for ``import *``; ``module`` keeps its leading dots."""

    module: str
    names: list[tuple[str, str | None]] | None


@dataclass(slots=True, eq=False)
class If(Stmt):
    test: Expr
    body: Block
    orelse: Stmt | Block | None


@dataclass(slots=True, eq=False)
class For(Stmt):
    target: Expr
    iter: Expr
    body: Block
    orelse: Block | None


@dataclass(slots=True, eq=False)
class While(Stmt):
    test: Expr
    body: Block
    orelse: Block | None


@dataclass(slots=True, eq=False)
class WithItem(Node):
    context: Expr
    target: Expr | None


@dataclass(slots=True, eq=False)
class With(Stmt):
    items: list[WithItem]
    body: Block


@dataclass(slots=True, eq=False)
class Handler(Node):
    type: Expr | None
    name: str | None
    body: Block


@dataclass(slots=True, eq=False)
class Try(Stmt):
    body: Block
    handlers: list[Handler]
    orelse: Block | None
    finalbody: Block | None


@dataclass(slots=True, eq=False)
class Case(Node):
    pattern: Expr
    guard: Expr | None
    body: Block


@dataclass(slots=True, eq=False)
class Match(Stmt):
    subject: Expr
    cases: list[Case]


@dataclass(slots=True, eq=False)
class FunctionDef(Stmt):
    name: str
    params: list[Param]
    returns: Expr | None
    decorators: list[Expr]
    body: Block


@dataclass(slots=True, eq=False)
class ClassDef(Stmt):
    name: str
    bases: list[Arg]
    decorators: list[Expr]
    body: Block


@dataclass(slots=True, eq=False)
class Module(Node):
    body: Block


_CHILD_FIELDS: dict[type[Node], tuple[str, ...]] = {}
_FIELDS: dict[type[Node], tuple[str, ...]] = {}


def _child_fields(kind: type[Node]) -> tuple[str, ...]:
    if kind in _CHILD_FIELDS:
        return _CHILD_FIELDS[kind]
    scalars = {"nid", "id", "attr", "op", "ops", "kind", "names", "keyword", "star", "name", "aliases", "module"}
    names = (field.name for field in fields(kind))
    _CHILD_FIELDS[kind] = tuple(n for n in names if n not in scalars and not (n == "value" and kind is Const))
    return _CHILD_FIELDS[kind]


def children(node: Node) -> Iterator[Node]:
    """The direct parts of a node, in field order."""
    for name in _child_fields(type(node)):
        value = getattr(node, name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, Node):
                    yield item


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, depth first, without recursion."""
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(reversed(list(children(top))))


def last_name(node: Node | None) -> str:
    """``x`` and ``y.x`` by their last name; empty for anything else."""
    return node.id if isinstance(node, Name) else node.attr if isinstance(node, Attr) else ""


def flat(target: Expr) -> Iterator[Expr]:
    """The targets of an unpacking, or the target itself."""
    stack = [target]
    while stack:
        match stack.pop():
            case Sequence(items=items):
                stack += reversed(items)
            case Starred(value=inner):
                stack.append(inner)
            case single:
                yield single


def same(left: Node, right: Node) -> bool:
    """True if two nodes are the same code, layout apart."""
    stack: list[tuple[object, object]] = [(left, right)]
    while stack:
        one, other = stack.pop()
        if isinstance(one, Node) and isinstance(other, Node):
            if type(one) is not type(other):
                return False
            kind = type(one)
            if kind not in _FIELDS:
                _FIELDS[kind] = tuple(f.name for f in fields(kind) if f.name != "nid")
            stack += [(getattr(one, name), getattr(other, name)) for name in _FIELDS[kind]]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            stack += list(zip(one, other, strict=True))
        elif one != other or type(one) is not type(other):
            return False
    return True
