"""Losses that take logits: where they are called, with what, and whether that is already a probability."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.gradients import keyword

__all__ = ["LogitLoss", "logit_losses", "probability"]

_FUNCTIONS = {
    "torch.nn.functional.cross_entropy": "softmax",
    "torch.nn.functional.binary_cross_entropy_with_logits": "sigmoid",
}
_CLASSES = {"torch.nn.CrossEntropyLoss": "softmax", "torch.nn.BCEWithLogitsLoss": "sigmoid"}
_PROBABILITIES = {
    "softmax": frozenset({"torch.softmax", "torch.nn.functional.softmax", "torch.special.softmax"}),
    "sigmoid": frozenset({"torch.sigmoid", "torch.nn.functional.sigmoid", "torch.special.expit"}),
}
_LAYERS = {"softmax": frozenset({"torch.nn.Softmax", "torch.nn.Softmax2d"}), "sigmoid": frozenset({"torch.nn.Sigmoid"})}
# Wrappers that run the module they are given, and methods that give back the module they are called on.
_WRAPPERS = frozenset({"DataParallel", "DistributedDataParallel", "DDP", "compile", "deepcopy", "prepare"})
_SAME_MODULE = frozenset("to cuda cpu eval train half float double bfloat16 requires_grad_ apply share_memory".split())
_PARTIAL = "functools.partial"
_DEPTH = 6
_SHAPING = frozenset(
    "view reshape squeeze unsqueeze float double contiguous flatten transpose permute to cpu cuda".split()
)


@dataclass(frozen=True, slots=True)
class LogitLoss:
    """A call of a loss that applies ``link`` (softmax or sigmoid) to its input itself."""

    call: ir.Call
    link: str
    label: str
    logits: ir.Expr
    target: ir.Expr | None


def logit_losses(calls: Calls) -> Iterator[LogitLoss]:
    facts = calls.facts
    for call in facts.calls:
        logits = keyword(call, "input", 0)
        if logits is None:
            continue
        name = facts.qualified(call.func)
        if name in _FUNCTIONS:
            yield LogitLoss(call, _FUNCTIONS[name], facts.source(call.func), logits, keyword(call, "target", 1))
            continue
        made = {_library(leaf, calls) for leaf in objects(call.func, calls)} if name is None else set()
        kind = made.pop() if len(made) == 1 else None
        if kind in _CLASSES:
            yield LogitLoss(call, _CLASSES[kind], kind.removeprefix("torch."), logits, keyword(call, "target", 1))
        elif kind in _FUNCTIONS:
            yield LogitLoss(call, _FUNCTIONS[kind], facts.source(call.func), logits, keyword(call, "target", 1))


def objects(node: ir.Expr, calls: Calls) -> list[ir.Expr | None]:
    """What a module can be, through names, ``.to(device)``, wrappers and indices; None for a way out of sight."""
    found: list[ir.Expr | None] = []
    waiting, seen = [node], set()
    while waiting:
        for leaf in calls.sources(waiting.pop()):
            inner = _same_module(leaf, calls) if leaf is not None else None
            if inner is None:
                found.append(leaf)
            elif inner.nid not in seen:
                seen.add(inner.nid)
                waiting.append(inner)
    return found


def _same_module(leaf: ir.Expr, calls: Calls) -> ir.Expr | None:
    """The module that a call returns or wraps."""
    match leaf:
        case ir.Call(func=ir.Attr(value=inner, attr=attr)) if attr in _SAME_MODULE:
            return inner if calls.facts.qualified(inner) is None else None
        case ir.Call(func=ir.Name(id=last) | ir.Attr(attr=last), args=[first, *_]) if last in _WRAPPERS:
            return first.value
    return None


def _library(leaf: ir.Expr | None, calls: Calls) -> str | None:
    """The library class that an expression constructs, or the function that a ``partial`` of it calls."""
    if not isinstance(leaf, ir.Call):
        return None
    name = calls.facts.qualified(leaf.func)
    return calls.facts.qualified(leaf.args[0].value) if name == _PARTIAL and leaf.args else name


def probability(node: ir.Expr, link: str, calls: Calls, depth: int = 0) -> ir.Expr | None:
    """The softmax (or sigmoid) that a value always is, here or in what a call returns; None if it may be logits."""
    if depth > 6:
        return None
    found: ir.Expr | None = None
    for leaf in calls.sources(node):
        one = _probability(leaf, link, calls, depth) if leaf is not None else None
        if one is None:
            return None
        found = one
    return found


def _probability(leaf: ir.Expr, link: str, calls: Calls, depth: int) -> ir.Expr | None:
    if isinstance(leaf, ir.Subscript):
        return probability(leaf.value, link, calls, depth + 1)
    if not isinstance(leaf, ir.Call):
        return None
    facts = calls.facts
    name = facts.qualified(leaf.func)
    if name is not None:
        return leaf if name in _PROBABILITIES[link] else None
    if isinstance(leaf.func, ir.Attr) and facts.qualified(leaf.func.value) is None:
        if leaf.func.attr == link and not calls.entered(leaf) and not _is_self(leaf.func.value):
            return leaf
        if leaf.func.attr in _SHAPING:
            return probability(leaf.func.value, link, calls, depth + 1)
    if _is_rebound_below(leaf.func, calls):
        return None
    layers = [_last_layer(made, link, calls) for made in objects(leaf.func, calls)]
    if layers and all(layers):
        return leaf
    functions = [*calls.entered(leaf), *_own_forwards(leaf, calls), *_overriding(leaf.func, calls)]
    values = [value for function in functions for value in facts.names.returned(function)]
    inner = [probability(value, link, calls, depth + 1) for value in values]
    return inner[0] if inner and all(i is not None for i in inner) else None


def _own_forwards(call: ir.Call, calls: Calls) -> list[ir.FunctionDef]:
    """The forward that ``self(x)`` runs: of the class around it, and of the classes of this module below it."""
    owner = calls.facts.names.enclosing_class(call)
    if not _is_self(call.func) or owner is None:
        return []
    below = [c for c in calls.facts.names.classes if any(b is owner for b in calls.lineage(c))]
    if any(calls.method(c, "__call__") is not None for c in below):
        return []
    return [m for c in below if (m := calls.method(c, "forward")) is not None]


def _overriding(func: ir.Expr, calls: Calls) -> list[ir.FunctionDef]:
    """The methods by which classes of this module replace the one that ``self.method`` is."""
    if not isinstance(func, ir.Attr):
        return []
    return [m for c in _derived(func, calls) if (m := calls.facts.names.method(c, func.attr)) is not None]


def _is_rebound_below(func: ir.Expr, calls: Calls) -> bool:
    """Return True if a derived class sets the attribute that ``self.layer`` is."""
    if not isinstance(func, ir.Attr):
        return False
    own = calls.facts.names
    targets = [
        node.targets[0]
        for owner in _derived(func, calls)
        for node in ir.walk(owner.body)
        if isinstance(node, ir.Assign)
    ]
    return any(ir.same(target, func) and own.enclosing_function(target) is not None for target in targets)


def _derived(func: ir.Attr, calls: Calls) -> list[ir.ClassDef]:
    """The classes of this module below the class around ``self.name``."""
    owner = calls.facts.names.enclosing_class(func) if _is_self(func.value) else None
    if owner is None:
        return []
    return [c for c in calls.facts.names.classes if c is not owner and any(b is owner for b in calls.lineage(c))]


def _is_self(node: ir.Expr) -> bool:
    return isinstance(node, ir.Name) and node.id == "self"


def _last_layer(made: ir.Expr | None, link: str, calls: Calls, depth: int = 0) -> bool:
    """True if a layer, or the last layer of a ``Sequential``, is the link itself, also where a function makes it."""
    function = calls.facts.names.function_called(made) if isinstance(made, ir.Call) else None
    if function is not None:
        ways = [way for value in calls.facts.names.returned(function) for way in objects(value, calls)]
        return depth <= _DEPTH and bool(ways) and all(_last_layer(way, link, calls, depth + 1) for way in ways)
    name = _library(made, calls)
    if name != "torch.nn.Sequential" or not isinstance(made, ir.Call) or not made.args or depth > _DEPTH:
        return name in _LAYERS[link]
    last = _last_item(made.args[-1], calls)
    layers = objects(last, calls) if last is not None else []
    return bool(layers) and all(_last_layer(layer, link, calls, depth + 1) for layer in layers)


def _last_item(arg: ir.Arg, calls: Calls) -> ir.Expr | None:
    """The last layer that an argument of ``Sequential`` brings: itself, or the end of ``*layers`` or of a dict."""
    if arg.star:
        return _end(arg.value, calls)
    match arg.value:
        case ir.Call(args=[pairs]) if calls.facts.qualified(arg.value.func) == "collections.OrderedDict":
            end = _end(pairs.value, calls)
            return end.items[-1] if isinstance(end, ir.Sequence) and end.items else None
    return arg.value


def _end(sequence: ir.Expr, calls: Calls) -> ir.Expr | None:
    """The last item of a list: of its display, or what is appended last in the block that makes it."""
    if isinstance(sequence, ir.Sequence):
        return sequence.items[-1] if sequence.items else None
    if not isinstance(sequence, ir.Name):
        return None
    names = calls.facts.names
    bound = names.reaching(sequence)
    if not bound or bound[0].how != "value" or bound[0].value is None:
        return None
    statement = names.statement(bound[-1].node)
    if statement is None or names.parent(statement) is not names.parent(bound[0].node):
        return None  # appended on a branch
    if bound[-1].how == "item":
        return bound[-1].value
    return _end(bound[0].value, calls) if len(bound) == 1 else None
