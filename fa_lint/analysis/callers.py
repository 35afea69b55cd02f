"""Which function a call enters and who calls a function, also in other files of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fa_lint.analysis import terms as t
from fa_lint.analysis.program import Module
from fa_lint.analysis.values import Values
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.slices import function_of

__all__ = ["CallGraph", "Function"]

Function = tuple[Module, ir.FunctionDef]
# Functions of other files that are entered from one.
_MOST_FUNCTIONS = 64


class CallGraph:
    """The calls of one module, and of the functions of other files that they lead into."""

    def __init__(self, values: Values, seeds: Callable[[], Iterable[ir.Call]]) -> None:
        self._values = values
        # The calls of this module that are followed into other files.
        self._seeds = seeds
        self._own = values.module
        self._entered: dict[tuple[int, int], list[Function]] = {}
        self._callers: dict[tuple[int, int], list[tuple[Module, ir.Call]]] | None = None

    def modules(self) -> list[Module]:
        """Return this module, and those that calls lead into."""
        self._explored()
        return list(self._values.program.modules)

    def callers(self, function: Function) -> list[tuple[Module, ir.Call]]:
        """Return the calls that enter a function; of another file only those that this one leads to."""
        module, node = function
        if module is self._own:
            return [(module, call) for call in module.facts.derived(Calls).callers(node)]
        return self._explored().get((module.number, node.nid), [])

    def entered(self, module: Module, call: ir.Call) -> list[Function]:
        """Return the functions that a call enters: those of its module as :class:`Calls` says, else of other files."""
        key = (module.number, call.nid)
        if key not in self._entered:
            own = module.facts.derived(Calls).entered(call)
            self._entered[key] = [(module, f) for f in own] or self._elsewhere(module, call.func)
        return self._entered[key]

    def functions(self, module: Module, node: ir.Expr) -> list[Function]:
        """Return the functions that an expression names."""
        facts = module.facts
        match node:
            case ir.Name():
                own = [b.node for b in facts.names.bindings(node) if isinstance(b.node, ir.FunctionDef)]
            case ir.Attr(attr=attr, value=value):
                calls = facts.derived(Calls)
                is_self = isinstance(value, ir.Name) and value.id == "self"
                owner = facts.names.enclosing_class(node) if is_self else calls.class_of(value)
                method = calls.method(owner, attr) if owner is not None else None
                own = [method] if method is not None else []
            case _:
                own = []
        return [(module, f) for f in own] or self._elsewhere(module, node)

    def _elsewhere(self, module: Module, func: ir.Expr) -> list[Function]:
        program, evaluator = self._values.program, self._values.evaluator
        if not program.has_others or not isinstance(func, ir.Name | ir.Attr):
            return []
        name = module.facts.qualified(func)
        if name is not None:
            found = program.imported(module.number, name)
            callees = t.single(evaluator.project_object(*found)) if found is not None else ()
        elif isinstance(func, ir.Attr) and not self._may_be_of_others(module, func):
            return []
        else:
            callees = evaluator.of(evaluator.home(module, func), func)
        methods = list(callees)
        for term, _ in callees:
            if isinstance(term, t.Instance) and term.made:
                for attr in ("forward", "__call__"):
                    methods += evaluator.members.attribute(term, attr)
        return [
            (program.modules[term.module], term.node)
            for term, _ in methods
            if isinstance(term, t.Function) and isinstance(term.node, ir.FunctionDef) and term.module != module.number
        ]

    def _may_be_of_others(self, module: Module, func: ir.Attr) -> bool:
        """Return True for a method of a named object, in a file that imports a class of the run."""
        receiver = func.value
        while isinstance(receiver, ir.Attr):
            receiver = receiver.value
        if not isinstance(receiver, ir.Name) or module is not self._own:
            return isinstance(receiver, ir.Name)
        return bool(module.facts.imported_names(speaking=True))

    def _explored(self) -> dict[tuple[int, int], list[tuple[Module, ir.Call]]]:
        """Enter the functions of other files that the seeds call, and those that they call."""
        if self._callers is not None:
            return self._callers
        self._callers = {}
        if not self._values.program.has_others:
            return self._callers
        waiting = [(self._own, call) for call in self._seeds()]
        while waiting:
            module, call = waiting.pop()
            for other, function in self.entered(module, call):
                if other is self._own:
                    continue
                key = (other.number, function.nid)
                if key not in self._callers and len(self._callers) < _MOST_FUNCTIONS:
                    waiting += [(other, c) for c in other.facts.calls if function_of(c, other.facts) is function]
                    self._callers[key] = []
                if key in self._callers:
                    self._callers[key].append((module, call))
        return self._callers
