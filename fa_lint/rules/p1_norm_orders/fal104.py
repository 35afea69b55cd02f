from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import values_of
from fa_lint.findings import Applicability, Edit, Finding, Fix, Level
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.rules.common.elsewhere import related_steps
from fa_lint.rules.p1_norm_orders._penalties import Penalty, penalties
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["GradientPenaltyAxis"]


class GradientPenaltyAxis(Rule):
    """
    ## What it does
    Flags the norm in a gradient penalty `(‖g‖ − 1)²` of a critic's input gradient that is taken along one axis of an image
    (`g.norm(2, dim=1)` of a `(B, C, H, W)` gradient; along `dim=(2, 3)` it is one for each channel), or over the whole batch at once with a mean of that one number
    (`((g.norm() - 1) ** 2).mean()`). Silent where the code does not show that the input has more than two dimensions,
    on flattened gradients, `dim=(1, 2, 3)`, the gradient of one sample, eikonal losses and R1 penalties.

    ## Why is this bad
    The penalty needs one norm for each sample. `norm(2, dim=1)` of an image gradient is one for each *pixel*, over its
    channels, and pushes each of them to 1: a critic whose samples have gradients of norm 1 is pushed to norm √(HW), 32 on
    32×32 images. Measured on such gradients, the penalty is 0.944 where it should be 0.0002. Without a dimension the norm
    is that of the batch: eight samples of norm 0.35 count as right, and the mean is over one number.

    ## Example
    ```python
    import torch

    def penalty(critic, real, fake):
        a = torch.rand(real.size(0), 1, 1, 1)
        mixed = (a * real + (1 - a) * fake).requires_grad_(True)
        g = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)[0]
        return ((g.norm(2, dim=1) - 1) ** 2).mean()
    ```

    ## Use instead
    ```python
    import torch

    def penalty(critic, real, fake):
        a = torch.rand(real.size(0), 1, 1, 1)
        mixed = (a * real + (1 - a) * fake).requires_grad_(True)
        g = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)[0]
        return ((g.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
    ```

    ## Fix safety
    Unsafe: the fix flattens each sample before the norm (`g.flatten(1).norm(2, dim=1)`), which changes the penalty to one
    norm for each sample. It is offered for a call of a norm of order 2 along dimension 1 of an unflattened gradient.

    ## References
    - [Gulrajani et al., *Improved Training of Wasserstein GANs*, eq. 3](https://arxiv.org/abs/1704.00028)
    """

    code = "FAL104"
    name = "gradient-penalty-axis"
    summary = "a gradient penalty whose norm is not taken for each sample"
    level = Level.ERROR
    pitfall = "P1"
    runtime = "fa_lint_runtime.safe_norm"
    fixable = "unsafe"
    gate = (occurs(b"grad"), occurs(b"norm", b"sqrt", b".5", b"/ 2", b"/2"), occurs(b"torch", b"jax"))

    demonstration = Demonstration(
        setup="import torch\ng = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0)) / (3 * 32 * 32) ** 0.5",
        before="((g.norm(2, dim=1) - 1) ** 2).mean()",
        after="((g.flatten(1).norm(2, dim=1) - 1) ** 2).mean()",
        claim="before > 0.9 and after < 0.001",
    )

    _MIX = (
        "import torch\ndef penalty(critic, real, fake):\n    a = torch.rand(real.size(0), {ones})\n"
        "    mixed = (a * real + (1 - a) * fake).requires_grad_(True)\n"
        "    g = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)[0]\n    return {loss}\n"
    )
    VALID = (
        _MIX.format(ones="1, 1, 1", loss="((g.flatten(1).norm(2, dim=1) - 1) ** 2).mean()"),
        _MIX.format(ones="1, 1, 1", loss="((g.norm(2, dim=(1, 2, 3)) - 1) ** 2).mean()"),
        _MIX.format(ones="1", loss="((g.norm(2, dim=1) - 1) ** 2).mean()"),
        _MIX.format(ones="1, 1, 1", loss="g.pow(2).flatten(1).sum(1).mean()"),
        "import torch\ndef eikonal(sdf, points):\n    points = points.view(-1, 64, 3).requires_grad_(True)\n"
        "    g = torch.autograd.grad(sdf(points).sum(), points, create_graph=True)[0]\n"
        "    return ((g.norm(2, dim=-1) - 1) ** 2).mean()",
        "import torch\ndef one(critic, x):\n    x = x.detach().requires_grad_(True)\n"
        "    g = torch.autograd.grad(critic(x[None]).sum(), x, create_graph=True)[0]\n    return (g.norm(2) - 1) ** 2",
    )
    INVALID = (
        Invalid(
            _MIX.format(ones="1, 1, 1", loss="((g.norm(2, dim=1) - 1) ** 2).mean()"),
            lines=(6,),
            fixed=_MIX.format(ones="1, 1, 1", loss="((g.flatten(1).norm(2, dim=1) - 1) ** 2).mean()"),
        ),
        Invalid(
            _MIX.format(ones="1, 1, 1", loss="torch.square(torch.sqrt((g ** 2).sum(dim=1) + 1e-12) - 1).mean()"),
            lines=(6,),
        ),
        Invalid(
            _MIX.format(ones="1", loss="((g.norm(2) - 1) ** 2).mean()"),
            lines=(6,),
            fixed=_MIX.format(ones="1", loss="((g.flatten(1).norm(2, dim=1) - 1) ** 2).mean()"),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        for penalty in penalties(facts):
            vector = values_of(facts).vector(penalty.of)
            if vector.role is not t.Role.GRADIENT or not vector.computed:
                continue
            rank = penalty.rank(facts)
            message = self._message(penalty, rank, facts)
            if message is not None:
                jax = (facts.qualified(penalty.norm.func) or "").startswith(
                    "jax."
                ) or b"torch" not in facts.text.encode()
                meant = "jnp.linalg.norm(g.reshape(len(g), -1), axis=1)" if jax else "g.flatten(1).norm(2, dim=1)"
                yield self.find(
                    facts,
                    penalty.norm,
                    f"{message}; write `{meant}`",
                    computes="one norm for each position" if penalty.axes and rank != 1 else "one norm for the batch",
                    fix=_fix(penalty, rank, facts),
                    related=related_steps(values_of(facts), vector.evidence),
                )

    def _message(self, penalty: Penalty, rank: int | None, facts: ModuleFacts) -> str | None:
        inputs = values_of(facts).vector(penalty.differentiated.inputs)
        if penalty.is_of_field(facts) or inputs.role is t.Role.PARAMETER:
            return None
        if len(penalty.axes) > 1:
            return self._several(penalty, rank, facts)
        if penalty.axis is None or (rank == 1 and penalty.axis in (0, -1)):
            if penalty.is_of_one_sample(facts) or not (penalty.is_averaged(facts) or penalty.is_of_batch(facts)):
                return None
            return "the gradient penalty takes one norm over the whole batch, which constrains no single sample"
        if rank is None or rank < 3 or penalty.axis == 0 or not -rank < penalty.axis < rank:
            return None
        if (rank == 3 or penalty.axis in (-1, rank - 1)) and not penalty.is_of_critic(facts):
            return None
        return (
            f"the gradient penalty takes the norm along dimension {penalty.axis} of a gradient of {rank} dimensions: "
            "one norm for each position, not for each sample"
        )

    def _several(self, penalty: Penalty, rank: int | None, facts: ModuleFacts) -> str | None:
        """A norm along ``(2, 3)`` of an image is one for each channel."""
        if rank is None or not all(-rank <= axis < rank for axis in penalty.axes) or not penalty.is_of_critic(facts):
            return None
        axes = {axis % rank for axis in penalty.axes}
        if 0 in axes or axes >= set(range(1, rank)):
            return None
        return (
            f"the gradient penalty takes the norm along dimensions {penalty.axes} of a gradient of {rank} dimensions: "
            "several norms for each sample"
        )


def _fix(penalty: Penalty, rank: int | None, facts: ModuleFacts) -> Fix | None:
    """Flatten each sample before a plain call of a norm."""
    if not penalty.plain or penalty.keepdim or rank == 1 or "#" in facts.source(penalty.norm):
        return None
    if not isinstance(penalty.of, ir.Name | ir.Attr | ir.Subscript | ir.Call) or penalty.axes not in ((), (1,), (-1,)):
        return None
    behind, end = facts.span(penalty.of)[1], facts.span(penalty.norm)[1] - 1
    edits = [Edit(behind, behind, ".flatten(1)")]
    if penalty.axis is None:
        if not penalty.is_of_batch(facts) or facts.text[behind:end].rstrip().endswith(","):
            return None
        if any(arg.keyword == "dim" for arg in penalty.norm.args):
            return None
        added = ", dim=1" if penalty.norm.args else "dim=1"
        edits = [Edit(end, end, f".flatten(1){added}")] if behind == end else [*edits, Edit(end, end, added)]
    return Fix(Applicability.UNSAFE, "Take one norm for each sample", tuple(edits))
