"""The values of a variable at a place of its function: definitions, joins of branches, loops."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fa_lint.analysis import terms as t
from fa_lint.analysis.flow import Definition, Flow, Join, dotted
from fa_lint.analysis.frames import DEEPEST, NOTHING, Frame
from fa_lint.semantics import ir

if TYPE_CHECKING:
    from fa_lint.analysis.evaluator import Evaluator

__all__ = ["Variables"]


class Variables:
    """Follows the names of one frame to the definitions that reach a place."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._ev = evaluator

    def over(self, frame: Frame, iterated: ir.Expr) -> t.Over:
        for term, _ in self._ev.of(frame, iterated):
            if isinstance(term, t.Sequence | t.Mapping) and term.over != "unknown":
                return term.over
        return "unknown"

    def of(self, frame: Frame, owner: ir.Module | ir.FunctionDef | ir.Lambda, node: ir.Name) -> t.Alternatives:
        home: Frame | None = frame
        while home is not None and home.node is not owner:
            home = home.outer
        if home is None:
            home = self._ev.root(frame.module, owner)
        flow = home.flow
        if flow is None:
            return home.parameters.get(node.id, ())
        block, order = flow.end, 1 << 60
        if home is frame.home:
            block, order = self.place(frame, flow, node)
        elif (called := self._called_at(frame.home, home)) is not None:
            block, order = called
        elif isinstance(frame.home.node, ir.FunctionDef | ir.Lambda):
            defined = self.place(home, flow, frame.home.node)
            if flow.blocks[defined[0]].loops and flow.reaching(node.id, *defined) is not None:
                # A function that a loop defines sees the variables of its turn.
                block, order = defined
        return self.read(home, node.id, block, order)

    def _called_at(self, inner: Frame, outer: Frame) -> tuple[int, int] | None:
        """Return the place where a function around another one makes its only call of it."""
        if len(inner.calls) != 1 or inner.calls[0][1].home is not outer or outer.flow is None:
            return None
        return self.place(outer, outer.flow, outer.module.facts.node(inner.calls[0][0].node))

    def reads_rebound(self, outer: Frame, node: ir.FunctionDef | ir.Lambda) -> bool:
        """Return True for a function in a function that reads what the one around it binds in several places."""
        flow = outer.home.flow
        if flow is None or not flow.rebound:
            return False
        own = outer.module.facts.names.scopes[node.nid].bindings
        return any(
            isinstance(part, ir.Name) and part.id in flow.rebound and part.id not in own for part in ir.walk(node)
        )

    def place(self, frame: Frame, flow: Flow, node: ir.Node) -> tuple[int, int]:
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
                return self.definition(frame, flow, source)
        return self._join(frame, flow, source)

    def _join(self, frame: Frame, flow: Flow, join: Join) -> t.Alternatives:
        known = frame.joins.get(join)
        if known is not None:
            return known
        loop = flow.blocks[join.block].entries >= 0
        if loop and not join.inside:
            return self._closed(frame, flow, join)
        frame.joins[join] = NOTHING
        found: list[t.Alternative] = []
        returning: list[Definition | Join | None] = []
        for source, arm, back in flow.before(join, frame.idle):
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
        if self._ev.depth > DEEPEST:
            return NOTHING
        self._ev.depth += 1
        try:
            return self._source(frame, flow, name, source)
        finally:
            self._ev.depth -= 1

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
        if not self._is_bound_within(flow, join, returning):
            return initial
        entered = [term.ident for term, _ in initial if isinstance(term, t.Vector)]
        ident = self._ev.identities.of("running", frame.number, join.block, join.name, *entered[:1])
        running = t.Vector(ident, lagged=True)
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

    def _is_bound_within(self, flow: Flow, join: Join, returning: list[Definition | Join | None]) -> bool:
        """Return True where what comes round a loop is anything but the value that entered it."""
        own = (join, replace(join, inside=True), replace(join, inside=False))
        seen: set[Join] = set()
        waiting = list(returning)
        while waiting:
            source = waiting.pop()
            if source in own or source in seen:
                continue
            if not isinstance(source, Join):
                return True
            seen.add(source)
            waiting += [inner for inner, _, _ in flow.before(source)]
        return False

    def _closed(self, frame: Frame, flow: Flow, join: Join) -> t.Alternatives:
        """The value of a variable behind the loop that changes it: the initial one, or what the turns made of it."""
        frame.joins[join] = NOTHING
        inside = replace(join, inside=True)
        running = self._join(frame, flow, inside)
        initial: list[t.Alternative] = []
        turned: list[t.Alternative] = []
        for source, _, back in flow.before(join, frame.idle):
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
                    closed = t.add(start, self.summed(added, site), site)
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
        match self._ev.identities.key(ident):
            case ("element", int() as base, "turn", _, place) if not loop or place == loop:
                return self._over_all(base, loop)
            case ("element", int() as base, "each"):
                return self._over_all(base, loop)
            case ("element", int() as base, "index", "value", int() as index) if self._turns(index, loop):
                return self._over_all(base, loop)
            case ("element" | "attribute" | "view" | "copied after" as kind, int() as base, *rest):
                whole = self._over_all(base, loop)
                return ident if whole == base else self._ev.identities.of(kind, whole, *rest)
        return ident

    def _turns(self, index: int, loop: int) -> bool:
        """Return True for an index that runs through a loop."""
        match self._ev.identities.key(index):
            case ("element", _, "turn", _, place):
                return not loop or place == loop
            case ("element", int() as base, "each") | ("index", int() as base, *_):
                return base > 0
        return False

    def summed(self, term: t.Term, site: t.Site) -> t.Term:
        if isinstance(term, t.Monomial) and term.is_cosine:
            return t.Aggregate("sum", term, "unknown", site)
        return term

    def definition(self, frame: Frame, flow: Flow, definition: Definition) -> t.Alternatives:
        key = id(definition)
        known = frame.defined.get(key)
        if known is not None:
            return known
        frame.defined[key] = NOTHING
        found = self._defined(frame, flow, definition)
        frame.defined[key] = found
        return found

    def _defined(self, frame: Frame, flow: Flow, definition: Definition) -> t.Alternatives:
        value = definition.value
        match definition.how:
            case "value":
                return self._late_role(frame, definition, self._ev.of(frame, value))
            case "unpack":
                return self._ev.elements.unpacked(self._ev.of(frame, value), definition.path, definition.node.nid)
            case "iterate":
                elements = t.unique(
                    a
                    for term, _ in self._ev.of(frame, value)
                    for a in self._ev.elements.element(term, "turn", frame.number, definition.node.nid)
                )
                return self._ev.elements.unpacked(elements, definition.path, definition.node.nid)
            case "update":
                return self._updated(frame, flow, definition)
            case "method" | "store":
                return self._changed(frame, flow, definition)
            case "bound":
                return self._object_bound(frame, definition)
        return NOTHING

    def _late_role(self, frame: Frame, definition: Definition, values: t.Alternatives) -> t.Alternatives:
        """Give a value of unknown role the role that its name suggests."""
        last = definition.name.rpartition(".")[2]
        named = frame.module.facts.roles.named(last, definition.node)
        if named.kind == "unknown":
            return values
        role = t.Role(named.kind)
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
                return t.single(self._ev.project_object(frame.module.number, owner))
            case ir.Import() | ir.ImportFrom():
                for binding in frame.module.facts.names.imports:
                    if binding.node is definition.node and binding.name == definition.name and binding.target:
                        found = self._ev.program.imported(frame.module.number, binding.target)
                        return t.single(
                            self._ev.project_object(*found) if found is not None else t.Library(binding.target)
                        )
        return NOTHING

    def _before(self, frame: Frame, flow: Flow, definition: Definition) -> t.Alternatives:
        return self._source(
            frame, flow, definition.name, flow.reaching(definition.name, definition.block, definition.order)
        )

    def _updated(self, frame: Frame, flow: Flow, definition: Definition) -> t.Alternatives:
        node = definition.node
        if not isinstance(node, ir.AugAssign):
            return NOTHING
        if isinstance(node.target, ir.Subscript):
            return self._stored(frame, flow, definition, self._augmented_item(frame, node))
        before = self._before(frame, flow, definition)
        if not before and "." in definition.name:
            before = t.single(self._running_attribute(frame, definition.name))
        return self._augmented(frame, node, before, self._ev.of(frame, node.value))

    def _augmented_item(self, frame: Frame, node: ir.AugAssign) -> t.Alternatives:
        return self._augmented(frame, node, self._ev.of(frame, node.target), self._ev.of(frame, node.value))

    def _augmented(
        self, frame: Frame, node: ir.AugAssign, before: t.Alternatives, value: t.Alternatives
    ) -> t.Alternatives:
        found = self._ev.arithmetic.operation(frame, node, node.op, before, value)
        if all(isinstance(term, t.Unknown) for term, _ in found):
            # A new value of the same origin.
            return t.unique(
                (term.at(self._ev.identities.of("updated", frame.number, node.nid, term.ident)), tags)
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
                found = self.definition(frame, flow, definition)
                return found if target is node.target else self._augmented_item(frame, node)
        return ()

    def _running_attribute(self, frame: Frame, name: str) -> t.Term:
        owner = frame.receiver.ident if frame.receiver is not None else 0
        return t.Vector(self._ev.identities.of("running attribute", owner, name), lagged=True)

    def _changed(self, frame: Frame, flow: Flow, definition: Definition) -> t.Alternatives:
        before = self._before(frame, flow, definition)
        node = definition.node
        if definition.how == "store":
            return self._stored(frame, flow, definition, self._ev.of(frame, definition.value))
        if not isinstance(node, ir.Call) or not isinstance(node.func, ir.Attr):
            return before
        attr = node.func.attr
        arguments = [arg.value for arg in node.args if not arg.star]
        if attr == "setdefault" and arguments:
            return self._defaulted(frame, node, before, arguments)
        if attr in ("append", "insert", "add", "appendleft", "extend") and arguments:
            match node.func.value:
                case ir.Call(func=ir.Attr(value=mapping), args=[ir.Arg(value=key), *_]) if dotted(mapping):
                    return self._grown_item(frame, node, before, t.one(self._ev.of(frame, key)), arguments[-1])
            added = self._ev.of(frame, arguments[-1])
            if attr == "extend":
                whole = t.one(added)
                if isinstance(whole, t.Sequence) and whole.items is not None and len(whole.items) <= t.MOST_TURNS:
                    for item in whole.items:
                        before = self._grown(frame, node, before, item)
                    return before
                added = t.unique(a for term, _ in added for a in self._ev.elements.element(term, "spread", node.nid))
            return self._grown(frame, node, before, added)
        return self._ev.of(frame, node)

    def _defaulted(
        self, frame: Frame, node: ir.Call, before: t.Alternatives, arguments: list[ir.Expr]
    ) -> t.Alternatives:
        """``d.setdefault(k, v)``: an item that is there stays what it is."""
        key = t.one(self._ev.of(frame, arguments[0]))
        constant = key.value if isinstance(key, t.Constant) else None
        default = self._ev.of(frame, arguments[1]) if len(arguments) > 1 else NOTHING
        flow = frame.flow
        if flow is None or flow.blocks[self.place(frame, flow, node)[0]].loops:
            # That of the first turn stays.
            default = t.unique(self._ev.elements.renamed(way, "default", node.nid) for way in default)
        return t.unique(
            (self._with_item(frame, node, term, constant, default), tags)
            if isinstance(term, t.Mapping) and all(name != constant for name, _ in term.items)
            else (term, tags)
            for term, tags in before
        )

    def _grown_item(
        self, frame: Frame, node: ir.Call, before: t.Alternatives, key: t.Term | None, value: ir.Expr
    ) -> t.Alternatives:
        """``d.setdefault(k, []).append(v)``: a list under the key has one more element."""
        constant = key.value if isinstance(key, t.Constant) else None
        found: list[t.Alternative] = []
        for term, tags in before:
            if isinstance(term, t.Mapping):
                held = next((item for name, item in term.items if name == constant), term.element)
                old = tuple(a for a in held if isinstance(a[0], t.Sequence))
                grown = self._grown(frame, node, old, self._ev.of(frame, value))
                found.append((self._with_item(frame, node, term, constant, grown), tags))
            else:
                found.append((term, tags))
        return t.unique(found)

    def _grown(self, frame: Frame, node: ir.Node, before: t.Alternatives, added: t.Alternatives) -> t.Alternatives:
        """A list with one more element."""
        found: list[t.Alternative] = []
        over = self._loop_over(frame, node)
        flow = frame.flow
        once = flow is not None and not flow.blocks[self.place(frame, flow, node)[0]].loops
        for term, tags in before or NOTHING:
            old: t.Alternatives = ()
            if once and isinstance(term, t.Sequence) and term.items is not None and len(term.items) < t.MOST:
                ident = self._ev.identities.of("grown", frame.number, node.nid)
                found.append((t.Sequence(ident, items=(*term.items, added), over=term.over), tags))
                continue
            if isinstance(term, t.Sequence):
                old = term.element or t.unique(a for item in term.items or () for a in item)
                over = term.over if term.over != "unknown" else over
            ident = self._ev.identities.of("grown", frame.number, node.nid)
            filtered = self._ev.entries.tested_before(frame, node)
            turn = (0, 0) if filtered or old else self._turn_of(frame, node)
            found.append((t.Sequence(ident, t.unique((*added, *old)), over=over, filtered=filtered, turn=turn), tags))
        return t.unique(found)

    def _turn_of(self, frame: Frame, node: ir.Node) -> tuple[int, int]:
        """Return the loop whose every turn adds one element to a list."""
        names = frame.module.facts.names
        statement = names.statement(node)
        block = names.parent(statement) if statement is not None else None
        loop = names.parent(block) if isinstance(block, ir.Block) else None
        return (frame.number, loop.nid) if isinstance(loop, ir.For) and loop.body is block else (0, 0)

    def _loop_over(self, frame: Frame, node: ir.Node) -> t.Over:
        """What the innermost loop around a node ranges over."""
        for outer in frame.module.facts.names.ancestors(node):
            if isinstance(outer, ir.For):
                return self.over(frame, outer.iter)
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
            case ir.Subscript(index=[index]):
                constant = t.one(self._ev.of(frame, index))
                key = constant.value if isinstance(constant, t.Constant) else None
        found: list[t.Alternative] = []
        before = self._before(frame, flow, definition)
        if not before and "." in definition.name:
            # An item of an attribute that another method has made.
            before = t.single(t.Mapping(self._ev.identities.of("items of", definition.name, frame.number, node.nid)))
        for term, tags in before or NOTHING:
            match term:
                case t.Sequence():
                    element = t.unique((*value, *term.element, *(a for item in term.items or () for a in item)))
                    ident = self._ev.identities.of("stored", frame.number, node.nid, term.ident)
                    found.append((t.Sequence(ident, element, over=term.over), tags))
                case t.Mapping():
                    found.append((self._with_item(frame, node, term, key, value), tags))
                case t.Vector() if key is not None and isinstance(key, str):
                    ident = self._ev.identities.of("stored", frame.number, node.nid, term.ident)
                    found.append((t.Mapping(ident, ((key, value),)), tags))
                case t.Vector():
                    found.append((term.at(self._ev.identities.of("stored", frame.number, node.nid, term.ident)), tags))
                case _:
                    found.append((t.Unknown(), tags))
        return t.unique(found)

    def _with_item(
        self, frame: Frame, node: ir.Node, mapping: t.Mapping, key: object, value: t.Alternatives
    ) -> t.Mapping:
        over = mapping.over if mapping.over != "unknown" else self._loop_over(frame, node)
        if key is None:
            filtered = self._ev.entries.tested_before(frame, node)
            return replace(mapping, element=t.unique((*value, *mapping.element)), over=over, filtered=filtered)
        kept = tuple((name, item) for name, item in mapping.items if name != key)
        return replace(mapping, items=(*kept, (key, value)), over=over)
