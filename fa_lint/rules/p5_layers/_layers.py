"""Per-layer values: which loops run over layers, which containers they fill, whether the values are seen again."""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.rules.common.alignments import alignments
from fa_lint.semantics import ir
from fa_lint.semantics.calls import given
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback_names import is_feedback_name
from fa_lint.semantics.names import Binding
from fa_lint.semantics.words import words

__all__ = ["Layers", "uses_of"]

_WALKS = frozenset(
    "parameters named_parameters modules named_modules children named_children trainable_variables param_groups".split()
)
_LAYERS = frozenset(
    "layer layers layerwise param params parameter parameters module modules block blocks weights biases depth "
    "hiddens".split()
)
# Several hidden states; one of them is called "hidden" or "h".
_HIDDEN = frozenset("hiddens hs activations acts states".split())
_PER_LAYER = frozenset(
    {"layer", "layers", "layerwise", "param", "params", "parameter", "parameters", "block", "blocks"}
)
# Loops over these mean an average over data, runs or pairs, which has a name of its own.
_ELSEWHERE = frozenset(
    "batch batches loader dataloader dataset data sample samples pair pairs seed seeds task tasks epoch epochs step "
    "steps trial trials class classes example examples run runs client clients concept concepts prompt prompts token "
    "tokens "
    "bootstrap bootstraps fold folds time repeat repeats iteration iterations image images user users".split()
)
_TRANSPARENT = frozenset("enumerate zip list tuple reversed sorted tqdm iter".split())
_DEPTH = 6
# What a container may meet on its way into one number, and what only asks whether there is anything in it.
_STORES = frozenset({"append", "extend", "insert", "setdefault", "clear"})


def _is_list_of_matrices(identifier: str) -> bool:
    """``Ws``, ``Bs``, ``feedback_matrices``: one for each layer."""
    return identifier in ("Ws", "Bs") or (identifier.endswith("s") and is_feedback_name(identifier))


def uses_of(name: str, region: ir.Node) -> Iterator[ir.Name]:
    """The places of a function (or module) that mention a name."""
    for node in ir.walk(region):
        if isinstance(node, ir.Name) and node.id == name:
            yield node


class Layers:
    """Answers what runs over layers in one module."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._facts = facts
        self._names = facts.names
        self._known: dict[int, bool] = {}

    def is_named(self, identifier: str) -> bool:
        """True if a name says that it holds one value a layer: ``cos_per_layer``, ``layer_angles``."""
        return bool(set(words(identifier)) & _PER_LAYER)

    def loop(self, node: ir.Node) -> ir.For | ir.Clause | ir.Comprehension | None:
        """The innermost loop or comprehension over layers around a node, within its function."""
        inner: ir.Node = node
        for outer in self._names.ancestors(node):
            if isinstance(outer, ir.FunctionDef | ir.Lambda | ir.ClassDef):
                return None
            if isinstance(outer, ir.Comprehension) and inner is not outer.clause:
                clause: ir.Clause | None = outer.clause
                while clause is not None:
                    if self.runs_over_layers(clause):
                        return outer
                    if self._runs_elsewhere(clause):
                        return None
                    clause = clause.inner
            if isinstance(outer, ir.For) and inner is not outer.iter:
                if self.runs_over_layers(outer):
                    return outer
                if self._runs_elsewhere(outer):
                    return None
            inner = outer
        return None

    def runs_over_layers(self, loop: ir.For | ir.Clause) -> bool:
        """True if a loop takes one layer, one parameter or one gradient of a parameter a turn."""
        if self._runs_elsewhere(loop):
            return False
        target = {word for part in ir.walk(loop.target) if isinstance(part, ir.Name) for word in words(part.id)}
        return bool(target & _PER_LAYER) or self._is_layered(loop.iter, 0)

    def _runs_elsewhere(self, loop: ir.For | ir.Clause) -> bool:
        said = {
            word
            for side in (loop.target, loop.iter)
            for part in ir.walk(side)
            if isinstance(part, ir.Name | ir.Attr)
            for word in words(ir.last_name(part))
        }
        return bool(said & _ELSEWHERE) and not said & _PER_LAYER

    def _is_layered(self, node: ir.Expr | None, depth: int) -> bool:
        """True if a value is a collection with one entry a layer or parameter."""
        if node is None or depth > _DEPTH:
            return False
        if node.nid not in self._known:
            # A cycle counts as no.
            self._known[node.nid] = False
            self._known[node.nid] = self._collects(node, depth)
        return self._known[node.nid]

    def _collects(self, node: ir.Expr, depth: int) -> bool:
        match node:
            case ir.Call(func=func, args=args):
                name = ir.last_name(func)
                if name in _WALKS or (self._facts.qualified(func) or "").startswith("jax.tree"):
                    return True
                if name == "range" and args:
                    return any(
                        set(words(ir.last_name(part))) & (_LAYERS | {"depth"})
                        for part in ir.walk(args[-1])
                        if isinstance(part, ir.Name | ir.Attr)
                    ) or any(
                        isinstance(part, ir.Call) and ir.last_name(part.func) == "len" and part.args
                        and self._is_layered(part.args[0].value, depth + 1)
                        for part in ir.walk(node)
                    )  # fmt: skip
                if name in _TRANSPARENT:
                    return any(self._is_layered(arg.value, depth + 1) for arg in args)
                if name in ("items", "keys", "values") and isinstance(func, ir.Attr):
                    return self._is_layered(func.value, depth + 1)
                if self._facts.qualified(func) == "torch.autograd.grad" and len(args) > 1:
                    inputs = args[1].value
                    said = set(words(ir.last_name(inputs)))
                    return bool(said & _HIDDEN) or self._is_layered(inputs, depth + 1)
                function = self._names.function_called(node)
                return function is not None and any(
                    self._is_layered(v, depth + 1) for v in self._names.returned(function)
                )
            case ir.Name(id=identifier):
                if set(words(identifier)) & _LAYERS or _is_list_of_matrices(identifier):
                    return True
                return any(self._fills_by_layer(b, depth) for b in self._names.reaching(node))
            case ir.Attr(attr=attr):
                return (
                    bool(set(words(attr)) & _LAYERS)
                    or _is_list_of_matrices(attr)
                    or any(self._fills_by_layer(b, depth) for b in self._names.self_attribute(node))
                )
            case ir.Subscript(value=value, index=[ir.Slice()]):
                return self._is_layered(value, depth + 1)
            case ir.Comprehension(clause=clause):
                return self.runs_over_layers(clause)
        return False

    def _fills_by_layer(self, binding: Binding, depth: int) -> bool:
        if binding.how == "param":
            return isinstance(binding.node, ir.Param) and self._given(binding.node, depth)
        if binding.how == "item":
            return self.loop(binding.node) is not None
        if binding.how == "value":
            return self._is_layered(binding.value, depth + 1)
        if binding.how == "unpack" and isinstance(binding.value, ir.Call):
            return False
        return False

    def _given(self, param: ir.Param, depth: int) -> bool:
        """True if the callers in this module all pass a collection by layer."""
        owner = self._names.parent(param)
        if not isinstance(owner, ir.FunctionDef):
            return False
        passed = given(self._facts, owner, param.name)
        return bool(passed) and all(self._is_layered(value, depth + 1) for value in passed)

    # -- does a value live on? --------------------------------------------------------------------------------

    def container_lives(self, name: str, region: ir.Node, reductions: set[int]) -> bool:
        """True if a container is used for anything but to be filled, counted and reduced (at ``reductions``)."""
        return any(not self._is_idle(use, reductions) for use in uses_of(name, region))

    def _is_idle(self, use: ir.Name, reductions: set[int]) -> bool:
        inner: ir.Node = use
        for outer in self._names.ancestors(use):
            if outer.nid in reductions:
                return True
            match outer:
                case ir.Attr(attr=attr) if attr in _STORES or attr in ("values", "items", "size", "shape"):
                    if attr in _STORES:
                        return True
                case ir.Call(func=ir.Name(id="len" | "bool" | "any" | "all" | "isinstance")) if inner is not outer.func:
                    return True
                case ir.Subscript(value=value) if inner is value and self._is_target(outer):
                    return True
                case ir.Conditional(test=test) if inner is test:
                    return True
                case ir.If(test=test) | ir.While(test=test) if inner is test:
                    return True
                case ir.Unary(op="not"):
                    return True
                case ir.Assign(targets=targets):
                    return any(inner is target for target in targets)
                case ir.AnnAssign(target=target):
                    return inner is target
                case ir.Stmt():
                    return False
            inner = outer
        return False

    def _is_target(self, node: ir.Expr) -> bool:
        parent = self._names.parent(node)
        return (isinstance(parent, ir.Assign) and any(node is target for target in parent.targets)) or (
            isinstance(parent, ir.AugAssign | ir.AnnAssign) and parent.target is node
        )

    def element_lives(self, element: ir.Expr, loop: ir.Node, allowed: set[int]) -> bool:
        """True if a value of one layer is shown, stored or passed on in its turn, but for ``allowed`` statements."""
        pending = [part.id for part in ir.walk(element) if isinstance(part, ir.Name)]
        measured = {n for n in pending if self._is_scalar_of(n, loop)}
        seen: set[str] = set()
        while measured:
            name = measured.pop()
            seen.add(name)
            for use in uses_of(name, loop):
                statement = self._names.statement(use)
                if statement is None or statement.nid in allowed or self._is_bound_here(use):
                    continue
                kept = self._kept_in(use, statement)
                if kept is None:
                    return True
                measured |= kept - seen
        return False

    def _is_scalar_of(self, name: str, loop: ir.Node) -> bool:
        return any(alignments(self._facts).of(use).is_cosine for use in uses_of(name, loop))

    def _is_bound_here(self, use: ir.Name) -> bool:
        parent = self._names.parent(use)
        if isinstance(parent, ir.Sequence):
            parent = self._names.parent(parent)
        return isinstance(parent, ir.Assign | ir.For | ir.Clause) and use not in list(
            ir.walk(parent.value if isinstance(parent, ir.Assign) else parent.iter)
        )

    def _kept_in(self, use: ir.Name, statement: ir.Stmt) -> set[str] | None:
        """The local names a use flows into; empty where it only decides; None where it gets out."""
        if isinstance(statement, ir.If | ir.While | ir.Assert):
            return set()
        for outer in self._names.ancestors(use):
            if outer is statement:
                break
            if isinstance(outer, ir.Compare):
                return set()
        match statement:
            case ir.Assign(targets=[ir.Name(id=target)]):
                return {target}
            case ir.AugAssign(target=ir.Name(id=target)):
                return {target}
        return None
