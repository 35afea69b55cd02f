"""Hand-written cosines: inner products, norms, and the floors that people put under them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.words import EPS_WORDS, NORM_WORDS, words

__all__ = [
    "Denominator",
    "Floor",
    "Product",
    "division",
    "inner_product",
    "is_flat",
    "norm_operand",
    "read_denominator",
    "unshaped",
]

_DOTS = frozenset({"dot", "vdot", "inner", "matmul", "mm", "bmm", "mv"})
_LIBRARY_DOTS = frozenset(
    f"{library}.{name}"
    for library in ("torch", "numpy", "jax.numpy", "torch.linalg")
    for name in (*_DOTS, "vecdot", "vdot")
)
_SUMS = frozenset({"torch.sum", "numpy.sum", "jax.numpy.sum"})
_MULTIPLIES = frozenset({"torch.mul", "torch.multiply", "numpy.multiply"})
_NORMS = frozenset(
    {"torch.norm", "torch.linalg.norm", "torch.linalg.vector_norm", "numpy.linalg.norm", "jax.numpy.linalg.norm"}
)
_ROOTS = frozenset({"torch.sqrt", "numpy.sqrt", "math.sqrt", "jax.numpy.sqrt"})
_CLAMPS = frozenset({"torch.clamp", "torch.clamp_min", "torch.clip", "numpy.clip", "jax.numpy.clip"})
_MAXIMA = frozenset({"torch.maximum", "torch.max", "numpy.maximum", "jax.numpy.maximum", "torch.fmax", "numpy.fmax"})
_SHAPING = frozenset(
    "item unsqueeze squeeze view reshape detach flatten clone cpu numpy to float double t contiguous expand "
    "sum mean".split()
)


@dataclass(frozen=True, slots=True)
class Floor:
    """``kind``: additive, clamp or root; ``node`` the floor itself. ``scale`` is the norm at which it bites.

    ``value`` and ``scale`` are None where the constant is not known.
    """

    kind: str
    value: float | None
    node: ir.Expr
    scale: float | None


@dataclass(frozen=True, slots=True)
class Denominator:
    """The norms that multiply up to a denominator (``power`` in total) and the floors under them."""

    operands: tuple[ir.Expr, ...] = ()
    power: int = 0
    floors: tuple[Floor, ...] = ()


@dataclass(frozen=True, slots=True)
class Product:
    """An inner product of two values.

    ``over`` says what it reduces: ``all`` entries, one ``dim`` (then ``dim`` is the expression), two ``flat`` vectors,
    ``unknown`` (for ``@``: it depends on the shapes) or ``other``.
    """

    left: ir.Expr
    right: ir.Expr
    over: str
    dim: ir.Expr | None = None


def _bound(node: ir.Expr, facts: ModuleFacts) -> ir.Expr:
    """Look through a name to the one value bound to it."""
    for _ in range(6):
        if not isinstance(node, ir.Name):
            return node
        found = [b for b in facts.names.reaching(node) if b.how != "update"]
        if len(found) != 1 or found[0].how != "value" or found[0].value is None:
            return node
        node = found[0].value
    return node


def unshaped(node: ir.Expr, facts: ModuleFacts) -> ir.Expr:
    """Strip ``.item()``, ``float(...)``, ``.unsqueeze(1)`` and the like, and look through names."""
    for _ in range(12):
        node = _bound(node, facts)
        match node:
            case ir.Call(func=ir.Name(id="float" | "abs"), args=[ir.Arg(value=inner)]):
                node = inner
            case ir.Call(func=ir.Attr(attr=attr, value=inner), args=args) if attr in _SHAPING:
                if attr in ("sum", "mean") and args:
                    return node
                if attr in ("sum", "mean"):
                    return node
                node = inner
            case ir.Subscript(value=inner) if not isinstance(inner, ir.Name):
                node = inner
            case _:
                return node
    return node


def _dim(call: ir.Call, first: int) -> ir.Expr | None:
    arg = next((a for a in call.args if a.keyword in ("dim", "axis")), None)
    if arg is None and len(call.args) > first and call.args[first].keyword is None:
        arg = call.args[first]
    return arg.value if arg is not None else None


def inner_product(node: ir.Expr, facts: ModuleFacts) -> Product | None:
    """Read an expression as an inner product of two values."""
    node = unshaped(node, facts)
    match node:
        case ir.Binary(op="@", left=left, right=right):
            return Product(left, right, "unknown")
        case ir.Unary(op="-", operand=operand):
            return inner_product(operand, facts)
        case ir.Call(func=func, args=args):
            name = facts.qualified(func)
            if name in _LIBRARY_DOTS and len(args) >= 2:
                return Product(
                    args[0].value, args[1].value, "flat" if name in ("torch.dot", "torch.vdot") else "unknown"
                )
            if name == "torch.einsum" and len(args) == 3:
                return Product(args[1].value, args[2].value, "other")
            if name in _SUMS and args:
                return _summed(args[0].value, _dim(node, 1), facts)
            if isinstance(func, ir.Attr) and name is None:
                if func.attr == "sum":
                    return _summed(func.value, _dim(node, 0), facts)
                if func.attr in _DOTS and args:
                    return Product(func.value, args[0].value, "flat" if func.attr == "dot" else "unknown")
            if isinstance(func, ir.Name) and func.id == "sum" and args:
                inner = args[0].value
                if isinstance(inner, ir.Comprehension):
                    found = inner_product(inner.elements[0], facts) or _summed(inner.elements[0], None, facts)
                    return replace(found, over="unknown") if found else None
    return None


def _summed(node: ir.Expr, dim: ir.Expr | None, facts: ModuleFacts) -> Product | None:
    node = _bound(node, facts)
    over = "all" if dim is None else "dim"
    match node:
        case ir.Binary(op="*", left=left, right=right):
            return Product(left, right, over, dim)
        case ir.Call(func=func, args=[first, second, *_]) if facts.qualified(func) in _MULTIPLIES:
            return Product(first.value, second.value, over, dim)
        case ir.Call(func=ir.Attr(attr="mul", value=left), args=[ir.Arg(value=right)]):
            return Product(left, right, over, dim)
        case ir.Call(func=ir.Attr(attr="sum", value=inner)):
            found = _summed(inner, None, facts)
            return replace(found, over="unknown") if found else None
    return None


def _square_operand(node: ir.Expr, facts: ModuleFacts) -> ir.Expr | None:
    """``a`` where an expression is the sum of the squares of ``a``."""
    node = unshaped(node, facts)
    product = inner_product(node, facts)
    if product is not None and ir.same(product.left, product.right):
        return product.left
    match node:
        case ir.Call(func=func, args=args) if facts.qualified(func) in _SUMS and args:
            return _squared(args[0].value, facts)
        case ir.Call(func=ir.Attr(attr="sum", value=inner)):
            return _squared(inner, facts)
        case ir.Call(func=ir.Name(id="sum"), args=[ir.Arg(value=ir.Comprehension(elements=[element]))]):
            return _square_operand(element, facts) or _squared(element, facts)
        case ir.Binary(op="**", left=left, right=right) if facts.values.number(right) == 2:
            return norm_operand(left, facts)
        case ir.Call(func=ir.Attr(attr="pow", value=inner), args=[ir.Arg(value=power)]) if (
            facts.values.number(power) == 2
        ):
            return norm_operand(inner, facts)
        case ir.Call(func=ir.Attr(attr="square", value=inner)):
            return norm_operand(inner, facts)
    return None


def _squared(node: ir.Expr, facts: ModuleFacts) -> ir.Expr | None:
    node = _bound(node, facts)
    match node:
        case ir.Binary(op="**", left=left, right=right) if facts.values.number(right) == 2:
            return left
        case ir.Call(func=ir.Attr(attr="pow" | "square", value=inner)) if facts.qualified(node.func) is None:
            return inner
        case ir.Call(func=func, args=[first, *_]) if (facts.qualified(func) or "").rpartition(".")[2] in (
            "pow",
            "square",
        ):
            return first.value
        case ir.Binary(op="*", left=left, right=right) if ir.same(left, right):
            return left
    return None


def norm_operand(node: ir.Expr, facts: ModuleFacts) -> ir.Expr | None:
    """``a`` where an expression is a norm of ``a``."""
    node = unshaped(node, facts)
    match node:
        case ir.Call(func=func, args=args):
            name = facts.qualified(func)
            if name in _NORMS and args:
                return args[0].value
            if name in _ROOTS and args:
                return _square_operand(args[0].value, facts)
            if name is None and isinstance(func, ir.Attr):
                if func.attr == "norm":
                    return func.value
                if func.attr == "sqrt":
                    return _square_operand(func.value, facts)
        case ir.Binary(op="**", left=left, right=right) if facts.values.number(right) == 0.5:
            return _square_operand(left, facts)
        case ir.Name(id=identifier) if NORM_WORDS & set(words(identifier)):
            return node
        case ir.Attr(attr=identifier) if NORM_WORDS & set(words(identifier)):
            return node
    return None


def _floor(node: ir.Expr, facts: ModuleFacts) -> tuple[float | None, ir.Expr] | None:
    """The value of a small constant or of something called eps; None where it is neither."""
    value = facts.values.number(node)
    if value is not None:
        return (value, node) if 0 < value <= 1e-2 else None
    if isinstance(node, ir.Name | ir.Attr) and facts.qualified(node) is not None:
        return None  # a constant of another module: its value is not in sight
    name = ir.last_name(node)
    return (None, node) if set(words(name)) & EPS_WORDS else None


def _merge(left: Denominator, right: Denominator) -> Denominator:
    return Denominator(left.operands + right.operands, left.power + right.power, left.floors + right.floors)


def _with_floor(inner: Denominator, kind: str, floor: tuple[float | None, ir.Expr]) -> Denominator:
    value, node = floor
    # A floor f under a product of n norms bites where each is about f^(1/n).
    scale = None if value is None else value ** (1 / max(inner.power, 1))
    return replace(inner, floors=(*inner.floors, Floor(kind, value, node, scale)))


def read_denominator(node: ir.Expr, facts: ModuleFacts, depth: int = 0) -> Denominator | None:
    """Read an expression as a product of norms with floors; None where it is not one."""
    if depth > 12:
        return None
    node = unshaped(node, facts)
    match node:
        case ir.Binary(op="+", left=left, right=right):
            for inner, other in ((left, right), (right, left)):
                floor = _floor(other, facts)
                found = read_denominator(inner, facts, depth + 1) if floor else None
                if floor and found:
                    return _with_floor(found, "additive", floor)
            return None
        case ir.Binary(op="*", left=left, right=right):
            first = read_denominator(left, facts, depth + 1)
            second = read_denominator(right, facts, depth + 1)
            return _merge(first, second) if first and second else None
        case ir.Binary(op="**", left=left, right=right) if facts.values.number(right) == 2:
            found = read_denominator(left, facts, depth + 1)
            return _merge(found, replace(found, floors=())) if found else None
        case ir.Call():
            clamped = _clamped(node, facts, depth)
            if clamped is not None:
                return clamped
            rooted = _rooted(node, facts, depth)
            if rooted is not None:
                return rooted
    operand = norm_operand(node, facts)
    if operand is not None:
        return Denominator((operand,), 1)
    square = _square_operand(node, facts)
    if square is not None:
        return Denominator((square, square), 2)
    return None


def _clamped(node: ir.Call, facts: ModuleFacts, depth: int) -> Denominator | None:
    name, func, args = facts.qualified(node.func), node.func, node.args
    pair: tuple[ir.Expr, ir.Expr] | None = None
    if (name in _MAXIMA and len(args) == 2) or (isinstance(func, ir.Name) and func.id == "max" and len(args) == 2):
        pair = (args[0].value, args[1].value)
        if _floor(pair[0], facts):
            pair = (pair[1], pair[0])
    elif name in _CLAMPS and len(args) >= 2:
        low = next((a.value for a in args if a.keyword in ("min", "a_min")), args[1].value)
        pair = (args[0].value, low)
    elif (
        name is None
        and isinstance(func, ir.Attr)
        and func.attr in ("clamp", "clamp_", "clamp_min", "clamp_min_", "clip")
    ):
        least = next((a.value for a in args if a.keyword in ("min", None)), None)
        pair = (func.value, least) if least is not None else None
    if pair is None:
        return None
    floor = _floor(pair[1], facts) or _constant_tensor(pair[1], facts)
    inner = read_denominator(pair[0], facts, depth + 1)
    return _with_floor(inner, "clamp", floor) if floor and inner else None


def _constant_tensor(node: ir.Expr, facts: ModuleFacts) -> tuple[float | None, ir.Expr] | None:
    match node:
        case ir.Call(args=[ir.Arg(value=inner), *_]) if facts.qualified(node.func) in (
            "torch.tensor",
            "torch.as_tensor",
        ):
            return _floor(inner, facts)
    return None


def _rooted(node: ir.Call, facts: ModuleFacts, depth: int) -> Denominator | None:
    """``sqrt(Σa² + eps)`` and ``sqrt(Σa² · Σb²)``."""
    name, inner = facts.qualified(node.func), None
    if name in _ROOTS and node.args:
        inner = node.args[0].value
    elif name is None and isinstance(node.func, ir.Attr) and node.func.attr == "sqrt":
        inner = node.func.value
    found = read_denominator(inner, facts, depth + 1) if inner is not None else None
    if found is None or found.power < 2:
        return None
    halved = tuple(dict.fromkeys(found.operands))
    floors = tuple(replace(f, kind="root" if f.kind == "additive" else f.kind) for f in found.floors)
    return Denominator(halved, max(found.power // 2, 1), floors)


def division(node: ir.Node) -> tuple[ir.Expr, ir.Expr] | None:
    """Numerator and denominator of a division in any spelling."""
    match node:
        case ir.Binary(op="/", left=left, right=right):
            return left, right
        case ir.AugAssign(op="/", target=target, value=value):
            return target, value
        case ir.Call(func=ir.Attr(attr="div" | "div_" | "true_divide", value=left), args=[ir.Arg(value=right), *rest]):
            return (rest[0].value, right)[::-1] if rest and rest[0].keyword is None else (left, right)
    return None


def is_flat(node: ir.Expr, facts: ModuleFacts, depth: int = 0) -> bool:
    """Return True where a value is visibly one-dimensional."""
    match node:
        case ir.Call(func=ir.Attr(attr="flatten" | "ravel")):
            return not node.args
        case ir.Call(func=ir.Attr(attr="view" | "reshape"), args=[ir.Arg(value=size)]):
            return facts.values.number(size) == -1
        case ir.Name() if depth < 4:
            values = [b.value for b in facts.names.reaching(node) if b.how == "value" and b.value is not None]
            return len(values) == 1 and is_flat(values[0], facts, depth + 1)
    return False
