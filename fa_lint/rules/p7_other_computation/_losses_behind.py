"""Which loss a gradient is the gradient of, and whether two of them come from the same computation."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import Values
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["chain", "of_different_losses", "parameters_of"]

_LONGEST = 24
_DEPTH = 8
# Identities whose second part is that of the value they come from.
_DERIVED = frozenset({"element", "attribute", "view", "joined", "returned"})


def chain(ident: int, values: Values) -> Iterator[tuple[int, tuple[object, ...]]]:
    """The identity of a value and of those that it was derived from, each with its key."""
    ident = values.evaluator.members.live(ident)
    for _ in range(_LONGEST):
        key = values.evaluator.identities.key(ident)
        yield ident, key
        if key[:1] == ("attribute",) and key[2] == "grad":
            return
        if len(key) < 2 or key[0] not in _DERIVED or not isinstance(key[1], int):
            return
        ident = key[1]


def parameters_of(vector: t.Vector, values: Values) -> frozenset[int]:
    """Return the identities of what a gradient is taken towards; nothing where that is not in sight."""
    evaluator = values.evaluator
    for _, key in chain(vector.filtered or vector.ident, values):
        match key:
            case ("attribute", int() as owner, "grad", *_):
                whole = evaluator.variables.over_all(t.Vector(owner))
                return frozenset({whole.ident}) if isinstance(whole, t.Vector) else frozenset()
            case ("node", int() as number, int() as nid, *_):
                frame = evaluator.frames[number]
                node = frame.module.facts.node(nid)
                inputs = _argument(node, 1, "inputs") if isinstance(node, ir.Call) else None
                found = evaluator.of(frame, inputs) if inputs is not None else ()
                return frozenset(ident for term, _ in found for ident in t.identities(term))
    return frozenset()


def of_different_losses(a: t.Vector, b: t.Vector, values: Values) -> bool:
    """Return True where two gradients are known to be those of two losses, not of one on other data."""
    facts = values.module.facts
    one, other = _loss(a, values), _loss(b, values)
    if one is None or other is None:
        return False
    return _varies(one, facts) if one is other else not _alike(one, other, facts, 0)


def _loss(vector: t.Vector, values: Values) -> ir.Expr | None:
    """The loss of a gradient: what ``autograd.grad`` or the backward pass before it was given."""
    facts, calls = values.module.facts, []
    loss: ir.Expr | None = None
    for _, key in chain(vector.filtered or vector.ident, values):
        match key:
            case ("returned", _, int() as number, int() as nid):
                if values.evaluator.frames[number].module is not values.module:
                    return None
                calls.append(facts.node(nid))
            case ("node", int() as number, int() as nid, *_):
                if values.evaluator.frames[number].module is not values.module:
                    return None
                node = facts.node(nid)
                loss = _argument(node, 0, "outputs") if isinstance(node, ir.Call) else None
            case ("attribute", _, "grad", *_):
                reads = [facts.node(s.site.node) for s in vector.evidence[:1] if s.site.module == values.module.number]
                loss = next((found for node in reads if (found := _backward_before(node, facts)) is not None), None)
                while loss is None and calls:
                    loss = _backward_before(calls.pop(), facts)
                passes = _passes_before(vector, values)
                if loss is None and 0 < passes <= len(facts.backward_calls):
                    loss = _differentiated(facts.node(facts.backward_calls[passes - 1]), facts)
    while loss is not None and calls:
        given = _given(loss, calls.pop(), facts)
        loss = given if given is not None else loss
    return loss


def _argument(call: ir.Call, position: int, keyword: str) -> ir.Expr | None:
    named = [arg.value for arg in call.args if arg.keyword == keyword]
    return named[0] if named else call.args[position].value if len(call.args) > position else None


def _backward_before(node: ir.Node, facts: ModuleFacts) -> ir.Expr | None:
    """The loss of the last backward pass of the same function before a node."""
    home = facts.names.enclosing_function(node)
    for nid in reversed(facts.backward_calls[: bisect_left(facts.backward_calls, node.nid)]):
        call = facts.node(nid)
        if facts.names.enclosing_function(call) is home and isinstance(call, ir.Call):
            return _differentiated(call, facts)
    return None


def _differentiated(call: ir.Node, facts: ModuleFacts) -> ir.Expr | None:
    """``loss`` of ``loss.backward()`` and ``backward(loss)``."""
    if not isinstance(call, ir.Call):
        return None
    if isinstance(call.func, ir.Attr) and facts.qualified(call.func) is None:
        return call.func.value
    return call.args[0].value if call.args else None


def _passes_before(vector: t.Vector, values: Values) -> int:
    """Return how many backward passes stand before the copy of a gradient; 0 where it was not copied."""
    ident = vector.ident
    for _ in range(_LONGEST):
        match values.evaluator.identities.key(ident):
            case ("copied after", _, int() as passes):
                return passes
            case ("element" | "view" | "joined" | "copy", int() as base, *_):
                ident = base
            case _:
                return 0
    return 0


def _given(loss: ir.Expr, call: ir.Node, facts: ModuleFacts) -> ir.Expr | None:
    """What a call gives for a loss that is a parameter of the function it calls."""
    name = _origin(loss, facts)[0]
    function = facts.names.function_called(call) if isinstance(call, ir.Call) else None
    if not isinstance(name, ir.Name) or function is None or not isinstance(call, ir.Call):
        return None
    params = [p.name for p in function.params if p.name not in ("self", "cls")]
    if name.id not in params or facts.names.enclosing_function(name) is not function:
        return None
    return _argument(call, params.index(name.id), name.id)


def _origin(node: ir.Expr, facts: ModuleFacts) -> tuple[ir.Expr, int | None]:
    """The expression behind a name that is bound once, and the position of an unpacking."""
    for _ in range(_DEPTH):
        bound = facts.names.reaching(node) if isinstance(node, ir.Name) else []
        if len(bound) != 1 or bound[0].value is None or bound[0].how not in ("value", "unpack"):
            break
        node = bound[0].value
        if bound[0].how == "unpack":
            return node, bound[0].index
    return node, None


def _varies(loss: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True for one of several losses: the variable of a loop, an item of a list."""
    node, _ = _origin(loss, facts)
    match node:
        case ir.Name():
            return any(bound.how == "iterate" for bound in facts.names.reaching(node))
        case ir.Subscript(index=[index]):
            return not isinstance(index, ir.Const | ir.Slice)
    return False


def _alike(a: ir.Expr, b: ir.Expr, facts: ModuleFacts, depth: int) -> bool:
    """Return True for the same computation on other data, or where that cannot be told."""
    (a, first), (b, second) = _origin(a, facts), _origin(b, facts)
    if first != second or depth > _DEPTH:
        return depth > _DEPTH
    if a is b:
        return True
    match a, b:
        case ir.Name(), ir.Name():
            return depth > 0 or a.id == b.id
        case (ir.Name(), _) | (_, ir.Name()):
            return depth > 0
        case ir.Call(), ir.Call():
            pairs = zip(a.args, b.args, strict=False)
            return _same_callee(a.func, b.func, facts, depth) and all(
                _alike(x.value, y.value, facts, depth + 1) for x, y in pairs
            )
        case ir.Attr(), ir.Attr():
            return a.attr == b.attr and _alike(a.value, b.value, facts, depth + 1)
        case ir.Subscript(), ir.Subscript():
            data = not isinstance(_origin(a.value, facts)[0], ir.Call)
            return _alike(a.value, b.value, facts, depth + 1) and (data or all(map(ir.same, a.index, b.index)))
        case ir.Binary(), ir.Binary():
            sides = ((a.left, b.left), (a.right, b.right))
            return a.op == b.op and all(_alike(x, y, facts, depth + 1) for x, y in sides)
    return ir.same(a, b)


def _same_callee(a: ir.Expr, b: ir.Expr, facts: ModuleFacts, depth: int) -> bool:
    match a, b:
        case ir.Attr(), ir.Attr():
            if isinstance(a.value, ir.Name | ir.Attr) and isinstance(b.value, ir.Name | ir.Attr):
                inner = _origin(a.value, facts)[0], _origin(b.value, facts)[0]
                if not any(isinstance(node, ir.Call) for node in inner):
                    return ir.same(a, b)
            return a.attr == b.attr and _alike(a.value, b.value, facts, depth + 1)
    return ir.same(a, b)
