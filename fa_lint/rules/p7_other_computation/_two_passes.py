"""The forward passes behind a value, and whether two values come from two passes or from one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from fa_lint.rules.p7_other_computation._acting import acting_layer, is_dropout
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls, argument
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.modes import may_be_in_eval_mode
from fa_lint.semantics.slices import slice_of

__all__ = ["is_of_other_turns", "is_set_elsewhere", "passes_behind"]

_DEPTH = 3
_LONGEST = 8


def passes_behind(value: ir.Expr, calls: Calls, depth: int = 0) -> dict[int, ir.Node]:
    """Return the forward passes behind a value (or the calls that make them), each with the layer that acts in it."""
    found: dict[int, ir.Node] = {}
    for node in _calls_behind(value, calls.facts):
        if depth and is_dropout(node, calls):
            found[node.nid] = node
            continue
        layer = acting_layer(node.func, calls) if not isinstance(node.func, ir.Call) else None
        if layer is not None and not depth and _is_bare(node, layer, calls):
            continue
        # What the model of a class of this module is made of is known: its forward pass adds nothing.
        is_model = calls.class_of(node.func) is not None
        for function in calls.entered(node) if layer is None and not is_model else ():
            layer = layer or _of_given_model(node, function, calls) or _of_returned(node, function, calls, depth)
        if layer is not None:
            found[node.nid] = layer
    return found


def _is_bare(call: ir.Call, layer: ir.Node, calls: Calls) -> bool:
    """Return True for dropout or BatchNorm that is called by itself: no model is measured, its noise is asked for."""
    name = (calls.facts.qualified(layer.func) or "") if isinstance(layer, ir.Call) else ""
    is_layer = name.startswith("torch.nn.") and "Transformer" not in name
    return is_layer and any(leaf is layer for leaf in calls.sources(call.func))


def _calls_behind(value: ir.Expr, facts: ModuleFacts) -> Iterator[ir.Call]:
    """The calls that a value is computed from; for ``.grad`` those behind the backward pass before it as well."""
    for part in slice_of(value, facts).nodes:
        if isinstance(part, ir.Call):
            yield part
        elif isinstance(part, ir.Attr) and part.attr == "grad" and facts.qualified(part) is None:
            loss = _loss_before(part, facts)
            yield from slice_of(loss, facts).calls if loss is not None else ()


def _loss_before(node: ir.Node, facts: ModuleFacts) -> ir.Expr | None:
    """The loss of the last backward pass of the same function before a node."""
    home = facts.names.enclosing_function(node)
    for nid in reversed(facts.backward_calls[: bisect_left(facts.backward_calls, node.nid)]):
        call = facts.node(nid)
        if facts.names.enclosing_function(call) is home and isinstance(call, ir.Call):
            if isinstance(call.func, ir.Attr) and facts.qualified(call.func) is None:
                return call.func.value
            return call.args[0].value if call.args else None
    return None


def _of_given_model(call: ir.Call, function: ir.FunctionDef, calls: Calls) -> ir.Node | None:
    """The acting layer of a model that a call hands to a function which calls it."""
    for param in function.params:
        given = argument(call, function, param)
        layer = acting_layer(given, calls) if given is not None else None
        if layer is not None:
            for part in ir.walk(function.body):
                if isinstance(part, ir.Call) and isinstance(part.func, ir.Name) and part.func.id == param.name:
                    return layer
    return None


def _of_returned(call: ir.Call, function: ir.FunctionDef, calls: Calls, depth: int) -> ir.Node | None:
    """The acting layer of the pass that a function makes for what it returns."""
    if depth >= _DEPTH or (not depth and _is_own_module(call, calls)):
        return None
    known = calls.facts.derived(_Returned).layers
    if (function.nid, depth) not in known:
        known[function.nid, depth] = None  # a function that calls itself
        known[function.nid, depth] = _find_returned(function, calls, depth)
    return known[function.nid, depth]


class _Returned:
    """The answers for the functions of a module, by depth."""

    def __init__(self, facts: ModuleFacts) -> None:
        self.layers: dict[tuple[int, int], ir.Node | None] = {}


def _find_returned(function: ir.FunctionDef, calls: Calls, depth: int) -> ir.Node | None:
    for value in calls.facts.names.returned(function):
        found = passes_behind(value, calls, depth + 1)
        if found and not any(_is_switched(nid, calls) for nid in found):
            return next(iter(found.values()))
    return None


def _is_own_module(call: ir.Call, calls: Calls) -> bool:
    """Return True in a module that calls itself: its mode is chosen where it is used."""
    owner = calls.facts.names.enclosing_class(call)
    return _is_of_self(call.func) and owner is not None and bool(owner.bases)


def _is_switched(nid: int, calls: Calls) -> bool:
    node = calls.facts.node(nid)
    return (isinstance(node, ir.Call) and is_set_elsewhere(node, calls)) or may_be_in_eval_mode(node, calls)


def is_set_elsewhere(call: ir.Call, calls: Calls) -> bool:
    """Return True for a model whose mode is chosen out of sight of the pass: by the module, or around an object."""
    names = calls.facts.names
    choices = [c for c in calls.facts.calls if isinstance(c.func, ir.Attr) and _is_choice(c.func.attr, c)]
    if isinstance(call.func, ir.Name):
        at_top = [c.func for c in choices if names.enclosing_function(c) is None and isinstance(c.func, ir.Attr)]
        is_global = all(names.enclosing_function(bound.node) is None for bound in names.bindings(call.func))
        return is_global and any(ir.same(func.value, call.func) for func in at_top)
    owner = names.enclosing_class(call)
    return bool(choices) and _is_of_self(call.func) and owner is not None and not owner.bases


def _is_choice(method: str, call: ir.Call) -> bool:
    return method == "eval" or (method == "train" and bool(call.args))


def _is_of_self(func: ir.Expr) -> bool:
    while isinstance(func, ir.Attr | ir.Subscript):
        func = func.value
    return isinstance(func, ir.Name) and func.id == "self"


# -- the turns of a loop ------------------------------------------------------------------------------------------


def is_of_other_turns(one: ir.Expr, other: ir.Expr, shared: set[int], facts: ModuleFacts) -> bool:
    """Return True where two values are two items of what a loop collects, and each turn makes its own passes."""
    first, second = _item(one, facts), _item(other, facts)
    if first is None or second is None or first[1] == second[1] or first[0] is not second[0]:
        return False
    turn = _turn(first[0], facts)
    return turn is not None and all(_runs_in(facts.node(nid), turn, facts) for nid in shared)


def _item(node: ir.Expr, facts: ModuleFacts) -> tuple[ir.Node, str | int] | None:
    """Where the container of a value is made, and the index of the value."""
    for _ in range(_LONGEST):
        match node:
            case ir.Call(func=ir.Attr(value=inner)) if facts.qualified(node.func) is None:
                node = inner
            case ir.Subscript(value=ir.Name() as container, index=[index]) if not isinstance(index, ir.Slice):
                made = _made(container, facts)
                return (made, facts.source(index)) if made is not None else None
            case ir.Name():
                bound = facts.names.reaching(node)
                if len(bound) != 1 or bound[0].value is None:
                    return None
                if bound[0].how == "unpack":
                    whole, place = bound[0].value, bound[0].index
                    collected = _made(whole, facts) if isinstance(whole, ir.Name) else whole
                    return (collected, place) if collected is not None and place is not None else None
                if bound[0].how != "value":
                    return None
                node = bound[0].value
            case _:
                return None
    return None


def _made(container: ir.Name, facts: ModuleFacts) -> ir.Node | None:
    """The comprehension that a list is made by, or the one value that is appended to an empty list."""
    bound = facts.names.reaching(container)
    values = [b.value for b in bound if b.how == "value"]
    items = [b for b in bound if b.how == "item"]
    if len(values) != 1 or len(values) + len(items) != len(bound):
        return None
    match values[0], items:
        case ir.Sequence(items=[]), [item]:
            return item.value
        case ir.Comprehension() as made, []:
            return made
    return None


def _turn(made: ir.Node, facts: ModuleFacts) -> ir.Node | None:
    """The comprehension of one clause, or the innermost loop, of which each turn gives one item."""
    if isinstance(made, ir.Comprehension):
        return made if made.clause.inner is None else None
    return _innermost(made, facts)


def _innermost(node: ir.Node, facts: ModuleFacts) -> ir.Node | None:
    return next((n for n in facts.names.ancestors(node) if isinstance(n, ir.For | ir.While)), None)


def _runs_in(call: ir.Node, turn: ir.Node, facts: ModuleFacts) -> bool:
    """Return True for a call that each turn makes again."""
    if isinstance(turn, ir.Comprehension):
        return any(part is call for element in turn.elements for part in ir.walk(element))
    return _innermost(call, facts) is turn and any(part is call for part in ir.walk(_body(turn)))


def _body(loop: ir.Node) -> ir.Block:
    assert isinstance(loop, ir.For | ir.While)
    return loop.body
