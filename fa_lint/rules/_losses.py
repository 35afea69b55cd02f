"""Losses that take logits: where they are called, with what, and whether that is already a probability."""

from __future__ import annotations

import ast
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.astwalk import last_name
from fa_lint.gate import Outline
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.gradients import keyword

__all__ = ["LogitLoss", "logit_losses", "may_mismatch", "probability"]

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
_LOSS_NAMES = frozenset({"cross_entropy", "binary_cross_entropy_with_logits", "CrossEntropyLoss", "BCEWithLogitsLoss"})
_SOFT_NAMES = frozenset({"softmax", "Softmax", "Softmax2d", "sigmoid", "Sigmoid", "expit"})


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

_BINDING = (ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.FunctionDef, ast.ClassDef, ast.Call, ast.alias)


def may_mismatch(outline: Outline) -> bool:
    """Is a loss given what is named like a softmax somewhere, or is its input an operand of a difference?"""
    losses, soft = set(_LOSS_NAMES), set(_SOFT_NAMES)
    pairs = [*_returned(outline), *(pair for node in outline.every(*_BINDING) for pair in _pairs(node))]
    for _ in range(8):
        before = len(losses) + len(soft)
        for target, source in pairs:
            if source in losses:
                losses.add(target)
            if source in soft:
                soft.add(target)
        if len(losses) + len(soft) == before:
            break
    inputs = {
        name
        for call in outline.every(ast.Call)
        if not losses.isdisjoint(_peel(call.func))
        for arg in [*call.args[:1], *(k.value for k in call.keywords if k.arg == "input")]
        for name in _peel(arg)
    }
    if inputs & soft:
        return True
    differences = (node.left for node in outline.every(ast.BinOp) if isinstance(node.op, ast.Sub)) if inputs else ()
    return any(last_name(part) in inputs for left in differences for part in ast.walk(left))


def _peel(node: ast.AST) -> list[str]:
    """The names that a value can be known by: itself, or the function that gives it."""
    found: list[str] = []
    stack = [node]
    while stack:
        match stack.pop():
            case ast.Subscript(value=value) | ast.Starred(value=value) | ast.NamedExpr(value=value):
                stack.append(value)
            case ast.IfExp(body=body, orelse=orelse):
                stack += [body, orelse]
            case ast.Call(func=func, args=args):
                found.append(last_name(func))
                stack += args[-1:]
                stack += args[:1]
                if isinstance(func, ast.Attribute):
                    stack.append(func.value)
                elif isinstance(func, ast.Call):
                    stack.append(func)
            case ast.Name() | ast.Attribute() as name:
                found.append(last_name(name))
    return found


def _returned(outline: Outline) -> Iterator[tuple[str, str]]:
    """(function, what it returns), what the functions inside it return included."""
    returns = sorted(outline.every(ast.Return), key=lambda node: node.lineno)
    rows = [node.lineno for node in returns]
    for function in outline.every(ast.FunctionDef):
        first = bisect_left(rows, function.lineno)
        last = bisect_right(rows, function.end_lineno or function.lineno)
        for node in returns[first:last]:
            if node.value is not None:
                yield from ((function.name, source) for source in _peel(node.value))


def _pairs(node: ast.AST) -> list[tuple[str, str]]:
    """(name, what it is bound to) for assignments, parameters and arguments."""
    match node:
        case ast.Assign(targets=targets, value=value):
            return [(last_name(t), s) for target in targets for t in ast.walk(target) for s in _peel(value)]
        case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
            return [(last_name(target), s) for s in _peel(value)]
        case ast.FunctionDef(name=name):
            params = [a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
            return [(param, f"{name}()") for param in params]
        case ast.ClassDef(name=name, body=body):
            methods = {m.name for m in body if isinstance(m, ast.FunctionDef)} & {"forward", "__call__"}
            bases = [last_name(base) for base in node.bases]
            return [(name, method) for method in methods] + [(name, base) for base in bases]
        case ast.Call(func=func, args=args, keywords=keywords):
            given = [*args, *(k.value for k in keywords)]
            return [(f"{last_name(func)}()", s) for arg in given for s in _peel(arg)]
        case ast.alias(name=name, asname=str() as local):
            return [(local, name.rpartition(".")[2])]
    return []
