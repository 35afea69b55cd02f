"""The same call of the same values, where one value is an explicit copy of the other."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.aliases import aliases
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.words import words

__all__ = ["congruent"]

# What such a function is called may give another result each time.
_MOVING = frozenset(
    "random rand randn sample samples sampled noise noisy perturb perturbed draw shuffle augment drop dropout init "
    "initialize train fit step update run simulate generate estimate model forward backward grad grads gradient "
    "gradients get load next build make create".split()
)


def congruent(left: ir.Expr, right: ir.Expr, facts: ModuleFacts) -> tuple[ir.Call, ir.Call] | None:
    """Two names bound by calls of one function whose arguments have the same values, one of them by a copy.

    Weak: the function may be stateful. Two calls without a copy in sight are two samples more often than a mistake.
    """
    one, two = _call(left, facts), _call(right, facts)
    if one is None or two is None or one is two or not ir.same(one.func, two.func) or len(one.args) != len(two.args):
        return None
    name = one.func.id if isinstance(one.func, ir.Name) else one.func.attr if isinstance(one.func, ir.Attr) else ""
    if not name or set(words(name)) & _MOVING or (isinstance(one.func, ir.Attr) and facts.qualified(one.func) is None):
        return None
    known = aliases(facts)
    copied = False
    first, last = sorted((one, two), key=lambda call: call.nid)
    for a, b in zip(first.args, last.args, strict=True):
        if a.star or b.star or a.keyword != b.keyword:
            return None
        if isinstance(a.value, ir.Const) and ir.same(a.value, b.value):
            continue
        same = known.same(a.value, b.value, last)
        if same is None:
            return None
        copied = copied or same.kind == "copy"
    return (first, last) if copied else None


def _call(node: ir.Expr, facts: ModuleFacts) -> ir.Call | None:
    if not isinstance(node, ir.Name):
        return None
    bound = [b for b in facts.names.reaching(node) if b.how != "item"]
    if len(bound) != 1 or bound[0].how != "value" or not isinstance(bound[0].value, ir.Call):
        return None
    return bound[0].value
