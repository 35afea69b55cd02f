"""Gradients of losses whose forward pass ran under fp16 autocast, through functions and files.

What counts is where the *forward pass* of the loss ran: ``backward`` uses the dtypes that the forward recorded,
wherever it is called from (https://docs.pytorch.org/docs/stable/amp.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from fa_lint.analysis import terms as t
from fa_lint.analysis.callers import CallGraph, Function
from fa_lint.analysis.program import Module
from fa_lint.analysis.values import values_of
from fa_lint.semantics import ir
from fa_lint.semantics.autocast import Autocast, Autocasts
from fa_lint.semantics.calls import Calls, argument
from fa_lint.semantics.chosen import Choice
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.forward import Forwards
from fa_lint.semantics.gradients import GradientSite, gradient_sites, keyword, read_after, stepped_after
from fa_lint.semantics.memory import Memory
from fa_lint.semantics.scaling import Scaling
from fa_lint.semantics.severed import carries_no_gradient
from fa_lint.semantics.slices import function_of, slice_of

__all__ = ["HalfGradient", "Passes"]

_DEPTH = 5
_SKIPPED = frozenset("torch cuda float16 bfloat16 half device type self args config cfg".split())
# An fp16 context with its module, and one way that leads from it to the value at hand: the ways can be very many.
_Contexts = dict[tuple[int, Autocast], tuple[t.Step, ...]]


@dataclass(frozen=True, slots=True)
class HalfGradient:
    """A gradient of a loss that fp16 autocast computed and nothing scaled.

    ``label`` names the call; ``certain``: autocast is fp16 on every way; ``measured``: the gradient is looked at, not
    only stepped with; ``dummy``: a scaler is called that does not scale.
    """

    module: Module
    call: ir.Call
    label: str
    certain: bool
    measured: bool
    dummy: bool
    evidence: tuple[t.Step, ...]


@dataclass(slots=True)
class _Trace:
    """Where the forward passes behind a value ran.

    ``open``: one ran under what the callers of the function at hand chose; ``passes``: the forward passes themselves.
    """

    contexts: _Contexts = field(default_factory=dict)
    scaled: bool = False
    open: bool = False
    dummy: t.Step | None = None
    passes: set[t.Site] = field(default_factory=set)


class Passes:
    """The forward passes behind the gradients of one module, and of what it calls in other files."""

    def __init__(self, facts: ModuleFacts) -> None:
        self.values = values_of(facts)
        self._own = self.values.module
        self._graph = CallGraph(self.values, self._near_autocast)
        self._traces: Memory[_Trace] = Memory(_Trace(), _DEPTH)
        self._outside: Memory[_Contexts] = Memory({}, _DEPTH)

    def half_gradients(self) -> Iterator[HalfGradient]:
        """Return the unscaled gradients of fp16 passes: of this module, and of others that a call of it leads to."""
        for module in self._graph.modules():
            for site in gradient_sites(module.facts, module.facts.derived(Calls)):
                home = function_of(site.call, module.facts)
                if module is self._own or (home is not None and self._graph.callers((module, home))):
                    found = self._judge(module, site)
                    # What another file shows by itself is found there.
                    if found and (module is self._own or any(s.site.module == 0 for s in found.evidence)):
                        yield found

    def of(self, site: GradientSite) -> list[ir.Node]:
        """Return the forward passes of this module behind one of its unscaled gradients, in source order."""
        trace = self._trace_of(self._own, site)
        if trace.scaled or self._scaled_seed(self._own, site):
            return []
        return [self._own.facts.node(s.node) for s in sorted(trace.passes, key=lambda s: s.node) if s.module == 0]

    def _near_autocast(self) -> list[ir.Call]:
        """Return the calls of the functions of this module that open fp16 autocast, or are called under it."""
        facts, autocasts, calls = self._own.facts, self._own.facts.derived(Autocasts), self._own.facts.derived(Calls)
        waiting = [call for call in facts.calls if (around := autocasts.around(call)) is not None and around.half]
        homes = {function_of(call, facts) for call in waiting}
        while waiting:
            for function in calls.entered(waiting.pop()):
                if function not in homes:
                    homes.add(function)
                    waiting += [call for call in facts.calls if function_of(call, facts) is function]
        return [call for call in facts.calls if function_of(call, facts) in homes]

    # -- one gradient -------------------------------------------------------------------------------------------

    def _judge(self, module: Module, site: GradientSite) -> HalfGradient | None:
        trace = self._trace_of(module, site)
        if trace.scaled or self._scaled_seed(module, site):
            return None
        contexts, facts = trace.contexts, module.facts
        home = function_of(site.call, facts)
        if not contexts and trace.open and home is not None:
            contexts = self._outer((module, home))
        contexts = {c: path for c, path in contexts.items() if not self._is_other_arm(module, site, *c)}
        if not contexts:
            return None
        read = site.call if site.how != "backward" else read_after(site, facts, facts.derived(Calls))
        scales = facts.derived(Scaling).scales
        scaled = read is None and any(scales(call) for call in facts.calls if function_of(call, facts) is home)
        step = stepped_after(site, facts) if read is None and not scaled else None
        if read is None and step is None and module is self._own:
            return None
        (number, context), path = max(contexts.items(), key=lambda found: found[0][1].certain)
        sure = "fp16 autocast opens here" if context.certain else "autocast opens here, fp16 on some way"
        evidence = [t.Step(t.Site(number, context.nid), sure), *path]
        evidence += [trace.dummy] if trace.dummy is not None else []
        if read is not None and read is not site.call:
            evidence.append(_step(module, read, "the gradient is read here"))
        if step is not None:
            evidence.append(_step(module, step, "the optimiser steps with it"))
        dummy = trace.dummy is not None
        return HalfGradient(module, site.call, site.label, context.certain, read is not None, dummy, tuple(evidence))

    def _scaled_seed(self, module: Module, site: GradientSite) -> bool:
        """``grad_outputs`` (or the ``gradient`` of ``backward``) that carries the scale."""
        if site.how == "transform" or site.label == "torch.autograd.backward":
            return False
        seed = keyword(site.call, "grad_outputs", 2) if site.how == "grad" else keyword(site.call, "gradient", 0)
        return seed is not None and module.facts.derived(Scaling).scaled(seed)

    # -- the forward pass behind it -----------------------------------------------------------------------------

    def _trace_of(self, module: Module, site: GradientSite) -> _Trace:
        if site.how != "transform":
            return self._trace(module, site.loss)
        around = module.facts.derived(Autocasts).around(site.call)
        if around is not None and around.half:
            return _Trace({(module.number, around): ()})
        trace = _Trace(open=around is None)
        for inner, value in self._results(module, site.loss):
            self._merge(trace, self._trace(inner, value), around is None)
        return trace

    def _results(self, module: Module, function: ir.Expr) -> Iterator[tuple[Module, ir.Expr]]:
        """What a function that is given to a transform returns."""
        for leaf in module.facts.derived(Calls).sources(function):
            match leaf:
                case ir.Lambda(body=body):
                    yield module, body
                case ir.Call(func=func, args=[ir.Arg(value=inner), *_]) if module.facts.qualified(func) in (
                    "functools.partial",
                    "torch.func.vmap",
                ):
                    yield from self._results(module, inner)
        for other, definition in self._graph.functions(module, function):
            yield from ((other, value) for value in other.facts.names.returned(definition))

    def _merge(self, into: _Trace, other: _Trace, inherits: bool) -> None:
        into.contexts = _joined(into.contexts, other.contexts)
        into.scaled = into.scaled or other.scaled
        into.open = into.open or (inherits and other.open)
        into.dummy = into.dummy or other.dummy
        into.passes |= other.passes

    def _trace(self, module: Module, value: ir.Expr) -> _Trace:
        return self._traces.ask((module.number, value.nid), lambda: self._follow(module, value))

    def _follow(self, module: Module, value: ir.Expr) -> _Trace:
        facts, scaling = module.facts, module.facts.derived(Scaling)
        found = slice_of(value, facts, carries_no_gradient)
        trace = _Trace(scaled=scaling.factor(value))
        for node in found.nodes:
            if isinstance(node, ir.Call) and scaling.scale_call(node):
                idle = scaling.dummy(node)
                if idle is None:
                    trace.scaled = True
                else:
                    trace.dummy = trace.dummy or _step(module, idle, "this scaler does not scale")
            elif isinstance(node, ir.Call | ir.Binary):
                self._forward(module, node, trace)
                trace.scaled = trace.scaled or (isinstance(node, ir.Call) and self._returns_scaled(module, node))
        for param in found.params:
            owner = facts.names.parent(param)
            if isinstance(owner, ir.FunctionDef):
                self._passed((module, owner), param, trace)
        return trace

    def _passed(self, function: Function, param: ir.Param, trace: _Trace) -> None:
        """Add the forward passes behind what the callers of a function pass for one of its parameters."""
        for caller, call in self._graph.callers(function):
            passed = argument(call, function[1], param)
            inner = self._trace(caller, passed) if passed is not None else _Trace()
            if inner.scaled:
                trace.scaled = True
                continue
            contexts, home = inner.contexts, function_of(call, caller.facts)
            # In this file the callers of callers mix: a method of a layer is called from everywhere.
            if not contexts and inner.open and home is not None and function[0] is not self._own:
                contexts = self._outer((caller, home))
            through = _step(caller, call, f"`{param.name}` is passed here")
            trace.contexts = _joined(trace.contexts, _through(contexts, through))
            trace.dummy = trace.dummy or inner.dummy
            trace.passes |= inner.passes

    def _forward(self, module: Module, node: ir.Call | ir.Binary, trace: _Trace) -> None:
        """Add a node if it is a forward pass, by itself or by a function that it enters."""
        entered = self._graph.entered(module, node) if isinstance(node, ir.Call) else []
        running = [(m, f) for m, f in entered if m is module or m.facts.derived(Forwards).within(f)]
        if not (module.facts.derived(Forwards).at(node) or any(m is not module for m, _ in running)):
            return
        trace.passes.add(t.Site(module.number, node.nid))
        around = module.facts.derived(Autocasts).around(node)
        if around is not None:
            if around.half:
                here = (_step(module, node, "the forward pass runs under it"),)
                trace.contexts.setdefault((module.number, around), here)
            return
        trace.open = trace.open or not running
        for other, function in running:
            for value in other.facts.names.returned(function):
                inner = self._trace(other, value)
                if isinstance(node, ir.Call):
                    inner = replace(inner, contexts=self._on_at(module, node, (other, function), inner.contexts))
                self._merge(trace, inner, True)

    def _on_at(self, module: Module, call: ir.Call, entered: Function, contexts: _Contexts) -> _Contexts:
        """Return the contexts of a function that the arguments of a call do not switch off."""
        other, function = entered
        choice = Choice(call, module.facts, function, other.facts)
        return {
            (number, context): path
            for (number, context), path in contexts.items()
            if number != other.number or not choice.switches_off(other.facts.node(context.nid))
        }

    def _returns_scaled(self, module: Module, call: ir.Call) -> bool:
        """Return True for a call of a function of the project that scales what it returns."""
        return any(
            other.facts.derived(Scaling).scaled(value)
            for other, function in self._graph.entered(module, call)
            for value in other.facts.names.returned(function)
        )

    def _outer(self, function: Function) -> _Contexts:
        """Return the fp16 contexts that calls of a function run under."""
        module, node = function
        return self._outside.ask((module.number, node.nid), lambda: self._find_outer(function))

    def _find_outer(self, function: Function) -> _Contexts:
        found: _Contexts = {}
        for caller, call in self._graph.callers(function):
            here = _step(caller, call, f"`{function[1].name}` is called under it")
            around = caller.facts.derived(Autocasts).around(call)
            home = function_of(call, caller.facts)
            if around is not None:
                found = _joined(found, {(caller.number, around): (here,)} if around.half else {})
            elif home is not None and home is not function[1]:
                found = _joined(found, _through(self._outer((caller, home)), here))
        return found

    # -- branches for the other precision -----------------------------------------------------------------------

    def _is_other_arm(self, module: Module, site: GradientSite, number: int, context: Autocast) -> bool:
        """Return True if the flag that switches autocast on is known at the gradient, or a branch beside it scales."""
        facts = self.values.program.modules[number].facts
        opening = facts.node(context.nid)
        chosen = facts.names.parent(opening)
        flags = _identifiers(chosen.test) if isinstance(chosen, ir.Conditional) else set()
        for arg in opening.args if isinstance(opening, ir.Call) else ():
            flags |= _identifiers(arg.value)
        inside = {node.nid for node in ir.walk(site.call)}
        for above in module.facts.names.ancestors(site.call):
            match above:
                case ir.FunctionDef():
                    return False
                case ir.If(test=test) | ir.Conditional(test=test):
                    if not context.certain and flags & _identifiers(test):
                        return True
                    beside = (n for n in ir.walk(above) if isinstance(above, ir.If) and n.nid not in inside)
                    if any(isinstance(n, ir.Call) and _scales_or_delegates(n, module.facts) for n in beside):
                        return True
        return False


def _scales_or_delegates(call: ir.Call, facts: ModuleFacts) -> bool:
    """Return True for a call that scales a loss, or lets a framework do so."""
    if facts.derived(Scaling).scales(call):
        return True
    func = call.func
    if not isinstance(func, ir.Attr) or facts.qualified(func) is not None:
        return False
    return func.attr == "manual_backward" or (func.attr == "backward" and bool(call.args))


def _identifiers(node: ir.Node) -> set[str]:
    parts = (part for part in ir.walk(node) if isinstance(part, ir.Name | ir.Attr))
    return {part.id if isinstance(part, ir.Name) else part.attr for part in parts} - _SKIPPED


def _step(module: Module, node: ir.Node, text: str) -> t.Step:
    return t.Step(t.Site(module.number, node.nid), text)


def _through(contexts: _Contexts, step: t.Step) -> _Contexts:
    return {context: (*path, step) for context, path in contexts.items()}


def _joined(first: _Contexts, second: _Contexts) -> _Contexts:
    """Return all contexts of both; the way of the first counts."""
    return first | {context: path for context, path in second.items() if context not in first}
