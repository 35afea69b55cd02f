"""How feedback is used: matrices that only a custom backward reads, and matrices an error is sent through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fa_lint.semantics import ir
from fa_lint.semantics.calls import given
from fa_lint.semantics.classes import chain
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback_errors import Signal, signal_of
from fa_lint.semantics.feedback_names import is_feedback_name, speaks_of_feedback
from fa_lint.semantics.matrix_products import is_product
from fa_lint.semantics.roles import Evidence
from fa_lint.semantics.words import words

__all__ = ["Key", "Uses", "feedback_uses", "is_trained", "key_of", "target_key", "trained"]

# ("self", class node, attribute), ("name", scope node, name) or ("other", 0, "receiver.attribute").
Key = tuple[str, int, str]

_PEELED_ATTRIBUTES = frozenset({"T", "mT", "data", "H"})
# Functions between a matrix and the one that multiplies with it.
_HOPS = 3
_UPDATES = frozenset("update updates apply step descend sgd".split())
_NOT_PEELED = frozenset({"size", "dim", "numel", "norm", "sum", "mean", "item", "max", "min", "apply"})


@dataclass(frozen=True, slots=True)
class Uses:
    """For each matrix, the first use that says feedback. ``backward``: an argument that only a custom backward reads;
    ``errors``: multiplied with an error signal, and how sure it is that it is one; ``products``: with anything;
    ``others``: those that are multiplied with something else, like a weight; ``layers``: the call of each layer that is
    applied to an error."""

    backward: dict[Key, Evidence] = field(default_factory=dict)
    errors: dict[Key, tuple[Signal, Evidence]] = field(default_factory=dict)
    products: dict[Key, Evidence] = field(default_factory=dict)
    others: set[Key] = field(default_factory=set)
    layers: dict[Key, ir.Call] = field(default_factory=dict)


def key_of(facts: ModuleFacts, node: ir.Expr, depth: int = 0) -> Key | None:
    """What an operand names, through views, items, loops over containers and simple aliases."""
    while True:
        match node:
            case ir.Subscript(value=inner):
                node = inner
            case ir.Attr(value=inner, attr=attr) if attr in _PEELED_ATTRIBUTES:
                node = inner
            case ir.Attr(value=inner, attr="weight") if not _is_self(inner):
                # The weight of a layer is kept where the layer is.
                node = inner
            case ir.Call(func=ir.Attr(value=inner, attr=attr)) if attr not in _NOT_PEELED:
                if facts.qualified(node.func) is not None or (isinstance(inner, ir.Name) and inner.id == "self"):
                    return None
                node = inner
            case _:
                break
    match node:
        case ir.Attr():
            return target_key(facts, node)
        case ir.Call(
            func=ir.Name(id="getattr"),
            args=[ir.Arg(value=ir.Name(id="self")), ir.Arg(value=ir.Const(value=str() as attr)), *_],
        ) if (owner := facts.names.enclosing_class(node)) is not None:
            return "self", owner.nid, attr
        case ir.Name(id="self" | "cls"):
            return None
        case ir.Name():
            return _name_key(facts, node, depth)
    return None


def _is_self(node: ir.Expr) -> bool:
    return isinstance(node, ir.Name) and node.id in ("self", "cls")


def target_key(facts: ModuleFacts, node: ir.Attr) -> Key | None:
    """The key of ``self.x`` (held by the nearest class that stores it) or of ``model.x``."""
    match node.value:
        case ir.Name(id="self" | "cls"):
            owner = facts.names.enclosing_class(node)
            if owner is None:
                return None
            for above in chain(facts, owner):
                if (above.nid, node.attr) in facts.names.attributes:
                    return "self", above.nid, node.attr
            return "self", owner.nid, node.attr
        case ir.Name(id=receiver) | ir.Attr(attr=receiver):
            return "other", 0, f"{receiver}.{node.attr}"
    return None


def _name_key(facts: ModuleFacts, node: ir.Name, depth: int) -> Key | None:
    if depth < 4:
        for binding in facts.names.reaching(node):
            value = binding.value
            if value is None:
                continue
            if binding.how == "iterate":
                value = _iterated(value, _path(binding.node, node.id))
            elif binding.how != "value" or not (
                isinstance(value, ir.Attr | ir.Subscript | ir.Name) or _is_taken(value)
            ):
                continue
            if value is not None:
                found = key_of(facts, value, depth + 1)
                if found is not None:
                    return found
    scope = facts.names.scope_of(node)
    while scope.parent is not None and node.id not in scope.bindings:
        scope = scope.parent
    return "name", scope.node.nid, node.id


def _is_taken(value: ir.Expr) -> bool:
    """``self.mats.setdefault(name, torch.randn(…))``, ``mats.get(name)``, ``getattr(self, "B", None)``."""
    match value:
        case ir.Call(func=ir.Attr(attr=taken) | ir.Name(id=taken)):
            return taken in ("setdefault", "get", "getattr")
    return False


def _path(node: ir.Node, name: str) -> tuple[int, ...]:
    """The positions that lead to a name in the target of a loop: ``(1, 0)`` for ``b`` in ``for i, (b, c) in …``."""
    waiting: list[tuple[ir.Expr, tuple[int, ...]]] = []
    if isinstance(node, ir.For | ir.Clause):
        waiting.append((node.target, ()))
    for target, path in waiting:
        if isinstance(target, ir.Name) and target.id == name:
            return path
        if isinstance(target, ir.Sequence):
            waiting += [(item, (*path, position)) for position, item in enumerate(target.items)]
    return ()


def _iterated(value: ir.Expr, path: tuple[int, ...]) -> ir.Expr | None:
    """The container that a loop variable runs over: through ``enumerate``, ``zip``, ``reversed``."""
    while isinstance(value, ir.Call) and isinstance(value.func, ir.Name) and value.args:
        called = value.func.id
        if called == "zip":
            if not path or path[0] >= len(value.args):
                return None
            value, path = value.args[path[0]].value, path[1:]
        elif called in ("enumerate", "reversed", "list", "tuple"):
            value, path = value.args[0].value, path[1:] if called == "enumerate" else path
        else:
            return None
    return value


def feedback_uses(facts: ModuleFacts) -> Uses:
    """One pass over the module's products and ``apply`` calls."""
    uses = Uses()
    positions = {c.nid: backward_only(facts, c) for c in facts.names.classes if _is_function(facts, c)}
    for node in facts.nodes_of(ir.Binary, ir.Call):
        match node:
            case ir.Binary(op="@", left=left, right=right):
                _product(facts, node, [left, right], uses)
            case ir.Call(func=ir.Attr(value=receiver, attr="apply"), args=args):
                _applied(facts, node, receiver, args, positions, uses)
            case ir.Call(func=func, args=args):
                if is_product(facts, node):
                    own = [func.value] if isinstance(func, ir.Attr) and facts.qualified(func) is None else []
                    _product(facts, node, [*own, *(a.value for a in args)], uses)
                elif len(args) == 1 and isinstance(func, ir.Name | ir.Attr | ir.Subscript):
                    _layer(facts, node, func, args[0].value, uses)
    _pass_on(facts, uses)
    return uses


def _layer(facts: ModuleFacts, node: ir.Call, func: ir.Expr, given: ir.Expr, uses: Uses) -> None:
    """``bridge(error)``: a layer that an error is sent through."""
    if facts.qualified(func) is None and facts.names.function_called(node) is None:
        key = key_of(facts, func)
        if key is not None:
            signal = signal_of(facts, given)
            _record(uses, key, signal, node)
            if signal:
                uses.layers.setdefault(key, node)


def _record(uses: Uses, key: Key, signal: Signal, node: ir.Expr) -> None:
    uses.products.setdefault(key, Evidence(node.nid, "multiplied here"))
    if not signal:
        uses.others.add(key)
    elif signal > uses.errors.get(key, (Signal.NONE,))[0]:
        uses.errors[key] = signal, Evidence(node.nid, "an error is sent through it here")


def _pass_on(facts: ModuleFacts, uses: Uses) -> None:
    """Give the use of a parameter, or of an attribute from outside its class, to what it stands for."""
    used = set(uses.products)
    for _ in range(_HOPS):
        found = {(key, source) for key in used for source in _sources(facts, key)}
        used = {source for _, source in found} - used
        for key, source in found:
            uses.products.setdefault(source, uses.products[key])
            if key in uses.others:
                uses.others.add(source)
            if key in uses.errors and uses.errors[key][0] > uses.errors.get(source, (Signal.NONE,))[0]:
                uses.errors[source] = uses.errors[key]
            if key in uses.layers:
                uses.layers.setdefault(source, uses.layers[key])


def _sources(facts: ModuleFacts, key: Key) -> Iterator[Key]:
    where, number, name = key
    if where == "other":
        receiver, _, attribute = name.partition(".")
        keepers = facts.derived(_keepers).get(attribute, [])
        named = [c for c in keepers if c.name in facts.derived(_constructed).get(receiver, ())]
        yield from (("self", c.nid, attribute) for c in named or keepers)
        return
    function = facts.node(number) if where == "name" and number else None
    for value in given(facts, function, name) if isinstance(function, ir.FunctionDef) else ():
        source = key_of(facts, value)
        if source is not None:
            yield source


def _keepers(facts: ModuleFacts) -> dict[str, list[ir.ClassDef]]:
    """By attribute, the classes that store it."""
    found: dict[str, list[ir.ClassDef]] = {}
    for number, attribute in list(facts.names.attributes):
        owner = facts.node(number)
        if isinstance(owner, ir.ClassDef):
            found.setdefault(attribute, []).append(owner)
    return found


def _constructed(facts: ModuleFacts) -> dict[str, set[str]]:
    """By name, what is called where the name is assigned: ``net = Net()``."""
    found: dict[str, set[str]] = {}
    for node in facts.nodes_of(ir.Assign):
        match node:
            case ir.Assign(targets=[ir.Name(id=name)], value=ir.Call(func=ir.Name(id=made))):
                found.setdefault(name, set()).add(made)
    return found


def _product(facts: ModuleFacts, node: ir.Expr, operands: list[ir.Expr], uses: Uses) -> None:
    for number, operand in enumerate(operands):
        keys = {key for part in _factors(facts, operand) if (key := key_of(facts, part)) is not None}
        if keys:
            others = [o for n, o in enumerate(operands) if n != number and not isinstance(o, ir.Const)]
            signal = max((signal_of(facts, other) for other in others), default=Signal.NONE)
            for key in keys if len(keys) == 1 or not signal else ():
                _record(uses, key, signal, node)


def _factors(facts: ModuleFacts, node: ir.Expr) -> list[ir.Expr]:
    """What stands in an operand: ``B`` in ``-0.1 * B``, both of ``W * mask``, nothing of another product."""
    match node:
        case ir.Unary(operand=inner):
            return _factors(facts, inner)
        case ir.Binary(left=left, right=right) if not is_product(facts, node):
            return _factors(facts, left) + _factors(facts, right)
    return [node]


def is_trained(facts: ModuleFacts, node: ir.Expr) -> bool:
    """Return True for a matrix, or a container of them, that is multiplied and updated from what it was."""
    key = key_of(facts, node)
    return key is not None and not facts.derived(trained).isdisjoint({key, *_sources(facts, key)})


def trained(facts: ModuleFacts) -> frozenset[Key]:
    """Multiplied, and updated from what it was: ``W -= lr * g``, ``params = optax.apply_updates(params, updates)``."""
    updated: list[ir.Expr] = []
    for node in facts.nodes_of(ir.AugAssign, ir.Assign):
        match node:
            case ir.AugAssign(op="-" | "+", target=target):
                updated.append(target)
            case ir.Assign(targets=targets, value=value):
                read = [part for part in ir.walk(value) if isinstance(part, ir.Name | ir.Attr)]
                if any(isinstance(part, ir.Binary) and part.op == "-" for part in ir.walk(value)) or any(
                    set(words(part.attr if isinstance(part, ir.Attr) else part.id)) & _UPDATES for part in read
                ):
                    own = [target for several in targets for target in ir.flat(several)]
                    updated += [target for target in own if any(ir.same(target, part) for part in read)]
    return frozenset(key for target in updated if (key := key_of(facts, target)) is not None) & frozenset(
        facts.derived(feedback_uses).products
    )


# -- custom autograd functions ------------------------------------------------------------------------------------


def _is_function(facts: ModuleFacts, owner: ir.ClassDef) -> bool:
    names = {facts.qualified(base.value) for base in owner.bases if base.keyword is None}
    return bool(names & {"torch.autograd.Function", "torch.autograd.function.Function"})


def backward_only(facts: ModuleFacts, owner: ir.ClassDef) -> dict[int, str]:
    """Positions (after ``ctx``) and names of ``forward``'s parameters that only ``backward`` computes with.

    That is what feedback alignment is: the forward pass ignores the matrix, the backward pass sends the gradient
    through it. A parameter that is not multiplied, like the shape of a bias, does not count.
    """
    forward, backward = facts.names.method(owner, "forward"), facts.names.method(owner, "backward")
    if forward is None or backward is None or not forward.params:
        return {}
    found = {}
    for position, param in enumerate(forward.params[1:]):
        if param.kind in ("star", "starstar") or not _only_saved(facts, forward, param.name):
            continue
        alias = _saved_name(facts, forward, backward, param.name)
        if alias and _multiplies(facts, backward, alias):
            found[position] = param.name
    return found


def _only_saved(facts: ModuleFacts, forward: ir.FunctionDef, name: str) -> bool:
    context = forward.params[0].name
    saved = False
    for node in ir.walk(forward.body):
        if not (isinstance(node, ir.Name) and node.id == name):
            continue
        for above in facts.names.ancestors(node):
            match above:
                case ir.Call(func=ir.Attr(value=ir.Name(id=holder), attr="save_for_backward")) if holder == context:
                    saved = True
                    break
                case ir.Assign(targets=[ir.Attr(value=ir.Name(id=holder))]) if holder == context:
                    saved = True
                    break
                case ir.Stmt():
                    return False
    return saved


def _saved_name(facts: ModuleFacts, forward: ir.FunctionDef, backward: ir.FunctionDef, name: str) -> str:
    """What ``backward`` calls a saved parameter: the unpacked name at its position, or the attribute of ``ctx``."""
    for node in ir.walk(forward.body):
        match node:
            case ir.Assign(targets=[ir.Attr(attr=attr)], value=ir.Name(id=stored)) if stored == name:
                return attr
            case ir.Call(func=ir.Attr(attr="save_for_backward"), args=args):
                held = [a.value.id if isinstance(a.value, ir.Name) else "" for a in args]
                if name not in held:
                    continue
                for statement in ir.walk(backward.body):
                    match statement:
                        case ir.Assign(
                            targets=[ir.Sequence(items=items)],
                            value=ir.Attr(attr="saved_tensors" | "saved_variables"),
                        ) if len(items) > held.index(name):
                            item = items[held.index(name)]
                            return item.id if isinstance(item, ir.Name) else ""
    return ""


def _multiplies(facts: ModuleFacts, backward: ir.FunctionDef, name: str) -> bool:
    def mentions(node: ir.Node) -> bool:
        return any(
            (isinstance(n, ir.Name) and n.id == name) or (isinstance(n, ir.Attr) and n.attr == name)
            for n in ir.walk(node)
        )

    return any(is_product(facts, node) and mentions(node) for node in ir.walk(backward.body))


def _applied(
    facts: ModuleFacts,
    node: ir.Call,
    receiver: ir.Expr,
    args: list[ir.Arg],
    positions: dict[int, dict[int, str]],
    uses: Uses,
) -> None:
    owner = facts.names.class_named(receiver) if isinstance(receiver, ir.Name) else None
    if owner is not None and owner.nid in positions:
        text = f"only the backward pass of `{owner.name}` reads it"
        wanted = set(positions[owner.nid])
    elif owner is None and isinstance(receiver, ir.Name | ir.Attr):
        # Imported: the name of the function has to say it, and the third argument on can be the feedback.
        name = (facts.qualified(receiver) or "").rpartition(".")[2]
        if not name or not speaks_of_feedback(name):
            return
        text = f"passed to `{name}.apply`"
        wanted = {n for n, a in enumerate(args) if n >= 2 and _says_feedback(a.value)}
    else:
        return
    for position, arg in enumerate(args):
        if position in wanted and not arg.star and arg.keyword is None:
            key = key_of(facts, arg.value)
            if key is not None:
                uses.backward.setdefault(key, Evidence(node.nid, text))


def _says_feedback(node: ir.Expr) -> bool:
    name = ir.last_name(node)
    return is_feedback_name(name)
