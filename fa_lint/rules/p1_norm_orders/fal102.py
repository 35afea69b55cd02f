from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Invalid, Rule
from fa_lint.rules.p1_norm_orders._norms import NORM_GATE, NormCall, dim_fix, norm_calls
from fa_lint.rules.p1_norm_orders._row_sums import has_rows_that_sum, meets_unit_vectors
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.uses import Uses
from fa_lint.semantics.values import UNKNOWN, is_number
from fa_lint.semantics.words import words

__all__ = ["DimAsNormOrder"]

_DIM_NAMES = frozenset({"dim", "dims", "axis", "axes"})
_PRODUCTS = frozenset({"matmul", "mm", "bmm", "einsum", "dot", "inner", "addmm", "baddbmm", "mv"})
_CONSUMED_AS_SCALAR = frozenset(
    {"mean", "sum", "max", "min", "median", "std", "var", "argmax", "argmin", "amax", "amin"}
)
# Names of an L1 norm that is meant: a mean over the replicas of a model follows it.
_PENALTIES = frozenset("l1 lasso reg regularizer regularisation regularization penalty loss losses sparsity".split())
_RANKS = frozenset({"dim", "ndimension", "ndim"})


class DimAsNormOrder(Rule):
    """
    ## What it does
    Flags a value that is called `dim`, `dims` or `axis` in the order slot of a norm (`x.norm(dim)`,
    `torch.norm(x, axis)`, `F.normalize(x, self.dim)`), and a literal 0 or 1 that cannot be an order where it stands:
    `F.normalize(x, 0)`, `F.normalize(x, 1)` whose result meets another normalised value in a product, `x.norm(1).mean()`
    (the mean of one number), also in two statements. Silent on L1 rows that are weights: a transition matrix, counts, a product with what is not
    normalised.

    ## Why is this bad
    The slot is the order p. `v.norm(dim, keepdim=True)` with `dim = 1` is one L1 norm of the whole tensor: for a
    `(2, 3)` tensor of ones 6.0, where the two row norms are 1.7321. With `dim = 0` it counts the non-zero entries.
    `F.normalize(x, 1)` makes the *absolute sum* of each row 1, so that `F.normalize(a, 1) @ F.normalize(b, 1).T` is
    not a cosine: for two equal rows of 256 equal entries it gives 0.0039 instead of 1.

    ## Example
    ```python
    import torch

    def weight_norm(v: torch.Tensor, dim: int) -> torch.Tensor:
        return v / v.norm(dim, keepdim=True)
    ```

    ## Use instead
    ```python
    import torch

    def weight_norm(v: torch.Tensor, dim: int) -> torch.Tensor:
        return v / v.norm(dim=dim, keepdim=True)
    ```

    ## Fix safety
    Unsafe: the result changes from one norm of everything to a norm along the dimension. `keepdim=True` is added where the
    norm meets the value it was taken of, and there is no fix where it meets one whose shape is not known, as in FAL101.

    ## References
    - [torch.Tensor.norm](https://docs.pytorch.org/docs/stable/generated/torch.Tensor.norm.html)
    - [torch.nn.functional.normalize](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.normalize.html)
    """

    code = "FAL102"
    name = "dim-as-norm-order"
    summary = "a dimension in the order slot of a norm"
    level = Level.WARNING
    pitfall = "P1"
    runtime = "fa_lint_runtime.safe_norm"
    fixable = "unsafe"
    gate = NORM_GATE

    VALID = (
        "import numpy as np\ndef f(axis): return axis / np.linalg.norm(axis)",
        "import torch\ndef f(dim): return torch.norm(dim)",
        "import torch\ndef f(x, dim): return x.norm(2, dim), x.norm(dim=dim), torch.norm(x, 2, dim)",
        "import torch\ndef f(x, dim='fro'): return x.norm(dim)",
        "import torch\nfrom mylib import norm\ndef f(x, dim): return norm(x, dim)",
        "import torch\ndef l1(x): return torch.norm(x, 1)",
        "import torch.nn.functional as F\ndef f(x): return F.normalize(x, 2)",
    )
    INVALID = (
        Invalid(
            "import torch\ndef f(v, dim): return v / v.norm(dim, keepdim=True)",
            lines=(2,),
            fixed="import torch\ndef f(v, dim): return v / v.norm(dim=dim, keepdim=True)",
        ),
        Invalid(
            "import torch.nn.functional as F\ndef f(a, b): return F.normalize(a, 1) @ F.normalize(b, 1).t()",
            lines=(2, 2),
            fixed="import torch.nn.functional as F\ndef f(a, b): return F.normalize(a, dim=1) @ F.normalize(b, dim=1).t()",
        ),
        Invalid(
            "import torch\nclass N(torch.nn.Module):\n    def forward(self, x): return torch.norm(x, self.dim)",
            lines=(3,),
            fixed="import torch\nclass N(torch.nn.Module):\n    def forward(self, x): return torch.norm(x, dim=self.dim)",
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        for norm in norm_calls(facts):
            if norm.order is None or norm.has_dim or norm.family == "pairwise":
                continue
            why = self._named(norm.order.value, facts) or self._literal(norm, facts)
            if why is not None:
                text, level = why
                meant, fix = dim_fix(norm, facts)
                yield self.find(
                    facts,
                    norm.call,
                    f"{text}; for a norm along a dimension write {meant}",
                    computes=self._computes(norm),
                    level=level,
                    fix=fix,
                    related=self._reduced_at(norm, facts),
                )

    def _computes(self, norm: NormCall) -> str:
        if norm.family == "normalize":
            return "x divided by its norm of that *order* along dim=1"
        return "one norm of that *order* over every entry of the tensor"

    def _named(self, order: ir.Expr, facts: ModuleFacts) -> tuple[str, Level] | None:
        if self._is_last_dim(order):
            return (
                f"`{facts.source(order)}` is a dimension, but is passed as the order (p) of the norm",
                Level.WARNING,
            )
        name = self._dim_name(order, facts)
        if name is None:
            return None
        value = facts.values.constant(order)
        if value is not UNKNOWN and (not is_number(value) or (isinstance(value, int) and value < 0)):
            return None  # an order after all ("fro", inf), or FAL101's
        if isinstance(value, float):
            return None
        return f"`{name}` is passed as the order (p) of the norm", Level.WARNING

    def _dim_name(self, order: ir.Expr, facts: ModuleFacts) -> str | None:
        """The name that calls an order a dimension: its own, or that of what it is bound to."""
        name = ir.last_name(order)
        said = words(name)
        if said and said[-1] in _DIM_NAMES:
            return name
        if not isinstance(order, ir.Name) or "p" in said or "ord" in said:
            return None
        bound = [b.value for b in facts.names.reaching(order) if b.how == "value"]
        if len(bound) != 1 or not isinstance(bound[0], ir.Name | ir.Attr) or bound[0] is order:
            return None
        source = bound[0].id if isinstance(bound[0], ir.Name) else bound[0].attr
        return name if set(words(source)[-1:]) & _DIM_NAMES else None

    def _is_last_dim(self, order: ir.Expr) -> bool:
        """``x.dim() - 1``, ``x.ndim - 1``, ``len(x.shape) - 1``."""
        match order:
            case ir.Binary(op="-", left=ir.Attr(attr=attr) | ir.Call(func=ir.Attr(attr=attr), args=[])):
                return attr in _RANKS
            case ir.Binary(op="-", left=ir.Call(func=ir.Name(id="len"), args=[ir.Arg(value=ir.Attr(attr="shape"))])):
                return True
        return False

    def _literal(self, norm: NormCall, facts: ModuleFacts) -> tuple[str, Level] | None:
        assert norm.order is not None
        value = norm.order.value.value if isinstance(norm.order.value, ir.Const) else None
        if value not in (0, 1) or isinstance(value, bool | float):
            return None
        if norm.family == "normalize":
            if value == 0:
                return "`0` is the order p of `F.normalize` (it divides by the count of non-zeros)", Level.WARNING
            if norm.call.args and has_rows_that_sum(norm.call.args[0].value, facts):
                return None
            products = list(self._products(norm.call, facts))
            if products and not any(meets_unit_vectors(norm.call, *pair, facts) for pair in products):
                return None  # weights that sum to 1
            if products:
                return (
                    "`1` is the order p of `F.normalize`: L1-normalised vectors in a product are no cosine",
                    Level.WARNING,
                )
            return "`1` is the order p of `F.normalize` (L1), not the dimension", Level.HINT
        reduction = self._reduction(norm, facts)
        if reduction is not None:
            name, _ = reduction
            return f"`.norm({value}).{name}()` reduces a single number: `{value}` is the order p", Level.WARNING
        return None

    def _reduction(self, norm: NormCall, facts: ModuleFacts) -> tuple[str, ir.Expr] | None:
        """The reduction of all entries that a norm of one number goes into, at once or by another name, and of what."""
        for value in self._elsewhere(norm.call, facts):
            found = self._reduced(value, facts)
            if found is not None:
                return found, value
        return None

    def _reduced_at(self, norm: NormCall, facts: ModuleFacts) -> tuple[Related, ...]:
        """Where a norm is reduced in another statement."""
        found = self._reduction(norm, facts)
        if found is None or found[1] is norm.call:
            return ()
        return (Related(*facts.span(found[1]), f"the single number meets `{found[0]}` here"),)

    def _elsewhere(self, value: ir.Expr, facts: ModuleFacts) -> Iterator[ir.Expr]:
        """A value, the reads of the name it is bound to, and the calls of the function that returns it alone."""
        waiting, seen = [(value, 0)], set[int]()
        while waiting:
            node, depth = waiting.pop(0)
            if node.nid in seen:
                continue
            seen.add(node.nid)
            yield node
            match facts.names.parent(node):
                case ir.Assign(targets=[ir.Name(id=name) as target]) as statement if target is not node:
                    for use in [] if set(words(name)) & _PENALTIES else facts.derived(Uses).of(name):
                        if [bound.node for bound in facts.names.reaching(use)] == [statement]:
                            waiting += [(use, depth)]
                case ir.Return():
                    function = facts.names.enclosing_function(node)
                    if depth < 2 and function is not None and facts.names.returned(function) == [node]:
                        if not function.decorators and not set(words(function.name)) & _PENALTIES:
                            waiting += [(call, depth + 1) for call in facts.derived(Calls).callers(function)]

    def _reduced(self, value: ir.Expr, facts: ModuleFacts) -> str | None:
        """The reduction of all entries that a value goes into at once."""
        parent = facts.names.parent(value)
        if isinstance(parent, ir.Attr) and parent.attr in _CONSUMED_AS_SCALAR:
            outer = facts.names.parent(parent)
            return parent.attr if isinstance(outer, ir.Call) and outer.func is parent and not outer.args else None
        outer = facts.names.parent(parent) if isinstance(parent, ir.Arg) else None
        if isinstance(outer, ir.Call) and len(outer.args) == 1:
            library, _, last = (facts.qualified(outer.func) or "").rpartition(".")
            return last if library in ("torch", "numpy", "jax.numpy") and last in _CONSUMED_AS_SCALAR else None
        return None

    def _products(self, call: ir.Call, facts: ModuleFacts) -> Iterator[tuple[ir.Expr, ir.Expr]]:
        """The inner products that the normalised value enters, directly or through its name: the factor, the product."""
        product = self._product_of(call, facts)
        if product is not None:
            yield call, product
            return
        statement = facts.names.statement(call)
        if not isinstance(statement, ir.Assign) or statement.value is not call:
            return
        bound = {t.id for t in statement.targets if isinstance(t, ir.Name)}
        scope = facts.names.scope_of(statement)
        for name in sorted(bound):
            for use in facts.derived(Uses).of(name):
                if use.nid > call.nid and facts.names.scope_of(use) is scope:
                    product = self._product_of(use, facts)
                    if product is not None:
                        yield use, product

    def _is_summed(self, product: ir.Expr, facts: ModuleFacts) -> bool:
        """``(a * b).sum(1)`` or ``torch.sum(a * b, 1)``."""
        match facts.names.parent(product):
            case ir.Attr(attr="sum"):
                return True
            case ir.Arg() as arg:
                outer = facts.names.parent(arg)
                return isinstance(outer, ir.Call) and facts.qualified(outer.func) in ("torch.sum", "numpy.sum")
        return False

    def _product_of(self, node: ir.Expr, facts: ModuleFacts) -> ir.Expr | None:
        """The inner product that an expression is a factor of."""
        inner: ir.Node = node
        for outer in facts.names.ancestors(node):
            match outer:
                case ir.Binary(op="@"):
                    return outer
                case ir.Binary(op="*"):
                    return outer if self._is_summed(outer, facts) else None
                case ir.Call(func=ir.Attr(attr=attr) | ir.Name(id=attr)) if attr in _PRODUCTS:
                    return outer
                case ir.Attr(attr="t" | "T" | "mT" | "transpose" | "permute" | "detach") | ir.Arg() | ir.Subscript():
                    pass
                case ir.Call(func=func) if func is inner:
                    pass
                case _:
                    return None
            inner = outer
        return None
