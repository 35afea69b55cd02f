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
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.names import Binding
from fa_lint.semantics.uses import Uses
from fa_lint.semantics.words import EPS_WORDS, words

__all__ = ["Meeting", "meeting"]


class _Shape(Enum):
    """A shape, seen from the operand of the norm; ROWS is one number a row, KEPT the same with the dimension kept."""

    NUMBER = auto()
    ROWS = auto()
    KEPT = auto()
    FULL = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Meeting:
    """``keepdim``: the norm meets its operand. ``withheld``: why no fix can be right for every use."""

    keepdim: bool = False
    withheld: str = ""


class _Use(Enum):
    """Which shape one use of the norm needs; OUT: it is returned or stored, and its uses are not known."""

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
# Whoever reads one finding cannot check more, and each of a thousand findings may have as many.
_MOST = 500
_NUMBERS = EPS_WORDS | frozenset(
    "max min limit margin radius threshold lr tau temperature lam lambd coef coeff".split()
)
_ONE = frozenset({"float", "int", "round", "bool", "max", "min", "pow"})
_SILENT = frozenset({"print", "len", "str", "repr", "format", "isinstance", "type", "id"})
_NUMERIC = frozenset({"float", "int", "bool"})
_OPERATORS = frozenset({"+", "-", "*", "/", "//", "%", "**", "&", "|", "^"})
_SAME = frozenset(
    "detach clone contiguous float double half bfloat16 cpu cuda to type type_as astype copy numpy data real abs neg "
    "requires_grad_ relu tanh sigmoid exp log sqrt rsqrt square reciprocal nan_to_num sign".split()
)
_ELEMENTWISE = _SAME | frozenset(
    "add sub subtract mul multiply div divide true_divide floor_divide pow float_power power clamp clamp_min clamp_max "
    "clip maximum minimum fmax fmin where masked_fill lt le gt ge eq ne less greater less_equal greater_equal "
    "not_equal equal isclose hypot logaddexp fmod remainder copysign atan2 arctan2 lerp addcdiv addcmul isfinite isnan "
    "absolute negative log1p expm1 sin cos expand_as broadcast_tensors".split()
)
_REDUCTIONS = frozenset(
    "sum mean max min amax amin std var median norm vector_norm prod nansum nanmean all any cosine_similarity "
    "logsumexp".split()
)
_RESHAPES = frozenset(
    "unsqueeze view reshape expand_dims expand repeat broadcast_to tile flatten squeeze permute transpose".split()
)
# The second operand of these is a number, hardly ever a tensor.
_BY_NUMBERS = frozenset("clamp clamp_min clamp_max clip pow float_power power nan_to_num".split())
_COUNTS = frozenset({"numel", "size", "dim", "item", "nelement", "ndimension"})
_LIBRARIES = ("torch.", "numpy.", "jax.numpy.", "jax.nn.")


def meeting(call: ir.Call, operand: ir.Expr | None, dim: ir.Expr, keepdim: bool, facts: ModuleFacts) -> Meeting:
    """What the norm ``call`` of ``operand`` meets once it is taken along ``dim``, over all its uses."""
    if operand is not None and is_flat(operand, facts):
        return Meeting()  # of a vector there is one norm
    shape = _Shape.KEPT if keepdim else _Shape.ROWS
    found = list(islice(_Follower(facts, operand, dim).uses(call, shape), _MOST))
    if len(found) == _MOST:
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
    """Follows the uses of one norm; ``operand`` is what it is taken of, where that is in sight."""

    def __init__(
        self, facts: ModuleFacts, operand: ir.Expr | None, dim: ir.Expr, depth: int = 0, mixed: bool = False
    ) -> None:
        self._facts = facts
        self._operand = operand
        self._dim = dim
        self._depth = depth
        self._mixed = mixed  # it has met what has one number a row and stays so

    def uses(self, node: ir.Expr, shape: _Shape) -> Iterator[_Found]:
        """Which shape each use of the value at ``node`` needs."""
        parent = self._facts.names.parent(node)
        match parent:
            case ir.Binary(op="**", left=left) if left is node:
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
            case ir.Assign() | ir.AnnAssign():
                yield from self._bound(node, shape)
            case ir.Sequence():
                yield from self._bound(node, shape)
                if not isinstance(self._facts.names.parent(parent), ir.Assign):
                    yield _Use.OUT
            case ir.Keyed() | ir.Yield() | ir.Starred() | ir.Comprehension():
                yield _Use.OUT
            case _:
                yield _Use.ANY

    # -- one use ----------------------------------------------------------------------------------------------

    def _meets(self, result: ir.Expr, shape: _Shape, others: Iterable[ir.Expr]) -> Iterator[_Found]:
        for other in others:
            product = inner_product(other, self._facts)
            if product is not None and product.over == "flat":
                continue  # of two vectors
            if product is not None and product.over == "all" and shape is _Shape.ROWS:
                yield f"`{self._text(other)}` sums over the whole tensor"
                return
            met = self._shape(other)
            if met is _Shape.FULL and shape is _Shape.KEPT:
                yield _Use.ANY
                return
            if met is _Shape.FULL:
                if shape is _Shape.ROWS and self._mixed:
                    yield f"it meets both `{self._text(other)}` and what has no dimension for it"
                else:
                    yield _Use.KEEPDIM
                return
            if met is _Shape.KEPT and shape is _Shape.ROWS:
                yield _Use.KEEPDIM
                return
            if met is _Shape.ROWS:
                if shape is _Shape.KEPT:
                    yield f"`{self._text(other)}` has no dimension where the norm keeps one"
                    return
                self._mixed = True
            if met is _Shape.UNKNOWN and shape is _Shape.ROWS:
                yield f"the shape of `{self._text(other)}` is not known"
                return
        yield from self.uses(result, shape)

    def _updates(self, target: ir.Expr, is_value: bool, value: ir.Expr, shape: _Shape) -> Iterator[_Found]:
        """``x /= n`` and ``n += eps``."""
        met = self._shape(target if is_value else value)
        if not is_value:
            if shape is _Shape.ROWS and met is not _Shape.NUMBER:
                yield f"the shape of `{self._text(value)}` is not known"
        elif met in (_Shape.FULL, _Shape.KEPT):
            yield _Use.KEEPDIM if shape is _Shape.ROWS else _Use.ANY
        elif shape is _Shape.ROWS:
            yield f"the shape of `{self._text(target)}` is not known"

    def _subscript(self, node: ir.Subscript, is_value: bool, shape: _Shape) -> Iterator[_Found]:
        if not is_value:
            yield _Use.ROWS  # a mask over rows
        elif any(self._is_new_axis(part) for part in node.index):
            if self._is_new_axis(node.index[-1]) and len(node.index) == 2 and self._is_last():
                yield from self.uses(node, _Shape.KEPT)
            else:
                yield f"`{self._text(node)}` adds a dimension of its own"
            yield _Use.ROWS
        elif any(isinstance(part, ir.Compare) for part in node.index):
            yield _Use.ANY
        else:
            yield _Use.ROWS

    def _is_new_axis(self, node: ir.Expr) -> bool:
        return (isinstance(node, ir.Const) and node.value is None) or self._facts.qualified(node) == "numpy.newaxis"

    def _is_last(self) -> bool:
        return self._facts.values.number(self._dim) in (-1, 1)

    def _attribute(self, node: ir.Attr, shape: _Shape) -> Iterator[_Found]:
        call = self._facts.names.parent(node)
        if not (isinstance(call, ir.Call) and call.func is node):
            if node.attr == "data":
                yield from self.uses(node, shape)
            else:
                yield _Use.ANY
            return
        name = node.attr.rstrip("_")
        values = [arg.value for arg in call.args if arg.keyword != "out"]
        if node.attr in ("item", "__float__", "backward", "tolist"):
            yield _ONE_NUMBER
        elif name in _RESHAPES:
            yield from self._reshaped(call, values, shape)
        elif name in _SAME or name in _BY_NUMBERS:
            yield from self.uses(call, shape)
        elif name in _ELEMENTWISE:
            yield from self._meets(call, shape, values)
        else:
            yield _Use.ROWS if values else _Use.ANY

    def _reshaped(self, call: ir.Call, values: list[ir.Expr], shape: _Shape) -> Iterator[_Found]:
        numbers = [self._facts.values.number(value) for value in values]
        name = call.func.attr if isinstance(call.func, ir.Attr) else ""
        if name in ("unsqueeze", "unsqueeze_", "expand_dims"):
            kept = len(values) == 1 and (self._is_dim(values[0]) or (numbers[0] in (-1, 1) and self._is_last()))
        else:
            kept = name in ("view", "reshape") and numbers == [-1, 1] and self._is_last()
        if shape is _Shape.ROWS and kept:
            yield from self.uses(call, _Shape.KEPT)
            yield _Use.ROWS
        else:
            yield f"`{self._text(call)}` gives it a shape of its own"

    def _argument(self, arg: ir.Arg, shape: _Shape) -> Iterator[_Found]:
        call = self._facts.names.parent(arg)
        if not isinstance(call, ir.Call):
            yield _Use.ANY
            return
        others = [other.value for other in call.args if other is not arg and other.keyword != "out"]
        name = self._facts.qualified(call.func)
        last = call.func.attr if isinstance(call.func, ir.Attr) else ""
        if isinstance(call.func, ir.Name) and name is None and not self._facts.names.bindings(call.func):
            builtin = call.func.id
            if builtin in _ONE:
                yield _ONE_NUMBER
            elif builtin in _SILENT:
                yield _Use.ANY
            else:
                yield from self._handed_on(call, others)
        elif (name or "").startswith("math."):
            yield _ONE_NUMBER
        elif name is not None and name.startswith(_LIBRARIES):
            last = name.rpartition(".")[2]
            if last in _RESHAPES and call.args[0] is arg:
                yield from self._reshaped(call, others, shape)
            elif last in _SAME or (last in _BY_NUMBERS and call.args[0] is arg):
                yield from self.uses(call, shape)
            elif last in _ELEMENTWISE or (
                last in ("max", "min") and len(others) == 1 and self._dimension(call) is None
            ):
                yield from self._meets(call, shape, others)
            else:
                yield from self._handed_on(call, others)
        elif name is None and isinstance(call.func, ir.Attr) and last.rstrip("_") in _ELEMENTWISE:
            yield from self._meets(call, shape, [call.func.value, *others])
        else:
            yield from self._handed_on(call, others)

    def _handed_on(self, call: ir.Call, others: list[ir.Expr]) -> Iterator[_Found]:
        if any(self._shape(other) is _Shape.FULL for other in others):
            yield f"`{self._text(call.func)}` takes it together with its operand"
        else:
            yield _Use.OUT

    # -- names and functions ----------------------------------------------------------------------------------

    def _bound(self, node: ir.Expr, shape: _Shape) -> Iterator[_Found]:
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
                inner = _Follower(self._facts, self._operand, self._dim, self._depth + 1, self._mixed)
                yield from inner.uses(use, shape)

    def _is_target(self, node: ir.Expr) -> bool:
        parent = self._facts.names.parent(node)
        return isinstance(parent, ir.Assign) and any(target is node for target in parent.targets)

    def _callers(self, function: ir.FunctionDef | ir.Lambda, shape: _Shape) -> Iterator[_Found]:
        yield _Use.OUT
        number = next((n for n, param in enumerate(function.params) if self._is_param(param)), None)
        if self._depth >= _DEPTH:
            return
        calls = self._facts.calls
        if isinstance(function, ir.FunctionDef):
            calls = self._facts.derived(Uses).calls_named(function.name)
        for call in calls:
            if self._calls(call, function):
                operand = None if number is None else _given(call, function.params, number)
                inner = _Follower(self._facts, operand, self._dim, self._depth + 1, self._mixed)
                yield from inner.uses(call, shape)

    def _calls(self, call: ir.Call, function: ir.FunctionDef | ir.Lambda) -> bool:
        names = self._facts.names
        match call.func:
            case ir.Name() as callee if isinstance(function, ir.Lambda):
                return any(binding.value is function for binding in names.reaching(callee))
            case ir.Attr(attr=attr) if isinstance(function, ir.FunctionDef):
                # A method of an object of unknown class counts by its name.
                return attr == function.name and names.enclosing_class(function) is not None
        return isinstance(function, ir.FunctionDef) and names.function_called(call) is function

    def _is_param(self, param: ir.Param) -> bool:
        operand = self._plain(self._operand) if self._operand is not None else None
        return isinstance(operand, ir.Name) and [b.node for b in self._facts.names.reaching(operand)] == [param]

    # -- shapes -----------------------------------------------------------------------------------------------

    def _shape(self, node: ir.Expr, depth: int = 0) -> _Shape:
        """The shape of what the norm meets."""
        facts = self._facts
        if facts.values.number(node) is not None:
            return _Shape.NUMBER
        if self._is_operand(node):
            return _Shape.FULL
        if depth > _DEPTH:
            return _Shape.UNKNOWN
        match node:
            case ir.Const():
                return _Shape.NUMBER
            case ir.Unary(operand=inner):
                return self._shape(inner, depth + 1)
            case ir.Binary(op=op, left=left, right=right) if op in _OPERATORS:
                return self._joined((left, right), depth)
            case ir.Compare(left=left, comparators=comparators):
                return self._joined((left, *comparators), depth)
            case ir.Call():
                return self._called(node, depth)
            case ir.Attr(attr="data", value=inner):
                return self._shape(inner, depth + 1)
            case ir.Name(id=name) | ir.Attr(attr=name) if set(words(name)) & _NUMBERS:
                return _Shape.NUMBER
            case ir.Name():
                return self._named(node, depth)
        return _Shape.UNKNOWN

    def _joined(self, parts: Iterable[ir.Expr], depth: int) -> _Shape:
        shapes = {self._shape(part, depth + 1) for part in parts} - {_Shape.NUMBER}
        if _Shape.FULL in shapes:
            return _Shape.FULL
        return shapes.pop() if len(shapes) == 1 else _Shape.UNKNOWN if shapes else _Shape.NUMBER

    def _named(self, node: ir.Name, depth: int) -> _Shape:
        bindings = [b for b in self._facts.names.reaching(node) if b.how != "update"]
        if len(bindings) != 1:
            return _Shape.UNKNOWN
        (binding,) = bindings
        if isinstance(binding.node, ir.Param):
            annotation = binding.node.annotation
            is_number = isinstance(annotation, ir.Name) and annotation.id in _NUMERIC
            return _Shape.NUMBER if is_number else _Shape.UNKNOWN
        if binding.how != "value" or binding.value is None:
            return _Shape.UNKNOWN
        return self._shape(binding.value, depth + 1)

    def _called(self, node: ir.Call, depth: int) -> _Shape:
        name = self._facts.qualified(node.func)
        if isinstance(node.func, ir.Name) and name is None:
            return _Shape.NUMBER if node.func.id in (*_NUMERIC, "len") else _Shape.UNKNOWN
        values = [arg.value for arg in node.args if arg.keyword != "out"]
        last = (name or "").rpartition(".")[2]
        if name is None and isinstance(node.func, ir.Attr):
            last = node.func.attr.rstrip("_")
            values = [node.func.value, *values]
        elif not (name or "").startswith(_LIBRARIES):
            return _Shape.NUMBER if (name or "").startswith("math.") else _Shape.UNKNOWN
        if last in _COUNTS:
            return _Shape.NUMBER
        if last in _REDUCTIONS and not (last in ("max", "min") and len(values) == 2 and name is not None):
            return self._reduced(node, last, len(values))
        if last in _SAME or last in _BY_NUMBERS or last.endswith("_like"):
            return self._shape(values[0], depth + 1) if values else _Shape.UNKNOWN
        if last in _ELEMENTWISE or last in ("max", "min"):
            return self._joined(values, depth)
        return _Shape.UNKNOWN

    def _reduced(self, node: ir.Call, name: str, count: int) -> _Shape:
        keeps = any(a.keyword in ("keepdim", "keepdims") and self._is_true(a.value) for a in node.args)
        dim = self._dimension(node)
        if dim is None and name in ("norm", "vector_norm") and count == 2:
            order = node.args[-1]  # perhaps another norm with the same mistake
            if order.keyword is not None or not self._is_dim(order.value):
                return _Shape.NUMBER
            dim = order.value
        if dim is None:
            return _Shape.NUMBER if count == 1 else _Shape.UNKNOWN
        if not self._is_dim(dim):
            return _Shape.UNKNOWN
        return _Shape.KEPT if keeps else _Shape.ROWS

    def _is_true(self, node: ir.Expr) -> bool:
        return self._facts.values.constant(node) is True

    def _dimension(self, node: ir.Call) -> ir.Expr | None:
        """The dimension that a reduction is given."""
        found = next((a.value for a in node.args if a.keyword in ("dim", "axis")), None)
        if found is not None:
            return found
        positional = [a.value for a in node.args if a.keyword is None]
        method = self._facts.qualified(node.func) is None
        last = ir.last_name(node.func)
        place = (0 if method else 1) + (last in ("norm", "vector_norm", "cosine_similarity"))
        return positional[place] if len(positional) > place else None

    def _is_dim(self, node: ir.Expr) -> bool:
        mine, other = self._facts.values.number(self._dim), self._facts.values.number(node)
        return ir.same(node, self._dim) if mine is None else mine == other

    def _is_operand(self, node: ir.Expr) -> bool:
        if self._operand is None:
            return False
        one, two = self._plain(node), self._plain(self._operand)
        return self._is_one(one, two) or self._is_one(node, self._operand)

    def _is_one(self, one: ir.Expr, two: ir.Expr) -> bool:
        """The same code, in which every name has the same value."""
        if not ir.same(one, two):
            return False
        pairs = zip(ir.walk(one), ir.walk(two), strict=True)
        return all(self._is_same_name(a, b) for a, b in pairs if isinstance(a, ir.Name) and isinstance(b, ir.Name))

    def _is_same_name(self, one: ir.Name, two: ir.Name) -> bool:
        reaching = self._facts.names.reaching
        return [b.node.nid for b in reaching(one)] == [b.node.nid for b in reaching(two)]

    def _plain(self, node: ir.Expr) -> ir.Expr:
        """Strip what leaves a shape as it is, and look through names."""
        for _ in range(_DEPTH):
            match node:
                case ir.Attr(attr="data", value=inner) | ir.Unary(operand=inner):
                    node = inner
                case ir.Call(func=ir.Attr(attr=attr, value=inner)) if (
                    attr in _SAME and self._facts.qualified(node.func) is None
                ):
                    node = inner
                case ir.Binary(op=op, left=left, right=right) if op in _OPERATORS:
                    if self._facts.values.number(right) is not None:
                        node = left
                    elif self._facts.values.number(left) is not None:
                        node = right
                    else:
                        return node
                case ir.Name():
                    found = [b for b in self._facts.names.reaching(node) if b.how != "update"]
                    if len(found) != 1 or found[0].how != "value" or found[0].value is None:
                        return node
                    node = found[0].value
                case _:
                    return node
        return node

    def _text(self, node: ir.Node) -> str:
        text = " ".join(self._facts.source(node).split())
        return text if len(text) <= 40 else text[:37] + "..."


def _binds(bindings: list[Binding], value: ir.Expr) -> bool:
    return any(binding.value is value and binding.how == "value" for binding in bindings)


def _given(call: ir.Call, params: list[ir.Param], position: int) -> ir.Expr | None:
    """What a call gives one of the parameters of its function."""
    param = params[position]
    first = int(params[0].name in ("self", "cls") and isinstance(call.func, ir.Attr))
    for number, arg in enumerate(call.args):
        if arg.star:
            return None
        if arg.keyword == param.name or (arg.keyword is None and number == position - first):
            return arg.value
    return None
