"""Names: what binds them, which binding reaches a use, and the qualified name behind an expression.

Imports (plain, ``from``, aliased, star, conditional, inside functions) and aliases by assignment all end in one
question, :meth:`Names.qualified`: "which library object is this?", answered with a canonical dotted name such as
``torch.nn.functional.cosine_similarity`` or with ``None``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property

from fa_lint.semantics import ir
from fa_lint.semantics.lower import Lowered

__all__ = ["Binding", "Names", "Scope"]

# Where a library exports one object under several names, the rules see one.
_CANONICAL = {
    "torch.functional.norm": "torch.norm",
    "torch.functional.F.cosine_similarity": "torch.nn.functional.cosine_similarity",
    "torch.cosine_similarity": "torch.nn.functional.cosine_similarity",
    "torch.pairwise_distance": "torch.nn.functional.pairwise_distance",
    "torch.cosine_embedding_loss": "torch.nn.functional.cosine_embedding_loss",
    "torch.nn.modules.distance.CosineSimilarity": "torch.nn.CosineSimilarity",
    "torch.nn.modules.loss.CosineEmbeddingLoss": "torch.nn.CosineEmbeddingLoss",
    "torch.arccos": "torch.acos",
    "numpy.acos": "numpy.arccos",
    "torch.linalg.linalg_norm": "torch.linalg.norm",
    "torch.autograd.functional.grad": "torch.autograd.grad",
    "functorch.grad": "torch.func.grad",
    "functorch.vjp": "torch.func.vjp",
    "functorch.vmap": "torch.func.vmap",
    "functorch.jacrev": "torch.func.jacrev",
    "functorch.jacfwd": "torch.func.jacfwd",
    "functorch.hessian": "torch.func.hessian",
    "functorch.grad_and_value": "torch.func.grad_and_value",
    "torch.vmap": "torch.func.vmap",
    "sklearn.metrics.pairwise_distances.cosine_similarity": "sklearn.metrics.pairwise.cosine_similarity",
}
_PREFIXES = (("autograd.numpy.", "numpy."), ("cupy.", "numpy."), ("jax.numpy.", "jax.numpy."))
_USUAL = {
    "torch": "torch",
    "nn": "torch.nn",
    "F": "torch.nn.functional",
    "np": "numpy",
    "numpy": "numpy",
    "jnp": "jax.numpy",
    "jax": "jax",
}
# What ``from M import *`` can bring that a rule cares about.
_STAR_EXPORTS = {
    "torch": frozenset({"norm", "cosine_similarity", "acos", "arccos", "linalg", "nn", "autograd", "tensor", "Tensor"}),
    "torch.nn": frozenset({"functional", "CosineSimilarity", "CosineEmbeddingLoss", "Module"}),
    "torch.nn.functional": frozenset(
        {"cosine_similarity", "normalize", "pairwise_distance", "cosine_embedding_loss", "softmax", "one_hot"}
    ),
    "torch.linalg": frozenset({"norm", "vector_norm"}),
    "numpy": frozenset({"linalg", "arccos", "sqrt", "dot", "sum"}),
    "numpy.linalg": frozenset({"norm"}),
}
# The most frequent nodes, which bind no name and open no scope.
_BINDS_NOTHING = frozenset({ir.Name, ir.Attr, ir.Arg, ir.Const, ir.Block, ir.Binary, ir.Subscript, ir.ExprStmt})


@dataclass(slots=True, eq=False)
class Binding:
    """One place that gives a name (or a ``self`` attribute, or an item of it) a value.

    ``value`` is the expression bound; ``how`` says how: ``value`` itself, ``unpack`` (``index`` of it), ``iterate``
    (an element of it), ``item`` (stored into it), ``param``, ``import``, ``def``, ``class``, ``with``, ``except``.
    """

    name: str
    how: str
    node: ir.Node
    value: ir.Expr | None = None
    index: int | None = None
    target: str | None = None


@dataclass(slots=True, eq=False)
class Scope:
    node: ir.Module | ir.FunctionDef | ir.ClassDef | ir.Lambda | ir.Comprehension
    parent: Scope | None
    bindings: dict[str, list[Binding]] = field(default_factory=lambda: defaultdict(list))
    outer: set[str] = field(default_factory=set)

    @property
    def is_class(self) -> bool:
        return isinstance(self.node, ir.ClassDef)


class Names:
    """Scopes, bindings and qualified names of one module."""

    def __init__(self, lowered: Lowered, snippets: bool = False) -> None:
        self._parents = lowered.parents
        self.nodes = lowered.nodes
        # The scope that holds each node, by number.
        self._scope: list[Scope] = []
        self.scopes: dict[int, Scope] = {}
        self.attributes: dict[tuple[int, str], list[Binding]] = defaultdict(list)
        self.functions: list[ir.FunctionDef] = []
        self.classes: list[ir.ClassDef] = []
        self.calls: list[ir.Call] = []
        self._returned: dict[int, list[ir.Expr]] = defaultdict(list)
        self._qualified_names: dict[int, str | None] = {}
        self._import_among: dict[int, tuple[list[Binding], str | None]] = {}
        self.imports: list[Binding] = []
        self.star_modules: list[str] = []
        self.module_scope = Scope(lowered.module, None)
        self._collect(lowered.module)
        if snippets:
            self._assume_imports()

    # -- building ---------------------------------------------------------------------------------------------

    def _collect(self, module: ir.Module) -> None:
        """Bind what the nodes bind, in the order of their numbers: the scope of a parent is known before its parts."""
        self.scopes[module.nid] = self.module_scope
        inside = [self.module_scope]  # by number: the scope of the parts of a node
        self._scope = [self.module_scope]
        for number in range(1, len(self.nodes)):
            scope = inside[self._parents[number]]
            self._scope.append(scope)
            node = self.nodes[number]
            inside.append(scope if node.__class__ in _BINDS_NOTHING or node is None else self._visit(node, scope))

    def _visit(self, node: ir.Node, scope: Scope) -> Scope:
        """Bind what a node binds; the scope of its parts."""
        match node:
            case ir.FunctionDef():
                self._bind(scope, Binding(node.name, "def", node))
                self.functions.append(node)
                inner = self._open(node, scope)
                self._bind_params(inner, node.params)
                return inner
            case ir.Lambda():
                inner = self._open(node, scope)
                self._bind_params(inner, node.params)
                return inner
            case ir.ClassDef():
                self._bind(scope, Binding(node.name, "class", node))
                self.classes.append(node)
                return self._open(node, scope)
            case ir.Comprehension():
                return self._open(node, scope)
            case ir.Call():
                self.calls.append(node)
                self._bind_container(scope, node)
            case ir.Return(value=ir.Expr() as value) | ir.Yield(value=ir.Expr() as value):
                self._return(scope, value)
            case _:
                self._bind_statement(scope, node)
        return scope

    def _assume_imports(self) -> None:
        """Bind the usual names of libraries that the code uses and nothing binds."""
        for node in self.nodes:
            if isinstance(node, ir.Name) and node.id in _USUAL and not self.bindings(node):
                binding = Binding(node.id, "import", self.module_scope.node, target=_USUAL[node.id])
                self._bind_import(self.module_scope, binding)

    def _open(self, node: ir.FunctionDef | ir.ClassDef | ir.Lambda | ir.Comprehension, parent: Scope) -> Scope:
        scope = Scope(node, parent)
        self.scopes[node.nid] = scope
        return scope

    def _bind(self, scope: Scope, binding: Binding) -> None:
        if binding.name in scope.outer:
            scope = self.module_scope
        scope.bindings[binding.name].append(binding)

    def _bind_params(self, scope: Scope, params: list[ir.Param]) -> None:
        for param in params:
            self._bind(scope, Binding(param.name, "param", param, param.default))

    def _bind_statement(self, scope: Scope, node: ir.Node) -> None:
        match node:
            case ir.Assign(targets=targets, value=value):
                for target in targets:
                    self._bind_target(scope, target, "value", value, node)
            case ir.AnnAssign(target=target, value=ir.Expr() as value):
                self._bind_target(scope, target, "value", value, node)
            case ir.Walrus(target=target, value=value):
                while isinstance(scope.node, ir.Comprehension) and scope.parent:
                    scope = scope.parent
                self._bind_target(scope, target, "value", value, node)
            case ir.AugAssign(target=target, value=value):
                self._bind_target(scope, target, "update", value, node)
            case ir.For(target=target, iter=value) | ir.Clause(target=target, iter=value):
                self._bind_target(scope, target, "iterate", value, node)
            case ir.WithItem(context=value, target=ir.Expr() as target):
                self._bind_target(scope, target, "with", value, node)
            case ir.Handler(name=str() as name):
                self._bind(scope, Binding(name, "except", node))
            case ir.Simple(kind="global", names=names):
                scope.outer.update(names)
            case ir.Import():
                for dotted, local in node.aliases:
                    target_name = dotted if local else dotted.partition(".")[0]
                    self._bind_import(scope, Binding(local or target_name, "import", node, target=target_name))
                    if not local and "." in dotted:
                        self.imports.append(Binding(target_name, "import", node, target=dotted))
            case ir.ImportFrom(module=source, names=None):
                self.star_modules.append(source)
            case ir.ImportFrom(module=source, names=list()):
                for name, local in node.names or ():
                    joined = f"{source}{name}" if source.endswith(".") else f"{source}.{name}"
                    self._bind_import(scope, Binding(local or name, "import", node, target=joined))

    def _bind_import(self, scope: Scope, binding: Binding) -> None:
        self._bind(scope, binding)
        self.imports.append(binding)

    def _bind_target(
        self, scope: Scope, target: ir.Expr, how: str, value: ir.Expr, node: ir.Node, index: int | None = None
    ) -> None:
        match target:
            case ir.Name(id=name):
                self._bind(scope, Binding(name, how, node, value, index))
            case ir.Sequence(items=items):
                for position, item in enumerate(items):
                    if how == "value" and isinstance(value, ir.Sequence) and len(value.items) == len(items):
                        self._bind_target(scope, item, how, value.items[position], node)
                    else:
                        self._bind_target(scope, item, "unpack" if how == "value" else how, value, node, position)
            case ir.Starred(value=inner):
                self._bind_target(scope, inner, "unpack", value, node)
            case ir.Attr(value=ir.Name(id="self" | "cls"), attr=attr):
                owner = self._class_of(scope)
                if owner is not None:
                    self.attributes[owner.nid, attr].append(Binding(attr, how, node, value, index))
            case ir.Subscript(value=container):
                self._bind_item(scope, container, value, node)

    def _bind_item(self, scope: Scope, container: ir.Expr, value: ir.Expr, node: ir.Node) -> None:
        while isinstance(container, ir.Subscript):
            container = container.value
        match container:
            case ir.Name(id=name):
                self._bind(scope, Binding(name, "item", node, value))
            case ir.Attr(value=ir.Name(id="self" | "cls"), attr=attr):
                owner = self._class_of(scope)
                if owner is not None:
                    self.attributes[owner.nid, attr].append(Binding(attr, "item", node, value))

    def _bind_container(self, scope: Scope, call: ir.Call) -> None:
        if isinstance(call.func, ir.Attr) and call.func.attr in ("append", "extend", "insert", "setdefault"):
            if call.args and not call.args[-1].star:
                self._bind_item(scope, call.func.value, call.args[-1].value, call)

    def _return(self, scope: Scope | None, value: ir.Expr) -> None:
        while scope is not None and not isinstance(scope.node, ir.FunctionDef):
            scope = scope.parent
        if scope is not None:
            self._returned[scope.node.nid].append(value)

    def _class_of(self, scope: Scope | None) -> ir.ClassDef | None:
        while scope is not None:
            if isinstance(scope.node, ir.ClassDef):
                return scope.node
            scope = scope.parent
        return None

    # -- asking -----------------------------------------------------------------------------------------------

    def parent(self, node: ir.Node) -> ir.Node | None:
        above = self._parents[node.nid]
        return self.nodes[above] if above > 0 else None

    def ancestors(self, node: ir.Node) -> list[ir.Node]:
        """The nodes around ``node``, innermost first."""
        found = []
        above = self._parents[node.nid]
        while above > 0:
            inner = self.nodes[above]
            if inner is not None:
                found.append(inner)
            above = self._parents[above]
        return found

    def scope_of(self, node: ir.Node) -> Scope:
        return self._scope[node.nid]

    def enclosing_function(self, node: ir.Node) -> ir.FunctionDef | None:
        scope: Scope | None = self._scope[node.nid]
        while scope is not None and not isinstance(scope.node, ir.FunctionDef):
            scope = scope.parent
        return scope.node if scope is not None and isinstance(scope.node, ir.FunctionDef) else None

    def enclosing_class(self, node: ir.Node) -> ir.ClassDef | None:
        return self._class_of(self.scope_of(node))

    @cached_property
    def _ends(self) -> list[int]:
        """By number: the first number that is no longer below the node, as those below it follow one another."""
        ends = [number + 1 for number in range(len(self.nodes))]
        for number in range(len(ends) - 1, 0, -1):
            above = self._parents[number]
            ends[above] = max(ends[above], ends[number])
        return ends

    @cached_property
    def _loops(self) -> list[int]:
        """By number: the outermost loop around the node, or 0."""
        found = [0]
        for number in range(1, len(self.nodes)):
            above = self._parents[number]
            is_loop = isinstance(self.nodes[above], ir.For | ir.While)
            found.append(found[above] or (above if is_loop else 0))
        return found

    @cached_property
    def _inner_loops(self) -> list[int]:
        """By number: the innermost loop around the node, or 0."""
        found = [0]
        for number in range(1, len(self.nodes)):
            above = self._parents[number]
            found.append(above if isinstance(self.nodes[above], ir.For | ir.While) else found[above])
        return found

    def _is_around(self, number: int, node: ir.Node) -> bool:
        return number < node.nid < self._ends[number]

    @property
    def parents(self) -> list[int]:
        """The number of each node's parent, by number."""
        return self._parents

    def parent_number(self, node: ir.Node) -> int:
        return self._parents[node.nid]

    def statement(self, node: ir.Node) -> ir.Stmt | None:
        here: ir.Node | None = node
        while here is not None and not isinstance(here, ir.Stmt):
            here = self.parent(here)
        return here

    def bindings(self, name: ir.Name) -> list[Binding]:
        """Every binding in the scope that owns the name, in source order."""
        scope: Scope | None = self.scope_of(name)
        first = True
        while scope is not None:
            if (first or not scope.is_class) and name.id in scope.bindings:
                return scope.bindings[name.id]
            first = False
            scope = scope.parent
        return []

    def reaching(self, name: ir.Name) -> list[Binding]:
        """The bindings that can give ``name`` its value here: back from the use to the first that dominates it.

        A use in a loop also sees what a later statement of the same loop binds. A name of an outer scope sees all.
        """
        found = self.bindings(name)
        if len(found) < 2:
            return found
        scope = self.scope_of(name)
        while isinstance(scope.node, ir.Comprehension) and name.id not in scope.bindings and scope.parent:
            scope = scope.parent
        if name.id not in scope.bindings:
            return found
        statement = self.statement(name)
        own = statement.nid if statement is not None else name.nid
        loop = self._loops[name.nid]
        # The statement of the name can bind it, too.
        before = bisect_left(found, self._ends[own], key=_number)
        reaching: list[Binding] = []
        for number in range(before - 1, -1, -1):
            binding = found[number]
            bound_by_loop = isinstance(binding.node, ir.For | ir.Clause | ir.WithItem) and self._is_around(
                binding.node.nid, name
            )
            if binding.node.nid >= own and not bound_by_loop and binding.how != "param":
                if loop and self._is_around(loop, binding.node):
                    reaching.append(binding)
                continue
            reaching.append(binding)
            if binding.how in ("item", "update"):
                continue
            place = self._parents[binding.node.nid]
            if bound_by_loop or binding.how == "param" or place <= 0 or self._dominates(place, name):
                if self._is_of_this_turn(binding, name):
                    return reaching[::-1]
                break
        # What is bound later reaches the name only in a loop around it.
        later = found[before : bisect_left(found, self._ends[loop], key=_number)] if loop else []
        return [*reaching[::-1], *(binding for binding in later if self._is_around(loop, binding.node))]

    def _is_of_this_turn(self, binding: Binding, name: ir.Name) -> bool:
        """Return True for what is bound again in each turn of the innermost loop around a name."""
        loop = self._inner_loops[name.nid]
        return loop > 0 and (binding.node.nid == loop or self._is_around(loop, binding.node))

    def _dominates(self, place: int, name: ir.Name) -> bool:
        # A statement of a ``with`` or ``try`` body has run when what follows the block runs, as far as names go.
        while place > 0 and not self._is_around(place, name):
            node = self.nodes[place]
            if isinstance(node, ir.If | ir.For | ir.While | ir.Handler | ir.Case | ir.FunctionDef | ir.ClassDef):
                return False
            place = self._parents[place]
        return True

    def class_named(self, node: ir.Name) -> ir.ClassDef | None:
        for binding in self.bindings(node):
            if isinstance(binding.node, ir.ClassDef):
                return binding.node
        return None

    def function_called(self, call: ir.Call) -> ir.FunctionDef | None:
        """The function of this module that a call enters, where that is plain."""
        func = call.func
        if isinstance(func, ir.Name):
            found = [b.node for b in self.bindings(func) if isinstance(b.node, ir.FunctionDef)]
            return found[-1] if found else None
        if isinstance(func, ir.Attr) and isinstance(func.value, ir.Name) and func.value.id in ("self", "cls"):
            owner = self.enclosing_class(call)
            if owner is not None:
                return self.method(owner, func.attr)
        return None

    def returned(self, function: ir.FunctionDef, index: int | None = None) -> list[ir.Expr]:
        """The values that a function returns, by ``return`` or ``yield``, in source order.

        With ``index`` that element of a value that is a tuple; a tuple without it has none.
        """
        found: list[ir.Expr] = []
        for value in self._returned.get(function.nid, ()):
            if index is None or not isinstance(value, ir.Sequence):
                found.append(value)
            else:
                found += value.items[index : index + 1]
        return found

    def method(self, owner: ir.ClassDef, name: str) -> ir.FunctionDef | None:
        scope = self.scopes[owner.nid]
        found = [b.node for b in scope.bindings.get(name, ()) if isinstance(b.node, ir.FunctionDef)]
        return found[-1] if found else None

    def self_attribute(self, node: ir.Attr) -> list[Binding]:
        """What the class around ``node`` stores in ``self.<attr>``, class body included."""
        if not (isinstance(node.value, ir.Name) and node.value.id in ("self", "cls")):
            return []
        owner = self.enclosing_class(node)
        if owner is None:
            return []
        return [*self.scopes[owner.nid].bindings.get(node.attr, ()), *self.attributes.get((owner.nid, node.attr), ())]

    def qualified(self, node: ir.Expr) -> str | None:
        """The canonical dotted name of a library object, or None where it is not one."""
        if not isinstance(node, ir.Attr | ir.Name):
            return None
        known = self._qualified_names
        if node.nid not in known:
            known[node.nid] = self._qualified(node, 0)
        return known[node.nid]

    def _qualified(self, node: ir.Expr, depth: int) -> str | None:
        if depth > 8:
            return None
        match node:
            case ir.Attr(value=value, attr=attr):
                base = self._qualified(value, depth + 1)
                if base is not None:
                    return _canonical(f"{base}.{attr}")
                for binding in self.self_attribute(node):
                    if binding.how == "value" and isinstance(binding.value, ir.Name | ir.Attr):
                        return self._qualified(binding.value, depth + 1)
                return None
            case ir.Name(id=name):
                found = self.bindings(node)
                target = self._imported(found)
                if target is not None:
                    return _canonical(target)
                if len(found) == 1 and found[0].how == "value" and isinstance(found[0].value, ir.Name | ir.Attr):
                    if found[0].value is not node:
                        return self._qualified(found[0].value, depth + 1)
                if not found:
                    for module in self.star_modules:
                        if name in _STAR_EXPORTS.get(module, ()):
                            return _canonical(f"{module}.{name}")
        return None

    def _imported(self, bindings: list[Binding]) -> str | None:
        """Return what the first import among the bindings of a name imports."""
        # Once for all places that read the name: there may be as many as bindings.
        known = self._import_among
        if id(bindings) not in known:
            targets = (binding.target for binding in bindings if binding.how == "import" and binding.target)
            known[id(bindings)] = (bindings, next(targets, None))
        return known[id(bindings)][1]

    def top_packages(self) -> set[str]:
        """The top-level packages this module imports; a relative import counts as ``.``."""
        found = set()
        for target in [b.target or "" for b in self.imports] + self.star_modules:
            found.add("." if target.startswith(".") else target.partition(".")[0])
        return found


def _number(binding: Binding) -> int:
    return binding.node.nid


def _canonical(name: str) -> str:
    for prefix, replacement in _PREFIXES:
        if name.startswith(prefix):
            name = replacement + name.removeprefix(prefix)
    return _CANONICAL.get(name, name)
