"""What goes into a file: the state dicts, whole objects and values in an expression that is saved."""

from __future__ import annotations

from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.words import words

__all__ = ["SavedEntry", "collect_mentions", "entries_of"]

_PARTS = frozenset({"parameter", "parameters", "params", "param", "weights", "weight"})
_CONVERSIONS = frozenset({"dict", "list", "tuple", "vars", "OrderedDict", "sorted"})
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class SavedEntry:
    """One thing in a file. ``what``: ``state_dict``, ``object`` (pickled whole), ``part`` (the parameters a method
    hands out) or ``value``; ``of`` the source of the object, ``model`` or ``self.net``; ``key`` its key in the dict."""

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
    if name in ("copy.deepcopy", "copy.copy") and node.args:
        return entries_of(facts, node.args[0].value, key, depth)
    if isinstance(node.func, ir.Attr):
        attr, receiver = node.func.attr, node.func.value
        if attr == "state_dict":
            return [SavedEntry("state_dict", _source(facts, receiver), key)]
        if attr == "get_state_dict" and node.args:
            return [SavedEntry("state_dict", _source(facts, node.args[0].value), key)]
        if attr in ("items", "copy", "values", "cpu", "to", "detach", "clone", "half", "float"):
            return entries_of(facts, receiver, key, depth)
        function = facts.names.function_called(node)
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
    for part in ir.walk(node):
        match part:
            case ir.Name(id=name):
                if name in found and depth:
                    continue
                found.add(name)
                if depth < 4:
                    for binding in facts.names.reaching(part):
                        if binding.how in ("value", "item", "update", "iterate") and binding.value is not None:
                            collect_mentions(facts, binding.value, found, depth + 1)
                            found.add(_item_key(binding.node))
            case ir.Attr(attr=name):
                found.add(name)
            case ir.Const(value=str() as text):
                found.add(text)
            case ir.Call():
                function = facts.names.function_called(part)
                if function is not None and depth < 2 and function.name not in found:
                    found.add(function.name)
                    collect_mentions(facts, function.body, found, depth + 2)
    found.discard("")
