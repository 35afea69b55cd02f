"""Where saved objects come from: the dotted names of what constructs the object that a module calls ``model``."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["origins"]

# Calls that give back the object they are called on, or a wrapper of their first argument.
_SAME = frozenset({"to", "cuda", "cpu", "eval", "train", "half", "float", "double", "requires_grad_"})
_WRAPPERS = frozenset({"DataParallel", "DistributedDataParallel", "compile", "prepare", "setup", "unwrap_model"})
_DEPTH = 6


def origins(facts: ModuleFacts, of: str) -> tuple[str, ...]:
    """Constructors and factories that assignments to ``of`` (``net``, ``self.model``) call, imports resolved.

    A class or function of this module keeps its bare name; what only a caller knows (a parameter) gives nothing. Names
    are matched in the whole module, so that ``self.model`` of one method is found in another.
    """
    last = of.rpartition(".")[2]
    found: dict[str, None] = {}
    for node in facts.nodes_of(ir.Assign):
        if isinstance(node, ir.Assign):
            for target in node.targets:
                name = target.id if isinstance(target, ir.Name) else target.attr if isinstance(target, ir.Attr) else ""
                if name == last:
                    found.update(dict.fromkeys(_made_by(facts, node.value, 0)))
    return tuple(found)


def _made_by(facts: ModuleFacts, node: ir.Expr, depth: int) -> list[str]:
    if depth > _DEPTH:
        return []
    match node:
        case ir.Call(func=ir.Attr(value=inner, attr=attr)) if attr in _SAME:
            return _made_by(facts, inner, depth + 1)
        case ir.Call(func=ir.Name(id=name) | ir.Attr(attr=name), args=args) if name in _WRAPPERS:
            return [origin for arg in args[:1] for origin in _made_by(facts, arg.value, depth + 1)]
        case ir.Call(func=ir.Name(id=name) as func):
            return [facts.qualified(func) or name]
        case ir.Call(func=ir.Attr(value=ir.Name(id="self" | "cls"))) if facts.names.function_called(node) is not None:
            function = facts.names.function_called(node)
            values = facts.names.returned(function) if function is not None else []
            return [origin for value in values for origin in _made_by(facts, value, depth + 1)]
        case ir.Call(func=func):
            called = facts.qualified(func)
            return [called] if called is not None else []
        case ir.Conditional(body=body, orelse=orelse):
            return [*_made_by(facts, body, depth + 1), *_made_by(facts, orelse, depth + 1)]
        case ir.Name():
            values = [b.value for b in facts.names.reaching(node) if b.how == "value" and b.value is not None]
            return [origin for value in values for origin in _made_by(facts, value, depth + 1)]
    return []
