from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fa_lint.analysis import terms as t
from fa_lint.analysis.frames import Frame
from fa_lint.analysis.values import Made, Values, values_of
from fa_lint.findings import Finding, Level
from fa_lint.rules._elsewhere import related_steps
from fa_lint.rules._losses_behind import chain, of_different_losses, parameters_of
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["MisalignedGradients"]

_CUTS = re.compile(r"\bmin\(|minimum\(|\bpad\(|zeros\(|is not None|is None|:\s*len\(|numel|shape|size")
_PRODUCTS = frozenset("dot vdot inner matmul sum cosine_similarity vecdot".split())
_DISTANCES = frozenset({"mse_loss", "dist", "l1_loss", "pairwise_distance"})
_ADVICE = "keep one entry per parameter (`torch.zeros_like(p)` for a missing gradient), or compare by name"
_MOST_PLACES = 16
_LENGTH = re.compile(r"\blen\(|numel|shape|size|nelement")
_Pairs = list[tuple[t.Vector, t.Vector]]


@dataclass(frozen=True, slots=True)
class _Length:
    """What a vector was before it was cut or padded, by the lengths of which values, and the identities up to there."""

    base: int
    idents: frozenset[int]
    by: frozenset[int]
    padded: bool


@dataclass(frozen=True, slots=True)
class _Found:
    text: str
    level: Level
    idents: frozenset[int]


class MisalignedGradients(Rule):
    """
    ## What it does
    Flags gradient vectors that are cut (or padded with zeros) to a common length before they are compared, and gradients of two
    losses that are each collected without the parameters whose gradient is `None`. Silent where a missing gradient becomes
    zeros, where both sides are filtered by one set of names, where other lengths raise, and on one loss on two batches.

    ## Why is this bad
    Entry i of one vector belongs to another weight than entry i of the other. Measured on two losses with a head of their own
    each and a common body, without the gradients that are `None`: the cosine is 0.64 to 0.79 in 8 draws, because the two heads,
    which no loss shares, lie on one another; with zeros in their place it is -0.05 to 0.05. Cut to the shorter length,
    vectors of heads of different sizes have cosines of 0.27 to 0.34 instead of -0.05 to 0.03.

    ## Example
    ```python
    import torch

    def agreement(model, loss_a, loss_b):
        a = torch.cat([g.flatten() for g in torch.autograd.grad(loss_a, list(model.a.parameters()), retain_graph=True)])
        b = torch.cat([g.flatten() for g in torch.autograd.grad(loss_b, list(model.b.parameters()))])
        n = min(len(a), len(b))
        return torch.dot(a[:n], b[:n]) / (a[:n].norm() * b[:n].norm())
    ```

    ## Use instead
    ```python
    import torch
    from fa_lint_runtime import safe_cosine

    def flat(loss, params):
        grads = torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(params, grads)])

    def agreement(model, loss_a, loss_b):
        params = list(model.parameters())
        return safe_cosine(flat(loss_a, params), flat(loss_b, params), dim=0)
    ```

    ## Fix safety
    No fix: which parameters belong to the comparison is the author's to say.

    ## References
    - [torch.autograd.grad](https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad.html): `allow_unused`, `materialize_grads`
    """

    code = "FAL409"
    name = "misaligned-gradients"
    summary = "gradient vectors compared whose entries belong to different parameters"
    level = Level.ERROR
    pitfall = "P7"
    runtime = "fa_lint_runtime.safe_cosine"
    gate = (
        occurs(b"min(", b"minimum(", b"pad(", b"zeros(", b"is not None", b"is None", b"[:", b"if len("),
        occurs(b"grad", b"credit", b"costate"),
    )

    demonstration = Demonstration(
        setup="import torch\ntorch.manual_seed(0)\nfrom torch.nn import Linear\n"
        "body, one, two = Linear(20, 64), Linear(64, 1), Linear(64, 1)\nx = torch.randn(256, 20)\n"
        "params = [*one.parameters(), *two.parameters(), *body.parameters()]\nh = torch.tanh(body(x))\n"
        "losses = [(head(h) - x[:, :1]).square().mean() for head in (one, two)]\n"
        "grads = [torch.autograd.grad(l, params, retain_graph=True, allow_unused=True) for l in losses]\n"
        "def cos(u, v): return torch.dot(u, v) / (u.norm() * v.norm())\n"
        "def flat(grads): return torch.cat([g.flatten() for g in grads if g is not None])\n"
        "def full(grads): return flat([torch.zeros_like(p) if g is None else g for p, g in zip(params, grads)])",
        before="cos(flat(grads[0]), flat(grads[1]))",
        after="cos(full(grads[0]), full(grads[1]))",
        claim="before > 0.6 and abs(after) < 0.02",
    )

    VALID = (
        "import torch\ndef f(x, y):\n    n = min(len(x), len(y))\n    return torch.dot(x[:n], y[:n]) / (x[:n].norm() * y[:n].norm())",
        "import torch\ndef f(ga, gb):\n    if len(ga) != len(gb):\n        raise ValueError\n    n = min(len(ga), len(gb))\n"
        "    return torch.dot(ga[:n], gb[:n])",
        "import torch\ndef flat(model):\n    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten()\n"
        "                      for p in model.parameters()])\ndef f(model, la, lb):\n    la.backward()\n    a = flat(model)\n"
        "    model.zero_grad()\n    lb.backward()\n    return torch.dot(a, flat(model))",
        "import torch\ndef f(model, loss_fn, batches):\n    rows = []\n    for x, y in batches:\n        model.zero_grad()\n"
        "        loss_fn(model(x), y).backward()\n"
        "        rows.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))\n"
        "    return torch.dot(rows[0], rows[1])",
        "import torch\ndef f(ga, gb):\n    a = torch.cat([x.flatten() for x, y in zip(ga, gb) if x is not None])\n"
        "    b = torch.cat([y.flatten() for x, y in zip(ga, gb) if x is not None])\n    return torch.dot(a, b)",
    )
    INVALID = (
        Invalid(
            """
            import torch
            def f(la, lb, one, two):
                a = torch.autograd.grad(la, one)[0].flatten()
                b = torch.autograd.grad(lb, two)[0].flatten()
                n = min(a.numel(), b.numel())
                return torch.nn.functional.cosine_similarity(a[:n], b[:n], dim=0)
            """,
            lines=(6,),
        ),
        Invalid(
            """
            import torch
            def flat(loss, params):
                grads = torch.autograd.grad(loss, params, allow_unused=True)
                return torch.cat([g.flatten() for g in grads if g is not None])
            def f(model, loss_a, loss_b):
                params = list(model.parameters())
                a, b = flat(loss_a, params), flat(loss_b, params)
                return torch.dot(a, b) / (a.norm() * b.norm())
            """,
            lines=(8,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        values = values_of(facts)
        reported: set[int] = set()
        for (number, nid), pairs in _compared(facts, values).items():
            frame = values.evaluator.frames[number]
            for a, b in pairs:
                found = _cut(a, b, pairs, values) or _filtered(a, b, values)
                for place in _places(frame, nid, found, values) if found else ():
                    statement = facts.names.statement(place) or place
                    if statement.nid not in reported and not _raises(place, facts):
                        reported.add(statement.nid)
                        yield self.find(
                            facts,
                            place,
                            f"{found.text}, so that entry i of one is not entry i of the other; {_ADVICE}",
                            computes="the inner product of the gradients of different weights",
                            level=found.level,
                            related=related_steps(values, (*a.evidence[:1], *b.evidence[:1])),
                        )


def _compared(facts: ModuleFacts, values: Values) -> dict[tuple[int, int], _Pairs]:
    """The pairs of gradients that meet in an inner product, a difference or a distance, by frame and node."""
    found: dict[tuple[int, int], _Pairs] = {}

    def add(frame: Frame, node: ir.Node, pairs: Iterable[tuple[t.Vector, t.Vector]]) -> None:
        kept = [(a, b) for a, b in pairs if a.role.is_gradient and b.role.is_gradient and a.ident != b.ident]
        found.setdefault((frame.number, node.nid), []).extend(kept)

    for made in values.made():
        if isinstance(made.term, t.Monomial) and _is_taken_here(made):
            add(made.frame, made.node, made.term.dots)
    cutting: dict[int, bool] = {}
    for node in facts.nodes():
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
        frame = values.frame(node)
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


def _cut(a: t.Vector, b: t.Vector, pairs: _Pairs, values: Values) -> _Found | None:
    """Two gradients of which one or both were brought to the length of the shorter or the longer one."""
    one, other = _length_of(a, values), _length_of(b, values)
    cuts = [cut for cut in (one, other) if cut.by]
    bases = _wholes([one.base, other.base], values)
    if one.base == other.base or not any(_wholes(cut.by, values) & bases for cut in cuts):
        return None
    padded = any(cut.padded for cut in cuts)
    common = len(cuts) == 2 and all(len(cut.by) > 1 for cut in cuts)
    if not padded and not common:
        # Cut to the length of the other one: a defect on the branch where it is longer, else a part of a vector.
        states = {
            (bool(x.by), bool(y.by))
            for x, y in ((_length_of(v, values), _length_of(w, values)) for v, w in pairs)
            if {x.base, y.base} == {one.base, other.base}
        }
        if len(cuts) == 2 or len(states) < 2:
            return None
    same = parameters_of(a, values)
    sure = a.computed and b.computed and not (same and same == parameters_of(b, values))
    idents = frozenset().union(*(cut.idents for cut in cuts))
    how = "padded with zeros" if padded else "cut"
    text = f"gradients are {how} to a common length before they are compared"
    return _Found(text, Level.ERROR if sure else Level.WARNING, idents)


def _filtered(a: t.Vector, b: t.Vector, values: Values) -> _Found | None:
    """Gradients of two losses towards the same parameters, each without those that are None."""
    if not a.filtered or not b.filtered or a.filtered == b.filtered:
        return None
    if parameters_of(a, values) != parameters_of(b, values) or not of_different_losses(a, b, values):
        return None
    text = "gradients of two losses are compared, each without the parameters whose gradient is None"
    return _Found(text, Level.WARNING, frozenset({a.filtered, b.filtered}))


def _length_of(vector: t.Vector, values: Values) -> _Length:
    idents: set[int] = set()
    for ident, key in chain(vector.ident, values):
        idents.add(ident)
        match key:
            case ("element", int() as base, "index", "slice", ((), ("value", int() as size), ())):
                return _Length(base, frozenset(idents), frozenset(values.evaluator.entries.measured(size)), False)
            case ("element", int() as base, "padded", int() as size) if size > 0:
                return _Length(base, frozenset(idents), frozenset(values.evaluator.entries.measured(size)), True)
    return _Length(vector.ident, frozenset(), frozenset(), False)


def _wholes(idents: Iterable[int], values: Values) -> set[int]:
    """Identities, also those of the containers whose elements they are."""
    found = set(idents)
    for ident in list(found):
        found |= set(t.identities(values.evaluator.variables.over_all(t.Vector(ident))))
    return found


def _places(frame: Frame, nid: int, found: _Found, values: Values) -> Iterator[ir.Node]:
    """The comparison, or the calls that bring vectors which are misaligned already."""
    waiting, seen = [(frame, t.Site(frame.module.number, nid))], set()
    while waiting and len(seen) < _MOST_PLACES:
        here, site = waiting.pop()
        seen.add(here.number)
        brought = here.calls and any(_holds(held, found.idents, 0) for held in here.parameters.values())
        if brought:
            waiting += [(caller, call) for call, caller in here.calls if caller.number not in seen]
        elif site.module == values.module.number:
            yield values.module.facts.node(site.node)


def _holds(held: t.Alternatives, idents: frozenset[int], depth: int) -> bool:
    for term, _ in held if depth < 3 else ():
        match term:
            case t.Vector() if term.ident in idents or term.filtered in idents:
                return True
            case t.Monomial(vectors=vectors) if any(v.ident in idents or v.filtered in idents for v in vectors):
                return True
            case t.Sequence() | t.Mapping():
                parts = term.items or () if isinstance(term, t.Sequence) else [item for _, item in term.items]
                if term.filtered in idents or any(_holds(p, idents, depth + 1) for p in (term.element, *parts)):
                    return True
    return False


def _raises(node: ir.Node, facts: ModuleFacts) -> bool:
    """Return True in a function that raises where two lengths differ."""
    home = facts.names.enclosing_function(node)
    for part in ir.walk(home.body) if home is not None else ():
        match part:
            case ir.Assert(test=test) | ir.If(test=test, body=ir.Block(body=[*_, ir.Raise()])):
                for compare in ir.walk(test):
                    if isinstance(compare, ir.Compare) and compare.ops in (["=="], ["!="]):
                        if all(_LENGTH.search(facts.source(s)) for s in (compare.left, *compare.comparators)):
                            return True
    return False
