from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.models import FUNCTIONS, METHODS
from fa_lint.analysis.values import Values, values_of
from fa_lint.findings import Applicability, Edit, Finding, Fix, Level, Related
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.rules.p2_floors._arccosines import ARCCOSINES, arc_argument, safe_angle_fix, ways
from fa_lint.rules.p2_floors._bounds import is_shrunk
from fa_lint.semantics import ir
from fa_lint.semantics.differentiated import Differentiated
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.slices import slice_of

__all__ = ["AcosAtTheBoundary"]

# An eps added to a denominator keeps a float32 cosine of order-one vectors below 1 from here on.
_FELT = 1e-7
_INSIDE = "1 - 1e-6"


class AcosAtTheBoundary(Rule):
    """
    ## What it does
    Flags `acos` (`asin`) of a cosine that is clamped at exactly 1, where the angle is differentiated: it flows into
    `backward()`, `autograd.grad`, `jax.grad`, or a function or module named after a loss returns it. Also for the inner
    product of quaternions and `(tr(RᵀS) - 1) / 2`, through names and helpers, `clip` and `minimum`. Silent under
    `no_grad`, behind `detach()` and `item()`, on NumPy, where the bound lies inside, known or not, and on `safe_cosine`.

    ## Why is this bad
    The derivative of `acos` is −1/√(1 − c²): −inf at 1, and a clamp gives 0 beyond it. Through the norms −inf times 0 is
    NaN. Measured on 1000 pairs of identical float32 vectors of 64 entries: the clamped cosine is exactly 1 in 67 %, and
    45 % of the rows have a NaN gradient (torch 2.13). One such row makes the gradient of every weight NaN, and it
    appears once the loss has done its work: where prediction and target agree.

    ## Example
    ```python
    import torch
    import torch.nn.functional as F

    def train_step(model, x, target, opt):
        cos = F.cosine_similarity(model(x), target, dim=-1)
        loss = torch.acos(cos.clamp(-1, 1)).mean()
        loss.backward()
        opt.step()
    ```

    ## Use instead
    ```python
    from fa_lint_runtime import safe_angle

    def train_step(model, x, target, opt):
        loss = safe_angle(model(x), target, dim=-1).mean()
        loss.backward()
        opt.step()
    ```

    ## Fix safety
    Unsafe: `safe_angle` (atan2 of the unit vectors, gradient 0 at angles 0 and π) where the cosine is written out in the
    call; elsewhere, and with `fix-style = "torch"`, bounds written in the call move to `1 - 1e-6`: angles below 1.4e-3
    rad then read 1.4e-3, with gradient 0. In half precision `1 - 1e-6` is 1: compute the angle in float32.

    ## References
    - [torch.acos](https://docs.pytorch.org/docs/stable/generated/torch.acos.html)
    - W. Kahan, *How futile are mindless assessments of roundoff*, §12: the angle between two vectors by atan2
    """

    code = "FAL206"
    name = "acos-at-the-boundary"
    summary = "a differentiated acos of a cosine clamped at 1: its gradient there is not finite"
    level = Level.WARNING
    pitfall = "P2"
    runtime = "fa_lint_runtime.safe_angle"
    fixable = "unsafe"
    gate = (
        occurs(b"acos", b"arccos", b"asin", b"arcsin"),
        occurs(b"clamp", b"clip", b"min"),
        occurs(b"backward", b"grad", b"loss", b"Loss", b"training_step", b"criterion", b"Criterion"),
    )

    demonstration = Demonstration(
        setup="import torch\nfrom fa_lint_runtime import safe_angle\n"
        "w = torch.randn(1000, 64, generator=torch.Generator().manual_seed(0))\n"
        "def grad(angle):\n    x = w.clone().requires_grad_()\n    angle(x, w).sum().backward()\n    return x.grad",
        before="grad(lambda x, y: torch.acos(torch.cosine_similarity(x, y).clamp(-1, 1))).isnan().any(1).sum()",
        after="grad(lambda x, y: safe_angle(x, y)).isnan().any(1).sum()",
        claim="before > 0 and after == 0",
    )

    VALID = (
        "import torch\n@torch.no_grad()\ndef loss(a, b): return torch.acos(torch.cosine_similarity(a, b).clamp(-1, 1))",
        "import torch\ndef angle(a, b): return torch.acos(torch.cosine_similarity(a, b).clamp(-1, 1))",
        "import torch\ndef loss(a, b): return torch.acos(torch.cosine_similarity(a, b).clamp(-1 + 1e-6, 1 - 1e-6))",
        "import torch\nfrom fa_lint_runtime import safe_cosine\ndef loss(a, b): return torch.acos(safe_cosine(a, b))",
        "import torch\ndef loss(a, b, eps): return torch.acos(torch.cosine_similarity(a, b).clamp(-1 + eps, 1 - eps))",
        "import torch\ndef f(a, b, loss):\n    c = torch.cosine_similarity(a, b).clamp(-1, 1)\n"
        "    print(torch.acos(c).mean().item())\n    loss.backward()",
        "import torch\ndef f(model, x):\n    loss = torch.acos(model(x).clamp(-1, 1)).mean()\n    loss.backward()",
        "import numpy as np\ndef loss(a, b): return np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))",
    )
    INVALID = (
        Invalid(
            "import torch\ndef angular_loss(a, b): return torch.acos(torch.cosine_similarity(a, b).clamp(-1, 1)).mean()",
            lines=(2,),
            fixed="from fa_lint_runtime import safe_angle\ndef angular_loss(a, b): return safe_angle(a, b, dim=1).mean()",
        ),
        Invalid(
            "import torch\ndef f(model, x, r):\n    m = model(x).transpose(1, 2) @ r\n"
            "    cos = (m.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2\n"
            "    loss = torch.acos(torch.clamp(cos, min=-1.0, max=1.0)).mean()\n    loss.backward()",
            lines=(5,),
            fixed="import torch\ndef f(model, x, r):\n    m = model(x).transpose(1, 2) @ r\n"
            "    cos = (m.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2\n"
            "    loss = torch.acos(torch.clamp(cos, min=-1 + 1e-6, max=1 - 1e-6)).mean()\n    loss.backward()",
        ),
        Invalid(
            "import torch\nfrom torch import nn\nclass PoseLoss(nn.Module):\n    def forward(self, p, q):\n"
            "        d = (p * q).sum(-1).abs()\n        d = torch.minimum(d, torch.ones_like(d))\n"
            "        return 2 * torch.acos(d).mean()",
            lines=(7,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        values = values_of(facts)
        for call in facts.calls:
            found = arc_argument(call, facts)
            if found is None or found[1].startswith(("numpy.", "math.")):
                continue
            argument, library = found
            if not any(_reaches_one(terms) for terms in ways(argument, values)):
                continue
            flow = facts.derived(Differentiated)
            if _is_apart(argument, values, facts) or is_shrunk(argument, facts) or not flow.may_have_graph(argument):
                continue
            # What a model is given is data, unless its vectors are computed or marked to be differentiated.
            by = flow.by(call, through_models=flow.is_made_to_have_graph(argument))
            if by is not None:
                yield self._finding(call, argument, library, by, facts)

    def _finding(self, call: ir.Call, argument: ir.Expr, library: str, by: ir.Node, facts: ModuleFacts) -> Finding:
        acos = library.rpartition(".")[2] in ARCCOSINES
        clamp = _clamp(argument, facts)
        inside = _inner_bounds(clamp, facts) if clamp is not None else None
        cosine = clamp[0] if clamp is not None else argument
        start, end = facts.span(by)
        advice = "use `arctan2`" if library.startswith("jax") else "use `safe_angle`"
        return self.find(
            facts,
            call,
            f"`{library}` of a cosine clamped at 1 is differentiated: its gradient is not finite at 1 and 0 beyond, so it "
            f"is NaN where the vectors agree; {advice}, or clamp to {_INSIDE}",
            computes="-inf times 0 in the backward pass wherever the clamped cosine is exactly 1",
            fix=(safe_angle_fix(call, cosine, library, facts) if acos else None) or inside,
            related=(Related(start, min(end, start + 80), "differentiated here"),),
            torch_fix=inside,
        )


def _reaches_one(terms: t.Alternatives) -> bool:
    """Return True where each known way is a cosine, or a product of two vectors meant as one, clamped at exactly 1."""
    known = [term for term, _ in terms if not isinstance(term, t.Unknown | t.Constant | t.Scalar)]
    return bool(known) and all(_is_clamped_at_one(term) for term in known)


def _is_clamped_at_one(term: t.Term) -> bool:
    if isinstance(term, t.Aggregate):
        return term.how == "cosine of a rotation" and term.limited
    if not isinstance(term, t.Monomial) or not (term.is_cosine or term.is_component or term.is_inner_product):
        return False
    if any(floor.kind == "add" and (floor.size is None or floor.size > _FELT) for floor in term.floors_below):
        return False
    return term.limit == 1 and term.label != "safe_cosine"  # whose own gradient is 0 there


def _is_apart(argument: ir.Expr, values: Values, facts: ModuleFacts) -> bool:
    """Return True if a comparison of the cosine keeps the rows at 1 apart."""
    for node in slice_of(argument, facts).nodes:
        if isinstance(node, ir.Compare):
            for side in (node.left, *node.comparators):
                if any(isinstance(x, ir.Const) and x.value == 0 for x in (node.left, *node.comparators)):
                    continue  # a test of the sign
                if any(
                    isinstance(x, t.Aggregate) or (isinstance(x, t.Monomial) and x.dots) for x, _ in values.of(side)
                ):
                    return True
    return False


def _clamp(argument: ir.Expr, facts: ModuleFacts) -> tuple[ir.Expr, list[ir.Expr]] | None:
    """Return what a clamp in the call itself is given, and its bounds."""
    if not isinstance(argument, ir.Call):
        return None
    row = FUNCTIONS.get(facts.qualified(argument.func) or "")
    if row is not None and row.operation == "clamp" and argument.args and argument.args[0].keyword is None:
        return argument.args[0].value, [a.value for a in argument.args[1:]]
    if isinstance(argument.func, ir.Attr) and facts.qualified(argument.func) is None:
        method = METHODS.get(argument.func.attr)
        if method is not None and method.operation == "clamp":
            return argument.func.value, [a.value for a in argument.args]
    return None


def _inner_bounds(clamp: tuple[ir.Expr, list[ir.Expr]], facts: ModuleFacts) -> Fix | None:
    """Move the bounds ±1 inside."""
    texts = {1: _INSIDE, -1: "-1 + 1e-6"}
    edits = []
    for bound in clamp[1]:
        number = facts.values.number(bound)
        if number not in (1, -1) or not isinstance(bound, ir.Const | ir.Unary):
            return None
        edits.append(Edit(*facts.span(bound), texts[int(number)]))
    return Fix(Applicability.UNSAFE, "Clamp the cosine inside (-1, 1)", tuple(edits)) if edits else None
