from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.guards import is_guarded
from fa_lint.analysis.values import Values, values_of
from fa_lint.findings import Finding, Level
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.rules.common.elsewhere import at_calls, related_steps
from fa_lint.rules.p2_floors._cosines import (
    FLOORS,
    LibraryCosine,
    clamped_by_call,
    clamped_cosines,
    eps_fix,
    library_cosines,
    operand_role,
    safe_cosine_fix,
)
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["ClampedGradientCosine"]

# An eps that somebody wrote counts above this.
_MEANT = 1e-12
_DEFAULT = 1e-8
_OTHERS = {
    "loss": "adds 1e-12 to each squared norm",
    "sklearn": "does not normalise rows with a norm below 1.2e-6",
}


class ClampedGradientCosine(Rule):
    """
    ## What it does
    Flags a library cosine with its built-in floor on a gradient or a credit signal: `F.cosine_similarity`,
    `torch.cosine_similarity`, `nn.CosineSimilarity()`, `F.cosine_embedding_loss`, `nn.CosineEmbeddingLoss()` and
    scikit-learn's `cosine_similarity`. An `error` where the value is computed as a gradient (`.grad`, `autograd.grad`,
    `torch.func.grad`, a backward hook, a function that returns one), a `warning` where only a name says so. Silent with
    an explicit `eps`, behind a check of the norms, and inside an assertion on the result.

    ## Why is this bad
    `F.cosine_similarity` clamps *each norm* at `eps=1e-8` (torch 2.x; the documentation of `nn.CosineSimilarity` still
    states a clamp of the product). Two parallel vectors, one of norm 5e-10, give 0.0500 instead of 1. Gradients at the
    hidden layers of DFA-trained networks have norms of 1e-9 to 1e-10, and a mean loss over a larger batch shrinks them
    further: the same weights gave 0.95 of the true Γ at batch 128 and 0.65 at batch 1024. `F.cosine_embedding_loss`
    adds 1e-12 to each squared norm: a tenth of the cosine at norm 1e-7. scikit-learn does not normalise float32
    rows with a norm below 1.2e-6.

    ## Example
    ```python
    import torch
    import torch.nn.functional as F

    def gamma(loss, hidden, credit):
        (grad,) = torch.autograd.grad(loss, [hidden])
        return F.cosine_similarity(credit, grad)
    ```

    ## Use instead
    ```python
    import torch
    from fa_lint_runtime import safe_cosine

    def gamma(loss, hidden, credit):
        (grad,) = torch.autograd.grad(loss, [hidden])
        return safe_cosine(credit, grad, dim=1)
    ```

    ## Fix safety
    Unsafe. `safe_cosine` returns the same cosine wherever torch's floor was idle and the true one where it was not. But a
    zero vector gives NaN where torch gives 0, so that the mean over a batch with one zero row becomes NaN, and the code
    then needs the package `fa_lint_runtime`. The default `dim=1` is written out. No fix for the losses and for
    scikit-learn, which take other inputs.

    With `fix-style = "torch"` the fix gives the call `eps=torch.finfo(torch.float32).tiny` instead. It is safe where the
    gradient is computed in the module: bit by bit the same wherever the floor was idle, 0 for a zero vector as before, no
    new package. In fp32 norms below 1e-19 still lose their cosine, because their squares underflow.

    ## References
    - [torch.nn.functional.cosine_similarity](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cosine_similarity.html)
    - [pytorch#115786](https://github.com/pytorch/pytorch/issues/115786), closed as expected behaviour
    """

    code = "FAL201"
    name = "clamped-gradient-cosine"
    summary = "a library cosine whose eps floor is active on small gradients"
    level = Level.ERROR
    pitfall = "P2"
    runtime = "fa_lint_runtime.safe_cosine"
    fixable = "unsafe"
    across = "gradients"
    gate = (
        occurs(
            b"cosine_similarity",
            b"CosineSimilarity",
            b"cosine_embedding_loss",
            b"CosineEmbeddingLoss",
            b"cosine_distances",
        ),
    )

    demonstration = Demonstration(
        setup="import torch, torch.nn.functional as F\nfrom fa_lint_runtime import safe_cosine\n"
        "grad = torch.tensor([3e-10, 4e-10])\ncredit = torch.tensor([3.0, 4.0])",
        before="F.cosine_similarity(credit, grad, dim=0)",
        after="safe_cosine(credit, grad, dim=0)",
        claim="abs(before - 0.05) < 1e-4 and after == 1",
    )

    VALID = (
        "import torch.nn.functional as F\ndef f(p, c): return F.cosine_similarity(p.grad, c, dim=0, eps=1e-30)",
        "import torch.nn.functional as F\ndef f(p, c): return F.cosine_similarity(p.grad, c, 0, 1e-12)",
        "import torch.nn.functional as F\nfrom fa_lint_runtime import assert_magnitude\n"
        "def f(p, c):\n    assert_magnitude(p.grad)\n    return F.cosine_similarity(p.grad, c, dim=0)",
        "import torch.nn.functional as F\n"
        "def f(p, c):\n    g = p.grad\n    if g.norm() < 1e-6:\n        return None\n    return F.cosine_similarity(g, c, dim=0)",
        "import torch.nn.functional as F\ndef test(p, c):\n    assert F.cosine_similarity(p.grad, c, dim=0) > 0.99",
        "import torch, torch.nn.functional as F\n"
        "def f(sdf, points, n):\n    g = torch.autograd.grad(sdf.sum(), points)[0]\n    return F.cosine_similarity(g, n, dim=-1)",
        "import torch.nn.functional as F\n"
        "def f(probs, onehot, w):\n    grad_proxy = F.softmax(probs, -1) - onehot\n    return F.cosine_similarity(grad_proxy, w)",
    )
    INVALID = (
        Invalid(
            """
            import torch.nn.functional as F
            def gamma(layer, credit):
                g = layer.weight.grad.flatten()
                return F.cosine_similarity(credit, g)  # per row
            """,
            lines=(4,),
            fixed="""
            from fa_lint_runtime import safe_cosine
            def gamma(layer, credit):
                g = layer.weight.grad.flatten()
                return safe_cosine(credit, g, dim=1)  # per row
            """,
        ),
        Invalid(
            """
            import torch
            from torch import nn
            cos = nn.CosineSimilarity(dim=0)
            def grads_of(loss, model):
                return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
            def compare(a, b, model):
                return cos(grads_of(a, model), grads_of(b, model))
            """,
            lines=(7,),
            fixed="""
            import torch
            from fa_lint_runtime import safe_cosine
            from torch import nn
            cos = nn.CosineSimilarity(dim=0)
            def grads_of(loss, model):
                return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
            def compare(a, b, model):
                return safe_cosine(grads_of(a, model), grads_of(b, model), dim=0)
            """,
        ),
        Invalid(
            """
            import torch
            class Probe:
                def __init__(self, layer):
                    self.seen = {}
                    layer.register_full_backward_hook(self.hook)
                def hook(self, module, grad_input, grad_output):
                    self.seen[module] = grad_output[0]
                def gamma(self, module, signal):
                    return torch.cosine_similarity(x1=self.seen[module], x2=signal, dim=-1)
            """,
            lines=(9,),
            fixed="""
            from fa_lint_runtime import safe_cosine
            class Probe:
                def __init__(self, layer):
                    self.seen = {}
                    layer.register_full_backward_hook(self.hook)
                def hook(self, module, grad_input, grad_output):
                    self.seen[module] = grad_output[0]
                def gamma(self, module, signal):
                    return safe_cosine(a=self.seen[module], b=signal, dim=-1)
            """,
        ),
        Invalid(
            """
            import torch.nn.functional as F
            from sklearn.metrics.pairwise import cosine_similarity
            def f(p, q, target):
                a, b = p.grad, q.grad
                return cosine_similarity(a.numpy(), b.numpy()), F.cosine_embedding_loss(a, b, target)
            """,
            lines=(5, 5),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        values = values_of(facts)
        for cosine in library_cosines(values):
            yield from self._library(cosine, values)
        for call in clamped_cosines(facts):
            vector = operand_role(call, facts)
            if (
                call.kind != "similarity"
                and vector.role.is_gradient
                and not is_guarded(values, values.home(call.call), call.call, (call.left, call.right))
            ):
                computed = vector.computed
                yield self.find(
                    facts,
                    call.call,
                    _message(call.label, vector.role.value, computed, _OTHERS[call.kind]),
                    computes=FLOORS[call.kind],
                    level=Level.ERROR if computed else Level.WARNING,
                    related=related_steps(values, vector.evidence),
                )

    def _library(self, cosine: LibraryCosine, values: Values) -> Iterator[Finding]:
        operands, facts = tuple(arg.value for arg in cosine.call.args), cosine.module.facts
        gradients = [
            (frame, vector, floor)
            for frame, vector, floor in cosine.gradients()
            if not is_guarded(values, frame, cosine.call, operands, floor.size or _DEFAULT)
        ]
        if gradients and not gradients[0][1].computed and cosine.of_order_one:
            return  # a name beside a normal or a feature is that of another kind of gradient
        gradients = [way for way in gradients if not way[2].written or (way[2].size or 0.0) > _MEANT]
        if not gradients:
            return
        _, vector, floor = gradients[0]
        level = Level.ERROR if vector.computed and vector.name != t.WHOLE else Level.WARNING
        if floor.written and floor.size is not None and floor.size < _DEFAULT:
            level = Level.HINT
        eps = f"{floor.size or _DEFAULT:g}".replace("e-0", "e-")
        call = clamped_by_call(facts).get(cosine.call.nid)
        finding = Finding(
            self.code,
            *facts.span(cosine.call),
            _message(cosine.label, vector.role.value, vector.computed, f"clamps each norm at eps={eps}"),
            level,
            FLOORS["similarity"].replace("1e-8", eps),
            safe_cosine_fix(call, facts) if call is not None else None,
            related_steps(values, vector.evidence),
            eps_fix(call, facts, vector.computed) if call is not None else None,
        )
        if cosine.module is values.module:
            yield finding
        else:
            what = "a helper whose cosine has a floor"
            reasons = [(frame, vector) for frame, vector, _ in gradients]
            yield from at_calls(finding, cosine.module, reasons, values, what, "use `safe_cosine`")


def _message(label: str, kind: str, computed: bool, floored: str) -> str:
    certainty = f"a {kind}" if computed else f"what is named like a {kind}"
    return (
        f"`{label}` on {certainty} {floored}, so the cosine of small gradients comes out too small; use `safe_cosine`"
    )
