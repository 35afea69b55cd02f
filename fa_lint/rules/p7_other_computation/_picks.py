"""Which element of which list a vector is: of a model's parameters, or of their gradients after one backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.analysis import terms as t
from fa_lint.analysis.frames import Frame
from fa_lint.analysis.values import Values
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.words import words

__all__ = ["Pick", "Picks", "is_given_gradients", "pairing", "mentions_gradients"]

_PARAMETERS = frozenset("param params parameter parameters heads".split())
_SHALLOW = 12
_PAIRS = frozenset({"combinations", "permutations", "product"})


@dataclass(frozen=True, slots=True)
class Pick:
    """One element, by ``key``, of the list ``container``, which holds one entry a parameter of ``origin``."""

    container: int
    key: tuple[object, ...]


class Picks:
    """Reads the identities of an evaluator."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._ev = values.evaluator
        self._subscripts: dict[int, dict[int, list[t.Alternatives]]] = {}

    def _key(self, ident: int) -> tuple[object, ...]:
        """Return what an identity stands for, copies looked through."""
        return self._ev.identities.key(self._ev.members.live(ident))

    def of(self, ident: int, frame: Frame) -> Pick | None:
        """Return which parameter, or gradient of one, a vector is in a frame; None where that is not in sight."""
        for _ in range(_SHALLOW):
            key = self._key(ident)
            match key:
                case ("element", int(base), "turn", int(number), int(place)):
                    inner = self._key(base)
                    if inner[:1] == ("element",) and inner[2:3] == ("pick",):
                        ident = base
                        continue
                    home = self._ev.frames[number]
                    node = home.module.facts.node(place)
                    if not isinstance(node, ir.For | ir.Clause):
                        return None
                    return self._taken(home, self._ev.of(home, node.iter), base, key[2:], node.iter)
                case ("element", int(base), "pick", int(which), int(number), int(place)):
                    home = self._ev.frames[number]
                    call = home.module.facts.node(place)
                    if not isinstance(call, ir.Call) or not call.args:
                        return None
                    arg = call.args[min(which, len(call.args) - 1)] if self._is_product(call, home) else call.args[0]
                    return self._taken(home, self._ev.of(home, arg.value), base, key[2:], arg.value)
                case (
                    ("element", int(base), "index", "slice", *_)
                    | ("element", int(base), "view", *_)
                    | ("view", int(base), *_)
                ):
                    ident = base  # a part of the same vector
                case ("element", int(base), "index", int(number), int(place)) if self._is_slice(number, place):
                    ident = base
                case ("element", int(base), "index", "value", _) | ("element", int(base), "at", _):
                    for containers in self._indexed(frame).get(self._ev.members.live(ident), ()):
                        found = self._taken(frame, containers, base, key[2:], None)
                        if found is not None:
                            return found
                    return None
                case ("attribute", int(base), "grad" | "weight" | "bias", *_) | ("running", _, _, _, int(base)):
                    ident = base
                case _:
                    return None
        return None

    def are_rows(self, first: int, second: int) -> bool:
        """Return True for a matrix with a row for each parameter, and its transpose."""
        first, second = self._ev.members.live(first), self._ev.members.live(second)
        base = self._viewed(first)
        if first == second or base != self._viewed(second):
            return False
        match self._key(base):
            case ("joined", int(inner)):
                base = inner
            case ("attribute", int(owner), "grad", *_) if self._key(owner)[0] != "parameters of":
                return False
            case ("element", *_):
                return False
        return self._is_of_parameters(base)

    def _viewed(self, ident: int) -> int:
        """Return what a vector is a view of, as a whole."""
        match self._key(ident):
            case ("element", int(base), "view", *_) | ("view", int(base), *_):
                return base
        return ident

    def _is_slice(self, number: int, place: int) -> bool:
        node = self._ev.frames[number].module.facts.node(place)
        return isinstance(node, ir.Subscript) and isinstance(node.index[0], ir.Slice)

    def _is_product(self, call: ir.Call, frame: Frame) -> bool:
        return (frame.module.facts.qualified(call.func) or "").endswith("product")

    def _indexed(self, frame: Frame) -> dict[int, list[t.Alternatives]]:
        """What the subscripts of a function give, and the containers they are taken from."""
        if frame.number not in self._subscripts:
            found: dict[int, list[t.Alternatives]] = {}
            for node in ir.walk(frame.node):
                if isinstance(node, ir.Subscript):
                    for term, _ in self._ev.of(frame, node):
                        for vector in _vector(term):
                            found.setdefault(self._ev.members.live(vector.ident), []).append(
                                self._ev.of(frame, node.value)
                            )
            self._subscripts[frame.number] = found
        return self._subscripts[frame.number]

    def _taken(
        self, frame: Frame, containers: t.Alternatives, base: int, key: tuple[object, ...], node: ir.Expr | None
    ) -> Pick | None:
        inner = _enumerated(node, frame.module.facts)
        if inner is not None:
            return self._taken(frame, self._ev.of(frame, inner), base, key, inner)
        if any(isinstance(term, t.Vector) for term, _ in containers):
            whole = next(term for term, _ in containers if isinstance(term, t.Vector))
            return (
                Pick(whole.ident, key)
                if self._ev.members.live(whole.ident) == base and self._is_of_parameters(base)
                else None
            )
        for term, _ in containers:
            if isinstance(term, t.Sequence | t.Mapping) and base in map(self._ev.members.live, _vectors(term)):
                if self._lists_parameters(term.ident, base):
                    return Pick(term.ident, key)
        return None

    # -- lists of parameters --------------------------------------------------------------------------------------

    def _lists_parameters(self, container: int, base: int) -> bool:
        """Return True where each entry of a list belongs to another parameter, all from one backward pass."""
        container, base = self._before_return(container), self._before_return(base)
        turn = self._last_turn(base)
        match self._key(container):
            case ("comprehension", int(number), int(place)):
                node = self._ev.frames[number].module.facts.node(place)
                made = isinstance(node, ir.Comprehension) and node.clause.nid == turn and node.clause.inner is None
            case ("grown", int(number), int(place)):
                facts = self._ev.frames[number].module.facts
                made = _loop_around(facts.node(place), facts) == turn and _starts_beside(facts, place, turn)
            case ("stored", int(number), int(place), *_) | ("slice", int(number), int(place), *_):
                made = False
            case ("dict", int(number), int(place)) if turn:
                facts = self._ev.frames[number].module.facts
                made = _loop_around(facts.node(place), facts) == _loop_around(facts.node(turn), facts)
            case _:
                made = container == base or self._key(base)[0] == "parameters of"
        return made and self._is_of_parameters(base)

    def _before_return(self, ident: int) -> int:
        key = self._key(ident)
        return key[1] if key[:1] == ("returned",) and isinstance(key[1], int) else ident

    def _last_turn(self, ident: int) -> int:
        """Return the loop that an element last came through, or 0."""
        for _ in range(_SHALLOW):
            match self._key(ident):
                case ("element", _, "turn", _, int(place)):
                    return place
                case ("attribute", int(base), "grad" | "weight" | "bias", *_) | ("view", int(base), *_):
                    ident = base
                case _:
                    return 0
        return 0

    def _is_of_parameters(self, ident: int) -> bool:
        """Return True for the parameters of a model, and for what ``autograd.grad`` gives for them."""
        element = True
        for _ in range(_SHALLOW):
            key = self._key(ident)
            match key:
                case ("parameters of", *_):
                    return True
                case ("element", int(base), "turn", *_):
                    ident, element = base, True
                case ("attribute", int(base), "grad", *_) | ("attribute", int(base), "weight" | "bias"):
                    ident, element = base, False
                case ("attribute", _, str(name)) if element:
                    return bool(set(words(name)) & _PARAMETERS)
                case ("argument", int(number), int(place)):
                    param = self._ev.frames[number].module.facts.node(place)
                    return isinstance(param, ir.Param) and bool(set(words(param.name)) & _PARAMETERS)
                case ("node", int(number), int(place)):
                    return self._is_gradient_of_parameters(self._ev.frames[number], place)
                case _:
                    return False
        return False

    def _is_gradient_of_parameters(self, frame: Frame, place: int) -> bool:
        call = frame.module.facts.node(place)
        if not isinstance(call, ir.Call) or frame.module.facts.qualified(call.func) != "torch.autograd.grad":
            return False
        inputs = next((a.value for a in call.args if a.keyword == "inputs"), None)
        if inputs is None and len(call.args) > 1 and call.args[1].keyword is None:
            inputs = call.args[1].value
        for term, _ in self._ev.of(frame, inputs) if inputs is not None else ():
            if isinstance(term, t.Vector) and self._is_of_parameters(term.ident):
                return True
            if isinstance(term, t.Sequence) and any(self._is_of_parameters(ident) for ident in _vectors(term)):
                return True
        return False


def _vectors(term: t.Sequence | t.Mapping) -> Iterator[int]:
    """The identities of the vectors that a list holds, not those of lists in it."""
    items = term.items or () if isinstance(term, t.Sequence) else [item for _, item in term.items]
    for inner, _ in (*term.element, *(a for item in items for a in item)):
        yield from (vector.ident for vector in _vector(inner))


def _vector(term: t.Term) -> tuple[t.Vector, ...]:
    """Return the vector that a term is, but for its length."""
    if isinstance(term, t.Monomial) and len(term.vectors) == 1:
        return term.vectors
    return (term,) if isinstance(term, t.Vector) else ()


def _enumerated(node: ir.Expr | None, facts: ModuleFacts) -> ir.Expr | None:
    """``x`` of ``enumerate(x)``, ``x.items()`` and ``x.values()``."""
    match node:
        case ir.Call(
            func=ir.Name(id="enumerate" | "list" | "tuple" | "reversed" | "sorted" | "tqdm"), args=[first, *_]
        ):
            return first.value
        case ir.Call(func=ir.Attr(value=value, attr="items" | "values"), args=[]) if facts.qualified(value) is None:
            return value
        case ir.Subscript(value=value, index=[ir.Slice()]):
            return value  # what follows the outer element
    return None


def _loop_around(node: ir.Node, facts: ModuleFacts) -> int:
    for above in facts.names.ancestors(node):
        if isinstance(above, ir.For | ir.While):
            return above.nid
        if isinstance(above, ir.FunctionDef):
            break
    return 0


def _starts_beside(facts: ModuleFacts, append: int, loop: int) -> bool:
    """Return True where a list is emptied in the same round of the loops around ``loop`` in which it is filled."""
    call = facts.node(append)
    if not isinstance(call, ir.Call) or not isinstance(call.func, ir.Attr) or not isinstance(call.func.value, ir.Name):
        return False
    starts = [b.node for b in facts.names.reaching(call.func.value) if b.how == "value"]
    around = _loop_around(facts.node(loop), facts)
    return bool(starts) and all(_loop_around(node, facts) == around for node in starts)


def mentions_gradients(function: ir.Module | ir.FunctionDef, facts: ModuleFacts) -> bool:
    """Return True where a function mentions gradients."""
    return isinstance(function, ir.Module) or "grad" in facts.source(function)


def is_given_gradients(function: ir.FunctionDef, facts: ModuleFacts) -> bool:
    """Return True where a caller of a function mentions gradients."""
    callers = facts.derived(Calls).callers(function)
    return any(mentions_gradients(facts.names.enclosing_function(call) or facts.module, facts) for call in callers)


def pairing(facts: ModuleFacts) -> dict[ir.Module | ir.FunctionDef, list[ir.Expr]]:
    """The functions that take two elements of something, and their products and calls, last first."""
    pairing: set[int] = set()
    nodes: dict[int, list[ir.Expr]] = {}
    owners: dict[int, ir.Module | ir.FunctionDef] = {}
    for node in facts.nodes_of(ir.For, ir.Clause, ir.Subscript, ir.Call, ir.Compare, ir.Binary):
        owner = facts.names.enclosing_function(node) or facts.module
        owners[owner.nid] = owner
        match node:
            case ir.For() | ir.Clause():
                inner = isinstance(node, ir.Clause) and node.inner is not None
                above = (n for n in facts.names.ancestors(node) if n is not facts.names.parent(node))
                if inner or any(isinstance(n, ir.For | ir.Comprehension) for n in above):
                    pairing.add(owner.nid)
            case ir.Subscript(value=ir.Name(id=name) | ir.Attr(attr=name), index=[ir.Const(value=int())]) if (
                "grad" in name
            ):
                pairing.add(owner.nid)
            case ir.Call(func=ir.Name(id=name) | ir.Attr(attr=name)) if name in _PAIRS or name.endswith("stack"):
                pairing.add(owner.nid)
        if isinstance(node, ir.Call | ir.Compare) or (isinstance(node, ir.Binary) and node.op in ("/", "@")):
            nodes.setdefault(owner.nid, []).append(node)
    return {owners[nid]: nodes[nid][::-1] for nid in sorted(pairing) if nid in nodes}
