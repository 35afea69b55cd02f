"""What goes into a file: the state dicts, whole objects and values in an expression that is saved."""

from __future__ import annotations

from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback_uses import is_trained
from fa_lint.semantics.matrix_products import is_product
from fa_lint.semantics.words import words

__all__ = ["SavedEntry", "collect_mentions", "entries_of", "only_method"]

_PARTS = frozenset({"parameter", "parameters", "params", "param", "weights", "weight"})
_CONVERSIONS = frozenset({"dict", "list", "tuple", "vars", "OrderedDict", "sorted"})
_PUTS = frozenset({"update", "append", "extend", "setdefault", "insert", "__setitem__"})
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class SavedEntry:
    """One thing in a file, ``of`` the source of the object (``self.net``), under ``key`` in a dict.

    ``what``: ``state_dict``, ``object`` (pickled whole), ``part`` (trained matrices, or the parameters that a method
    hands out) or ``value``.
    """

    what: str
    of: str
    key: str = ""


def entries_of(facts: ModuleFacts, node: ir.Expr, key: str = "", depth: int = 0) -> list[SavedEntry]:
    """The entries of a saved expression: dicts by key, local names and helpers of the module followed."""
    if depth > _DEPTH:
        return [SavedEntry("value", "", key)]
    depth += 1
    match node:
        case ir.Keyed(keys=keys, values=values):
            found = []
            for k, value in zip(keys, values, strict=True):
                label = k.value if isinstance(k, ir.Const) and isinstance(k.value, str) else ""
                found += entries_of(facts, value, label or key, depth)
            return found
        case ir.Sequence(items=items):
            return [entry for item in items for entry in entries_of(facts, item, key, depth)]
        case ir.Conditional(body=body, orelse=orelse):
            return [*entries_of(facts, body, key, depth), *entries_of(facts, orelse, key, depth)]
        case ir.Comprehension(elements=elements, clause=clause):
            for part in (clause.iter, elements[-1]):
                inner = [e for e in entries_of(facts, part, key, depth) if e.what in ("state_dict", "part")]
                if inner:
                    return inner
            return [SavedEntry("value", "", key)]
        case ir.Call():
            return _of_call(facts, node, key, depth)
        case ir.Name() | ir.Attr() if is_trained(facts, node):
            return [SavedEntry("part", _source(facts, node), key)]
        case ir.Name():
            return _of_name(facts, node, key, depth)
        case ir.Attr():
            for binding in facts.names.self_attribute(node):
                if binding.how == "value" and isinstance(binding.value, ir.Keyed):
                    return entries_of(facts, binding.value, key, depth)
            return [SavedEntry("object", _source(facts, node), key)]
        case ir.Subscript(value=value):
            return entries_of(facts, value, key, depth)
    return [SavedEntry("value", "", key)]


def _of_call(facts: ModuleFacts, node: ir.Call, key: str, depth: int) -> list[SavedEntry]:
    name = facts.qualified(node.func)
    if name is not None and (name.startswith("copy.") or name.endswith("device_get")) and node.args:
        return entries_of(facts, node.args[0].value, key, depth)
    if isinstance(node.func, ir.Attr):
        attr, receiver = node.func.attr, node.func.value
        if attr == "state_dict":
            return [SavedEntry("state_dict", _source(facts, receiver), key)]
        if attr == "get_state_dict" and node.args:
            return [SavedEntry("state_dict", _source(facts, node.args[0].value), key)]
        if attr in ("items", "copy", "values", "cpu", "to", "detach", "clone", "half", "float"):
            return entries_of(facts, receiver, key, depth)
        function = facts.names.function_called(node) or only_method(facts, node)
        if function is None and name is None and set(words(attr)) & _PARTS:
            return [SavedEntry("part", _source(facts, receiver), key)]
        if name is None and attr in ("eval", "train"):
            return entries_of(facts, receiver, key, depth)
        if function is not None:
            return _returned(facts, function, key, depth)
        return [SavedEntry("value", "", key)]
    if isinstance(node.func, ir.Name):
        if node.func.id in _CONVERSIONS:
            found = [e for a in node.args if not a.keyword for e in entries_of(facts, a.value, key, depth)]
            found += [e for a in node.args if a.keyword for e in entries_of(facts, a.value, a.keyword, depth)]
            return found
        function = facts.names.function_called(node)
        if function is not None:
            return _returned(facts, function, key, depth)
    return [SavedEntry("value", "", key)]


def only_method(facts: ModuleFacts, node: ir.Expr) -> ir.FunctionDef | None:
    """The method that ``state.checkpoint()`` calls of an object out of sight: one class of the module has its name."""
    if not (isinstance(node, ir.Call) and isinstance(node.func, ir.Attr)) or facts.qualified(node.func) is not None:
        return None
    name = node.func.attr
    found = [method for owner in facts.names.classes if (method := facts.names.method(owner, name)) is not None]
    return found[0] if len(found) == 1 else None


def _returned(facts: ModuleFacts, function: ir.FunctionDef, key: str, depth: int) -> list[SavedEntry]:
    found = [e for value in facts.names.returned(function) for e in entries_of(facts, value, key, depth + 1)]
    return found or [SavedEntry("value", "", key)]


def _of_name(facts: ModuleFacts, node: ir.Name, key: str, depth: int) -> list[SavedEntry]:
    found: list[SavedEntry] = []
    for binding in facts.names.reaching(node):
        value = binding.value
        if value is None or binding.how not in ("value", "item", "update"):
            continue
        label = _item_key(binding.node) if binding.how == "item" else key
        if isinstance(value, ir.Keyed | ir.Comprehension | ir.Sequence | ir.Name | ir.Conditional | ir.Attr):
            if not (isinstance(value, ir.Name) and value.id == node.id):
                found += entries_of(facts, value, label, depth)
        elif isinstance(value, ir.Call):
            inner = [e for e in entries_of(facts, value, label, depth) if e.what != "value"]
            found += inner if binding.how == "item" or any(e.what != "object" for e in inner) else []
    return found or [SavedEntry("object", node.id, key)]


def _item_key(node: ir.Node) -> str:
    """The constant key of ``state["key"] = value``."""
    if isinstance(node, ir.Assign):
        for target in node.targets:
            if isinstance(target, ir.Subscript) and target.index and isinstance(target.index[0], ir.Const):
                value = target.index[0].value
                return value if isinstance(value, str) else ""
    return ""


def _source(facts: ModuleFacts, node: ir.Expr) -> str:
    """``model`` for ``model.module``, ``unwrap(model)`` and ``model[0]`` as well: the object that owns the state."""
    while True:
        match node:
            case ir.Attr(value=inner, attr="module"):
                node = inner
            case ir.Call(func=ir.Attr(value=inner, attr="cpu" | "to" | "eval")):
                node = inner
            case ir.Call(args=[ir.Arg(value=inner, keyword=None), *_]):
                node = inner
            case ir.Subscript(value=inner):
                node = inner
            case _:
                break
    parts: list[str] = []
    while isinstance(node, ir.Attr):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ir.Name):
        parts.append(node.id)
    return ".".join(reversed(parts))


def collect_mentions(facts: ModuleFacts, node: ir.Node, found: set[str], depth: int = 0) -> None:
    """Collect the identifiers and keys in what is saved; a local name brings those of what it was built from."""
    waiting = [node]
    for part in waiting:
        # What a product is made of is not saved with it, nor the object that one attribute is taken of.
        taken = isinstance(part, ir.Attr) and isinstance(part.value, ir.Name)
        if not is_product(facts, part) and not (taken and not isinstance(facts.names.parent(part), ir.Call)):
            waiting += ir.children(part)
        match part:
            case ir.Name(id=name):
                if name in found and depth:
                    continue
                found.add(name)
                if depth < 4:
                    # ``params = update(params, Bs, x, y)`` leaves no ``Bs`` in ``params``.
                    bound, is_updated = facts.names.reaching(part), is_trained(facts, part)
                    for binding in bound:
                        if binding.how in ("value", "item", "update", "iterate") and binding.value is not None:
                            if not (is_updated and any(ir.same(part, inner) for inner in ir.walk(binding.value))):
                                collect_mentions(facts, binding.value, found, depth + 1)
                                found.add(_item_key(binding.node))
                    if not is_updated and any(b.how != "unpack" and _is_container(facts, b.value) for b in bound):
                        for value in _put_into(facts, part):
                            collect_mentions(facts, value, found, depth + 1)
            case ir.Attr(attr=name):
                if depth < 4 and name not in found:
                    found.add(name)
                    for value in _kept_in(facts, part):
                        collect_mentions(facts, value, found, depth + 1)
                found.add(name)
            case ir.Const(value=str() as text):
                found.add(text)
            case ir.Call():
                function = facts.names.function_called(part)
                if facts.source(part) == "vars(self)":
                    found.add("__dict__")
                if function is not None and depth < 4 and function.name not in found:
                    found.add(function.name)
                    collect_mentions(facts, function.body, found, depth + 2)
    found.discard("")


def _is_container(facts: ModuleFacts, node: ir.Expr | None, depth: int = 0) -> bool:
    """Return True for a dict or a list, written out, made by a call or given by a function of the module."""
    match node:
        case ir.Keyed() | ir.Sequence() | ir.Comprehension():
            return True
        case ir.Call(func=ir.Name(id=name) | ir.Attr(attr=name)) if name in _CONVERSIONS or name == "state_dict":
            return True
        case ir.Call() if depth < 3:
            function = facts.names.function_called(node)
            values = facts.names.returned(function) if function is not None else []
            return any(_is_container(facts, value, depth + 1) for value in values)
        case ir.Name() if depth < 3:
            return any(_is_container(facts, binding.value, depth + 1) for binding in facts.names.reaching(node))
    return False


def _kept_in(facts: ModuleFacts, node: ir.Attr) -> list[ir.Expr]:
    """What ``self.state`` holds: a display that is assigned to it, its items, and what its methods put in."""
    bindings = facts.names.self_attribute(node)
    held = [b.value for b in bindings if b.how in ("item", "update") or isinstance(b.value, ir.Keyed)]
    return [value for value in held if value is not None] + (_put_into(facts, node) if held else [])


def _put_into(facts: ModuleFacts, holder: ir.Name | ir.Attr) -> list[ir.Expr]:
    """What calls like ``holder.update(…)`` and ``collect(holder, …)`` put into it, in its function or class."""
    scope = facts.names.enclosing_function if isinstance(holder, ir.Name) else facts.names.enclosing_class
    found: list[ir.Expr] = []
    for call in facts.derived(_puts).get(facts.source(holder), []):
        if scope(call) is scope(holder):
            found += [call.func] + [arg.value for arg in call.args if not ir.same(arg.value, holder)]
    return found


def _puts(facts: ModuleFacts) -> dict[str, list[ir.Call]]:
    """By the source of the container, the calls that put something into it, or that are given it."""
    found: dict[str, list[ir.Call]] = {}
    for call in facts.calls:
        match call.func:
            case ir.Attr(value=ir.Name() | ir.Attr() as holder, attr=attr) if attr in _PUTS:
                found.setdefault(facts.source(holder), []).append(call)
        for arg in call.args:
            if isinstance(arg.value, ir.Name | ir.Attr):
                found.setdefault(facts.source(arg.value), []).append(call)
    return found
