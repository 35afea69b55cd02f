"""Which functions of a module can make a cosine, as far as their text shows: only those are evaluated whole."""

from __future__ import annotations

from functools import cached_property

from fa_lint.analysis.interest import SUBJECT
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["Outline", "Owner", "called_names", "denominator"]

_MEASURES = frozenset(
    "norm vector_norm dot vdot inner matmul mm bmm mv vecdot einsum sum sqrt rsqrt square pow nansum normalize "
    "cosine_similarity CosineSimilarity cosine safe_cosine safe_unit hypot".split()
)
_DIVIDES = frozenset(
    "div div_ divide true_divide rsqrt rsqrt_ reciprocal reciprocal_ normalize cosine_similarity CosineSimilarity "
    "cosine safe_cosine safe_unit".split()
)
_DIVISIONS = frozenset("div div_ divide true_divide".split())
_INVERSES = frozenset("rsqrt rsqrt_ reciprocal reciprocal_".split())
# Functions that call, or bind, the one that they are given first.
_HIGHER = frozenset("map starmap partial vmap tree_map tree_multimap jit compile".split())
_COSINES = frozenset({"cosine_similarity", "CosineSimilarity"})
_MOST_NAMED = 32
# What they make compares when it is called.
_MAKERS = frozenset({"CosineSimilarity", "cosine_similarity"})


Owner = ir.Module | ir.FunctionDef | ir.Lambda


class Outline:
    """Which functions of a module can make a cosine, a projection or a unit vector: only those are evaluated whole.

    Such a *maker* has a division and something to divide by: a norm, a product, or a call of a function that has one.
    """

    def __init__(self, facts: ModuleFacts, *, alone: bool) -> None:
        self._nodes: dict[int, list[ir.Expr | ir.AugAssign]] = {}
        measuring: set[int] = set()
        dividing: set[int] = set()
        named: dict[int, str] = {facts.module.nid: ""}
        self.lambdas: list[ir.Lambda] = []
        # Imported functions that can make a cosine of what they are given, and those that speak of gradients.
        self.imported = set() if alone else facts.imported_names(speaking=False)
        self._spoken = set() if alone else facts.imported_names(speaking=True)
        # Names that are bound to what a call makes: an object, a partial function.
        objects: dict[str, set[str]] = {}
        for binding in facts.names.imports:
            original = (binding.target or "").rpartition(".")[2]
            if original != binding.name:
                objects.setdefault(binding.name, set()).add(original)
        self._names = facts.names
        self._owners: dict[int, int] = {}
        for node in facts.nodes_of(ir.FunctionDef, ir.Lambda, ir.Assign, ir.Call, ir.Binary, ir.AugAssign):
            home = self.home(node)
            match node:
                case ir.FunctionDef(params=params):
                    named[node.nid] = node.name
                    for param in params:
                        if isinstance(param.default, ir.Name | ir.Attr):
                            objects.setdefault(param.name, set()).add(ir.last_name(param.default))
                case ir.Lambda():
                    # Called by the name that it is bound to.
                    statement = facts.names.parent(node)
                    targets = statement.targets if isinstance(statement, ir.Assign) else []
                    named[node.nid] = ir.last_name(targets[0]) if targets else ""
                    self.lambdas.append(node)
                case ir.Assign(targets=targets, value=ir.Call(func=func) as call):
                    made_by = ir.last_name(
                        call.args[0].value if ir.last_name(func) == "partial" and call.args else func
                    )
                    for target in targets:
                        objects.setdefault(ir.last_name(target), set()).add(made_by)
                case ir.Assign(targets=targets, value=ir.Name() | ir.Attr() as value):
                    for target in targets:
                        objects.setdefault(ir.last_name(target), set()).add(ir.last_name(value))
                case ir.Assign(targets=targets, value=ir.Keyed(values=items) | ir.Sequence(items=items)):
                    # A table of functions.
                    table = {ir.last_name(item) for item in items if isinstance(item, ir.Name | ir.Attr)}
                    for target in targets:
                        objects.setdefault(ir.last_name(target), set()).update(table)
                case ir.Call(func=func):
                    self._nodes.setdefault(home, []).append(node)
                    name = ir.last_name(func)
                    if name in _MEASURES:
                        measuring.add(home)
                    if name in _DIVIDES:
                        dividing.add(home)
                case ir.Binary(op="/") | ir.AugAssign(op="/"):
                    self._nodes.setdefault(home, []).append(node)
                    dividing.add(home)
                case ir.Binary(op="*" | "@" | "**" as op) | ir.AugAssign(op="*" as op):
                    if op != "**" or (isinstance(node, ir.Binary) and isinstance(node.right, ir.Unary)):
                        self._nodes.setdefault(home, []).append(node)
                    if op != "*":
                        measuring.add(home)
                    if op == "**" and isinstance(node, ir.Binary) and isinstance(node.right, ir.Unary):
                        dividing.add(home)
        called: dict[int, set[str]] = {}
        for home, nodes in self._nodes.items():
            called[home] = set().union(*(called_names(n) for n in nodes if isinstance(n, ir.Call)))
        calls_of = {method: owner.name for owner in facts.names.classes for method in _call_methods(owner)}
        names = {home: {name, calls_of[home]} if home in calls_of else {name} for home, name in named.items()}
        measures = set().union(*(names[home] for home in measuring if home in names), () if alone else self.imported)
        made = {name for name, makers in objects.items() if makers & (_MAKERS | measures)}
        measures |= made
        self._comparing = {name for name in made if objects[name] & _MAKERS}
        dividing |= {home for home, said in called.items() if said & {n for n in made if objects[n] & _MAKERS}}
        self.makers = {home for home in dividing if home in measuring or called.get(home, set()) & measures}
        # Names through which a call can lead into a maker, at once or through other functions of the module.
        self.leading = set().union(*(names[home] for home in self.makers if home in names)) - {""}
        steps: dict[str, set[str]] = {}
        for name, makers in objects.items():
            for maker in makers:
                steps.setdefault(maker, set()).add(name)
        for home, said in called.items():
            for name in said if home in names else ():
                steps.setdefault(name, set()).update(names[home])
        self.leading = _closure(self.leading, steps) - {""}
        self._speaking = self._find_speaking(facts, called, named)
        reached = self.leading if alone else self.leading | self.imported
        self.callers = {home for home, said in called.items() if said & reached}
        self.imported |= {name for name, makers in objects.items() if makers & self.imported}
        self._called, self._homes, self._named = called, names, named
        self._calls, self._objects = facts.calls, objects

    def naming(self, function: ir.FunctionDef | ir.Lambda) -> list[ir.Call]:
        """Return the calls that lead to a function by its name, or bind its arguments."""
        name = self._named.get(function.nid, "")
        bound = [other for other, makers in self._objects.items() if name in makers and other != name]
        return [call for said in (name, *bound) for call in self._by_name.get(said, ())][:_MOST_NAMED]

    @cached_property
    def _by_name(self) -> dict[str, list[ir.Call]]:
        found: dict[str, list[ir.Call]] = {}
        for call in self._calls:
            for name in called_names(call) - {""}:
                found.setdefault(name, []).append(call)
        return found

    @cached_property
    def below(self) -> set[int]:
        """Return the functions that make a cosine or call one that does, and those that these lead to."""
        homes: dict[str, set[int]] = {}
        for home, said in self._homes.items():
            for name in said:
                homes.setdefault(name, set()).add(home)
        found, waiting = set(self.concerned), list(self.concerned)
        while waiting:
            for name in self._called.get(waiting.pop(), ()):
                for home in homes.get(name, set()) - found:
                    found.add(home)
                    waiting.append(home)
        return found

    @property
    def concerned(self) -> set[int]:
        """Return the functions that make a cosine, or call one that does."""
        return self.makers | self.callers

    def compares(self, call: ir.Call) -> bool:
        """Return True for a call of what ``CosineSimilarity`` or ``partial`` made."""
        return bool(_names(call.func) & self._comparing)

    def divides_by_itself(self, node: ir.Expr | ir.AugAssign) -> bool:
        """Return True for a call of a library that divides by the norms of what it is given."""
        if not isinstance(node, ir.Call):
            return False
        return ir.last_name(node.func) in _DIVIDES - _DIVISIONS - _INVERSES or self.compares(node)

    def may_hold_gradient(self, function: Owner) -> bool:
        """Return True where a function, its class or what it calls says gradient, or has a library's cosine."""
        return function.nid in self._speaking

    def _find_speaking(self, facts: ModuleFacts, called: dict[int, set[str]], named: dict[int, str]) -> set[int]:
        found = {home for home, said in called.items() if said & (_COSINES | self._comparing)}
        if SUBJECT.search(facts.text) is None and not self._spoken:
            return found
        spoken = {function.nid for function in facts.names.functions if self._says(function, facts)}
        for owner in facts.names.classes:
            methods = {part.nid for part in owner.body.body if isinstance(part, ir.FunctionDef)}
            if methods & spoken:
                spoken |= methods
        steps: dict[str, set[str]] = {}
        for home, said in called.items():
            for name in said:
                steps.setdefault(name, set()).add(named.get(home, ""))
        # A function in a function reads the variables around it.
        for home in sorted(named):
            if home != facts.module.nid and self._around(home, facts) in spoken:
                spoken.add(home)
        names = _closure({named[home] for home in spoken if home in named} | self._spoken, steps)
        spoken |= {home for home, said in called.items() if said & names}
        # Statements of the module itself stand between its functions.
        return found | spoken | {facts.module.nid}

    def _around(self, home: int, facts: ModuleFacts) -> int:
        return self.home(facts.node(home))

    def _says(self, function: ir.FunctionDef, facts: ModuleFacts) -> bool:
        start, end = facts.span(function)
        return SUBJECT.search(facts.text, start, end) is not None

    def home(self, node: ir.Node) -> int:
        """Return the number of the function (or module) around a node."""
        scope = self._names.scope_of(node)
        owner = self._owners.get(scope.node.nid)
        if owner is None:
            outer = scope
            while isinstance(outer.node, ir.ClassDef | ir.Comprehension) and outer.parent is not None:
                outer = outer.parent
            owner = self._owners[scope.node.nid] = outer.node.nid
        return owner

    def candidates(self, node: ir.Node) -> list[ir.Expr | ir.AugAssign]:
        return self._nodes.get(node.nid, [])

    def calls(self, node: ir.Node) -> list[ir.Call]:
        return [found for found in self._nodes.get(node.nid, ()) if isinstance(found, ir.Call)]


def denominator(node: ir.Expr | ir.AugAssign) -> ir.Expr | None:
    """Return what an expression or statement divides by."""
    match node:
        case ir.Binary(op="/", right=below) | ir.AugAssign(op="/", value=below):
            return below
        case ir.Call(func=ir.Attr(value=below, attr=attr), args=[]) if attr in _INVERSES:
            return below
        case ir.Call(func=func, args=[*_, last]) if ir.last_name(func) in _DIVISIONS | _INVERSES:
            return last.value
        case ir.Binary(op="**", left=below, right=ir.Unary()):
            return below
    return None


def _closure(start: set[str], steps: dict[str, set[str]]) -> set[str]:
    """Return what can be reached from a set of names."""
    found, waiting = set(start) - {""}, list(start)
    while waiting:
        for name in steps.get(waiting.pop(), set()) - found - {""}:
            found.add(name)
            waiting.append(name)
    return found


def _call_methods(owner: ir.ClassDef) -> list[int]:
    return [s.nid for s in owner.body.body if isinstance(s, ir.FunctionDef) and s.name == "__call__"]


def called_names(call: ir.Call) -> set[str]:
    """Return the names that a call leads to, and those of functions that are mapped or bound by it."""
    found = _names(call.func)
    if found & _HIGHER and call.args:
        return found | _names(call.args[0].value)
    return found


def _names(node: ir.Expr) -> set[str]:
    """``c`` and ``a`` of ``a.b.c``; of ``a(x)(y)`` those of ``a``."""
    bound: set[str] = set()
    while isinstance(node, ir.Call):
        # ``partial(a, x)(y)``
        if node.args and isinstance(node.args[0].value, ir.Name | ir.Attr):
            bound |= _names(node.args[0].value)
        node = node.func
    while isinstance(node, ir.Subscript):
        node = node.value
    last = ir.last_name(node)
    while isinstance(node, ir.Attr):
        node = node.value
    return bound | ({last, node.id} if isinstance(node, ir.Name) else {last})
