"""The shape of an expression, seen from the value whose norm is taken along a dimension."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.words import EPS_WORDS, words

__all__ = [
    "BY_NUMBERS",
    "ELEMENTWISE",
    "LIBRARIES",
    "MEET_IN_ONE",
    "REDUCTIONS",
    "RESHAPES",
    "SAME",
    "RowShapes",
    "Shape",
]


class Shape(Enum):
    """FULL is that of the value itself, ROWS one number a row, KEPT the same with the dimension kept.

    OTHER is visibly none of these; of UNKNOWN nothing is in sight.
    """

    NUMBER = auto()
    ROWS = auto()
    KEPT = auto()
    FULL = auto()
    OTHER = auto()
    UNKNOWN = auto()


DEPTH = 12
SAME = frozenset(
    "detach clone contiguous float double half bfloat16 cpu cuda to type type_as astype copy numpy data real abs neg "
    "requires_grad_ relu relu6 gelu silu elu selu leaky_relu softplus dropout tanh sigmoid softmax log_softmax "
    "layer_norm normalize exp log sqrt rsqrt square reciprocal nan_to_num sign round floor ceil "
    "cumsum cumprod tensor as_tensor from_numpy array asarray asanyarray ascontiguousarray float16 "
    "float32 float64".split()
)
ELEMENTWISE = SAME | frozenset(
    "add sub subtract mul multiply div divide true_divide floor_divide pow float_power power clamp clamp_min clamp_max "
    "clip maximum minimum fmax fmin where masked_fill lt le gt ge eq ne less greater less_equal greater_equal "
    "not_equal isclose hypot logaddexp fmod remainder copysign atan2 arctan2 lerp addcdiv addcmul "
    "isfinite isnan absolute negative log1p expm1 sin cos expand_as broadcast_tensors".split()
)
# Two values meet element by element, and one number comes out.
MEET_IN_ONE = frozenset("mse_loss l1_loss smooth_l1_loss huber_loss allclose equal dist".split())
REDUCTIONS = frozenset(
    "sum mean max min amax amin std var median norm vector_norm prod nansum nanmean all any cosine_similarity "
    "logsumexp".split()
)
RESHAPES = frozenset(
    "unsqueeze view reshape expand_dims expand repeat broadcast_to tile flatten ravel squeeze permute transpose t "
    "swapaxes moveaxis view_as reshape_as".split()
)
# The second operand of these is a number, hardly ever a tensor.
BY_NUMBERS = frozenset("clamp clamp_min clamp_max clip pow float_power power nan_to_num".split())
LIBRARIES = ("torch.", "numpy.", "jax.numpy.", "jax.nn.")
_COUNTS = frozenset({"numel", "size", "dim", "item", "nelement", "ndimension"})
_NUMBERS = EPS_WORDS | frozenset(
    "max min limit margin radius threshold lr tau temperature lam lambd coef coeff".split()
)
_NUMERIC = frozenset({"float", "int", "bool"})
_OPERATORS = frozenset({"+", "-", "*", "/", "//", "%", "**", "&", "|", "^"})
_SAME_ATTRIBUTES = frozenset({"data", "grad", "real"})


class RowShapes:
    """Answers :meth:`of`; ``operand`` is what the norm is taken of along ``dim``, where that is in sight.

    ``same_norms`` collects the norms that have the same mistake and that the answers rest on.
    """

    def __init__(self, facts: ModuleFacts, operand: ir.Expr | None, dim: ir.Expr, same_norms: list[ir.Call]) -> None:
        self._facts = facts
        self._operand = operand
        self.dim = dim
        self.same_norms = same_norms

    def inside(self, operand: ir.Expr | None) -> RowShapes:
        """The same where the value has another name, in a function that it is passed to or from."""
        return RowShapes(self._facts, operand, self.dim, self.same_norms)

    def of(self, node: ir.Expr, depth: int = 0) -> Shape:
        facts = self._facts
        if facts.values.number(node) is not None:
            return Shape.NUMBER
        if self.is_operand(node):
            return Shape.FULL
        if depth > DEPTH:
            return Shape.UNKNOWN
        match node:
            case ir.Const():
                return Shape.NUMBER
            case ir.Unary(operand=inner):
                return self.of(inner, depth + 1)
            case ir.Binary(op=op, left=left, right=right) if op in _OPERATORS:
                return self._joined((left, right), depth)
            case ir.Binary(left=left, right=right):
                # The rows of a product are those of its left factor.
                is_left = self.of(left, depth + 1) is Shape.FULL
                return Shape.UNKNOWN if is_left else self._changed(right, depth)
            case ir.Compare(left=left, comparators=comparators):
                return self._joined((left, *comparators), depth)
            case ir.Conditional(body=body, orelse=orelse):
                return self._joined((body, orelse), depth)
            case ir.Call():
                return self._called(node, depth)
            case ir.Attr(attr=attr, value=inner) if attr in _SAME_ATTRIBUTES:
                return self.of(inner, depth + 1)
            case ir.Subscript(value=ir.Attr(attr="shape")) | ir.Attr(attr="ndim" | "size" | "itemsize"):
                return Shape.NUMBER
            case ir.Name(id=name) | ir.Attr(attr=name) if set(words(name)) & _NUMBERS:
                return Shape.NUMBER
            case ir.Name():
                return self._named(node, depth)
            case ir.Attr(value=inner) | ir.Subscript(value=inner):
                return self._changed(inner, depth)
        return Shape.UNKNOWN

    def _changed(self, inner: ir.Expr, depth: int) -> Shape:
        """The shape of something else made of ``inner``: another one, where that of ``inner`` is known."""
        return Shape.UNKNOWN if self.of(inner, depth + 1) in (Shape.UNKNOWN, Shape.NUMBER) else Shape.OTHER

    def _joined(self, parts: Iterable[ir.Expr], depth: int) -> Shape:
        shapes = {self.of(part, depth + 1) for part in parts} - {Shape.NUMBER}
        if Shape.FULL in shapes:
            return Shape.FULL
        if Shape.OTHER in shapes or {Shape.ROWS, Shape.KEPT} <= shapes:
            return Shape.OTHER
        return shapes.pop() if len(shapes) == 1 else Shape.UNKNOWN if shapes else Shape.NUMBER

    def _named(self, node: ir.Name, depth: int) -> Shape:
        bindings = [b for b in self._facts.names.reaching(node) if b.how != "update"]
        if len(bindings) != 1:
            return Shape.UNKNOWN
        (binding,) = bindings
        if isinstance(binding.node, ir.Param):
            annotation = binding.node.annotation
            is_number = isinstance(annotation, ir.Name) and annotation.id in _NUMERIC
            return Shape.NUMBER if is_number else Shape.UNKNOWN
        if binding.how != "value" or binding.value is None:
            return Shape.UNKNOWN
        return self.of(binding.value, depth + 1)

    def _called(self, node: ir.Call, depth: int) -> Shape:
        name = self._facts.qualified(node.func)
        if isinstance(node.func, ir.Name) and name is None:
            return Shape.NUMBER if node.func.id in (*_NUMERIC, "len") else Shape.UNKNOWN
        values = [arg.value for arg in node.args if arg.keyword != "out"]
        last = (name or "").rpartition(".")[2]
        if name is None and isinstance(node.func, ir.Attr):
            last = node.func.attr.rstrip("_")
            values = [node.func.value, *values]
        elif not (name or "").startswith(LIBRARIES):
            return Shape.NUMBER if (name or "").startswith("math.") else Shape.UNKNOWN
        if last in _COUNTS or last in MEET_IN_ONE:
            return Shape.NUMBER
        if last in REDUCTIONS and not (last in ("max", "min") and len(values) == 2 and name is not None):
            return self._reduced(node, last, values, depth)
        if last in SAME or last in BY_NUMBERS or last.endswith("_like"):
            return self.of(values[0], depth + 1) if values else Shape.UNKNOWN
        if last in ELEMENTWISE or last in ("max", "min"):
            return self._joined(values, depth)
        return self._changed(values[0], depth) if values else Shape.UNKNOWN

    def _reduced(self, node: ir.Call, name: str, values: list[ir.Expr], depth: int) -> Shape:
        keeps = any(a.keyword in ("keepdim", "keepdims") and self._is_true(a.value) for a in node.args)
        dim = self.dimension(node)
        if dim is None and name in ("norm", "vector_norm"):
            positional = [arg.value for arg in node.args if arg.keyword is None]
            orders = positional[self._facts.qualified(node.func) is not None :]
            if len(orders) == 1 and self.is_dim(orders[0]):
                self.same_norms.append(node)
                dim = orders[0]
        if dim is None:
            return Shape.UNKNOWN if name == "cosine_similarity" else Shape.NUMBER
        if not self.is_dim(dim):
            return self._changed(values[0], depth)
        return Shape.KEPT if keeps else Shape.ROWS

    def _is_true(self, node: ir.Expr) -> bool:
        return self._facts.values.constant(node) is True

    def dimension(self, node: ir.Call) -> ir.Expr | None:
        """The dimension that a reduction is given."""
        found = next((a.value for a in node.args if a.keyword in ("dim", "axis")), None)
        if found is not None:
            return found
        positional = [a.value for a in node.args if a.keyword is None]
        method = self._facts.qualified(node.func) is None
        last = ir.last_name(node.func)
        place = (0 if method else 1) + (last in ("norm", "vector_norm", "cosine_similarity"))
        return positional[place] if len(positional) > place else None

    def is_dim(self, node: ir.Expr) -> bool:
        mine, other = self._facts.values.number(self.dim), self._facts.values.number(node)
        return ir.same(node, self.dim) if mine is None else mine == other

    # -- the operand ------------------------------------------------------------------------------------------

    def is_operand(self, node: ir.Expr) -> bool:
        if self._operand is None:
            return False
        one, two = self._plain(node), self._plain(self._operand)
        return self._is_one(one, two) or self._is_one(node, self._operand)

    def is_param(self, param: ir.Param) -> bool:
        operand = self._plain(self._operand) if self._operand is not None else None
        return isinstance(operand, ir.Name) and [b.node for b in self._facts.names.reaching(operand)] == [param]

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
        for _ in range(DEPTH):
            match node:
                case ir.Attr(attr=attr, value=inner) if attr in _SAME_ATTRIBUTES:
                    node = inner
                case ir.Unary(operand=inner):
                    node = inner
                case ir.Call(func=ir.Attr(attr=attr, value=inner)) if (
                    attr in SAME and self._facts.qualified(node.func) is None
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
