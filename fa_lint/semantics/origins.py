"""Where objects come from: the names of what constructs the object that a module calls ``model``."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["origins", "origins_of"]

# Calls that give back the object they are called on, or a wrapper of their first argument.
_SAME = frozenset({"to", "cuda", "cpu", "eval", "train", "half", "float", "double", "requires_grad_"})
_WRAPPERS = frozenset({"DataParallel", "DistributedDataParallel", "compile", "prepare", "setup", "unwrap_model"})
_CONTAINERS = frozenset({"Sequential", "ModuleList"})


def origins(facts: ModuleFacts, of: str) -> tuple[str, ...]:
    """The classes and functions that make what is called ``of`` (``net``, ``self.model``), imports resolved.

    A class or function of this module keeps its bare name, and what such a function returns is followed; what only a
    caller elsewhere knows gives nothing. Names are matched in the whole module, so that ``self.model`` of one method is
    found in another, and with what its calls hand to a parameter.
    """
    return _followed(facts, list(facts.derived(_values).get(of.rpartition(".")[2], ())))


def origins_of(facts: ModuleFacts, node: ir.Expr) -> tuple[str, ...]:
    """The same of one expression: a variable has what reaches it, or else all that has its name."""
    return _followed(facts, [node]) or origins(facts, facts.source(node))


def _followed(facts: ModuleFacts, waiting: list[ir.Expr]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if node.nid not in seen:
            seen.add(node.nid)
            if isinstance(node, ir.Call) and (name := _made(facts, node)):
                found[name] = None
            waiting += _inside(facts, node)
    return tuple(sorted(found))


def _values(facts: ModuleFacts) -> dict[str, list[ir.Expr]]:
    """By name, all that is assigned to it or given for a parameter of the name."""
    found: dict[str, list[ir.Expr]] = {}
    for node in facts.nodes_of(ir.Assign, ir.Call):
        match node:
            case ir.Assign(targets=targets, value=value):
                for target in targets:
                    match target:
                        case ir.Name(id=name) | ir.Attr(attr=name):
                            found.setdefault(name, []).append(value)
            case ir.Call(args=args):
                # ``save(Net())`` into a function whose parameter has the name.
                function = facts.names.function_called(node)
                params = [p.name for p in function.params if p.name not in ("self", "cls")] if function else []
                for position, arg in enumerate(args):
                    name = arg.keyword or "".join(params[position : position + 1])
                    if name and (function is not None or isinstance(arg.value, ir.Call)):
                        found.setdefault(name, []).append(arg.value)
    return found


def _made(facts: ModuleFacts, call: ir.Call) -> str:
    """What a call makes an object by; empty where it returns or holds what it is given."""
    last = ir.last_name(call.func)
    if last in _WRAPPERS | _CONTAINERS or (last in _SAME and isinstance(call.func, ir.Attr)):
        return ""
    return facts.qualified(call.func) or (last if isinstance(call.func, ir.Name) else "")


def _inside(facts: ModuleFacts, node: ir.Expr) -> list[ir.Expr]:
    """The expressions whose objects an expression gives or holds."""
    match node:
        case ir.Call(func=ir.Attr(value=inner, attr=attr)) if attr in _SAME:
            return [inner]
        case ir.Call(func=ir.Name(id=name) | ir.Attr(attr=name), args=args) if name in _WRAPPERS:
            return [arg.value for arg in args[:1]]
        case ir.Call(func=ir.Name(id=name) | ir.Attr(attr=name), args=args) if name in _CONTAINERS:
            return [arg.value for arg in args]
        case ir.Call():
            function = facts.names.function_called(node)
            return facts.names.returned(function) if function is not None else []
        case ir.Conditional(body=body, orelse=orelse):
            return [body, orelse]
        case ir.Name():
            return [b.value for b in facts.names.reaching(node) if b.how == "value" and b.value is not None]
        case ir.Sequence(items=items):
            return items
        case ir.Comprehension(elements=elements):
            return elements[-1:]
        case ir.Starred(value=value):
            return [value]
    return []
