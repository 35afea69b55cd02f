"""Reductions of per-layer alignments to one number: means of containers, running sums, the first one found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import values_of
from fa_lint.rules.common.alignments import Alignment, alignments, passed
from fa_lint.rules.p5_layers._layers import Layers, uses_of
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.names import Binding

__all__ = ["Collapse", "collapses"]

_MEANS = frozenset({"mean", "median", "nanmean", "nanmedian", "average", "fmean"})
_WRAPPERS = frozenset("stack cat tensor as_tensor array asarray list float concatenate".split())
_COUNTS = frozenset({"len", "numel", "nelement"})
# What meters of values call their mean.
_METER_MEANS = frozenset({"avg", "mean", "average", "global_avg"})
_METER_UPDATES = frozenset({"update", "reset", "sum", "count"})
_MOST_CALLS = 4
# One of these beside the mean tells of the spread over layers.
_SPREADS = frozenset("min max std var quantile percentile amin amax histogram hist sorted argmin argmax".split())


@dataclass(frozen=True, slots=True)
class Collapse:
    """``node`` reduces what was filled at ``filled``; ``how`` says in words what is left."""

    node: ir.Node
    filled: ir.Node
    alignment: Alignment
    how: str


def collapses(facts: ModuleFacts) -> Iterator[Collapse]:
    """Every reduction of per-layer alignments whose per-layer values are not used again, in source order."""
    finder = _Finder(facts)
    for node in facts.nodes_of(ir.Call, ir.Binary, ir.For):
        if isinstance(node, ir.Call | ir.Binary):
            yield from finder.mean(node)
        if isinstance(node, ir.For):
            yield from finder.running_sum(node)
            yield from finder.metered(node)
            yield from finder.first_found(node)
            yield from finder.last_one(node)


class _Finder:
    def __init__(self, facts: ModuleFacts) -> None:
        self._facts = facts
        self._names = facts.names
        self._known = alignments(facts)
        self._layers = Layers(facts)
        self._reported: set[tuple[int, str]] = set()

    # -- means of containers ----------------------------------------------------------------------------------

    def mean(self, node: ir.Call | ir.Binary) -> Iterator[Collapse]:
        operand = self._mean_operand(node)
        if operand is None:
            return
        if isinstance(operand, ir.Comprehension):
            found = self._known.of(operand.elements[-1])
            if found.is_measured and self._layers.runs_over_layers(operand.clause):
                yield Collapse(node, operand, found, "their mean")
            return
        if isinstance(operand, ir.Call):
            yield from self._mean_of_returned(node, operand)
        if not isinstance(operand, ir.Name):
            return
        found = self._known.of(operand)
        if not found.is_measured:
            return
        filled = self._filled_by_layer(operand) or self._passed_by_layer(operand)
        region = self._region(operand)
        key = (region.nid, operand.id)
        if filled is None or key in self._reported:
            return
        reductions = self._reductions(operand.id, region)
        if reductions is None or self._layers.container_lives(operand.id, region, reductions):
            return
        self._reported.add(key)
        yield Collapse(node, filled, found, "their mean")

    def _averaged_elsewhere(self, node: ir.Call) -> ir.Expr | None:
        """Return the container of which a lambda, a bound function or one of another file takes the mean."""
        values, name = values_of(self._facts), self._facts.qualified(node.func)
        if name is not None and values.program.imported(values.module.number, name) is None:
            return None
        if self._names.function_called(node) is not None or not values.may_hold_cosine(node):
            return None
        here = t.Site(values.module.number, node.nid)
        if any(
            isinstance(term, t.Aggregate) and term.how == "mean" and term.site != here for term, _ in values.of(node)
        ):
            given = [*node.args, *(node.func.args if isinstance(node.func, ir.Call) else [])]
            measured = [arg.value for arg in given if self._known.of(arg.value).is_measured]
            return self._unwrapped(measured[0]) if len(measured) == 1 else None
        return None

    def _mean_of_returned(self, node: ir.Call | ir.Binary, call: ir.Call) -> Iterator[Collapse]:
        """``np.mean(by_layer(model))``: what a function gives by layer is reduced where it is called."""
        entered = self._facts.derived(Calls).entered(call)
        found = self._known.of(call)
        if not entered or not found.is_measured:
            return
        if self._is_only_call(call, entered[0]) and self._returns_layers(entered[0]):
            yield Collapse(node, call, found, "their mean")

    def _mean_operand(self, node: ir.Call | ir.Binary) -> ir.Expr | None:
        """Return the container of which an expression, or a function out of sight that it calls, takes the mean."""
        found = self._mean_here(node)
        return self._averaged_elsewhere(node) if found is None and isinstance(node, ir.Call) else found

    def _mean_here(self, node: ir.Call | ir.Binary) -> ir.Expr | None:
        """What a mean or ``sum / len`` is taken of, unwrapped to the container; None for a mean along one dim."""
        if isinstance(node, ir.Binary):
            left = self._summed(node.left) if node.op == "/" else None
            weighted = self._weighted(left, self._summed(node.right)) if left is not None else None
            if weighted is not None:
                return self._unwrapped(weighted)
            counts = any(isinstance(p, ir.Call) and ir.last_name(p.func) in _COUNTS for p in ir.walk(node.right))
            counts = counts or _is_first_size(node.right)
            return (
                self._unwrapped(left)
                if left is not None and (counts or isinstance(node.right, ir.Name | ir.Attr))
                else None
            )
        name = ir.last_name(node.func)
        if name not in _MEANS or any(arg.keyword in ("dim", "axis") for arg in node.args):
            return None
        if self._facts.qualified(node.func) is not None:
            positional = [arg.value for arg in node.args if arg.keyword is None]
            return (
                self._unwrapped(positional[0]) if len(positional) == 1 or (name == "average" and positional) else None
            )
        if isinstance(node.func, ir.Attr) and not node.args:
            return self._unwrapped(node.func.value)
        return None

    def _summed(self, node: ir.Expr) -> ir.Expr | None:
        while isinstance(node, ir.Call) and ir.last_name(node.func) in ("float", "item"):
            inner = node.args[0].value if node.args else node.func.value if isinstance(node.func, ir.Attr) else None
            if inner is None:
                return None
            node = inner
        if isinstance(node, ir.Call) and ir.last_name(node.func) in ("sum", "nansum", "fsum"):
            if node.args:
                return node.args[0].value
            return node.func.value if isinstance(node.func, ir.Attr) else None
        return None

    def _weighted(self, product: ir.Expr, weights: ir.Expr | None) -> ir.Expr | None:
        """``values`` of ``sum(values * weights) / sum(weights)``."""
        if weights is None or not isinstance(product, ir.Binary) or product.op != "*":
            return None
        for one, other in ((product.left, product.right), (product.right, product.left)):
            if ir.same(other, weights):
                return one
        return None

    def _unwrapped(self, node: ir.Expr) -> ir.Expr:
        for _ in range(6):
            match node:
                case ir.Call(func=ir.Attr(attr="values", value=value), args=[]):
                    node = value
                case ir.Call(func=func, args=[ir.Arg(value=value, keyword=None), *_]) if (
                    ir.last_name(func) in _WRAPPERS
                ):
                    node = value
                case ir.Call(func=ir.Attr(attr="float" | "detach" | "cpu" | "abs", value=value), args=[]):
                    node = value
                case ir.Comprehension(
                    elements=[ir.Name(id=kept)], clause=ir.Clause(target=target, iter=value, inner=None)
                ) if any(isinstance(part, ir.Name) and part.id == kept for part in ir.walk(target)) and not isinstance(
                    value, ir.Comprehension
                ):
                    # ``[a for a in angles if a == a]`` leaves values out and computes none.
                    node = value
                case ir.Call(func=ir.Attr(attr="items", value=value), args=[]):
                    node = value
                case _:
                    return node
        return node

    def _filled_by_layer(self, name: ir.Name) -> ir.Node | None:
        """Where a local container gets one alignment a layer; None where it holds something else or is not local."""
        bindings = self._names.bindings(name)
        if any(b.how in ("param", "import", "iterate", "with") for b in bindings):
            return None
        for binding in bindings:
            if binding.how == "item" and self._known.of(binding.value).is_measured:
                loop = self._layers.loop(binding.node)
                if loop is not None:
                    allowed = self._allowed(binding)
                    return None if self._layers.element_lives(binding.value or name, loop, allowed) else binding.node
                return None
        for binding in bindings:
            filled = self._made_by_layer(binding)
            if filled is not None:
                return filled
        return None

    def _passed_by_layer(self, name: ir.Name, depth: int = 0) -> ir.Node | None:
        """Where every caller of a function fills the container that it passes, and does nothing else with it."""
        bindings = self._names.bindings(name)
        if len(bindings) != 1 or bindings[0].how != "param" or depth > _MOST_CALLS:
            return None
        filled: ir.Node | None = None
        for value in passed(bindings[0].node, self._facts):
            if isinstance(value, ir.Comprehension) and self._layers.runs_over_layers(value.clause):
                filled = value
                continue
            statement = self._names.statement(value)
            if statement is None or not isinstance(value, ir.Name):
                return None
            filled = self._filled_by_layer(value) or self._passed_by_layer(value, depth + 1)
            if filled is None:
                return None
            region, here = self._region(value), {part.nid for part in ir.walk(statement) if isinstance(part, ir.Call)}
            reductions = self._reductions(value.id, region)
            if reductions is None or self._layers.container_lives(value.id, region, reductions | here):
                return None
        return filled

    def _made_by_layer(self, binding: Binding) -> ir.Node | None:
        if binding.how == "value" and isinstance(binding.value, ir.Call):
            inner = self._unwrapped(binding.value)
            if isinstance(inner, ir.Comprehension):
                return binding.node if self._layers.runs_over_layers(inner.clause) else None
            if isinstance(inner, ir.Name):
                return self._moved(inner, binding.value)
        match binding:
            case Binding(how="value", value=ir.Comprehension() as made):
                return binding.node if self._layers.runs_over_layers(made.clause) else None
            case Binding(how="value", value=ir.Call() as call):
                function = self._names.function_called(call)
                if function is not None and self._is_only_call(call, function):
                    return binding.node if self._returns_layers(function) else None
        if binding.how == "value" and self._layers.is_named(binding.name):
            return binding.node if self._known.bound(binding).is_cosine or self._known.of(binding.value).is_cosine or (
                isinstance(binding.value, ir.Call)
            ) else None  # fmt: skip
        return None

    def _moved(self, name: ir.Name, call: ir.Call) -> ir.Node | None:
        """Where the container behind ``v = torch.tensor(found)`` was filled; None where more is done with it."""
        if self._layers.container_lives(name.id, self._region(name), {call.nid}):
            return None
        return self._filled_by_layer(name)

    def _is_only_call(self, call: ir.Call, function: ir.FunctionDef) -> bool:
        return len(self._facts.derived(Calls).callers(function)) == 1

    def _returns_layers(self, function: ir.FunctionDef) -> bool:
        for value in self._names.returned(function):
            if isinstance(self._names.parent(value), ir.Yield):
                return self._layers.loop(value) is not None
            made = self._unwrapped(value)
            if isinstance(made, ir.Comprehension):
                return self._layers.runs_over_layers(made.clause)
            if isinstance(made, ir.Name):
                return self._filled_by_layer(made) is not None
        return False

    def _allowed(self, binding: Binding) -> set[int]:
        statement = self._names.statement(binding.node)
        return {statement.nid} if statement is not None else set()

    def _region(self, node: ir.Node) -> ir.Node:
        return self._names.enclosing_function(node) or self._facts.module

    def _reductions(self, name: str, region: ir.Node) -> set[int] | None:
        """The means taken of a container; None where its spread is reported beside them."""
        found: set[int] = set()
        for use in uses_of(name, region):
            for outer in self._names.ancestors(use):
                if isinstance(outer, ir.Stmt):
                    break
                if isinstance(outer, ir.Call) and ir.last_name(outer.func) == "len":
                    break
                if isinstance(outer, ir.Call | ir.Binary):
                    operand = self._mean_operand(outer)
                    if isinstance(operand, ir.Name) and operand.id == name:
                        found.add(outer.nid)
                    elif isinstance(outer, ir.Call) and ir.last_name(outer.func) in _SPREADS:
                        return None
        return found

    # -- running sums -----------------------------------------------------------------------------------------

    def running_sum(self, loop: ir.For) -> Iterator[Collapse]:
        if not self._layers.runs_over_layers(loop):
            return
        for node in ir.walk(loop.body):
            yield from self._running_mean(node, loop)
            if not (isinstance(node, ir.AugAssign) and node.op == "+" and isinstance(node.target, ir.Name)):
                continue
            found = self._known.of(node.value)
            if not found.is_measured or self._layers.loop(node) is not loop:
                continue
            if self._layers.element_lives(node.value, loop, {node.nid}):
                continue
            divided = self._divided(node.target, node)
            if divided is not None:
                yield Collapse(divided, node, found, "a running mean")

    def _running_mean(self, node: ir.Node, loop: ir.For) -> Iterator[Collapse]:
        """``mean = mean + (value - mean) / n``, also with ``+=``."""
        match node:
            case ir.Assign(targets=[ir.Name(id=name)], value=ir.Binary(op="+", left=ir.Name(id=old), right=step)):
                if name != old:
                    return
            case ir.AugAssign(target=ir.Name(id=name), op="+", value=step):
                pass
            case _:
                return
        match step:
            case ir.Binary(op="/", left=ir.Binary(op="-", left=value, right=ir.Name(id=subtracted))):
                found = self._known.of(value)
                if subtracted == name and found.is_measured and self._layers.loop(node) is loop:
                    if not self._layers.element_lives(value, loop, {node.nid}):
                        yield Collapse(node, node, found, "a running mean")

    def metered(self, loop: ir.For) -> Iterator[Collapse]:
        """``meter.update(value)`` a layer, and ``meter.avg`` behind the loop."""
        if not self._layers.runs_over_layers(loop):
            return
        for node in ir.walk(loop.body):
            match node:
                case ir.Call(func=ir.Attr(value=ir.Name() as meter, attr="update"), args=[ir.Arg(value=value), *_]):
                    pass
                case _:
                    continue
            found, statement = self._known.of(value), self._names.statement(node)
            if not found.is_measured or statement is None or self._layers.loop(node) is not loop:
                continue
            read = self._read_of_meter(meter, loop)
            if read is not None and not self._layers.element_lives(value, loop, {statement.nid}):
                yield Collapse(read, node, found, "the mean of a meter")

    def _read_of_meter(self, meter: ir.Name, loop: ir.For) -> ir.Expr | None:
        """The first mean that is read of a meter behind a loop; None where the loop makes it, or more of it is used."""
        inside = {part.nid for part in ir.walk(loop)}
        if any(b.node.nid in inside for b in self._names.bindings(meter)):
            return None
        read: ir.Expr | None = None
        for use in uses_of(meter.id, self._region(loop)):
            above = self._names.parent(use)
            if isinstance(above, ir.Assign):
                continue
            allowed = _METER_UPDATES if use.nid in inside else _METER_UPDATES | _METER_MEANS
            if not isinstance(above, ir.Attr) or above.attr not in allowed:
                return None
            if above.attr in _METER_MEANS and use.nid > loop.nid and read is None:
                read = above
        return read

    def last_one(self, loop: ir.For) -> Iterator[Collapse]:
        """Each turn overwrites the value of the one before, and the last is used behind the loop."""
        if not self._layers.runs_over_layers(loop):
            return
        for node in loop.body.body:
            match node:
                case ir.Assign(targets=[ir.Name(id=name)], value=value):
                    found = self._known.of(value)
                case _:
                    continue
            if not found.is_measured or any(isinstance(p, ir.Simple) and p.kind == "break" for p in ir.walk(loop.body)):
                continue
            uses = [use for use in uses_of(name, self._region(loop)) if use is not node.targets[0]]
            inside = {part.nid for part in ir.walk(loop)}
            later = [use for use in uses if use.nid > loop.nid and use.nid not in inside]
            read = [use for use in later if any(binding.node is node for binding in self._names.reaching(use))]
            if read and not any(use.nid in inside for use in uses):
                yield Collapse(node, loop, found, "the last one")

    def _divided(self, total: ir.Name, after: ir.AugAssign) -> ir.Node | None:
        for use in uses_of(total.id, self._region(total)):
            parent = self._names.parent(use)
            if use.nid > after.nid and isinstance(parent, ir.Binary) and parent.op == "/" and parent.left is use:
                return parent
            if isinstance(parent, ir.AugAssign) and parent.op == "/" and parent.target is use:
                return parent
            call = next((above for above in self._names.ancestors(use) if isinstance(above, ir.Call)), None)
            if use.nid > after.nid and call is not None and self._averaged_elsewhere(call) is use:
                return call
        return None

    # -- the first one ----------------------------------------------------------------------------------------

    def first_found(self, loop: ir.For) -> Iterator[Collapse]:
        """``for k, v in angles.items(): if v != 0: angle = v; break``"""
        values = {part.id for part in ir.walk(loop.target) if isinstance(part, ir.Name)}
        for node in ir.walk(loop.body):
            match node:
                case ir.Block(body=[*_, ir.Assign(value=ir.Name(id=taken)) as kept, ir.Simple(kind="break")]):
                    pass
                case _:
                    continue
            if taken not in values or not any(self._is_first(part, kept, taken) for part in [kept.value]):
                continue
            found = self._known.of(kept.value)
            if found.is_measured and self._loop_around(kept) is loop and not self._shown(loop):
                yield Collapse(kept, loop, found, "the first one found")

    def _is_first(self, value: ir.Expr, kept: ir.Assign, taken: str) -> bool:
        """True if the choice depends on the value itself (not zero), not on the name of a layer."""
        for outer in self._names.ancestors(kept):
            if isinstance(outer, ir.For):
                return True
            if isinstance(outer, ir.If):
                return any(isinstance(part, ir.Name) and part.id == taken for part in ir.walk(outer.test))
        return False

    def _loop_around(self, node: ir.Node) -> ir.Node | None:
        return next((n for n in self._names.ancestors(node) if isinstance(n, ir.For | ir.While)), None)

    def _shown(self, loop: ir.For) -> bool:
        """True if the container that is searched is used elsewhere."""
        container = loop.iter
        while isinstance(container, ir.Call):
            if container.args:
                container = container.args[0].value
            elif isinstance(container.func, ir.Attr):
                container = container.func.value
            else:
                break
        if not isinstance(container, ir.Name):
            return True
        for use in uses_of(container.id, self._region(loop)):
            statement = self._names.statement(use)
            around = self._names.ancestors(use)
            passed = any(
                isinstance(n, ir.Call) and ir.last_name(n.func) not in ("isinstance", "len", "items")
                for n in around[:3]
            )
            if isinstance(statement, ir.Return) or (
                passed and statement is not loop and not isinstance(statement, ir.For)
            ):
                return True
        return False


def _is_first_size(node: ir.Expr) -> bool:
    """``x.size(0)``, ``x.shape[0]``."""
    match node:
        case ir.Call(func=ir.Attr(attr="size"), args=[ir.Arg(value=ir.Const(value=0))]):
            return True
        case ir.Subscript(value=ir.Attr(attr="shape"), index=[ir.Const(value=0)]):
            return True
    return False
