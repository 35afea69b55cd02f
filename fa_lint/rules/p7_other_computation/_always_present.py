"""Gradients that are never None: what a filter for None leaves whole."""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import Values
from fa_lint.rules.p7_other_computation._losses_behind import chain
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.words import words

__all__ = ["is_of_shared_part", "is_whole"]

# What every loss of a network goes through.
_SHARED = frozenset(
    "encoder backbone body trunk shared base features feature stem extractor common embedding embed embedder core "
    "torso tower".split()
)
_APART = frozenset("head heads classifier classifiers task tasks decoder decoders output outputs".split())
_MODELS = frozenset("model net network".split())
_WHOLE = _MODELS | {"module"}


def is_whole(vector: t.Vector, values: Values) -> bool:
    """Return True for gradients of which none can be None, or of which a missing one changes the length for good."""
    for _, key in chain(vector.filtered or vector.ident, values):
        match key:
            case ("node", int() as number, int() as nid, *_):
                facts = values.evaluator.frames[number].module.facts
                return _raises_on_unused(facts.node(nid), facts)
            case ("attribute", _, "grad", *_):
                return _keeps_gradients(vector, values)
    return False


def _raises_on_unused(node: ir.Node, facts: ModuleFacts) -> bool:
    """``torch.autograd.grad`` without ``allow_unused`` raises where a gradient is missing."""
    if not isinstance(node, ir.Call) or facts.qualified(node.func) != "torch.autograd.grad":
        return False
    if any(arg.star or arg.keyword is None for arg in node.args[5:]) or any(arg.star for arg in node.args):
        return False
    given = {arg.keyword: facts.values.constant(arg.value) for arg in node.args}
    return given.get("allow_unused", False) is False or given.get("materialize_grads") is True


def _keeps_gradients(vector: t.Vector, values: Values) -> bool:
    """Return True where gradients are always reset to zeros: a second loss then has all entries of the first one.

    Vectors of other lengths raise where they meet.
    """
    facts = values.module.facts
    resets = [node for node in facts.nodes_of(ir.Call, ir.Assign) if _is_reset(node)]
    sites = [step.site.node for step in vector.evidence[:1] if step.site.module == values.module.number]
    home = facts.names.enclosing_function(facts.node(sites[0])) if sites else None
    here = [node for node in resets if facts.names.enclosing_function(node) is home]
    return bool(resets) and all(_fills_with_zeros(node, facts) for node in here or resets)


def _is_reset(node: ir.Node) -> bool:
    match node:
        case ir.Call(func=ir.Attr(attr="zero_grad")) | ir.Assign(targets=[ir.Attr(attr="grad")]):
            return True
    return False


def _fills_with_zeros(node: ir.Node, facts: ModuleFacts) -> bool:
    if not isinstance(node, ir.Call):
        return False
    return any(arg.keyword in ("set_to_none", None) and facts.values.constant(arg.value) is False for arg in node.args)


def is_of_shared_part(idents: frozenset[int], values: Values) -> bool:
    """Return True for the parameters of a part of a network that is named as what every loss goes through."""
    return any(_is_shared(key, values) for ident in idents for key in _keys(ident, values))


def _keys(ident: int, values: Values) -> Iterator[tuple[object, ...]]:
    for _, key in chain(ident, values):
        yield key


def _is_shared(key: tuple[object, ...], values: Values) -> bool:
    match key:
        case ("parameters of", int() as owner):
            return _is_named_shared(owner, values)
        case ("comprehension", int() as number, int() as nid, *_):
            node = values.evaluator.frames[number].module.facts.node(nid)
            return isinstance(node, ir.Comprehension) and any(map(_selects_shared, node.clause.conditions))
    return False


def _is_named_shared(owner: int, values: Values) -> bool:
    match values.evaluator.identities.key(values.evaluator.members.live(owner)):
        case ("attribute", int() as base, str() as attr, *_):
            said = set(words(attr))
            of_model = set(words(_name(base, values))) & _MODELS
            return bool(said & _SHARED or (of_model and not said & _WHOLE))
    return bool(set(words(_name(owner, values))) & _SHARED)


def _name(ident: int, values: Values) -> str:
    """Return what a value is called where it is a parameter or an attribute."""
    match values.evaluator.identities.key(values.evaluator.members.live(ident)):
        case ("argument", int() as number, int() as nid, *_):
            param = values.evaluator.frames[number].module.facts.node(nid)
            return param.name if isinstance(param, ir.Param) else ""
        case ("attribute", _, str() as attr, *_):
            return attr
    return ""


def _selects_shared(test: ir.Expr) -> bool:
    """``"head" not in name`` and ``"encoder" in name``."""
    match test:
        case ir.Compare(left=ir.Const(value=str() as part), ops=["not in" | "in" as op]):
            return bool(set(words(part)) & (_APART if op == "not in" else _SHARED))
        case ir.Unary(op="not", operand=ir.Call(func=ir.Attr(attr="startswith"), args=[ir.Arg(value=part)])):
            return isinstance(part, ir.Const) and bool(set(words(str(part.value))) & _APART)
        case ir.Call(func=ir.Attr(attr="startswith"), args=[ir.Arg(value=ir.Const(value=str() as part))]):
            return bool(set(words(part)) & _SHARED)
    return False
