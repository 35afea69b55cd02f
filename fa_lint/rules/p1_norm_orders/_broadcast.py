"""Whether a norm along a dimension needs ``keepdim`` to broadcast against the value it was taken of.

As written the call gives one number, which broadcasts against everything. Along a dimension it gives one number a row,
and ``x / x.norm(dim=-1)`` divides *columns*, which a square batch hides. So every use of the norm is followed, through
names, element by element operations and the functions of the module, to what it meets there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice

from fa_lint.rules.common.products import inner_product, is_flat
from fa_lint.rules.p1_norm_orders._row_shapes import (
    BY_NUMBERS,
    ELEMENTWISE,
    LIBRARIES,
    MEET_IN_ONE,
    REDUCTIONS,
    RESHAPES,
    SAME,
    RowShapes,
    Shape,
)
from fa_lint.semantics import ir
from fa_lint.semantics.calls import argument
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.names import Binding
from fa_lint.semantics.uses import Uses

__all__ = ["Followed", "Meeting", "Taken", "followed", "meeting"]


@dataclass(frozen=True, slots=True)
class Taken:
    """A norm: its call, what it is taken of, the dimension that was meant, and whether it keeps it."""

    call: ir.Call
    operand: ir.Expr | None
    dim: ir.Expr
    keepdim: bool


@dataclass(frozen=True, slots=True)
class Meeting:
    """``keepdim``: the norm meets its operand. ``withheld``: why no fix can be right for every use."""

    keepdim: bool = False
    withheld: str = ""


class _Use(Enum):
    """Which shape one use of the norm needs; OUT: it is returned, and its uses are not known."""

    KEEPDIM = auto()
    ROWS = auto()
    OUT = auto()
    ANY = auto()


# A use, or the reason why it cannot be told.
_Found = _Use | str
_ONE_NUMBER = "the code around it needs one number"
# A format specification after an expression in an f-string.
_FORMAT = re.compile(r"\s*:")
_DEPTH = 12
# More uses than a reader of one finding can check; and a thousand findings may have as many each.
_MOST = 500
_ONE = frozenset({"float", "int", "round", "bool", "max", "min", "pow", "range"})
_SILENT = frozenset({"print", "len", "str", "repr", "format", "isinstance", "type", "id"})
_OF_ONE_NUMBER = frozenset({"item", "tolist", "backward", "__float__", "__int__", "__bool__", "format", "add_scalar"})
_OPERATORS = frozenset({"+", "-", "*", "/", "//", "%", "**", "&", "|", "^"})
_TURNED = frozenset({"T", "mT", "H", "mH"})


@dataclass(frozen=True, slots=True)
class Followed:
    """The uses of one norm, and the norms with the same mistake that it meets there."""

    uses: tuple[_Found, ...] = ()
    met: tuple[ir.Call, ...] = ()


def followed(norm: Taken, facts: ModuleFacts) -> Followed:
    """What a norm meets once it is taken along its dimension."""
    if norm.operand is not None and is_flat(norm.operand, facts):
        return Followed()  # of a vector there is one norm
    met: list[ir.Call] = []
    shapes = RowShapes(facts, norm.operand, norm.dim, met)
    uses = tuple(islice(_Follower(facts, shapes).uses(norm.call, Shape.KEPT if norm.keepdim else Shape.ROWS), _MOST))
    return Followed(uses, tuple(met))


def meeting(group: Iterable[Followed]) -> Meeting:
    """Judge all uses of norms that meet each other: with the same mistake they are fixed together or not at all."""
    found = [use for one in group for use in one.uses]
    if len(found) >= _MOST:
        return Meeting(withheld=f"it is used in {_MOST} places and more")
    reasons = [use for use in found if isinstance(use, str)]
    if reasons:
        return Meeting(withheld=reasons[0])
    if _Use.KEEPDIM in found and _Use.ROWS in found:
        return Meeting(withheld="one use needs `keepdim=True`, another one number a row")
    if _Use.KEEPDIM in found and _Use.OUT in found:
        return Meeting(withheld="one use needs `keepdim=True`, and the norm is handed on as well")
    return Meeting(keepdim=_Use.KEEPDIM in found)


class _Follower:
    """Follows the uses of one norm."""

    def __init__(self, facts: ModuleFacts, shapes: RowShapes, depth: int = 0, mixed: bool = False) -> None:
        self._facts = facts
        self._shapes = shapes
        self._depth = depth
        self._mixed = mixed  # it has met what has one number a row and stays so

    def uses(self, node: ir.Expr, shape: Shape) -> Iterator[_Found]:
        """Which shape each use of the value at ``node`` needs."""
        parent = self._facts.names.parent(node)
        match parent:
            case ir.Binary(op="%", left=ir.Const(value=str())):
                yield _ONE_NUMBER
            case ir.Binary(op="**", left=left, right=right) if left is node and self._may_be_number(right):
                yield from self.uses(parent, shape)
            case ir.Binary(op=op, left=left, right=right) if op in _OPERATORS:
                yield from self._meets(parent, shape, [right if left is node else left])
            case ir.Binary():
                yield f"`{self._text(parent)}` depends on shapes that are not known"
            case ir.Compare(left=left, comparators=comparators):
                yield from self._meets(parent, shape, [side for side in (left, *comparators) if side is not node])
            case ir.Unary(op="not") | ir.Bool() | ir.If() | ir.While() | ir.Assert() | ir.Clause():
                yield _ONE_NUMBER
            case ir.Conditional(test=test) if test is node:
                yield _ONE_NUMBER
            case ir.Unary() | ir.Conditional():
                yield from self.uses(parent, shape)
            case ir.Subscript(value=value):
                yield from self._subscript(parent, value is node, shape)
            case ir.Attr():
                yield from self._attribute(parent, shape)
            case ir.Arg():
                yield from self._argument(parent, shape)
            case ir.AugAssign(target=target, value=value):
                yield from self._updates(target, value is node, value, shape)
            case ir.Return() if (function := self._facts.names.enclosing_function(node)) is not None:
                yield from self._callers(function, shape)
            case ir.Lambda():
                yield from self._callers(parent, shape)
            case ir.Opaque() if isinstance(self._facts.names.parent(parent), ir.FString):
                yield _ONE_NUMBER if _FORMAT.match(self._facts.text, self._facts.span(node)[1]) else _Use.ANY
            case ir.Walrus():
                yield from self._bound(node, shape)
                yield from self.uses(parent, shape)
            case ir.Assign(targets=targets):
                yield from self._assigned(node, targets, shape)
            case ir.AnnAssign(target=target):
                yield from self._assigned(node, [target], shape)
            case ir.Sequence() if self._is_unpacked(parent):
                yield from self._bound(node, shape)
            case ir.Sequence() | ir.Keyed() | ir.Starred() | ir.Comprehension() | ir.Yield():
                yield self._held(parent)
            case _:
                yield _Use.ANY

    # -- one use ----------------------------------------------------------------------------------------------

    def _may_be_number(self, exponent: ir.Expr) -> bool:
        return self._shapes.of(exponent) in (Shape.NUMBER, Shape.UNKNOWN)

    def _meets(self, result: ir.Expr, shape: Shape, others: Iterable[ir.Expr]) -> Iterator[_Found]:
        for other in others:
            product = inner_product(other, self._facts)
            if product is not None and product.over == "flat":
                continue  # of two vectors
            if product is not None and product.over == "all" and shape is Shape.ROWS:
                yield f"`{self._text(other)}` sums over the whole tensor"
                return
            known = len(self._shapes.same_norms)
            met = self._shapes.of(other)
            if met is Shape.FULL and shape is Shape.KEPT:
                yield _Use.ANY
                return
            if met is Shape.FULL:
                if shape is Shape.ROWS and self._mixed:
                    yield f"it meets both `{self._text(other)}` and what has no dimension for it"
                else:
                    yield _Use.KEEPDIM
                return
            if met is Shape.KEPT and shape is Shape.ROWS:
                yield _Use.KEEPDIM
                return
            if met is Shape.ROWS:
                if shape is Shape.KEPT:
                    yield f"`{self._text(other)}` has no dimension where the norm keeps one"
                    return
                # A norm with the same mistake gets the dimension along with this one.
                self._mixed |= known == len(self._shapes.same_norms)
            if met is Shape.OTHER or (met is Shape.UNKNOWN and shape is Shape.ROWS):
                yield f"the shape of `{self._text(other)}` is not known"
                return
        yield from self.uses(result, shape)

    def _updates(self, target: ir.Expr, is_value: bool, value: ir.Expr, shape: Shape) -> Iterator[_Found]:
        """``x /= n`` and ``n += eps``."""
        met = self._shapes.of(target if is_value else value)
        if not is_value:
            if shape is Shape.ROWS and met is not Shape.NUMBER:
                yield f"the shape of `{self._text(value)}` is not known"
        elif met in (Shape.FULL, Shape.KEPT):
            yield _Use.KEEPDIM if shape is Shape.ROWS else _Use.ANY
        elif shape is Shape.ROWS or met is Shape.OTHER:
            yield f"the shape of `{self._text(target)}` is not known"

    def _subscript(self, node: ir.Subscript, is_value: bool, shape: Shape) -> Iterator[_Found]:
        if not is_value:
            yield _Use.ROWS  # a mask over rows
        elif any(self._is_new_axis(part) for part in node.index):
            is_column = self._is_new_axis(node.index[-1]) and len(node.index) == 2 and self._is_last()
            if is_column and shape is Shape.ROWS:
                yield from self.uses(node, Shape.KEPT)
                yield _Use.ROWS
            else:
                yield f"`{self._text(node)}` adds a dimension of its own"
        elif any(isinstance(part, ir.Compare) for part in node.index):
            yield _Use.ANY
        else:
            yield _Use.ROWS

    def _is_new_axis(self, node: ir.Expr) -> bool:
        return (isinstance(node, ir.Const) and node.value is None) or self._facts.qualified(node) == "numpy.newaxis"

    def _is_last(self) -> bool:
        return self._facts.values.number(self._shapes.dim) in (-1, 1)

    def _attribute(self, node: ir.Attr, shape: Shape) -> Iterator[_Found]:
        call = self._facts.names.parent(node)
        if not (isinstance(call, ir.Call) and call.func is node):
            if node.attr in ("data", "real"):
                yield from self.uses(node, shape)
            elif node.attr in _TURNED:
                yield f"`{self._text(node)}` gives it a shape of its own"
            else:
                yield _Use.ANY
            return
        name = node.attr.rstrip("_")
        values = [arg.value for arg in call.args if arg.keyword != "out"]
        if node.attr in _OF_ONE_NUMBER:
            yield _ONE_NUMBER
        elif name in RESHAPES:
            yield from self._reshaped(call, values, shape)
        elif name in SAME or name in BY_NUMBERS:
            yield from self.uses(call, shape)
        elif name in ELEMENTWISE or name in MEET_IN_ONE:
            yield from self._meets(call, shape, values)
        elif any(self._shapes.of(value) is Shape.FULL for value in values):
            yield f"`{self._text(node)}` takes it together with its operand"
        else:
            yield _Use.ROWS if values else _Use.ANY

    def _reshaped(self, call: ir.Call, values: list[ir.Expr], shape: Shape) -> Iterator[_Found]:
        numbers = [self._facts.values.number(value) for value in values]
        name = call.func.attr if isinstance(call.func, ir.Attr) else ""
        if name in ("unsqueeze", "unsqueeze_", "expand_dims"):
            is_dim = len(values) == 1 and self._shapes.is_dim(values[0])
            kept = is_dim or (numbers[:1] in ([-1], [1]) and self._is_last())
        else:
            kept = name in ("view", "reshape") and numbers == [-1, 1] and self._is_last()
        if shape is Shape.ROWS and kept:
            yield from self.uses(call, Shape.KEPT)
            yield _Use.ROWS
        else:
            yield f"`{self._text(call)}` gives it a shape of its own"

    def _argument(self, arg: ir.Arg, shape: Shape) -> Iterator[_Found]:
        call = self._facts.names.parent(arg)
        if not isinstance(call, ir.Call):
            yield _Use.ANY
            return
        others = [other.value for other in call.args if other is not arg and other.keyword != "out"]
        name = self._facts.qualified(call.func)
        if isinstance(call.func, ir.Name) and name is None and not self._facts.names.bindings(call.func):
            builtin = call.func.id
            if builtin in _ONE:
                yield _ONE_NUMBER
            elif builtin == "abs":
                yield from self.uses(call, shape)
            else:
                yield _Use.ANY if builtin in _SILENT else self._handed_on(call, others)
        elif (name or "").startswith("math."):
            yield _ONE_NUMBER
        elif name is not None and name.startswith(LIBRARIES):
            yield from self._given_to_library(call, name.rpartition(".")[2], call.args[0] is arg, others, shape)
        elif name is None and isinstance(call.func, ir.Attr) and call.func.attr.rstrip("_") in ELEMENTWISE:
            yield from self._meets(call, shape, [call.func.value, *others])
        elif name is None and isinstance(call.func, ir.Attr) and call.func.attr in _OF_ONE_NUMBER:
            yield _ONE_NUMBER
        else:
            yield self._handed_on(call, others)

    def _given_to_library(
        self, call: ir.Call, name: str, is_first: bool, others: list[ir.Expr], shape: Shape
    ) -> Iterator[_Found]:
        if name in RESHAPES and is_first:
            yield from self._reshaped(call, others, shape)
        elif is_first and (name in SAME or name in BY_NUMBERS or name.endswith("_like")):
            yield from self.uses(call, shape)
        elif name in ELEMENTWISE or name in MEET_IN_ONE or self._is_of_two(call, name, others):
            yield from self._meets(call, shape, others)
        elif name in REDUCTIONS and is_first and all(self._shapes.of(other) is Shape.NUMBER for other in others):
            yield _Use.ROWS if others else _Use.ANY
        else:
            yield self._handed_on(call, others)

    def _is_of_two(self, call: ir.Call, name: str, others: list[ir.Expr]) -> bool:
        """Return True for ``torch.max(a, b)``, which takes the larger of each pair."""
        return name in ("max", "min") and len(others) == 1 and self._shapes.dimension(call) is None

    def _handed_on(self, call: ir.Call, others: list[ir.Expr]) -> str:
        if any(self._shapes.of(other) is Shape.FULL for other in others):
            return f"`{self._text(call.func)}` takes it together with its operand"
        return f"which shape `{self._text(call.func)}` needs is not known"

    # -- names and functions ----------------------------------------------------------------------------------

    def _held(self, container: ir.Node) -> _Found:
        """The use of a norm in a list, a dict or a comprehension: it may leave the function, and is not followed."""
        node: ir.Node | None = container
        while isinstance(node, ir.Sequence | ir.Keyed | ir.Starred | ir.Comprehension | ir.Conditional):
            node = self._facts.names.parent(node)
        match node:
            case ir.Return() | ir.Lambda() | ir.Yield():
                return _Use.OUT
            case ir.Binary(op="%", left=ir.Const(value=str())):
                return _ONE_NUMBER
            case ir.Arg():
                call = self._facts.names.parent(node)
                if isinstance(call, ir.Call):
                    is_shown = isinstance(call.func, ir.Name) and call.func.id in _SILENT
                    return _Use.ANY if is_shown else self._handed_on(call, [])
        return f"`{self._text(container)}` holds it, and its uses there are not known"

    def _assigned(self, node: ir.Expr, targets: list[ir.Expr], shape: Shape) -> Iterator[_Found]:
        for target in targets:
            is_own = isinstance(target, ir.Attr) and isinstance(target.value, ir.Name) and target.value.id == "self"
            if not isinstance(target, ir.Name) and not is_own:
                yield f"`{self._text(target)}` holds it, and its uses there are not known"
                return
        yield from self._bound(node, shape)

    def _is_unpacked(self, items: ir.Sequence) -> bool:
        statement = self._facts.names.parent(items)
        return isinstance(statement, ir.Assign) and all(
            isinstance(target, ir.Sequence) and len(target.items) == len(items.items) for target in statement.targets
        )

    def _bound(self, node: ir.Expr, shape: Shape) -> Iterator[_Found]:
        """The uses of the names and attributes that a value is bound to."""
        names = self._facts.names
        yield _Use.ANY
        of_class: dict[int, bool] = {}
        for use in self._facts.derived(Uses).of_value(node) if self._depth < _DEPTH else ():
            if isinstance(use, ir.Name):
                is_bound = _binds(names.reaching(use), node)
            else:  # what a class stores is the same wherever it is read
                owner = names.enclosing_class(use)
                key = 0 if owner is None else owner.nid
                if key not in of_class:
                    of_class[key] = _binds(names.self_attribute(use), node)
                is_bound = of_class[key]
            if is_bound and not self._is_target(use):
                yield from _Follower(self._facts, self._shapes, self._depth + 1, self._mixed).uses(use, shape)

    def _is_target(self, node: ir.Expr) -> bool:
        parent = self._facts.names.parent(node)
        return isinstance(parent, ir.Assign) and any(target is node for target in parent.targets)

    def _callers(self, function: ir.FunctionDef | ir.Lambda, shape: Shape) -> Iterator[_Found]:
        yield _Use.OUT
        number = next((n for n, param in enumerate(function.params) if self._shapes.is_param(param)), None)
        if self._depth >= _DEPTH:
            return
        calls = self._facts.calls
        if isinstance(function, ir.FunctionDef):
            calls = self._facts.derived(Uses).calls_named(function.name)
            if self._facts.callers is not None and self._facts.callers(frozenset({function.name}), False):
                yield "another file calls the function that returns it"
        for call in calls:
            if self._calls(call, function):
                shapes = self._shapes.inside(
                    None if number is None else argument(call, function, function.params[number])
                )
                yield from _Follower(self._facts, shapes, self._depth + 1, self._mixed).uses(call, shape)

    def _calls(self, call: ir.Call, function: ir.FunctionDef | ir.Lambda) -> bool:
        names = self._facts.names
        match call.func:
            case ir.Name() as callee if isinstance(function, ir.Lambda):
                return any(binding.value is function for binding in names.reaching(callee))
            case ir.Attr(attr=attr) if isinstance(function, ir.FunctionDef):
                # A method of an object of unknown class counts by its name.
                return attr == function.name and names.enclosing_class(function) is not None
        return isinstance(function, ir.FunctionDef) and names.function_called(call) is function

    def _text(self, node: ir.Node) -> str:
        text = " ".join(self._facts.source(node).split())
        return text if len(text) <= 40 else text[:37] + "..."


def _binds(bindings: list[Binding], value: ir.Expr) -> bool:
    return any(binding.value is value and binding.how == "value" for binding in bindings)
