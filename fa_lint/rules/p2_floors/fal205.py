from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import values_of
from fa_lint.findings import Finding, Level
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.rules.common.elsewhere import related_steps
from fa_lint.rules.p2_floors._zero_tests import ZeroTest, bare, is_zero, zero_tests
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.names import Binding

__all__ = ["SumAsZeroTest"]

_SIGNED = frozenset({t.Role.GRADIENT, t.Role.CREDIT, t.Role.PARAMETER})
_SUMS = frozenset({"torch.sum", "numpy.sum", "jax.numpy.sum"})
_UNSIGNED = frozenset(
    "abs fabs pow square norm eq ne isnan isinf any all float long int bool logical_and logical_or exp softmax "
    "sigmoid count_nonzero".split()
)


@dataclass(frozen=True, slots=True)
class _Sum:
    """A sum of the entries of ``vector``, or of the difference of it and another one."""

    vector: t.Vector
    is_difference: bool


class SumAsZeroTest(Rule):
    """
    ## What it does
    Flags `v.sum() == 0` (also `!= 0`, `.eq(0)`, `not v.sum()`, `if v.sum():`, `abs(v.sum()) == 0`) as a test that a signed
    vector is zero, where `v` is a gradient, a credit, a weight, or the difference of two such values; of a difference also
    `abs((a - b).sum()) < 1e-6`. Silent on masks, counts, probabilities and absolute values, where the sum is a sound test,
    on inner products, and where the sum is divided by.

    ## Why is this bad
    Signed entries cancel: `torch.tensor([1., -1.]).sum() == 0` is True for a vector of norm 1.414, and `(a - b).sum() == 0`
    holds for any two vectors of equal sum. In a published alignment measurement the sum of two gradients' sums selected
    the samples whose cosine was then overwritten with 1.

    ## Example
    ```python
    def is_dead(p):
        return p.grad.sum() == 0
    ```

    ## Use instead
    ```python
    def is_dead(p):
        return not p.grad.any()
    ```

    ## Fix safety
    No fix: whether a zero vector or equal vectors were meant is the author's to say (`not v.any()`, `torch.equal(a, b)`).

    ## References
    - [torch.any](https://docs.pytorch.org/docs/stable/generated/torch.any.html),
      [torch.equal](https://docs.pytorch.org/docs/stable/generated/torch.equal.html)
    """

    code = "FAL205"
    name = "sum-as-zero-test"
    summary = "the sum of a signed vector compared with zero"
    level = Level.WARNING
    pitfall = "P2"
    runtime = "fa_lint_runtime.check_magnitude"
    gate = (
        occurs(b".sum("),
        occurs(
            *(b"==", b"!=", b"eq", b"ne", b"if", b"not", b"while", b"assert", b"bool", b"close", b"match", b"<", b">"),
            patterns=(
                rb"[!=]=\s*\(?0",
                rb"0\.?0?\)?\s*[!=]=",
                rb"\b(?:not|if|while|assert|match)\b",
                rb"(?:bool|eq|ne|equal|close)\(",
                rb"[<>]",
            ),
        ),
    )

    demonstration = Demonstration(
        setup="import torch\ngrad = torch.tensor([1.0, -1.0, 0.5, -0.5])",
        before="bool(grad.sum() == 0)",
        after="not grad.any().item()",
        claim="before is True and after is False",
    )

    VALID = (
        "def f(mask): return mask.sum() == 0",
        "import torch\ndef f(a): return torch.sum(a > 0) == 0",
        "def f(p): return p.grad.abs().sum() == 0",
        "def f(counts, probs): return counts.sum() == 0 or probs.sum() == 0",
        "def f(p): return (p.grad != 0).sum() == 0",
        "def f(p): return (p.grad ** 2).sum() == 0",
        "def f(pred, y): return (pred - y).sum() == 0",
    )
    INVALID = (
        Invalid("def f(p): return p.grad.sum() == 0", lines=(1,)),
        Invalid("import torch\ndef f(p, q): return torch.sum(p.grad - q.grad) == 0", lines=(2,)),
        Invalid("def f(p, q):\n    a, b = p.grad, q.grad\n    return a.sum(dim=1) + b.sum(dim=1) == 0", lines=(3,)),
        Invalid("def f(layer, w0):\n    if (layer.weight - w0).sum() != 0:\n        return True", lines=(2,)),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        seen: set[int] = set()
        for test in zero_tests(facts):
            if test.node.nid in seen:
                continue
            found = self._signed_sum(test.tested, facts)
            if found is None or not self._is_sure(test, found) or _divides(test, facts):
                continue
            seen.add(test.node.nid)
            yield self.find(
                facts,
                test.node,
                f"a sum compared with zero: signed entries of a {found.vector.role.value} cancel; test `not v.any()` or `torch.equal(a, b)`",
                computes="True for every vector whose entries add up to 0, e.g. [1, -1]",
                related=related_steps(values_of(facts), found.vector.evidence),
            )

    def _is_sure(self, test: ZeroTest, found: _Sum) -> bool:
        """A sum that is close to zero may be what was meant, but not of a difference; a truth may be of anything."""
        return test.how == "equal" or (found.vector.computed and (test.how == "truth" or found.is_difference))

    def _signed_sum(self, node: ir.Expr, facts: ModuleFacts) -> _Sum | None:
        """Return the first sum of a signed vector that is a term of ``node``; a total that a loop carries is read once."""
        waiting, seen = [node], set()
        while waiting:
            top = bare(waiting.pop(), facts)
            if top.nid in seen:
                continue
            seen.add(top.nid)
            found: _Sum | None = None
            match top:
                case ir.Binary(op="+" | "-", left=left, right=right):
                    waiting += [right, left]
                case ir.Call(func=func, args=[first, *_]) if facts.qualified(func) in _SUMS:
                    found = _signed(first.value, facts)
                case ir.Call(func=ir.Attr(attr="sum", value=summed) as func) if facts.qualified(func) is None:
                    found = _signed(summed, facts)
                case ir.Call(func=ir.Name(id="sum"), args=[ir.Arg(value=ir.Comprehension(elements=[each]))]):
                    waiting.append(each)
                case ir.Subscript(value=ir.Name() as container):
                    waiting += _stored(container, facts)
                case ir.Name():
                    waiting += _bound(top, facts)
            if found is not None:
                return found
        return None


def _bound(name: ir.Name, facts: ModuleFacts) -> list[ir.Expr]:
    """What a name stands for: the one value that is bound to it, or the values of a container that it runs over."""
    reaching = facts.names.reaching(name)
    if len(reaching) == 1 and reaching[0].how == "iterate":
        return _iterated(reaching[0], facts)
    bound = [b.value for b in reaching if b.how in ("value", "update")]
    # A total starts at zero.
    values = [value for value in bound if value is not None and not is_zero(value)]
    return values if len(values) == 1 else []


def _iterated(binding: Binding, facts: ModuleFacts) -> list[ir.Expr]:
    """``t`` of ``for n, t in totals.items()``, ``for t in totals.values()`` and ``for t in totals``."""
    match binding.value:
        case ir.Call(func=ir.Attr(attr="items", value=ir.Name() as container)) if binding.index == 1:
            return _stored(container, facts, "dict")
        case ir.Call(func=ir.Attr(attr="values", value=ir.Name() as container)) if binding.index is None:
            return _stored(container, facts, "dict")
        case ir.Call(func=ir.Name(id="enumerate"), args=[ir.Arg(value=ir.Name() as container)]) if binding.index == 1:
            return _stored(container, facts, "list")
        case ir.Name() as container if binding.index is None:
            return _stored(container, facts, "list")
    return []


def _stored(container: ir.Name, facts: ModuleFacts, kind: str = "") -> list[ir.Expr]:
    """The values of a list or dict that is made of one kind of value."""
    found: list[ir.Expr] = []
    for binding in facts.names.reaching(container):
        match binding.value:
            case ir.Comprehension(kind=made, elements=elements) if binding.how == "value" and made in (kind or made):
                found.append(elements[-1])
            case ir.Sequence(items=[]) | ir.Keyed(values=[]) | ir.Call(func=ir.Name(id="dict" | "list"), args=[]):
                pass
            case ir.Expr() as value if binding.how == "item":
                found.append(value)
            case _:
                return []
    return found if len(found) == 1 else []


def _signed(node: ir.Expr, facts: ModuleFacts) -> _Sum | None:
    """Return a summed value that is a signed vector; None where it may be a mask, a count or unsigned."""
    if _may_be_unsigned(node, facts) or _is_product(node, facts):
        return None
    vector = values_of(facts).vector(node)
    sides = _sides(node, vector, facts)
    if sides is None and vector.role is t.Role.PARAMETER and vector.computed:
        return _Sum(vector, False)
    if vector.role.is_gradient:
        return _Sum(vector, sides is not None)
    signed = (side for side in sides or () if side.role in _SIGNED and side.computed)
    return next((_Sum(side, True) for side in signed), None)


def _is_product(node: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True for a product of arrays: its sum is an inner product, which may be asked for zero."""
    return any(t.factors(term) > 1 or _has_dots(term) for term, _ in values_of(facts).of(node))


def _has_dots(term: t.Term) -> bool:
    return isinstance(term, t.Monomial) and bool(term.dots)


def _sides(node: ir.Expr, vector: t.Vector, facts: ModuleFacts) -> tuple[t.Vector, t.Vector] | None:
    """The two sides of a difference."""
    match node:
        case ir.Binary(op="-", left=left, right=right):
            return values_of(facts).vector(left), values_of(facts).vector(right)
        case ir.Call(func=ir.Attr(attr="sub", value=left) as func, args=[ir.Arg(value=right)]):
            if facts.qualified(func) is None:
                return values_of(facts).vector(left), values_of(facts).vector(right)
        case ir.Call(func=func, args=[ir.Arg(value=left), ir.Arg(value=right)]):
            if facts.qualified(func) in ("torch.sub", "torch.subtract", "numpy.subtract", "jax.numpy.subtract"):
                return values_of(facts).vector(left), values_of(facts).vector(right)
    return vector.sides if vector.name == t.DIFFERENCE else None


def _may_be_unsigned(node: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True where a value is made of tests, absolute values or powers, also through names."""
    waiting, seen = [node], {node.nid}
    while waiting:
        top = waiting.pop()
        if any(_is_unsigned(part) for part in ir.walk(top)):
            return True
        names = [part for part in ir.walk(top) if isinstance(part, ir.Name) and _is_operand(part, top, facts)]
        for value in (b.value for name in names for b in facts.names.reaching(name) if b.how == "value"):
            if value is not None and value.nid not in seen:
                seen.add(value.nid)
                waiting.append(value)
    return False


def _is_unsigned(part: ir.Node) -> bool:
    match part:
        case ir.Compare() | ir.Bool() | ir.Unary(op="~" | "not"):
            return True
        case ir.Call(func=ir.Attr(attr=name) | ir.Name(id=name)):
            return name in _UNSIGNED
        case ir.Binary(op="**" | "&" | "|" | "^" | "%" | "//"):
            return True
    return False


def _is_operand(name: ir.Name, whole: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True for a name whose value is in the result: not an object of which an attribute is read, not an index."""
    inner: ir.Node = name
    while inner is not whole:
        outer = facts.names.parent(inner)
        match outer:
            case ir.Binary() | ir.Unary() | ir.Arg():
                pass
            case ir.Attr():
                if not isinstance(facts.names.parent(outer), ir.Call):
                    return False
            case ir.Call(func=func):
                if inner is func and not isinstance(func, ir.Attr):
                    return False
            case _:
                return False
        inner = outer
    return True


def _divides(test: ZeroTest, facts: ModuleFacts) -> bool:
    """Return True where the tested sum is divided by as well: the test keeps the quotient finite."""
    region = facts.names.enclosing_function(test.node) or facts.module
    tested = bare(test.tested, facts)
    quotients = (n for n in ir.walk(region) if isinstance(n, ir.Binary | ir.AugAssign) and n.op == "/")
    return any(ir.same(bare(n.right if isinstance(n, ir.Binary) else n.value, facts), tested) for n in quotients)
