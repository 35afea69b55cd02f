"""Layers as feedback: a network of its own that turns an error into the credit of hidden states."""

from __future__ import annotations

from fa_lint.analysis.values import values_of
from fa_lint.semantics import ir
from fa_lint.semantics.classes import is_module
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.words import words

__all__ = ["gives_credit", "is_layer", "is_penalised"]

_LAYERS = frozenset("Linear LazyLinear Bilinear Sequential MLP GRU LSTM RNN".split())
_CREDITS = frozenset("credit credits feedback learning teaching costate synthetic".split())
_LOSSES = frozenset("loss losses penalty distance dist swd swd2 objective regulariser regularizer".split())
_UPDATES = frozenset("sub_ add_ addmm_ addcmul_ copy_".split())
_GRADIENTS = frozenset({"grad_tensors", "grad_outputs", "gradient", "grad_output"})


def is_layer(facts: ModuleFacts, made: ir.Call) -> bool:
    """Return True where a call makes a module with weights of its own."""
    name = facts.qualified(made.func)
    if name is not None:
        last = name.rpartition(".")[2]
        if name.startswith("torch."):
            return last in _LAYERS or last.startswith(("Conv", "LazyConv"))
        return last[:1].isupper() and not last.endswith(("Loss", "Config", "Trainer", "Optimizer"))
    owner = facts.names.class_named(made.func) if isinstance(made.func, ir.Name) else None
    return owner is not None and is_module(facts, owner)


def gives_credit(facts: ModuleFacts, applied: ir.Node) -> bool:
    """Return True where what a layer or a matrix makes of an error is sent on backward, or compared with a gradient."""
    scope: ir.Node = facts.names.enclosing_function(applied) or facts.module
    names: set[str] = set()
    for node in ir.walk(scope):
        match node:
            case ir.Assign(targets=targets, value=value) if _reads(value, applied, names):
                names |= {n.id for target in targets for n in ir.walk(target) if isinstance(n, ir.Name)}
    if any(set(words(name)) & _CREDITS for name in names):
        return True
    return any(_is_gradient_use(facts, node, applied, names) for node in ir.walk(scope))


def is_penalised(facts: ModuleFacts, sent: ir.Node) -> bool:
    """Return True where a projected error ends in a loss: a sliced distance, a random probe."""
    for above in facts.names.ancestors(sent):
        match above:
            case ir.Call(func=ir.Name(id=name) | ir.Attr(attr=name)) if set(words(name)) & _LOSSES:
                return True
            case ir.Assign(targets=targets):
                named = {w for t in targets for n in ir.walk(t) if isinstance(n, ir.Name) for w in words(n.id)}
                return bool(named & _LOSSES) or any(_enters_loss(facts, t) for t in targets if isinstance(t, ir.Name))
            case ir.Stmt():
                return False
    return False


def _enters_loss(facts: ModuleFacts, target: ir.Name) -> bool:
    """``p = (out - y) @ R; loss = (p ** 2).mean()``."""
    scope: ir.Node = facts.names.enclosing_function(target) or facts.module
    for node in ir.walk(scope):
        match node:
            case ir.Assign(targets=[ir.Name(id=name)], value=value) if set(words(name)) & _LOSSES:
                if any(isinstance(part, ir.Name) and part.id == target.id for part in ir.walk(value)):
                    return True
    return False


def _is_gradient_use(facts: ModuleFacts, node: ir.Node, applied: ir.Node, names: set[str]) -> bool:
    match node:
        case ir.Call(func=ir.Attr(attr="backward"), args=args):
            return any(_reads(arg.value, applied, names) for arg in args)
        case ir.Call(func=func, args=args):
            given = [arg for arg in args if _reads(arg.value, applied, names)]
            if any(arg.keyword in _GRADIENTS for arg in given):
                return True
            if isinstance(func, ir.Attr) and func.attr in _UPDATES:
                return bool(given)
            return bool(given) and any(_is_gradient(arg.value, facts) for arg in args if arg not in given)
        case ir.Binary(op="-", left=left, right=right):
            pairs = ((left, right), (right, left))
            return any(_reads(one, applied, names) and _is_gradient(other, facts) for one, other in pairs)
        case ir.AugAssign(op="-" | "+", target=ir.Attr() | ir.Subscript(), value=value):
            return _reads(value, applied, names)
        case ir.Assign(targets=[ir.Attr(attr="grad")], value=value):
            return _reads(value, applied, names)
        case ir.Return(value=ir.Expr() as value) if isinstance(value, ir.Call | ir.Name):
            function = facts.names.enclosing_function(node)
            named = function is not None and bool(set(words(function.name)) & _CREDITS)
            return named and _reads(value, applied, names)
    return False


def _is_gradient(node: ir.Expr, facts: ModuleFacts) -> bool:
    return values_of(facts).vector(node).role.is_gradient


def _reads(node: ir.Node, applied: ir.Node, names: set[str]) -> bool:
    return any(part is applied or (isinstance(part, ir.Name) and part.id in names) for part in ir.walk(node))
