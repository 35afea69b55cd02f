"""Gradients that meet in an inner product, a difference or a distance, and the places that brought them there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.frames import Frame
from fa_lint.analysis.values import Made, Values
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["Pairs", "meetings", "places", "raises_on_lengths"]

# What a function says that cuts, pads or filters.
_CUTS = re.compile(r"\bmin\(|minimum\(|\bpad\(|zeros\(|is not None|is None|:\s*len\(|numel|shape|size")
_PRODUCTS = frozenset("dot vdot inner matmul sum cosine_similarity vecdot".split())
_DISTANCES = frozenset({"mse_loss", "dist", "l1_loss", "pairwise_distance"})
_LENGTH = re.compile(r"\blen\(|numel|shape|size|nelement|\bkeys\(\)|\bset\(|\blist\(|\bsorted\(|names|keys")
_MOST_PLACES = 16
Pairs = list[tuple[t.Vector, t.Vector]]


def meetings(facts: ModuleFacts, values: Values) -> dict[tuple[int, int], Pairs]:
    """The pairs of gradients that meet in an inner product, a difference or a distance, by frame and node."""
    found: dict[tuple[int, int], Pairs] = {}

    def add(frame: Frame, node: ir.Node, pairs: Iterable[tuple[t.Vector, t.Vector]]) -> None:
        kept = [(a, b) for a, b in pairs if a.role.is_gradient and b.role.is_gradient and a.ident != b.ident]
        found.setdefault((frame.number, node.nid), []).extend(kept)

    for made in values.made():
        if isinstance(made.term, t.Monomial) and _is_taken_here(made):
            add(made.frame, made.node, made.term.dots)
    cutting: dict[int, bool] = {}
    for node in facts.nodes_of(ir.Call, ir.Binary):
        sides: list[ir.Expr] = []
        match node:
            case ir.Call(func=ir.Name(id=name) | ir.Attr(attr=name), args=args) if name in _DISTANCES:
                sides = [arg.value for arg in args[:2]]
            case ir.Call(func=ir.Name(id=name) | ir.Attr(attr=name)) if name in _PRODUCTS:
                pass
            case ir.Binary(op="-", left=left, right=right):
                sides = [left, right]
            case ir.Binary(op="@"):
                pass
            case _:
                continue
        home = facts.names.enclosing_function(node) or facts.module
        if home.nid not in cutting:
            cutting[home.nid] = _CUTS.search(facts.text, *facts.span(home)) is not None
        frame = values.home(node)
        if not cutting[home.nid] or (frame.number, node.nid) in found:
            continue
        if len(sides) == 2:
            both = t.both(values.of(sides[0]), values.of(sides[1]))
            add(frame, node, [(a, b) for a, b, _ in both if isinstance(a, t.Vector) and isinstance(b, t.Vector)])
        elif isinstance(node, ir.Expr):
            for term, _ in values.of(node):
                add(frame, node, term.dots if isinstance(term, t.Monomial) else ())
    return found


def _is_taken_here(made: Made) -> bool:
    """Return True for an inner product of the function itself, not of one that it calls."""
    names, site = made.module.facts.names, made.term.dot_site if isinstance(made.term, t.Monomial) else None
    if site is None or site.module != made.module.number:
        return site is None
    return names.enclosing_function(made.module.facts.node(site.node)) is names.enclosing_function(made.node)


def places(frame: Frame, nid: int, idents: frozenset[int], values: Values) -> Iterator[ir.Node]:
    """The comparison, or the calls that bring vectors which are misaligned already."""
    waiting = [(frame, t.Site(frame.module.number, nid))]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_PLACES:
        here, site = waiting.pop()
        seen.add(here.number)
        brought = here.calls and any(_holds(held, idents, values) for held in here.parameters.values())
        if brought:
            waiting += [(caller, call) for call, caller in here.calls if caller.number not in seen]
        elif site.module == values.module.number:
            yield values.module.facts.node(site.node)


def _holds(held: t.Alternatives, idents: frozenset[int], values: Values, depth: int = 0) -> bool:
    live = values.evaluator.members.live
    for term, _ in held if depth < 3 else ():
        match term:
            case t.Vector() if live(term.ident) in idents or term.filtered in idents:
                return True
            case t.Monomial(vectors=vectors) if any(live(v.ident) in idents or v.filtered in idents for v in vectors):
                return True
            case t.Sequence() | t.Mapping():
                parts = term.items or () if isinstance(term, t.Sequence) else [item for _, item in term.items]
                if term.filtered in idents or any(_holds(p, idents, values, depth + 1) for p in (term.element, *parts)):
                    return True
    return False


def raises_on_lengths(node: ir.Node, facts: ModuleFacts) -> bool:
    """Return True in a function that stops where two lengths, or two sets of names, differ."""
    home = facts.names.enclosing_function(node)
    for part in ir.walk(home.body) if home is not None else ():
        match part:
            case ir.Assert() | ir.If() if isinstance(part, ir.Assert) or _leaves(part.body):
                test = part.test
                for compare in ir.walk(test):
                    if isinstance(compare, ir.Compare) and compare.ops in (["=="], ["!="]):
                        if all(_LENGTH.search(facts.source(s)) for s in (compare.left, *compare.comparators)):
                            return True
    return False


def _leaves(block: ir.Block) -> bool:
    match block.body:
        case [*_, ir.Return() | ir.Raise() | ir.Simple(kind="continue")]:
            return True
    return False
