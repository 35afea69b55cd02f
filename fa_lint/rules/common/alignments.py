"""Alignments: whether a value is a cosine or an angle, of what, and how certain that is.

A formula decides first (a library cosine, an inner product over norms, ``acos`` of either), through names, containers
and the functions of the module; a name counts only where it says of what: ``grad_cos`` and ``layer_angles`` do,
``gamma``, ``alignment`` or ``cos`` alone do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import values_of
from fa_lint.findings import Related
from fa_lint.rules.common.measure_words import (
    FEEDBACK_WORDS,
    TRAINED,
    is_measure_name,
    may_hold_cosine,
    subject_of_name,
)
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls, argument
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.memory import Memory
from fa_lint.semantics.names import Binding
from fa_lint.semantics.roles import COMPUTED, NAMED, Evidence
from fa_lint.semantics.words import words

__all__ = ["NO_ALIGNMENT", "SHOWN", "Alignment", "Alignments", "alignments", "cosines_in", "evidence", "passed"]

# Between a name and a proof: the formula is in sight, what enters it is only named.
SHOWN = 2
_ACOS = frozenset({"torch.acos", "numpy.arccos", "jax.numpy.arccos", "math.acos"})
_WRAPPERS = frozenset(
    "torch.mean torch.median torch.nanmean torch.clamp torch.clip torch.stack torch.cat torch.tensor torch.as_tensor "
    "torch.rad2deg torch.abs torch.nan_to_num torch.sum torch.nansum torch.where torch.squeeze numpy.mean "
    "numpy.median numpy.nanmean numpy.nanmedian numpy.clip numpy.array numpy.asarray numpy.stack numpy.concatenate "
    "numpy.degrees numpy.rad2deg numpy.abs numpy.nan_to_num numpy.sum numpy.nansum numpy.average numpy.squeeze "
    "numpy.round jax.numpy.mean jax.numpy.degrees "
    "jax.numpy.clip math.degrees statistics.mean statistics.fmean statistics.median copy.copy copy.deepcopy".split()
)
_BUILTINS = frozenset("float abs round list tuple sorted reversed sum iter next dict min max zip enumerate".split())
_METHODS = frozenset(
    "item mean median nanmean clamp clamp_ clip detach cpu cuda to numpy float double abs squeeze unsqueeze view "
    "reshape flatten tolist sum nansum values items get pop copy clone nan_to_num masked_fill masked_fill_ rad2deg "
    "add sub mul "
    "div neg contiguous ravel astype type".split()
)


@dataclass(frozen=True, slots=True)
class Alignment:
    """``subject``: gradient, feedback, weight, layer, feature, unknown (a cosine of who knows what) or none.

    ``strength``: COMPUTED where formula and operands are in sight, SHOWN where the formula is, NAMED for a name.
    """

    subject: str
    strength: int = 0
    evidence: tuple[Evidence, ...] = ()

    @property
    def is_measured(self) -> bool:
        """A cosine or angle between gradients, credits, or weights and feedback: what Γ is made of."""
        return self.subject in ("gradient", "feedback", "weight", "layer")

    @property
    def is_cosine(self) -> bool:
        return self.subject != "none"


NO_ALIGNMENT = Alignment("none")


class Alignments:
    """Answers :meth:`of` for the expressions of one module."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._facts = facts
        self._memory = Memory(NO_ALIGNMENT)
        data = facts.text.encode()
        self._has_cosines = may_hold_cosine(data)

    def of(self, node: ir.Expr | None) -> Alignment:
        """What an expression measures, with the evidence for it; a container measures what its elements do."""
        if node is None:
            return NO_ALIGNMENT
        return self._memory.ask(node.nid, lambda: self._find(node))

    def _find(self, node: ir.Expr) -> Alignment:
        computed = self._computed(node)
        if computed.is_measured:
            return computed
        found = self._of(node)
        return found if found.is_cosine else computed

    def _computed(self, node: ir.Expr) -> Alignment:
        """What the evaluator says of an expression."""
        values = values_of(self._facts)
        if isinstance(node, ir.Name) and set(words(node.id)) & TRAINED:
            return NO_ALIGNMENT
        best = self._measured(node, values.of(node)) if values.may_hold_cosine(node) else NO_ALIGNMENT
        if not best.is_measured and values.may_be_given_cosine(node):
            # A helper is what every call makes it.
            found = [self._measured(node, ways) for ways in values.as_called(node)]
            if found and all(one.is_measured for one in found):
                best = min(found, key=lambda one: one.strength)
        return best

    def _measured(self, node: ir.Expr, ways: t.Alternatives) -> Alignment:
        return _strongest(self._of_cosine(cosine, node) for cosine in cosines_in(term for term, _ in ways))

    def _of_cosine(self, cosine: t.Monomial, node: ir.Expr) -> Alignment:
        site = cosine.dot_site
        here = Evidence(site.node if site is not None else node.nid, "the cosine is taken here")
        if site is not None and site.module != 0:
            here = Evidence(node.nid, "a cosine that another file takes")
        vectors = cosine.dots[0]
        gradients = sorted((v for v in vectors if v.role.is_gradient), key=lambda v: not v.computed)
        feedback = [v for v in vectors if v.role is t.Role.FEEDBACK]
        if gradients or feedback:
            vector = (gradients or feedback)[0]
            strength = COMPUTED if vector.computed else SHOWN
            return Alignment("gradient" if gradients else "feedback", strength, (*_steps(vector), here))
        if all(v.role is t.Role.PARAMETER for v in vectors):
            return Alignment("weight", COMPUTED if all(v.computed for v in vectors) else SHOWN, (here,))
        return Alignment("feature" if any(v.role.is_order_one for v in vectors) else "unknown", SHOWN, (here,))

    def operands(self, node: ir.Call | ir.Binary) -> tuple[t.Vector, t.Vector] | None:
        """Return the two vectors whose cosine an expression computes on the spot."""
        values = values_of(self._facts)
        if not values.may_hold_cosine(node) or (isinstance(node, ir.Call) and self._facts.names.function_called(node)):
            return None
        parts = [node.left, node.right] if isinstance(node, ir.Binary) else [arg.value for arg in node.args]
        if isinstance(node, ir.Call) and isinstance(node.func, ir.Attr):
            parts.append(node.func.value)
        cosine = next(cosines_in(term for term, _ in values.of(node)), None)
        if cosine is None or any(cosines_in(term for part in parts for term, _ in values.of(part))):
            return None
        return cosine.dots[0]

    def returned(self, function: ir.FunctionDef, index: int | None = None) -> Alignment:
        """What a function of the module returns (at ``index`` of the tuple it returns)."""
        if set(words(function.name)) & TRAINED:
            return NO_ALIGNMENT
        return _strongest(self.of(value) for value in self._facts.names.returned(function, index))

    # -- expressions ------------------------------------------------------------------------------------------

    def _of(self, node: ir.Expr) -> Alignment:
        match node:
            case ir.Name(id=identifier):
                if self._facts.qualified(node) is not None:
                    return NO_ALIGNMENT
                return self._bound(self._facts.names.reaching(node), identifier, node)
            case ir.Attr(attr=attr):
                if self._facts.qualified(node) is not None:
                    return NO_ALIGNMENT
                if attr in ("T", "data", "values"):
                    return self.of(node.value)
                return self._bound(self._facts.names.self_attribute(node), attr, node)
            case ir.Subscript(value=value, index=index):
                key = index[0].value if index and isinstance(index[0], ir.Const) else None
                named = self._named(key, node) if isinstance(key, str) else NO_ALIGNMENT
                return named if named.is_cosine else self.of(value)
            case ir.Call():
                return self._call(node)
            case ir.Binary(op="+" | "-" | "*", left=left, right=right):
                return _strongest([self.of(left), self.of(right)])
            case ir.Binary(op="/", left=left):
                return self.of(left)
            case ir.Unary(op="-" | "+", operand=value) | ir.Starred(value=value) | ir.Walrus(value=value):
                return self.of(value)
            case ir.Conditional(body=body, orelse=orelse):
                return _strongest([self.of(body), self.of(orelse)])
            case ir.Comprehension(elements=elements):
                return self.of(elements[-1])
            case ir.Sequence(items=items):
                return _strongest(self.of(item) for item in items)
            case ir.Keyed(values=values):
                return _strongest(self.of(value) for value in values)
        return NO_ALIGNMENT

    def _named(self, identifier: str, node: ir.Node) -> Alignment:
        if any(fnmatchcase(identifier, pattern) for pattern in self._facts.declared.alignment):
            return Alignment(
                "gradient", COMPUTED, (Evidence(node.nid, f"`{identifier}` is configured as an alignment"),)
            )
        subject = subject_of_name(identifier) if self._has_cosines else ""
        return Alignment(subject, NAMED, (Evidence(node.nid, f"named `{identifier}`"),)) if subject else NO_ALIGNMENT

    def _bound(self, bindings: Iterable[Binding], identifier: str, node: ir.Node) -> Alignment:
        named = self._named(identifier, node)
        if named.strength == COMPUTED:
            return named
        if set(words(identifier)) & TRAINED:
            return NO_ALIGNMENT
        found = _strongest(self.bound(binding) for binding in bindings)
        if found.is_measured:
            return found
        if found.subject == "unknown" and named.is_cosine:
            # The formula is in sight and the name says of what.
            return Alignment(named.subject, SHOWN, (*found.evidence, *named.evidence))
        return found if found.is_cosine else named

    def bound(self, binding: Binding) -> Alignment:
        """What one binding gives its name."""
        value = binding.value
        if value is None or binding.how in ("with", "except", "def", "class", "import", "param"):
            return NO_ALIGNMENT
        if binding.how == "unpack" and isinstance(value, ir.Call):
            function = self._facts.names.function_called(value)
            if function is not None:
                return self.returned(function, binding.index)
            found = self.of(value)
            # ``distance, angle = f(...)``: of an unseen function's results only the one called so is the angle.
            return found if found.strength > NAMED or is_measure_name(binding.name) else NO_ALIGNMENT
        if binding.how == "unpack" and not is_measure_name(binding.name):
            return NO_ALIGNMENT
        if binding.how == "iterate" and self._is_key(binding):
            return NO_ALIGNMENT
        return self.of(value)

    def _is_key(self, binding: Binding) -> bool:
        match binding.value:
            case ir.Call(func=ir.Attr(attr="items")) | ir.Call(func=ir.Name(id="enumerate")):
                return binding.index == 0
        return False

    # -- calls ------------------------------------------------------------------------------------------------

    def _call(self, node: ir.Call) -> Alignment:
        name = self._facts.qualified(node.func)
        if name in _ACOS and node.args:
            return self.of(node.args[0].value)
        if name in _WRAPPERS and node.args:
            return _strongest(self.of(arg.value) for arg in node.args if arg.keyword is None)
        function = self._facts.names.function_called(node)
        if function is not None:
            found = self.returned(function, None)
            if found.is_cosine:
                return self._at_call(found, function.name, node)
            return self._named(function.name, node)
        match node.func:
            case ir.Name(id=identifier) if identifier in _BUILTINS and not self._facts.names.bindings(node.func):
                return _strongest(self.of(arg.value) for arg in node.args)
            case ir.Attr(attr="acos" | "arccos", value=value) if name is None:
                return self.of(value)
            case ir.Attr(attr=attr, value=value) if attr in _METHODS and self._facts.qualified(value) is None:
                return self.of(value)
        return self._called_name(ir.last_name(node.func), node)

    def _at_call(self, found: Alignment, name: str, node: ir.Call) -> Alignment:
        """A helper's cosine is of what this call gives it, where its own operands do not say of what."""
        evidence = (*found.evidence, Evidence(node.nid, f"returned by `{name}`"))
        if found.is_measured:
            return replace(found, evidence=evidence)
        named = self._named(name, node)
        return Alignment(named.subject, SHOWN, evidence) if named.is_cosine else replace(found, evidence=evidence)

    def _called_name(self, identifier: str, node: ir.Call) -> Alignment:
        """A function of another file: counted where its name says cosine and it is given gradients or feedback."""
        named = self._named(identifier, node)
        if named.is_cosine or not is_measure_name(identifier):
            return named
        values = [arg.value for arg in node.args if not arg.star][:2]
        if len(values) == 2:
            given = self._between(values[0], values[1], node)
            if given.is_measured:
                return replace(given, strength=NAMED)
            if any(self._mentions_feedback(value) for value in values):
                return Alignment("feedback", NAMED, (Evidence(node.nid, f"`{identifier}()` of forward and feedback"),))
        return NO_ALIGNMENT

    def _mentions_feedback(self, node: ir.Expr) -> bool:
        """True if a value, or what its name is bound to, says that it belongs to the backward path."""
        said = [node]
        if isinstance(node, ir.Name):
            said += [b.value for b in self._facts.names.reaching(node) if b.value is not None]
        return any(
            set(words(ir.last_name(part))) & FEEDBACK_WORDS
            for expression in said
            for part in ir.walk(expression)
            if isinstance(part, ir.Name | ir.Attr)
        )

    def _between(self, left: ir.Expr, right: ir.Expr, node: ir.Expr) -> Alignment:
        roles = [values_of(self._facts).vector(side) for side in (left, right)]
        here = Evidence(node.nid, "the cosine is taken here")
        gradients = sorted((r for r in roles if r.role.is_gradient), key=lambda r: not r.computed)
        found = gradients or [r for r in roles if r.role is t.Role.FEEDBACK]
        if found:
            subject = "gradient" if gradients else "feedback"
            return Alignment(subject, COMPUTED if found[0].computed else SHOWN, (*_steps(found[0]), here))
        if all(r.role is t.Role.PARAMETER for r in roles):
            strength = COMPUTED if all(r.computed for r in roles) else SHOWN
            return Alignment("weight", strength, (*_steps(roles[0])[:2], here))
        subject = "feature" if any(r.role.is_order_one for r in roles) else "unknown"
        return Alignment(subject, SHOWN, (here,))


def passed(param: ir.Node, facts: ModuleFacts) -> list[ir.Expr]:
    """Return what the calls of this module pass for a parameter; nothing where one of them hides it."""
    function = facts.names.parent(param)
    if not isinstance(param, ir.Param) or not isinstance(function, ir.FunctionDef) or param.name in ("self", "cls"):
        return []
    values = [argument(call, function, param) for call in facts.derived(Calls).callers(function)]
    return [value for value in values if value is not None] if None not in values else []


def _steps(vector: t.Vector) -> tuple[Evidence, ...]:
    """Return the evidence for a vector that stands in this file."""
    return tuple(Evidence(s.site.node, s.text) for s in vector.evidence[:3] if s.site.module == 0)


def cosines_in(terms: Iterable[t.Term], depth: int = 0) -> Iterator[t.Monomial]:
    """The cosines that terms are, or are made of."""
    for term in terms:
        match term:
            case t.Monomial() if term.is_cosine:
                yield term
            case t.Angle(cosine=cosine):
                yield cosine
            case t.Aggregate(of=inner) | t.Accumulated(added=inner) if depth < 4:
                yield from cosines_in([inner], depth + 1)
            case t.Sequence() | t.Mapping() if depth < 4:
                elements = [x for x, _ in term.element]
                if isinstance(term, t.Sequence):
                    elements += [x for item in term.items or () for x, _ in item]
                else:
                    elements += [x for _, item in term.items for x, _ in item]
                yield from cosines_in(elements, depth + 1)


def _strongest(found: Iterable[Alignment]) -> Alignment:
    best = NO_ALIGNMENT
    for one in found:
        rank = (one.is_measured, one.strength, one.is_cosine)
        if rank > (best.is_measured, best.strength, best.is_cosine):
            best = one
    return best


def alignments(facts: ModuleFacts) -> Alignments:
    """The alignments of a module, built once for all rules."""
    return facts.derived(Alignments)


def evidence(facts: ModuleFacts, found: Alignment) -> tuple[Related, ...]:
    """The evidence as related locations, each place once."""
    places = {item.nid: item.text for item in reversed(found.evidence)}
    return tuple(Related(*facts.span(facts.node(nid)), text) for nid, text in reversed(list(places.items())))
