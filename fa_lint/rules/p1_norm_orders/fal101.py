from __future__ import annotations

import math
from collections.abc import Iterator

from fa_lint.findings import Applicability, Edit, Finding, Fix, Level
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.rules.p1_norm_orders._norms import NORM_PATTERNS, NormCall, dim_fix, norm_calls, pairwise_fix, powers_of
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["NegativeNormOrder"]

# No tensor has more.
_MOST_DIMENSIONS = 64
_DISTANCES = frozenset({"torch.nn.PairwiseDistance", "torch.nn.modules.distance.PairwiseDistance"})
_COMPUTES = {
    "torch": 'the L_{p} "norm" of all entries at once, (Σ|xᵢ|^{p})^(1/{p}): one number, 0 as soon as one entry is 0',
    "linalg": 'of a vector the L_{p} "norm" of all entries; of a matrix {matrix}; beyond 2-D it raises',
    "normalize": 'x divided by its L_{p} "norm" over dim=1, so that rows are not of unit length',
    "pairwise": 'the L_{p} "norm" of the difference: 0 as soon as one coordinate agrees',
}


class NegativeNormOrder(Rule):
    """
    ## What it does
    Flags a negative number in the *positional order slot* of a norm: `x.norm(-1)`, `torch.norm(x, -1)`,
    `torch.linalg.norm(x, -1)`, `np.linalg.norm(x, -1)`, `F.normalize(x, -1)`, `F.pairwise_distance(a, b, -1)`,
    `nn.PairwiseDistance(-1)`, also through a name bound to it. A keyword (`p=-1`, `ord=-1`) is read as intent and passes (but for `F.normalize(x, p=-1)`
    without a `dim`), as do `-inf`, a norm raised to the power of its own order (`r.norm(-2) ** -2` is `Σ 1/rᵢ²`) and a
    function that takes norms of infinite or named order as well.

    ## Why is this bad
    The first positional argument of a norm is its order, not a dimension. `x.norm(-1)` is `1 / Σ(1/|xᵢ|)` of the
    *whole* tensor: for a `(4, 3)` tensor of ones it returns 0.0833 (one number), where `x.norm(dim=-1)` returns four
    times 1.7321. One zero entry makes it 0. With `keepdim=True` the scalar broadcasts, so shapes never complain. In 2-D,
    `np.linalg.norm(x, -1)` is the smallest column sum; `F.normalize(x, -1)` leaves the rows of a (5, 40) normal sample at norms of hundreds.

    ## Example
    ```python
    import torch

    def unit(x: torch.Tensor) -> torch.Tensor:
        return x / x.norm(-1, keepdim=True)
    ```

    ## Use instead
    ```python
    import torch

    def unit(x: torch.Tensor) -> torch.Tensor:
        return x / x.norm(dim=-1, keepdim=True)
    ```

    ## Fix safety
    Unsafe: the fix names the dimension (`dim=-1`, `axis=-1` in NumPy and JAX), and the result changes from one number to
    the L2 norm along that dimension, which is what was meant. Where the norm then divides, multiplies or is compared with
    the value it was taken of, the fix adds `keepdim=True` (`keepdims=True`): without it `x / x.norm(dim=-1)` divides
    *columns*, and a square batch raises nothing. Where it meets a value whose shape is not known, goes into a list, a dict
    or another function, or one number is wanted (`float(…)`, `if`), there is no fix and the message says why. Norms that
    meet each other are fixed together or not at all. A norm that a function returns is fixed by its uses in the same file,
    and not where another file of the run calls that function. Other arguments and comments stay.

    ## References
    - [torch.linalg.vector_norm](https://docs.pytorch.org/docs/stable/generated/torch.linalg.vector_norm.html)
    - [numpy.linalg.norm](https://numpy.org/doc/stable/reference/generated/numpy.linalg.norm.html)
    - [torch.nn.functional.normalize](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.normalize.html)
    """

    code = "FAL101"
    name = "negative-norm-order"
    summary = "a negative number in the order slot of a norm, where a dimension was meant"
    level = Level.ERROR
    pitfall = "P1"
    runtime = "fa_lint_runtime.safe_norm"
    fixable = "unsafe"
    gate = (
        occurs(
            *(b"norm", b"pairwise_distance", b"PairwiseDistance"),
            patterns=(*NORM_PATTERNS, rb"PairwiseDistance"),
        ),
    )

    demonstration = Demonstration(
        setup="import torch\nx = torch.ones(4, 3)",
        before="x.norm(-1)",
        after="x.norm(dim=-1)",
        claim="before.ndim == 0 and abs(before - 1 / 12) < 1e-6 and after.shape == (4,) and (after**2 - 3).abs().max() < 1e-6",
    )

    VALID = (
        "import torch\ntorch.ones(3).norm(dim=-1)",
        "import torch\ntorch.ones(3).norm(p=-1)",
        "import torch\ndef f(x): return x.norm(2, -1), x.norm(2, dim=-1), x.norm(-float('inf'))",
        "import torch, math\ndef f(x): return torch.linalg.norm(x, -math.inf)",
        "import numpy as np\ndef smallest_singular_value(a): return np.linalg.norm(a, -2)",
        "import torch\nclass Vec:\n    def norm(self, p): ...\ndef f(v): return v.norm(-1)",
        "import torch\nfrom shapes import Vector\nv = Vector(1, 2)\nv.norm(-1)",
        "import torch\nfrom pykeops.torch import LazyTensor\nd = (LazyTensor(a) - LazyTensor(b)).norm(-1)",
        "import torch\nasync def f(size): return await size.norm(-1)",
        "import torch\nclass M(torch.nn.Module):\n    def forward(self, x): return self.norm(-1)",
        "def f(x): return x.norm(-1)",
        "import torch\n# x.norm(-1)\n'x.norm(-1)'",
        "import numpy as np\ndef orders(a): return [np.linalg.norm(a, 'fro'), np.linalg.norm(a, -1)]",
        "import torch\ndef norm(x, dim): return x.logsumexp(dim)\ndef f(x): return norm(x, -1)",
    )
    INVALID = (
        Invalid(
            "import torch\ndef f(x): return x / x.norm(-1, keepdim=True)",
            lines=(2,),
            fixed="import torch\ndef f(x): return x / x.norm(dim=-1, keepdim=True)",
        ),
        Invalid(
            "from torch import linalg as LA\ndef f(x): return LA.vector_norm(x, -1)  # rows",
            lines=(2,),
            fixed="from torch import linalg as LA\ndef f(x): return LA.vector_norm(x, dim=-1)  # rows",
        ),
        Invalid(
            "import numpy as np\nAXIS = -1\ndef f(x): return np.linalg.norm(x, AXIS)",
            lines=(3,),
            fixed="import numpy as np\nAXIS = -1\ndef f(x): return np.linalg.norm(x, axis=AXIS)",
        ),
        Invalid(
            "import torch\nimport torch.nn.functional as F\nprint(f'{F.normalize(torch.ones(2, 3), -1).sum():.3f}')",
            lines=(3,),
            fixed="import torch\nimport torch.nn.functional as F\n"
            "print(f'{F.normalize(torch.ones(2, 3), dim=-1).sum():.3f}')",
        ),
        Invalid("import torch\ndef f(x): return float(torch.norm(x, -1)) + x.norm(-1).item()", lines=(2, 2)),
        Invalid("import torch\ndef f(x): return f'{x.norm(-1):.3f}'", lines=(2,)),
        Invalid("import torch.nn.functional as F\ndef f(x): return F.normalize(x, p=-1)", lines=(2,)),
        Invalid(
            "import torch.nn.functional as F\ndef f(a, b): return F.pairwise_distance(a, b, -1)",
            lines=(2,),
            fixed="import torch.nn.functional as F\ndef f(a, b): return F.pairwise_distance(a, b)",
        ),
        Invalid(
            "from torch import nn\ndistance = nn.PairwiseDistance(-1)",
            lines=(2,),
            fixed="from torch import nn\ndistance = nn.PairwiseDistance()",
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        sweeps = _order_sweeps(facts)
        for norm in norm_calls(facts):
            # A direction by an inverse norm is hardly ever meant, named or not.
            given = norm.order_keyword if norm.family == "normalize" and not norm.has_dim else None
            given = norm.order or given
            if given is None:
                continue
            order = facts.values.number(given.value)
            if order is None or not order.is_integer() or not -_MOST_DIMENSIONS <= order < 0:
                continue
            if order in powers_of(norm.call, facts):
                continue  # Σ|xᵢ|^p: the order is meant
            if norm.family == "linalg" and order != -1:
                continue  # ord=-2 is the smallest singular value, a quantity people do ask for
            if facts.names.enclosing_function(norm.call) in sweeps:
                continue
            yield self._finding(facts, norm, int(order))

        yield from self._modules(facts)

    def _modules(self, facts: ModuleFacts) -> Iterator[Finding]:
        """``nn.PairwiseDistance(-1)``, whose first argument is its order."""
        for call in facts.calls:
            if facts.qualified(call.func) not in _DISTANCES or not call.args:
                continue
            first = call.args[0]
            order = facts.values.number(first.value) if first.keyword is None and not first.star else None
            if order is None or not order.is_integer() or not -_MOST_DIMENSIONS <= order < 0:
                continue
            edit = Edit(*facts.span(first), "")
            fix = Fix(Applicability.UNSAFE, "Drop the order: it already works along the last dimension", (edit,))
            yield self.find(
                facts,
                call,
                f"`{order:g}` in `nn.PairwiseDistance` is the order of the norm, not a dimension; "
                "it already reduces the last dimension: leave the order out",
                computes=_COMPUTES["pairwise"].format(p=int(order)),
                fix=fix if len(call.args) == 1 else None,
            )

    def _finding(self, facts: ModuleFacts, norm: NormCall, order: int) -> Finding:
        matrix = "the smallest absolute column sum"
        computes = _COMPUTES[norm.family].format(p=order, matrix=matrix)
        what = "F.pairwise_distance" if norm.family == "pairwise" else norm.label.lstrip(".")
        if norm.family == "pairwise":
            meant, fix = "it already reduces the last dimension: leave the order out", pairwise_fix(norm, facts)
        else:
            words, fix = dim_fix(norm, facts)
            meant = f"for the L2 norm along dimension {order} write {words}"
        if norm.order is None:
            return self.find(
                facts,
                norm.call,
                f"order {order} in `{what}`, which has no dimension: rows that are not of unit length; write `dim={order}`",
                computes=computes,
                level=Level.WARNING,
            )
        if norm.has_dim:
            # With a dimension beside it the number really is an order: legal, and hardly ever meant.
            return self.find(
                facts,
                norm.call,
                f"order {order} in `{what}`: not a norm, one zero entry makes it 0; name it `{norm_keyword(norm)}={order}` if it is meant",
                computes=computes,
                level=Level.WARNING,
            )
        return self.find(
            facts,
            norm.call,
            f"`{order}` in `{what}` is the order of the norm, not a dimension; {meant}",
            computes=computes,
            fix=fix,
        )


def _order_sweeps(facts: ModuleFacts) -> set[ir.FunctionDef | None]:
    """The functions that take norms of infinite or named order as well, so that orders are what they are about."""
    found: set[ir.FunctionDef | None] = set()
    for norm in norm_calls(facts):
        order = norm.order or norm.order_keyword
        value = facts.values.constant(order.value) if order is not None else None
        if value in ("fro", "nuc") or (isinstance(value, float) and math.isinf(value)):
            found.add(facts.names.enclosing_function(norm.call))
    return found


def norm_keyword(norm: NormCall) -> str:
    """The keyword of the order slot."""
    return "ord" if "linalg" in norm.label else "p"
