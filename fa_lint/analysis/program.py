"""The modules of a run as the evaluator sees them: facts by number, and which object a dotted name means."""

from __future__ import annotations

from dataclasses import dataclass, field

from fa_lint.analysis.changes import Changes
from fa_lint.analysis.flow import Flow
from fa_lint.semantics import ir
from fa_lint.semantics.facts import Load, ModuleFacts

__all__ = ["Module", "Program"]

_MOST_HOPS = 8
# A file with its helpers; in a library everything reaches everything.
_MOST_MODULES = 10


@dataclass(slots=True, eq=False)
class Module:
    number: int
    path: str
    facts: ModuleFacts
    flows: dict[int, Flow] = field(default_factory=dict)
    _calls: dict[str, list[ir.Call]] | None = None

    def flow(self, node: ir.Module | ir.FunctionDef | ir.ClassDef) -> Flow:
        """Return the reaching definitions of a function's, class's or module's statements."""
        if node.nid not in self.flows:
            self.flows[node.nid] = Flow(node.body, node.nid)
        return self.flows[node.nid]

    def calls_of(self, method: str) -> list[ir.Call]:
        """Return the calls of methods of this name, in the order of the file."""
        if self._calls is None:
            self._calls = {}
            for call in self.facts.calls:
                if isinstance(call.func, ir.Attr):
                    self._calls.setdefault(call.func.attr, []).append(call)
        return self._calls.get(method, [])

    @property
    def changes(self) -> Changes:
        """Return where arrays may be changed in place."""
        return self.facts.derived(Changes)


class Program:
    """Modules by number; those that are imported are loaded when they are first asked for."""

    def __init__(self, load: Load | None = None) -> None:
        self.modules: list[Module] = []
        self._load = load
        # Files that import this one: they take no place of those that it imports.
        self._calling = 0
        self._paths: dict[str, int] = {}
        self._resolved: dict[tuple[int, str, bool], tuple[int, ir.Node] | None] = {}

    @property
    def has_others(self) -> bool:
        """Return True in a run over several files."""
        return self._load is not None

    def add(self, path: str, facts: ModuleFacts) -> Module:
        if path not in self._paths:
            self._paths[path] = len(self.modules)
            self.modules.append(Module(len(self.modules), path, facts))
        return self.modules[self._paths[path]]

    def add_caller(self, path: str, facts: ModuleFacts) -> Module:
        """Add a file that imports this one."""
        self._calling += path not in self._paths
        return self.add(path, facts)

    def implementations(self, module: int, function: ir.FunctionDef | ir.Lambda) -> list[ir.FunctionDef | ir.Lambda]:
        """Return a function, and what is registered with it where it is a ``singledispatch`` one."""
        found: list[ir.FunctionDef | ir.Lambda] = [function]
        if isinstance(function, ir.FunctionDef) and any(
            ir.last_name(d).startswith("singledispatch") for d in function.decorators
        ):
            for other in self.modules[module].facts.names.functions:
                for decorator in other.decorators:
                    maker = decorator.func if isinstance(decorator, ir.Call) else decorator
                    if (
                        isinstance(maker, ir.Attr)
                        and maker.attr == "register"
                        and ir.last_name(maker.value) == function.name
                    ):
                        found.append(other)
        return found

    def imported(self, module: int, name: str, *, given: bool = True) -> tuple[int, ir.Node] | None:
        """Return the function or class (or module) of the run that a dotted name means in a module.

        Without being ``given`` a gradient, a function matters only if it names gradients itself.
        """
        key = (module, name, given)
        if key not in self._resolved:
            self._resolved[key] = None
            self._resolved[key] = self._find(module, name, 0, given)
        return self._resolved[key]

    def _find(self, module: int, name: str, hops: int, given: bool = True) -> tuple[int, ir.Node] | None:
        if self._load is None or hops > _MOST_HOPS or len(self.modules) - self._calling > _MOST_MODULES:
            return None
        found = self._load(self.modules[module].path, name, given)
        if found is None:
            return None
        path, facts, rest = found
        number = self.add(path, facts).number
        return (number, facts.module) if not rest else self.member(number, rest, hops + 1)

    def member(self, module: int, name: str, hops: int = 0) -> tuple[int, ir.Node] | None:
        """Return what ``name`` (dotted) is in a module of the run, through its own imports."""
        names = self.modules[module].facts.names
        first, _, rest = name.partition(".")
        bindings = names.module_scope.bindings.get(first, ())
        for binding in reversed(bindings):
            if isinstance(binding.node, ir.FunctionDef) and not rest:
                return module, binding.node
            if isinstance(binding.node, ir.ClassDef):
                if not rest:
                    return module, binding.node
                method = names.method(binding.node, rest)
                return (module, method) if method is not None else None
            if binding.how == "import" and binding.target:
                return self._find(module, f"{binding.target}.{rest}" if rest else binding.target, hops)
        if not bindings:
            for source in names.star_modules:
                joined = f"{source}{name}" if source.endswith(".") else f"{source}.{name}"
                found = self._find(module, joined, hops)
                if found is not None:
                    return found
        return None
