"""What may change an array in place, and where: a value that is read or copied before it is not that of after it."""

from __future__ import annotations

import builtins
from bisect import bisect_left

from fa_lint.analysis.models import FUNCTIONS, METHODS
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["Changes"]

_LIBRARIES = frozenset("torch numpy math jax scipy sklearn".split())
# Parts of the names of library functions that write into what they are given.
_WRITING = frozenset(
    "backward step zero_grad init utils forward predict fit shuffle copyto put place putmask put_along_axis "
    "fill_diagonal at sort".split()
)
# Methods of containers and streams.
_HARMLESS = frozenset("append extend insert add setdefault format join startswith write".split())
# A backward pass adds to a gradient, and these write into it: it stays the tensor that it was.
_OF_GRADIENTS = frozenset({"backward", "zero_", "zero_grad", "step"})
_MOST_HOPS = 6


class Changes:
    """The places of one module where an array may be changed in place, or an attribute replaced."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._facts = facts
        nodes = facts.nodes_of(ir.Call, ir.Assign, ir.AugAssign)
        self._places = [node for node in nodes if self._changes(node)]
        self._numbers = [node.nid for node in self._places]
        self._reading: dict[int, bool] = {}

    def before(self, number: int) -> int:
        """Return how many of them stand before a node."""
        return bisect_left(self._numbers, number)

    def between(self, first: int, last: int) -> list[ir.Node]:
        """Return those between two nodes."""
        return self._places[self.before(first + 1) : self.before(last)]

    def only_reads(self, function: ir.FunctionDef | ir.Lambda) -> bool:
        """Return True where nothing in a function changes an array."""
        if function.nid not in self._reading:
            numbers = set(self._numbers)
            self._reading[function.nid] = not any(node.nid in numbers for node in ir.walk(function.body))
        return self._reading[function.nid]

    def is_steady(self, place: ir.Node, *, gradients: bool) -> bool:
        """Return True where what stands at a place was read at one time, or nothing between the reads changes it.

        ``gradients``: the values are ``.grad`` tensors, which a backward pass adds to and does not replace.
        """
        reads = self._reads(place, 0)
        if len(reads) < 2:
            return True
        return all(
            gradients and isinstance(node, ir.Call) and _last(node.func) in _OF_GRADIENTS
            for node in self.between(min(reads), max(reads))
            if not self._is_getter(node)
        )

    def _is_getter(self, node: ir.Node) -> bool:
        function = self._facts.names.function_called(node) if isinstance(node, ir.Call) else None
        return function is not None and self.only_reads(function)

    def _reads(self, place: ir.Node, hops: int) -> set[int]:
        """Return the numbers of the attributes and items that a place is computed from, through names."""
        found: set[int] = set()
        stack = [place]
        while stack:
            node = stack.pop()
            match node:
                case ir.Name() if hops < _MOST_HOPS:
                    for binding in self._facts.names.reaching(node):
                        if binding.how in ("value", "unpack") and binding.value is not None:
                            found |= self._reads(binding.value, hops + 1)
                    continue
                case ir.Call(func=ir.Attr(value=receiver), args=args):
                    stack += [receiver, *(arg.value for arg in args)]
                    continue
                case ir.Attr() | ir.Subscript() if self._facts.qualified(node) is None:
                    found.add(node.nid)
            stack.extend(ir.children(node))
        return found

    def _changes(self, node: ir.Node) -> bool:
        match node:
            case ir.Call():
                return not self._is_pure(node)
            case ir.Assign(targets=targets):
                return any(map(_is_entry, targets))
        return True

    def _is_pure(self, call: ir.Call) -> bool:
        name, last = self._facts.qualified(call.func), _last(call.func)
        if last.endswith("_") or any(arg.keyword == "out" for arg in call.args):
            return False
        if name is not None and (name in FUNCTIONS or name.partition(".")[0] in _LIBRARIES):
            return not _WRITING & set(name.split("."))
        if isinstance(call.func, ir.Attr):
            # What is called for nothing that it gives back is called for what it does.
            alone = isinstance(self._facts.names.parent(call), ir.ExprStmt)
            return last in _HARMLESS or (last in METHODS and last not in _WRITING and not alone)
        # What begins with a capital makes an object.
        return isinstance(call.func, ir.Name) and (hasattr(builtins, last) or last[:1].isupper())


def _is_entry(target: ir.Expr) -> bool:
    """Return True for the entries of an array; the items of a dict and attributes are what they are bound to."""
    match target:
        case ir.Subscript(index=[ir.Const(value=str())]):
            return False
        case ir.Subscript():
            return True
    return isinstance(target, ir.Attr) and target.attr in ("data", "grad")


def _last(node: ir.Expr) -> str:
    return node.id if isinstance(node, ir.Name) else node.attr if isinstance(node, ir.Attr) else ""
