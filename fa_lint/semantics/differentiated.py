"""Where a value is differentiated: ``backward``, ``autograd.grad``, ``jax.grad``, or a loss that is returned.

A forward walk from the value over names, containers, returns and calls of one module. It stops where the graph is cut
(:mod:`fa_lint.semantics.severed`) and keeps apart what lies under different keys of a dict or indices of a tuple.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.gradients import FRAMEWORK_WORDS
from fa_lint.semantics.severed import carries_no_gradient
from fa_lint.semantics.slices import slice_of
from fa_lint.semantics.uses import Uses
from fa_lint.semantics.words import words

__all__ = ["Differentiated"]

_MOST = 600
_DEEPEST = 3
_TRANSFORMS = frozenset(
    f"{library}.{name}"
    for library in ("torch.func", "jax")
    for name in ("grad", "grad_and_value", "value_and_grad", "jacrev", "jacfwd", "hessian", "vjp")
) | {f"torch.autograd.functional.{n}" for n in ("jacobian", "hessian", "vjp", "hvp")}
_ENGINES = FRAMEWORK_WORDS | {"model", "net", "lightning", "loss"}
_BACKWARD = frozenset({"backward", "manual_backward"})
_LOSS = frozenset({"loss", "losses", "criterion"})
_NO_LOSS = frozenset(
    "metric metrics eval evaluate evaluation val valid validation validate test report log plot score error errors "
    "monitor track no accuracy".split()
)
_KNOWN = frozenset("gt target targets tgt true truth label labels ref reference".split())
# What they give has no gradient.
_CUTS = frozenset(
    "argmax argmin argsort sign sgn round floor ceil long int bool isnan isinf isfinite any all numel size dim eq ne "
    "gt lt ge le nonzero count_nonzero histc bincount searchsorted bucketize unique allclose isclose equal".split()
)
_NUMBERS = frozenset("float int bool str len print repr round format isinstance type id hash range any all".split())
_JOINS = frozenset("stack cat concat concatenate hstack vstack sum mean asarray array".split())
_GROWTH = frozenset({"append", "add", "insert", "extend", "appendleft", "update"})
_ATTRIBUTES = frozenset("data shape dtype device requires_grad grad_fn grad is_cuda ndim".split())
_PLAIN = frozenset("zip enumerate list tuple iter reversed sorted map".split())
# A key that the code does not show.
_ANY = "*any*"

# Below which keys of a container the value lies, and whether a return leads on to the callers.
_Path = tuple[object, ...]
_Place = tuple[ir.Expr, _Path, bool]


class Differentiated:
    """Answers :meth:`by` for the expressions of one module."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._facts = facts
        self._names = facts.names
        self._calls = facts.derived(Calls)
        self._uses = facts.derived(Uses)
        self._variables: dict[str, dict[int, list[ir.Name]]] = {}
        self._dead: set[tuple[int, _Path, bool]] = set()

    def by(self, node: ir.Expr, *, through_models: bool = True) -> ir.Node | None:
        """Return the call, or the function named after a loss, that differentiates a value; None for none in sight.

        Not ``through_models``, the walk stops where the value is given to what may be a model.
        """
        seen: set[tuple[int, _Path, bool]] = set()
        waiting: list[_Place] = [(node, (), True)]
        while waiting:
            place = waiting.pop()
            key = (place[0].nid, place[1], place[2])
            if key in seen or key in self._dead or len(seen) > _MOST or len(place[1]) > _DEEPEST:
                continue
            seen.add(key)
            if carries_no_gradient(place[0], self._facts):
                continue
            if not through_models and self._is_given_to_model(place[0]):
                continue
            for found in self._steps(*place):
                if not isinstance(found, tuple):
                    return found
                waiting.append(found)
        if len(seen) <= _MOST and through_models:
            self._dead |= seen
        return None

    def may_have_graph(self, node: ir.Expr) -> bool:
        """Return True unless a value is computed from constants, detached values and what is named a target."""
        found = slice_of(node, self._facts, carries_no_gradient)
        sources = {param.name for param in found.params} - {"self", "cls"}
        for part in found.nodes:
            match part:
                case ir.Attr(value=ir.Name(id="self"), attr=attr):
                    sources.add(attr)
                case ir.Call(func=ir.Name(id=name) as func) if self._facts.qualified(func) is None:
                    sources.add(name)
                case ir.Call(func=ir.Attr(value=ir.Name(id=name) as value, attr="requires_grad_" | "forward")):
                    sources |= {name} if self._facts.qualified(value) is None else set()
                case ir.Arg(keyword="requires_grad") | ir.Call(func=ir.Attr(attr="Parameter")):
                    return True
        return any(not set(words(name)) & _KNOWN for name in sources)

    def is_made_to_have_graph(self, node: ir.Expr) -> bool:
        """Return True for what a model or another call out of sight gives, or where gradients are asked for by name."""
        home = self._names.enclosing_function(node)
        if home is not None and "requires_grad" in self._facts.source(home):
            return True
        for part in slice_of(node, self._facts, carries_no_gradient).nodes:
            match part:
                case ir.Attr(value=ir.Name(id="self")):
                    return True
                case ir.Call(func=ir.Name(id=name) as func) if name not in _PLAIN and self._names.bindings(func):
                    return True
                case ir.Call(func=ir.Attr(attr="forward" | "Parameter")):
                    return True
        return False

    def _is_given_to_model(self, node: ir.Expr) -> bool:
        """Return True for an argument of a callable that is a parameter or an attribute, and not named after a loss."""
        above = self._names.parent(node)
        call = self._names.parent(above) if isinstance(above, ir.Arg) else None
        if not isinstance(call, ir.Call) or self._facts.qualified(call.func) is not None or self._calls.entered(call):
            return False
        match call.func:
            case ir.Name(id=name) if self._names.bindings(call.func):
                return not set(words(name)) & _LOSS
            case ir.Attr(value=ir.Name(id="self"), attr=name) if name not in _BACKWARD:
                return not set(words(name)) & _LOSS
        return False

    # -- one step -------------------------------------------------------------------------------------------------

    def _steps(self, node: ir.Expr, path: _Path, up: bool) -> Iterator[_Place | ir.Node]:
        parent = self._names.parent(node)
        match parent:
            case ir.Arg():
                call = self._names.parent(parent)
                if isinstance(call, ir.Call):
                    yield from self._given(call, parent, path, up)
            case ir.Attr(attr=attr):
                yield from self._member(parent, attr, path, up)
            case ir.Subscript(value=value, index=index) if value is node:
                yield from self._taken(parent, index, path, up)
            case ir.Conditional(test=test) if test is node:
                return
            case ir.Unary(op="not"):
                return
            case ir.Binary() | ir.Unary() | ir.Bool() | ir.Conditional() | ir.Await() | ir.Starred():
                yield parent, path, up
            case ir.Sequence(items=items):
                starred = isinstance(node, ir.Starred)
                yield parent, path if starred else (next(i for i, x in enumerate(items) if x is node), *path), up
            case ir.Keyed(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if value is node:
                        yield parent, path if key is None else (_constant(key), *path), up
            case ir.Comprehension():
                yield parent, (_ANY, *path), up
            case ir.Clause(iter=iterated, target=target) | ir.For(iter=iterated, target=target) if iterated is node:
                yield from self._bound(target, path[1:], parent, up)
            case ir.Walrus(target=target, value=value) if value is node:
                yield parent, path, up
                yield from self._bound(target, path, parent, up)
            case ir.Assign(targets=targets, value=value) if value is node:
                for target in targets:
                    yield from self._bound(target, path, parent, up)
            case ir.AnnAssign(target=target, value=value) | ir.AugAssign(target=target, value=value) if value is node:
                yield from self._bound(target, path, parent, up)
            case ir.Return() | ir.Yield():
                yield from self._returned(parent, path, up)
            case ir.Lambda(body=body) if body is node and self._is_transformed(parent):
                yield parent

    def _member(self, node: ir.Attr, attr: str, path: _Path, up: bool) -> Iterator[_Place | ir.Node]:
        call = self._names.parent(node)
        if not (isinstance(call, ir.Call) and call.func is node):
            if attr not in _ATTRIBUTES and not path:
                yield node, path, up
        elif attr in _BACKWARD:
            yield call
        elif attr == "items":
            yield call, (_ANY, 1, *path[1:]), up
        elif attr == "values":
            yield call, (_ANY, *path[1:]), up
        elif attr in ("get", "pop") and call.args:
            yield from self._taken(call, [call.args[0].value], path, up)
        elif attr not in _CUTS and attr != "keys":
            # A method of an array whose entries hold the value.
            yield call, () if path and (path == (_ANY,) or not isinstance(path[0], str)) else path, up

    def _taken(self, node: ir.Expr, index: list[ir.Expr], path: _Path, up: bool) -> Iterator[_Place]:
        key = _constant(index[0]) if len(index) == 1 else _ANY
        if not path or _ANY in (key, path[0]) or key == path[0] or (isinstance(key, int) and key < 0):
            yield node, path[1:], up

    def _bound(self, target: ir.Expr, path: _Path, binder: ir.Node, up: bool) -> Iterator[_Place]:
        match target:
            case ir.Name():
                yield from self._read(target, path, binder, up)
            case ir.Starred(value=inner):
                yield from self._bound(inner, (_ANY, *path), binder, up)
            case ir.Sequence(items=items):
                for index, item in enumerate(items):
                    if not path or path[0] in (index, _ANY):
                        yield from self._bound(item, path[1:], binder, up)
            case ir.Subscript(value=container, index=index):
                key = _constant(index[0]) if len(index) == 1 else _ANY
                yield from self._bound(container, (key, *path), binder, up)
            case ir.Attr(value=ir.Name(id="self"), attr=attr):
                owner = self._names.enclosing_class(target)
                for use in self._uses.of_attribute(attr):
                    if use is not target and self._names.enclosing_class(use) is owner:
                        yield use, path, True

    def _read(self, name: ir.Name, path: _Path, binder: ir.Node, up: bool) -> Iterator[_Place]:
        for use in self._uses_of(name):
            if use is not name and any(binding.node is binder for binding in self._names.reaching(use)):
                yield use, path, up

    def _uses_of(self, name: ir.Name) -> list[ir.Name]:
        """Return the places that mention a variable, of its own scope only."""
        if name.id not in self._variables:
            found = self._variables[name.id] = defaultdict(list)
            for use in self._uses.of(name.id):
                found[id(self._names.bindings(use))].append(use)
        return self._variables[name.id].get(id(self._names.bindings(name)), [])

    def _given(self, call: ir.Call, arg: ir.Arg, path: _Path, up: bool) -> Iterator[_Place | ir.Node]:
        """Follow an argument into what the call does with it and returns."""
        name = self._facts.qualified(call.func) or ""
        func = call.func
        last = ir.last_name(func)
        first = arg is call.args[0] or arg.keyword in ("outputs", "tensors", "loss")
        if name in ("torch.autograd.grad", "torch.autograd.backward"):
            if first:
                yield call
        elif last in _BACKWARD and isinstance(func, ir.Attr) and not name:
            owner = func.value
            said = ir.last_name(owner)
            if first and set(words(said)) & _ENGINES:
                yield call
        elif name.startswith(("numpy.", "math.")) or last in _CUTS or (last == "where" and first and name):
            return
        elif name:
            if not path or last in _JOINS or path[0] == _ANY:
                yield call, (), up
        elif isinstance(func, ir.Attr) and last in _GROWTH:
            inner = (arg.keyword, *path) if arg.keyword else path if last in ("extend", "update") else (_ANY, *path)
            yield from self._grown(func.value, inner, call, up)
        elif isinstance(func, ir.Name) and not self._names.bindings(func):
            yield from self._builtin(call, arg, func.id, path, up)
        else:
            yield from self._passed(call, arg, path, up)

    def _grown(self, container: ir.Expr, path: _Path, call: ir.Call, up: bool) -> Iterator[_Place]:
        if isinstance(container, ir.Name):
            for use in self._uses_of(container):
                if use.nid > call.nid:
                    yield use, path, up
        else:
            yield from self._bound(container, path, call, up)

    def _builtin(self, call: ir.Call, arg: ir.Arg, name: str, path: _Path, up: bool) -> Iterator[_Place]:
        if name in _NUMBERS:
            return
        if name == "dict" and arg.keyword:
            yield call, (arg.keyword, *path), up
        elif name in ("zip", "enumerate"):
            index = 1 if name == "enumerate" else next(i for i, a in enumerate(call.args) if a is arg)
            yield call, (_ANY, index, *path[1:]), up
        elif name in ("list", "tuple", "sorted", "reversed", "iter", "dict"):
            yield call, (_ANY, *path[1:]) if name != "dict" and path else path, up
        else:
            yield call, path[1:], up

    def _passed(self, call: ir.Call, arg: ir.Arg, path: _Path, up: bool) -> Iterator[_Place]:
        """The parameters that a call binds to a value; the call itself where its function is not resolved."""
        functions = self._calls.entered(call)
        if not functions and (not path or path[0] == _ANY):
            yield call, (), up
        for function in functions:
            number = next(i for i, a in enumerate(call.args) if a is arg)
            number += bool(function.params) and function.params[0].name in ("self", "cls")
            for index, param in enumerate(function.params):
                if param.name == arg.keyword or (arg.keyword is None and not arg.star and index == number):
                    for use in self._uses.of(param.name):
                        if any(binding.node is param for binding in self._names.bindings(use)):
                            yield use, path, False
            if self._names.returned(function) and not carries_no_gradient(_probe(function), self._facts):
                yield call, (), up

    def _returned(self, node: ir.Node, path: _Path, up: bool) -> Iterator[_Place | ir.Node]:
        function = self._names.enclosing_function(node)
        if function is None or not up:
            return
        if self._is_loss(function, path) or self._is_transformed(function):
            yield function
        for call in self._calls.callers(function):
            yield call, path if isinstance(node, ir.Return) else (_ANY, *path), True

    def _is_loss(self, function: ir.FunctionDef, path: _Path) -> bool:
        """Return True for what a function or module named after a loss returns as the loss."""
        owner = self._names.enclosing_class(function)
        said = set(words(function.name))
        around = set(words(owner.name)) if owner is not None else set()
        if function.name in ("forward", "__call__", "call"):
            said = around
        if path and not (path[0] in (0, _ANY) or (isinstance(path[0], str) and set(words(path[0])) & _LOSS)):
            return False
        if function.name == "training_step":
            return True
        return bool(said & _LOSS) and not (said | around) & _NO_LOSS

    def _is_transformed(self, function: ir.FunctionDef | ir.Lambda) -> bool:
        """Return True for the function of ``jax.grad(f)`` or ``torch.func.grad(f)``."""
        uses: list[ir.Expr] = [function] if isinstance(function, ir.Lambda) else list(self._uses.of(function.name))
        for use in uses:
            for above in self._names.ancestors(use)[:5]:
                if isinstance(above, ir.Call) and self._facts.qualified(above.func) in _TRANSFORMS:
                    return any(use is part for arg in above.args[:1] for part in ir.walk(arg))
        if isinstance(function, ir.Lambda):
            return False
        made = [d.func if isinstance(d, ir.Call) else d for d in function.decorators]
        return any(self._facts.qualified(d) in _TRANSFORMS for d in made)


def _constant(node: ir.Expr) -> object:
    return node.value if isinstance(node, ir.Const) and isinstance(node.value, int | str) else _ANY


def _probe(function: ir.FunctionDef) -> ir.Node:
    """Return a call of a function's body, which shows whether the whole function runs without a graph."""
    return next((n for n in ir.walk(function.body) if isinstance(n, ir.Call | ir.Binary)), function)
