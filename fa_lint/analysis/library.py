"""What a call gives: a row of :mod:`fa_lint.analysis.models` applied to its arguments, or a function of the project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fa_lint.analysis import terms as t
from fa_lint.analysis.containers import Containers
from fa_lint.analysis.frames import Frame
from fa_lint.analysis.interest import interesting
from fa_lint.analysis.models import BUILTINS, FUNCTIONS, METHODS, Row
from fa_lint.analysis.operations import Arguments, Given
from fa_lint.semantics import ir

__all__ = ["Calls"]

_READING = frozenset({"cosine", "dot", "einsum", "norm", "normalize", "unit", "square", "sum"})


class Calls(Containers):
    """Evaluates the calls of an evaluator's frames."""

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
            given = Given(frame, node, self._ev.site(frame, node), row, values, positional, callee.name)
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
                    project = self._imported(frame, node, term.name) if known is None else None
                    if isinstance(project, t.Function):
                        found += self._enter(frame, node, replace(project, given=callee.options[1:]))
                    elif known is not None:
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
    ) -> Given:
        arguments = [*(before or []), *self.arguments(frame, node)]
        positional = [values for keyword, values in arguments if keyword in (None, "*")]
        values = dict(zip(row.names, positional, strict=False))
        values |= {keyword: value for keyword, value in arguments if keyword is not None and keyword != "*"}
        return Given(frame, node, self._ev.site(frame, node), row, values, positional, name)

    def _apply(self, frame: Frame, node: ir.Call, row: Row, name: str) -> t.Alternatives:
        return self._operate(self._given(frame, node, row, name))

    def _method(self, frame: Frame, node: ir.Call, attr: str, receiver: t.Alternatives) -> t.Alternatives:
        row = METHODS.get(attr)
        if row is None:
            said = self._named(frame, node)
            return t.single(said)
        return self._operate(self._given(frame, node, row, f".{attr}", [(None, receiver)]))

    def _operate(self, given: Given) -> t.Alternatives:
        operation = _OPERATIONS.get(given.row.operation)
        if operation is None:
            return t.single(self._named(given.frame, given.node))
        if given.row.operation in _READING:
            given.positional = [self._as_now(given, values) for values in given.positional]
            given.values = {name: self._as_now(given, values) for name, values in given.values.items()}
        return operation(self, given) or t.single(self._named(given.frame, given.node))

    def made_object(self, given: Given) -> t.Alternatives:
        """What is called later: a cosine module, a gradient function, a partial function, a kind of named tuple."""
        return t.single(t.Library(given.name, tuple(self.arguments(given.frame, given.node)), given.site))


_OPERATIONS: dict[str, Callable[[Calls, Given], t.Alternatives]] = {
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
    "outer": Calls.outer,
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
    "set_default": Calls.set_default,
    "sign": Calls.sign,
    "size": Calls.size,
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
