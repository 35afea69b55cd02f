"""Where tensors that may be feedback are kept: assignments, items, registrations, attributes set from outside."""

from __future__ import annotations

from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.classes import chain, is_module
from fa_lint.semantics.draws import draw_of, is_fill
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback_uses import Key, key_of, target_key
from fa_lint.semantics.words import words

__all__ = ["Store", "copied_into", "is_restored", "storage_of", "stores"]

_PARAMETERS = frozenset({"torch.nn.Parameter", "torch.nn.parameter.Parameter"})
_BUFFERS = frozenset({"torch.nn.Buffer", "torch.nn.parameter.Buffer"})
_VARIABLES = frozenset({"torch.autograd.Variable", "torch.autograd.variable.Variable"})
_LISTS_OF_PARAMETERS = frozenset({"torch.nn.ParameterList", "torch.nn.ParameterDict"})
_LISTS_OF_MODULES = frozenset({"torch.nn.ModuleList", "torch.nn.ModuleDict", "torch.nn.Sequential"})
_RESTORES = frozenset("load restore state checkpoint ckpt resume set saved".split())
_STEPS = frozenset({"to", "cuda", "float", "double", "requires_grad_", "detach", "clone", "t", "contiguous"})


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """``storage`` is set where the call itself says it (``register_buffer``); ``item`` for what goes into a container;
    ``filled`` where another statement writes random values into it."""

    node: ir.Node
    value: ir.Expr | None
    storage: str = ""
    item: bool = False
    filled: bool = False


def stores(facts: ModuleFacts) -> dict[Key, list[Store]]:
    """Every kept value by its key, in source order."""
    fills = _fills(facts)
    table: dict[Key, list[Store]] = {}

    def keep(key: Key, node: ir.Node, value: ir.Expr | None, storage: str = "", item: bool = False) -> None:
        table.setdefault(key, []).append(Store(node, value, storage, item, key in fills))

    for (number, attribute), bindings in facts.names.attributes.items():
        for binding in bindings:
            if binding.how in ("value", "item", "unpack"):
                keep(_held(facts, number, attribute), binding.node, binding.value, item=binding.how == "item")
    for each in facts.names.classes:
        for name, bindings in facts.names.scopes[each.nid].bindings.items():
            for binding in bindings:
                if binding.how == "value":
                    keep(("self", each.nid, name), binding.node, binding.value)
    for method in facts.names.functions:
        owner = facts.names.enclosing_class(method)
        if owner is not None and any(facts.qualified(d) == "functools.cached_property" for d in method.decorators):
            for value in facts.names.returned(method):
                keep(("self", owner.nid, method.name), facts.names.statement(value) or value, value)
    for scope in [facts.names.module_scope, *(facts.names.scopes[f.nid] for f in facts.names.functions)]:
        for name, bindings in scope.bindings.items():
            for binding in bindings:
                if binding.how in ("value", "item"):
                    keep(("name", scope.node.nid, name), binding.node, binding.value, item=binding.how == "item")
    for node in facts.nodes_of(ir.Assign, ir.Call):
        match node:
            case ir.Assign(targets=[ir.Attr(value=ir.Name(id=receiver)) as target], value=value):
                if receiver not in ("self", "cls") and facts.qualified(target) is None:
                    outside = target_key(facts, target)
                    if outside is not None:
                        keep(outside, node, value)
            case ir.Call(func=ir.Attr(value=ir.Name(id="self"), attr="register_buffer" | "register_parameter")):
                _registration(facts, node, table, fills)
            case ir.Call(
                func=ir.Name(id="setattr"),
                args=[
                    ir.Arg(value=ir.Name(id="self")),
                    ir.Arg(value=ir.Const(value=str() as name)),
                    ir.Arg(value=value),
                ],
            ) if (around := facts.names.enclosing_class(node)) is not None:
                keep(_held(facts, around.nid, name), node, value)
    for kept in table.values():
        kept.sort(key=lambda store: store.node.nid)
    return table


def _held(facts: ModuleFacts, number: int, attribute: str) -> Key:
    owner = facts.node(number)
    assert isinstance(owner, ir.ClassDef)
    above = [c for c in chain(facts, owner) if (c.nid, attribute) in facts.names.attributes]
    return "self", above[-1].nid if above else number, attribute


def _registration(facts: ModuleFacts, node: ir.Call, table: dict[Key, list[Store]], fills: set[Key]) -> None:
    owner = facts.names.enclosing_class(node)
    if owner is None or not node.args or not isinstance(node.func, ir.Attr):
        return
    given = {a.keyword: a.value for a in node.args if a.keyword}
    plain = [a.value for a in node.args if not a.keyword and not a.star]
    name = plain[0] if plain else given.get("name")
    value = plain[1] if len(plain) > 1 else given.get("tensor", given.get("param"))
    lasting = plain[2] if len(plain) > 2 else given.get("persistent")
    storage = "parameter" if node.func.attr == "register_parameter" else "buffer"
    if isinstance(lasting, ir.Const) and lasting.value is False:
        storage = "transient"
    if isinstance(name, ir.Const) and isinstance(name.value, str):
        key = _held(facts, owner.nid, name.value)
        table.setdefault(key, []).append(Store(node, value, storage, False, key in fills))
    elif value is not None:
        # ``register_buffer(f"B{i}", b)``: the list that also holds ``b`` is only a second way to the buffers.
        held = key_of(facts, value)
        for other, kept in list(table.items()):
            if other[0] == "self" and other[1] == owner.nid and any(s.item for s in kept):
                same = any(s.value is not None and key_of(facts, s.value) == held for s in kept if s.item)
                if same:
                    kept.append(Store(node, value, storage, True))


def _fills(facts: ModuleFacts) -> set[Key]:
    found = set()
    for call in facts.calls:
        if is_fill(facts, call):
            target = call.args[0].value if facts.qualified(call.func) is not None and call.args else None
            if target is None and isinstance(call.func, ir.Attr):
                target = call.func.value
            key = key_of(facts, target) if target is not None else None
            if key is not None:
                found.add(key)
    return found


def copied_into(facts: ModuleFacts) -> set[Key]:
    """What ``b.copy_(saved)``, ``np.copyto(b, saved)`` or ``layer.load_state_dict(state)`` writes into."""
    found: set[Key | None] = set()
    for call in facts.calls:
        match call:
            case ir.Call(func=ir.Attr(value=target, attr="copy_" | "set_" | "load_state_dict")):
                found.add(key_of(facts, target))
            case ir.Call(func=func, args=[ir.Arg(value=target), *_]) if facts.qualified(func) == "numpy.copyto":
                found.add(key_of(facts, target))
    return {key for key in found if key is not None}


def is_restored(facts: ModuleFacts, store: Store) -> bool:
    """``self.B = state["B"]``, ``checkpoint.get(…)``, ``torch.load(…)``, or a parameter of a method that loads."""
    function = facts.names.enclosing_function(store.node)
    if store.value is None or (isinstance(store.value, ir.Const)):
        return False
    if function is not None and set(words(function.name)) & _RESTORES:
        return True
    identifiers = {
        n.id if isinstance(n, ir.Name) else n.attr for n in ir.walk(store.value) if isinstance(n, ir.Name | ir.Attr)
    }
    return any(set(words(identifier)) & _RESTORES for identifier in identifiers)


def storage_of(facts: ModuleFacts, node: ir.Expr | None, depth: int = 0) -> str:
    """How a value that is assigned to an attribute of a torch module is kept; empty where the code does not show it."""
    if node is None or depth > 6:
        return ""
    match node:
        case ir.Const():
            return ""
        case ir.Sequence() | ir.Comprehension(kind="list" | "generator" | "set"):
            return "list"
        case ir.Keyed() | ir.Comprehension():
            return "dict"
        case ir.Conditional(body=body, orelse=orelse):
            return storage_of(facts, body, depth + 1) or storage_of(facts, orelse, depth + 1)
        case ir.Name():
            if any(b.how == "param" for b in facts.names.reaching(node)):
                return "unknown"
            kinds = [storage_of(facts, b.value, depth + 1) for b in facts.names.reaching(node) if b.how == "value"]
            return next((kind for kind in kinds if kind), "")
        case ir.Call(func=ir.Attr(value=inner, attr=attr)) if attr in _STEPS and facts.qualified(node.func) is None:
            return storage_of(facts, inner, depth + 1) or "tensor"
        case ir.Call(func=ir.Name(id="list" | "tuple" | "dict" as builtin)):
            return "dict" if builtin == "dict" else "list"
        case ir.Call():
            return _of_call(facts, node, depth)
    return "tensor"


def _of_call(facts: ModuleFacts, node: ir.Call, depth: int) -> str:
    name = facts.qualified(node.func)
    if name is None:
        owner = facts.names.class_named(node.func) if isinstance(node.func, ir.Name) else None
        if owner is not None:
            return "module" if is_module(facts, owner) else "object"
        function = facts.names.function_called(node)
        if function is not None:
            kinds = [storage_of(facts, value, depth + 1) for value in facts.names.returned(function)]
            return next((kind for kind in kinds if kind), "")
        return "tensor" if isinstance(node.func, ir.Attr) or draw_of(facts, node) is not None else "unknown"
    if name in _PARAMETERS:
        return "parameter"
    if name in _BUFFERS:
        lasting = next((a.value for a in node.args if a.keyword == "persistent"), None)
        return "transient" if isinstance(lasting, ir.Const) and lasting.value is False else "buffer"
    if name in _VARIABLES:
        return "variable"
    if name in _LISTS_OF_PARAMETERS:
        return "parameters"
    if name in _LISTS_OF_MODULES:
        return "modules"
    last = name.rpartition(".")[2]
    if name.endswith(".Feedback") or name.endswith(".BufferDict"):
        return "module"
    if name.startswith("torch.nn.") and last[:1].isupper():
        return "module"
    if last[:1].isupper() and not name.startswith(("torch.", "numpy.")):
        # An imported class: a torch module for all we know.
        return "module"
    return "tensor"
