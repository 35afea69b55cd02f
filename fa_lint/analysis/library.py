"""What a call gives: a row of :mod:`fa_lint.analysis.models` applied to its arguments, or a function of the project."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fa_lint.analysis import terms as t
from fa_lint.analysis.interest import interesting
from fa_lint.analysis.models import BUILTINS, FUNCTIONS, METHODS, Row
from fa_lint.semantics import ir
from fa_lint.semantics.words import PLACES, words

if TYPE_CHECKING:
    from fa_lint.analysis.evaluator import Evaluator
from fa_lint.analysis.frames import Frame

__all__ = ["Calls"]

Arguments = list[tuple[str | None, t.Alternatives]]
_LAYER_WORDS = frozenset("hidden hiddens hs layers layer activations acts states blocks".split())
_MODEL_WORDS = frozenset("parameters params layers modules children".split())
# Copies that are made to be kept while the original changes.
_OWN_COPIES = frozenset("clone copy array tensor".split())
_HALVES = frozenset({"half", "bfloat16"})
_LAYOUTS = frozenset("unsqueeze expand repeat expand_as".split())
_READING = frozenset({"cosine", "dot", "einsum", "norm", "normalize", "unit", "square", "sum"})
_LENGTHS = frozenset("len numel nelement size int".split())
_COPIES = frozenset("clone copy float double half bfloat16 numpy tolist item array tensor".split())


@dataclass(slots=True)
class _Given:
    """A call with its arguments by parameter name."""

    frame: Frame
    node: ir.Call
    site: t.Site
    row: Row
    values: dict[str, t.Alternatives]
    positional: list[t.Alternatives]
    name: str

    def __getitem__(self, name: str) -> t.Alternatives:
        return self.values.get(name, ())

    @property
    def first(self) -> t.Alternatives:
        return t.present(self.positional[0] if self.positional else next(iter(self.values.values()), ()))


class Calls:
    """Evaluates the calls of an evaluator's frames."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._ev = evaluator

    def of(self, frame: Frame, node: ir.Call) -> t.Alternatives:
        """Return the values of a call."""
        qualified = frame.module.facts.names.qualified(node.func)
        row = FUNCTIONS.get(qualified or "")
        if row is not None:
            return self._apply(frame, node, row, qualified or "")
        callees = self._ev.of(frame, node.func) if not isinstance(node.func, ir.Attr) else self._attribute(frame, node)
        found: list[t.Alternative] = []
        for callee, tags in callees:
            for term, more in self._call(frame, node, callee):
                found.append((term, tags | more))
        return t.unique(found)

    def _attribute(self, frame: Frame, node: ir.Call) -> t.Alternatives:
        """Return what a method call calls; a method of an array is its row, and stands for itself."""
        assert isinstance(node.func, ir.Attr)
        qualified = frame.module.facts.names.qualified(node.func)
        if qualified is not None:
            return t.single(self._imported(frame, node, qualified))
        found: list[t.Alternative] = []
        for term, tags in t.present(self._ev.of(frame, node.func.value)):
            match term:
                case t.Instance():
                    found += [(x, tags | y) for x, y in self._ev.members.attribute(term, node.func.attr)] or [
                        (t.Unknown(), tags)
                    ]
                case t.Library(options=None) | t.Function():
                    found += [(x, tags | y) for x, y in self._ev.of(frame, node.func)]
                case _:
                    found.append((t.Library(f".{node.func.attr}", ((None, t.single(term)),)), tags))
        return t.unique(found)

    def _call(self, frame: Frame, node: ir.Call, callee: t.Term) -> t.Alternatives:
        match callee:
            case t.Function():
                return self._enter(frame, node, callee)
            case t.Instance(made=False):
                given = self.arguments(frame, node)
                ident = self._ev.identities.of("made", frame.number, node.nid)
                return t.single(replace(callee, ident=ident, made=True, given=tuple(given)))
            case t.Instance():
                for method in self._ev.calls_into(self._ev.members.attribute(callee, "__call__")):
                    return self._enter(frame, node, method)
                return t.single(self._named(frame, node))
            case t.Library(name=name, options=tuple() as options) if name.startswith("."):
                return self._method(frame, node, name.removeprefix("."), options[0][1])
            case t.Library(name=name, options=tuple()):
                return self._made_object(frame, node, callee)
            case t.Library(name=name):
                row = FUNCTIONS.get(name) or BUILTINS.get(name.removeprefix("builtins."))
                if row is not None:
                    return self._apply(frame, node, row, name)
                known = self._imported(frame, node, name)
                if not isinstance(known, t.Library):
                    return self._call(frame, node, known)
        return t.single(self._named(frame, node))

    def _imported(self, frame: Frame, node: ir.Call, name: str) -> t.Term:
        """Return what an imported name means in the run; only what is given gradients, or names them, is read."""
        if not self._ev.program.has_others:
            return t.Library(name)
        given = any(interesting(self._ev.of(frame, arg.value)) for arg in node.args)
        found = self._ev.program.imported(frame.module.number, name, given=given)
        return self._ev.project_object(*found) if found is not None else t.Library(name)

    def _named(self, frame: Frame, node: ir.Call) -> t.Vector:
        return self._ev.vector(frame, node)

    def _made_object(self, frame: Frame, node: ir.Call, callee: t.Library) -> t.Alternatives:
        """Calling what a library function made: a cosine module, a gradient function, a partial."""
        row = FUNCTIONS.get(callee.name)
        if row is None or callee.options is None:
            return t.single(self._named(frame, node))
        arguments = self.arguments(frame, node)
        if row.operation == "cosine_module":
            positional = [v for name, v in arguments if name is None]
            values = {name: v for name, v in callee.options if name}
            values |= dict(zip(("dim", "eps"), [v for name, v in callee.options if name is None], strict=False))
            given = _Given(frame, node, self._ev.site(frame, node), row, values, positional, callee.name)
            return self._cosine(given, *[*positional, (), ()][:2])
        if row.operation == "transform":
            gradient = t.single(self._gradient_vector(frame, node, "a gradient transform is applied here"))
            if "value" not in callee.name:
                return gradient
            ident, value = self._ev.identities.of("node", frame.number, node.nid, "pair"), t.single(t.Vector(0))
            pair = (gradient, value) if callee.name.endswith("grad_and_value") else (value, gradient)
            return t.single(t.Sequence(ident, items=pair))
        if row.operation == "named_tuple":
            return t.single(self._named_tuple(frame, node, callee.options, arguments))
        if row.operation == "partial":
            inner = callee.options[0][1] if callee.options else ()
            found: list[t.Alternative] = []
            for term, tags in inner:
                if isinstance(term, t.Function):
                    bound = replace(term, given=callee.options[1:])
                    found += [(x, tags | y) for x, y in self._enter(frame, node, bound)]
                elif isinstance(term, t.Library):
                    known = FUNCTIONS.get(term.name)
                    if known is not None:
                        given = self._given(frame, node, known, term.name, list(callee.options[1:]))
                        found += [(x, tags | y) for x, y in self._operate(given)]
            return t.unique(found)
        return t.single(self._named(frame, node))

    def _named_tuple(
        self, frame: Frame, node: ir.Call, options: tuple[tuple[str | None, t.Alternatives], ...], given: Arguments
    ) -> t.Term:
        """What ``namedtuple("Pair", "a b")`` makes of its arguments."""
        fields = t.one(options[1][1]) if len(options) > 1 else None
        names: list[object] = []
        if isinstance(fields, t.Constant) and isinstance(fields.value, str):
            names += fields.value.replace(",", " ").split()
        elif isinstance(fields, t.Sequence):
            names += [x.value if isinstance(x := t.one(item), t.Constant) else None for item in fields.items or ()]
        positional = [values for name, values in given if name is None]
        items = [*zip(names, positional, strict=False), *((name, values) for name, values in given if name)]
        return t.Mapping(self._ev.identities.of("made", frame.number, node.nid), tuple(items))

    # -- the project's functions ------------------------------------------------------------------------------

    def arguments(self, frame: Frame, node: ir.Call) -> Arguments:
        """Return the arguments of a call by keyword; ``*`` and ``**`` are spread where their items are known."""
        found: Arguments = []
        for arg in node.args:
            values = self._ev.of(frame, arg.value)
            if arg.star == "**":
                pairs = next((term.items for term, _ in values if isinstance(term, t.Mapping) and term.items), None)
                if pairs is None:
                    found.append(("**", values))
                else:
                    found += [(key, value) for key, value in pairs if isinstance(key, str)]
            elif arg.star == "*":
                items = next((term.items for term, _ in values if isinstance(term, t.Sequence) and term.items), None)
                if items is None:
                    found.append(("*", values))
                else:
                    found += [(None, item) for item in items]
            else:
                found.append((arg.keyword, values))
        return found

    def _enter(self, frame: Frame, node: ir.Call, function: t.Function) -> t.Alternatives:
        return t.unique(
            value
            for implementation in self._ev.program.implementations(function.module, function.node)
            for value in self._enter_one(frame, node, replace(function, node=implementation))
        )

    def _enter_one(self, frame: Frame, node: ir.Call, function: t.Function) -> t.Alternatives:
        arguments = self.arguments(frame, node)
        entered = self._ev.entered(function, arguments, self._ev.site(frame, node), frame)
        if entered is None:
            return t.single(self._named(frame, node))
        reads = entered.module.changes.only_reads(function.node)
        bound = [values for _, values in (*function.given, *arguments)]
        given = {ident for values in bound for term, _ in values for ident in t.identities(term)}
        if isinstance(function.node, ir.Lambda) or self._ev.is_inside(function):
            given |= self._captured(entered)
            values = self._ev.returned(entered)
            return tuple(
                (self._ev.at_call(frame, node, term, given, inside=True, reads=reads), tags) for term, tags in values
            )
        if reads and function.receiver is not None:
            given |= self._held(entered)
        values = self._ev.returned(entered)
        found = tuple((self._ev.at_call(frame, node, term, given, reads=reads), tags) for term, tags in values)
        said = self._named(frame, node)
        return t.unique(
            (replace(said, ident=self._ev.identities.of("result", frame.number, node.nid)), tags)
            if isinstance(term, t.Unknown)
            else (self._late(term, said), tags)
            for term, tags in found
        )

    def _captured(self, frame: Frame) -> set[int]:
        """Return the identities of the variables that a function reads from the one around it."""
        assert isinstance(frame.node, ir.FunctionDef | ir.Lambda)
        names, found = frame.module.facts.names, set()
        own = names.scopes.get(frame.node.nid)
        for part in ir.walk(frame.node.body):
            if isinstance(part, ir.Name) and own is not None and part.id not in own.bindings:
                found |= {ident for term, _ in self._ev.of(frame, part) for ident in t.identities(term)}
        return found

    def _held(self, frame: Frame) -> set[int]:
        """Return the identities of the attributes that a method reads from its object."""
        assert isinstance(frame.node, ir.FunctionDef | ir.Lambda)
        own = frame.node.params[0].name if frame.node.params else ""
        return {
            ident
            for part in ir.walk(frame.node.body)
            if isinstance(part, ir.Attr) and isinstance(part.value, ir.Name) and part.value.id == own
            for term, _ in self._ev.of(frame, part)
            for ident in t.identities(term)
        }

    def _late(self, term: t.Term, said: t.Vector) -> t.Term:
        if isinstance(term, t.Vector) and term.role is t.Role.UNKNOWN and said.role is not t.Role.UNKNOWN:
            return replace(term, role=said.role, computed=said.computed, evidence=said.evidence)
        return term

    # -- library functions ------------------------------------------------------------------------------------

    def _given(
        self,
        frame: Frame,
        node: ir.Call,
        row: Row,
        name: str,
        before: Arguments | None = None,
    ) -> _Given:
        arguments = [*(before or []), *self.arguments(frame, node)]
        positional = [values for keyword, values in arguments if keyword in (None, "*")]
        values = dict(zip(row.names, positional, strict=False))
        values |= {keyword: value for keyword, value in arguments if keyword is not None and keyword != "*"}
        return _Given(frame, node, self._ev.site(frame, node), row, values, positional, name)

    def _apply(self, frame: Frame, node: ir.Call, row: Row, name: str) -> t.Alternatives:
        return self._operate(self._given(frame, node, row, name))

    def _method(self, frame: Frame, node: ir.Call, attr: str, receiver: t.Alternatives) -> t.Alternatives:
        row = METHODS.get(attr)
        if row is None:
            said = self._named(frame, node)
            return t.single(said)
        return self._operate(self._given(frame, node, row, f".{attr}", [(None, receiver)]))

    def _operate(self, given: _Given) -> t.Alternatives:
        operation = _OPERATIONS.get(given.row.operation)
        if operation is None:
            return t.single(self._named(given.frame, given.node))
        if given.row.operation in _READING:
            given.positional = [self._as_now(given, values) for values in given.positional]
            given.values = {name: self._as_now(given, values) for name, values in given.values.items()}
        return operation(self, given) or t.single(self._named(given.frame, given.node))

    def _as_now(self, given: _Given, values: t.Alternatives) -> t.Alternatives:
        """Return values as they are at a call: the next backward pass adds to a ``.grad``."""
        return self._each(values, lambda term: self._ev.members.copied(given.frame, given.node, term))

    def _each(self, values: t.Alternatives, make: Callable[[t.Term], t.Term]) -> t.Alternatives:
        return t.unique((make(term), tags) for term, tags in values)

    def _pairs(self, given: _Given, make: Callable[[t.Term, t.Term], t.Term]) -> t.Alternatives:
        left = given.first
        right = given["other"] or given["b"] or (given.positional[1] if len(given.positional) > 1 else ())
        return t.unique((make(a, b), tags) for a, b, tags in t.both(left, t.present(right)))

    def _or_named(self, given: _Given, term: t.Term) -> t.Term:
        if not isinstance(term, t.Unknown):
            return term
        return self._named(given.frame, given.node)

    def _gradient_vector(self, frame: Frame, node: ir.Node, text: str) -> t.Vector:
        return self._ev.source(frame, node, t.Role.GRADIENT, text)

    def same(self, given: _Given) -> t.Alternatives:
        name = given.name.rpartition(".")[2]
        if name in _LAYOUTS:
            layout = (name, *(t.key(term) for values in given.positional[1:] for term, _ in values))
            return self._each(
                given.first, lambda term: _changed(term, lambda v: replace(v, layout=(*v.layout, *layout)))
            )
        if name not in _COPIES:
            return given.first
        if name in _HALVES:
            return self._each(given.first, lambda term: _changed(term, lambda vector: replace(vector, half=True)))
        own = name in _OWN_COPIES
        return self._each(given.first, lambda term: self._ev.members.copied(given.frame, given.node, term, own=own))

    def copy(self, given: _Given) -> t.Alternatives:
        """``copy.deepcopy``: training one of the two leaves the other as it was."""

        def of(term: t.Term) -> t.Term:
            if isinstance(term, t.Vector) and not term.role.is_gradient:
                return term.at(self._ev.identities.of("deep copy", term.ident, given.frame.number, given.node.nid))
            return self._ev.members.copied(given.frame, given.node, term, own=True)

        return self._each(given.first, of)

    def view(self, given: _Given) -> t.Alternatives:
        if given.name.endswith("narrow") and len(given.positional) == 4:
            start, size = t.one(given.positional[2]), t.one(given.positional[3])
            if isinstance(start, t.Constant) and start.value == 0 and isinstance(size, t.Scalar) and size.ident:
                part = ("slice", ((), ("value", size.ident), ()))
                return t.unique(x for term, _ in given.first for x in self._ev.element(term, "index", *part))
        # The same transposition of one value is one value; where its arguments differ, another.
        key = tuple(
            repr(term.value) if isinstance(term, t.Constant) else given.node.nid
            for values in given.positional[1:]
            for term, _ in values
        )
        return t.unique(
            (inner, tags | more)
            for term, tags in given.first
            for inner, more in self._ev.element(term, "view", given.name.rpartition(".")[2], *key)
        )

    def wrapped(self, given: _Given) -> t.Alternatives:
        """``jit(grad(f))`` computes what ``grad(f)`` does."""
        return tuple(way for way in given.first if isinstance(way[0], t.Library) and way[0].options is not None)

    def pullback(self, given: _Given) -> t.Alternatives:
        """``out, pull = vjp(f, x)``: what ``pull`` gives is a gradient."""
        ident = self._ev.identities.of("node", given.frame.number, given.node.nid, "pair")
        pull = t.Library("torch.func.grad", (), given.site)
        return t.single(t.Sequence(ident, items=(t.single(self._named(given.frame, given.node)), t.single(pull))))

    def gradient(self, given: _Given) -> t.Alternatives:
        vector = self._gradient_of(given)
        return t.single(t.Sequence(vector.ident, t.single(vector), over=self._differentiated_over(given)))

    def _gradient_of(self, given: _Given) -> t.Vector:
        inputs = next((a.value for a in given.node.args if a.keyword in ("inputs", "xs")), None)
        if inputs is None and len(given.node.args) > 1 and given.node.args[1].keyword is None:
            inputs = given.node.args[1].value
        for part in ir.walk(inputs) if inputs is not None else ():
            identifier = part.id if isinstance(part, ir.Name) else part.attr if isinstance(part, ir.Attr) else ""
            if set(words(identifier)) & PLACES:
                text = f"derivative by position `{identifier}`"
                return self._ev.source(given.frame, given.node, t.Role.SPATIAL, text)
        text = f"`{given.name}` computes a gradient"
        return self._ev.source(given.frame, given.node, t.Role.GRADIENT, text)

    def _differentiated_over(self, given: _Given) -> t.Over:
        inputs = given["inputs"]
        for term, _ in inputs:
            if isinstance(term, t.Sequence) and term.over == "layers":
                return "layers"
        node = next((a.value for a in given.node.args if a.keyword == "inputs"), None)
        if node is None and len(given.node.args) > 1:
            node = given.node.args[1].value
        identifier = node.id if isinstance(node, ir.Name) else node.attr if isinstance(node, ir.Attr) else ""
        said = set(words(identifier))
        return "layers" if said & (_LAYER_WORDS | _MODEL_WORDS) else "unknown"

    def dot(self, given: _Given) -> t.Alternatives:
        return self._pairs(given, lambda a, b: self._or_named(given, t.dot(a, b, given.site, given.name)))

    def einsum(self, given: _Given) -> t.Alternatives:
        said = t.one(given.positional[0]) if len(given.positional) == 2 else None
        if isinstance(said, t.Constant) and isinstance(said.value, str) and _is_trace(said.value):
            return t.single(self._ev.trace(given.frame, given.node))
        if len(given.positional) != 3:
            return ()
        left, right = given.positional[1:3]
        return t.unique((t.dot(a, b, given.site, "einsum"), tags) for a, b, tags in t.both(left, right))

    def sum(self, given: _Given) -> t.Alternatives:
        def of(term: t.Term) -> t.Term:
            match term:
                case t.Sequence() | t.Mapping():
                    return self._sum_of_elements(given, term)
                case t.Vector(ident=ident) if self._is_diagonal(ident):
                    return self._ev.trace(given.frame, given.node)
                case t.Monomial(vectors=()) if term.dots or term.norms:
                    return self._aggregate("sum", term, "unknown", given) if term.is_cosine else term
            found = t.total(term, given.site)
            return self._reduced(given, term) if isinstance(found, t.Unknown) else found

        return self._each(given.first, of)

    def _reduced(self, given: _Given, term: t.Term) -> t.Term:
        """Return a sum or mean of entries: a new vector of the same origin."""
        said, origin = self._named(given.frame, given.node), t.surest(t.single(term))
        if said.role is not t.Role.UNKNOWN:
            return said
        return replace(said, role=origin.role, computed=origin.computed, evidence=origin.evidence)

    def _is_diagonal(self, ident: int) -> bool:
        return self._ev.identities.key(ident)[2:4] in (("view", "diagonal"), ("view", "diag"))

    def trace(self, given: _Given) -> t.Alternatives:
        return t.single(self._ev.trace(given.frame, given.node))

    def _elements(self, term: t.Sequence | t.Mapping) -> t.Alternatives:
        if isinstance(term, t.Mapping):
            return t.unique((*(a for _, item in term.items for a in item), *term.element))
        return term.element or t.unique(a for item in term.items or () for a in item)

    def _over_all(self, whole: t.Sequence | t.Mapping, summand: t.Monomial) -> t.Term:
        """Return one summand as the sum over all elements; it is the sum where there is no other."""
        if isinstance(whole, t.Sequence) and whole.items is not None and len(whole.items) == 1:
            return summand
        return self._ev.variables.over_all(summand)

    def _sum_of_elements(self, given: _Given, term: t.Sequence | t.Mapping) -> t.Term:
        for inner, _ in self._elements(term):
            match inner:
                case t.Monomial() if inner.is_cosine:
                    return self._aggregate("sum", inner, term.over, given)
                case t.Angle():
                    return self._aggregate("sum", inner, term.over, given)
                case t.Monomial():
                    summand = t.total(inner, given.site) if len(inner.vectors) == 2 else inner
                    if isinstance(summand, t.Monomial) and (summand.dots or summand.norms):
                        return self._over_all(term, summand)
                case t.Vector(role=role) if role.is_gradient:
                    return inner.at(self._ev.identities.of("sum", given.frame.number, given.node.nid))
        return self._reduced(given, term)

    def _aggregate(self, how: str, term: t.Term, over: t.Over, given: _Given) -> t.Term:
        return t.Aggregate(how, term, over, given.site)

    def mean(self, given: _Given) -> t.Alternatives:
        def of(term: t.Term) -> t.Term:
            match term:
                case t.Sequence() | t.Mapping():
                    for inner, _ in self._elements(term):
                        if isinstance(inner, t.Angle) or (isinstance(inner, t.Monomial) and inner.is_cosine):
                            return self._aggregate("mean", inner, term.over, given)
                case t.Monomial() if term.is_cosine:
                    return self._aggregate("mean", term, "unknown", given)
                case t.Monomial(vectors=(_, _)):
                    return self._or_named(given, t.total(term, given.site))
            return self._reduced(given, term)

        return self._each(given.first, of)

    def cat(self, given: _Given) -> t.Alternatives:
        def of(term: t.Term) -> t.Term:
            if not isinstance(term, t.Sequence):
                return term
            elements = self._elements(term)
            filled = self._filled(given, term)
            if filled is not None:
                return filled
            for inner, _ in elements:
                match inner:
                    case t.Vector():
                        if term.items is not None and len(term.items) == 1:
                            return self._ev.members.copied(given.frame, given.node, inner)
                        joined = self._joined(given, term, inner)
                        copied = self._ev.members.copied(given.frame, given.node, joined)
                        joined = copied if isinstance(copied, t.Vector) else joined
                        if given.name.endswith("stack") and term.items:
                            self._ev.stacked[joined.ident] = term.items
                        return joined
                    case t.Monomial(vectors=(only,)):
                        return replace(inner, vectors=(self._joined(given, term, only),)) if not inner.norms else term
                    case t.Monomial() | t.Angle() | t.Aggregate():
                        return term
            return self._named(given.frame, given.node)

        return self._each(given.first, of)

    def _filled(self, given: _Given, term: t.Sequence) -> t.Term | None:
        """``cat([a, zeros(n - len(a))])``: an array with zeros behind it up to a length."""
        match given.node.args:
            case [ir.Arg(value=ir.Sequence(items=[_, ir.Call(func=func, args=args)])), *_]:
                name = func.attr if isinstance(func, ir.Attr) else func.id if isinstance(func, ir.Name) else ""
                if "zeros" in name and term.items is not None:
                    sizes = t.unique(x for arg in args for x in self._ev.of(given.frame, arg.value))
                    whole = t.one(term.items[0])
                    if whole is not None and self._ev.entries.combined("difference", (x for x, _ in sizes)) is not None:
                        return t.one(self._padded(given, whole, sizes))
        return None

    def pad(self, given: _Given) -> t.Alternatives:
        sizes = t.unique(x for term, _ in given["pad"] if isinstance(term, t.Sequence) for x in self._elements(term))
        return t.unique(x for term, _ in given.first for x in self._padded(given, term, sizes))

    def _padded(self, given: _Given, term: t.Term, sizes: t.Alternatives) -> t.Alternatives:
        """An array with more entries, as many as a length says."""
        said = [size.ident for size, _ in sizes if isinstance(size, t.Scalar) and size.ident]
        key = said[0] if said else -given.node.nid
        return self._ev.element(term, "padded", key) if isinstance(term, t.Vector) else t.single(term)

    def _joined(self, given: _Given, sequence: t.Sequence, element: t.Vector) -> t.Vector:
        whole = self._ev.variables.over_all(element)
        ident = self._ev.identities.of("joined", sequence.ident)
        if isinstance(whole, t.Vector) and whole.ident != element.ident:
            ident = whole.ident
        origin = element
        for inner, _ in self._elements(sequence):
            if isinstance(inner, t.Vector) and inner.role.is_gradient:
                origin = inner
        joined = origin.at(ident)
        if sequence.over == "layers":
            joined.name = t.WHOLE
        return replace(joined, filtered=sequence.filtered) if sequence.filtered else joined

    def norm(self, given: _Given) -> t.Alternatives:
        order = t.one(given["p"]) or t.one(given["ord"])
        if isinstance(order, t.Constant) and order.value not in (None, 2, 2.0, "fro"):
            return t.single(self._named(given.frame, given.node))

        def of(term: t.Term) -> t.Term:
            if isinstance(term, t.Sequence):
                # The norm of the norms of the parts.
                parts = [x for x, _ in self._elements(term)]
                first = parts[0] if parts else None
                whole = self._over_all(term, first) if isinstance(first, t.Monomial) else None
                is_norm = (
                    isinstance(whole, t.Monomial) and len(whole.norms) == 1 and not whole.dots and not whole.vectors
                )
                return whole if is_norm and whole is not None else self._named(given.frame, given.node)
            found = t.norm(term)
            if isinstance(found, t.Unknown) and isinstance(term, t.Monomial) and term.norms and not term.dots:
                return term  # the norm of a vector of norms
            return self._or_named(given, found)

        return self._each(given.first, of)

    def normalize(self, given: _Given) -> t.Alternatives:
        size = self._eps(given)
        return self._each(given.first, lambda term: self._unit(given, term, size))

    def _unit(self, given: _Given, term: t.Term, size: float | None) -> t.Term:
        length = t.norm(term)
        if size != 0:
            length = t.floored(length, size, "normalize", given.site)
        return self._or_named(given, t.divide(term, length, given.site))

    def unit(self, given: _Given) -> t.Alternatives:
        return self._each(given.first, lambda term: self._unit(given, term, 0.0))

    def _eps(self, given: _Given) -> float | None:
        """The size of a library's floor: its default, or what the call says; None where that is not known."""
        said = given["eps"]
        if not said:
            return given.row.floor
        term = t.one(said)
        value = term.value if isinstance(term, t.Constant) else None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def cosine(self, given: _Given) -> t.Alternatives:
        first, second = given.row.names[:2]
        return self._cosine(given, given[first], given[second])

    def distance(self, given: _Given) -> t.Alternatives:
        return self._cosine(given, given["u"], given["v"])

    def _cosine(self, given: _Given, left: t.Alternatives, right: t.Alternatives) -> t.Alternatives:
        size = None if given["**"] else self._eps(given)
        found: list[t.Alternative] = []
        for a, b, tags in t.both(left, right):
            if any(isinstance(side, t.Constant) and side.value is None for side in (a, b)):
                continue  # torch raises there
            product = t.dot(a, b, given.site, given.row.label)
            first, second = t.norm(a), t.norm(b)
            quotient = t.divide(t.divide(product, first, given.site), second, given.site)
            if not isinstance(quotient, t.Monomial):
                found.append((self._named(given.frame, given.node), tags))
                continue
            under = tuple(v for x in (a, b) if (m := t.monomial(x)) is not None and not m.norms for v in m.vectors)
            if size != 0 and given.row.floor is not None and under:
                floor = t.Floor(size, "library", size, under, given.site, given.site, bool(given["eps"] or given["**"]))
                quotient = replace(quotient, floors=(*quotient.floors, (floor, -1)))
            label = given.row.label or given.name
            found.append((replace(quotient, label=label, clamped=label == "safe_cosine"), tags))
        return t.unique(found)

    def made_object(self, given: _Given) -> t.Alternatives:
        """What is called later: a cosine module, a gradient function, a partial function, a kind of named tuple."""
        return t.single(t.Library(given.name, tuple(self.arguments(given.frame, given.node)), given.site))

    def multiply(self, given: _Given) -> t.Alternatives:
        return self._binary(given, "*")

    def divide(self, given: _Given) -> t.Alternatives:
        return self._binary(given, "/")

    def add(self, given: _Given) -> t.Alternatives:
        return self._binary(given, "+")

    def subtract(self, given: _Given) -> t.Alternatives:
        return self._binary(given, "-")

    def _binary(self, given: _Given, op: str) -> t.Alternatives:
        left = given.first
        right = given["other"] or (given.positional[1] if len(given.positional) > 1 else ())
        return self._ev.operation(given.frame, given.node, op, left, right)

    def root(self, given: _Given) -> t.Alternatives:
        return self._each(given.first, lambda term: self._or_named(given, t.power(term, 0.5, given.site)))

    def reverse_root(self, given: _Given) -> t.Alternatives:
        return self._each(given.first, lambda term: self._or_named(given, t.power(term, -0.5, given.site)))

    def reciprocal(self, given: _Given) -> t.Alternatives:
        return self._each(given.first, lambda term: self._or_named(given, t.inverse(term, given.site)))

    def square(self, given: _Given) -> t.Alternatives:
        return self._each(given.first, lambda term: self._or_named(given, t.power(term, 2, given.site)))

    def power(self, given: _Given) -> t.Alternatives:
        right = given[given.row.names[1]]
        return self._ev.operation(given.frame, given.node, "**", given.first, right)

    def clamp(self, given: _Given) -> t.Alternatives:
        low, high = given["min"] or given["a_min"], given["max"] or given["a_max"]
        return t.unique((self._bounded(given, term, t.one(low), t.one(high)), tags) for term, tags in given.first)

    def maximum(self, given: _Given) -> t.Alternatives:
        return self._bound(given, lower=True)

    def minimum(self, given: _Given) -> t.Alternatives:
        return self._bound(given, lower=False)

    def _bound(self, given: _Given, *, lower: bool) -> t.Alternatives:
        how = "greatest" if lower else "least"
        length = self._ev.entries.combined(how, self._compared(given))
        if length is not None:
            return t.single(length)
        if len(given.positional) < 2:
            return given.first if given.name.startswith("builtins.") else t.single(self._named(given.frame, given.node))
        found: list[t.Alternative] = []
        for a, b, tags in t.both(given.positional[0], given.positional[1]):
            limit, term = (a, b) if isinstance(a, t.Constant) or not isinstance(a, t.Monomial | t.Aggregate) else (b, a)
            bounds = (limit, None) if lower else (None, limit)
            found.append((self._bounded(given, term, *bounds), tags))
        return t.unique(found)

    def _compared(self, given: _Given) -> list[t.Term]:
        """What ``min`` and ``max`` compare: their arguments, or the elements of the only one."""
        found = [term for values in given.positional for term, _ in values]
        if len(given.positional) == 1 and len(found) == 1 and isinstance(found[0], t.Sequence):
            return [term for term, _ in self._elements(found[0])]
        return found

    def _bounded(self, given: _Given, term: t.Term, low: t.Term | None, high: t.Term | None) -> t.Term:
        if isinstance(term, t.Monomial) and (term.is_cosine or term.is_squared_cosine):
            return replace(term, clamped=True, limit=_limit(high, term.limit))
        if isinstance(term, t.Aggregate):
            # What a rotation's trace, its trace less one and its cosine are at the identity.
            ends = {"trace": 3.0, "trace less one": 2.0, "cosine of a rotation": 1.0}
            limit = _limit(high, ends.get(term.how) if term.limited else None)
            limited = limit is not None and limit == ends.get(term.how)
            return replace(term, limited=True) if limited else t.Scalar()
        if isinstance(term, t.Monomial) and (term.is_inner_product or term.is_component) and high is not None:
            return replace(term, limit=_limit(high, None))
        if isinstance(low, t.Constant) and isinstance(low.value, int | float) and not isinstance(low.value, bool):
            if 0 < low.value <= 1e-2:
                return t.floored(term, float(low.value), "clamp", low.site or given.site)
            return term
        return term if low is None or not isinstance(low, t.Vector) else t.floored(term, None, "clamp", given.site)

    def absolute(self, given: _Given) -> t.Alternatives:
        return given.first

    def negate(self, given: _Given) -> t.Alternatives:
        return given.first

    def angle(self, given: _Given) -> t.Alternatives:
        return self._each(
            given.first,
            lambda term: (
                t.Angle(term, given.site)
                if isinstance(term, t.Monomial) and term.is_cosine
                else self._named(given.frame, given.node)
            ),
        )

    def repair(self, given: _Given) -> t.Alternatives:
        return given.first

    def where(self, given: _Given) -> t.Alternatives:
        return self._ev.choice(given.frame, given.node, given["input"], given["other"])

    def sign(self, given: _Given) -> t.Alternatives:
        return t.single(self._ev.source(given.frame, given.node, t.Role.UNIT, "signs are of order one"))

    def zeros(self, given: _Given) -> t.Alternatives:
        if given.name.endswith("zeros_like") and given.first:
            return t.single(self._ev.source(given.frame, given.node, t.Role.ZEROS, "zeros"))
        return t.single(t.Constant(0.0, given.site))

    def full(self, given: _Given) -> t.Alternatives:
        return given["fill_value"] or t.single(self._named(given.frame, given.node))

    def content(self, given: _Given) -> t.Alternatives:
        return given["data"]

    def ones(self, given: _Given) -> t.Alternatives:
        vector = self._ev.source(given.frame, given.node, t.Role.DRAW, "ones")
        vector.name = t.ONES
        return t.single(vector)

    def draw(self, given: _Given) -> t.Alternatives:
        return t.single(self._ev.source(given.frame, given.node, t.Role.DRAW, f"`{given.name}` draws of order one"))

    def hidden(self, given: _Given) -> t.Alternatives:
        said = self._named(given.frame, given.node)
        if said.role is not t.Role.UNKNOWN:
            return t.single(said)
        return t.single(self._ev.source(given.frame, given.node, t.Role.HIDDEN, "values of order one"))

    def linear(self, given: _Given) -> t.Alternatives:
        """``F.linear`` of two unit vectors is their cosine."""
        found = t.one(
            self._pairs(replace(given, values={"other": given["weight"]}), lambda a, b: t.dot(a, b, given.site))
        )
        if not given["bias"] and isinstance(found, t.Monomial) and found.is_cosine:
            return t.single(found)
        return self.hidden(given)

    def number(self, given: _Given) -> t.Alternatives:
        if given.name.rpartition(".")[2] in _LENGTHS:
            return t.unique((self._ev.entries.length(term), tags) for term, tags in given.first)
        return t.single(t.Scalar())

    # -- containers -------------------------------------------------------------------------------------------

    def zip(self, given: _Given) -> t.Alternatives:
        ident = self._ev.identities.of("zip", given.frame.number, given.node.nid)
        over: t.Over = "unknown"
        columns = []
        for values in given.positional:
            column: list[t.Alternative] = []
            for term, tags in values:
                filtered = term.filtered if isinstance(term, t.Sequence) else 0
                whole = self._ev.entries.marked(self._whole(term), filtered)
                column += [(inner, tags | more) for inner, more in whole]
                if isinstance(term, t.Sequence | t.Mapping) and term.over != "unknown":
                    over = term.over
            columns.append(t.unique(column))
        known = [x.items if isinstance(x := t.one(values), t.Sequence) else None for values in given.positional]
        lists = [items for items in known if items is not None and 0 < len(items) <= t.MOST_TURNS]
        if known and len(lists) == len(known):
            rows = [t.single(t.Sequence(ident, items=row)) for row in zip(*lists, strict=False)]
            return t.single(t.Sequence(ident, items=tuple(rows), over=over))
        row = t.Sequence(ident, items=tuple(columns))
        return t.single(t.Sequence(ident, t.single(row), over=over))

    def _whole(self, term: t.Term) -> t.Alternatives:
        """What stands for each element of a container."""
        match term:
            case t.Sequence(element=element, items=None):
                return element
            case t.Sequence() | t.Mapping():
                return self._elements(term)
            case t.Vector():
                return t.single(term.at(self._ev.identities.of("element", term.ident, "each")))
        return t.single(t.Unknown())

    def enumerate(self, given: _Given) -> t.Alternatives:
        ident = self._ev.identities.of("enumerate", given.frame.number, given.node.nid)
        index = t.single(t.Vector(self._ev.identities.of("index", given.frame.number, given.node.nid)))
        found: list[t.Alternative] = []
        for term, tags in given.first:
            over = term.over if isinstance(term, t.Sequence | t.Mapping) else "unknown"
            if isinstance(term, t.Sequence) and term.items is not None and 0 < len(term.items) <= t.MOST_TURNS:
                rows = [t.Sequence(ident, items=(index, item)) for item in term.items]
                found.append((t.Sequence(ident, items=tuple(map(t.single, rows)), over=over), tags))
                continue
            row = t.Sequence(ident, items=(index, self._whole(term)))
            found.append((t.Sequence(ident, t.single(row), over=over), tags))
        return t.unique(found)

    def items(self, given: _Given) -> t.Alternatives:
        ident = self._ev.identities.of("items", given.frame.number, given.node.nid)
        over: t.Over = "layers" if given.name.rpartition(".")[2].startswith("named_") else "unknown"
        found: list[t.Alternative] = []
        for term, tags in given.first:
            name = t.single(t.Vector(self._ev.identities.of("key", ident)))
            value = self._whole(term)
            if given.name.endswith(("parameters", "state_dict")):
                value = t.single(self._parameter(given))
            if isinstance(term, t.Mapping) and term.over != "unknown":
                over = term.over
            if isinstance(term, t.Mapping) and 0 < len(term.items) <= t.MOST_TURNS and not term.element:
                pairs = [t.Sequence(ident, items=(t.single(t.Constant(k)), v)) for k, v in term.items]
                found.append((t.Sequence(ident, items=tuple(map(t.single, pairs)), over=over), tags))
                continue
            row = t.Sequence(ident, items=(name, value))
            found.append((t.Sequence(ident, t.single(row), over=over), tags))
        return t.unique(found)

    def _parameter(self, given: _Given) -> t.Vector:
        owners = [x.ident for x, _ in given.first if isinstance(x, t.Vector | t.Instance)]
        ident = owners[0] if owners else self._ev.identities.of("model", given.frame.number, given.node.nid)
        vector = self._ev.source(given.frame, given.node, t.Role.PARAMETER, "parameters of a model")
        return replace(vector, ident=self._ev.identities.of("parameters of", ident))

    def parameters(self, given: _Given) -> t.Alternatives:
        element: t.Vector = self._parameter(given)
        if not given.name.endswith(("parameters", "variables")):
            element = t.Vector(element.ident)
        return t.single(t.Sequence(element.ident, t.single(element), over="layers"))

    def values(self, given: _Given) -> t.Alternatives:
        return self._each(
            given.first,
            lambda term: (
                t.Sequence(term.ident, self._elements(term), over=term.over, filtered=term.filtered)
                if isinstance(term, t.Mapping)
                else term
            ),
        )

    def element(self, given: _Given) -> t.Alternatives:
        """``d.get(key, default)``, ``getattr(x, name, default)``."""
        name = t.one(given["key"])
        key = name.value if isinstance(name, t.Constant) else None
        found: list[t.Alternative] = []
        for term, tags in given.first:
            if key is None and given.name == ".pop" and isinstance(term, t.Sequence) and term.items:
                inner = term.items[-1]
            elif key is None:
                inner = self._ev.element(term, "index", *[v.ident for v in (name,) if isinstance(v, t.Vector)])
            else:
                inner = self._ev.item(term, key)
            found += [(x, tags | more) for x, more in inner]
        default = given["default"]
        if not default:
            return t.unique(found)
        return self._ev.arms(given.node, [t.unique(found), default])

    def first_of(self, given: _Given) -> t.Alternatives:
        # Two calls of ``next`` give two elements.
        key = ("first", given.frame.number, given.node.nid)
        return t.unique((x, tags | y) for term, tags in given.first for x, y in self._ev.element(term, *key))

    def dictionary(self, given: _Given) -> t.Alternatives:
        for term, tags in given.first:
            match term:
                case t.Sequence(element=((t.Sequence(items=(_, value)), _), *_)):
                    ident = self._ev.identities.of("dict", given.frame.number, given.node.nid)
                    return ((t.Mapping(ident, element=value, over=term.over), tags),)
                case t.Mapping():
                    return t.single(term)
        ident = self._ev.identities.of("dict", given.frame.number, given.node.nid)
        return t.single(t.Mapping(ident, tuple((k, v) for k, v in given.values.items() if k)))

    def range(self, given: _Given) -> t.Alternatives:
        ident = self._ev.identities.of("range", given.frame.number, given.node.nid)
        return t.single(t.Sequence(ident, t.single(t.Vector(ident))))

    def map(self, given: _Given) -> t.Alternatives:
        if len(given.positional) < 2:
            return ()
        ident = self._ev.identities.of("map", given.frame.number, given.node.nid)
        known = [x.items if isinstance(x := t.one(v), t.Sequence) else None for v in given.positional[1:]]
        rows = [row for row in known if row is not None and 0 < len(row) <= t.MOST_TURNS]
        if len(rows) == len(known):
            return t.single(
                t.Sequence(ident, items=tuple(self._mapped(given, row) for row in zip(*rows, strict=False)))
            )
        found = self._mapped(
            given, [t.unique(x for term, _ in v for x in self._whole(term)) for v in given.positional[1:]]
        )
        overs: list[t.Over] = [x.over for x, _ in given.positional[1] if isinstance(x, t.Sequence | t.Mapping)]
        over: t.Over = overs[0] if overs else "unknown"
        return t.single(t.Sequence(ident, found, over=over))

    def _mapped(self, given: _Given, row: Iterable[t.Alternatives]) -> t.Alternatives:
        """Return what the function that is mapped gives for a row of arguments."""
        arguments: Arguments = [(None, values) for values in row]
        found: list[t.Alternative] = []
        for term, _ in given.positional[0]:
            if isinstance(term, t.Library) and term.name == "builtins.len":
                found += self._each(arguments[0][1], self._ev.entries.length)
        for callee in self._ev.calls_into(given.positional[0]):
            frame = self._ev.entered(callee, arguments, given.site, given.frame)
            if frame is not None:
                found += self._ev.returned(frame)
        return t.unique(found) or t.single(self._named(given.frame, given.node))

    def pairs(self, given: _Given) -> t.Alternatives:
        """``combinations(x, 2)``, ``product(x, y)``: rows of one element each; the elements of one row differ."""
        node = given.node.nid
        ident = self._ev.identities.of("pairs", given.frame.number, node)
        picked = given.positional if given.name.endswith("product") else 2 * given.positional[:1]
        items = tuple(
            t.unique(a for term, _ in values for a in self._ev.element(term, "pick", number, given.frame.number, node))
            for number, values in enumerate(picked)
        )
        return t.single(t.Sequence(ident, t.single(t.Sequence(ident, items=items))))

    def filter(self, given: _Given) -> t.Alternatives:
        if len(given.positional) != 2:
            return ()
        ident = self._ev.identities.of("filter", given.frame.number, given.node.nid)
        found: list[t.Alternative] = []
        for term, tags in given.positional[1]:
            whole = self._whole(term)
            filtered = self._ev.entries.passing(given.node.args[0].value, whole)
            over = term.over if isinstance(term, t.Sequence | t.Mapping) else "unknown"
            found.append((t.Sequence(ident, whole, over=over, filtered=filtered), tags))
        return t.unique(found)

    def chain(self, given: _Given) -> t.Alternatives:
        ident = self._ev.identities.of("chain", given.frame.number, given.node.nid)
        element = t.unique(x for values in given.positional for term, _ in values for x in self._whole(term))
        return t.single(t.Sequence(ident, element))


def _changed(term: t.Term, change: Callable[[t.Vector], t.Vector]) -> t.Term:
    return t.renamed(term, change) if isinstance(term, t.Vector | t.Monomial) else term


def _limit(high: t.Term | None, before: float | None) -> float | None:
    """Return the upper bound after a clamp at ``high``: a number, a tensor of ones, or none."""
    match high:
        case None:
            return before
        case t.Constant(value=int() | float() as value) if not isinstance(value, bool) and abs(value) < 1e3:
            return float(value)
        case t.Vector(name=t.ONES):
            return 1.0
    return None


def _is_trace(equation: str) -> bool:
    """Return True for ``bii->b`` and ``...ii``."""
    operand, _, result = equation.replace(" ", "").partition("->")
    index = operand[-1:]
    return len(operand) > 1 and operand[-2:] == 2 * index and index.isalpha() and index not in result


_OPERATIONS: dict[str, Callable[[Calls, _Given], t.Alternatives]] = {
    "absolute": Calls.absolute,
    "add": Calls.add,
    "angle": Calls.angle,
    "cat": Calls.cat,
    "chain": Calls.chain,
    "clamp": Calls.clamp,
    "content": Calls.content,
    "copy": Calls.copy,
    "cosine": Calls.cosine,
    "cosine_module": Calls.made_object,
    "dictionary": Calls.dictionary,
    "distance": Calls.distance,
    "divide": Calls.divide,
    "dot": Calls.dot,
    "draw": Calls.draw,
    "einsum": Calls.einsum,
    "element": Calls.element,
    "enumerate": Calls.enumerate,
    "filter": Calls.filter,
    "first": Calls.first_of,
    "full": Calls.full,
    "gradient": Calls.gradient,
    "hidden": Calls.hidden,
    "items": Calls.items,
    "linear": Calls.linear,
    "map": Calls.map,
    "maximum": Calls.maximum,
    "mean": Calls.mean,
    "minimum": Calls.minimum,
    "multiply": Calls.multiply,
    "named_tuple": Calls.made_object,
    "negate": Calls.negate,
    "norm": Calls.norm,
    "normalize": Calls.normalize,
    "number": Calls.number,
    "ones": Calls.ones,
    "pairs": Calls.pairs,
    "parameters": Calls.parameters,
    "pad": Calls.pad,
    "partial": Calls.made_object,
    "power": Calls.power,
    "pullback": Calls.pullback,
    "range": Calls.range,
    "reciprocal": Calls.reciprocal,
    "repair": Calls.repair,
    "reverse_root": Calls.reverse_root,
    "root": Calls.root,
    "same": Calls.same,
    "sign": Calls.sign,
    "square": Calls.square,
    "subtract": Calls.subtract,
    "sum": Calls.sum,
    "trace": Calls.trace,
    "transform": Calls.made_object,
    "unit": Calls.unit,
    "values": Calls.values,
    "view": Calls.view,
    "where": Calls.where,
    "wrapper": Calls.wrapped,
    "zeros": Calls.zeros,
    "zip": Calls.zip,
}
