"""The terms that the functions of a module make, in each way in which they are called: what a rule asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from fa_lint.analysis import terms as t
from fa_lint.analysis.branches import decided
from fa_lint.analysis.evaluator import Evaluator
from fa_lint.analysis.frames import Frame
from fa_lint.analysis.interest import interesting
from fa_lint.analysis.outline import Outline, Owner, called_names, denominator
from fa_lint.analysis.program import Module, Program
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["Made", "Values", "values_of"]

_MOST_CALLERS = 16


@dataclass(frozen=True, slots=True)
class Made:
    """``term`` is a value of ``node`` in ``frame``."""

    frame: Frame
    node: ir.Expr | ir.AugAssign
    term: t.Term

    @property
    def module(self) -> Module:
        return self.frame.module


class Values:
    """The values of the expressions of one module, also in the functions that it calls with gradients."""

    def __init__(self, facts: ModuleFacts) -> None:
        self.program = Program(facts.load)
        self.module = self.program.add(facts.path, facts)
        self.evaluator = Evaluator(self.program)
        self._made: list[Made] | None = None
        self._others: list[Made] | None = None
        self._done: set[int] = set()
        # Functions whose calls in this module were evaluated.
        self._called: set[int] = set()
        # Evaluate what the files that import this one pass: what that finds, and spends, changes nothing here.
        self._outside = {comparing: Evaluator(self.program) for comparing in (False, True)}
        self._called_elsewhere: set[tuple[int, bool]] = set()
        self._outlines: dict[int, Outline] = {}

    def of(self, node: ir.Expr) -> t.Alternatives:
        """Return the values of an expression of this module, with the arguments of its function unbound."""
        return self.evaluator.of(self.home(node), node)

    def vector(self, node: ir.Expr) -> t.Vector:
        """Return the vector that says best what an expression of this module is: its role, and the evidence for it.

        Where its function shows nothing, what the calls of this module pass counts.
        """
        found = t.surest(self.of(node))
        if not found.computed:
            passed = t.surest(tuple(way for values in self.as_called(node) for way in values))
            return passed if passed.computed or found.role is t.Role.UNKNOWN else found
        return found

    def home(self, node: ir.Node) -> Frame:
        """Return the frame of the function around a node of this module, whose arguments are not bound."""
        return self.evaluator.home(self.module, node)

    def as_called(self, node: ir.Expr, *, comparing: bool = True) -> list[t.Alternatives]:
        """Return the values of an expression, one for each way in which the run calls the function around it."""
        function = self.home(node).node
        if not isinstance(function, ir.FunctionDef | ir.Lambda):
            return []
        found = [self.evaluator.of(frame, node) for frame in self.frames_of(function)]
        evaluator, frames = self.frames_elsewhere(function, comparing=comparing)
        return found + [evaluator.of(frame, node) for frame in frames]

    def frames_elsewhere(
        self, function: ir.FunctionDef | ir.Lambda, *, comparing: bool
    ) -> tuple[Evaluator, list[Frame]]:
        """Return the frames of a function as the calls of other files bind its arguments, and their evaluator.

        Of other files those count that can make a cosine, or all.
        """
        outside = self._outside[comparing]
        if not isinstance(function, ir.FunctionDef):
            return outside, []
        if self.module.facts.callers is not None and (function.nid, comparing) not in self._called_elsewhere:
            self._called_elsewhere.add((function.nid, comparing))
            owner = self.module.facts.names.enclosing_class(function)
            names = frozenset({function.name, *([owner.name] if owner is not None else [])})
            for path, facts, said in self.module.facts.callers(names, comparing):
                module = self.program.add_caller(path, facts)
                renamed = {b.name for b in facts.names.imports if (b.target or "").rpartition(".")[2] in said}
                for call in facts.calls:
                    if called_names(call) & (said | renamed):
                        outside.of(outside.home(module, call), call)
        return outside, outside.bound_frames.get((self.module.number, function.nid), [])

    def frames_of(self, function: ir.FunctionDef | ir.Lambda) -> list[Frame]:
        """Return the frames of a function as the calls of this module bind its arguments, through its callers' callers.

        A caller that is called itself counts as it is called.
        """
        calls = self.module.facts.derived(Calls)
        if function.nid not in self._called:
            self._called.add(function.nid)
            waiting, seen = [function], {function.nid}
            while waiting and len(seen) <= _MOST_CALLERS:
                for call in self._calls_of(waiting.pop()):
                    self.of(call)
                    around = self.module.facts.names.enclosing_function(call)
                    if around is not None and around.nid not in seen:
                        seen.add(around.nid)
                        waiting.append(around)
        frames = self.evaluator.bound_frames.get((self.module.number, function.nid), [])
        if len(frames) < 2:
            return list(frames)
        bound = [f for f in frames if not all(self._is_called_elsewhere(caller, calls) for _, caller in f.calls)]
        return bound or list(frames)

    def _calls_of(self, function: ir.FunctionDef | ir.Lambda) -> list[ir.Call]:
        """Return the calls of this module that enter a function: where it has none, those of what is bound to it."""
        known = self.module.facts.derived(Calls).callers(function) if isinstance(function, ir.FunctionDef) else []
        return known or self._outline(self.module).naming(function)

    def _is_called_elsewhere(self, frame: Frame, calls: Calls) -> bool:
        """Return True where a chain of calls begins only in functions that this module calls with other arguments."""
        waiting, seen = [frame.home], {frame.home.number}
        while waiting:
            home = waiting.pop()
            if not home.calls and not (isinstance(home.node, ir.FunctionDef) and calls.callers(home.node)):
                return False
            for _, caller in home.calls:
                if caller.home.number not in seen:
                    seen.add(caller.home.number)
                    waiting.append(caller.home)
        return True

    def may_hold_cosine(self, node: ir.Node) -> bool:
        """Return True where a function makes a cosine or calls one that does."""
        outline = self._outline(self.module)
        home = outline.home(node)
        return home in outline.makers or home in outline.callers

    def may_be_given_cosine(self, node: ir.Expr) -> bool:
        """Return True in a function that one leads to which makes a cosine or calls one that does, in any file."""
        function = self.home(node).node
        if not isinstance(function, ir.FunctionDef | ir.Lambda):
            return False
        return function.nid in self._outline(self.module).below or bool(
            self.frames_elsewhere(function, comparing=True)[1]
        )

    def calls_to(self, frame: Frame) -> list[ir.Node]:
        """Return the calls of this module that lead into a frame of another one."""
        found: dict[int, ir.Node] = {}
        waiting, seen = [frame], {frame.number}
        while waiting:
            for site, caller in waiting.pop().calls:
                if site.module == self.module.number:
                    found[site.node] = self.module.facts.node(site.node)
                elif caller.number not in seen:
                    seen.add(caller.number)
                    waiting.append(caller)
        return [found[number] for number in sorted(found)]

    def made(self) -> list[Made]:
        """Return what quotients, products and calls make, in each function and each way in which it is called."""
        if self._made is None:
            self._made = list(self._all())
        return self._made

    def made_of_anything(self) -> list[Made]:
        """Return :meth:`made` with what functions make that never name gradients, in this module alone."""
        if self._others is None:
            self._others = [*self.made(), *self._of_anything()]
        return self._others

    def _of_anything(self) -> Iterator[Made]:
        names, outline = self.module.facts.names, self._outline(self.module)
        functions: list[Owner] = [self.module.facts.module, *names.functions, *outline.lambdas]
        for function in functions:
            if function.nid not in outline.concerned:
                continue
            frame = self.evaluator.root(self.module, function)
            if function.nid in outline.makers and frame.number not in self._done:
                yield from self._in(frame)
            self._done.add(frame.number)
            for call in outline.calls(function):
                if self._leads_on(outline, call):
                    yield from self._terms(frame, call)
        for frame in self.evaluator.frames:
            if frame.calls and frame.module is self.module and frame.number not in self._done:
                self._done.add(frame.number)
                if frame.node.nid in outline.makers:
                    yield from self._in(frame)

    def _all(self) -> Iterator[Made]:
        facts = self.module.facts
        outline = self._outline(self.module)
        done = self._done
        functions: list[Owner] = [facts.module, *facts.names.functions, *outline.lambdas]
        for function in functions:
            if not outline.may_hold_gradient(function):
                continue
            if function.nid in outline.makers or any(self._leads_on(outline, c) for c in outline.calls(function)):
                frame = self.evaluator.root(self.module, function)
                done.add(frame.number)
                yield from self._in(frame)
        # Calls bind arguments, which makes frames; those may call further.
        for frame in self.evaluator.frames:
            # A function in a function also reads what the call of the outer one is given.
            outer = frame.outer.parameters if frame.outer is not None and frame.outer.calls else {}
            given = chain(frame.parameters.values(), outer.values())
            if frame.number in done or not any(interesting(values) for values in given):
                continue
            if frame.calls:
                done.add(frame.number)
                yield from self._in(frame)

    def _in(self, frame: Frame) -> Iterator[Made]:
        outline = self._outline(frame.module)
        divides = frame.node.nid in outline.makers and self._divides_by_norms(frame, outline)
        # A call matters for what it is given; what it gives back may be a unit vector, and the product stands here.
        if divides or any(self._is_given_gradient(frame, call, outline) for call in outline.calls(frame.node)):
            for node in outline.candidates(frame.node):
                if not self._is_idle(frame, node):
                    yield from self._terms(frame, node)

    def _is_idle(self, frame: Frame, node: ir.Node) -> bool:
        """Return True for a place that does not run with the arguments of a call."""
        flow = frame.flow
        if not frame.calls or flow is None:
            return False
        if frame.idle and self.evaluator.variables.place(frame, flow, node)[0] in frame.idle:
            return True
        inner = node
        for outer in frame.module.facts.names.ancestors(node):
            if isinstance(outer, ir.Stmt):
                break
            if isinstance(outer, ir.Conditional) and inner is not outer.test:
                if decided(flow, frame.parameters, outer.test) is (inner is outer.orelse):
                    return True
            inner = outer
        return False

    def _is_given_gradient(self, frame: Frame, call: ir.Call, outline: Outline) -> bool:
        if not self._leads_on(outline, call):
            return False
        return any(interesting(self.evaluator.of(frame, argument.value)) for argument in call.args)

    def _divides_by_norms(self, frame: Frame, outline: Outline) -> bool:
        """Return True where something in a function is divided by a norm, or a library does it."""
        for node in outline.candidates(frame.node):
            if outline.divides_by_itself(node):
                return True
            below = denominator(node)
            if below is not None and not isinstance(below, ir.Const) and self._is_of_norms(frame, below):
                return True
        return False

    def _is_of_norms(self, frame: Frame, node: ir.Expr) -> bool:
        for term, _ in self.evaluator.of(frame, node):
            if isinstance(term, t.Monomial) and (term.norms or any(a.ident == b.ident for a, b in term.dots)):
                return True
        return False

    def _terms(self, frame: Frame, node: ir.Expr | ir.AugAssign) -> Iterator[Made]:
        if isinstance(node, ir.AugAssign):
            values = self.evaluator.variables.augmented(frame, node)
        else:
            values = self.evaluator.of(frame, node)
        for term, _ in values:
            if isinstance(term, t.Monomial | t.Aggregate | t.Angle):
                yield Made(frame, node, term)

    def _leads_on(self, outline: Outline, call: ir.Call) -> bool:
        names = called_names(call)
        return bool(names & outline.leading) or (self.program.has_others and bool(names & outline.imported))

    def _outline(self, module: Module) -> Outline:
        if module.number not in self._outlines:
            self._outlines[module.number] = Outline(module.facts, alone=not self.program.has_others)
        return self._outlines[module.number]


def values_of(facts: ModuleFacts) -> Values:
    """Return the values of a module, built once for all rules."""
    return facts.derived(Values)
