from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.rules.p2_floors._differences import Difference, differences, may_be_trained
from fa_lint.rules.p2_floors._kept_from_zero import is_kept_from_zero
from fa_lint.semantics import ir
from fa_lint.semantics.backpropagated import Backpropagated
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.severed import carries_no_gradient

__all__ = ["RootOfZero"]

_LIBRARY_ROOTS = frozenset({"torch.sqrt", "torch.sqrt_"})
_LIBRARY_POWERS = frozenset({"torch.pow", "torch.float_power"})


class RootOfZero(Rule):
    """
    ## What it does
    Flags the square root of a sum (or mean) of squares of a difference in a loss that is differentiated:
    `((a - b) ** 2).sum(1).sqrt()`, also by `** 0.5`, `torch.sqrt(F.mse_loss(a, b))`, and through names, helpers and `zip`.
    Only where one side of the difference comes from a model, a parameter, a gradient or a tensor that requires a gradient,
    and `backward()`, `autograd.grad` or a function called a loss is reached. Silent under `no_grad`, through
    `.item()` and `argmin`, and where an eps, a clamp or a mask is under the root.

    ## Why is this bad
    The derivative of the root at 0 is infinite and that of the square is 0; autograd multiplies them, and the gradient is
    NaN in every row where the two sides are equal. One optimizer step later all weights are NaN. Equal sides are not
    rare: a pair of the same sample, a distance matrix of a batch with itself, a student that starts as its teacher.
    Measured with 1 of 4 rows equal, the gradient of that row is NaN, and `torch.where(d > 0, d, 0)` behind the root does
    not help (0 · ∞ again). `torch.linalg.vector_norm` and `torch.cdist` have a gradient of 0 there.

    ## Example
    ```python
    import torch

    def step(model, x, target, opt):
        diff = model(x) - target
        loss = (diff**2).sum(dim=1).sqrt().mean()
        loss.backward()
        opt.step()
    ```

    ## Use instead
    ```python
    import torch

    def step(model, x, target, opt):
        diff = model(x) - target
        loss = torch.linalg.vector_norm(diff, dim=1).mean()
        loss.backward()
        opt.step()
    ```

    ## Fix safety
    No fix: whether the gradient should be 0 (`torch.linalg.vector_norm`) or the distance smooth (an eps inside the root)
    is the author's to say.

    ## References
    - [torch.linalg.vector_norm](https://docs.pytorch.org/docs/stable/generated/torch.linalg.vector_norm.html)
    - [PyTorch: gradients for non-differentiable functions](https://docs.pytorch.org/docs/stable/notes/autograd.html)
    """

    code = "FAL207"
    name = "root-of-zero"
    summary = "the root of a squared difference that can be zero, in a loss: its gradient is NaN there"
    level = Level.WARNING
    pitfall = "P2"
    runtime = "fa_lint_runtime.safe_norm"
    gate = (
        occurs(b"sqrt", b".5", b"/ 2", b"/2"),
        occurs(b"backward", b"autograd", b"oss", b"riterion", b"bjective", b"training_step"),
        occurs(b"torch"),
    )

    demonstration = Demonstration(
        setup="import torch\nx = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)\n"
        "y = torch.tensor([[1.0, 2.0], [0.0, 0.0]])",
        before="torch.autograd.grad(((x - y) ** 2).sum(1).sqrt().sum(), x)[0]",
        after="torch.autograd.grad(torch.linalg.vector_norm(x - y, dim=1).sum(), x)[0]",
        claim="before[0].isnan().all() and (after[0] == 0).all() and (before[1] - after[1]).abs().max() < 1e-6",
    )

    _STEP = "import torch\ndef step(model, x, y, opt):\n    d = model(x) - y\n    loss = {loss}\n    loss.backward()\n    opt.step()\n"
    VALID = (
        _STEP.format(loss="d.norm(dim=1).mean()"),
        _STEP.format(loss="((d**2).sum(1) + 1e-12).sqrt().mean()"),
        _STEP.format(loss="(d**2).sum(1).clamp_min(1e-12).sqrt().mean()"),
        _STEP.format(loss="(d**2).sum(1).mean() + float((d**2).sum(1).sqrt().mean())"),
        "import torch\n@torch.no_grad()\ndef distance_loss(model, x, y):\n    return ((model(x) - y) ** 2).sum(1).sqrt()",
        "import torch\ndef step(model, x, y, opt):\n    near = ((model(x)[:, None] - y) ** 2).sum(-1).sqrt().argmin(1)\n"
        "    loss = model(x)[near].sum()\n    loss.backward()",
        "import torch\ndef distance(a, b):\n    return ((a - b) ** 2).sum(1).sqrt()",
        "import numpy as np\ndef rmse_loss(a, b): return np.sqrt(((a - b) ** 2).mean())",
    )
    INVALID = (
        Invalid(_STEP.format(loss="(d**2).sum(dim=1).sqrt().mean()"), lines=(4,)),
        Invalid(_STEP.format(loss="torch.sqrt(torch.mean(d * d))"), lines=(4,)),
        Invalid(
            "import torch\nclass PairLoss(torch.nn.Module):\n    def forward(self, output1, output2, label):\n"
            "        d = torch.sum((output1 - output2).pow(2), 1) ** 0.5\n        return (label * d).mean()",
            lines=(4,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        for node in facts.nodes_of(ir.Call, ir.Binary):
            under = _under_root(node, facts)
            if under is None or not isinstance(node, ir.Expr):
                continue
            flows = facts.derived(Backpropagated)
            if node.nid not in flows.all or carries_no_gradient(node, facts):
                continue
            found = differences(under, facts)
            in_loss = node.nid in flows.returned
            if not found or not all(may_be_trained(difference, facts, in_loss) for difference in found):
                continue
            if not is_kept_from_zero(node, under, found, facts):
                yield self._finding(node, found, facts)

    def _finding(self, node: ir.Expr, found: list[Difference], facts: ModuleFacts) -> Finding:
        itself = any(difference.of_itself for difference in found)
        where = "on the diagonal, where a row meets itself" if itself else "where both sides are equal"
        return self.find(
            facts,
            node,
            f"the gradient of this root is NaN {where} (0 · ∞); use `torch.linalg.vector_norm` of the difference, or add an "
            "eps inside the root",
            computes="the distance, with a gradient of NaN where it is 0",
            related=tuple(Related(*facts.span(d.node), "this difference can be exactly zero") for d in found[:2]),
        )


def _under_root(node: ir.Node, facts: ModuleFacts) -> ir.Expr | None:
    """``s`` of ``s.sqrt()``, ``torch.sqrt(s)``, ``s ** 0.5``, ``s.pow(0.5)``."""
    match node:
        case ir.Binary(op="**", left=left, right=right) if facts.values.number(right) == 0.5:
            return left
        case ir.Call(func=ir.Attr(attr="sqrt" | "sqrt_", value=value) as func, args=[]) if (
            facts.qualified(func) is None
        ):
            return value
        case ir.Call(func=ir.Attr(attr="pow" | "pow_", value=value) as func, args=[ir.Arg(value=power)]):
            if facts.qualified(func) is None and facts.values.number(power) == 0.5:
                return value
        case ir.Call(func=func, args=[ir.Arg(value=value, star=""), *rest]):
            name = facts.qualified(func)
            if name in _LIBRARY_ROOTS:
                return value
            if name in _LIBRARY_POWERS and rest and facts.values.number(rest[0].value) == 0.5:
                return value
    return None
