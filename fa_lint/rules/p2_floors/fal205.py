from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import values_of
from fa_lint.findings import Finding, Level
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.rules.common.elsewhere import related_steps
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["SumAsZeroTest"]

_SIGNED = frozenset({t.Role.GRADIENT, t.Role.CREDIT, t.Role.PARAMETER})
_SUMS = frozenset({"torch.sum", "numpy.sum", "jax.numpy.sum"})
_UNSIGNED = frozenset(
    {
        "abs",
        "pow",
        "square",
        "norm",
        "eq",
        "ne",
        "isnan",
        "isinf",
        "any",
        "all",
        "float",
        "long",
        "int",
        "bool",
        "logical_and",
        "logical_or",
    }
)
_SHAPING = frozenset(["item", "cpu", "to", "view", "reshape", "detach", "flatten", "contiguous", "numpy", "clone"])


class SumAsZeroTest(Rule):
    """
    ## What it does
    Flags `v.sum() == 0` (and `!= 0`) as a test that a signed vector is zero, where `v` is a gradient, a credit, a weight,
    or the difference of two such values. Silent on masks, counts, probabilities and absolute values, where
    the sum is a sound test.

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
    gate = (occurs(b".sum("), occurs(b"==", b"!=", pattern=rb"[!=]=\s*\(?0|0\.?0?\)?\s*[!=]="))

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
        for node in facts.nodes_of(ir.Compare):
            match node:
                case ir.Compare(ops=["==" | "!="], left=left, comparators=[right]):
                    tested = left if _is_zero(right) else right if _is_zero(left) else None
                case _:
                    continue
            vector = self._signed_sum(tested, facts) if tested is not None else None
            if vector is not None:
                yield self.find(
                    facts,
                    node,
                    f"a sum compared with zero: signed entries of a {vector.role.value} cancel; test `not v.any()` or `torch.equal(a, b)`",
                    computes="True for every vector whose entries add up to 0, e.g. [1, -1]",
                    related=related_steps(values_of(facts), vector.evidence),
                )

    def _signed_sum(self, node: ir.Expr, facts: ModuleFacts) -> t.Vector | None:
        """Return the first signed vector whose sum is a term of ``node``; a total that a loop carries is read once."""
        waiting, seen = [node], set()
        while waiting:
            top = waiting.pop()
            if top.nid in seen:
                continue
            seen.add(top.nid)
            vector: t.Vector | None = None
            match top:
                case ir.Binary(op="+" | "-", left=left, right=right):
                    waiting += [right, left]
                case ir.Call(func=func, args=[first, *_]) if facts.qualified(func) in _SUMS:
                    vector = self._signed(first.value, facts)
                case ir.Call(func=ir.Attr(attr="sum", value=summed) as func) if facts.qualified(func) is None:
                    vector = self._signed(summed, facts)
                case ir.Call(func=ir.Attr(attr=attr, value=inner) as func) if attr in _SHAPING:
                    waiting += [inner] if facts.qualified(func) is None else []
                case ir.Call(func=ir.Name(id="sum"), args=[ir.Arg(value=ir.Comprehension(elements=[each]))]):
                    waiting.append(each)
                case ir.Name():
                    bound = [b.value for b in facts.names.reaching(top) if b.how in ("value", "update")]
                    # A total starts at zero.
                    values = [value for value in bound if value is not None and not _is_zero(value)]
                    waiting += values if len(values) == 1 else []
            if vector is not None:
                return vector
        return None

    def _signed(self, node: ir.Expr, facts: ModuleFacts) -> t.Vector | None:
        """Return a summed value that is a signed vector; None where it may be a mask, a count or unsigned."""
        for part in ir.walk(node):
            if isinstance(part, ir.Compare | ir.Bool) or (isinstance(part, ir.Unary) and part.op in ("~", "not")):
                return None
            if isinstance(part, ir.Call) and isinstance(part.func, ir.Attr) and part.func.attr in _UNSIGNED:
                return None
            if isinstance(part, ir.Binary) and part.op in ("**", "&", "|", "^", "%", "//"):
                return None
        vector = values_of(facts).vector(node)
        if vector.role.is_gradient:
            return vector
        if isinstance(node, ir.Binary) and node.op == "-":
            sides = [values_of(facts).vector(side) for side in (node.left, node.right)]
            return next((side for side in sides if side.role in _SIGNED and side.computed), None)
        return vector if vector.role is t.Role.PARAMETER and vector.computed else None


def _is_zero(node: ir.Expr) -> bool:
    return isinstance(node, ir.Const) and not isinstance(node.value, bool) and node.value == 0
