"""Where an L1 norm is meant: rows of a transition matrix, counts, weights, whose entries sum to 1."""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import values_of
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.slices import slice_of
from fa_lint.semantics.words import words

__all__ = ["has_rows_that_sum", "meets_unit_vectors"]

_SUMMED = frozenset(
    "adj adjacency adjacencies transition transitions markov graph laplacian affinity kernel attn attention score "
    "scores weight weights count counts hist histogram histograms prob probs probability probabilities alpha mixing "
    "gate gates tf bag freq frequency frequencies mask exp relu softplus abs square".split()
)
_COUNTING = frozenset("histc bincount histogram one_hot softmax sigmoid".split())
# In this case only: matrices of graphs and of factorisations.
_MATRICES = frozenset({"A", "P", "T", "W", "H", "K", "S"})
_UNITS = frozenset("norm vector_norm normalize l2norm l2_norm l2normalize l2_normalize cosine_similarity".split())
_SAME = frozenset("t T mT H transpose permute detach flatten float squeeze unsqueeze contiguous".split())


def has_rows_that_sum(value: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True for what is called like a matrix of weights, counts or probabilities, or made positive."""
    return _is_called_so(value) or any(ir.last_name(call.func) in _COUNTING for call in slice_of(value, facts).calls)


def _is_called_so(value: ir.Expr) -> bool:
    name = ""
    while True:
        match value:
            case ir.Call(func=ir.Attr(attr=attr, value=inner)) if attr in _SUMMED | _SAME | {
                "pow",
                "clamp",
                "clamp_min",
            }:
                name, value = name or attr, inner
            case ir.Call(func=func, args=[ir.Arg(value=inner), *_]) if set(words(ir.last_name(func))) & _SUMMED:
                return True
            case ir.Binary(op="+" | "/" | "*", left=left):
                value = left
            case _:
                break
        if name in _SUMMED:
            return True
    return ir.last_name(value) in _MATRICES or bool(set(words(ir.last_name(value))) & _SUMMED)


def meets_unit_vectors(normalised: ir.Call, factor: ir.Expr, product: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True if the other factor of a product is divided by a norm, too, or is the same value."""
    others = [other for other in _factors(product) if not _holds(other, factor)]
    for other in others:
        bare, mine = _bare(other), _bare(factor)
        if ir.same(bare, mine):
            # A power of a square matrix is no table of cosines.
            return not (isinstance(product, ir.Binary) and product.op == "@" and ir.same(other, factor))
        if _is_divided_by_norm(bare, normalised, facts):
            return True
    return False


def _is_divided_by_norm(node: ir.Expr, normalised: ir.Call, facts: ModuleFacts) -> bool:
    for term, _ in values_of(facts).of(node):
        if isinstance(term, t.Monomial) and any(power < 0 for _, power in term.norms):
            return True
    return any(ir.last_name(call.func) in _UNITS for call in slice_of(node, facts).calls if call is not normalised)


def _factors(product: ir.Expr) -> Iterator[ir.Expr]:
    match product:
        case ir.Binary(left=left, right=right):
            yield from (left, right)
        case ir.Call(func=func, args=args):
            if isinstance(func, ir.Attr):
                yield func.value
            yield from (arg.value for arg in args if arg.keyword is None)


def _holds(node: ir.Expr, part: ir.Expr) -> bool:
    return any(inner is part for inner in ir.walk(node))


def _bare(node: ir.Expr) -> ir.Expr:
    while True:
        match node:
            case ir.Attr(attr=attr, value=value) | ir.Call(func=ir.Attr(attr=attr, value=value)) if attr in _SAME:
                node = value
            case _:
                return node
