"""What is done with gradients between ``scaler.scale(loss).backward()`` and the call that takes the scale out again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls, argument
from fa_lint.semantics.degrees import Degrees, carries, operands, short_name
from fa_lint.semantics.gradients import FRAMEWORK_WORDS, GradientSite, grad_reads
from fa_lint.semantics.slices import function_of, slice_of
from fa_lint.semantics.words import words

__all__ = ["ScaledUses"]

_CLIPS = frozenset(
    "clip_grad_norm_ clip_grad_norm clip_grad_value_ clip_grad_value get_total_norm clip_grads_with_norm_".split()
)
_NORMS = frozenset({"norm", "vector_norm", "matrix_norm", "_foreach_norm"})
_STATISTICS = frozenset("mean sum max min amax amin std var median".split())
_INNER = frozenset({"dot", "vdot", "inner"})
# Library functions that draw or count what they are given first.
_HISTOGRAMS = frozenset("torch.histc torch.histogram numpy.histogram wandb.Histogram matplotlib.pyplot.hist".split())
_RANDOM = frozenset("randn_like randn rand_like rand normal normal_ sample".split())
_OPTIMISER_WORDS = frozenset("opt optim optimizer optimizers optimiser self adam sgd".split())
_DEPTH = 3


@dataclass(slots=True)
class _Frame:
    """A function under the scale: ``site`` is the call in ``caller`` that entered it."""

    degrees: Degrees
    # The same where every gradient of this scale counts, not only those of the site.
    together: Degrees
    caller: _Frame | None = None
    site: ir.Call | None = None
    depth: int = 0

    @property
    def function(self) -> ir.FunctionDef | None:
        return self.degrees.home


@dataclass(slots=True)
class ScaledUses:
    """The uses, found by :meth:`after`, of the gradients of ``site``, whose loss ``scale`` multiplies."""

    site: GradientSite
    scale: ir.Call
    calls: Calls
    _cleared: set[str] = field(default_factory=set)
    _found: dict[int, ir.Node] = field(default_factory=dict)

    def after(self) -> Iterator[tuple[ir.Node, str]]:
        """Yield each use and what it is."""
        facts = self.calls.facts
        home = function_of(self.site.call, facts)
        if self.site.how == "grad":
            together = self._of_one_scale(home)
            frame = _Frame(
                Degrees(self.calls, home, lambda node: node is self.site.call),
                Degrees(self.calls, home, lambda node: node.nid in together),
            )
            yield from ((node, what) for node, what, ended in self._scan(frame, 0) if not ended)
            return
        reads = {read.nid for read in facts.derived(grad_reads)}
        yield from self._backward(home, self.site.call, reads, 0, set())

    def _backward(
        self, home: ir.FunctionDef | None, start: ir.Call, reads: set[int], depth: int, seen: set[int]
    ) -> Iterator[tuple[ir.Node, str]]:
        """Yield the uses after ``start``; where nothing ends the scale in its function, those in the callers, too."""
        facts = self.calls.facts

        def fresh(node: ir.Expr) -> bool:
            return node.nid in reads and (function_of(node, facts) is not home or node.nid > start.nid)

        degrees = Degrees(self.calls, home, fresh)
        frame = _Frame(degrees, degrees)
        for node, what, ended in self._scan(frame, start.nid):
            if ended:
                return
            yield node, what
        if home is None or depth >= _DEPTH or home.nid in seen or self._context() is not None:
            return
        for call in self.calls.callers(home):
            yield from self._backward(function_of(call, facts), call, reads, depth + 1, seen | {home.nid})

    def _of_one_scale(self, home: ir.FunctionDef | None) -> set[int]:
        """The calls of ``autograd.grad`` in a function whose losses are multiplied by the same scaler."""
        facts = self.calls.facts
        found = {self.site.call.nid}
        for call in facts.calls:
            if facts.qualified(call.func) == "torch.autograd.grad" and function_of(call, facts) is home and call.args:
                scales = (c for c in slice_of(call.args[0].value, facts).calls if c is not call)
                if any(ir.same(c.func, self.scale.func) for c in scales):
                    found.add(call.nid)
        return found

    def _context(self) -> ir.With | None:
        """The ``with scale_loss(…)`` of apex, which takes the scale out where it ends."""
        above = self.calls.facts.names.parent(self.scale)
        block = self.calls.facts.names.parent(above) if isinstance(above, ir.WithItem) else None
        return block if isinstance(block, ir.With) else None

    # -- one function -------------------------------------------------------------------------------------------

    def _scan(self, frame: _Frame, start: int) -> Iterator[tuple[ir.Node, str, bool]]:
        """Yield the uses in source order; the last one has ``ended`` set where the scale is taken out."""
        facts = self.calls.facts
        home = frame.function
        if _handles_scale(home, self.site, self.calls):
            yield self.site.call, "", True
            return
        inside = {n.nid for n in ir.walk(self.site.call)} if frame.caller is None else set()
        for node in ir.walk(self._context() or (home.body if home is not None else facts.module.body)):
            if node.nid <= start and not (self.site.how == "grad" and self._holds_site(node)):
                continue
            if (node.nid in inside and node is not self.site.call) or function_of(node, facts) is not home:
                continue
            if start and self._other_arm(facts.node(start), node):
                continue
            if isinstance(node, ir.Call) and self.site.how != "grad" and self._ends(node, frame):
                yield node, "", True
                return
            call = node if isinstance(node, ir.Call) and node is not self.site.call else None
            for function in self.calls.entered(call) if call is not None else ():
                if call is None or frame.depth >= _DEPTH or function is home:
                    continue
                together = frame.together.entering(call, function)
                inner = _Frame(frame.degrees.entering(call, function), together, frame, call, frame.depth + 1)
                for found in self._scan(inner, 0):
                    if self.site.how == "grad" and found[2]:
                        break
                    yield found
                    if found[2]:
                        return
            what = self._use(node, frame)
            if what and node.nid not in self._found:
                self._found[node.nid] = node
                yield node, what, False

    def _holds_site(self, node: ir.Node) -> bool:
        return any(above is node for above in self.calls.facts.names.ancestors(self.site.call))

    def _ends(self, call: ir.Call, frame: _Frame) -> bool:
        """Return True if a call takes the scale out of all gradients, or the gradients away."""
        func = call.func
        if not isinstance(func, ir.Attr):
            return False
        owner = short_name(func.value)
        if func.attr == "zero_grad" or (func.attr == "update" and "scaler" in words(owner)):
            return True
        stepped = func.attr == "step" and "scaler" in words(owner)
        if not stepped and "unscale" not in func.attr:
            return False
        if not call.args:
            return True
        self._cleared.add(self._written(call.args[0].value, frame))
        return not self._left(call, frame)

    def _left(self, call: ir.Call, frame: _Frame) -> dict[str, ir.Expr]:
        """The optimisers that the scaler steps after ``call`` and has not unscaled, by what they are called."""
        found: dict[str, ir.Expr] = {}
        place: _Frame | None = frame
        while place is not None:
            for other in self.calls.facts.calls:
                if other.nid <= call.nid or function_of(other, self.calls.facts) is not place.function:
                    continue
                if short_name(other.func) == "step" and isinstance(other.func, ir.Attr) and other.args:
                    if "scaler" in words(short_name(other.func.value)):
                        found[self._written(other.args[0].value, place)] = other.args[0].value
            call, place = place.site or call, place.caller
        return {name: value for name, value in found.items() if name not in self._cleared}

    def _written(self, node: ir.Expr, frame: _Frame | None) -> str:
        """What a value is called where the scale began: a parameter is what was passed for it."""
        facts = self.calls.facts
        while isinstance(node, ir.Name) and frame is not None and frame.site is not None and frame.function is not None:
            param = next((p for p in frame.function.params if p.name == node.id), None)
            passed = argument(frame.site, frame.function, param) if param is not None else None
            if passed is None:
                break
            node, frame = passed, frame.caller
        return facts.source(node)

    # -- one use ------------------------------------------------------------------------------------------------

    def _use(self, node: ir.Node, frame: _Frame) -> str:
        what = self._kind(node, frame)
        if not what or (self._cleared and not self._is_of_another(node, frame)):
            return ""
        return what

    def _kind(self, node: ir.Node, frame: _Frame) -> str:
        degrees = frame.degrees
        match node:
            case ir.Call(func=func):
                short, parts = short_name(func), operands(node, self.calls)
                if short in _CLIPS:
                    framework = isinstance(func, ir.Attr) and set(words(short_name(func.value))) & FRAMEWORK_WORDS
                    if self.site.how == "grad" or framework:
                        return ""
                    if short == "get_total_norm":
                        return "a norm" if self._matters(node, frame, set()) else ""
                    return "a clip" if "clip" in short else "a norm"
                if short in ("clamp_", "clip_") and self._is_gradient(parts[0], degrees):
                    limits = [self.calls.facts.values.number(arg.value) for arg in node.args]
                    return "" if all(limit == 0 for limit in limits) else "a clip"
                if short in ("add_", "sub_") and len(parts) > 1:
                    return self._added(parts[0], parts[1], degrees)
                shown = self._shown(node)
                if shown is not None and carries(degrees.of(shown)) and not self._repeats(node):
                    return "a histogram"
                if self._is_statistic(node, short, parts) and carries(degrees.of(parts[0])):
                    if not self._repeats(node) and self._matters(node, frame, set()):
                        return "a norm" if short in _NORMS else "a statistic"
            case ir.AugAssign(target=target, op="+" | "-", value=value):
                return self._added(target, value, degrees)
            case ir.Assign(targets=[target], value=ir.Binary(op="+" | "-", left=left, right=right)):
                if isinstance(target, ir.Attr) and target.attr == "grad" and self._is_gradient(left, degrees):
                    return self._added(left, right, degrees)
            case ir.Binary(op="+" | "-", left=left, right=right) if (
                degrees.of(node) == frame.together.of(node) == "unknown"
            ):
                return self._step(node, left, right, frame)
        return ""

    def _shown(self, call: ir.Call) -> ir.Expr | None:
        """Return what ``writer.add_histogram(name, values)`` and other histograms are made of."""
        plain = [arg.value for arg in call.args if arg.keyword is None and not arg.star]
        if isinstance(call.func, ir.Attr) and call.func.attr == "add_histogram":
            named = [arg.value for arg in call.args if arg.keyword == "values"]
            return next(iter(named + plain[1:2]), None)
        return plain[0] if plain and self.calls.facts.qualified(call.func) in _HISTOGRAMS else None

    def _is_statistic(self, call: ir.Call, short: str, parts: list[ir.Expr]) -> bool:
        if short in _NORMS or (short in _INNER and len(parts) > 1):
            return bool(parts)
        library = isinstance(call.func, ir.Attr)
        return library and short in _STATISTICS and len(parts) == 1 and not any(a.keyword == "dim" for a in call.args)

    def _is_gradient(self, node: ir.Expr, degrees: Degrees) -> bool:
        """Return True for ``p.grad`` itself, also as ``p.grad.data``."""
        while isinstance(node, ir.Attr) and node.attr == "data":
            node = node.value
        return degrees.of(node) == 1.0 and not isinstance(node, ir.Binary)

    def _added(self, target: ir.Expr, value: ir.Expr, degrees: Degrees) -> str:
        """Noise or weight decay that is added to gradients under the scale, or a step of the parameter with them."""
        root = _root(target)
        if self.site.how == "grad" or root is None:
            return ""
        parts = list(ir.walk(value))
        if self._names_grad(target):
            if carries(degrees.of(value)) or degrees.of(value) == "unknown":
                return ""
            random = any(short_name(c.func) in _RANDOM for c in slice_of(value, self.calls.facts).calls)
            decay = any(isinstance(n, ir.Name) and n.id == root for n in parts) and not _is_constant_of(value, root)
            return "a sum" if random or decay else ""
        step = carries(degrees.of(value)) and any(
            isinstance(n, ir.Attr) and n.attr == "grad" and _root(n) == root for n in parts
        )
        return "a step with a multiple" if step else ""

    def _names_grad(self, node: ir.Expr) -> bool:
        while isinstance(node, ir.Attr) and node.attr == "data":
            node = node.value
        return isinstance(node, ir.Attr) and node.attr == "grad"

    def _step(self, node: ir.Binary, left: ir.Expr, right: ir.Expr, frame: _Frame) -> str:
        """``weights - lr * gradient``."""
        sides = [frame.degrees.of(left), frame.degrees.of(right)]
        if self.site.how != "grad" or sorted(map(carries, sides)) != [False, True] or "unknown" in sides:
            return ""
        gradient = left if carries(sides[0]) else right
        if any(
            isinstance(n, ir.Call) and self._is_statistic(n, short_name(n.func), operands(n, self.calls))
            for n in ir.walk(gradient)
        ):
            return ""
        return "a step with a multiple"

    def _repeats(self, node: ir.Call) -> bool:
        """Return True where the value is part of a use, or made of one, that has been found."""
        names = self.calls.facts.names
        if any(above.nid in self._found for above in names.ancestors(node) if isinstance(above, ir.Call)):
            return True
        return any(n.nid in self._found for n in slice_of(node, self.calls.facts).nodes if n is not node)

    def _matters(self, node: ir.Expr, frame: _Frame, seen: set[int]) -> bool:
        """Return False if every use of a value is free of the scale, as that of a norm in ``g / g.norm()``."""
        names = self.calls.facts.names
        for above in names.ancestors(node):
            match above:
                case ir.Expr() if not isinstance(above, ir.Attr):
                    if 0.0 in (frame.degrees.of(above), frame.together.of(above)):
                        return False
                    if isinstance(above, ir.Call) and short_name(above.func) == "append":
                        return self._any_use(above, short_name(_receiver(above)), frame, seen)
                case ir.Assign(targets=[ir.Name(id=name)]) | ir.AugAssign(target=ir.Name(id=name)):
                    return self._any_use(above, name, frame, seen)
                case ir.Assign(targets=[ir.Sequence(items=items)], value=ir.Sequence(items=values)) if len(
                    items
                ) == len(values):
                    for item, value in zip(items, values, strict=True):
                        if isinstance(item, ir.Name) and any(part is node for part in ir.walk(value)):
                            return self._any_use(above, item.id, frame, seen)
                    return True
                case ir.Return() if frame.caller is not None and frame.site is not None:
                    return self._matters(frame.site, frame.caller, seen)
                case ir.Stmt():
                    return True
        return True

    def _any_use(self, binding: ir.Node, name: str, frame: _Frame, seen: set[int]) -> bool:
        facts = self.calls.facts
        if binding.nid in seen:
            return False
        seen.add(binding.nid)
        body = frame.function.body if frame.function is not None else facts.module.body
        uses = [
            n
            for n in ir.walk(body)
            if isinstance(n, ir.Name)
            and n.id == name
            and any(b.node is binding for b in facts.names.reaching(n))
            and not _is_target(n, facts.names.parent(n), binding)
        ]
        return not uses or any(self._matters(use, frame, seen) for use in uses)

    # -- two players, and branches ------------------------------------------------------------------------------

    def _is_of_another(self, node: ir.Node, frame: _Frame) -> bool:
        """Return True if the parameters in use are those of an optimiser that has not been unscaled."""
        model = self._model(node, frame)
        left = self._left(node if isinstance(node, ir.Call) else self.site.call, frame)
        if model is None or any(_tags(name, _OPTIMISER_WORDS) & _tags(model) for name in self._cleared):
            return False
        return any(_alike(name, model) or self._is_built_for(value, model) for name, value in left.items()) and not any(
            _alike(name, model) for name in self._cleared
        )

    def _model(self, node: ir.Node, frame: _Frame) -> str | None:
        found = {
            self._written(part.func.value, frame)
            for part in (slice_of(node, self.calls.facts).calls if isinstance(node, ir.Expr) else [])
            if isinstance(part.func, ir.Attr) and part.func.attr in ("parameters", "named_parameters")
        }
        return found.pop() if len(found) == 1 else None

    def _is_built_for(self, optimiser: ir.Expr, model: str) -> bool:
        facts = self.calls.facts
        last = model.rpartition(".")[2]
        for made in self.calls.sources(optimiser):
            for part in ir.walk(made) if isinstance(made, ir.Call) else ():
                if isinstance(part, ir.Call) and short_name(part.func) in ("parameters", "named_parameters"):
                    if facts.source(_receiver(part)).rpartition(".")[2] == last:
                        return True
        return False

    def _other_arm(self, first: ir.Node, second: ir.Node) -> bool:
        """Return True if two nodes stand in arms of which only one runs: of one ``if``, or of two with one test."""
        mine, yours = self._arms(first), self._arms(second)
        return any(test in yours and yours[test] != arm for test, arm in mine.items())

    def _arms(self, node: ir.Node) -> dict[str, bool]:
        facts = self.calls.facts
        found: dict[str, bool] = {}
        below = node
        for above in facts.names.ancestors(node):
            if isinstance(above, ir.FunctionDef):
                break
            if isinstance(above, ir.If) and below is not above.test:
                test, arm = above.test, below is above.body
                while isinstance(test, ir.Unary) and test.op == "not":
                    test, arm = test.operand, not arm
                found.setdefault(facts.source(test), arm)
            below = above
        return found


def _handles_scale(home: ir.FunctionDef | None, site: GradientSite, calls: Calls) -> bool:
    """Return True if a function handles the scale itself: reads it, inverts it, or unscales by a name of its own."""
    inside = {node.nid for node in ir.walk(site.call)}
    for node in ir.walk(home.body if home is not None else calls.facts.module.body):
        name = short_name(node) if isinstance(node, ir.Name | ir.Attr) else ""
        if node.nid in inside or not name or name == "unscale_":
            continue
        found = set(words(name))
        if found & {"unscale", "unscaled"} or "get_scale" in name:
            return True
        if "scale" in found and found & {"inv", "inverse", "loss", "grad"}:
            return True
    return False


def _receiver(call: ir.Call) -> ir.Expr:
    return call.func.value if isinstance(call.func, ir.Attr) else call.func


def _root(node: ir.Expr) -> str | None:
    while isinstance(node, ir.Attr | ir.Subscript):
        node = node.value
    return node.id if isinstance(node, ir.Name) else None


def _is_constant_of(node: ir.Expr, root: str) -> bool:
    """``torch.zeros_like(p)`` reads no value of ``p``."""
    shaped = {
        inner.nid
        for part in ir.walk(node)
        if isinstance(part, ir.Call) and short_name(part.func).endswith("_like")
        for inner in ir.walk(part)
    }
    return all(n.nid in shaped for n in ir.walk(node) if isinstance(n, ir.Name) and n.id == root)


def _is_target(node: ir.Name, above: ir.Node | None, binding: ir.Node) -> bool:
    if isinstance(above, ir.Sequence):
        above = binding
    return (isinstance(above, ir.Assign) and any(p is node for t in above.targets for p in ir.walk(t))) or (
        isinstance(above, ir.AugAssign) and above.target is node
    )


def _tags(name: str, generic: frozenset[str] = frozenset({"self", "net", "model"})) -> set[str]:
    return set(words(name)) - generic


def _alike(optimiser: str, model: str) -> bool:
    """``opt_d`` is called after ``disc``."""
    return any(
        tag.startswith(word) or word.startswith(tag)
        for tag in _tags(optimiser, _OPTIMISER_WORDS)
        for word in _tags(model)
    )
