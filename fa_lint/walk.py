"""One iterative walk over a libcst tree, and the lowering it serves.

libcst's own visitors rebuild every node they leave and its position provider renders the whole module; a linter
needs neither. The walk lists the nodes in pre-order with an explicit stack (deep nesting costs memory, never a
crash) and the lowering then builds :mod:`fa_lint.semantics.ir` nodes back to front, children before parents.
Positions are rendered only when a rule first asks for one.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, TypeVar

import libcst as cst

from fa_lint.positions import Positions
from fa_lint.semantics import ir

__all__ = ["Lowered", "lower"]

_LAYOUT = (
    cst.BaseParenthesizableWhitespace,
    cst.TrailingWhitespace,
    cst.EmptyLine,
    cst.Comma,
    cst.Semicolon,
    cst.Dot,
    cst.Colon,
    cst.AssignEqual,
    cst.LeftParen,
    cst.RightParen,
    cst.LeftSquareBracket,
    cst.RightSquareBracket,
    cst.LeftCurlyBrace,
    cst.RightCurlyBrace,
    cst.Asynchronous,
    cst.BaseUnaryOp,
    cst.BaseBinaryOp,
    cst.BaseBooleanOp,
    cst.BaseAugOp,
    cst.BaseCompOp,
    cst.ParamSlash,
)
_SKIPPED = frozenset(
    "lpar rpar comma semicolon leading_lines lines_after_decorators header footer indent equal dot operator "
    "lbracket rbracket lbrace rbrace colon first_colon second_colon asynchronous start end conversion "
    "trailing_comma separator type_parameters posonly_ind relative default_indent default_newline encoding "
    "has_trailing_newline".split()
)
# Expressions that are rendered with nothing around them but their parentheses.
_PLAIN = (cst.Name, cst.Attribute, cst.Call, cst.Subscript, cst.BinaryOperation, cst.UnaryOperation)
# One table: an operator's libcst class name is the only part of it a rule reads.
_OPERATORS = {
    "Add": "+", "Subtract": "-", "Multiply": "*", "Divide": "/", "FloorDivide": "//", "Modulo": "%", "Power": "**",
    "MatrixMultiply": "@", "BitAnd": "&", "BitOr": "|", "BitXor": "^", "LeftShift": "<<", "RightShift": ">>",
    "Minus": "-", "Plus": "+", "BitInvert": "~", "Not": "not", "And": "and", "Or": "or", "Equal": "==",
    "NotEqual": "!=", "LessThan": "<", "LessThanEqual": "<=", "GreaterThan": ">", "GreaterThanEqual": ">=",
    "In": "in", "NotIn": "not in", "Is": "is", "IsNot": "is not",
}  # fmt: skip

_N = TypeVar("_N", bound=ir.Node)


@cache
def _fields(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind) if f.name not in _SKIPPED and "whitespace" not in f.name)


@cache
def _is_code(kind: type[Any]) -> bool:
    return issubclass(kind, cst.CSTNode) and not issubclass(kind, _LAYOUT)


def _preorder(root: cst.CSTNode) -> tuple[list[cst.CSTNode], list[int]]:
    nodes: list[cst.CSTNode] = []
    parents: list[int] = []
    stack: list[tuple[cst.CSTNode, int]] = [(root, -1)]
    while stack:
        node, parent = stack.pop()
        number = len(nodes)
        nodes.append(node)
        parents.append(parent)
        below: list[cst.CSTNode] = []
        for name in _fields(node.__class__):
            value = getattr(node, name)
            kind = value.__class__
            if kind is tuple or kind is list:
                below += [item for item in value if _is_code(item.__class__)]
            elif _is_code(kind):
                below.append(value)
        stack += [(child, number) for child in reversed(below)]
    return nodes, parents


class Lowered:
    """A lowered module, its parent table, and the positions of its nodes.

    Positions are character offsets ``(start, end)`` into the text and are computed on demand: most files that pass the
    gate hold no finding.
    """

    def __init__(self, module: cst.Module, text: str, tree: ast.Module | None = None) -> None:
        nodes, parents = _preorder(module)
        self._source: _Source | None = _Source(module, nodes, text, tree)
        self._positions: Positions | None = None
        self._spans: list[tuple[int, int]] = []
        self.module, kept = _Lowering(nodes).run()
        # A parent that the lowering folded away (an Element, an Index) hands its children to its own parent.
        self.parents = parents
        for number in range(1, len(parents)):
            above = parents[number]
            while above > 0 and not kept[above]:
                above = parents[above]
            parents[number] = above

    def span(self, node: ir.Node) -> tuple[int, int]:
        """Character offsets of a node, without the parentheses and layout around it."""
        return self._spans[node.nid] if self._source is None else self._located(self._source).span(node.nid)

    def near(self, offset: int) -> range:
        """Numbers among which are those of all statements around an offset, but for classes and the module."""
        return range(len(self._spans)) if self._source is None else self._located(self._source).near(offset)

    def source(self, node: ir.Node) -> str | None:
        """The text of an expression without asking for positions; None where they are needed."""
        tree = self._source.nodes[node.nid] if self._source is not None else None
        if self._source is None or not isinstance(tree, _PLAIN) or tree.lpar:
            return None
        text = self._source.module.code_for_node(tree)
        # Rendered by itself, a second line would stand less far in.
        return text if "\n" not in text and "\r" not in text else None

    def _located(self, source: _Source) -> Positions:
        if self._positions is None:
            self._positions = Positions(source.module, source.nodes, source.text, source.tree)
        return self._positions

    def __getstate__(self) -> dict[str, Any]:
        spans = self._spans if self._source is None else self._located(self._source).all()
        return {"module": self.module, "parents": self.parents, "_spans": spans}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _source=None, _positions=None)


@dataclass(slots=True)
class _Source:
    """What positions are made from."""

    module: cst.Module
    nodes: list[cst.CSTNode]
    text: str
    tree: ast.Module | None


def lower(module: cst.Module, text: str, tree: ast.Module | None = None) -> Lowered:
    """Lower a parsed module; ``text`` and ``tree``, the interpreter's own, are for the positions."""
    return Lowered(module, text, tree)


def _dotted(node: cst.CSTNode | None) -> str:
    parts: list[str] = []
    while isinstance(node, cst.Attribute):
        parts.append(node.attr.value)
        node = node.value
    if isinstance(node, cst.Name):
        parts.append(node.value)
    return ".".join(reversed(parts))


def _operator(node: Any) -> str:
    name = type(node.operator).__name__
    return _OPERATORS.get(name.removesuffix("Assign"), name)


def _string(node: cst.BaseString) -> object:
    if isinstance(node, cst.SimpleString | cst.ConcatenatedString):
        try:
            return node.evaluated_value
        except Exception:  # a literal that this Python reads differently is only opaque, never fatal
            return None
    return None


def _number(text: str) -> object:
    try:
        return complex(text) if text[-1] in "jJ" else float(text) if not text.isdecimal() else int(text)
    except ValueError:
        try:
            return int(text, 0)
        except ValueError:
            return None


class _Lowering:
    """Builds the IR back to front. ``_made[i]`` stands for node ``i``: an IR node, or a value for folded ones."""

    def __init__(self, nodes: list[cst.CSTNode]) -> None:
        self._nodes = nodes
        self._number = {id(node): i for i, node in enumerate(nodes)}
        self._made: list[Any] = [None] * len(nodes)

    def run(self) -> tuple[ir.Module, list[bool]]:
        for number in range(len(self._nodes) - 1, -1, -1):
            node = self._nodes[number]
            build = _BUILDERS.get(type(node))
            self._made[number] = build(self, number, node) if build else self._opaque(number, node)
        made = self._made
        kept = [isinstance(m, ir.Node) and m.nid == i for i, m in enumerate(made)]
        module = made[0]
        assert isinstance(module, ir.Module)
        return module, kept

    def of(self, node: cst.CSTNode | None) -> Any:
        return None if node is None else self._made[self._number[id(node)]]

    def all(self, nodes: Any) -> list[Any]:
        return [self._made[self._number[id(n)]] for n in nodes]

    def expr(self, node: cst.CSTNode | None) -> Any:
        made = self.of(node)
        return made if made is None or isinstance(made, ir.Expr) else ir.Opaque(0, [])

    def block(self, number: int, body: Any) -> ir.Block:
        statements: list[ir.Stmt] = []
        for item in self.all(body):
            statements.extend(item if isinstance(item, list) else [item])
        return ir.Block(number, [s for s in statements if isinstance(s, ir.Stmt)])

    def _opaque(self, number: int, node: cst.CSTNode) -> ir.Opaque:
        parts: list[ir.Node] = []
        for name in _fields(type(node)):
            value = getattr(node, name)
            for item in value if isinstance(value, (list, tuple)) else (value,):
                made = self._made[self._number[id(item)]] if id(item) in self._number else None
                if isinstance(made, ir.Node):
                    parts.append(made)
        return ir.Opaque(number, parts)

    def params(self, node: cst.Parameters) -> list[ir.Param]:
        made: list[ir.Param] = []
        groups: list[tuple[str, Any]] = [("posonly", node.posonly_params), ("plain", node.params)]
        if isinstance(node.star_arg, cst.Param):
            groups.append(("star", [node.star_arg]))
        groups.append(("kwonly", node.kwonly_params))
        if node.star_kwarg:
            groups.append(("starstar", [node.star_kwarg]))
        for kind, members in groups:
            for param in self.all(members):
                param.kind = kind
                made.append(param)
        return made


_Builder = Callable[[_Lowering, int, Any], Any]
_BUILDERS: dict[type[cst.CSTNode], _Builder] = {}


def _builds(*kinds: type[cst.CSTNode]) -> Callable[[_Builder], _Builder]:
    def register(build: _Builder) -> _Builder:
        for kind in kinds:
            _BUILDERS[kind] = build
        return build

    return register


_BUILDERS[cst.Name] = lambda lo, i, n: (
    ir.Const(i, {"None": None, "True": True, "False": False}[n.value])
    if n.value in ("None", "True", "False")
    else ir.Name(i, n.value)
)
_BUILDERS[cst.Attribute] = lambda lo, i, n: ir.Attr(i, lo.expr(n.value), n.attr.value)
_BUILDERS[cst.Integer] = lambda lo, i, n: ir.Const(i, _number(n.value.replace("_", "")))
_BUILDERS[cst.Float] = _BUILDERS[cst.Imaginary] = _BUILDERS[cst.Integer]
_BUILDERS[cst.Ellipsis] = lambda lo, i, n: ir.Const(i, ...)
_BUILDERS[cst.SimpleString] = lambda lo, i, n: ir.Const(i, _string(n))
_BUILDERS[cst.FormattedStringText] = lambda lo, i, n: ir.Opaque(i, [])
_BUILDERS[cst.FormattedString] = lambda lo, i, n: ir.FString(i, lo.all(n.parts))
_BUILDERS[cst.Arg] = lambda lo, i, n: ir.Arg(i, lo.expr(n.value), n.keyword.value if n.keyword else None, n.star)
_BUILDERS[cst.Call] = lambda lo, i, n: ir.Call(i, lo.expr(n.func), lo.all(n.args))
_BUILDERS[cst.UnaryOperation] = lambda lo, i, n: ir.Unary(i, _operator(n), lo.expr(n.expression))
_BUILDERS[cst.BinaryOperation] = lambda lo, i, n: ir.Binary(i, _operator(n), lo.expr(n.left), lo.expr(n.right))
_BUILDERS[cst.BooleanOperation] = lambda lo, i, n: ir.Bool(i, _operator(n), lo.expr(n.left), lo.expr(n.right))
_BUILDERS[cst.Comparison] = lambda lo, i, n: ir.Compare(
    i, lo.expr(n.left), [_operator(c) for c in n.comparisons], [lo.expr(c.comparator) for c in n.comparisons]
)
_BUILDERS[cst.ComparisonTarget] = lambda lo, i, n: None
_BUILDERS[cst.Index] = lambda lo, i, n: lo.expr(n.value)
_BUILDERS[cst.SubscriptElement] = lambda lo, i, n: lo.expr(n.slice)
_BUILDERS[cst.Slice] = lambda lo, i, n: ir.Slice(i, lo.expr(n.lower), lo.expr(n.upper), lo.expr(n.step))
_BUILDERS[cst.Subscript] = lambda lo, i, n: ir.Subscript(i, lo.expr(n.value), lo.all(n.slice))
_BUILDERS[cst.Element] = lambda lo, i, n: lo.expr(n.value)
_BUILDERS[cst.StarredElement] = lambda lo, i, n: ir.Starred(i, lo.expr(n.value))
_BUILDERS[cst.Tuple] = lambda lo, i, n: ir.Sequence(i, "tuple", lo.all(n.elements))
_BUILDERS[cst.List] = lambda lo, i, n: ir.Sequence(i, "list", lo.all(n.elements))
_BUILDERS[cst.Set] = lambda lo, i, n: ir.Sequence(i, "set", lo.all(n.elements))
_BUILDERS[cst.DictElement] = lambda lo, i, n: (lo.expr(n.key), lo.expr(n.value))
_BUILDERS[cst.StarredDictElement] = lambda lo, i, n: (None, lo.expr(n.value))
_BUILDERS[cst.Lambda] = lambda lo, i, n: ir.Lambda(i, lo.of(n.params), lo.expr(n.body))
_BUILDERS[cst.Param] = lambda lo, i, n: ir.Param(
    i, n.name.value, lo.expr(n.default), lo.expr(n.annotation.annotation) if n.annotation else None, "plain"
)
_BUILDERS[cst.Annotation] = lambda lo, i, n: lo.expr(n.annotation)
_BUILDERS[cst.Parameters] = lambda lo, i, n: lo.params(n)
_BUILDERS[cst.IfExp] = lambda lo, i, n: ir.Conditional(i, lo.expr(n.test), lo.expr(n.body), lo.expr(n.orelse))
_BUILDERS[cst.CompIf] = lambda lo, i, n: lo.expr(n.test)
_BUILDERS[cst.CompFor] = lambda lo, i, n: ir.Clause(
    i, lo.expr(n.target), lo.expr(n.iter), lo.all(n.ifs), lo.of(n.inner_for_in)
)
_BUILDERS[cst.ListComp] = lambda lo, i, n: ir.Comprehension(i, "list", [lo.expr(n.elt)], lo.of(n.for_in))
_BUILDERS[cst.SetComp] = lambda lo, i, n: ir.Comprehension(i, "set", [lo.expr(n.elt)], lo.of(n.for_in))
_BUILDERS[cst.GeneratorExp] = lambda lo, i, n: ir.Comprehension(i, "generator", [lo.expr(n.elt)], lo.of(n.for_in))
_BUILDERS[cst.DictComp] = lambda lo, i, n: ir.Comprehension(
    i, "dict", [lo.expr(n.key), lo.expr(n.value)], lo.of(n.for_in)
)
_BUILDERS[cst.Await] = lambda lo, i, n: ir.Await(i, lo.expr(n.expression))
_BUILDERS[cst.NamedExpr] = lambda lo, i, n: ir.Walrus(i, lo.expr(n.target), lo.expr(n.value))
_BUILDERS[cst.From] = lambda lo, i, n: lo.expr(n.item)
_BUILDERS[cst.Yield] = lambda lo, i, n: ir.Yield(i, lo.expr(n.value))
_BUILDERS[cst.SimpleStatementLine] = lambda lo, i, n: lo.all(n.body)
_BUILDERS[cst.IndentedBlock] = lambda lo, i, n: lo.block(i, n.body)
_BUILDERS[cst.SimpleStatementSuite] = _BUILDERS[cst.IndentedBlock]
_BUILDERS[cst.AssignTarget] = lambda lo, i, n: lo.expr(n.target)
_BUILDERS[cst.Assign] = lambda lo, i, n: ir.Assign(i, lo.all(n.targets), lo.expr(n.value))
_BUILDERS[cst.AugAssign] = lambda lo, i, n: ir.AugAssign(i, lo.expr(n.target), _operator(n), lo.expr(n.value))
_BUILDERS[cst.AnnAssign] = lambda lo, i, n: ir.AnnAssign(
    i, lo.expr(n.target), lo.of(n.annotation) or ir.Opaque(0, []), lo.expr(n.value)
)
_BUILDERS[cst.Expr] = lambda lo, i, n: ir.ExprStmt(i, lo.expr(n.value))
_BUILDERS[cst.Return] = lambda lo, i, n: ir.Return(i, lo.expr(n.value))
_BUILDERS[cst.Assert] = lambda lo, i, n: ir.Assert(i, lo.expr(n.test), lo.expr(n.msg))
_BUILDERS[cst.Raise] = lambda lo, i, n: ir.Raise(i, lo.expr(n.exc), lo.of(n.cause))
_BUILDERS[cst.Del] = lambda lo, i, n: ir.Delete(i, lo.expr(n.target))
_BUILDERS[cst.Pass] = lambda lo, i, n: ir.Simple(i, "pass", [])
_BUILDERS[cst.Break] = lambda lo, i, n: ir.Simple(i, "break", [])
_BUILDERS[cst.Continue] = lambda lo, i, n: ir.Simple(i, "continue", [])
_BUILDERS[cst.Global] = lambda lo, i, n: ir.Simple(i, "global", [item.name.value for item in n.names])
_BUILDERS[cst.Nonlocal] = lambda lo, i, n: ir.Simple(i, "nonlocal", [item.name.value for item in n.names])
_BUILDERS[cst.TypeAlias] = lambda lo, i, n: ir.Simple(i, "type", [n.name.value])
_BUILDERS[cst.Else] = lambda lo, i, n: lo.of(n.body)
_BUILDERS[cst.Finally] = _BUILDERS[cst.Else]
_BUILDERS[cst.If] = lambda lo, i, n: ir.If(i, lo.expr(n.test), lo.of(n.body), lo.of(n.orelse))
_BUILDERS[cst.For] = lambda lo, i, n: ir.For(i, lo.expr(n.target), lo.expr(n.iter), lo.of(n.body), lo.of(n.orelse))
_BUILDERS[cst.While] = lambda lo, i, n: ir.While(i, lo.expr(n.test), lo.of(n.body), lo.of(n.orelse))
_BUILDERS[cst.AsName] = lambda lo, i, n: lo.expr(n.name)
_BUILDERS[cst.WithItem] = lambda lo, i, n: ir.WithItem(i, lo.expr(n.item), lo.of(n.asname))
_BUILDERS[cst.With] = lambda lo, i, n: ir.With(i, lo.all(n.items), lo.of(n.body))
_BUILDERS[cst.Decorator] = lambda lo, i, n: lo.expr(n.decorator)
_BUILDERS[cst.FunctionDef] = lambda lo, i, n: ir.FunctionDef(
    i, n.name.value, lo.of(n.params), lo.of(n.returns), lo.all(n.decorators), lo.of(n.body)
)
_BUILDERS[cst.ClassDef] = lambda lo, i, n: ir.ClassDef(
    i, n.name.value, lo.all(n.bases) + lo.all(n.keywords), lo.all(n.decorators), lo.of(n.body)
)
_BUILDERS[cst.MatchCase] = lambda lo, i, n: ir.Case(i, lo.expr(n.pattern), lo.expr(n.guard), lo.of(n.body))
_BUILDERS[cst.Match] = lambda lo, i, n: ir.Match(i, lo.expr(n.subject), lo.all(n.cases))


@_builds(cst.FormattedStringExpression)
def _formatted(lo: _Lowering, number: int, node: cst.FormattedStringExpression) -> ir.Expr:
    spec = [part for part in lo.all(node.format_spec or ()) if isinstance(part, ir.Expr)]
    return ir.Opaque(number, [lo.expr(node.expression), *spec])


@_builds(cst.ConcatenatedString)
def _concatenated(lo: _Lowering, number: int, node: cst.ConcatenatedString) -> ir.Expr:
    value = _string(node)
    return ir.Const(number, value) if value is not None else ir.FString(number, [lo.of(node.left), lo.of(node.right)])


@_builds(cst.Dict)
def _dict(lo: _Lowering, number: int, node: cst.Dict) -> ir.Expr:
    pairs = lo.all(node.elements)
    return ir.Keyed(number, [key for key, _ in pairs], [value for _, value in pairs])


@_builds(cst.ExceptHandler, cst.ExceptStarHandler)
def _handler(lo: _Lowering, number: int, node: cst.ExceptHandler | cst.ExceptStarHandler) -> ir.Handler:
    name = lo.of(node.name) if node.name else None
    return ir.Handler(number, lo.expr(node.type), name.id if isinstance(name, ir.Name) else None, lo.of(node.body))


@_builds(cst.Try, cst.TryStar)
def _try(lo: _Lowering, number: int, node: cst.Try | cst.TryStar) -> ir.Try:
    return ir.Try(number, lo.of(node.body), lo.all(node.handlers), lo.of(node.orelse), lo.of(node.finalbody))


def _alias(alias: cst.ImportAlias) -> tuple[str, str | None]:
    local = alias.asname.name if alias.asname else None
    return _dotted(alias.name), local.value if isinstance(local, cst.Name) else None


@_builds(cst.Import)
def _import(lo: _Lowering, number: int, node: cst.Import) -> ir.Import:
    return ir.Import(number, [_alias(alias) for alias in node.names])


@_builds(cst.ImportFrom)
def _import_from(lo: _Lowering, number: int, node: cst.ImportFrom) -> ir.ImportFrom:
    module = "." * len(node.relative) + _dotted(node.module)
    names = None if isinstance(node.names, cst.ImportStar) else [_alias(alias) for alias in node.names]
    return ir.ImportFrom(number, module, names)


@_builds(cst.Module)
def _module(lo: _Lowering, number: int, node: cst.Module) -> ir.Module:
    return ir.Module(number, lo.block(number, node.body))
