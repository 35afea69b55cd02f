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
# Their weights are a model's parameters, an entry each.
_BLOCKS = frozenset("blocks layers modules stages convs".split())
_WALKS = frozenset({"modules", "children"})
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
        weight = False
        for _ in range(_SHALLOW):
            key = self._key(ident)
            weight = weight or (key[:1] == ("attribute",) and key[2] in ("weight", "bias"))
            match key:
                case ("element", int(base), "turn", int(number), int(place)):
                    inner = self._key(base)
                    if inner[:1] == ("element",) and inner[2:3] == ("pick",):
                        ident = base
                        continue
                    home = self._ev.frames[number]
                    node = home.module.facts.node(place)
                    return (
                        self._turned(home, node, base, key[2:], weight)
                        if isinstance(node, ir.For | ir.Clause)
                        else None
                    )
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
                case ("attribute", int(base), *_) | ("running", _, _, _, int(base)):
                    ident = base
                case _:
                    return None
        return None

    def _turned(
        self, home: Frame, loop: ir.For | ir.Clause, base: int, key: tuple[object, ...], weight: bool
    ) -> Pick | None:
        """Return what a loop takes of a list, also of one that is zipped with its own later entries."""
        for taken in _lists_of(loop.iter, home.module.facts):
            of, place = base, key
            match self._key(base):
                case ("element", int(inner), "later", *_):
                    of, place = inner, (*key, "later")
                case ("element", int(inner), "at", int()) if (whole := _unpacked(taken, home.module.facts)) is not None:
                    of, place, taken = inner, (*key, "rest"), whole
            found = self._taken(home, self._ev.of(home, taken), of, place, taken, weight=weight)
            if found is not None:
                return found
        return None

    def are_rows(self, first: int, second: int) -> bool:
        """Return True for a matrix with a row for each parameter, and its transpose."""
        first, second = self._ev.members.live(first), self._ev.members.live(second)
        base = self._viewed(first)
        return first != second and base == self._viewed(second) and self.has_rows(base)

    def has_rows(self, base: int) -> bool:
        """Return True for a matrix with a row for each parameter."""
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
        """What the subscripts and the unpackings of a function give, and the containers they are taken from."""
        if frame.number not in self._subscripts:
            found: dict[int, list[t.Alternatives]] = {}
            for taken, whole in self._takings(frame):
                for term, _ in taken:
                    for vector in _vector(term):
                        found.setdefault(self._ev.members.live(vector.ident), []).append(whole)
            self._subscripts[frame.number] = found
        return self._subscripts[frame.number]

    def _takings(self, frame: Frame) -> Iterator[tuple[t.Alternatives, t.Alternatives]]:
        for node in ir.walk(frame.node):
            match node:
                case ir.Subscript(value=value):
                    yield self._ev.of(frame, node), self._ev.of(frame, value)
                case ir.Assign(targets=[ir.Sequence(items=items)], value=ir.Name() | ir.Comprehension() as value):
                    whole = self._ev.of(frame, value)
                    for index, item in enumerate(items):
                        if isinstance(item, ir.Starred):
                            break
                        yield self._ev.elements.unpacked(whole, (index,), node.nid), whole

    def _taken(
        self,
        frame: Frame,
        containers: t.Alternatives,
        base: int,
        key: tuple[object, ...],
        node: ir.Expr | None,
        *,
        weight: bool = False,
    ) -> Pick | None:
        """Return the entry of a list; of a list of blocks where it is the ``weight`` of each that is meant."""
        inner = _enumerated(node, frame.module.facts)
        if inner is not None:
            return self._taken(frame, self._ev.of(frame, inner), base, key, inner, weight=weight)
        if any(isinstance(term, t.Vector) for term, _ in containers):
            whole = next(term for term, _ in containers if isinstance(term, t.Vector))
            return (
                Pick(whole.ident, key)
                if self._ev.members.live(whole.ident) == base and self._is_of_parameters(base, weight=weight)
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
                case ("attribute", int(base), *_) | ("view", int(base), *_):
                    ident = base
                case _:
                    return 0
        return 0

    def _is_of_parameters(self, ident: int, *, weight: bool = False) -> bool:
        """Return True for the parameters of a model, and for what ``autograd.grad`` gives for them."""
        element = True
        for _ in range(_SHALLOW):
            key = self._key(ident)
            match key:
                case ("parameters of", *_):
                    return True
                case ("element", int(base), "turn", *_):
                    ident, element = base, True
                case ("attribute", int(base), "grad", *_):
                    ident, element = base, False
                case ("attribute", int(base), "weight" | "bias"):
                    ident, element, weight = base, False, True
                case ("attribute", int(base), str(name)) if element or weight:
                    if element:
                        return bool(set(words(name)) & (_PARAMETERS | _BLOCKS if weight else _PARAMETERS))
                    ident = base  # `block.attn.weight`
                case ("argument", int(number), int(place)):
                    param = self._ev.frames[number].module.facts.node(place)
                    said = _PARAMETERS | _BLOCKS if weight and element else _PARAMETERS
                    return isinstance(param, ir.Param) and bool(set(words(param.name)) & said)
                case ("node", int(number), int(place)):
                    made = self._ev.frames[number].module.facts.node(place)
                    if isinstance(made, ir.Call) and isinstance(made.func, ir.Attr) and made.func.attr in _WALKS:
                        return weight and element
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


def _lists_of(node: ir.Expr, facts: ModuleFacts) -> list[ir.Expr]:
    """What a loop runs over side by side."""
    match node:
        case ir.Call(func=ir.Name(id="zip"), args=args):
            return [arg.value for arg in args if arg.keyword is None and not arg.star]
        case ir.Call(func=ir.Name(id="enumerate"), args=[ir.Arg(value=ir.Call(func=ir.Name(id="zip")) as inner), *_]):
            return _lists_of(inner, facts)
    return [node]


def _unpacked(node: ir.Expr, facts: ModuleFacts) -> ir.Expr | None:
    """``grads`` for ``rest`` of ``first, *rest = grads``."""
    bound = facts.names.reaching(node) if isinstance(node, ir.Name) else []
    if not isinstance(node, ir.Name) or len(bound) != 1 or bound[0].how != "unpack":
        return None
    match bound[0].node:
        case ir.Assign(targets=[ir.Sequence(items=items)], value=value):
            starred = (i.value.id for i in items if isinstance(i, ir.Starred) and isinstance(i.value, ir.Name))
            return value if node.id in starred else None
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


def _is_shifted(node: ir.Expr) -> bool:
    """``zip(grads, grads[1:])``, also with indices."""
    return any(
        isinstance(arg.value, ir.Subscript) and isinstance(arg.value.index[0], ir.Slice)
        for call in ir.walk(node)
        if isinstance(call, ir.Call) and isinstance(call.func, ir.Name) and call.func.id == "zip"
        for arg in call.args
    )


def pairing(facts: ModuleFacts) -> dict[ir.Module | ir.FunctionDef, list[ir.Expr]]:
    """The functions that take two elements of something, and their products and calls, last first."""
    pairing: set[int] = set()
    nodes: dict[int, list[ir.Expr]] = {}
    owners: dict[int, ir.Module | ir.FunctionDef] = {}
    for node in facts.nodes_of(ir.For, ir.Clause, ir.Assign, ir.Subscript, ir.Call, ir.Compare, ir.Binary):
        owner = facts.names.enclosing_function(node) or facts.module
        owners[owner.nid] = owner
        match node:
            case ir.For() | ir.Clause():
                inner = isinstance(node, ir.Clause) and node.inner is not None
                above = (n for n in facts.names.ancestors(node) if n is not facts.names.parent(node))
                if inner or any(isinstance(n, ir.For | ir.Comprehension) for n in above) or _is_shifted(node.iter):
                    pairing.add(owner.nid)
            case ir.Assign(targets=[ir.Sequence(items=items)]) if any(isinstance(i, ir.Starred) for i in items):
                pairing.add(owner.nid)
            case ir.Subscript(index=[ir.Binary(op="+" | "-", right=ir.Const(value=int()))]):
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
