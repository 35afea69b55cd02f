"""Floors under cosines, projections and unit vectors of gradients, and the fix that takes them away."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.analysis import terms as t
from fa_lint.analysis.frames import Frame
from fa_lint.analysis.guards import is_guarded
from fa_lint.analysis.program import Module
from fa_lint.analysis.values import Made, Values, values_of
from fa_lint.findings import Applicability, Edit, Finding, Fix, Level
from fa_lint.rules.base import Rule
from fa_lint.rules.common.elsewhere import at_calls, related_steps
from fa_lint.rules.common.products import division, read_denominator
from fa_lint.rules.p2_floors._cosines import runtime_fix, tiny
from fa_lint.rules.p2_floors._quotients import read_quotient
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.slices import slice_of

__all__ = ["floored_quotients"]

# Below this a floor is out of reach of float32 gradients: no network in the literature reports norms under 1e-11.
_HARMLESS = 5e-12
_NORMALIZE_EPS = 1e-12


@dataclass(slots=True)
class _Quotient:
    """One quotient with what was found under it, from every function that calls it."""

    made: Made
    module: Module
    node: ir.Node
    floor: t.Floor
    vector: t.Vector
    what: str

    @property
    def facts(self) -> ModuleFacts:
        return self.module.facts

    @property
    def place(self) -> ir.Node:
        return self.node.value if isinstance(self.node, ir.AugAssign) else self.node

    def is_guarded(self, values: Values) -> bool:
        made = self.made
        # A unit vector that a helper makes is checked where its product is taken.
        inside = values.evaluator.home(self.module, self.node).node is made.frame.node
        place = self.place if inside else made.node
        return isinstance(place, ir.Expr) and is_guarded(values, made.frame, place, (place,), self.floor.bites or 1e-8)


def floored_quotients(facts: ModuleFacts, rule: Rule) -> Iterator[Finding]:
    """The hand-written quotients of gradients whose denominator has a floor, each statement once.

    Those of functions of other files are reported there and at the calls that bring the gradient.
    """
    values = values_of(facts)
    found: dict[tuple[int, int], list[_Quotient]] = {}
    for made in values.made():
        for quotient in _quotients(made, values):
            if quotient.is_guarded(values):
                continue
            statement = quotient.facts.names.statement(quotient.node)
            place = statement.nid if statement is not None else quotient.node.nid
            found.setdefault((quotient.module.number, place), []).append(quotient)
    for (module, _), quotients in sorted(found.items(), key=lambda item: item[0]):
        best = min(quotients, key=lambda q: (not q.vector.computed, q.node.nid))
        finding = _finding(best, values, rule)
        if finding is None:
            continue
        if module == values.module.number:
            yield finding
        else:
            reasons = [(frame, q.vector) for q in quotients for frame in _entered(q, values)]
            what = "a helper whose cosine has a floor"
            yield from at_calls(finding, best.module, reasons, values, what, "use `safe_cosine`")


def _entered(quotient: _Quotient, values: Values) -> list[Frame]:
    """Return the frames of the function with the quotient that the vector has come into."""
    home = values.evaluator.home(quotient.module, quotient.node).node
    if quotient.made.frame.node is home:
        return [quotient.made.frame]
    return [frame for frame in values.evaluator.frames if frame.node is home and frame.calls]


def _quotients(made: Made, values: Values) -> Iterator[_Quotient]:
    term = made.term
    if not isinstance(term, t.Monomial) or not (term.is_cosine or term.is_projection or term.is_component):
        return
    if term.label == t.SQUARE:
        return  # the squared norm of a unit vector
    for floor in term.floors_below:
        if floor.kind == "library" or floor.quotient is None:
            continue
        # An eps of unknown value is surely felt only where it is added to the norms.
        if floor.bites is None and floor.kind != "add":
            continue
        harmless = _NORMALIZE_EPS / 2 if floor.kind == "normalize" else _HARMLESS
        if floor.bites is not None and floor.bites <= harmless:
            continue
        gradients = [v for v in floor.on if v.role.is_gradient]
        if gradients:
            vector = max(gradients, key=lambda v: v.computed)
            module = values.program.modules[floor.quotient.module]
            node = module.facts.node(floor.quotient.node)
            what = "projection" if term.is_projection else "norm" if len(floor.on) == 1 else "cosine"
            yield _Quotient(made, module, node, floor, vector, what)


def _finding(quotient: _Quotient, values: Values, rule: Rule) -> Finding | None:
    node, floor, vector, facts = quotient.node, quotient.floor, quotient.vector, quotient.facts
    place = quotient.place
    if not isinstance(place, ir.Expr):
        return None
    kind, said = vector.role.value, "" if vector.computed else "what is named like "
    related = related_steps(values, vector.evidence)
    if floor.kind == "normalize":
        if not vector.computed:
            return None
        return Finding(
            rule.code,
            *facts.span(node),
            f"`F.normalize` of a {kind} before a product: norms below {floor.size:g} are not normalised; "
            "use `safe_cosine` or `safe_unit`",
            Level.HINT,
            "the cosine times min(1, ‖g‖/1e-12)",
            None,
            related,
        )
    size = "eps" if floor.size is None else f"{floor.size:g}"
    return Finding(
        rule.code,
        *facts.span(node),
        f"floor `{size}` under a {quotient.what} of {said}a {kind}: {_effect(quotient)}; use `safe_cosine`",
        Level.ERROR if vector.computed and floor.size is not None else Level.WARNING,
        _computes(quotient),
        _fix(place, facts),
        related,
        _smallest_floor(place, facts),
    )


def _effect(quotient: _Quotient) -> str:
    floor, what = quotient.floor, _divided(quotient)
    if floor.bites is None or floor.size is None:
        return f"{what} shrinks once the norms come near it"
    if floor.kind == "clamp":
        return f"{what} shrinks below norms of {floor.bites:.0e}"
    degree = _degree(floor)
    # √(x + ε) is twice √x where ε is 3x.
    half = floor.bites / 3 ** (1 / degree) if _in_root(quotient) else floor.bites
    return f"halves {what} at norms of {half:.0e}"


def _divided(quotient: _Quotient) -> str:
    return "what is divided by it" if quotient.what == "norm" else f"the {quotient.what}"


def _degree(floor: t.Floor) -> int:
    """Return how many norms are multiplied over the floor, a square as two."""
    assert floor.size is not None
    assert floor.bites is not None
    return round(math.log(floor.size) / math.log(floor.bites)) if 0 < floor.size < 1 else 1


def _in_root(quotient: _Quotient) -> bool:
    """Return True for a floor that is added to squares, of which the root is taken."""
    degree = _degree(quotient.floor)
    return quotient.what != "projection" and (degree == 4 or (degree == 2 and len(quotient.floor.on) == 1))


def _computes(quotient: _Quotient) -> str:
    floor = quotient.floor
    if floor.kind == "clamp":
        if quotient.what == "norm":
            return "what is divided by it times min(1, ‖v‖/floor)"
        return "the inner product over the clamped norms: cos times ‖a‖‖b‖/floor once that is below 1"
    if quotient.what == "projection":
        return "the projection times ‖b‖² / (‖b‖² + floor)"
    one, divided = quotient.what == "norm", _divided(quotient)
    if floor.size is not None and floor.bites is not None and _in_root(quotient):
        squares = "‖v‖²" if one else "‖a‖²‖b‖²"
        return f"{divided} times √({squares} / ({squares} + floor))"
    norms = "‖v‖" if one else "‖a‖‖b‖"
    return f"{divided} times {norms} / ({norms} + floor)"


# -- the fixes --------------------------------------------------------------------------------------------------------


def _fix(place: ir.Expr, facts: ModuleFacts) -> Fix | None:
    """Replace the whole quotient where it is one cosine to the letter."""
    if not isinstance(place, ir.Binary) or "#" in facts.source(place):
        return None
    if any(_is_array(call, facts) for call in slice_of(place, facts).calls):
        return None  # safe_cosine takes tensors
    found = read_quotient(place, facts)
    if found is None:
        return None
    keepdim = ", keepdim=True" if found.keepdim else ""
    return runtime_fix(
        facts,
        "safe_cosine",
        (Edit(*facts.span(place), f"safe_cosine({found.left}, {found.right}, dim={found.dim}{keepdim})"),),
        "Replace the quotient by fa_lint_runtime.safe_cosine: no floor, NaN where a vector is zero",
    )


def _smallest_floor(place: ir.Expr, facts: ModuleFacts) -> Fix | None:
    """Write every floor as the smallest number; None where one is a parameter, or its value is not in sight."""
    parts = division(place)
    denominator = read_denominator(parts[1], facts) if parts is not None else None
    edits = []
    for floor in denominator.floors if denominator is not None else ():
        is_own = isinstance(floor.node, ir.Const)
        if isinstance(floor.node, ir.Name):
            is_own = [b.how for b in facts.names.reaching(floor.node)] == ["value"]
        if not is_own or floor.value is None:
            return None
        edits.append(Edit(*facts.span(floor.node), tiny(facts)))
    message = "Replace the floor by the smallest normal float32, below any product of norms"
    return Fix(Applicability.UNSAFE, message, tuple(edits)) if edits else None


def _is_array(call: ir.Call, facts: ModuleFacts) -> bool:
    """Return True for a call that makes an array of NumPy or JAX."""
    name = facts.qualified(call.func)
    if name is None:
        return isinstance(call.func, ir.Attr) and call.func.attr == "numpy"
    return name.startswith(("numpy.", "jax."))
