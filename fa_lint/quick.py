"""The same lowering from the interpreter's own tree, which is there anyway: a third gate.

A lossless parse costs ten times as much as this. What the rules do not find in these facts they do not find at all, so
only a file with a finding is parsed for its layout. Modules with constructs whose libcst tree this one does not tell
apart are left to libcst.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fa_lint.semantics import ir

__all__ = ["NoLayout", "QuickLowered", "quick_lower"]


class NoLayout(Exception):
    """Only a lossless parse can tell."""


_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>",
    ast.USub: "-", ast.UAdd: "+", ast.Invert: "~", ast.Not: "not", ast.And: "and", ast.Or: "or", ast.Eq: "==",
    ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in", ast.NotIn: "not in",
    ast.Is: "is", ast.IsNot: "is not",
}  # fmt: skip
# Where libcst lists the parts of a construct in another order than the IR does; numbers follow libcst.
_ORDER: dict[type[ir.Node], tuple[str, ...]] = {
    ir.FunctionDef: ("params", "body", "decorators", "returns"),
    ir.ClassDef: ("body", "bases", "decorators"),
    ir.Param: ("annotation", "default"),
    ir.Handler: ("body", "type"),
}


class _Text:
    """A module's text, where the interpreter's rows and columns mean something."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts: list[int] = []

    def span(self, node: Any) -> tuple[int, int]:
        if not self._starts:
            self._starts = [0, *(at.end() for at in re.finditer(r"\r\n?|\n", self.text))]
        return self._offset(node.lineno, node.col_offset), self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, row: int, column: int) -> int:
        start = self._starts[row - 1]
        # The interpreter counts bytes; a line is no longer than they are.
        before = self.text[start : start + column]
        return start + (column if before.isascii() else len(before.encode()[:column].decode(errors="ignore")))


class QuickLowered:
    """A module lowered from the interpreter's tree, with its parent table.

    Spans are those of the interpreter: good for the text of an expression, not for an edit.
    """

    def __init__(self, module: ir.Module, parents: list[int], made: dict[int, ast.AST], text: _Text) -> None:
        self.module = module
        self.parents = parents
        self._made = made
        self._text = text

    def span(self, node: ir.Node) -> tuple[int, int]:
        """Character offsets of a node; raises :class:`NoLayout` where the interpreter keeps none."""
        tree: Any = self._made.get(node.nid)
        if tree is None or not hasattr(tree, "end_col_offset"):
            raise NoLayout
        return self._text.span(tree)

    def near(self, offset: int) -> range:
        raise NoLayout

    def source(self, node: ir.Node) -> str | None:
        return None


def quick_lower(tree: ast.Module, text: str) -> QuickLowered:
    """Lower the interpreter's tree of ``text``; raises :class:`NoLayout` for what only libcst can tell."""
    written = _Text(text)
    lowering = _Lowering(written)
    module = ir.Module(0, ir.Block(0, lowering.statements(tree.body)))
    parents, made = _number(module, lowering.origins)
    return QuickLowered(module, parents, made, written)


def _parts(node: ir.Node) -> Iterable[ir.Node]:
    """The parts of a node in libcst's order."""
    if isinstance(node, ir.Keyed):
        for key, value in zip(node.keys, node.values, strict=True):
            yield from (key, value) if key is not None else (value,)
        return
    order = _ORDER.get(type(node))
    if order is None:
        yield from ir.children(node)
        return
    for name in order:
        part: Any = getattr(node, name)
        if name == "params":
            part = sorted(part, key=lambda param: param.kind == "posonly")
        if isinstance(part, list):
            yield from part
        elif part is not None:
            yield part


def _number(module: ir.Module, origins: dict[int, ast.AST]) -> tuple[list[int], dict[int, ast.AST]]:
    parents = [-1]
    made: dict[int, ast.AST] = {}
    stack: list[tuple[ir.Node, int]] = [(part, 0) for part in reversed(list(_parts(module.body)))]
    while stack:
        node, parent = stack.pop()
        number = len(parents)
        origin = origins.get(id(node))
        if origin is not None:
            made[number] = origin
        node.nid = number
        parents.append(parent)
        stack += [(part, number) for part in reversed(list(_parts(node)))]
    return parents, made


class _Lowering:
    def __init__(self, text: _Text) -> None:
        self._text = text
        self.origins: dict[int, ast.AST] = {}
        self._f_strings = 0

    def statements(self, body: Sequence[ast.stmt]) -> list[ir.Stmt]:
        return [self.made(node) for node in body]

    def block(self, body: Sequence[ast.stmt]) -> ir.Block:
        return ir.Block(0, self.statements(body))

    def maybe_block(self, body: Sequence[ast.stmt]) -> ir.Block | None:
        return self.block(body) if body else None

    def made(self, node: ast.AST) -> Any:
        build = _BUILDERS.get(node.__class__)
        if build is None:
            raise NoLayout
        found = build(self, node)
        # Before 3.12 the interpreter does not know where the parts of an f-string stand.
        if not self._f_strings:
            self.origins[id(found)] = node
        return found

    def maybe(self, node: ast.AST | None) -> Any:
        return None if node is None else self.made(node)

    def all(self, nodes: Iterable[ast.AST]) -> list[Any]:
        return [self.made(node) for node in nodes]

    # -- what takes more than a line --------------------------------------------------------------------------

    def arguments(self, args: Sequence[ast.expr], keywords: Sequence[ast.keyword]) -> list[ir.Arg]:
        """In the order of the text: ``f(a, k=1, *b)``."""
        given: list[ast.expr | ast.keyword] = [*args, *keywords]
        return [self.argument(node) for node in sorted(given, key=lambda node: (node.lineno, node.col_offset))]

    def argument(self, node: ast.expr | ast.keyword) -> ir.Arg:
        match node:
            case ast.keyword(arg=name, value=value):
                return ir.Arg(0, self.made(value), name, "" if name is not None else "**")
            case ast.Starred(value=value):
                return ir.Arg(0, self.made(value), None, "*")
        return ir.Arg(0, self.made(node), None, "")

    def params(self, node: ast.arguments) -> list[ir.Param]:
        positional = [*node.posonlyargs, *node.args]
        defaults: list[ast.expr | None] = [*[None] * (len(positional) - len(node.defaults)), *node.defaults]
        found = []
        for number, (arg, default) in enumerate(zip(positional, defaults, strict=True)):
            found.append(self.param(arg, default, "posonly" if number < len(node.posonlyargs) else "plain"))
        if node.vararg:
            found.append(self.param(node.vararg, None, "star"))
        found += [
            self.param(arg, given, "kwonly") for arg, given in zip(node.kwonlyargs, node.kw_defaults, strict=True)
        ]
        if node.kwarg:
            found.append(self.param(node.kwarg, None, "starstar"))
        return found

    def param(self, arg: ast.arg, default: ast.expr | None, kind: str) -> ir.Param:
        made = ir.Param(0, arg.arg, self.maybe(default), self.maybe(arg.annotation), kind)
        self.origins[id(made)] = arg
        return made

    def clause(self, generators: Sequence[ast.comprehension]) -> ir.Clause:
        first, *rest = generators
        inner = self.clause(rest) if rest else None
        return ir.Clause(0, self.made(first.target), self.made(first.iter), self.all(first.ifs), inner)

    def comprehension(self, kind: str, node: Any, *elements: ast.expr) -> ir.Comprehension:
        return ir.Comprehension(0, kind, self.all(elements), self.clause(node.generators))

    def boolean(self, node: ast.BoolOp) -> ir.Expr:
        left: ir.Expr
        left, *rest = self.all(node.values)
        for right in rest:
            left = ir.Bool(0, _OPERATORS[node.op.__class__], left, right)
        return left

    def index(self, node: ast.expr) -> list[ir.Expr]:
        """``x[a, b]`` has two indices, ``x[(a, b)]`` has one."""
        if not isinstance(node, ast.Tuple) or not node.elts:
            return [self.made(node)]
        first = node.elts[0]
        # To libcst a starred index is an index.
        several = [part.value if isinstance(part, ast.Starred) else part for part in node.elts]
        if (node.lineno, node.col_offset) == (first.lineno, first.col_offset):
            return self.all(several)
        start, end = self._text.span(node)
        inner, after = self._text.span(first)
        opened = self._text.text[start:inner].count("(")
        closed = self._text.text[after:end].partition(",")[0].count(")")
        return [self.made(node)] if opened > closed else self.all(several)

    def conditional(self, node: ast.If) -> ir.If:
        orelse: Any = None
        if (
            len(node.orelse) == 1
            and isinstance(node.orelse[0], ast.If)
            and node.orelse[0].col_offset == node.col_offset
        ):
            orelse = self.made(node.orelse[0])  # elif
        elif node.orelse:
            orelse = self.block(node.orelse)
        return ir.If(0, self.made(node.test), self.block(node.body), orelse)

    def formatted(self, node: ast.FormattedValue) -> ir.Opaque:
        spec = self.f_string(node.format_spec).parts if isinstance(node.format_spec, ast.JoinedStr) else []
        return ir.Opaque(0, [self.made(node.value), *spec])

    def f_string(self, node: ast.JoinedStr) -> ir.FString:
        self._f_strings += 1
        parts = [ir.Opaque(0, []) if isinstance(v, ast.Constant) else self.made(v) for v in node.values]
        self._f_strings -= 1
        return ir.FString(0, parts)


def _binary(lo: _Lowering, n: ast.BinOp) -> ir.Binary:
    return ir.Binary(0, _OPERATORS[n.op.__class__], lo.made(n.left), lo.made(n.right))


def _function(lo: _Lowering, n: Any) -> ir.FunctionDef:
    params = lo.params(n.args)
    return ir.FunctionDef(0, n.name, params, lo.maybe(n.returns), lo.all(n.decorator_list), lo.block(n.body))


def _class(lo: _Lowering, n: ast.ClassDef) -> ir.ClassDef:
    bases = [*map(lo.argument, n.bases), *map(lo.argument, n.keywords)]
    return ir.ClassDef(0, n.name, bases, lo.all(n.decorator_list), lo.block(n.body))


def _for(lo: _Lowering, n: Any) -> ir.For:
    return ir.For(0, lo.made(n.target), lo.made(n.iter), lo.block(n.body), lo.maybe_block(n.orelse))


def _with(lo: _Lowering, n: Any) -> ir.With:
    items = [ir.WithItem(0, lo.made(i.context_expr), lo.maybe(i.optional_vars)) for i in n.items]
    return ir.With(0, items, lo.block(n.body))


def _try(lo: _Lowering, n: Any) -> ir.Try:
    handlers = [ir.Handler(0, lo.maybe(h.type), h.name, lo.block(h.body)) for h in n.handlers]
    return ir.Try(0, lo.block(n.body), handlers, lo.maybe_block(n.orelse), lo.maybe_block(n.finalbody))


def _delete(lo: _Lowering, n: ast.Delete) -> ir.Delete:
    targets = lo.all(n.targets)
    return ir.Delete(0, targets[0] if len(targets) == 1 else ir.Sequence(0, "tuple", targets))


def _import_from(lo: _Lowering, n: ast.ImportFrom) -> ir.ImportFrom:
    names = None if n.names[0].name == "*" else [(a.name, a.asname) for a in n.names]
    return ir.ImportFrom(0, "." * n.level + (n.module or ""), names)


def _compare(lo: _Lowering, n: ast.Compare) -> ir.Compare:
    return ir.Compare(0, lo.made(n.left), [_OPERATORS[op.__class__] for op in n.ops], lo.all(n.comparators))


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
    ast.BoolOp: lambda lo, n: lo.boolean(n),
    ast.Break: lambda lo, n: ir.Simple(0, "break", []),
    ast.Call: lambda lo, n: ir.Call(0, lo.made(n.func), lo.arguments(n.args, n.keywords)),
    ast.ClassDef: _class,
    ast.Compare: _compare,
    ast.Constant: lambda lo, n: ir.Const(0, n.value),
    ast.Continue: lambda lo, n: ir.Simple(0, "continue", []),
    ast.Delete: _delete,
    ast.Dict: lambda lo, n: ir.Keyed(0, [lo.maybe(key) for key in n.keys], lo.all(n.values)),
    ast.DictComp: lambda lo, n: lo.comprehension("dict", n, n.key, n.value),
    ast.Expr: lambda lo, n: ir.ExprStmt(0, lo.made(n.value)),
    ast.For: _for,
    ast.FormattedValue: lambda lo, n: lo.formatted(n),
    ast.FunctionDef: _function,
    ast.GeneratorExp: lambda lo, n: lo.comprehension("generator", n, n.elt),
    ast.Global: lambda lo, n: ir.Simple(0, "global", list(n.names)),
    ast.If: lambda lo, n: lo.conditional(n),
    ast.IfExp: lambda lo, n: ir.Conditional(0, lo.made(n.test), lo.made(n.body), lo.made(n.orelse)),
    ast.Import: lambda lo, n: ir.Import(0, [(a.name, a.asname) for a in n.names]),
    ast.ImportFrom: _import_from,
    ast.JoinedStr: lambda lo, n: lo.f_string(n),
    ast.Lambda: lambda lo, n: ir.Lambda(0, lo.params(n.args), lo.made(n.body)),
    ast.List: lambda lo, n: ir.Sequence(0, "list", lo.all(n.elts)),
    ast.ListComp: lambda lo, n: lo.comprehension("list", n, n.elt),
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
    ast.Subscript: lambda lo, n: ir.Subscript(0, lo.made(n.value), lo.index(n.slice)),
    ast.Try: _try,
    ast.Tuple: lambda lo, n: ir.Sequence(0, "tuple", lo.all(n.elts)),
    ast.UnaryOp: lambda lo, n: ir.Unary(0, _OPERATORS[n.op.__class__], lo.made(n.operand)),
    ast.While: lambda lo, n: ir.While(0, lo.made(n.test), lo.block(n.body), lo.maybe_block(n.orelse)),
    ast.With: _with,
    ast.Yield: lambda lo, n: ir.Yield(0, lo.maybe(n.value)),
    ast.YieldFrom: lambda lo, n: ir.Yield(0, lo.made(n.value)),
}
