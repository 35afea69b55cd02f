"""The values of attributes: of objects of the project, of arrays, of modules."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from typing import TYPE_CHECKING

from fa_lint.analysis import terms as t
from fa_lint.analysis.flow import dotted
from fa_lint.analysis.frames import NOTHING, VIEWS, Frame
from fa_lint.analysis.program import Module
from fa_lint.semantics import ir
from fa_lint.semantics.names import Binding

if TYPE_CHECKING:
    from fa_lint.analysis.evaluator import Evaluator

__all__ = ["Members"]

# Attributes of ``finfo``, and common names of floors.
_OF_FORMATS = frozenset({"eps", "tiny", "smallest_normal"})
# Calls of a method that are looked at for what they store.
_MOST_STORES = 8


class Members:
    """Looks up attributes in the classes that store them, bases included."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._ev = evaluator
        self._attributes: dict[tuple[int, str], t.Alternatives] = {}

    def of(self, frame: Frame, node: ir.Attr) -> t.Alternatives:
        qualified = frame.module.facts.names.qualified(node)
        if qualified is not None and not self._is_own(node):
            return self._ev.qualified(frame, node, qualified)
        if isinstance(node.value, ir.Call) or node.attr in _OF_FORMATS:
            number = frame.module.facts.values.number(node)
            if number is not None:
                return t.single(t.Constant(number, self._ev.site(frame, node)))
        name = dotted(node)
        home = frame.home
        flow = home.flow
        # A backward pass writes `.grad` without an assignment.
        if name is not None and flow is not None and name in flow.names and node.attr != "grad":
            found = self._ev.variables.read(home, name, *self._ev.variables.place(home, flow, node))
            if found:
                return found
        found_here: list[t.Alternative] = []
        for term, tags in self._ev.of(frame, node.value):
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
            case t.Mapping() if any(name == attr for name, _ in term.items):
                return self._ev.elements.item(term, attr)
            case t.Library(name=name, options=None):
                return self._ev.qualified(frame, node, f"{name}.{attr}")
            case t.Library():
                number = frame.module.facts.values.number(node)
                if number is not None:
                    return t.single(t.Constant(number, self._ev.site(frame, node)))
            case t.Vector(ident=ident):
                return t.single(self._vector_attribute(frame, node, term, ident))
            case t.Monomial() if attr in VIEWS:
                return (
                    (self._ev.elements.renamed((term, frozenset()), "view", attr),)
                    if attr in ("T", "mT")
                    else t.single(term)
                )
        number = frame.module.facts.values.number(node)
        if number is not None:
            return t.single(t.Constant(number, self._ev.site(frame, node)))
        vector = self._ev.vector(frame, node)
        if isinstance(term, t.Instance):
            vector = replace(vector, ident=self._ev.identities.of("attribute", term.ident, attr))
        return t.single(vector)

    def _vector_attribute(self, frame: Frame, node: ir.Attr, owner: t.Vector, ident: int) -> t.Term:
        attr = node.attr
        if attr == "data" or attr == "real":
            return owner
        if attr in VIEWS:
            return owner.at(self._ev.identities.of("view", ident, attr))
        if attr == "grad":
            gradient = self._ev.source(frame, node, t.Role.GRADIENT, "`.grad` is a gradient")
            return gradient.at(self._ev.identities.of("attribute", ident, attr, self._resets(frame, node)))
        if attr == "size" and owner.role.is_gradient:
            return self._ev.entries.length(owner)
        vector = self._ev.vector(frame, node)
        return replace(vector, ident=self._ev.identities.of("attribute", ident, attr))

    def _resets(self, frame: Frame, node: ir.Node) -> int:
        frame, number = self._outermost(frame, node)
        return bisect_left(frame.module.facts.gradient_resets, number)

    def copied(self, frame: Frame, node: ir.Node, term: t.Term, *, own: bool = False) -> t.Term:
        """Return a copy: of a ``.grad``, what it holds until the next backward pass adds to it.

        With ``own``, of anything else, what it holds until the next call that may change it.
        """

        passes = -1

        def at(ident: int) -> int:
            nonlocal passes
            match self._ev.identities.key(ident):
                case ("attribute", _, "grad", int()):
                    if passes < 0:
                        passes = self._passes(frame, node)
                    return self._ev.identities.of("copied after", ident, passes)
                case ("element" | "view" as kind, int() as base, *rest):
                    whole = at(base)
                    return ident if whole == base else self._ev.identities.of(kind, whole, *rest)
            return ident

        def rename(vector: t.Vector) -> t.Vector:
            ident = at(vector.ident) if vector.role.is_gradient else vector.ident
            if own and ident == vector.ident:
                ident = self._ev.identities.of("copy", ident, *self._changes(frame, node), node.nid)
            return vector.at(ident)

        is_array = isinstance(term, t.Vector) or (isinstance(term, t.Monomial) and bool(term.vectors))
        return t.renamed(term, rename) if is_array and isinstance(term, t.Vector | t.Monomial) else term

    def read_at(self, frame: Frame, node: ir.Node, ident: int) -> int:
        """Return the identity of a gradient, or of what was taken from one, that is read at a place."""
        of = self._ev.identities.of
        match self._ev.identities.key(ident):
            case ("attribute", owner, "grad", int()):
                return of("attribute", owner, "grad", self._resets(frame, node))
            case ("copied after", int() as base, _):
                return of("copied after", self.read_at(frame, node, base), self._passes(frame, node))
            case ("element" | "view" | "joined" as kind, int() as base, *rest):
                whole = self.read_at(frame, node, base)
                return ident if whole == base else of(kind, whole, *rest)
        return ident

    def _passes(self, frame: Frame, node: ir.Node) -> int:
        """Return how many backward passes stand before a place."""
        frame, number = self._outermost(frame, node)
        return bisect_left(frame.module.facts.backward_calls, number)

    def _changes(self, frame: Frame, node: ir.Node) -> tuple[int, int, int]:
        """Return module and function of a place, and how many places that may change an array stand before it."""
        frame, number = self._outermost(frame, node)
        return frame.module.number, frame.home.node.nid, frame.module.changes.before(number)

    def _outermost(self, frame: Frame, node: ir.Node) -> tuple[Frame, int]:
        """Return a place, or the call that leads there, where the arguments are not bound."""
        number, seen = node.nid, {frame.number}
        while frame.home.calls:
            site, caller = frame.home.calls[0]
            if caller.number in seen:
                break
            seen.add(caller.number)
            number, frame = site.node, caller
        return frame, number

    def is_same(self, frame: Frame, node: ir.Node, left: t.Vector, right: t.Vector) -> bool:
        """Return True where two vectors hold the same entries at a place; a copy does until something may change it."""
        if left.layout != right.layout or left.lagged != right.lagged or left.half != right.half:
            return False
        if left.ident == right.ident:
            return True
        (one, first), (other, second) = self._original(left.ident), self._original(right.ident)
        if one != other or first == second:
            return one == other
        now = self._changes(frame, node)
        return (first or now) == (second or now)

    def copied_at(self, ident: int) -> t.Site | None:
        """Return where an array was copied; None for what is no copy of its own."""
        match self._ev.identities.key(ident):
            case ("copy", _, int() as module, _, _, int() as node):
                return t.Site(module, node)
        return None

    def live(self, ident: int) -> int:
        """Return the identity of what a vector was before it was copied, at any place of its origin."""
        match self._ev.identities.key(ident):
            case ("copy" | "copied after", int() as base, *_):
                return self.live(base)
            case ("element" | "view" | "attribute" | "joined" | "returned" as kind, int() as base, *rest):
                whole = self.live(base)
                return ident if whole == base else self._ev.identities.of(kind, whole, *rest)
        return ident

    def deep_copies(self, ident: int) -> frozenset[tuple[int, int]]:
        """Return the deep copies of models that a vector was taken from, by frame and node; none of its gradients."""
        match self._ev.identities.key(ident):
            case ("deep copy", int() as base, int() as number, int() as node):
                return self.deep_copies(base) | {(number, node)}
            case ("attribute", _, "grad", *_) | ("copied after", *_):
                return frozenset()
            case ("element" | "view" | "attribute" | "joined" | "parameters of" | "copy", int() as base, *_):
                return self.deep_copies(base)
        return frozenset()

    def before_deep_copies(self, ident: int) -> int:
        """Return the identity of a vector of the model that was copied."""
        match self._ev.identities.key(ident):
            case ("deep copy", int() as base, *_):
                return self.before_deep_copies(base)
            case ("element" | "view" | "attribute" | "joined" | "parameters of" as kind, int() as base, *rest):
                whole = self.before_deep_copies(base)
                return ident if whole == base else self._ev.identities.of(kind, whole, *rest)
        return ident

    def _original(self, ident: int) -> tuple[int, tuple[int, int, int] | None]:
        """Return what an array was copied from, and when (see :meth:`_changes`)."""
        match self._ev.identities.key(ident):
            case ("copy", int() as base, int() as module, int() as function, int() as number, *_):
                origin, earlier = self._original(base)
                return origin, earlier or (module, function, number)
            case ("element" | "view" | "joined" as kind, int() as base, *rest):
                origin, when = self._original(base)
                return (ident, None) if when is None else (self._ev.identities.of(kind, origin, *rest), when)
        return ident, None

    def attribute(self, instance: t.Instance, attr: str) -> t.Alternatives:
        """Return what the methods of a class store in an attribute of its object, bases included."""
        key = (instance.ident, attr)
        if key in self._attributes:
            return self._attributes[key]
        self._attributes[key] = NOTHING
        module = self._ev.program.modules[instance.module]
        found = self.given_field(instance, attr) or self.of_class(module, instance.node, attr, instance)
        if not found:
            for base in instance.node.bases:
                value = t.one(self._ev.of(self._ev.root(module, module.facts.module), base.value))
                if isinstance(value, t.Instance) and value.node is not instance.node:
                    inner = replace(
                        value, ident=self._ev.identities.of("base", instance.ident), made=True, given=instance.given
                    )
                    found = self.attribute(inner, attr)
                    if found:
                        break
        self._attributes[key] = found
        return found

    def given_field(self, instance: t.Instance, field: str | int) -> t.Alternatives:
        """Return what a dataclass or named tuple was given for a field, by name or position."""
        body = instance.node.body.body
        names = [s.target.id for s in body if isinstance(s, ir.AnnAssign) and isinstance(s.target, ir.Name)]
        if any(isinstance(s, ir.FunctionDef) and s.name == "__init__" for s in body):
            return ()
        place = field if isinstance(field, int) else names.index(field) if field in names else -1
        if not 0 <= place < len(names):
            return ()
        positional = [values for name, values in instance.given if name is None]
        keyword = [values for name, values in instance.given if name == names[place]]
        return keyword[0] if keyword else positional[place] if place < len(positional) else ()

    def of_class(self, module: Module, owner: ir.ClassDef, attr: str, instance: t.Instance | None) -> t.Alternatives:
        names = module.facts.names
        found: list[t.Alternative] = []
        for binding in names.scopes[owner.nid].bindings.get(attr, ()):
            if isinstance(binding.node, ir.FunctionDef):
                function = t.Function(module.number, binding.node, receiver=instance)
                if any(isinstance(d, ir.Name) and "property" in d.id for d in binding.node.decorators):
                    frame = self._ev.root(module, binding.node, instance)
                    return self._ev.returned(frame)
                return t.single(function)
            if binding.how == "value" and binding.value is not None:
                found += self._ev.of(self._ev.root(module, module.facts.module), binding.value)
        initial: list[t.Alternative] = []
        for binding in names.attributes.get((owner.nid, attr), ()):
            values = self._attribute_binding(module, binding, instance)
            if self._is_earlier(module, owner, binding):
                values = t.unique(self._ev.elements.renamed(way, "kept", binding.node.nid) for way in values)
            for term, tags in values:
                if isinstance(term, t.Accumulated):
                    found.append(
                        (self._ev.variables.summed(term.added, t.Site(module.number, binding.node.nid)), frozenset())
                    )
                else:
                    initial.append((term, frozenset(tags)))
        if (
            found
            and all(isinstance(x, t.Constant | t.Vector) for x, _ in initial)
            and any(isinstance(x, t.Monomial | t.Aggregate) for x, _ in found)
        ):
            return t.unique(found)
        return t.unique((*found, *initial))

    def _is_earlier(self, module: Module, owner: ir.ClassDef, binding: Binding) -> bool:
        """Return True for ``self.last = self.current``, which stays when another statement sets ``self.current``."""
        match binding.value:
            case ir.Attr(value=ir.Name(id="self"), attr=attr) if attr != binding.name:
                names = module.facts.names
                made = (names.enclosing_function(b.node) for b in names.attributes.get((owner.nid, attr), ()))
                return any(function is None or function.name != "__init__" for function in made)
        return False

    def _attribute_binding(self, module: Module, binding: Binding, instance: t.Instance | None) -> t.Alternatives:
        function = module.facts.names.enclosing_function(binding.node)
        if function is None:
            return ()
        frame = self._ev.root(module, function, instance)
        if instance is not None and instance.given and function.name == "__init__":
            entered = self._ev.entered(
                t.Function(module.number, function, receiver=replace(instance, given=())), list(instance.given),
                t.Site(module.number, binding.node.nid), frame,
            )  # fmt: skip
            frame = entered or frame
        elif instance is not None and len(function.params) > 1 and function.name != "__init__":
            stores = [
                self._stored_by(frame, function, binding, call) for call in self._calls(module, function, instance)
            ]
            if stores:
                return t.unique(a for values in stores for a in values)
        return self._bound_value(frame, function, binding)

    def _stored_by(self, frame: Frame, function: ir.FunctionDef, binding: Binding, call: ir.Call) -> t.Alternatives:
        """Return what one call of a method stores."""
        module, caller = frame.module, self._maker(frame, call)
        bound = self._ev.entered(
            t.Function(module.number, function, receiver=frame.receiver),
            self._ev.arguments(caller, call),
            t.Site(module.number, call.nid),
            caller,
        )
        return self._bound_value(bound or frame, function, binding)

    def _maker(self, frame: Frame, call: ir.Call) -> Frame:
        """Return the frame that made the object of a method's frame, if the call stands in the same function."""
        home = self._ev.home(frame.module, call)
        key = self._ev.identities.key(frame.receiver.ident) if frame.receiver is not None else ()
        made = self._ev.frames[key[1]] if key[:1] == ("made",) and isinstance(key[1], int) else home
        return made if made.node is home.node else home

    def _bound_value(self, frame: Frame, function: ir.FunctionDef, binding: Binding) -> t.Alternatives:
        flow = frame.flow
        name = f"{function.params[0].name if function.params else 'self'}.{binding.name}"
        if flow is None:
            return ()
        for block in flow.blocks:
            for definition in block.definitions.get(name, ()):
                if definition.node is binding.node:
                    return self._ev.variables.definition(frame, flow, definition)
        return ()

    def _calls(self, module: Module, function: ir.FunctionDef, instance: t.Instance) -> list[ir.Call]:
        """Return the calls of a method on the object that one expression makes."""
        key = self._ev.identities.key(instance.ident)
        if key[0] != "made":
            return []
        found: list[ir.Call] = []
        for call in module.calls_of(function.name)[: 4 * _MOST_STORES]:
            if not isinstance(call.func, ir.Attr) or len(found) == _MOST_STORES:
                continue
            for term, _ in self._ev.of(self._ev.home(module, call), call.func.value):
                # The same expression made it, in whatever way its function was called.
                if isinstance(term, t.Instance) and self._ev.identities.key(term.ident)[::2] == key[::2]:
                    found.append(call)
                    break
        return found
