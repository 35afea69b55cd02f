"""A quotient that is one cosine, to the letter: same vectors, same dimension, Euclidean norms, nothing else done to it.

The rules recognise more than this. What a fix replaces must be no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.rules.common.products import is_flat
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.words import EPS_WORDS, words

__all__ = ["Quotient", "is_one", "read_quotient"]

_DOTS = frozenset({"torch.dot", "torch.vdot"})
_MATMULS = frozenset({"torch.inner", "torch.matmul"})
_NORMS = {"torch.norm": 1, "torch.linalg.norm": 1, "torch.linalg.vector_norm": 1}
_CLAMPS = frozenset({"clamp", "clamp_min", "clip"})
_DEPTH = 12


@dataclass(frozen=True, slots=True)
class _Reduction:
    """What is reduced (one value for a norm, two for a product), along which dimension (None: all of it)."""

    values: tuple[ir.Expr, ...]
    dim: ir.Expr | None = None
    keepdim: bool = False
    of_vectors: bool = False


@dataclass(frozen=True, slots=True)
class Quotient:
    """The cosine of ``left`` and ``right`` along ``dim``; ``flat`` where it is over all entries of each."""

    left: str
    right: str
    dim: str
    keepdim: bool


def is_one(left: ir.Node, right: ir.Node, facts: ModuleFacts) -> bool:
    """Return True where two expressions are the same code and every name in them has the same value."""
    if not ir.same(left, right):
        return False
    reaching = facts.names.reaching
    for one, two in zip(ir.walk(left), ir.walk(right), strict=True):
        if isinstance(one, ir.Name) and isinstance(two, ir.Name):
            if [b.node.nid for b in reaching(one)] != [b.node.nid for b in reaching(two)]:
                return False
    return True


def read_quotient(node: ir.Expr, facts: ModuleFacts) -> Quotient | None:
    """The one cosine that a quotient is, up to a floor below; None where it is anything else."""
    return _Reader(facts).quotient(node)


class _Reader:
    def __init__(self, facts: ModuleFacts) -> None:
        self._facts = facts

    def quotient(self, node: ir.Expr) -> Quotient | None:
        below: list[_Reduction] = []
        for _ in range(3):
            match node:
                case ir.Binary(op="/", left=left, right=right):
                    pass
                case ir.Call(func=ir.Attr(attr="div" | "true_divide", value=left), args=[ir.Arg(value=right)]) if (
                    self._facts.qualified(node.func) is None
                ):
                    pass
                case _:
                    break
            found = self._norms(right, 0)
            if found is None:
                return None
            below += found
            node = left
        product = self._product(self._named(node))
        if product is None or len(below) != 2:
            return None
        return self._matched(product, below[0], below[1])

    def _matched(self, product: _Reduction, first: _Reduction, second: _Reduction) -> Quotient | None:
        left, right = product.values
        for one, two in ((first, second), (second, first)):
            if self._is_norm_of(one, left, product) and self._is_norm_of(two, right, product):
                source = self._facts.source
                if product.of_vectors:
                    return Quotient(source(left), source(right), "0", False)
                if product.dim is None:
                    return None if product.keepdim else Quotient(self._flat(left), self._flat(right), "0", False)
                return Quotient(source(left), source(right), source(product.dim), product.keepdim)
        return None

    def _is_norm_of(self, norm: _Reduction, value: ir.Expr, product: _Reduction) -> bool:
        (operand,) = norm.values
        if norm.dim is None and product.dim is None:
            # The norm of all entries does not see a shape.
            operand, value = self._unflat(operand), self._unflat(value)
        if norm.keepdim is not product.keepdim or not is_one(operand, value, self._facts):
            return False
        if norm.dim is None or product.dim is None:
            of_vector = product.of_vectors and norm.dim is not None and self._facts.values.number(norm.dim) in (0, -1)
            return norm.dim is product.dim or of_vector
        return self._is_same_dim(norm.dim, product.dim)

    def _is_same_dim(self, one: ir.Expr, two: ir.Expr) -> bool:
        mine, other = self._facts.values.number(one), self._facts.values.number(two)
        return is_one(one, two, self._facts) if mine is None and other is None else mine == other

    def _unflat(self, node: ir.Expr) -> ir.Expr:
        if is_flat(node, self._facts) and isinstance(node, ir.Call) and isinstance(node.func, ir.Attr):
            return node.func.value
        return node

    def _flat(self, node: ir.Expr) -> str:
        text = self._facts.source(node)
        if is_flat(node, self._facts):
            return text
        return (
            f"{text}.flatten()"
            if isinstance(node, ir.Name | ir.Attr | ir.Call | ir.Subscript)
            else f"({text}).flatten()"
        )

    # -- parts ------------------------------------------------------------------------------------------------

    def _named(self, node: ir.Expr) -> ir.Expr:
        """Look through a name to the one value bound to it."""
        for _ in range(_DEPTH):
            if not isinstance(node, ir.Name):
                return node
            found = self._facts.names.reaching(node)
            if len(found) != 1 or found[0].how != "value" or found[0].value is None:
                return node
            node = found[0].value
        return node

    def _product(self, node: ir.Expr) -> _Reduction | None:
        facts = self._facts
        match node:
            case ir.Binary(op="@", left=left, right=right) if is_flat(left, facts) and is_flat(right, facts):
                return _Reduction((left, right), of_vectors=True)
            case ir.Call(func=func, args=[ir.Arg(value=left, keyword=None), ir.Arg(value=right, keyword=None)]) if (
                facts.qualified(func) in _DOTS | _MATMULS
            ):
                if facts.qualified(func) in _DOTS or (is_flat(left, facts) and is_flat(right, facts)):
                    return _Reduction((left, right), of_vectors=True)
            case ir.Call(func=ir.Attr(attr="dot", value=left), args=[ir.Arg(value=right, keyword=None)]):
                return _Reduction((left, right), of_vectors=True) if facts.qualified(node.func) is None else None
        summed = self._summed(node)
        if summed is None:
            return None
        match self._named(summed.values[0]):
            case ir.Binary(op="*", left=left, right=right):
                pass
            case ir.Call(func=ir.Attr(attr="mul", value=left), args=[ir.Arg(value=right, keyword=None)]) as call if (
                facts.qualified(call.func) is None
            ):
                pass
            case _:
                return None
        return _Reduction((left, right), summed.dim, summed.keepdim)

    def _summed(self, node: ir.Expr) -> _Reduction | None:
        """``x.sum(dim, keepdim)`` and ``torch.sum(x, dim, keepdim)``."""
        match node:
            case ir.Call(func=ir.Attr(attr="sum", value=value), args=args) if self._facts.qualified(node.func) is None:
                return self._reduced(value, args, ("dim", "keepdim"))
            case ir.Call(func=func, args=[ir.Arg(value=value, keyword=None), *args]) if (
                self._facts.qualified(func) == "torch.sum"
            ):
                return self._reduced(value, args, ("dim", "keepdim"))
        return None

    def _reduced(self, value: ir.Expr, args: list[ir.Arg], names: tuple[str, ...]) -> _Reduction | None:
        """The reduction that arguments of these names ask for, where they are no more than that."""
        given: dict[str, ir.Expr] = {}
        for place, arg in enumerate(args):
            name = arg.keyword or (names[place] if place < len(names) else "")
            name = {"axis": "dim", "keepdims": "keepdim", "ord": "p"}.get(name, name)
            if arg.star or name not in names:
                return None
            given[name] = arg.value
        constant, number = self._facts.values.constant, self._facts.values.number
        if "p" in given and number(given["p"]) != 2:
            return None
        keepdim = constant(given["keepdim"]) if "keepdim" in given else False
        dim = given.get("dim")
        if not isinstance(keepdim, bool) or not (
            dim is None or isinstance(dim, ir.Name | ir.Attr) or number(dim) is not None
        ):
            return None
        return _Reduction((value,), dim, keepdim)

    def _norms(self, node: ir.Expr, depth: int) -> list[_Reduction] | None:
        """The norms that multiply up to a denominator, floors apart."""
        if depth > _DEPTH:
            return None
        node = self._named(node)
        match node:
            case ir.Binary(op="*", left=left, right=right):
                first, second = self._norms(left, depth + 1), self._norms(right, depth + 1)
                return first + second if first is not None and second is not None else None
        for inner in self._unfloored(node):
            return self._norms(inner, depth + 1)
        root = self._root(node)
        if root is not None:
            return self._squares(root, depth + 1)
        norm = self._norm(node)
        return None if norm is None else [norm]

    def _unfloored(self, node: ir.Expr) -> Iterator[ir.Expr]:
        match node:
            case ir.Binary(op="+", left=left, right=right):
                yield from [left] if self._is_floor(right) else [right] if self._is_floor(left) else []
            case ir.Call(func=func, args=args) if len(args) in (1, 2):
                name, last = self._facts.qualified(func), func.attr if isinstance(func, ir.Attr) else ""
                least = [arg.value for arg in args if arg.keyword in (None, "min")]
                if name in ("torch.clamp", "torch.clamp_min", "torch.clip", "torch.maximum"):
                    yield from least[:1] if len(least) == 2 and self._is_floor(least[1]) else []
                elif name is None and isinstance(func, ir.Name) and func.id == "max" and len(least) == 2:
                    yield from least[:1] if self._is_floor(least[1]) else least[1:] if self._is_floor(least[0]) else []
                elif name is None and last in _CLAMPS and isinstance(func, ir.Attr) and len(least) == len(args) == 1:
                    yield from [func.value] if self._is_floor(least[0]) else []

    def _is_floor(self, node: ir.Expr) -> bool:
        value = self._facts.values.number(node)
        if value is not None:
            return 0 < value <= 1e-2
        match node:
            case ir.Name(id=name) | ir.Attr(attr=name):
                return bool(set(words(name)) & EPS_WORDS)
            case ir.Call(args=[ir.Arg(value=inner), *_]):
                return self._facts.qualified(node.func) in ("torch.tensor", "torch.as_tensor") and self._is_floor(inner)
        return False

    def _root(self, node: ir.Expr) -> ir.Expr | None:
        match node:
            case ir.Call(func=ir.Attr(attr="sqrt", value=inner), args=[]) if self._facts.qualified(node.func) is None:
                return inner
            case ir.Call(func=func, args=[ir.Arg(value=inner)]) if self._facts.qualified(func) == "torch.sqrt":
                return inner
            case ir.Binary(op="**", left=inner, right=power) if self._facts.values.number(power) == 0.5:
                return inner
        return None

    def _squares(self, node: ir.Expr, depth: int) -> list[_Reduction] | None:
        """The sums of squares that multiply up to what stands below a root."""
        node = self._named(node)
        if depth > _DEPTH:
            return None
        match node:
            case ir.Binary(op="*", left=left, right=right):
                first, second = self._squares(left, depth + 1), self._squares(right, depth + 1)
                return first + second if first is not None and second is not None else None
        for inner in self._unfloored(node):
            return self._squares(inner, depth + 1)
        product = self._product(node)
        if product is not None:
            same = is_one(product.values[0], product.values[1], self._facts)
            return [_Reduction(product.values[:1], product.dim, product.keepdim)] if same else None
        summed = self._summed(node)
        match self._named(summed.values[0]) if summed is not None else None:
            case ir.Binary(op="**", left=value, right=power) if self._facts.values.number(power) == 2:
                pass
            case ir.Call(func=ir.Attr(attr="pow", value=value), args=[ir.Arg(value=power)]) if (
                self._facts.values.number(power) == 2
            ):
                pass
            case ir.Call(func=ir.Attr(attr="square", value=value), args=[]):
                pass
            case _:
                return None
        assert summed is not None
        return [_Reduction((value,), summed.dim, summed.keepdim)]

    def _norm(self, node: ir.Expr) -> _Reduction | None:
        match node:
            case ir.Call(func=ir.Attr(attr="norm", value=value), args=args) if self._facts.qualified(node.func) is None:
                return self._reduced(value, args, ("p", "dim", "keepdim"))
            case ir.Call(func=func, args=[ir.Arg(value=value, keyword=None), *args]):
                name = self._facts.qualified(func)
                if name in _NORMS:
                    found = self._reduced(value, args, ("p", "dim", "keepdim"))
                    # ``torch.linalg.norm(a, 2)`` of a matrix is its largest singular value.
                    is_matrix = name == "torch.linalg.norm" and found is not None and found.dim is None and bool(args)
                    return None if is_matrix else found
        return None
