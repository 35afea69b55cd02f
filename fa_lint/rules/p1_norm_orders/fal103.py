from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Finding, Level
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.rules.p1_norm_orders._norms import NormCall, norm_calls
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["NormKeepdimWithoutDim"]

_DIVIDES = frozenset({"div", "div_", "true_divide", "divide", "mul", "mul_", "multiply"})


class NormKeepdimWithoutDim(Rule):
    """
    ## What it does
    Flags `keepdim=True` on a norm with an order and no dimension, or `None` for it: `x.norm(1, keepdim=True)`,
    `torch.norm(x, 2, keepdim=True)`, `x.norm(2, None, True)`. It stays silent where the result is at once scaled by a count
    (`w.norm(1, keepdim=True).div(n)`, the mean magnitude of binary networks).

    ## Why is this bad
    Without a dimension the norm reduces *everything*; `keepdim=True` then only keeps the rank, and the scalar broadcasts
    without complaint. `x / x.norm(1, keepdim=True)` on a `(128, 10)` batch divides every row by the same number: rows
    that should sum to 1 sum to about 1/128. In the wild four of eight such calls meant `dim=1`.

    ## Example
    ```python
    import torch

    def rows_to_one(x: torch.Tensor) -> torch.Tensor:
        return x / x.norm(1, keepdim=True)
    ```

    ## Use instead
    ```python
    import torch

    def rows_to_one(x: torch.Tensor) -> torch.Tensor:
        return x / x.norm(p=1, dim=1, keepdim=True)
    ```

    ## Fix safety
    No fix: whether the number was the order or the dimension is the author's to say.

    ## References
    - [torch.Tensor.norm](https://docs.pytorch.org/docs/stable/generated/torch.Tensor.norm.html)
    """

    code = "FAL103"
    name = "norm-keepdim-without-dim"
    summary = "a norm with keepdim=True and no dimension: it reduces everything"
    level = Level.HINT
    pitfall = "P1"
    runtime = "fa_lint_runtime.safe_norm"
    gate = (occurs(b"keepdim", b"None"), occurs(b"norm"))

    VALID = (
        "import torch\ndef f(x): return x / x.norm(1, 1, keepdim=True)",
        "import torch\ndef f(x): return x / x.norm(p=2, dim=-1, keepdim=True)",
        "import torch\ndef f(w, n): return w.norm(1, keepdim=True).div(n)",
        "import torch\ndef f(w): return w.norm(1, keepdim=True) / w.numel()",
        "import torch\ndef f(x): return x.norm(1)",
    )
    INVALID = (
        Invalid("import torch\ndef f(x): return x / (x.norm(1, keepdim=True) + 1e-8)", lines=(2,)),
        Invalid("import torch\ndef f(x): return torch.norm(x, p=2, keepdim=True)", lines=(2,)),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        for norm in norm_calls(facts):
            has_dim = norm.has_dim and not norm.dim_is_none
            if not norm.keepdim or has_dim or norm.family in ("normalize", "pairwise"):
                continue
            order = norm.order or norm.order_keyword
            value = facts.values.number(order.value) if order is not None else None
            if value is None or value < 0:
                continue
            if self._is_scaled_by_count(norm, facts):
                continue
            yield self.find(
                facts,
                norm.call,
                f"keepdim=True without a dimension: order {value:g} over the whole tensor; add `dim=`",
                computes=f"one L{value:g} norm of every entry, with the rank kept so that it broadcasts",
            )

    def _is_scaled_by_count(self, norm: NormCall, facts: ModuleFacts) -> bool:
        """True if the norm is the numerator, as in the mean magnitude ``‖w‖₁ / n``."""
        parent = facts.names.parent(norm.call)
        if isinstance(parent, ir.Attr) and parent.attr in _DIVIDES:
            return True
        return isinstance(parent, ir.Binary) and parent.op in ("/", "*") and parent.left is norm.call
