"""The second gate of rules that ask for a role: which names of a file can hold a gradient at all?

Over the interpreter's ``ast`` and coarse on purpose: a local name is one for its whole function, an attribute one for
the whole file, and what touches such a name becomes one. It may say yes too often, never no too often.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from fa_lint.astwalk import children, last_name
from fa_lint.gate import Outline
from fa_lint.semantics.words import is_short_gradient_name, suggests

__all__ = ["Scope", "Taint"]

_SOURCES = frozenset("grad gradient gradients grad_and_value value_and_grad jacrev jacfwd jacobian hessian vjp".split())
_CONTAINERS = frozenset({"append", "extend", "insert", "setdefault", "add", "update", "copy_", "put"})


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


# What a value flows into: a key, or a name whose key is known once its scope is.
_Sinks = tuple[str | tuple[Scope, str], ...]


@lru_cache(maxsize=8192)
def _is_seed(key: str) -> bool:
    name = key.rpartition(".")[2]
    return (
        name in _SOURCES or suggests(name) in ("gradient", "credit", "feedback") or is_short_gradient_name(name, "grad")
    )


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
    """Answers :meth:`reaches`: can an expression hold a gradient, a credit or feedback?

    One walk notes for every name what the values around it flow into; the flow is followed when all scopes are known.
    """

    def __init__(self, outline: Outline) -> None:
        self.calls: list[tuple[ast.Call, Scope]] = []
        self._edges: dict[str, set[str]] = defaultdict(set)
        self._flows: list[tuple[Scope, ast.AST, _Sinks]] = []
        self._numbers: dict[int, int] = {}
        self._inner: dict[str, set[str]] = defaultdict(set)
        self._hooks: list[ast.AST] = []
        self._walk(outline.tree)
        for scope, node, sinks in self._flows:
            for key in self._own(scope, node):
                edges = self._edges[key]
                for sink in sinks:
                    edges.add(sink if isinstance(sink, str) else sink[0].key(sink[1]))
        for node in self._hooks:
            self._hook(node)
        self._tainted = self._spread()

    def reaches(self, node: ast.AST, scope: Scope) -> bool:
        return any(key in self._tainted or _is_seed(key) for key in self._keys(scope, node))

    def _walk(self, tree: ast.AST) -> None:
        stack: list[tuple[ast.AST, Scope, _Sinks]] = [(tree, Scope(0, None), ())]
        flows = self._flows
        while stack:
            node, scope, sinks = stack.pop()
            if isinstance(node, ast.Name):
                if sinks:
                    flows.append((scope, node, sinks))
                if scope.above is not None and isinstance(node.ctx, ast.Store):
                    scope.bound.add(node.id)
            elif isinstance(node, ast.Constant):
                if sinks and isinstance(node.value, str):
                    flows.append((scope, node, sinks))
            else:
                stack += self._parts(node, scope, sinks)

    def _parts(self, node: ast.AST, scope: Scope, sinks: _Sinks) -> Iterable[tuple[ast.AST, Scope, _Sinks]]:
        """What stands in a node, each with its scope and what it flows into."""
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                return self._function(node, scope, sinks)
            case ast.Call():
                return self._call(node, scope, sinks)
            case ast.Attribute():
                if sinks:
                    self._flows.append((scope, node, sinks))
            case ast.Return() | ast.Yield() | ast.YieldFrom():
                sinks = (*sinks, scope.function)
            case ast.Assign(targets=targets, value=value):
                return self._bound(scope, sinks, value, *targets)
            case ast.AnnAssign(target=target, value=value) | ast.AugAssign(target=target, value=value):
                return self._bound(scope, sinks, value, target)
            case ast.NamedExpr(target=target, value=value):
                return self._bound(scope, sinks, value, target)
            case ast.For(target=target, iter=value, body=body, orelse=orelse):
                return [*self._bound(scope, (), value, target), *((part, scope, ()) for part in [*body, *orelse])]
            case ast.comprehension(target=target, iter=value, ifs=tests):
                return [*self._bound(scope, sinks, value, target), *((part, scope, sinks) for part in tests)]
            case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
                return self._bound(scope, sinks, value, target)
            case ast.alias(name=name, asname=str() as local):
                self._flows.append((scope, ast.Name(name.rpartition(".")[2], ast.Load()), ((scope, local),)))
        return [(part, scope, sinks) for part in children(node)]

    def _bound(
        self, scope: Scope, sinks: _Sinks, value: ast.AST | None, *targets: ast.AST
    ) -> list[tuple[ast.AST, Scope, _Sinks]]:
        inside: _Sinks = (*sinks, *self._sinks(scope, *targets))
        found: list[tuple[ast.AST, Scope, _Sinks]] = [(target, scope, sinks) for target in targets]
        return found if value is None else [*found, (value, scope, inside)]

    def _sinks(self, scope: Scope, *targets: ast.AST) -> _Sinks:
        return tuple((scope, t.id) if isinstance(t, ast.Name) else t.attr for t in _targets(*targets))

    def _function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: Scope, sinks: _Sinks
    ) -> Iterable[tuple[ast.AST, Scope, _Sinks]]:
        name = "" if isinstance(node, ast.Lambda) else node.name
        number = self._numbers[id(node)] = len(self._numbers) + 1
        inner = Scope(number, scope, _names(node.args), name or scope.function)
        if name and scope.function:
            self._inner[scope.function].add(name)
        params = tuple(f"{number}.{param}" for param in _names(node.args))
        if name:
            self._edges[f"{name}()"] |= set(params)
        defaults = [default for default in [*node.args.defaults, *node.args.kw_defaults] if default is not None]
        found: list[tuple[ast.AST, Scope, _Sinks]] = [(default, scope, params) for default in defaults]
        if isinstance(node, ast.Lambda):
            return [*found, (node.body, inner, sinks)]
        found += [(decorator, scope, ()) for decorator in node.decorator_list]
        return [*found, *((part, inner, ()) for part in node.body)]

    def _call(self, node: ast.Call, scope: Scope, sinks: _Sinks) -> Iterable[tuple[ast.AST, Scope, _Sinks]]:
        self.calls.append((node, scope))
        callee = last_name(node.func)
        inside: _Sinks = (*sinks, f"{callee}()")
        if callee in _CONTAINERS and isinstance(node.func, ast.Attribute):
            inside = (*inside, *self._sinks(scope, node.func.value))
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        if callee.endswith("hook"):
            self._hooks += given
        return [(node.func, scope, sinks), *((part, scope, inside) for part in given)]

    def _own(self, scope: Scope, node: ast.AST) -> Iterable[str]:
        """The key of a name, an attribute, or a string that is a name."""
        match node:
            case ast.Name(id=name) if name not in ("self", "cls"):
                return (scope.key(name),)
            case ast.Attribute(attr=name):
                return (name,)
            case ast.Constant(value=str() as name) if name.isidentifier():
                return (name,)
        return ()

    def _keys(self, scope: Scope, node: ast.AST) -> Iterator[str]:
        stack = [node]
        while stack:
            node = stack.pop()
            yield from self._own(scope, node)
            stack += children(node)

    def _hook(self, given: ast.AST) -> None:
        """What is registered as a hook gets gradients: a lambda, a function, or what a factory makes."""
        for part in ast.walk(given):
            if isinstance(part, ast.Lambda):
                self._edges["grad"] |= {f"{self._numbers[id(part)]}.{name}" for name in _names(part.args)}
            elif last_name(part):
                name = last_name(part)
                self._edges["grad"] |= {f"{name}()", *(f"{inner}()" for inner in self._inner.get(name, ()))}

    def _spread(self) -> set[str]:
        found = {key for key in self._edges if _is_seed(key)}
        stack = list(found)
        while stack:
            for target in self._edges.get(stack.pop(), ()):
                if target not in found:
                    found.add(target)
                    stack.append(target)
        return found
