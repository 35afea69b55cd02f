"""Evaluate what an expression computes, on demand, in the terms of :mod:`fa_lint.analysis.terms`.

A *frame* is one function with its arguments bound: once with unbound arguments, and once more for every
call with other arguments. An expression in a frame has a small set of values, one for each way it can come about.
Everything is found on demand and kept, so a file costs what its rules ask about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fa_lint.analysis import terms as t
from fa_lint.analysis.arithmetic import Arithmetic
from fa_lint.analysis.branches import decided, idle_blocks
from fa_lint.analysis.elements import Elements
from fa_lint.analysis.entries import Entries
from fa_lint.analysis.frames import DEEPEST, NOTHING, Frame
from fa_lint.analysis.library import Calls
from fa_lint.analysis.members import Members
from fa_lint.analysis.models import BUILTINS
from fa_lint.analysis.program import Module, Program
from fa_lint.analysis.variables import Variables
from fa_lint.semantics import ir
from fa_lint.semantics.names import Scope

__all__ = ["DERIVED", "Evaluator"]

# A file may ask for so much; what is beyond is unknown.
_MOST_FRAMES = 400
_MOST_FOREIGN = 32
_MOST_STEPS = 12_000
_FRAME_DEPTH = 6
_MOST_CALLS = 64
# Identities whose second part is that of the value they come from.
DERIVED = frozenset({"element", "attribute", "view", "joined", "copy", "copied after"})


class Evaluator:
    """Answers :meth:`of` for the expressions of the modules of a program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.identities = t.Identities()
        self.frames: list[Frame] = []
        # Module and node of a function → its frames with arguments bound.
        self.bound_frames: dict[tuple[int, int], list[Frame]] = {}
        self._roots: dict[tuple[int, int, int], Frame] = {}
        self._bound: dict[tuple[object, ...], Frame] = {}
        self.depth = 0
        self._steps = 0
        self._foreign = 0
        self.arithmetic = Arithmetic(self)
        self.elements = Elements(self)
        self.entries = Entries(self)
        self._calls = Calls(self)
        self.variables = Variables(self)
        self.members = Members(self)
        # The parts of arrays that were stacked.
        self.stacked: dict[int, tuple[t.Alternatives, ...]] = {}

    # -- frames -----------------------------------------------------------------------------------------------

    def root(
        self, module: Module, node: ir.Module | ir.FunctionDef | ir.Lambda, receiver: t.Instance | None = None
    ) -> Frame:
        """Return the frame of a function whose arguments are not bound."""
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

    def home(self, module: Module, node: ir.Node) -> Frame:
        """Return the frame of the function around a node, whose arguments are not bound."""
        scope = module.facts.names.scope_of(node)
        while isinstance(scope.node, ir.ClassDef | ir.Comprehension) and scope.parent is not None:
            scope = scope.parent
        owner = scope.node
        return self.root(module, owner if isinstance(owner, ir.FunctionDef | ir.Lambda) else module.facts.module)

    def arguments(self, frame: Frame, call: ir.Call) -> list[tuple[str | None, t.Alternatives]]:
        """Return the arguments of a call by keyword."""
        return self._calls.arguments(frame, call)

    def instance(self, module: Module, node: ir.ClassDef) -> t.Instance:
        return t.Instance(self.identities.of("instance", module.number, node.nid), module.number, node)

    def _parameter(self, frame: Frame, param: ir.Param) -> t.Alternatives:
        site = self.site(frame, param)
        if param.kind in ("star", "starstar"):
            element = t.single(self.vector(frame, param, "rest"))
            return t.single(t.Sequence(self.identities.of("rest", frame.number, param.nid), element))
        given = self.of(frame.outer, param.default) if param.default is not None and frame.outer is not None else ()
        if any(isinstance(term, t.Library) for term, _ in given):
            return given
        if any(isinstance(term, t.Constant) and isinstance(term.value, int | float) for term, _ in given):
            if not any(isinstance(term, t.Constant) and isinstance(term.value, bool) for term, _ in given):
                return given
        role = frame.module.facts.roles.parameter(param)
        named = role if role.kind != "unknown" else frame.module.facts.roles.named(param.name, param)
        vector = t.Vector(
            self.identities.of("argument", frame.number, param.nid),
            t.Role(named.kind),
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
            *self._around(function, call),
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
        self.bound_frames.setdefault((module.number, function.node.nid), []).append(frame)
        self._bound[key] = frame
        self._bind(frame, function.node, arguments, function.receiver is not None or root.receiver is not None)
        if frame.flow is not None and not any(name in ("*", "**") for name, _ in arguments):
            self._bind_defaults(frame, function.node)
            frame.idle = idle_blocks(frame.flow, frame.parameters)
        return frame

    def _around(self, function: t.Function, call: t.Site) -> tuple[int, ...]:
        """What tells calls of a function in a function apart: what it reads from around it."""
        if not isinstance(function.frame, Frame) or not self.is_inside(function):
            return ()
        return (function.frame.number, call.node if self.variables.reads_rebound(function.frame, function.node) else -1)

    def _bind_defaults(self, frame: Frame, node: ir.FunctionDef | ir.Lambda) -> None:
        """Bind the parameters that a call leaves to their constant defaults."""
        for param in node.params:
            left = t.one(frame.parameters.get(param.name, ()))
            if param.default is not None and isinstance(left, t.Vector) and left.argument and left.name == param.name:
                default = self.of(frame.outer, param.default)
                if isinstance(t.one(default), t.Constant):
                    frame.parameters[param.name] = default

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
        named = next((p for p in params if p.kind == "starstar"), None)
        extra: list[t.Alternatives] = []
        keyed: list[tuple[object, t.Alternatives]] = []
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
            elif any(param.name == name for param in params if param is not named):
                frame.parameters[name] = values
            else:
                keyed.append((name, values))
        if rest is not None and extra:
            ident = self.identities.of("extra", frame.number)
            frame.parameters[rest.name] = t.single(t.Sequence(ident, items=tuple(extra)))
        if named is not None and keyed:
            ident = self.identities.of("keyed", frame.number)
            frame.parameters[named.name] = t.single(t.Mapping(ident, tuple(keyed)))

    def returned(self, frame: Frame) -> t.Alternatives:
        """Return what a function returns in a frame."""
        if isinstance(frame.node, ir.Lambda):
            return self.of(frame, frame.node.body)
        flow = frame.flow
        if flow is None or not isinstance(frame.node, ir.FunctionDef):
            return NOTHING
        found: list[t.Alternative] = []
        returns = [statement for statement, block in flow.returns if block not in frame.idle]
        for index, statement in enumerate(returns):
            if statement.value is None:
                continue
            arm = (-1 - frame.number, index)
            for term, tags in self.of(frame, statement.value):
                found.append((term, tags | {arm} if len(returns) > 1 and len(tags) < 6 else tags))
        if not found:
            yielded = frame.module.facts.names.returned(frame.node)
            element = t.unique(a for value in yielded for a in self.of(frame, value))
            return t.single(t.Sequence(self.identities.of("yield", frame.number), element)) if element else NOTHING
        return t.unique(found)

    # -- places and vectors -----------------------------------------------------------------------------------

    def site(self, frame: Frame, node: ir.Node) -> t.Site:
        return t.Site(frame.module.number, node.nid)

    def vector(self, frame: Frame, node: ir.Node, *key: object) -> t.Vector:
        """Return a value that nothing is known of but what the module's names and calls say."""
        role = frame.module.facts.roles.of(node) if isinstance(node, ir.Expr) else None
        ident = self.identities.of("node", frame.number, node.nid, *key)
        if role is None or role.kind == "unknown":
            return t.Vector(ident)
        steps = tuple(t.Step(t.Site(frame.module.number, e.nid), e.text) for e in role.evidence)
        return t.Vector(ident, t.Role(role.kind), role.strength == 3, steps)

    def source(self, frame: Frame, node: ir.Node, role: t.Role, text: str, *key: object) -> t.Vector:
        """Return a value whose role a call shows."""
        ident = self.identities.of("node", frame.number, node.nid, *key)
        return t.Vector(ident, role, True, (t.Step(self.site(frame, node), text),))

    # -- expressions ------------------------------------------------------------------------------------------

    def of(self, frame: Frame | None, node: ir.Expr | None) -> t.Alternatives:
        """Return the values of an expression in a frame."""
        if frame is None or node is None:
            return NOTHING
        known = frame.known.get(node.nid)
        if known is not None:
            return known
        if self.depth > DEEPEST or self._steps > _MOST_STEPS:
            return NOTHING
        self._steps += 1
        # A value that depends on itself other than through a loop is unknown there.
        frame.known[node.nid] = NOTHING
        self.depth += 1
        try:
            found = self._evaluate(frame, node) or NOTHING
        except BaseException:
            del frame.known[node.nid]
            raise
        finally:
            self.depth -= 1
        frame.known[node.nid] = found
        return found

    def _evaluate(self, frame: Frame, node: ir.Expr) -> t.Alternatives:
        match node:
            case ir.Const(value=value):
                return t.single(t.Constant(value, self.site(frame, node)))
            case ir.Name():
                return self._name(frame, node)
            case ir.Attr():
                return self.members.of(frame, node)
            case ir.Call():
                return self._calls.of(frame, node)
            case ir.Binary(op="+") if _is_diagonal_sum(node):
                return t.single(self.arithmetic.trace(frame, node))
            case ir.Binary(op=op, left=left, right=right):
                return self.arithmetic.operation(frame, node, op, self.of(frame, left), self.of(frame, right))
            case ir.Unary(op="-", operand=operand):
                return tuple((t.negate(term), tags) for term, tags in self.of(frame, operand))
            case ir.Unary(op="+", operand=operand) | ir.Await(value=operand) | ir.Starred(value=operand):
                return self.of(frame, operand)
            case ir.Walrus(value=value):
                return self.of(frame, value)
            case ir.Conditional(
                test=ir.Compare(ops=["is" | "is not" as op], left=left, comparators=[ir.Const(value=None)])
            ) if self._is_none(frame, left):
                return self.of(frame, node.body if op == "is" else node.orelse)
            case ir.Conditional(test=test, body=body, orelse=orelse):
                chosen = self._chosen(frame, test)
                if chosen is not None:
                    return self.of(frame, body if chosen else orelse)
                return self.choice(frame, node, self.of(frame, body), self.of(frame, orelse))
            case ir.Bool(op="or", left=left, right=right) if self._is_none(frame, left):
                return self.of(frame, right)
            case ir.Bool(left=left, right=right):
                return self.arms(node, [self.of(frame, left), self.of(frame, right)])
            case ir.Subscript():
                return self.elements.subscript(frame, node)
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
        return NOTHING

    def _spread(self, frame: Frame, item: ir.Expr) -> t.Alternatives:
        values = self.of(frame, item)
        if not isinstance(item, ir.Starred):
            return values
        return t.unique(a for term, _ in values for a in self.elements.element(term, "spread", item.nid))

    def _chosen(self, frame: Frame, test: ir.Expr) -> bool | None:
        """Return whether a test holds with the arguments of a call."""
        if not frame.calls or frame.flow is None:
            return None
        return decided(frame.flow, frame.parameters, test)

    def _is_none(self, frame: Frame, node: ir.Expr) -> bool:
        term = t.one(self.of(frame, node))
        return isinstance(term, t.Constant) and term.value is None

    def choice(self, frame: Frame, node: ir.Node, first: t.Alternatives, second: t.Alternatives) -> t.Alternatives:
        """Return one of two values; a product of norms or a small number is the product with a floor."""
        for values, other in ((first, second), (second, first)):
            limit = t.one(other)
            if isinstance(limit, t.Constant) and isinstance(limit.value, float) and 0 < limit.value <= 1e-2:
                if any(isinstance(term, t.Monomial) and term.norms for term, _ in values):
                    site = limit.site or self.site(frame, node)
                    return tuple((t.floored(term, limit.value, "clamp", site), tags) for term, tags in values)
        return self.arms(node, [first, second])

    def arms(self, node: ir.Node, arms: list[t.Alternatives]) -> t.Alternatives:
        """Join the arms of a choice, so that values of different arms never meet."""
        return t.unique(
            (term, tags | {(node.nid, index)} if len(tags) < 6 else tags)
            for index, values in enumerate(arms)
            for term, tags in values
        )

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
        ident = self.identities.of("comprehension", frame.number, node.nid)
        turns = self._turns(frame, node)
        if turns and node.kind == "dict":
            keys = [t.one(self.of(turn, node.elements[0])) for turn in turns]
            pairs = zip(keys, turns, strict=True)
            if all(isinstance(key, t.Constant) for key in keys):
                items = tuple(
                    (key.value, self.of(turn, node.elements[1])) for key, turn in pairs if isinstance(key, t.Constant)
                )
                return t.single(t.Mapping(ident, items))
        elif turns:
            return t.single(t.Sequence(ident, items=tuple(self.of(turn, node.elements[0]) for turn in turns)))
        element = self.of(frame, node.elements[-1])
        over = self.variables.over(frame, node.clause.iter)
        filtered = self.entries.tested(frame, node.clause)
        for term, _ in () if filtered else self.of(frame, node.clause.iter):
            filtered = term.filtered if isinstance(term, t.Sequence) else 0
        if node.kind == "dict":
            return t.single(t.Mapping(ident, element=element, over=over, filtered=filtered))
        whole = node.clause.inner is None and not node.clause.conditions
        turn = (frame.number, node.clause.nid) if whole else (0, 0)
        return t.single(t.Sequence(ident, element, over=over, filtered=filtered, turn=turn))

    def _turns(self, frame: Frame, node: ir.Comprehension) -> list[Frame]:
        """Return a frame a turn of a comprehension over a few known items; nothing where they are not known."""
        clause = node.clause
        values = self.of(frame, clause.iter) if clause.inner is None else ()
        items = values[0][0].items if len(values) == 1 and isinstance(values[0][0], t.Sequence) else None
        if not items or clause.conditions or len(items) > t.MOST_TURNS or len(self.frames) > _MOST_FRAMES:
            return []
        found = []
        for item in items:
            turn = Frame(len(self.frames), frame.module, node, {}, frame, frame.receiver, frame.depth)
            for name in frame.module.facts.names.scopes[node.nid].bindings:
                path = _path(clause.target, name)
                if path is not None:
                    turn.parameters[name] = self.elements.unpacked(item, path, clause.nid)
            self.frames.append(turn)
            found.append(turn)
        return found

    # -- names ------------------------------------------------------------------------------------------------

    def _name(self, frame: Frame, node: ir.Name) -> t.Alternatives:
        names = frame.module.facts.names
        qualified = names.qualified(node)
        scope = self._owner(frame, node)
        if scope is None or isinstance(scope.node, ir.Module):
            if qualified is not None:
                return self.qualified(frame, node, qualified)
            if scope is None:
                return t.single(self._builtin(frame, node))
        found: t.Alternatives = ()
        if scope is None:
            return NOTHING
        match scope.node:
            case ir.Comprehension():
                found = self._bound_by_clause(frame, scope.node, node)
            case ir.ClassDef():
                found = self.members.of_class(frame.module, scope.node, node.id, None)
            case ir.Module() | ir.FunctionDef() | ir.Lambda():
                found = self.variables.of(frame, scope.node, node)
        if not any(not isinstance(term, t.Unknown) for term, _ in found):
            if qualified is not None:
                return self.qualified(frame, node, qualified)
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

    def qualified(self, frame: Frame, node: ir.Expr, name: str) -> t.Alternatives:
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

    # -- elements ---------------------------------------------------------------------------------------------

    def is_inside(self, function: t.Function) -> bool:
        """Return True for a function that is defined in another one."""
        return isinstance(function.frame, Frame) and isinstance(function.frame.node, ir.FunctionDef)

    def at_call(
        self, frame: Frame, node: ir.Node, term: t.Term, given: set[int], *, inside: bool = False, reads: bool = False
    ) -> t.Term:
        """Return what a call returns: the gradients that it reads are those of this call.

        ``given`` are the identities of its arguments, which stay what they are. A function ``inside`` another one also
        reads variables of the function around it, which nothing has changed. Where it only ``reads``, its gradients
        are those that stand there at the call.
        """
        origins = set(map(self.members.live, given))

        def rename(ident: int) -> int:
            if self._is_taken_from(ident, given):
                return ident
            whole = ident
            while self.members.live(whole) not in origins:
                key = self.identities.key(whole)
                if key[:1] == ("attribute",) and key[2] == "grad" and not reads:
                    break  # the gradient that this call reads
                if inside and (len(key) < 2 or key[0] not in DERIVED):
                    return self.members.read_at(frame, node, ident) if reads else ident
                if len(key) < 2 or key[0] not in DERIVED or not isinstance(key[1], int):
                    break
                whole = key[1]
            else:
                return self.members.read_at(frame, node, ident) if reads else ident
            return self.identities.of("returned", ident, frame.number, node.nid)

        return t.relabelled(term, rename)

    def _is_taken_from(self, ident: int, given: set[int]) -> bool:
        """Return True for one of some values, or a part or view of one."""
        while ident not in given:
            key = self.identities.key(ident)
            if len(key) < 2 or key[0] not in DERIVED or not isinstance(key[1], int) or key[2:3] == ("grad",):
                return False
            ident = key[1]
        return True

    # -- comprehensions ---------------------------------------------------------------------------------------

    def _bound_by_clause(self, frame: Frame, node: ir.Comprehension, name: ir.Name) -> t.Alternatives:
        turn: Frame | None = frame
        while turn is not None and isinstance(turn.node, ir.Comprehension):
            if turn.node is node:
                return turn.parameters.get(name.id, ())
            turn = turn.outer
        clause: ir.Clause | None = node.clause
        while clause is not None:
            path = _path(clause.target, name.id)
            if path is not None:
                elements = t.unique(
                    a
                    for term, _ in self.of(frame, clause.iter)
                    for a in self.elements.element(term, "turn", frame.number, clause.nid)
                )
                return self.elements.unpacked(elements, path, clause.nid)
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


def _key(values: t.Alternatives) -> tuple[object, ...]:
    """What two calls must share to share a frame."""
    return tuple(t.key(term) for term, _ in values)
