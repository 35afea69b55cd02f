"""Whether two expressions are one value: one name, an alias, an unmodified copy, two branches of one source.

Every expression has a *trace*: what it is computed from, with aliases and copies looked through. Equal traces mean
equal values as long as nothing between a copy and its use writes to either side (``semantics/changes.py``). What is not
understood (an unknown call, a comprehension) is a value of its own: two calls of one function are two values.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from fa_lint.semantics import ir
from fa_lint.semantics.changes import changed
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.names import Binding
from fa_lint.semantics.purity import ACCESSORS, COPIES, COPY_METHODS, SAME_CALLS, SAME_METHODS, is_pure
from fa_lint.semantics.roles import Evidence

__all__ = ["Aliases", "Copy", "Sameness", "Trace", "aliases"]

_DEPTH = 24
_SIZE = 200


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy on the way: the call that makes it, whether deep, and what it is made from."""

    nid: int
    deep: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """``key`` identifies the value; ``reads`` are attributes and items read on the way, which can change in time."""

    key: Hashable
    copies: tuple[Copy, ...] = ()
    reads: tuple[int, ...] = ()
    steps: tuple[Evidence, ...] = ()
    size: int = 1


@dataclass(frozen=True, slots=True)
class Sameness:
    """Why two expressions are one value: ``kind`` is name, alias, copy, model or branches, with the places."""

    kind: str
    evidence: tuple[Evidence, ...]


class Aliases:
    """Answers :meth:`same` for the expressions of one module."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._facts = facts
        self._memo: dict[int, Trace] = {}

    def same(self, left: ir.Expr, right: ir.Expr, at: ir.Node) -> Sameness | None:
        """The reason why two expressions that meet ``at`` a node have one value; None where nothing proves it."""
        one, two = self.trace(left), self.trace(right)
        if one.key != two.key or not _is_value(one.key):
            return None
        if not self._simultaneous(one, two):
            return None
        copies = [*one.copies, *two.copies]
        if any(copy.deep for copy in copies) and "'grad'" in repr(one.key):
            # Each of two models has gradients of its own.
            return None
        for copy in dict.fromkeys(copies):
            if changed(copy.nid, copy.deep, at, (left, right), self._facts):
                return None
        steps = tuple(dict.fromkeys((*one.steps, *two.steps)))
        if any(copy.deep for copy in copies):
            return Sameness("model", steps)
        if copies:
            return Sameness("copy", steps)
        if any(step.text.startswith("one of the branches") for step in steps):
            return Sameness("branches", steps)
        return Sameness("name" if ir.same(left, right) or not steps else "alias", steps)

    def _simultaneous(self, one: Trace, two: Trace) -> bool:
        """Attributes and items are read at one time, or nothing between the reads can change them."""
        different = set(one.reads) ^ set(two.reads)
        if not different:
            return True
        names = self._facts.names
        statements = {s.nid: s for nid in different if (s := names.statement(self._facts.node(nid))) is not None}
        if len(statements) < 2:
            return True
        first, last = statements[min(statements)], statements[max(statements)]
        if names.enclosing_function(first) is not names.enclosing_function(last):
            return False
        if _loops(names.ancestors(first)) != _loops(names.ancestors(last)):
            return False
        for node in self._facts.nodes():
            if first.nid <= node.nid < last.nid:
                if isinstance(node, ir.Call) and not self._is_pure(node):
                    return False
                if isinstance(node, ir.Assign | ir.AugAssign) and node is not first:
                    targets = node.targets if isinstance(node, ir.Assign) else [node.target]
                    if any(not isinstance(t, ir.Name) for t in targets):
                        return False
        return True

    def _is_pure(self, call: ir.Call) -> bool:
        name = self._facts.qualified(call.func)
        if name is not None:
            return name in COPIES or name in SAME_CALLS or is_pure(name)
        return isinstance(call.func, ir.Attr) and call.func.attr in SAME_METHODS | COPY_METHODS | ACCESSORS | {"append"}

    # -- traces -----------------------------------------------------------------------------------------------

    def trace(self, node: ir.Expr, depth: int = 0) -> Trace:
        """What an expression is computed from."""
        if depth > _DEPTH:
            return Trace(("node", node.nid))
        if node.nid not in self._memo:
            found = self._trace(node, depth)
            # A name used twice a line doubles the key with each line: a big one is a value of its own.
            self._memo[node.nid] = found if found.size <= _SIZE else Trace(("node", node.nid))
        return self._memo[node.nid]

    def _trace(self, node: ir.Expr, depth: int) -> Trace:
        match node:
            case ir.Const(value=value):
                # Python refuses to write out the decimal digits of an integer of thousands.
                text = f"{value:x}" if isinstance(value, int) else repr(value)
                return Trace(("const", type(value).__name__, text))
            case ir.Name():
                return self._name(node, depth)
            case ir.Attr(value=value, attr=attr) if self._facts.qualified(node) is None:
                if attr == "data":
                    return self.trace(value, depth + 1)
                inner = self.trace(value, depth + 1)
                return replace(inner, key=("attr", inner.key, attr), reads=(*inner.reads, node.nid))
            case ir.Attr():
                return Trace(("object", self._facts.qualified(node)))
            case ir.Subscript(value=value, index=index):
                parts = [self.trace(value, depth + 1), *(self.trace(i, depth + 1) for i in index)]
                found = _joined("item", parts)
                return replace(found, reads=(*found.reads, node.nid))
            case ir.Slice(lower=lower, upper=upper, step=step):
                bounds = (lower, upper, step)
                given = tuple(bound is not None for bound in bounds)
                return _joined(("slice", given), [self.trace(b, depth + 1) for b in bounds if b is not None])
            case ir.Binary(op=op, left=left, right=right):
                return _joined(op, [self.trace(left, depth + 1), self.trace(right, depth + 1)])
            case ir.Unary(op=op, operand=operand):
                return _joined(f"unary {op}", [self.trace(operand, depth + 1)])
            case ir.Conditional(body=body, orelse=orelse):
                first, second = self.trace(body, depth + 1), self.trace(orelse, depth + 1)
                if first.key == second.key:
                    chosen = Evidence(node.nid, "one of the branches is the other")
                    return replace(first, copies=(*first.copies, *second.copies), steps=(*first.steps, chosen))
            case ir.Sequence(items=[_, *_] as items):
                return _joined("sequence", [self.trace(item, depth + 1) for item in items])
            case ir.Call():
                return self._call(node, depth)
        return Trace(("node", node.nid))

    def _name(self, node: ir.Name, depth: int) -> Trace:
        if self._facts.qualified(node) is not None:
            return Trace(("object", self._facts.qualified(node)))
        reaching = self._facts.names.reaching(node)
        bound = [b for b in reaching if b.how != "item"]
        if len(bound) < len(reaching):
            # What was stored into it since is not in sight.
            return Trace(("filled", node.id, tuple(b.node.nid for b in reaching)))
        if not bound:
            return Trace(("free", node.id))
        if any(b.node.nid > node.nid for b in bound):
            # Carried over from an earlier turn of a loop: a value of its own at every place.
            statement = self._facts.names.statement(node)
            return Trace(("earlier", node.id, statement.nid if statement else node.nid))
        traces = [self._binding(b, depth) for b in bound]
        if len({t.key for t in traces}) == 1:
            first = traces[0]
            if len(traces) == 1:
                return first
            steps = tuple(
                Evidence(b.node.nid, f"one of the branches that give `{node.id}` the same value") for b in bound
            )
            copies = tuple(copy for trace in traces for copy in trace.copies)
            return replace(first, copies=copies, steps=(*first.steps, *steps))
        return Trace(("any", node.id, tuple(b.node.nid for b in bound)))

    def _binding(self, binding: Binding, depth: int) -> Trace:
        own = Trace(("bound", binding.node.nid, binding.name))
        value = binding.value
        if value is None or binding.how not in ("value", "iterate"):
            return own
        if binding.how == "iterate":
            return self._element(binding, value, depth) or own
        found = self.trace(value, depth + 1)
        if found.key == ("node", value.nid):
            return own
        text = f"`{binding.name}` is `{' '.join(self._facts.source(value).split())}`"
        return replace(found, steps=(*found.steps, Evidence(binding.node.nid, text)))

    def _element(self, binding: Binding, value: ir.Expr, depth: int) -> Trace | None:
        """An element of what a loop runs over; the sides of a ``zip`` advance together."""
        index = binding.index
        while isinstance(value, ir.Call) and isinstance(value.func, ir.Name) and value.args:
            name = value.func.id
            if any(arg.star for arg in value.args):
                return None
            if name == "zip":
                if index is None or index >= len(value.args):
                    return None
                value, index = value.args[index].value, None
            elif name == "enumerate" and index:
                value, index = value.args[0].value, None
            else:
                break
        found = self.trace(value, depth + 1)
        return replace(found, key=("element", binding.node.nid, index, found.key))

    def _copied(self, node: ir.Expr) -> ir.Expr | None:
        """``x`` of ``x.clone()``, ``copy.deepcopy(x)``, ``x.detach()`` and the like."""
        if not isinstance(node, ir.Call):
            return None
        name = self._facts.qualified(node.func)
        if name in COPIES | SAME_CALLS and node.args and node.args[0].keyword is None and not node.args[0].star:
            inner = node.args[0].value
            return inner if isinstance(inner, ir.Name | ir.Attr | ir.Call | ir.Subscript) else None
        if name is None and isinstance(node.func, ir.Attr):
            if node.func.attr in SAME_METHODS or (node.func.attr in COPY_METHODS and not node.args):
                return node.func.value
            if node.func.attr == "to" and node.args and self._is_device(node.args[0].value):
                return node.func.value
        return None

    def _is_device(self, node: ir.Expr) -> bool:
        match node:
            case ir.Const(value=str() as text):
                return text.partition(":")[0] in ("cpu", "cuda", "mps", "xpu")
            case ir.Name(id=name) | ir.Attr(attr=name):
                return name.endswith("device")
        return False

    def _call(self, node: ir.Call, depth: int) -> Trace:
        inner = self._copied(node)
        if inner is not None:
            found = self.trace(inner, depth + 1)
            name = self._facts.qualified(node.func)
            if name in SAME_CALLS or (
                isinstance(node.func, ir.Attr) and name is None and node.func.attr in SAME_METHODS | {"to"}
            ):
                return found
            deep = name == "copy.deepcopy"
            text = "a deep copy of it" if deep else "a copy of it"
            step = Evidence(node.nid, text)
            return replace(found, copies=(*found.copies, Copy(node.nid, deep)), steps=(*found.steps, step))
        name = self._facts.qualified(node.func)
        if any(arg.star for arg in node.args):
            return Trace(("node", node.nid))
        values = [self.trace(arg.value, depth + 1) for arg in node.args]
        label = tuple(arg.keyword for arg in node.args)
        if name is not None:
            return _joined(("call", name, label), values) if is_pure(name) else Trace(("node", node.nid))
        if isinstance(node.func, ir.Attr) and not node.func.attr.endswith("_"):
            receiver = self.trace(node.func.value, depth + 1)
            if node.func.attr in ACCESSORS:
                found = _joined(("method", node.func.attr, label), [receiver, *values])
                return replace(found, reads=(*found.reads, node.nid))
        return Trace(("node", node.nid))


def _joined(label: Hashable, parts: list[Trace]) -> Trace:
    return Trace(
        (label, *(part.key for part in parts)),
        tuple(copy for part in parts for copy in part.copies),
        tuple(read for part in parts for read in part.reads),
        tuple(step for part in parts for step in part.steps),
        1 + sum(part.size for part in parts),
    )


def _loops(around: list[ir.Node]) -> list[int]:
    return [node.nid for node in around if isinstance(node, ir.For | ir.While | ir.Comprehension)]


def _is_value(key: Hashable) -> bool:
    """A literal or a library object compared with itself is nobody's measurement."""
    return isinstance(key, tuple) and key[0] not in ("const", "object")


def aliases(facts: ModuleFacts) -> Aliases:
    """The aliases of a module, for all rules."""
    return facts.derived(Aliases)
