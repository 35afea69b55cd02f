"""Sign-concordant feedback that ``forward`` writes back over itself."""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.semantics import ir
from fa_lint.semantics.classes import reached
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import FeedbackSite

__all__ = ["sign_write_backs"]


def sign_write_backs(facts: ModuleFacts, site: FeedbackSite) -> Iterator[ir.Node]:
    """The statements of ``forward`` that multiply the feedback by a sign and keep the product as the feedback.

    ``|B| * sign(W)`` may be kept: the magnitude does not hold the old sign.
    """
    owner = facts.node(site.owner_nid)
    assert isinstance(owner, ir.ClassDef)
    for method in reached(facts, owner, "forward", "__call__"):
        for node in ir.walk(method.body):
            match node:
                case ir.Assign(targets=[target], value=value) if _is_the_feedback(target, site):
                    if _multiplies_by_sign(facts, value, site):
                        yield node
                case ir.AugAssign(target=target, op="*", value=value) if _is_the_feedback(target, site):
                    if _has_sign(facts, value):
                        yield node
                case ir.Call(func=ir.Attr(value=holder, attr="mul_"), args=[ir.Arg(value=value)]):
                    if _is_the_feedback(holder, site) and _has_sign(facts, value):
                        yield node


def _is_the_feedback(node: ir.Expr, site: FeedbackSite) -> bool:
    if isinstance(node, ir.Attr) and node.attr == "data":
        node = node.value
    return isinstance(node, ir.Attr) and node.attr == site.name and isinstance(node.value, ir.Name)


def _multiplies_by_sign(facts: ModuleFacts, node: ir.Expr, site: FeedbackSite, depth: int = 0) -> bool:
    if depth > 6:
        return False
    match node:
        case ir.Binary(op="*", left=left, right=right):
            for one, other in ((left, right), (right, left)):
                if _is_bare(facts, one, site) and _has_sign(facts, other):
                    return True
                if _multiplies_by_sign(facts, one, site, depth + 1):
                    return True
        case ir.Call(func=func, args=args):
            name = facts.qualified(func)
            if name in ("torch.mul", "torch.multiply") and len(args) > 1:
                pair = (args[0].value, args[1].value)
                return any(_is_bare(facts, a, site) and _has_sign(facts, b) for a, b in (pair, pair[::-1]))
            if name in ("torch.nn.Parameter", "torch.nn.parameter.Parameter", "torch.clone") and args:
                return _multiplies_by_sign(facts, args[0].value, site, depth + 1)
            if name is None and isinstance(func, ir.Attr) and func.attr in ("detach", "clone", "to", "contiguous"):
                return _multiplies_by_sign(facts, func.value, site, depth + 1)
        case ir.Name():
            values = [b.value for b in facts.names.reaching(node) if b.how == "value" and b.value is not None]
            return any(_multiplies_by_sign(facts, value, site, depth + 1) for value in values)
    return False


def _is_bare(facts: ModuleFacts, node: ir.Expr, site: FeedbackSite) -> bool:
    """The feedback itself, not its absolute value."""
    while True:
        match node:
            case ir.Call(func=ir.Attr(value=inner, attr="detach" | "clone" | "to")):
                node = inner
            case _:
                return _is_the_feedback(node, site)


def _has_sign(facts: ModuleFacts, node: ir.Expr) -> bool:
    for part in ir.walk(node):
        if isinstance(part, ir.Call):
            if facts.qualified(part.func) == "torch.sign":
                return True
            if isinstance(part.func, ir.Attr) and part.func.attr == "sign":
                return True
    return False
