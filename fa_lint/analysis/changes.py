"""What may change an array in place, and where: a value that is read or copied before it is not that of after it."""

from __future__ import annotations

import builtins
from bisect import bisect_left
from collections import deque
from functools import cached_property

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
# Methods that change a container: what a getter reads from it is another value.
_FILLING = frozenset("append extend insert add setdefault pop update clear remove popleft appendleft".split())
# Methods of containers and streams that change no array, where the project has none of that name.
_HARMLESS = frozenset("append extend insert add setdefault format join startswith write".split())
# Builtins after which an attribute or iterator is another one.
_STEPPING = frozenset({"next", "setattr", "delattr", "exec", "eval"})
# A backward pass adds to a gradient, and these write into it: it stays the tensor that it was.
_OF_GRADIENTS = frozenset({"backward", "zero_", "zero_grad", "step"})
_MOST_HOPS = 6


class Changes:
    """The places of one module where an array may be changed in place, or an attribute replaced."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._facts = facts
        nodes = facts.nodes_of(ir.Call, ir.Assign, ir.AugAssign, ir.Delete)
        # A store changes something once its value is there.
        placed = sorted((_last_number(node), node.nid, node) for node in nodes if self._changes(node))
        self._places = [node for _, _, node in placed]
        self._numbers = [number for number, _, _ in placed]
        self._reading: dict[int, bool] = {}

    def before(self, number: int) -> int:
        """Return how many of them stand before a node."""
        return bisect_left(self._numbers, number)

    def between(self, first: int, last: int) -> list[ir.Node]:
        """Return those between two nodes."""
        return self._places[self.before(first + 1) : self.before(last)]

    def only_reads(self, function: ir.FunctionDef | ir.Lambda) -> bool:
        """Return True where nothing in a function changes an array, an attribute or a container."""
        if function.nid not in self._reading:
            numbers = {node.nid for node in self._places}
            inside = list(ir.walk(function.body))
            self._reading[function.nid] = not any(node.nid in numbers or _fills(node) for node in inside)
        return self._reading[function.nid]

    def is_steady(self, place: ir.Node, *, gradients: bool, weights: bool = False) -> bool:
        """Return True where what stands at a place was read at one time, or nothing between the reads changes it.

        ``gradients``: the values are ``.grad`` tensors, which a backward pass adds to and does not replace;
        ``weights``: parameters, which training moves in place.
        """
        reads = self._reads(place)
        if len(reads) < 2:
            return True
        return all(
            isinstance(node, ir.Call)
            and (
                ((gradients or weights) and ir.last_name(node.func) in _OF_GRADIENTS - self._defined)
                or (weights and self._is_forward(node))
            )
            for node in self.between(min(reads), max(reads))
            if not self._is_getter(node)
        )

    def _is_forward(self, call: ir.Call) -> bool:
        """Return True for ``model(x)`` and ``criterion(output, y)``: an object of unknown make that gives a value."""
        alone = isinstance(self._facts.names.parent(call), ir.ExprStmt)
        return isinstance(call.func, ir.Name) and bool(call.args) and not alone and call.func.id not in self._defined

    def _is_getter(self, node: ir.Node) -> bool:
        function = self._facts.names.function_called(node) if isinstance(node, ir.Call) else None
        return function is not None and self.only_reads(function)

    def _reads(self, place: ir.Node) -> set[int]:
        """Return the numbers of the attributes, items and method calls behind a place, through names."""
        found: set[int] = set()
        # Nearest first: each node counts with the fewest names on its way.
        waiting, seen = deque([(place, 0)]), {place.nid}
        while waiting:
            node, hops = waiting.popleft()
            following: list[tuple[ir.Node, int]] = []
            match node:
                case ir.Name():
                    bound = self._facts.names.reaching(node) if hops < _MOST_HOPS else ()
                    values = (b.value for b in bound if b.how in ("value", "unpack") and b.value is not None)
                    following = [(value, hops + 1) for value in values]
                case ir.Call(func=ir.Attr(attr=attr, value=receiver), args=args):
                    if attr not in METHODS or attr in ("get", "pop"):
                        found.add(node.nid)
                    following = [(part, hops) for part in (receiver, *(arg.value for arg in args))]
                case _:
                    if isinstance(node, ir.Attr | ir.Subscript) and self._facts.qualified(node) is None:
                        found.add(node.nid)
                    following = [(part, hops) for part in ir.children(node)]
            for part, more in following:
                if part.nid not in seen:
                    seen.add(part.nid)
                    waiting.append((part, more))
        return found

    def _changes(self, node: ir.Node) -> bool:
        match node:
            case ir.Call():
                return not self._is_pure(node)
            case ir.Assign(targets=targets):
                return any(_is_entry(part) for target in targets for part in ir.flat(target))
        return True

    def _is_pure(self, call: ir.Call) -> bool:
        name, last = self._facts.qualified(call.func), ir.last_name(call.func)
        if last.endswith("_") or any(arg.keyword == "out" for arg in call.args):
            return False
        if name is not None and (name in FUNCTIONS or name.partition(".")[0] in _LIBRARIES):
            return not _WRITING & set(name.split("."))
        if isinstance(call.func, ir.Attr):
            # What is called for nothing that it gives back is called for what it does.
            alone = isinstance(self._facts.names.parent(call), ir.ExprStmt)
            if last in _HARMLESS:
                return last not in self._defined
            return last in METHODS and last not in _WRITING | _FILLING and not alone
        # What begins with a capital makes an object.
        pure = hasattr(builtins, last) and last not in _STEPPING
        return isinstance(call.func, ir.Name) and (pure or last[:1].isupper())

    @cached_property
    def _defined(self) -> set[str]:
        """The names of the functions and methods of this module."""
        return {function.name for function in self._facts.names.functions}


def _last_number(node: ir.Node) -> int:
    return max(part.nid for part in ir.walk(node)) if isinstance(node, ir.Assign | ir.AugAssign) else node.nid


def _is_entry(target: ir.Expr) -> bool:
    """Return True for the entries of an array; the items of a dict and attributes are what they are bound to."""
    match target:
        case ir.Subscript(index=[ir.Const(value=str())]):
            return False
        case ir.Subscript():
            return True
    return isinstance(target, ir.Attr)


def _fills(node: ir.Node) -> bool:
    """Return True for a store into an attribute or item, and for a method that changes a container."""
    match node:
        case ir.AugAssign() | ir.Delete():
            return True
        case ir.Assign(targets=targets):
            return any(isinstance(target, ir.Attr | ir.Subscript) for target in targets)
        case ir.Call(func=ir.Attr(attr=attr)):
            return attr in _FILLING
    return False
