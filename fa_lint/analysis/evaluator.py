"""Evaluate what an expression computes, on demand, in the terms of :mod:`fa_lint.analysis.terms`.

A *frame* is one function with its arguments bound: once with arguments that nobody has bound, and once more for every
call with other arguments. An expression in a frame has a small set of values, one for each way it can come about.
Everything is found on demand and kept, so a file costs what its rules ask about.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from fa_lint.analysis import terms as t
from fa_lint.analysis.flow import Definition, Flow, Join, dotted
from fa_lint.analysis.library import Calls
from fa_lint.analysis.models import BUILTINS
from fa_lint.analysis.program import Module, Program
from fa_lint.semantics import ir
from fa_lint.semantics.names import Binding, Scope
from fa_lint.semantics.words import EPS_WORDS, words

__all__ = ["Evaluator", "Frame"]

_DEEPEST = 120
# A file may ask for so much; what is beyond is unknown.
_MOST_FRAMES = 400
_MOST_FOREIGN = 32
_MOST_STEPS = 12_000
_FRAME_DEPTH = 6
_MOST_CALLS = 64
_NOTHING: t.Alternatives = ((t.Unknown(), frozenset()),)
# Identities whose second part is that of the value they come from.
_DERIVED = (("element",), ("attribute",), ("view",), ("joined",))
_VIEWS = frozenset({"T", "mT", "H", "mH", "real", "data", "values"})


@dataclass(slots=True, eq=False)
class Frame:
    """One function (or module) with what its parameters are bound to."""

    number: int
    module: Module
    node: ir.Module | ir.FunctionDef | ir.Lambda
    parameters: dict[str, t.Alternatives] = field(default_factory=dict)
    outer: Frame | None = None
    receiver: t.Instance | None = None
    depth: int = 0
    # Where it is called with these arguments, and from which frame.
    calls: list[tuple[t.Site, Frame]] = field(default_factory=list)
    known: dict[int, t.Alternatives] = field(default_factory=dict)
    joins: dict[Join, t.Alternatives] = field(default_factory=dict)
    defined: dict[int, t.Alternatives] = field(default_factory=dict)

    @property
    def flow(self) -> Flow | None:
        return None if isinstance(self.node, ir.Lambda) else self.module.flow(self.node)


class Evaluator:
    """Answers :meth:`of` for the expressions of the modules of a program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.identities = t.Identities()
        self.frames: list[Frame] = []
        self._roots: dict[tuple[int, int, int], Frame] = {}
        self._bound: dict[tuple[object, ...], Frame] = {}
        self._attributes: dict[tuple[int, str], t.Alternatives] = {}
        self._depth = 0
        self._steps = 0
        self._foreign = 0
        self._calls = Calls(self)

    # -- frames -----------------------------------------------------------------------------------------------

    def root(
        self, module: Module, node: ir.Module | ir.FunctionDef | ir.Lambda, receiver: t.Instance | None = None
    ) -> Frame:
        """Return the frame of a function whose arguments nobody has bound."""
        key = (module.number, node.nid, receiver.ident if receiver else 0)
        if key in self._roots:
            return self._roots[key]
        names = module.facts.names
        frame = Frame(len(self.frames), module, node)
        self.frames.append(frame)
        self._roots[key] = frame
        if isinstance(node, ir.Module):
            return frame
        above = names.scope_of(node)
        while isinstance(above.node, ir.ClassDef | ir.Comprehension) and above.parent is not None:
            above = above.parent
        if isinstance(above.node, ir.FunctionDef | ir.Lambda | ir.Module):
            frame.outer = self.root(module, above.node)
        owner = names.scope_of(node).node
        if isinstance(owner, ir.ClassDef):
            frame.receiver = receiver or self.instance(module, owner)
        for index, param in enumerate(node.params):
            if index == 0 and frame.receiver is not None and param.name in ("self", "cls"):
                frame.parameters[param.name] = t.single(frame.receiver)
            else:
                frame.parameters[param.name] = self._parameter(frame, param)
        return frame

    def instance(self, module: Module, node: ir.ClassDef) -> t.Instance:
        return t.Instance(self.identities.of("instance", module.number, node.nid), module.number, node)

    def _parameter(self, frame: Frame, param: ir.Param) -> t.Alternatives:
        site = self.site(frame, param)
        if param.kind in ("star", "starstar"):
            element = t.single(self.vector(frame, param, "rest"))
            return t.single(t.Sequence(self.identities.of("rest", frame.number, param.nid), element))
        given = self.of(frame.outer, param.default) if param.default is not None and frame.outer is not None else ()
        if any(isinstance(term, t.Constant) and isinstance(term.value, int | float) for term, _ in given):
            if not any(isinstance(term, t.Constant) and isinstance(term.value, bool) for term, _ in given):
                return given
        role = frame.module.facts.roles.parameter(param)
        named = role if role.kind != "unknown" else frame.module.facts.roles.named(param.name, param)
        vector = t.Vector(
            self.identities.of("argument", frame.number, param.nid),
            _role(named.kind),
            named.strength == 3,
            tuple(t.Step(t.Site(site.module, e.nid), e.text) for e in named.evidence),
            argument=True,
            name=param.name,
        )
        return t.single(vector)

    def entered(
        self, function: t.Function, arguments: list[tuple[str | None, t.Alternatives]], call: t.Site, caller: Frame
    ) -> Frame | None:
        """Return the frame of a function with a call's arguments bound; None where that leads too far."""
        module = self.program.modules[function.module]
        arguments = [*function.given, *arguments]
        key = (
            function.module,
            function.node.nid,
            function.receiver.ident if function.receiver else 0,
            *((name, _key(values)) for name, values in arguments),
        )
        if key in self._bound:
            calls = self._bound[key].calls
            if len(calls) < _MOST_CALLS and (call, caller) not in calls:
                calls.append((call, caller))
            return self._bound[key]
        if caller.depth >= _FRAME_DEPTH or len(self.frames) >= _MOST_FRAMES:
            return None
        self._foreign += module.number > 0
        if self._foreign > _MOST_FOREIGN and module.number:
            return None
        root = self.root(module, function.node, function.receiver)
        outer = function.frame if isinstance(function.frame, Frame) else root.outer
        frame = Frame(len(self.frames), module, function.node, dict(root.parameters), outer, root.receiver)
        frame.depth = caller.depth + 1
        frame.calls.append((call, caller))
        self.frames.append(frame)
        self._bound[key] = frame
        self._bind(frame, function.node, arguments, function.receiver is not None or root.receiver is not None)
        return frame

    def _bind(
        self,
        frame: Frame,
        node: ir.FunctionDef | ir.Lambda,
        arguments: list[tuple[str | None, t.Alternatives]],
        method: bool,
    ) -> None:
        params = list(node.params)
        static = isinstance(node, ir.FunctionDef) and any(
            isinstance(d, ir.Name) and d.id == "staticmethod" for d in node.decorators
        )
        if method and not static and params and params[0].name in ("self", "cls"):
            params = params[1:]
        positional = [p for p in params if p.kind in ("posonly", "plain")]
        rest = next((p for p in params if p.kind == "star"), None)
        extra: list[t.Alternatives] = []
        taken = 0
        for name, values in arguments:
            if name == "*":
                return
            if name is None:
                if taken < len(positional):
                    frame.parameters[positional[taken].name] = values
                    taken += 1
                else:
                    extra.append(values)
            elif name in frame.parameters:
                frame.parameters[name] = values
        if rest is not None and extra:
            ident = self.identities.of("extra", frame.number)
            frame.parameters[rest.name] = t.single(t.Sequence(ident, items=tuple(extra)))

    def returned(self, frame: Frame) -> t.Alternatives:
        """Return what a function gives back in a frame."""
        if isinstance(frame.node, ir.Lambda):
            return self.of(frame, frame.node.body)
        flow = frame.flow
        if flow is None or isinstance(frame.node, ir.Module):
            return _NOTHING
        found: list[t.Alternative] = []
        for index, (statement, _) in enumerate(flow.returns):
            if statement.value is None:
                continue
            arm = (-1 - frame.number, index)
            for term, tags in self.of(frame, statement.value):
                found.append((term, tags | {arm} if len(flow.returns) > 1 and len(tags) < 6 else tags))
        if not found:
            yielded = frame.module.facts.names.returned(frame.node)
            element = t.unique(a for value in yielded for a in self.of(frame, value))
            return t.single(t.Sequence(self.identities.of("yield", frame.number), element)) if element else _NOTHING
        return t.unique(found)

    # -- places and vectors -----------------------------------------------------------------------------------

    def site(self, frame: Frame, node: ir.Node) -> t.Site:
        return t.Site(frame.module.number, node.nid)

    def vector(self, frame: Frame, node: ir.Node, *key: object) -> t.Vector:
        """Return a value that nothing is known of but what the module's names and calls say."""
        role = frame.module.facts.role(node) if isinstance(node, ir.Expr) else None
        ident = self.identities.of("node", frame.number, node.nid, *key)
        if role is None or role.kind == "unknown":
            return t.Vector(ident)
        steps = tuple(t.Step(t.Site(frame.module.number, e.nid), e.text) for e in role.evidence)
        return t.Vector(ident, _role(role.kind), role.strength == 3, steps)

    def source(self, frame: Frame, node: ir.Node, role: t.Role, text: str, *key: object) -> t.Vector:
        """Return a value whose role a call shows."""
        ident = self.identities.of("node", frame.number, node.nid, *key)
        return t.Vector(ident, role, True, (t.Step(self.site(frame, node), text),))

    # -- expressions ------------------------------------------------------------------------------------------

    def of(self, frame: Frame | None, node: ir.Expr | None) -> t.Alternatives:
        """Return the values of an expression in a frame."""
        if frame is None or node is None:
            return _NOTHING
        known = frame.known.get(node.nid)
        if known is not None:
            return known
        if self._depth > _DEEPEST or self._steps > _MOST_STEPS:
            return _NOTHING
        self._steps += 1
        # A value that depends on itself other than through a loop is unknown there.
        frame.known[node.nid] = _NOTHING
        self._depth += 1
        try:
            found = self._evaluate(frame, node) or _NOTHING
        except BaseException:
            del frame.known[node.nid]
            raise
        finally:
            self._depth -= 1
        frame.known[node.nid] = found
        return found

    def _evaluate(self, frame: Frame, node: ir.Expr) -> t.Alternatives:
        match node:
            case ir.Const(value=value):
                return t.single(t.Constant(value, self.site(frame, node)))
            case ir.Name():
                return self._name(frame, node)
            case ir.Attr():
                return self._attribute(frame, node)
            case ir.Call():
                return self._calls.of(frame, node)
            case ir.Binary(op="+") if _is_diagonal_sum(node):
                return t.single(self.trace(frame, node))
            case ir.Binary(op=op, left=left, right=right):
                return self.operation(frame, node, op, self.of(frame, left), self.of(frame, right))
            case ir.Unary(op="-", operand=operand):
                return tuple((t.negate(term), tags) for term, tags in self.of(frame, operand))
            case ir.Unary(op="+", operand=operand) | ir.Await(value=operand) | ir.Starred(value=operand):
                return self.of(frame, operand)
            case ir.Walrus(value=value):
                return self.of(frame, value)
            case ir.Conditional(body=body, orelse=orelse):
                return self.arms(node, [self.of(frame, body), self.of(frame, orelse)])
            case ir.Bool(left=left, right=right):
                return self.arms(node, [self.of(frame, left), self.of(frame, right)])
            case ir.Subscript():
                return self._subscript(frame, node)
            case ir.Sequence(items=items):
                if any(isinstance(item, ir.Starred) for item in items):
                    element = t.unique(a for item in items for a in self._spread(frame, item))
                    return t.single(t.Sequence(self.identities.of("list", frame.number, node.nid), element))
                ident = self.identities.of("list", frame.number, node.nid)
                return t.single(t.Sequence(ident, items=tuple(self.of(frame, item) for item in items)))
            case ir.Keyed(keys=keys, values=values):
                return t.single(self._dictionary(frame, node, keys, values))
            case ir.Comprehension():
                return self._comprehension(frame, node)
            case ir.Lambda():
                return t.single(t.Function(frame.module.number, node, frame))
        return _NOTHING

    def _spread(self, frame: Frame, item: ir.Expr) -> t.Alternatives:
        values = self.of(frame, item)
        if not isinstance(item, ir.Starred):
            return values
        return t.unique(a for term, _ in values for a in self.element(term, "spread", item.nid))

    def arms(self, node: ir.Node, arms: list[t.Alternatives]) -> t.Alternatives:
        """Join the arms of a choice, so that values of different arms never meet."""
        return t.unique(
            (term, tags | {(node.nid, index)} if len(tags) < 6 else tags)
            for index, values in enumerate(arms)
            for term, tags in values
        )

    def operation(
        self, frame: Frame, node: ir.Node, op: str, left: t.Alternatives, right: t.Alternatives
    ) -> t.Alternatives:
        """Return the values of a binary operation, for each pair of alternatives that can meet."""
        site = self.site(frame, node)
        found: list[t.Alternative] = []
        for a, b, tags in t.both(left, right):
            term: t.Term = t.Unknown()
            match op:
                case "/" | "*" if isinstance(a, t.Aggregate) and a.how == "trace less one":
                    half = isinstance(b, t.Constant) and b.value == (2 if op == "/" else 0.5)
                    term = replace(a, how="cosine of a rotation") if half else t.Unknown()
                case "*":
                    term = t.multiply(a, b)
                case "/":
                    term = t.divide(a, b, site)
                case "+":
                    term = t.add(a, b, site)
                case "-":
                    term = self._difference(a, b)
                    if isinstance(term, t.Unknown) and isinstance(b, t.Constant):
                        term = t.add(a, t.negate(b), site)
                case "@":
                    term = t.dot(a, b, site)
                case "**" if isinstance(b, t.Constant) and isinstance(b.value, int | float):
                    term = t.power(a, float(b.value), site) if abs(b.value) < 64 else t.Unknown()
            if isinstance(node, ir.Expr):
                if isinstance(term, t.Unknown):
                    term = self._unknown_floor(frame, node, op, a, b) or self._mixed(frame, node, op, a, b)
                elif isinstance(term, t.Monomial) and term.inexact and len(term.vectors) == 1 and not term.dots:
                    # A vector times an unknown factor is a new vector.
                    term = term.vectors[0].at(
                        self.identities.of("scaled", frame.number, node.nid, term.vectors[0].ident)
                    )
            found.append((term, tags))
        return t.unique(found)

    def trace(self, frame: Frame, node: ir.Node) -> t.Term:
        """Return the sum of a matrix's diagonal."""
        return t.Aggregate("trace", t.Unknown(), "unknown", self.site(frame, node))

    def _unknown_floor(self, frame: Frame, node: ir.Expr, op: str, a: t.Term, b: t.Term) -> t.Term | None:
        """A norm plus what is called eps."""
        if op != "+" or not isinstance(node, ir.Binary):
            return None
        for term, other, said in ((a, b, node.right), (b, a, node.left)):
            if isinstance(term, t.Monomial) and isinstance(other, t.Vector | t.Scalar | t.Unknown):
                name = (dotted(said) or "").rpartition(".")[2]
                if set(words(name)) & EPS_WORDS and frame.module.facts.qualified(said) is None:
                    found = t.floored(term, None, "add", self.site(frame, said))
                    return found if found is not term else None
        return None

    def _difference(self, a: t.Term, b: t.Term) -> t.Term:
        if isinstance(a, t.Aggregate | t.Monomial) and isinstance(b, t.Constant) and b.value == 1:
            # Of a rotation: one plus twice the cosine of its angle. <R, S> is the trace of RᵀS.
            if (isinstance(a, t.Aggregate) and a.how == "trace") or (isinstance(a, t.Monomial) and a.is_inner_product):
                return t.Aggregate("trace less one", t.Unknown(), "unknown", t.Site(0, 0))
        if isinstance(a, t.Constant) and a.value == 1 and isinstance(b, t.Monomial | t.Aggregate):
            return b  # one minus a cosine is as good as the cosine
        if isinstance(a, t.Vector) and a.lagged and isinstance(b, t.Monomial) and not b.vectors:
            return t.Accumulated(a, b)
        return t.Unknown()

    def _mixed(self, frame: Frame, node: ir.Expr, op: str, a: t.Term, b: t.Term) -> t.Term:
        """Something new of two values: its role is that of its parts."""
        vector = self.vector(frame, node, *(x.ident for x in (a, b) if isinstance(x, t.Vector)))
        if op == "-":
            vector.name = t.DIFFERENCE
        if vector.role is not t.Role.UNKNOWN or op not in "+-*@":
            return vector
        for part in (a, b):
            origin = part if isinstance(part, t.Vector) else None
            if isinstance(part, t.Monomial) and len(part.vectors) == 1 and not part.norms and op != "@":
                origin = part.vectors[0]
            if origin is not None and origin.role.is_gradient and origin.computed:
                return replace(vector, role=origin.role, computed=True, evidence=origin.evidence)
        return vector

    def _dictionary(self, frame: Frame, node: ir.Expr, keys: list[ir.Expr | None], values: list[ir.Expr]) -> t.Mapping:
        items = []
        rest: list[t.Alternative] = []
        for key, value in zip(keys, values, strict=True):
            found = self.of(frame, value)
            if isinstance(key, ir.Const):
                items.append((key.value, found))
            else:
                rest += found
        ident = self.identities.of("dict", frame.number, node.nid)
        return t.Mapping(ident, tuple(items[:32]), t.unique(rest))

    def _comprehension(self, frame: Frame, node: ir.Comprehension) -> t.Alternatives:
        element = self.of(frame, node.elements[-1])
        over = self._over(frame, node.clause.iter)
        ident = self.identities.of("comprehension", frame.number, node.nid)
        if node.kind == "dict":
            return t.single(t.Mapping(ident, element=element, over=over))
        return t.single(t.Sequence(ident, element, over=over))

    def _over(self, frame: Frame, iterated: ir.Expr) -> t.Over:
        for term, _ in self.of(frame, iterated):
            if isinstance(term, t.Sequence | t.Mapping) and term.over != "unknown":
                return term.over
        return "unknown"

    # -- names ------------------------------------------------------------------------------------------------

    def _name(self, frame: Frame, node: ir.Name) -> t.Alternatives:
        names = frame.module.facts.names
        qualified = names.qualified(node)
        scope = self._owner(frame, node)
        if scope is None or isinstance(scope.node, ir.Module):
            if qualified is not None:
                return self._qualified(frame, node, qualified)
            if scope is None:
                return t.single(self._builtin(frame, node))
        found: t.Alternatives = ()
        if scope is None:
            return _NOTHING
        match scope.node:
            case ir.Comprehension():
                found = self._bound_by_clause(frame, scope.node, node)
            case ir.ClassDef():
                found = self._class_attribute(frame.module, scope.node, node.id, None)
            case ir.Module() | ir.FunctionDef() | ir.Lambda():
                found = self._variable(frame, scope.node, node)
        if not any(not isinstance(term, t.Unknown) for term, _ in found):
            if qualified is not None:
                return self._qualified(frame, node, qualified)
            return t.single(self.vector(frame, node)) if not found or len(found) == 1 else found
        return found

    def _owner(self, frame: Frame, node: ir.Name) -> Scope | None:
        """Return the scope that binds a name."""
        scope: Scope | None = frame.module.facts.names.scope_of(node)
        first = True
        while scope is not None:
            if (first or not scope.is_class) and node.id in scope.bindings and node.id not in scope.outer:
                return scope
            first = False
            scope = scope.parent
        return None

    def _builtin(self, frame: Frame, node: ir.Name) -> t.Term:
        found = self.program.member(frame.module.number, node.id)
        if found is not None:
            return self.project_object(*found)
        if node.id in BUILTINS:
            return t.Library(f"builtins.{node.id}")
        vector = self.vector(frame, node)
        return replace(vector, ident=self.identities.of("global", frame.module.number, node.id))

    def _qualified(self, frame: Frame, node: ir.Expr, name: str) -> t.Alternatives:
        # A function or class of another file is looked up where it is called.
        number = frame.module.facts.values.number(node)
        if number is not None:
            return t.single(t.Constant(number, self.site(frame, node)))
        return t.single(t.Library(name))

    def project_object(self, module: int, node: ir.Node) -> t.Term:
        """Return a function, a class or a module of the run as a value."""
        match node:
            case ir.FunctionDef():
                return t.Function(module, node)
            case ir.ClassDef():
                ident = self.identities.of("class", module, node.nid)
                return t.Instance(ident, module, node, made=False)
        return t.Unknown()

    def _variable(self, frame: Frame, owner: ir.Module | ir.FunctionDef | ir.Lambda, node: ir.Name) -> t.Alternatives:
        home: Frame | None = frame
        while home is not None and home.node is not owner:
            home = home.outer
        if home is None:
            home = self.root(frame.module, owner)
        flow = home.flow
        if flow is None:
            return home.parameters.get(node.id, ())
        if home is frame:
            block, order = self._place(frame, flow, node)
        else:
            block, order = flow.end, 1 << 60
        return self.read(home, node.id, block, order)

    def _place(self, frame: Frame, flow: Flow, node: ir.Node) -> tuple[int, int]:
        names = frame.module.facts.names
        number = node.nid
        while number > 0:
            place = flow.places.get(number)
            if place is not None:
                return place
            number = names.parents[number]
        return flow.end, 1 << 60

    def read(self, frame: Frame, name: str, block: int, order: int) -> t.Alternatives:
        """Return the values of a variable at a place of a frame's function; nothing where it is not bound there."""
        flow = frame.flow
        assert flow is not None
        if name not in flow.names:
            return frame.parameters.get(name, ())
        return self._source(frame, flow, name, flow.reaching(name, block, order))

    def _source(self, frame: Frame, flow: Flow, name: str, source: Definition | Join | None) -> t.Alternatives:
        match source:
            case None:
                return frame.parameters.get(name, ())
            case Definition():
                return self._definition(frame, flow, source)
        return self._join(frame, flow, source)

    def _join(self, frame: Frame, flow: Flow, join: Join) -> t.Alternatives:
        known = frame.joins.get(join)
        if known is not None:
            return known
        loop = flow.blocks[join.block].entries >= 0
        if loop and not join.inside:
            return self._closed(frame, flow, join)
        frame.joins[join] = _NOTHING
        found: list[t.Alternative] = []
        returning: list[Definition | Join | None] = []
        for source, arm, back in flow.before(join):
            if back:
                returning.append(source)
                continue
            for term, tags in self._deeper(frame, flow, join.name, source):
                found.append((term, tags | {arm} if arm and not loop and len(tags) < 6 else tags))
        values = t.unique(found)
        if loop:
            values = self._running(frame, flow, join, values, returning)
        frame.joins[join] = values
        return values

    def _deeper(self, frame: Frame, flow: Flow, name: str, source: Definition | Join | None) -> t.Alternatives:
        if self._depth > _DEEPEST:
            return _NOTHING
        self._depth += 1
        try:
            return self._source(frame, flow, name, source)
        finally:
            self._depth -= 1

    def _running(
        self,
        frame: Frame,
        flow: Flow,
        join: Join,
        initial: t.Alternatives,
        returning: list[Definition | Join | None],
    ) -> t.Alternatives:
        """The value of a variable inside the loop that changes it: a new one in each turn.

        Where nothing in the loop binds it, the definitions come back to this very join, and it is the initial value.
        """
        if all(source == replace(join, inside=True) or source == join for source in returning):
            return initial
        running = t.Vector(self.identities.of("running", frame.number, join.block, join.name), lagged=True)
        if any(isinstance(term, t.Sequence | t.Mapping) for term, _ in initial):
            frame.joins[join] = initial
            turned = t.unique(a for source in returning for a in self._deeper(frame, flow, join.name, source))
            return turned or initial
        for term, _ in initial:
            vector = term if isinstance(term, t.Vector) else None
            if vector is not None and vector.role is not t.Role.UNKNOWN:
                running.role, running.computed, running.evidence = vector.role, vector.computed, vector.evidence
                break
        frame.joins[join] = t.single(running)
        if running.role is t.Role.UNKNOWN and not any(isinstance(x, t.Constant) for x, _ in initial):
            for source in returning:
                for term, _ in self._deeper(frame, flow, join.name, source):
                    if isinstance(term, t.Vector) and term is not running and term.role is not t.Role.UNKNOWN:
                        running.role, running.computed, running.evidence = term.role, term.computed, term.evidence
        return t.single(running)

    def _closed(self, frame: Frame, flow: Flow, join: Join) -> t.Alternatives:
        """The value of a variable behind the loop that changes it: the initial one, or what the turns made of it."""
        frame.joins[join] = _NOTHING
        inside = replace(join, inside=True)
        running = self._join(frame, flow, inside)
        initial: list[t.Alternative] = []
        turned: list[t.Alternative] = []
        for source, _, back in flow.before(join):
            inner = inside if source == join else source
            values = self._deeper(frame, flow, join.name, inner)
            (turned if back else initial).extend(values)
        found: list[t.Alternative] = []
        site = t.Site(frame.module.number, flow.blocks[join.block].loop)
        for term, tags in turned:
            if isinstance(term, t.Accumulated):
                # An empty loop leaves the initial value; that is the business of another rule.
                for start, _ in initial[:2] or [(t.Constant(0), frozenset())]:
                    added = self.over_all(term.added, flow.blocks[join.block].loop)
                    closed = t.add(start, self._summed(added, site), site)
                    found.append((closed if not isinstance(closed, t.Unknown) else term.added, tags))
            elif not (isinstance(term, t.Vector) and term.lagged and (term, tags) in running):
                found.append((term, tags))
        if not any(isinstance(term, t.Accumulated | t.Sequence | t.Mapping) for term, _ in turned):
            found += initial
        values = t.unique(found) or running
        frame.joins[join] = values
        return values

    def over_all(self, term: t.Term, loop: int = 0) -> t.Term:
        """Return a summand as the sum over all turns of a loop: an element of a turn stands for each element."""

        def rename(vector: t.Vector) -> t.Vector:
            ident = self._over_all(vector.ident, loop)
            return vector if ident == vector.ident else vector.at(ident)

        return t.renamed(term, rename) if isinstance(term, t.Monomial | t.Vector) else term

    def _over_all(self, ident: int, loop: int) -> int:
        match self.identities.key(ident):
            case ("element", int() as base, "turn", _, place) if not loop or place == loop:
                return self._over_all(base, loop)
            case ("element", int() as base, "each"):
                return self._over_all(base, loop)
            case ("element", int() as base, "index", "value", int() as index) if self._turns(index, loop):
                return self._over_all(base, loop)
            case ("element" | "attribute" | "view" as kind, int() as base, *rest):
                whole = self._over_all(base, loop)
                return ident if whole == base else self.identities.of(kind, whole, *rest)
        return ident

    def _turns(self, index: int, loop: int) -> bool:
        """Return True for an index that runs through a loop."""
        match self.identities.key(index):
            case ("element", _, "turn", _, place):
                return not loop or place == loop
            case ("element", int() as base, "each") | ("index", int() as base, *_):
                return base > 0
        return False

    def _summed(self, term: t.Term, site: t.Site) -> t.Term:
        if isinstance(term, t.Monomial) and term.is_cosine:
            return t.Aggregate("sum", term, "unknown", site)
        return term

    # -- definitions ------------------------------------------------------------------------------------------

    def _definition(self, frame: Frame, flow: Flow, definition: Definition) -> t.Alternatives:
        key = id(definition)
        known = frame.defined.get(key)
        if known is not None:
            return known
        frame.defined[key] = _NOTHING
        found = self._defined(frame, flow, definition)
        frame.defined[key] = found
        return found

    def _defined(self, frame: Frame, flow: Flow, definition: Definition) -> t.Alternatives:
        value = definition.value
        match definition.how:
            case "value":
                return self._late_role(frame, definition, self.of(frame, value))
            case "unpack":
                return self.unpacked(self.of(frame, value), definition.path, definition.node.nid)
            case "iterate":
                elements = t.unique(
                    a
                    for term, _ in self.of(frame, value)
                    for a in self.element(term, "turn", frame.number, definition.node.nid)
                )
                return self.unpacked(elements, definition.path, definition.node.nid)
            case "update":
                return self._updated(frame, flow, definition)
            case "method" | "store":
                return self._changed(frame, flow, definition)
            case "bound":
                return self._object_bound(frame, definition)
        return _NOTHING

    def _late_role(self, frame: Frame, definition: Definition, values: t.Alternatives) -> t.Alternatives:
        """Give a value of unknown role the role that its name suggests."""
        last = definition.name.rpartition(".")[2]
        named = frame.module.facts.roles.named(last, definition.node)
        if named.kind == "unknown":
            return values
        role = _role(named.kind)
        steps = tuple(t.Step(t.Site(frame.module.number, e.nid), e.text) for e in named.evidence)
        for term, _ in values:
            if isinstance(term, t.Vector) and term.role is t.Role.UNKNOWN and not term.lagged:
                term.role, term.computed, term.evidence = role, named.strength == 3, steps
        return values

    def _object_bound(self, frame: Frame, definition: Definition) -> t.Alternatives:
        match definition.node:
            case ir.FunctionDef() as function:
                return t.single(t.Function(frame.module.number, function, frame))
            case ir.ClassDef() as owner:
                return t.single(self.project_object(frame.module.number, owner))
            case ir.Import() | ir.ImportFrom():
                for binding in frame.module.facts.names.imports:
                    if binding.node is definition.node and binding.name == definition.name and binding.target:
                        found = self.program.imported(frame.module.number, binding.target)
                        return t.single(self.project_object(*found) if found is not None else t.Library(binding.target))
        return _NOTHING

    def _before(self, frame: Frame, flow: Flow, definition: Definition) -> t.Alternatives:
        return self._source(
            frame, flow, definition.name, flow.reaching(definition.name, definition.block, definition.order)
        )

    def _updated(self, frame: Frame, flow: Flow, definition: Definition) -> t.Alternatives:
        node = definition.node
        if not isinstance(node, ir.AugAssign):
            return _NOTHING
        if isinstance(node.target, ir.Subscript):
            return self._stored(frame, flow, definition, self._augmented_item(frame, node))
        before = self._before(frame, flow, definition)
        if not before and "." in definition.name:
            before = t.single(self._running_attribute(frame, definition.name))
        return self._augmented(frame, node, before, self.of(frame, node.value))

    def _augmented_item(self, frame: Frame, node: ir.AugAssign) -> t.Alternatives:
        return self._augmented(frame, node, self.of(frame, node.target), self.of(frame, node.value))

    def _augmented(
        self, frame: Frame, node: ir.AugAssign, before: t.Alternatives, value: t.Alternatives
    ) -> t.Alternatives:
        found = self.operation(frame, node, node.op, before, value)
        if all(isinstance(term, t.Unknown) for term, _ in found):
            # A new value of the same origin.
            return t.unique(
                (term.at(self.identities.of("updated", frame.number, node.nid, term.ident)), tags)
                if isinstance(term, t.Vector)
                else (t.Unknown(), tags)
                for term, tags in before
            )
        return found

    def augmented(self, frame: Frame, node: ir.AugAssign) -> t.Alternatives:
        """Return the values that an augmented assignment gives its target."""
        flow = frame.flow
        if flow is None or node.nid not in flow.places:
            return ()
        target = node.target
        while isinstance(target, ir.Subscript):
            target = target.value
        block, _ = flow.places[node.nid]
        for definition in flow.blocks[block].definitions.get(dotted(target) or "", ()):
            if definition.node is node:
                # Always in this order: a loop comes back to the definition before it has a value.
                found = self._definition(frame, flow, definition)
                return found if target is node.target else self._augmented_item(frame, node)
        return ()

    def _running_attribute(self, frame: Frame, name: str) -> t.Term:
        owner = frame.receiver.ident if frame.receiver is not None else 0
        return t.Vector(self.identities.of("running attribute", owner, name), lagged=True)

    def _changed(self, frame: Frame, flow: Flow, definition: Definition) -> t.Alternatives:
        before = self._before(frame, flow, definition)
        node = definition.node
        if definition.how == "store":
            return self._stored(frame, flow, definition, self.of(frame, definition.value))
        if not isinstance(node, ir.Call) or not isinstance(node.func, ir.Attr):
            return before
        attr = node.func.attr
        arguments = [arg.value for arg in node.args if not arg.star]
        if attr in ("append", "insert", "add", "appendleft", "setdefault", "extend") and arguments:
            added = self.of(frame, arguments[-1])
            if attr == "extend":
                added = t.unique(a for term, _ in added for a in self.element(term, "spread", node.nid))
            return self._grown(frame, node, before, added)
        return self.of(frame, node)

    def _grown(self, frame: Frame, node: ir.Node, before: t.Alternatives, added: t.Alternatives) -> t.Alternatives:
        """A list with one more element."""
        found: list[t.Alternative] = []
        over = self._loop_over(frame, node)
        for term, tags in before or _NOTHING:
            old: t.Alternatives = ()
            if isinstance(term, t.Sequence):
                old = term.element or t.unique(a for item in term.items or () for a in item)
                over = term.over if term.over != "unknown" else over
            ident = self.identities.of("grown", frame.number, node.nid)
            found.append((t.Sequence(ident, t.unique((*added, *old)), over=over), tags))
        return t.unique(found)

    def _loop_over(self, frame: Frame, node: ir.Node) -> t.Over:
        """What the innermost loop around a node ranges over."""
        for outer in frame.module.facts.names.ancestors(node):
            if isinstance(outer, ir.For):
                return self._over(frame, outer.iter)
            if isinstance(outer, ir.FunctionDef):
                break
        return "unknown"

    def _stored(self, frame: Frame, flow: Flow, definition: Definition, value: t.Alternatives) -> t.Alternatives:
        """``x[k] = v``: of a container its element, of an array a new array of the same origin."""
        node = definition.node
        target: ir.Node | None = None
        match node:
            case ir.Assign(targets=[first, *_]):
                target = first
            case ir.AugAssign(target=augmented):
                target = augmented
        key: object = None
        match target:
            case ir.Subscript(index=[ir.Const(value=value_of_key)]):
                key = value_of_key
        found: list[t.Alternative] = []
        before = self._before(frame, flow, definition)
        if not before and "." in definition.name:
            # An item of an attribute that another method has made.
            before = t.single(t.Mapping(self.identities.of("items of", definition.name)))
        for term, tags in before or _NOTHING:
            match term:
                case t.Sequence():
                    element = t.unique((*value, *term.element, *(a for item in term.items or () for a in item)))
                    ident = self.identities.of("stored", frame.number, node.nid, term.ident)
                    found.append((t.Sequence(ident, element, over=term.over), tags))
                case t.Mapping():
                    found.append((self._with_item(frame, node, term, key, value), tags))
                case t.Vector() if key is not None and isinstance(key, str):
                    ident = self.identities.of("stored", frame.number, node.nid, term.ident)
                    found.append((t.Mapping(ident, ((key, value),)), tags))
                case t.Vector():
                    found.append((term.at(self.identities.of("stored", frame.number, node.nid, term.ident)), tags))
                case _:
                    found.append((t.Unknown(), tags))
        return t.unique(found)

    def _with_item(
        self, frame: Frame, node: ir.Node, mapping: t.Mapping, key: object, value: t.Alternatives
    ) -> t.Mapping:
        over = mapping.over if mapping.over != "unknown" else self._loop_over(frame, node)
        if key is None:
            return replace(mapping, element=t.unique((*value, *mapping.element)), over=over)
        kept = tuple((name, item) for name, item in mapping.items if name != key)
        return replace(mapping, items=(*kept, (key, value)), over=over)

    # -- elements ---------------------------------------------------------------------------------------------

    def unpacked(self, values: t.Alternatives, path: tuple[int, ...], place: int) -> t.Alternatives:
        for index in path:
            values = t.unique(
                (inner, tags | more)
                for term, tags in values
                for inner, more in (self.item(term, index) if index >= 0 else t.single(term))
            )
        return values

    def item(self, term: t.Term, key: object) -> t.Alternatives:
        """Return the element of a container, or the part of an array, under a constant key."""
        match term:
            case t.Sequence() if isinstance(key, int) and -len(term.items or ()) <= key < len(term.items or ()):
                return (term.items or ())[key]
            case t.Mapping():
                for name, value in term.items:
                    if name == key:
                        return value
        return self.element(term, "at", key)

    def element(self, term: t.Term, *key: object) -> t.Alternatives:
        """Return one element of a container or an array; equal keys of one container give the same element."""
        match term:
            case t.Sequence(items=None) | t.Mapping(items=()):
                return t.unique(self._renamed(a, *key) for a in term.element)
            case t.Sequence():
                found = t.unique(a for item in term.items or () for a in item)
                if key and key[0] == "turn" and len(term.items or ()) > 1:
                    return t.unique(self._renamed(a, *key) for a in found)
                return found
            case t.Mapping():
                return t.unique((*(a for _, item in term.items for a in item), *term.element))
            case t.Vector():
                return t.single(term.at(self.identities.of("element", term.ident, *key)))
            case t.Monomial():
                return (self._renamed((term, frozenset()), *key),)
        return _NOTHING

    def _renamed(self, value: t.Alternative, *key: object) -> t.Alternative:
        """One of the values that an element stands for: its vectors are others than those of the next one."""
        term, tags = value

        def rename(ident: int) -> int:
            return self.identities.of("element", ident, *key)

        return t.relabelled(term, rename), tags

    def is_inside(self, function: t.Function) -> bool:
        """Return True for a function that is defined in another one."""
        return isinstance(function.frame, Frame) and isinstance(function.frame.node, ir.FunctionDef)

    def at_call(self, frame: Frame, node: ir.Node, term: t.Term, given: set[int]) -> t.Term:
        """Return what a call gives back: the gradients that it reads are those of this call.

        ``given`` are the identities of its arguments, which stay what they are.
        """

        def rename(ident: int) -> int:
            whole = ident
            while whole not in given:
                key = self.identities.key(whole)
                if (
                    len(key) < 2
                    or key[0] not in ("element", "attribute", "view", "joined")
                    or not isinstance(key[1], int)
                ):
                    return self.identities.of("returned", ident, frame.number, node.nid)
                whole = key[1]
            return ident

        return t.relabelled(term, rename)

    def _subscript(self, frame: Frame, node: ir.Subscript) -> t.Alternatives:
        named = dotted(node.value)
        if named is not None:
            frame.module.facts.names.statement(node)
        found: list[t.Alternative] = []
        index = node.index[0] if len(node.index) == 1 else None
        for term, tags in self.of(frame, node.value):
            for inner, more in self._taken(frame, node, term, index):
                found.append((inner, tags | more))
        return t.unique(found)

    def _taken(self, frame: Frame, node: ir.Subscript, term: t.Term, index: ir.Expr | None) -> t.Alternatives:
        if isinstance(term, t.Vector | t.Monomial) and self._keeps_values(node):
            return t.single(term)
        if isinstance(index, ir.Slice) and isinstance(term, t.Sequence):
            ident = self.identities.of("slice", frame.number, node.nid, term.ident)
            return t.single(
                t.Sequence(ident, term.element or t.unique(a for i in term.items or () for a in i), over=term.over)
            )
        key = self._index_key(frame, index) if index is not None else ("many", node.nid)
        if key is not None and key[0] == "constant":
            found = self.item(term, key[1])
        else:
            found = self.element(term, "index", *(key or (frame.number, node.nid)))
        if isinstance(term, t.Vector) and term.role is t.Role.UNKNOWN:
            said = self.vector(frame, node)
            if said.role is not t.Role.UNKNOWN:
                return t.single(replace(said, ident=self.identities.of("element", term.ident, *(key or (node.nid,)))))
        return found

    def _keeps_values(self, node: ir.Subscript) -> bool:
        """``x[:, None]``, ``x[None]``, ``x[...]``, ``x[:]``."""
        return all(
            (isinstance(part, ir.Const) and part.value in (None, ...))
            or (isinstance(part, ir.Slice) and part.lower is part.upper is part.step is None)
            for part in node.index
        )

    def _index_key(self, frame: Frame, index: ir.Expr) -> tuple[object, ...] | None:
        """What tells one index from another: a constant, or the value of a variable."""
        if isinstance(index, ir.Slice):
            parts = [self._index_key(frame, p) if p is not None else () for p in (index.lower, index.upper, index.step)]
            return None if None in parts else ("slice", tuple(parts))
        value = t.one(self.of(frame, index))
        match value:
            case t.Constant(value=int() | str() as constant):
                return "constant", constant
            case t.Vector(ident=ident):
                return "value", ident
            case t.Monomial(vectors=(only,), norms=()):
                return "value", only.ident
        return None

    # -- attributes -------------------------------------------------------------------------------------------

    def _attribute(self, frame: Frame, node: ir.Attr) -> t.Alternatives:
        qualified = frame.module.facts.names.qualified(node)
        if qualified is not None and not self._is_own(node):
            return self._qualified(frame, node, qualified)
        if isinstance(node.value, ir.Call):
            number = frame.module.facts.values.number(node)
            if number is not None:
                return t.single(t.Constant(number, self.site(frame, node)))
        name = dotted(node)
        flow = frame.flow
        # A backward pass writes `.grad` without an assignment.
        if name is not None and flow is not None and name in flow.names and node.attr != "grad":
            found = self.read(frame, name, *self._place(frame, flow, node))
            if found:
                return found
        found_here: list[t.Alternative] = []
        for term, tags in self.of(frame, node.value):
            found_here += [(inner, tags | more) for inner, more in self._member(frame, node, term)]
        return t.unique(found_here)

    def _is_own(self, node: ir.Attr) -> bool:
        inner: ir.Expr = node
        while isinstance(inner, ir.Attr):
            inner = inner.value
        return isinstance(inner, ir.Name) and inner.id in ("self", "cls")

    def _member(self, frame: Frame, node: ir.Attr, term: t.Term) -> t.Alternatives:
        attr = node.attr
        match term:
            case t.Instance():
                found = self.attribute(term, attr)
                if found:
                    return found
            case t.Library(name=name, options=None):
                return self._qualified(frame, node, f"{name}.{attr}")
            case t.Library():
                number = frame.module.facts.values.number(node)
                if number is not None:
                    return t.single(t.Constant(number, self.site(frame, node)))
            case t.Vector(ident=ident):
                return t.single(self._vector_attribute(frame, node, term, ident))
            case t.Monomial() if attr in _VIEWS:
                return (self._renamed((term, frozenset()), "view", attr),) if attr in ("T", "mT") else t.single(term)
        number = frame.module.facts.values.number(node)
        if number is not None:
            return t.single(t.Constant(number, self.site(frame, node)))
        vector = self.vector(frame, node)
        if isinstance(term, t.Instance):
            vector = replace(vector, ident=self.identities.of("attribute", term.ident, attr))
        return t.single(vector)

    def _vector_attribute(self, frame: Frame, node: ir.Attr, owner: t.Vector, ident: int) -> t.Term:
        attr = node.attr
        if attr == "data" or attr == "real":
            return owner
        if attr in _VIEWS:
            return owner.at(self.identities.of("view", ident, attr))
        if attr == "grad":
            return replace(self.source(frame, node, t.Role.GRADIENT, "`.grad` is a gradient"),
                           ident=self.identities.of("attribute", ident, attr, self._resets(frame, node)))  # fmt: skip
        vector = self.vector(frame, node)
        return replace(vector, ident=self.identities.of("attribute", ident, attr))

    def _resets(self, frame: Frame, node: ir.Node) -> int:
        return bisect_left(frame.module.facts.gradient_resets, node.nid)

    def copied(self, frame: Frame, node: ir.Node, term: t.Term) -> t.Term:
        """Return a copy: of a ``.grad``, what it holds until the next backward pass adds to it."""

        def rename(vector: t.Vector) -> t.Vector:
            match self.identities.key(vector.ident):
                case ("attribute", _, "grad", int()) as key:
                    passes = bisect_left(frame.module.facts.backward_calls, node.nid)
                    return vector.at(self.identities.of(*key, "copied after", passes))
            return vector

        is_array = isinstance(term, t.Vector) or (isinstance(term, t.Monomial) and bool(term.vectors))
        return t.renamed(term, rename) if is_array and isinstance(term, t.Vector | t.Monomial) else term

    def attribute(self, instance: t.Instance, attr: str) -> t.Alternatives:
        """Return what the methods of a class store in an attribute of its object, bases included."""
        key = (instance.ident, attr)
        if key in self._attributes:
            return self._attributes[key]
        self._attributes[key] = _NOTHING
        module = self.program.modules[instance.module]
        found = self._class_attribute(module, instance.node, attr, instance)
        if not found:
            for base in instance.node.bases:
                value = t.one(self.of(self.root(module, module.facts.module), base.value))
                if isinstance(value, t.Instance) and value.node is not instance.node:
                    inner = replace(
                        value, ident=self.identities.of("base", instance.ident), made=True, given=instance.given
                    )
                    found = self.attribute(inner, attr)
                    if found:
                        break
        self._attributes[key] = found
        return found

    def _class_attribute(
        self, module: Module, owner: ir.ClassDef, attr: str, instance: t.Instance | None
    ) -> t.Alternatives:
        names = module.facts.names
        found: list[t.Alternative] = []
        for binding in names.scopes[owner.nid].bindings.get(attr, ()):
            if isinstance(binding.node, ir.FunctionDef):
                function = t.Function(module.number, binding.node, receiver=instance)
                if any(isinstance(d, ir.Name) and "property" in d.id for d in binding.node.decorators):
                    frame = self.root(module, binding.node, instance)
                    return self.returned(frame)
                return t.single(function)
            if binding.how == "value" and binding.value is not None:
                found += self.of(self.root(module, module.facts.module), binding.value)
        initial: list[t.Alternative] = []
        for binding in names.attributes.get((owner.nid, attr), ()):
            values = self._attribute_binding(module, binding, instance)
            for term, tags in values:
                if isinstance(term, t.Accumulated):
                    found.append((self._summed(term.added, t.Site(module.number, binding.node.nid)), frozenset()))
                else:
                    initial.append((term, frozenset(tags)))
        if (
            found
            and all(isinstance(x, t.Constant | t.Vector) for x, _ in initial)
            and any(isinstance(x, t.Monomial | t.Aggregate) for x, _ in found)
        ):
            return t.unique(found)
        return t.unique((*found, *initial))

    def _attribute_binding(self, module: Module, binding: Binding, instance: t.Instance | None) -> t.Alternatives:
        function = module.facts.names.enclosing_function(binding.node)
        if function is None:
            return ()
        frame = self.root(module, function, instance)
        if instance is not None and instance.given and function.name == "__init__":
            entered = self.entered(
                t.Function(module.number, function, receiver=replace(instance, given=())), list(instance.given),
                t.Site(module.number, binding.node.nid), frame,
            )  # fmt: skip
            frame = entered or frame
        flow = frame.flow
        name = f"{function.params[0].name if function.params else 'self'}.{binding.name}"
        if flow is None:
            return ()
        for block in flow.blocks:
            for definition in block.definitions.get(name, ()):
                if definition.node is binding.node:
                    return self._definition(frame, flow, definition)
        return ()

    # -- comprehensions ---------------------------------------------------------------------------------------

    def _bound_by_clause(self, frame: Frame, node: ir.Comprehension, name: ir.Name) -> t.Alternatives:
        clause: ir.Clause | None = node.clause
        while clause is not None:
            path = _path(clause.target, name.id)
            if path is not None:
                elements = t.unique(
                    a
                    for term, _ in self.of(frame, clause.iter)
                    for a in self.element(term, "turn", frame.number, clause.nid)
                )
                return self.unpacked(elements, path, clause.nid)
            clause = clause.inner
        return ()

    def calls_into(self, values: t.Alternatives) -> Iterator[t.Function]:
        """The functions of the project that a callee can be."""
        for term, _ in values:
            if isinstance(term, t.Function):
                yield term


def _path(target: ir.Expr, name: str) -> tuple[int, ...] | None:
    match target:
        case ir.Name(id=identifier):
            return () if identifier == name else None
        case ir.Starred(value=inner):
            found = _path(inner, name)
            return None if found is None else (-1, *found)
        case ir.Sequence(items=items):
            for index, item in enumerate(items):
                found = _path(item, name)
                if found is not None:
                    return (index, *found)
    return None


def _is_diagonal_sum(node: ir.Binary) -> bool:
    """Return True for ``m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]``."""
    entries: list[ir.Subscript] = []
    stack: list[ir.Expr] = [node]
    while stack:
        match stack.pop():
            case ir.Binary(op="+", left=left, right=right):
                stack += [right, left]
            case ir.Subscript() as entry if len(entry.index) >= 2:
                entries.append(entry)
            case _:
                return False
    last = [tuple(i.value if isinstance(i, ir.Const) else None for i in entry.index[-2:]) for entry in entries]
    same = all(ir.same(entries[0].value, entry.value) for entry in entries)
    return same and last == [(number, number) for number in range(len(entries))]


def _role(kind: str) -> t.Role:
    return t.Role(kind)


def _key(values: t.Alternatives) -> tuple[object, ...]:
    """What two calls must share to share a frame."""
    return tuple(t.key(term) for term, _ in values)
