from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import Values, values_of
from fa_lint.findings import Finding, Level
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.rules.common.elsewhere import related_steps
from fa_lint.rules.p7_other_computation._always_present import is_of_shared_part, is_whole
from fa_lint.rules.p7_other_computation._losses_behind import chain, of_different_losses, parameters_of
from fa_lint.rules.p7_other_computation._meetings import Pairs, meetings, places, raises_on_lengths
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["MisalignedGradients"]

_ADVICE = "keep one entry per parameter (`torch.zeros_like(p)` for a missing gradient), or compare by name"


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
    zeros, where both sides are filtered by one set of names, where other lengths or keys raise, where no gradient can be
    missing (`autograd.grad` without `allow_unused`, a shared encoder), and on one loss on two batches.

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
        # Cut or padded to a length, or without what is None.
        occurs(
            b"min(",
            b"minimum(",
            b"pad(",
            b"zeros(",
            b"None",
            b"[:",
            patterns=(
                rb"min(?:imum)?\(",
                rb"pad\(",
                rb"zeros\(",
                rb"grad is (?:not )?None",
                rb"if \w+ is not None\s*[\])]",
                rb"is None:\s*continue",
                rb"is not None:\s*\w[\w.\[\]]*\.append",
                rb"if len\(",
                rb"filter\(",
                rb"\[:(?:len\(|\w+\.(?:numel|size|shape|nelement)|\w*(?:size|len|n)\])",
            ),
        ),
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
        reported: set[tuple[int, frozenset[int]]] = set()
        for (number, nid), pairs in sorted(meetings(facts, values).items()):
            for a, b in pairs:
                found = _cut(a, b, pairs, values) or _filtered(a, b, values)
                if found is None:
                    continue
                for place in places(values.evaluator.frames[number], nid, found.idents, values):
                    # The inner product, the cosine and the distance of two vectors are one mistake.
                    home = facts.names.enclosing_function(place) or facts.module
                    statement = facts.names.statement(place) or place
                    keys = {(home.nid, found.idents), (statement.nid, frozenset[int]())}
                    if keys & reported or raises_on_lengths(place, facts):
                        continue
                    reported |= keys
                    yield self.find(
                        facts,
                        place,
                        f"{found.text}, so that entry i of one is not entry i of the other; {_ADVICE}",
                        computes="the inner product of the gradients of different weights",
                        level=found.level,
                        related=related_steps(values, (*a.evidence[:1], *b.evidence[:1])),
                    )


def _cut(a: t.Vector, b: t.Vector, pairs: Pairs, values: Values) -> _Found | None:
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
    same = parameters_of(a, values) & parameters_of(b, values) and not _wholes([one.base], values) & _wholes(
        [other.base], values
    )
    sure = a.computed and b.computed and not same
    idents = frozenset().union(*(cut.idents for cut in cuts))
    how = "padded with zeros" if padded else "cut"
    text = f"gradients are {how} to a common length before they are compared"
    return _Found(text, Level.ERROR if sure else Level.WARNING, idents)


def _filtered(a: t.Vector, b: t.Vector, values: Values) -> _Found | None:
    """Gradients of two losses towards the same parameters, each without those that are None."""
    if not a.filtered or not b.filtered or a.filtered == b.filtered:
        return None
    towards = parameters_of(a, values)
    if towards != parameters_of(b, values) or not of_different_losses(a, b, values):
        return None
    if is_of_shared_part(towards, values) or (is_whole(a, values) and is_whole(b, values)):
        return None
    text = "gradients of two losses are compared, each without the parameters whose gradient is None"
    return _Found(text, Level.WARNING, frozenset({a.filtered, b.filtered}))


def _length_of(vector: t.Vector, values: Values) -> _Length:
    idents: set[int] = set()
    for ident, key in chain(vector.ident, values):
        idents.add(ident)
        match key:
            case ("element", _, "turn" | "each" | "at", *_) | ("element", _, "index", "value", _) if (
                not vector.computed
            ):
                break  # one of what may be a list of vectors
            case ("element", int() as base, "index", "slice", ((), ("value", int() as size), ())):
                return _Length(base, frozenset(idents), frozenset(values.evaluator.entries.measured(size)), False)
            case ("element", int() as base, "padded", int() as size) if size > 0:
                return _Length(base, frozenset(idents), frozenset(values.evaluator.entries.measured(size)), True)
    return _Length(vector.ident, frozenset(), frozenset(), False)


def _wholes(idents: Iterable[int], values: Values) -> set[int]:
    """Identities, also those of the containers whose elements they are."""
    found = set(map(values.evaluator.members.live, idents))
    for ident in list(found):
        found |= set(t.identities(values.evaluator.variables.over_all(t.Vector(ident))))
    return found
