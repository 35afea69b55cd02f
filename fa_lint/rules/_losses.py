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
        made = [_built(leaf, calls) for leaf in calls.sources(call.func)] if name is None else []
        if made and made[0] in _CLASSES and all(m == made[0] for m in made):
            label = (made[0] or "").removeprefix("torch.")
            yield LogitLoss(call, _CLASSES[made[0] or ""], label, logits, keyword(call, "target", 1))


def _built(leaf: ir.Expr | None, calls: Calls) -> str | None:
    """The library class that an expression constructs, through ``.to(device)`` and the like."""
    while isinstance(leaf, ir.Call) and isinstance(leaf.func, ir.Attr) and leaf.func.attr in _SHAPING:
        leaf = leaf.func.value
    return calls.facts.qualified(leaf.func) if isinstance(leaf, ir.Call) else None


def probability(node: ir.Expr, link: str, calls: Calls, depth: int = 0) -> ir.Expr | None:
    """The softmax (or sigmoid) that a value always is, here or in what a call gives back; None if it may be logits."""
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
    layers = [_last_layer(made, link, calls) for made in calls.sources(leaf.func)]
    if layers and all(layers):
        return leaf
    values = [value for function in calls.entered(leaf) for value in facts.names.returned(function)]
    inner = [probability(value, link, calls, depth + 1) for value in values]
    return inner[0] if inner and all(i is not None for i in inner) else None


def _is_self(node: ir.Expr) -> bool:
    return isinstance(node, ir.Name) and node.id == "self"


def _last_layer(made: ir.Expr | None, link: str, calls: Calls) -> bool:
    """Is a layer, or the last layer of a ``Sequential``, the link itself?"""
    name = _built(made, calls)
    if name == "torch.nn.Sequential" and isinstance(made, ir.Call) and made.args and not made.args[-1].star:
        return _last_layer(made.args[-1].value, link, calls)
    return name in _LAYERS[link]


# -- the second gate --------------------------------------------------------------------------------------------------
