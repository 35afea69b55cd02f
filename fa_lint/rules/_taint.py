"""The second gate of rules that ask for a role: which names of a file can hold a gradient at all?

Over the interpreter's ``ast`` and coarse on purpose: a local name is one for its whole function, an attribute one for
the whole file, and what touches such a name becomes one. It may say yes too often, never no too often.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from fa_lint.gate import children
from fa_lint.semantics.words import is_short_gradient_name, suggests

__all__ = ["Scope", "Taint"]

_SOURCES = frozenset("grad gradient gradients grad_and_value value_and_grad jacrev jacfwd jacobian hessian vjp".split())
_CONTAINERS = frozenset({"append", "extend", "insert", "setdefault", "add", "update", "copy_", "put"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(slots=True, eq=False)
class Scope:
    number: int
    above: Scope | None
    bound: set[str] = field(default_factory=set)
    function: str = ""

    def key(self, name: str) -> str:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.bound:
                return f"{scope.number}.{name}"
            scope = scope.above
        return name


@lru_cache(maxsize=8192)
def _is_seed(key: str) -> bool:
    name = key.rpartition(".")[2]
    return (
        name in _SOURCES or suggests(name) in ("gradient", "credit", "feedback") or is_short_gradient_name(name, "grad")
    )


def _last(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _targets(*nodes: ast.AST) -> list[ast.Name | ast.Attribute]:
    """What an assignment binds: ``a, self.b, c[i] = …`` binds a, b and c."""
    found: list[ast.Name | ast.Attribute] = []
    stack = list(nodes)
    while stack:
        match stack.pop():
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                stack += parts
            case ast.Starred(value=part) | ast.Subscript(value=part):
                stack.append(part)
            case ast.Name() | ast.Attribute() as node:
                found.append(node)
    return found


def _names(args: ast.arguments) -> set[str]:
    return {a.arg for a in [*args.posonlyargs, *args.args, *args.kwonlyargs]}


class Taint:
    """Answers :meth:`reaches`: can an expression hold a gradient, a credit or feedback?"""

    def __init__(self, tree: ast.AST) -> None:
        self._edges: dict[str, set[str]] = defaultdict(set)
        self.nodes: list[tuple[ast.AST, Scope]] = []
        self._numbers: dict[int, int] = {}
        self._inner: dict[str, set[str]] = defaultdict(set)
        self._scope(tree)
        for node, scope in self.nodes:
            self._collect(node, scope)
        self._tainted = self._spread()

    def reaches(self, node: ast.AST, scope: Scope) -> bool:
        return any(key in self._tainted or _is_seed(key) for key in self._keys(scope, node))

    def _scope(self, tree: ast.AST) -> None:
        stack: list[tuple[ast.AST, Scope]] = [(tree, Scope(0, None))]
        while stack:
            node, scope = stack.pop()
            self.nodes.append((node, scope))
            inner = scope
            if isinstance(node, _FUNCTIONS):
                name = "" if isinstance(node, ast.Lambda) else node.name
                number = self._numbers[id(node)] = len(self.nodes)
                inner = Scope(number, scope, _names(node.args), name or scope.function)
                if name and scope.function:
                    self._inner[scope.function].add(name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and scope.above is not None:
                scope.bound.add(node.id)
            stack.extend((child, inner) for child in children(node))

    def _keys(self, scope: Scope, *nodes: ast.AST | None) -> set[str]:
        found: set[str] = set()
        stack = [node for node in nodes if node is not None]
        while stack:
            node = stack.pop()
            match node:
                case ast.Name(id=name) if name not in ("self", "cls"):
                    found.add(scope.key(name))
                case ast.Attribute(attr=name):
                    found.add(name)
                case ast.Constant(value=str() as name) if name.isidentifier():
                    found.add(name)
            stack.extend(children(node))
        return found

    def _edge(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        targets = set(targets)
        for source in sources:
            self._edges[source] |= targets

    def _bind(self, scope: Scope, value: ast.AST | None, *targets: ast.AST) -> None:
        bound = {scope.key(t.id) if isinstance(t, ast.Name) else t.attr for t in _targets(*targets)}
        self._edge(self._keys(scope, value), bound)

    def _collect(self, node: ast.AST, scope: Scope) -> None:
        match node:
            case ast.FunctionDef(args=args) | ast.AsyncFunctionDef(args=args) | ast.Lambda(args=args):
                self._function(node, args, scope)
            case ast.Return(value=value) | ast.Yield(value=value) | ast.YieldFrom(value=value):
                self._edge(self._keys(scope, value), {scope.function})
            case ast.Assign(targets=targets, value=value):
                self._bind(scope, value, *targets)
            case ast.AnnAssign(target=target, value=value) | ast.AugAssign(target=target, value=value):
                self._bind(scope, value, target)
            case ast.NamedExpr(target=target, value=value):
                self._bind(scope, value, target)
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                self._bind(scope, value, target)
            case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
                self._bind(scope, value, target)
            case ast.alias(name=name, asname=str() as local):
                self._edge({name.rpartition(".")[2]}, {scope.key(local)})
            case ast.Call():
                self._call(node, scope)

    def _function(self, node: ast.AST, args: ast.arguments, scope: Scope) -> None:
        number = self._numbers[id(node)]
        params = {f"{number}.{name}" for name in _names(args)}
        defaults = [d for d in [*args.defaults, *args.kw_defaults] if d is not None]
        self._edge(self._keys(scope, *defaults), params)
        if not isinstance(node, ast.Lambda):
            assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            self._edge({f"{node.name}()"}, params)

    def _call(self, node: ast.Call, scope: Scope) -> None:
        given = [*node.args, *(k.value for k in node.keywords)]
        passed = self._keys(scope, *given)
        callee = _last(node.func)
        self._edge(passed, {f"{callee}()"})
        if callee.endswith("hook"):
            for part in (part for arg in given for part in ast.walk(arg)):
                if isinstance(part, ast.Lambda):
                    self._edge({"grad"}, {f"{self._numbers[id(part)]}.{name}" for name in _names(part.args)})
                elif _last(part):
                    self._hand_on(_last(part))
        if callee in _CONTAINERS and isinstance(node.func, ast.Attribute):
            self._bind(scope, ast.List(elts=given, ctx=ast.Load()), node.func.value)

    def _hand_on(self, name: str) -> None:
        """A function that becomes a hook, or a factory of one: the functions inside it get gradients too."""
        self._edge({"grad"}, {f"{name}()"})
        for inner in self._inner.get(name, ()):
            self._edge({"grad"}, {f"{inner}()"})

    def _spread(self) -> set[str]:
        found = {key for key in self._edges if _is_seed(key)}
        stack = list(found)
        while stack:
            for target in self._edges.get(stack.pop(), ()):
                if target not in found:
                    found.add(target)
                    stack.append(target)
        return found
