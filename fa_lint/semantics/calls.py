"""Calls inside one module: who enters whom, of which class an object is, and what an expression can be.

Built on demand by the rules that follow values through functions; never part of the cached facts.
"""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.names import Binding
from fa_lint.semantics.uses import Uses

__all__ = ["Calls", "argument", "given", "passing"]

_DEPTH = 12
# Methods and wrappers that give back the object they were called on or given.
_SAME_OBJECT = frozenset("to cuda cpu eval train half float double bfloat16 requires_grad_ apply share_memory".split())
_WRAPPERS = frozenset({"DataParallel", "DistributedDataParallel", "DDP", "compile", "deepcopy", "copy", "prepare"})


def argument(call: ir.Call, function: ir.FunctionDef | ir.Lambda, param: ir.Param) -> ir.Expr | None:
    """What ``call`` passes for ``param``; None where it passes nothing or hides it behind ``*args``."""
    position = next(i for i, p in enumerate(function.params) if p is param)
    if function.params[0].name in ("self", "cls"):
        position -= 1
    for number, arg in enumerate(call.args):
        if arg.star:
            return None
        if arg.keyword == param.name or (arg.keyword is None and number == position):
            return arg.value
    return None


def given(facts: ModuleFacts, function: ir.FunctionDef, name: str) -> list[ir.Expr]:
    """What the calls of this module pass for a parameter; methods of objects out of sight go by their name."""
    return [value for _, value in passing(facts, function, name)]


def passing(facts: ModuleFacts, function: ir.FunctionDef, name: str) -> list[tuple[ir.Call, ir.Expr]]:
    """The calls of this module that pass something for a parameter, and what they pass."""
    param = next((p for p in function.params if p.name == name), None)
    graph = facts.derived(Calls)
    if function.name == "__init__":
        calls = graph.constructions(function)
    else:
        calls = graph.callers(function) or facts.derived(Uses).calls_named(function.name)
    calls = [call for call in calls if param and facts.names.enclosing_function(call) is not function]
    return [(call, value) for call in calls if param and (value := argument(call, function, param)) is not None]


class Calls:
    """The call graph of one module, as far as its names show it."""

    def __init__(self, facts: ModuleFacts) -> None:
        self.facts = facts
        self._classes: dict[int, ir.ClassDef | None] = {}
        self._busy: set[int] = set()
        self._entered: dict[int, list[ir.FunctionDef]] = {}
        self._callers: dict[int, list[ir.Call]] = {}
        # Names of methods: a call of another one enters nothing but an object.
        self._methods = {f.name for f in facts.names.functions if facts.names.classes}
        plain = {call.nid: facts.names.function_called(call) for call in facts.calls}
        for call in facts.calls:
            function = plain[call.nid]
            if function is not None:
                self._callers.setdefault(function.nid, []).append(call)
        # Of which class a parameter is depends on the plain calls: methods and models come second.
        for call in facts.calls:
            for function in self.entered(call) if plain[call.nid] is None else ():
                self._callers.setdefault(function.nid, []).append(call)
        self._classes.clear()
        self._entered.clear()

    def callers(self, function: ir.FunctionDef) -> list[ir.Call]:
        """The calls of this module that enter ``function``."""
        return self._callers.get(function.nid, [])

    def entered(self, call: ir.Call) -> list[ir.FunctionDef]:
        """The functions of this module that a call enters: plain, ``self.f``, ``Class.f``, or a forward of a model."""
        if call.nid not in self._entered:
            self._entered[call.nid] = []  # a call that resolves through itself enters nothing
            self._entered[call.nid] = self._resolve(call)
        return self._entered[call.nid]

    def _resolve(self, call: ir.Call) -> list[ir.FunctionDef]:
        names = self.facts.names
        plain = names.function_called(call)
        if plain is not None:
            return [plain]
        func = call.func
        if isinstance(func, ir.Attr) and func.attr in self._methods:
            if isinstance(func.value, ir.Name) and func.value.id in ("self", "cls"):
                around = names.enclosing_class(call)
                method = self.method(around, func.attr) if around is not None else None
            else:
                owner = self.class_of(func.value)
                method = self.method(owner, func.attr) if owner is not None else self._of_class(func)
            if method is not None:
                return [method]
        owner = self.class_of(func) if self._methods & {"forward", "__call__"} else None
        forward = (self.method(owner, "forward") or self.method(owner, "__call__")) if owner is not None else None
        return [forward] if forward is not None else []

    def _of_class(self, func: ir.Attr) -> ir.FunctionDef | None:
        """A static or class method that is called through the name of its class."""
        owner = self.facts.names.class_named(func.value) if isinstance(func.value, ir.Name) else None
        method = self.method(owner, func.attr) if owner is not None else None
        return method if method is not None and not (method.params and method.params[0].name == "self") else None

    def method(self, owner: ir.ClassDef, name: str) -> ir.FunctionDef | None:
        """A method of a class of this module or of its bases in this module."""
        return next((m for c in self.lineage(owner) if (m := self.facts.names.method(c, name)) is not None), None)

    def lineage(self, owner: ir.ClassDef) -> Iterator[ir.ClassDef]:
        """A class and its bases as far as this module defines them, nearest first."""
        seen: set[int] = set()
        queue = [owner]
        while queue:
            top = queue.pop(0)
            if top.nid in seen:
                continue
            seen.add(top.nid)
            yield top
            for base in top.bases:
                found = self.facts.names.class_named(base.value) if isinstance(base.value, ir.Name) else None
                if found is not None and base.keyword is None:
                    queue.append(found)

    def bases(self, owner: ir.ClassDef) -> set[str]:
        """The library names among the bases of a class and of its bases in this module."""
        found = (self.facts.qualified(b.value) for c in self.lineage(owner) for b in c.bases if b.keyword is None)
        return {name for name in found if name is not None}

    def class_of(self, node: ir.Expr) -> ir.ClassDef | None:
        """The class of this module that an expression is an instance of, where every way says the same."""
        if node.nid in self._busy:
            return None
        if node.nid not in self._classes:
            self._busy.add(node.nid)
            try:
                owners = [self._constructed(leaf) for leaf in self.sources(node)]
            finally:
                self._busy.discard(node.nid)
            first = owners[0] if owners else None
            self._classes[node.nid] = first if all(o is first for o in owners) else None
        return self._classes[node.nid]

    def _constructed(self, node: ir.Expr | None) -> ir.ClassDef | None:
        for _ in range(_DEPTH):
            if not isinstance(node, ir.Call):
                return None
            func = node.func
            if isinstance(func, ir.Name):
                owner = self.facts.names.class_named(func)
                if owner is not None:
                    return owner
            last = ir.last_name(func)
            inner: ir.Expr | None = None
            if isinstance(func, ir.Attr) and last in _SAME_OBJECT and self.facts.qualified(func.value) is None:
                inner = func.value
            elif last in _WRAPPERS and node.args:
                inner = node.args[0].value
            if inner is None:
                return None
            leaves = list(self.sources(inner))
            node = leaves[0] if len(leaves) == 1 else None
        return None

    def sources(self, node: ir.Expr | None, depth: int = 0) -> Iterator[ir.Expr | None]:
        """What an expression can be: through names, attributes of ``self``, branches, defaults and callers.

        None stands for a way that this module does not show.
        """
        yield from self._sources(node, depth, set())

    def _sources(self, node: ir.Expr | None, depth: int, seen: set[int]) -> Iterator[ir.Expr | None]:
        if node is None or depth > _DEPTH:
            yield None
            return
        if node.nid in seen:
            return
        seen.add(node.nid)
        match node:
            case ir.Conditional(body=body, orelse=orelse):
                yield from self._sources(body, depth + 1, seen)
                yield from self._sources(orelse, depth + 1, seen)
            case ir.Walrus(value=value):
                yield from self._sources(value, depth + 1, seen)
            case ir.Name() if self.facts.qualified(node) is None:
                bindings = self.facts.names.reaching(node)
                if not bindings:
                    yield node
                for binding in bindings:
                    yield from self._bound(binding, node, depth, seen)
            case ir.Attr() if self.facts.qualified(node) is None:
                bindings = self.facts.names.self_attribute(node)
                if not bindings:
                    yield node
                for binding in bindings:
                    yield from self._bound(binding, node, depth, seen)
            case _:
                yield node

    def _bound(self, binding: Binding, use: ir.Expr, depth: int, seen: set[int]) -> Iterator[ir.Expr | None]:
        if binding.how == "param" and isinstance(binding.node, ir.Param):
            yield from self._passed(binding.node, depth, seen)
        elif binding.how == "value":
            yield from self._sources(binding.value, depth + 1, seen)
        else:
            yield None

    def _passed(self, param: ir.Param, depth: int, seen: set[int]) -> Iterator[ir.Expr | None]:
        owner = self.facts.names.parent(param)
        calls: list[ir.Call] = []
        if isinstance(owner, ir.FunctionDef):
            calls = self.callers(owner) if owner.name != "__init__" else self.constructions(owner)
        for call in calls:
            assert isinstance(owner, ir.FunctionDef)
            value = argument(call, owner, param)
            yield from self._sources(value if value is not None else param.default, depth + 1, seen)
        if not calls:
            yield from self._sources(param.default, depth + 1, seen)

    def constructions(self, init: ir.FunctionDef) -> list[ir.Call]:
        """The calls of the class of a constructor."""
        owner = self.facts.names.enclosing_class(init)
        found = []
        for call in self.facts.calls:
            if owner is not None and isinstance(call.func, ir.Name):
                if self.facts.names.class_named(call.func) is owner:
                    found.append(call)
        return found
