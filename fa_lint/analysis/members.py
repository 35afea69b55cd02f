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


class Members:
    """Looks up attributes in the classes that store them, bases included."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._ev = evaluator
        self._attributes: dict[tuple[int, str], t.Alternatives] = {}

    def of(self, frame: Frame, node: ir.Attr) -> t.Alternatives:
        qualified = frame.module.facts.names.qualified(node)
        if qualified is not None and not self._is_own(node):
            return self._ev.qualified(frame, node, qualified)
        if isinstance(node.value, ir.Call):
            number = frame.module.facts.values.number(node)
            if number is not None:
                return t.single(t.Constant(number, self._ev.site(frame, node)))
        name = dotted(node)
        flow = frame.flow
        # A backward pass writes `.grad` without an assignment.
        if name is not None and flow is not None and name in flow.names and node.attr != "grad":
            found = self._ev.variables.read(frame, name, *self._ev.variables.place(frame, flow, node))
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
            case t.Library(name=name, options=None):
                return self._ev.qualified(frame, node, f"{name}.{attr}")
            case t.Library():
                number = frame.module.facts.values.number(node)
                if number is not None:
                    return t.single(t.Constant(number, self._ev.site(frame, node)))
            case t.Vector(ident=ident):
                return t.single(self._vector_attribute(frame, node, term, ident))
            case t.Monomial() if attr in VIEWS:
                return (self._ev.renamed((term, frozenset()), "view", attr),) if attr in ("T", "mT") else t.single(term)
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
        return bisect_left(frame.module.facts.gradient_resets, node.nid)

    def copied(self, frame: Frame, node: ir.Node, term: t.Term) -> t.Term:
        """Return a copy: of a ``.grad``, what it holds until the next backward pass adds to it."""

        def rename(vector: t.Vector) -> t.Vector:
            match self._ev.identities.key(vector.ident):
                case ("attribute", _, "grad", int()) as key:
                    passes = bisect_left(frame.module.facts.backward_calls, node.nid)
                    return vector.at(self._ev.identities.of(*key, "copied after", passes))
            return vector

        is_array = isinstance(term, t.Vector) or (isinstance(term, t.Monomial) and bool(term.vectors))
        return t.renamed(term, rename) if is_array and isinstance(term, t.Vector | t.Monomial) else term

    def attribute(self, instance: t.Instance, attr: str) -> t.Alternatives:
        """Return what the methods of a class store in an attribute of its object, bases included."""
        key = (instance.ident, attr)
        if key in self._attributes:
            return self._attributes[key]
        self._attributes[key] = NOTHING
        module = self._ev.program.modules[instance.module]
        found = self.of_class(module, instance.node, attr, instance)
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
        flow = frame.flow
        name = f"{function.params[0].name if function.params else 'self'}.{binding.name}"
        if flow is None:
            return ()
        for block in flow.blocks:
            for definition in block.definitions.get(name, ()):
                if definition.node is binding.node:
                    return self._ev.variables.definition(frame, flow, definition)
        return ()
