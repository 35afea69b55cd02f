"""Lower the interpreter's syntax tree to :mod:`fa_lint.semantics.ir`, and keep where each node stands in the text."""

from __future__ import annotations

import ast
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fa_lint.semantics import ir

__all__ = ["Lowered", "Span", "Statements", "lower"]

# Character offsets of a node in the text: start and end.
Span = tuple[int, int]

_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>",
    ast.USub: "-", ast.UAdd: "+", ast.Invert: "~", ast.Not: "not", ast.And: "and", ast.Or: "or", ast.Eq: "==",
    ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in", ast.NotIn: "not in",
    ast.Is: "is", ast.IsNot: "is not",
}  # fmt: skip
# Boolean chains up to this length nest to the left as they are written; longer ones become balanced trees, so that
# ten thousand terms are no ten thousand levels.
_LEFT_NESTED = 16
# Before 3.12 the interpreter guesses where the expressions inside an f-string stand.
_GUESSED_IN_F_STRINGS = sys.version_info < (3, 12)


class _InFString:
    """A part of an f-string: where it cannot be found in the text, the whole string stands for it."""

    __slots__ = ("around", "expression")

    def __init__(self, expression: ast.AST, around: ast.JoinedStr) -> None:
        self.expression = expression
        self.around = around


class Lowered:
    """A lowered module with the parent of each node (by number) and its place in the text."""

    def __init__(
        self, module: ir.Module, nodes: list[ir.Node | None], parents: list[int], spans: list[Any], text: str
    ) -> None:
        self.module = module
        # By number; the module itself, number 0, is None.
        self.nodes = nodes
        self.parents = parents
        # Row and column as the interpreter counts them, or the offsets once somebody has asked for them.
        self._spans = spans
        self._text = text
        self._starts: list[int] = []

    def span(self, node: ir.Node) -> Span:
        """Return the character offsets of a node, without parentheses around it; (0, 0) where it has no text."""
        known = self._spans[node.nid]
        if isinstance(known, tuple):
            return known
        found = self._located(known) if known is not None else self._spanned(node)
        self._spans[node.nid] = found
        return found

    def _spanned(self, node: ir.Node) -> Span:
        """From the first to the last part of a node that the interpreter gives no place."""
        inside = [span for part in ir.children(node) if (span := self.span(part)) != (0, 0)]
        return (min(s for s, _ in inside), max(e for _, e in inside)) if inside else (0, 0)

    def _located(self, tree: Any) -> Span:
        if isinstance(tree, _InFString):
            span = self._located(tree.expression)
            return span if self._is_written_at(tree.expression, span) else self._located(tree.around)
        return self._offset(tree.lineno, tree.col_offset), self._offset(tree.end_lineno, tree.end_col_offset)

    def _is_written_at(self, tree: ast.AST, span: Span) -> bool:
        try:
            written = ast.parse(f"({self._text[slice(*span)]})", mode="eval").body
        except (SyntaxError, ValueError):
            return False
        return ast.dump(written) == ast.dump(tree)

    def _offset(self, row: int, column: int) -> int:
        if not self._starts:
            self._starts = [0, *(at.end() for at in re.finditer(r"\r\n?|\n", self._text))]
        start = self._starts[min(row, len(self._starts)) - 1]
        # The interpreter counts bytes; a line has no more characters than bytes.
        before = self._text[start : start + column]
        return start + (column if before.isascii() else len(before.encode()[:column].decode(errors="ignore")))


class Statements:
    """The statements of a module by where they stand."""

    def __init__(self, lowered: Lowered, nodes: Sequence[ir.Node | None]) -> None:
        self._spans = sorted((*lowered.span(node), node.nid) for node in nodes if isinstance(node, ir.Stmt))
        self._nodes = nodes
        self._parents = lowered.parents
        self._ends = {nid: (start, end) for start, end, nid in self._spans}

    def at(self, offset: int) -> ir.Stmt | None:
        """Return the innermost statement around an offset."""
        index = bisect_right(self._spans, (offset, sys.maxsize, sys.maxsize)) - 1
        number = self._spans[index][2] if index >= 0 else 0
        while number > 0:
            node = self._nodes[number]
            if isinstance(node, ir.Stmt) and self._ends[number][0] <= offset < self._ends[number][1]:
                return node
            number = self._parents[number]
        return None


def lower(tree: ast.Module, text: str) -> Lowered:
    """Lower the interpreter's tree of ``text``. Recurses as deep as the tree."""
    lowering = _Lowering()
    module = lowering.under(None, _module, tree.body)
    lowering.nodes[0] = None
    return Lowered(module, lowering.nodes, lowering.parents, lowering.spans, text)


def _module(lo: _Lowering, body: Sequence[ast.stmt]) -> ir.Module:
    # The module and its block are one node, so that the statements' parent is number 0.
    return ir.Module(0, ir.Block(0, lo.all(body)))


class _Lowering:
    """Builds nodes in pre-order: a node has its number before its parts are built."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node | None] = []
        self.parents: list[int] = []
        self.spans: list[Any] = []
        self._parent = -1
        self._f_string: ast.JoinedStr | None = None

    def under(self, tree: Any, build: Callable[[_Lowering, Any], Any], subject: Any) -> Any:
        """Build a node from ``subject``; ``tree`` is the interpreter's node that says where it stands."""
        number, above = len(self.parents), self._parent
        self.parents.append(above)
        self.nodes.append(None)
        placed = tree if hasattr(tree, "end_col_offset") else None
        if self._f_string is not None and placed is not None:
            placed = _InFString(placed, self._f_string)
        self.spans.append(placed)
        self._parent = number
        found = build(self, subject)
        found.nid = number
        self.nodes[number] = found
        self._parent = above
        return found

    def made(self, node: ast.AST) -> Any:
        return self.under(node, _BUILDERS.get(node.__class__, _other), node)

    def maybe(self, node: ast.AST | None) -> Any:
        return None if node is None else self.made(node)

    def all(self, nodes: Iterable[ast.AST]) -> list[Any]:
        return [self.made(node) for node in nodes]

    def block(self, body: Sequence[ast.stmt]) -> Any:
        return self.under(None, _block, body)

    def maybe_block(self, body: Sequence[ast.stmt]) -> Any:
        return self.block(body) if body else None

    def arguments(self, args: Sequence[ast.expr], keywords: Sequence[ast.keyword]) -> list[ir.Arg]:
        """In the order of the text: ``f(a, k=1, *b)``."""
        given: list[Any] = [*args, *keywords]
        if args and keywords:
            given.sort(key=lambda node: (node.lineno, node.col_offset))
        return [self.under(node, _argument, node) for node in given]

    def params(self, node: ast.arguments) -> list[ir.Param]:
        positional = [*node.posonlyargs, *node.args]
        defaults: list[ast.expr | None] = [*[None] * (len(positional) - len(node.defaults)), *node.defaults]
        given: list[tuple[ast.arg, ast.expr | None, str]] = []
        for number, (arg, default) in enumerate(zip(positional, defaults, strict=True)):
            given.append((arg, default, "posonly" if number < len(node.posonlyargs) else "plain"))
        if node.vararg:
            given.append((node.vararg, None, "star"))
        given += [(arg, default, "kwonly") for arg, default in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
        if node.kwarg:
            given.append((node.kwarg, None, "starstar"))
        return [self.under(param[0], _param, param) for param in given]

    def clause(self, generators: Sequence[ast.comprehension]) -> Any:
        return self.under(None, _clause, generators)

    def comprehension(self, kind: str, node: Any, *elements: ast.expr) -> ir.Comprehension:
        return ir.Comprehension(0, kind, self.all(elements), self.clause(node.generators))

    def chain(self, op: str, terms: Sequence[ast.expr]) -> Any:
        """``a and b and c`` as nested pairs."""
        if len(terms) == 1:
            return self.made(terms[0])
        return self.under(None, _pair, (op, terms))

    def f_string(self, node: ast.JoinedStr) -> ir.FString:
        outermost = self._f_string is None and _GUESSED_IN_F_STRINGS
        if outermost:
            self._f_string = node
        parts = [self.made(part) for part in node.values]
        if outermost:
            self._f_string = None
        return ir.FString(0, parts)


def _block(lo: _Lowering, body: Sequence[ast.stmt]) -> ir.Block:
    return ir.Block(0, lo.all(body))


def _argument(lo: _Lowering, node: ast.expr | ast.keyword) -> ir.Arg:
    match node:
        case ast.keyword(arg=name, value=value):
            return ir.Arg(0, lo.made(value), name, "" if name is not None else "**")
        case ast.Starred(value=value):
            return ir.Arg(0, lo.made(value), None, "*")
    return ir.Arg(0, lo.made(node), None, "")


def _param(lo: _Lowering, given: tuple[ast.arg, ast.expr | None, str]) -> ir.Param:
    arg, default, kind = given
    annotation = lo.maybe(arg.annotation)
    return ir.Param(0, arg.arg, lo.maybe(default), annotation, kind)


def _clause(lo: _Lowering, generators: Sequence[ast.comprehension]) -> ir.Clause:
    first, *rest = generators
    target, iterated, conditions = lo.made(first.target), lo.made(first.iter), lo.all(first.ifs)
    return ir.Clause(0, target, iterated, conditions, lo.clause(rest) if rest else None)


def _pair(lo: _Lowering, given: tuple[str, Sequence[ast.expr]]) -> ir.Bool:
    op, terms = given
    at = len(terms) - 1 if len(terms) <= _LEFT_NESTED else len(terms) // 2
    return ir.Bool(0, op, lo.chain(op, terms[:at]), lo.chain(op, terms[at:]))


def _binary(lo: _Lowering, n: ast.BinOp) -> ir.Binary:
    return ir.Binary(0, _OPERATORS[n.op.__class__], lo.made(n.left), lo.made(n.right))


def _function(lo: _Lowering, n: Any) -> ir.FunctionDef:
    decorators, params, returns = lo.all(n.decorator_list), lo.params(n.args), lo.maybe(n.returns)
    return ir.FunctionDef(0, n.name, params, returns, decorators, lo.block(n.body))


def _class(lo: _Lowering, n: ast.ClassDef) -> ir.ClassDef:
    decorators, bases = lo.all(n.decorator_list), lo.arguments(n.bases, n.keywords)
    return ir.ClassDef(0, n.name, bases, decorators, lo.block(n.body))


def _conditional(lo: _Lowering, n: ast.If) -> ir.If:
    test, body = lo.made(n.test), lo.block(n.body)
    orelse: Any = None
    if len(n.orelse) == 1 and isinstance(n.orelse[0], ast.If) and n.orelse[0].col_offset == n.col_offset:
        orelse = lo.made(n.orelse[0])  # elif
    elif n.orelse:
        orelse = lo.block(n.orelse)
    return ir.If(0, test, body, orelse)


def _for(lo: _Lowering, n: Any) -> ir.For:
    return ir.For(0, lo.made(n.target), lo.made(n.iter), lo.block(n.body), lo.maybe_block(n.orelse))


def _with(lo: _Lowering, n: Any) -> ir.With:
    return ir.With(0, [lo.under(None, _item, item) for item in n.items], lo.block(n.body))


def _item(lo: _Lowering, n: ast.withitem) -> ir.WithItem:
    return ir.WithItem(0, lo.made(n.context_expr), lo.maybe(n.optional_vars))


def _try(lo: _Lowering, n: Any) -> ir.Try:
    body, handlers = lo.block(n.body), [lo.under(h, _handler, h) for h in n.handlers]
    return ir.Try(0, body, handlers, lo.maybe_block(n.orelse), lo.maybe_block(n.finalbody))


def _handler(lo: _Lowering, n: ast.ExceptHandler) -> ir.Handler:
    return ir.Handler(0, lo.maybe(n.type), n.name, lo.block(n.body))


def _match(lo: _Lowering, n: ast.Match) -> ir.Match:
    return ir.Match(0, lo.made(n.subject), [lo.under(None, _case, case) for case in n.cases])


def _case(lo: _Lowering, n: ast.match_case) -> ir.Case:
    return ir.Case(0, lo.made(n.pattern), lo.maybe(n.guard), lo.block(n.body))


def _delete(lo: _Lowering, n: ast.Delete) -> ir.Delete:
    return ir.Delete(0, lo.made(n.targets[0]) if len(n.targets) == 1 else lo.under(None, _several, n.targets))


def _several(lo: _Lowering, nodes: Sequence[ast.expr]) -> ir.Sequence:
    return ir.Sequence(0, "tuple", lo.all(nodes))


def _import_from(lo: _Lowering, n: ast.ImportFrom) -> ir.ImportFrom:
    names = None if n.names[0].name == "*" else [(a.name, a.asname) for a in n.names]
    return ir.ImportFrom(0, "." * n.level + (n.module or ""), names)


def _compare(lo: _Lowering, n: ast.Compare) -> ir.Compare:
    return ir.Compare(0, lo.made(n.left), [_OPERATORS[op.__class__] for op in n.ops], lo.all(n.comparators))


def _dict(lo: _Lowering, n: ast.Dict) -> ir.Keyed:
    pairs = [(lo.maybe(key), lo.made(value)) for key, value in zip(n.keys, n.values, strict=True)]
    return ir.Keyed(0, [key for key, _ in pairs], [value for _, value in pairs])


def _index(lo: _Lowering, n: ast.Subscript) -> ir.Subscript:
    value = lo.made(n.value)
    several = n.slice.elts if isinstance(n.slice, ast.Tuple) and n.slice.elts else [n.slice]
    return ir.Subscript(0, value, lo.all(several))


def _formatted(lo: _Lowering, n: ast.FormattedValue) -> ir.Opaque:
    return ir.Opaque(0, [lo.made(n.value), *([lo.made(n.format_spec)] if n.format_spec is not None else [])])


def _other(lo: _Lowering, n: ast.AST) -> ir.Node:
    """A construct that no rule asks about: patterns, template strings, whatever a newer grammar adds."""
    if isinstance(n, ast.stmt):
        return ir.Simple(0, n.__class__.__name__, [])
    # Operators and contexts are no code.
    return ir.Opaque(0, lo.all(part for part in ast.iter_child_nodes(n) if part._fields))


_Builder = Callable[[_Lowering, Any], ir.Node]
_BUILDERS: dict[type[ast.AST], _Builder] = {
    ast.AnnAssign: lambda lo, n: ir.AnnAssign(0, lo.made(n.target), lo.made(n.annotation), lo.maybe(n.value)),
    ast.Assert: lambda lo, n: ir.Assert(0, lo.made(n.test), lo.maybe(n.msg)),
    ast.Assign: lambda lo, n: ir.Assign(0, lo.all(n.targets), lo.made(n.value)),
    ast.AsyncFor: _for,
    ast.AsyncFunctionDef: _function,
    ast.AsyncWith: _with,
    ast.Attribute: lambda lo, n: ir.Attr(0, lo.made(n.value), n.attr),
    ast.AugAssign: lambda lo, n: ir.AugAssign(0, lo.made(n.target), _OPERATORS[n.op.__class__], lo.made(n.value)),
    ast.Await: lambda lo, n: ir.Await(0, lo.made(n.value)),
    ast.BinOp: _binary,
    ast.BoolOp: lambda lo, n: _pair(lo, (_OPERATORS[n.op.__class__], n.values)),
    ast.Break: lambda lo, n: ir.Simple(0, "break", []),
    ast.Call: lambda lo, n: ir.Call(0, lo.made(n.func), lo.arguments(n.args, n.keywords)),
    ast.ClassDef: _class,
    ast.Compare: _compare,
    ast.Constant: lambda lo, n: ir.Const(0, n.value),
    ast.Continue: lambda lo, n: ir.Simple(0, "continue", []),
    ast.Delete: _delete,
    ast.Dict: _dict,
    ast.DictComp: lambda lo, n: lo.comprehension("dict", n, n.key, n.value),
    ast.Expr: lambda lo, n: ir.ExprStmt(0, lo.made(n.value)),
    ast.For: _for,
    ast.FormattedValue: _formatted,
    ast.FunctionDef: _function,
    ast.GeneratorExp: lambda lo, n: lo.comprehension("generator", n, n.elt),
    ast.Global: lambda lo, n: ir.Simple(0, "global", list(n.names)),
    ast.If: _conditional,
    ast.IfExp: lambda lo, n: ir.Conditional(0, lo.made(n.test), lo.made(n.body), lo.made(n.orelse)),
    ast.Import: lambda lo, n: ir.Import(0, [(a.name, a.asname) for a in n.names]),
    ast.ImportFrom: _import_from,
    ast.JoinedStr: lambda lo, n: lo.f_string(n),
    ast.Lambda: lambda lo, n: ir.Lambda(0, lo.params(n.args), lo.made(n.body)),
    ast.List: lambda lo, n: ir.Sequence(0, "list", lo.all(n.elts)),
    ast.ListComp: lambda lo, n: lo.comprehension("list", n, n.elt),
    ast.Match: _match,
    ast.Name: lambda lo, n: ir.Name(0, n.id),
    ast.NamedExpr: lambda lo, n: ir.Walrus(0, lo.made(n.target), lo.made(n.value)),
    ast.Nonlocal: lambda lo, n: ir.Simple(0, "nonlocal", list(n.names)),
    ast.Pass: lambda lo, n: ir.Simple(0, "pass", []),
    ast.Raise: lambda lo, n: ir.Raise(0, lo.maybe(n.exc), lo.maybe(n.cause)),
    ast.Return: lambda lo, n: ir.Return(0, lo.maybe(n.value)),
    ast.Set: lambda lo, n: ir.Sequence(0, "set", lo.all(n.elts)),
    ast.SetComp: lambda lo, n: lo.comprehension("set", n, n.elt),
    ast.Slice: lambda lo, n: ir.Slice(0, lo.maybe(n.lower), lo.maybe(n.upper), lo.maybe(n.step)),
    ast.Starred: lambda lo, n: ir.Starred(0, lo.made(n.value)),
    ast.Subscript: _index,
    ast.Try: _try,
    ast.TryStar: _try,
    ast.Tuple: lambda lo, n: ir.Sequence(0, "tuple", lo.all(n.elts)),
    ast.UnaryOp: lambda lo, n: ir.Unary(0, _OPERATORS[n.op.__class__], lo.made(n.operand)),
    ast.While: lambda lo, n: ir.While(0, lo.made(n.test), lo.block(n.body), lo.maybe_block(n.orelse)),
    ast.With: _with,
    ast.Yield: lambda lo, n: ir.Yield(0, lo.maybe(n.value)),
    ast.YieldFrom: lambda lo, n: ir.Yield(0, lo.made(n.value)),
}
