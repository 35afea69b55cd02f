"""Gradients under fp16 autocast without loss scaling, and what the linker needs to see them across files.

What counts is where the *forward pass* of the loss ran: ``backward`` uses the dtypes that the forward recorded,
wherever it is called from (https://docs.pytorch.org/docs/stable/amp.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fa_lint.semantics import ir
from fa_lint.semantics.autocast import Autocast, Autocasts
from fa_lint.semantics.calls import Calls, argument
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.forward import Forwards
from fa_lint.semantics.gradients import GradientSite, gradient_sites, keyword, read_after, stepped_after
from fa_lint.semantics.half_facts import HalfGradient, UnscaledGradient
from fa_lint.semantics.memory import Memory
from fa_lint.semantics.roles import Evidence
from fa_lint.semantics.scaling import Scaling
from fa_lint.semantics.severed import carries_no_gradient
from fa_lint.semantics.slices import function_of, slice_of

__all__ = ["HalfGradient", "Precision", "UnscaledGradient", "calls_under_fp16", "unscaled_gradients"]

_DEPTH = 5

# An fp16 context, and one way that leads from it to the value at hand: the ways themselves can be very many.
_Contexts = dict[Autocast, tuple[Evidence, ...]]


@dataclass(slots=True)
class _Trace:
    """Where the forward passes behind a value ran.

    ``open``: one ran under what the callers of the function at hand chose; ``passed``: one ran in these functions,
    which pass its outcome on, under what their callers chose; ``passes``: the forward passes themselves.
    """

    contexts: _Contexts = field(default_factory=dict)
    scaled: bool = False
    open: bool = False
    passed: dict[int, ir.FunctionDef] = field(default_factory=dict)
    dummy: ir.Node | None = None
    passes: dict[int, ir.Node] = field(default_factory=dict)


class Precision:
    """The questions of the P3 rules about one module."""

    def __init__(self, facts: ModuleFacts) -> None:
        self.facts = facts
        self.calls = facts.derived(Calls)
        self.autocasts = Autocasts(self.calls)
        self.forwards = Forwards(self.calls)
        self.scaling = Scaling(self.calls)
        self._traces = Memory(_Trace(), _DEPTH)
        self._outside: Memory[_Contexts] = Memory({}, _DEPTH)

    def half_gradients(self) -> Iterator[HalfGradient]:
        for site in gradient_sites(self.facts, self.calls):
            found = self._judge(site)
            if isinstance(found, HalfGradient):
                yield found

    def unscaled(self) -> Iterator[UnscaledGradient]:
        for site in gradient_sites(self.facts, self.calls):
            found = self._judge(site)
            if isinstance(found, UnscaledGradient):
                yield found

    def passes(self, site: GradientSite) -> list[ir.Node]:
        """The forward passes behind an unscaled gradient, in source order."""
        trace = self._trace_of(site)
        if trace.scaled or self._scaled_seed(site):
            return []
        return [trace.passes[nid] for nid in sorted(trace.passes)]

    # -- one gradient -------------------------------------------------------------------------------------------

    def _judge(self, site: GradientSite) -> HalfGradient | UnscaledGradient | None:
        trace = self._trace_of(site)
        if trace.scaled or self._scaled_seed(site):
            return None
        contexts = trace.contexts
        home = function_of(site.call, self.facts)
        if not contexts and trace.open and home is not None:
            contexts = self._outer(home)
        contexts = {c: path for c, path in contexts.items() if not self._is_other_arm(site, c)}
        read = site.call if site.how != "backward" else read_after(site, self.facts, self.calls)
        step = stepped_after(site, self.facts) if read is None and not self._scales_elsewhere(home) else None
        if contexts and read is None and step is None:
            return None
        if contexts:
            context, path = max(contexts.items(), key=lambda found: found[0].certain)
            return HalfGradient(
                site.call.nid,
                site.label,
                context.certain,
                read is not None,
                trace.dummy is not None,
                self._evidence(context, path, trace, read if read is not site.call else None, step),
            )
        deciding = [*([home] if trace.open and home is not None else []), *trace.passed.values()]
        if trace.contexts or not deciding or self._guarded(site):
            return None
        functions = tuple(dict.fromkeys(self._dotted(f) for start in deciding for f in self._callers_of(start)))
        return UnscaledGradient(functions, site.call.nid, site.label, read is not None)

    def _evidence(
        self, context: Autocast, path: tuple[Evidence, ...], trace: _Trace, read: ir.Node | None, step: ir.Node | None
    ) -> tuple[Evidence, ...]:
        sure = "fp16 autocast opens here" if context.certain else "autocast opens here, fp16 on some way"
        found = [Evidence(context.nid, sure), *path]
        if trace.dummy is not None:
            found.append(Evidence(trace.dummy.nid, "this scaler does not scale"))
        if read is not None:
            found.append(Evidence(read.nid, "the gradient is read here"))
        if step is not None:
            found.append(Evidence(step.nid, "the optimiser steps with it"))
        return tuple(found)

    def _callers_of(self, function: ir.FunctionDef) -> list[ir.FunctionDef]:
        """A function, and those of the module that call it, directly or not, outside any autocast of their own."""
        found = [function]
        for inner in found:
            for call in self.calls.callers(inner):
                home = function_of(call, self.facts)
                if home is not None and home not in found and self.autocasts.around(call) is None:
                    found.append(home)
        return found

    def _dotted(self, function: ir.FunctionDef) -> str:
        owner = self.facts.names.enclosing_class(function)
        return f"{owner.name}.{function.name}" if owner is not None else function.name

    def _scales_elsewhere(self, function: ir.FunctionDef | None) -> bool:
        here = (c for c in self.facts.calls if function_of(c, self.facts) is function)
        return any(self.scaling.scales(call) for call in here)

    def _scaled_seed(self, site: GradientSite) -> bool:
        """``grad_outputs`` (or the ``gradient`` of ``backward``) that carries the scale."""
        names = ("grad_outputs", 2) if site.how == "grad" else ("gradient", 0)
        seed = (
            keyword(site.call, *names) if site.how != "transform" and site.label != "torch.autograd.backward" else None
        )
        return seed is not None and self.scaling.scaled(seed)

    # -- the forward pass behind it -----------------------------------------------------------------------------

    def _trace_of(self, site: GradientSite) -> _Trace:
        if site.how != "transform":
            return self._trace(site.loss)
        around = self.autocasts.around(site.call)
        if around is not None and around.half:
            return _Trace({around: ()})
        trace = _Trace(open=around is None)
        for value in self._results(site.loss):
            self._merge(trace, self._trace(value), around is None)
        return trace

    def _results(self, function: ir.Expr) -> Iterator[ir.Expr]:
        """What a function that is given to a transform gives back."""
        for leaf in self.calls.sources(function):
            match leaf:
                case ir.Lambda(body=body):
                    yield body
                case ir.Call(func=func, args=[ir.Arg(value=inner), *_]) if self.facts.qualified(func) in (
                    "functools.partial",
                    "torch.func.vmap",
                ):
                    yield from self._results(inner)
        for definition in self._functions(function):
            yield from self.facts.names.returned(definition)

    def _functions(self, node: ir.Expr) -> list[ir.FunctionDef]:
        names = self.facts.names
        match node:
            case ir.Name():
                return [b.node for b in names.bindings(node) if isinstance(b.node, ir.FunctionDef)]
            case ir.Attr(attr=attr, value=value):
                owner = self.calls.class_of(value)
                if isinstance(value, ir.Name) and value.id == "self":
                    owner = names.enclosing_class(node)
                method = self.calls.method(owner, attr) if owner is not None else None
                return [method] if method is not None else []
        return []

    def _merge(self, into: _Trace, other: _Trace, inherits: bool) -> None:
        into.contexts = _joined(into.contexts, other.contexts)
        into.scaled = into.scaled or other.scaled
        into.open = into.open or (inherits and other.open)
        into.dummy = into.dummy or other.dummy
        into.passes |= other.passes

    def _trace(self, value: ir.Expr) -> _Trace:
        return self._traces.ask(value.nid, lambda: self._follow(value))

    def _follow(self, value: ir.Expr) -> _Trace:
        found = slice_of(value, self.facts, carries_no_gradient)
        trace = _Trace(scaled=self.scaling.factor(value))
        for node in found.nodes:
            if isinstance(node, ir.Call) and self.scaling.scale_call(node):
                idle = self.scaling.dummy(node)
                trace.dummy = trace.dummy or idle
                trace.scaled = trace.scaled or idle is None
            elif self.forwards.at(node):
                self._forward(node, trace)
        for param in found.params:
            owner = self.facts.names.parent(param)
            for call in self.calls.callers(owner) if isinstance(owner, ir.FunctionDef) else ():
                assert isinstance(owner, ir.FunctionDef)
                passed = argument(call, owner, param)
                inner = self._trace(passed) if passed is not None else _Trace()
                if inner.scaled:
                    trace.scaled = True
                    continue
                through = Evidence(call.nid, f"`{param.name}` is passed here")
                trace.contexts = _joined(trace.contexts, _through(inner.contexts, through))
                trace.dummy = trace.dummy or inner.dummy
                trace.passed |= inner.passed
                trace.passes |= inner.passes
                home = function_of(call, self.facts)
                if inner.open and home is not None:
                    trace.passed[home.nid] = home
        return trace

    def _forward(self, node: ir.Node, trace: _Trace) -> None:
        trace.passes[node.nid] = node
        around = self.autocasts.around(node)
        if around is not None:
            if around.half:
                trace.contexts.setdefault(around, (Evidence(node.nid, "the forward pass runs under it"),))
            return
        entered = self.calls.entered(node) if isinstance(node, ir.Call) else []
        trace.open = trace.open or not entered
        for function in entered:
            for value in self.facts.names.returned(function):
                inner = self._trace(value)
                self._merge(trace, inner, True)

    def _outer(self, function: ir.FunctionDef) -> _Contexts:
        """The fp16 contexts that calls of a function run under."""
        return self._outside.ask(function.nid, lambda: self._find_outer(function))

    def _find_outer(self, function: ir.FunctionDef) -> _Contexts:
        found: _Contexts = {}
        for call in self.calls.callers(function):
            here = Evidence(call.nid, f"`{function.name}` is called under it")
            around = self.autocasts.around(call)
            home = function_of(call, self.facts)
            if around is not None:
                found = _joined(found, {around: (here,)} if around.half else {})
            elif home is not None and home is not function:
                found = _joined(found, _through(self._outer(home), here))
        return found

    # -- branches for the other precision -----------------------------------------------------------------------

    def _is_other_arm(self, site: GradientSite, context: Autocast) -> bool:
        """True if the flag that switches autocast on is known at the gradient, or a branch beside it scales."""
        if self._guarded(site):
            return True
        opening = self.facts.node(context.nid)
        chosen = self.facts.names.parent(opening)
        flags = self._identifiers(chosen.test) if isinstance(chosen, ir.Conditional) else set()
        for arg in opening.args if isinstance(opening, ir.Call) else ():
            flags |= self._identifiers(arg.value)
        for above in self.facts.names.ancestors(site.call):
            if isinstance(above, ir.FunctionDef):
                return False
            if isinstance(above, ir.If | ir.Conditional) and not context.certain:
                if flags & self._identifiers(above.test):
                    return True
        return False

    def _guarded(self, site: GradientSite) -> bool:
        """True if another arm of an ``if`` around the gradient scales the loss, or lets a framework do so."""
        inside = {node.nid for node in ir.walk(site.call)}
        for above in self.facts.names.ancestors(site.call):
            if isinstance(above, ir.FunctionDef):
                return False
            if isinstance(above, ir.If):
                for node in ir.walk(above):
                    if isinstance(node, ir.Call) and node.nid not in inside and self._scales_or_delegates(node):
                        return True
        return False

    def _scales_or_delegates(self, call: ir.Call) -> bool:
        if self.scaling.scales(call):
            return True
        func = call.func
        if not isinstance(func, ir.Attr) or self.facts.qualified(func) is not None:
            return False
        return func.attr == "manual_backward" or (func.attr == "backward" and bool(call.args))

    def _identifiers(self, node: ir.Node) -> set[str]:
        skipped = {"torch", "cuda", "float16", "bfloat16", "half", "device", "type", "self", "args", "config", "cfg"}
        return {
            part.id if isinstance(part, ir.Name) else part.attr
            for part in ir.walk(node)
            if isinstance(part, ir.Name | ir.Attr)
        } - skipped


def _through(contexts: _Contexts, step: Evidence) -> _Contexts:
    return {context: (*path, step) for context, path in contexts.items()}


def _joined(first: _Contexts, second: _Contexts) -> _Contexts:
    """All contexts of both; the way of the first counts."""
    return first | {context: path for context, path in second.items() if context not in first}


def unscaled_gradients(facts: ModuleFacts) -> tuple[UnscaledGradient, ...]:
    """The functions of a module that are findings once another file calls them under fp16 autocast."""
    return tuple(facts.derived(Precision).unscaled())


def calls_under_fp16(facts: ModuleFacts) -> Iterator[tuple[ir.Call, Autocast]]:
    """The calls of a module that run under fp16 autocast and enter no function of this module."""
    precision = facts.derived(Precision)
    for call in facts.calls:
        around = precision.autocasts.around(call)
        home = function_of(call, facts)
        if around is None and home is not None:
            around = next(iter(precision._outer(home)), None)
        if around is not None and around.half and not precision.calls.entered(call):
            yield call, around
