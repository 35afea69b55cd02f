"""The algebra of what an expression computes: vectors, products of norms, cosines, sequences and constants.

A scalar or vector expression is a *monomial*: elementwise factors, inner products, powers of norms, and the floors that
stand under them. A cosine is an inner product over the norms of its two vectors; a projection one over the same norm
twice; a unit vector a vector over its own norm. The constructors keep terms normal, so it does not matter how one was
written: ``a @ b / (a.norm() * b.norm())``, ``(a * b).sum() * rsqrt(...)``, the product of two unit vectors.

Identity is apart from kind: two vectors are the same value if their ``ident`` is equal, whatever they are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal

from fa_lint.semantics import ir

__all__ = [
    "MOST_TURNS",
    "Accumulated",
    "Aggregate",
    "Alternative",
    "Alternatives",
    "Angle",
    "Constant",
    "DIFFERENCE",
    "Floor",
    "FloorKind",
    "Function",
    "Identities",
    "Instance",
    "Library",
    "Mapping",
    "Monomial",
    "ONES",
    "Over",
    "Role",
    "Scalar",
    "Sequence",
    "Site",
    "Step",
    "Tags",
    "Term",
    "Unknown",
    "Vector",
    "WHOLE",
    "add",
    "both",
    "divide",
    "dot",
    "floored",
    "identities",
    "inverse",
    "key",
    "monomial",
    "multiply",
    "negate",
    "norm",
    "one",
    "power",
    "present",
    "relabelled",
    "renamed",
    "single",
    "surest",
    "total",
    "unique",
]

# Most ways in which one value can come about that are told apart; more are cut off.
MOST = 8
_MOST_FACTORS = 6
# Turns of a loop over a list of known items that are told apart.
MOST_TURNS = 4
# Lists of lists of lists are as deep as anybody puts vectors.
_DEEPEST = 3
# Names of vectors that nobody has named: a difference may be small by construction, all layers together rarely are.
DIFFERENCE = "a difference"
# A label: its sum is a squared norm, and over another one a share.
SQUARE = "square"
ONES = "ones"
WHOLE = "all layers"


class Role(Enum):
    """Where a vector comes from."""

    GRADIENT = "gradient"
    CREDIT = "credit"
    ERROR = "error"
    FEEDBACK = "feedback"
    PARAMETER = "weight"
    HIDDEN = "feature"
    UNIT = "unit"
    SPATIAL = "spatial"
    DRAW = "draw"
    ZEROS = "zeros"
    UNKNOWN = "unknown"

    @property
    def is_gradient(self) -> bool:
        """Return True for what is as small as a gradient."""
        return self in (Role.GRADIENT, Role.CREDIT)

    @property
    def is_order_one(self) -> bool:
        """Return True where the norm is known not to be tiny."""
        return self in (Role.FEEDBACK, Role.PARAMETER, Role.HIDDEN, Role.UNIT, Role.SPATIAL, Role.DRAW)


Over = Literal["layers", "samples", "unknown"]
FloorKind = Literal["add", "clamp", "library", "normalize"]


@dataclass(frozen=True, slots=True)
class Site:
    """A place in the program: the module's number in this run and a node of it."""

    module: int
    node: int


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of evidence: where, and what happens there."""

    site: Site
    text: str


@dataclass(slots=True, eq=False)
class Vector:
    """An array, tensor or object of unknown content.

    ``computed`` tells a role that the code shows from one that only a name suggests. ``role`` is filled in late for the
    running value of a loop, everything else is fixed.
    """

    ident: int
    role: Role = Role.UNKNOWN
    computed: bool = False
    evidence: tuple[Step, ...] = ()
    half: bool = False
    # The value of an earlier turn of a loop.
    lagged: bool = False
    # An argument of the function under analysis that no caller has bound.
    argument: bool = False
    name: str = ""
    # How its dimensions were laid out for broadcasting: ``x[:, None]`` and ``x[None]`` meet in all pairs.
    layout: tuple[object, ...] = ()
    # What had to be there for an entry to be taken: the identity of the values that were tested for None.
    filtered: int = 0
    # The two sides of what is a sum or a difference.
    sides: tuple[Vector, Vector] | None = None

    def at(self, ident: int) -> Vector:
        """Return another value of the same origin."""
        return self if ident == self.ident else replace(self, ident=ident, argument=False)


@dataclass(frozen=True, slots=True)
class Floor:
    """A constant below which a denominator cannot fall.

    ``size`` is None where it is not known; ``bites`` is the norm of each vector at which it is felt; ``on`` are the
    vectors under it.
    """

    size: float | None
    kind: FloorKind
    bites: float | None
    on: tuple[Vector, ...]
    site: Site
    # The division by it.
    quotient: Site | None = None
    # Somebody has written it; a library's default else.
    written: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Monomial:
    """A product. ``vectors`` multiply elementwise; ``dots`` are inner products; ``norms`` have exponents.

    Each floor has the sign of the exponent it stands under. ``inexact``: times something unknown.
    """

    vectors: tuple[Vector, ...] = ()
    dots: tuple[tuple[Vector, Vector], ...] = ()
    norms: tuple[tuple[Vector, float], ...] = ()
    floors: tuple[tuple[Floor, int], ...] = ()
    inexact: bool = False
    clamped: bool = False
    # Where the inner product is taken, and how many samples or layers stay apart in it.
    dot_site: Site | None = None
    label: str = ""
    # The upper bound of the clamp, where it is a known number.
    limit: float | None = None

    @property
    def is_cosine(self) -> bool:
        """Return True for one inner product over the norm of either vector."""
        if len(self.dots) != 1 or self.vectors or self.inexact:
            return False
        a, b = self.dots[0]
        below = {vector.ident: exponent for vector, exponent in self.norms}
        if a.ident == b.ident:
            return below == {a.ident: -2.0}
        return below == {a.ident: -1.0, b.ident: -1.0}

    @property
    def is_inner_product(self) -> bool:
        """Return True for one inner product and nothing else."""
        return len(self.dots) == 1 and not self.vectors and not self.norms and not self.inexact

    @property
    def is_squared_cosine(self) -> bool:
        """Return True for the square of a cosine."""
        if len(self.dots) != 2 or self.vectors or self.inexact or self.dots[0] != self.dots[1]:
            return False
        a, b = self.dots[0]
        return {vector.ident: e for vector, e in self.norms} == ({a.ident: -2.0, b.ident: -2.0})

    @property
    def is_projection(self) -> bool:
        """Return True for an inner product over the squared norm of one of its vectors, alone or times a vector."""
        if len(self.dots) != 1 or len(self.vectors) > 1 or self.dots[0][0].ident == self.dots[0][1].ident:
            return False
        below = [(vector.ident, exponent) for vector, exponent in self.norms if exponent]
        return len(below) == 1 and below[0][1] == -2.0 and below[0][0] in {v.ident for v in self.dots[0]}

    @property
    def is_component(self) -> bool:
        """Return True for the inner product with one unit vector."""
        if len(self.dots) != 1 or self.vectors or len(self.norms) != 1:
            return False
        (vector, exponent), (a, b) = self.norms[0], self.dots[0]
        return exponent == -1.0 and a.ident != b.ident and vector.ident in (a.ident, b.ident)

    @property
    def floors_below(self) -> list[Floor]:
        """Return the floors that a denominator cannot fall under."""
        return [floor for floor, sign in self.floors if sign < 0]


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    value: object
    site: Site | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Accumulated:
    """What a loop adds to its running value."""

    running: Vector
    added: Term


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """A list, tuple or generator; ``items`` where each is known, else ``element`` stands for all.

    ``turn`` are frame and node of the loop that makes one element a turn, none left out.
    """

    ident: int
    element: Alternatives = ()
    items: tuple[Alternatives, ...] | None = None
    over: Over = "unknown"
    filtered: int = 0
    turn: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    ident: int
    items: tuple[tuple[object, Alternatives], ...] = ()
    element: Alternatives = ()
    over: Over = "unknown"
    filtered: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """Several cosines or angles made one number."""

    how: str
    of: Term
    over: Over
    site: Site
    # The trace or cosine of a rotation, clamped at what it is where the two rotations agree.
    limited: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Angle:
    """``acos`` of a cosine."""

    cosine: Monomial
    site: Site


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function of the project: ``receiver`` is bound to ``self``, ``given`` are the arguments of ``partial``."""

    module: int
    node: ir.FunctionDef | ir.Lambda
    frame: object = None
    receiver: Instance | None = None
    given: tuple[tuple[str | None, Alternatives], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """An object of a class of the project, or the class itself before it is called."""

    ident: int
    module: int
    node: ir.ClassDef
    made: bool = True
    given: tuple[tuple[str | None, Alternatives], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """A library object by its qualified name, or what calling it with options gives."""

    name: str
    options: tuple[tuple[str | None, Alternatives], ...] | None = None
    site: Site | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """A plain number of unknown size, such as a length: it scales and never turns.

    ``ident`` tells lengths apart: ``length`` of a value, the ``least`` of several, a ``difference``.
    """

    ident: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Unknown:
    """Nothing that a rule asks about."""


Term = (
    Vector | Monomial | Constant | Accumulated | Sequence | Mapping | Aggregate | Angle | Function | Instance | Library
    | Scalar | Unknown
)  # fmt: skip
# Which arm of which join a value comes through; values of different arms of one join never meet.
Tags = frozenset[tuple[int, int]]
Alternative = tuple[Term, Tags]
Alternatives = tuple[Alternative, ...]

_NO_TAGS: Tags = frozenset()


class Identities:
    """Numbers for values: equal keys get the same number."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], int] = {}
        self._keys: list[tuple[object, ...]] = [()]

    def of(self, *key: object) -> int:
        number = self._known.setdefault(key, len(self._keys))
        if number == len(self._keys):
            self._keys.append(key)
        return number

    def key(self, number: int) -> tuple[object, ...]:
        """Return what a number stands for."""
        return self._keys[number]


@dataclass(slots=True)
class _Powers:
    vectors: dict[int, Vector] = field(default_factory=dict)
    exponents: dict[int, float] = field(default_factory=dict)


def single(term: Term) -> Alternatives:
    return ((term, _NO_TAGS),)


def one(values: Alternatives) -> Term | None:
    """Return the only way a value comes about, or None."""
    return values[0][0] if len(values) == 1 else None


def surest(values: Alternatives, depth: int = 0) -> Vector:
    """Return the part of a value whose role is surest, gradients first; one of unknown role where none has any."""
    best = Vector(0)
    for term, _ in values if depth <= _DEEPEST else ():
        match term:
            case Vector():
                parts = [term]
            case Monomial(vectors=(), dots=[pair], norms=()):
                # An error that is sent through feedback is a credit.
                sent = [v for v in pair if v.role is Role.FEEDBACK]
                parts = [replace(v, role=Role.CREDIT) for v in sent] if len(sent) == 1 else []
            case Monomial(vectors=vectors):
                bare = all(floor.kind == "normalize" for floor in term.floors_below)
                below = {v.ident for v, exponent in term.norms if exponent < 0 and bare}
                parts = [replace(v, role=Role.UNIT) if v.ident in below else v for v in vectors]
            case Sequence() | Mapping():
                held = term.items or () if isinstance(term, Sequence) else [value for _, value in term.items]
                parts = [surest(item, depth + 1) for item in (term.element, *held)]
            case _:
                continue
        for part in parts:
            if part.role is not Role.UNKNOWN:
                if best.role is Role.UNKNOWN or _sureness(part) > _sureness(best):
                    best = part
    return best


def _sureness(vector: Vector) -> tuple[bool, bool]:
    return vector.computed, vector.role.is_gradient


def _meet(left: Tags, right: Tags) -> Tags | None:
    if not left or not right:
        return left or right
    arms = dict(left)
    if any(arms.get(join, arm) != arm for join, arm in right):
        return None
    return left | right


def present(values: Alternatives) -> Alternatives:
    """Return the ways in which a value is not None: elsewhere Python raises where it is used as an array."""
    kept = tuple(way for way in values if not (isinstance(way[0], Constant) and way[0].value is None))
    return kept or values


def both(left: Alternatives, right: Alternatives) -> Iterator[tuple[Term, Term, Tags]]:
    """The pairs of alternatives that can occur together."""
    count = 0
    for a, first in left:
        for b, second in right:
            tags = _meet(first, second)
            if tags is not None:
                yield a, b, tags
                count += 1
                if count >= MOST:
                    return


def monomial(term: Term) -> Monomial | None:
    """Return a term as a product; None for what is no number or array."""
    match term:
        case Monomial():
            return term
        case Vector():
            return Monomial(vectors=(term,))
        case Constant(value=bool()):
            return None
        case Constant(value=int() | float() as value):
            return Monomial(inexact=value != 1 and value != -1)
    return None


def factors(term: Term) -> int:
    """Return how many arrays are multiplied in a term; 0 where norms, floors or unknown factors stand beside them."""
    match term:
        case Vector():
            return 1
        case Monomial(norms=(), floors=(), inexact=False):
            # Of a vector with itself the product is a squared norm.
            return 0 if any(a.ident == b.ident for a, b in term.dots) else len(term.vectors) + 2 * len(term.dots)
    return 0


def multiply(left: Term, right: Term) -> Term:
    """``left * right``; a factor that is only a number changes nothing that matters here."""
    for term, other in ((left, right), (right, left)):
        if _is_number(term) and isinstance(other, Monomial | Vector | Accumulated | Aggregate):
            # Times a number: the direction, the norms and the floors stay.
            return other if isinstance(term, Constant) and term.value in (1, -1) else _unlimited(other)
    a, b = monomial(left), monomial(right)
    if a is None or b is None:
        return _numbers(left, right, lambda x, y: x * y)
    if isinstance(left, Constant) and isinstance(right, Constant):
        return _numbers(left, right, lambda x, y: x * y)
    if len(a.vectors) + len(b.vectors) > 3 or len(a.norms) + len(b.norms) > _MOST_FACTORS:
        return Unknown()
    floors = _floors(a, b)
    return Monomial(
        a.vectors + b.vectors,
        a.dots + b.dots,
        _norms(a, b),
        floors,
        a.inexact or b.inexact,
        a.clamped and b.clamped,
        a.dot_site or b.dot_site,
        a.label or b.label,
    )


def _unlimited(term: Term) -> Term:
    """Return a term whose clamp no longer ends where it did."""
    if isinstance(term, Aggregate) and term.limited:
        return Scalar()
    if isinstance(term, Vector) and term.name == ONES:
        return replace(term, name="")
    return replace(term, limit=None) if isinstance(term, Monomial) and term.limit is not None else term


def _floors(a: Monomial, b: Monomial) -> tuple[tuple[Floor, int], ...]:
    """Equal floors above and below the line cancel."""
    found = list(a.floors)
    for floor, sign in b.floors:
        if (floor, -sign) in found:
            found.remove((floor, -sign))
        elif (floor, sign) not in found:
            found.append((floor, sign))
    return tuple(found[:_MOST_FACTORS])


def _norms(a: Monomial, b: Monomial) -> tuple[tuple[Vector, float], ...]:
    powers = _Powers()
    for vector, exponent in (*a.norms, *b.norms):
        powers.vectors.setdefault(vector.ident, vector)
        powers.exponents[vector.ident] = powers.exponents.get(vector.ident, 0.0) + exponent
    return tuple((powers.vectors[ident], e) for ident, e in sorted(powers.exponents.items()) if e)


def _numbers(left: Term, right: Term, combine: Callable[[float, float], float]) -> Term:
    match left, right:
        case Constant(value=int() | float() as x), Constant(value=int() | float() as y):
            try:
                return Constant(combine(x, y), left.site)
            except (ArithmeticError, ValueError):
                return Unknown()
    return Unknown()


def inverse(term: Term, site: Site) -> Term:
    """``1 / term`` at ``site``, of products of norms only."""
    match term:
        case Constant(value=int() | float() as value) if value:
            try:
                return Constant(1 / value, term.site)
            except ArithmeticError:
                return Unknown()
    a = monomial(term)
    if a is None:
        return Unknown()
    a = _squares_as_norms(a)
    if a.vectors or a.dots:
        # One over an array or an inner product is a factor that nobody can name.
        return Monomial(inexact=True)
    floors = tuple((replace(f, quotient=f.quotient or site), -s) for f, s in a.floors)
    return Monomial(norms=tuple((v, -e) for v, e in a.norms), floors=floors, inexact=a.inexact)


def divide(left: Term, right: Term, site: Site) -> Term:
    if isinstance(left, Constant) and isinstance(right, Constant):
        return _numbers(left, right, lambda x, y: x / y)
    if isinstance(left, Accumulated):
        return Unknown()
    if _is_number(right):
        if isinstance(left, Aggregate) and left.how == "sum":
            return replace(left, how="mean", site=site)
        return _unlimited(left) if isinstance(left, Vector | Monomial | Aggregate | Sequence) else Unknown()
    return multiply(left, inverse(right, site))


def _squares_as_norms(term: Monomial) -> Monomial:
    """``a · a`` as the squared norm of ``a``."""
    if not any(a.ident == b.ident for a, b in term.dots):
        return term
    kept = tuple((a, b) for a, b in term.dots if a.ident != b.ident)
    squares = Monomial(norms=tuple((a, 2.0) for a, b in term.dots if a.ident == b.ident))
    return replace(term, dots=kept, norms=_norms(term, squares))


def power(term: Term, exponent: float, site: Site) -> Term:
    """``term ** exponent``, of roots and squares of what has norms only; elementwise squares of vectors."""
    if isinstance(term, Constant):
        if not -16 <= exponent <= 16:
            return Unknown()
        return _numbers(term, Constant(exponent), lambda x, y: _real(x**y))
    a = monomial(term)
    if a is None:
        return Unknown()
    if exponent == 2 and len(a.vectors) == 1:
        squared = multiply(a, a)
        return replace(squared, label=SQUARE) if isinstance(squared, Monomial) else squared
    if a.vectors:
        return Unknown()
    if exponent == 2 and any(x.ident != y.ident for x, y in a.dots):
        return multiply(a, a) if len(a.dots) == 1 else Monomial(inexact=True)
    a = _squares_as_norms(a)
    if a.dots:
        return Monomial(inexact=True)
    raised = Monomial(norms=tuple((v, e * abs(exponent)) for v, e in a.norms), floors=a.floors, inexact=a.inexact)
    return raised if exponent > 0 else inverse(raised, site)


def _real(value: object) -> float:
    if isinstance(value, complex) or not isinstance(value, int | float):
        raise ValueError
    return value


def negate(term: Term) -> Term:
    if isinstance(term, Constant):
        return _numbers(term, Constant(-1), lambda x, y: x * y)
    return term


def dot(left: Term, right: Term, site: Site, label: str = "") -> Term:
    """The inner product of two vectors, each with the norms and floors it was divided by."""
    a, b = monomial(left), monomial(right)
    if a is None or b is None or len(a.vectors) != 1 or len(b.vectors) != 1 or a.dots or b.dots:
        return Unknown()
    product = multiply(replace(a, vectors=()), replace(b, vectors=()))
    if not isinstance(product, Monomial):
        return Unknown()
    return replace(product, dots=((a.vectors[0], b.vectors[0]),), dot_site=site, label=label)


def total(term: Term, site: Site) -> Term:
    """The sum over the entries of a product of two vectors."""
    a = monomial(term)
    if a is None or len(a.vectors) != 2 or a.dots:
        return Unknown()
    x, y = a.vectors
    return replace(a, vectors=(), dots=((x, y),), dot_site=site)


def norm(term: Term) -> Term:
    """The Euclidean norm; of a unit vector one."""
    a = monomial(term)
    if a is None or len(a.vectors) != 1 or a.dots:
        return Unknown()
    return replace(a, vectors=(), norms=_norms(a, Monomial(norms=((a.vectors[0], 1.0),))))


def floored(term: Term, size: float | None, kind: FloorKind, site: Site) -> Term:
    """``term + eps`` or ``max(term, eps)`` of a product of norms; other terms stay as they are.

    A floor f under a product of norms of degree n bites where each norm is about f^(1/n).
    """
    a = monomial(term)
    if a is None:
        return term
    a = _squares_as_norms(a)
    if a.vectors or a.dots or not a.norms or any(e < 0 for _, e in a.norms):
        return term
    degree = sum(e for _, e in a.norms)
    bites = None if size is None else size ** (1 / degree)
    floor = Floor(size, kind, bites, tuple(v for v, _ in a.norms), site)
    return replace(a, floors=(*a.floors, (floor, 1)))


def add(left: Term, right: Term, site: Site) -> Term:
    """``left + right``: a floor, what a loop adds up, or something new."""
    for a, b in ((left, right), (right, left)):
        if isinstance(a, Constant) and not isinstance(a.value, bool) and a.value == 0:
            return b
    for a, b in ((left, right), (right, left)):
        match a:
            case Vector(lagged=True):
                return Accumulated(a, b)
            case Accumulated():
                return Accumulated(a.running, a.added)
            case Constant(value=int() | float() as value) if not isinstance(value, bool):
                if isinstance(b, Constant):
                    return _numbers(a, b, lambda x, y: x + y)
                if 0 < value <= 1e-2:
                    return floored(b, float(value), "add", a.site or site)
    if isinstance(left, Monomial) and isinstance(right, Monomial) and _alike(left, right):
        return left
    return Unknown()


def _alike(left: Monomial, right: Monomial) -> bool:
    """Return True for sums of the same kind, such as the inner products of two layers."""
    return (len(left.vectors), len(left.dots), len(left.norms)) == (
        len(right.vectors),
        len(right.dots),
        len(right.norms),
    ) and bool(left.dots or left.norms)


def key(term: Term) -> object:
    """Return what is equal for terms that no rule can tell apart."""
    match term:
        case Vector(ident=ident) | Sequence(ident=ident) | Mapping(ident=ident) | Instance(ident=ident):
            return type(term).__name__, ident
        case Constant(value=value):
            return "constant", type(value).__name__, repr(value) if isinstance(value, float) else value
        case Scalar(ident=ident):
            return "scalar", ident
        case Unknown():
            return "unknown"
        case Monomial():
            return (
                tuple(v.ident for v in term.vectors),
                tuple((a.ident, b.ident) for a, b in term.dots),
                tuple((v.ident, e) for v, e in term.norms),
                tuple((floor.site, sign) for floor, sign in term.floors),
                term.clamped,
                term.limit,
                term.inexact,
            )
    return id(term)


def unique(values: Iterable[Alternative]) -> Alternatives:
    """At most :data:`MOST` alternatives, without repetitions."""
    found: dict[object, Alternative] = {}
    for term, tags in values:
        found.setdefault((key(term), tags), (term, tags))
        if len(found) == MOST:
            break
    return tuple(found.values())


def renamed(term: Vector | Monomial, rename: Callable[[Vector], Vector]) -> Vector | Monomial:
    """Return a term of other vectors."""
    if isinstance(term, Vector):
        return rename(term)
    powers = Monomial(norms=tuple((rename(v), e) for v, e in term.norms))
    return replace(
        term,
        vectors=tuple(map(rename, term.vectors)),
        dots=tuple((rename(a), rename(b)) for a, b in term.dots),
        norms=_norms(powers, Monomial()),
    )


def identities(term: Term, depth: int = 0) -> Iterator[int]:
    """The identities of the vectors and containers that a term is made of."""
    match term:
        case Vector(ident=ident):
            yield ident
        case Monomial():
            yield from (v.ident for v in (*term.vectors, *(v for pair in term.dots for v in pair)))
            yield from (v.ident for v, _ in term.norms)
        case Sequence() | Mapping():
            yield term.ident
            if depth > _DEEPEST:
                return
            for inner, _ in term.element:
                yield from identities(inner, depth + 1)
            items = term.items or () if isinstance(term, Sequence) else [value for _, value in term.items]
            for item in items:
                for inner, _ in item:
                    yield from identities(inner, depth + 1)


def relabelled(term: Term, rename: Callable[[int], int], depth: int = 0) -> Term:
    """Return a term with other identities, in containers too."""
    if depth > _DEEPEST:
        return Unknown()

    def inside(values: Alternatives) -> Alternatives:
        return tuple((relabelled(inner, rename, depth + 1), tags) for inner, tags in values)

    def of_filter(filtered: int) -> int:
        return rename(filtered) if filtered else 0

    def other(vector: Vector) -> Vector:
        found = vector.at(rename(vector.ident))
        return replace(found, filtered=of_filter(vector.filtered)) if vector.filtered else found

    match term:
        case Vector() | Monomial():
            return renamed(term, other)
        case Sequence():
            items = None if term.items is None else tuple(map(inside, term.items))
            return Sequence(rename(term.ident), inside(term.element), items, term.over, of_filter(term.filtered))
        case Mapping():
            pairs = tuple((name, inside(item)) for name, item in term.items)
            return Mapping(rename(term.ident), pairs, inside(term.element), term.over, of_filter(term.filtered))
        case Instance(made=True):
            return replace(term, ident=rename(term.ident))
    return term


def _is_number(term: Term) -> bool:
    if isinstance(term, Scalar):
        return True
    return isinstance(term, Constant) and isinstance(term.value, int | float) and not isinstance(term.value, bool)
