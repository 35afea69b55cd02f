from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.guards import is_guarded
from fa_lint.analysis.values import Values, values_of
from fa_lint.findings import Finding, Level
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.rules.p2_floors._cosines import (
    FLOORS,
    CosineCall,
    clamped_cosines,
    eps_fix,
    library_cosines,
    safe_cosine_fix,
)
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["ClampedCosine"]


class ClampedCosine(Rule):
    """
    ## What it does
    Flags torch's cosines with their default floor (`F.cosine_similarity`, `nn.CosineSimilarity()`) where nothing says
    what the operands are. Silent on features, embeddings, logits, images, weights and random vectors, whose norms are of
    order one, on unit vectors, and wherever FAL201 reports.

    ## Why is this bad
    Each norm is clamped at `eps=1e-8`: a true cosine of 0.523 comes out as 0.026 when one norm is 5e-10. Vectors of
    that size are rare as features and common as gradients, differences and residuals.

    ## Example
    ```python
    import torch.nn.functional as F

    def similarity(a, b):
        return F.cosine_similarity(a, b)
    ```

    ## Use instead
    ```python
    from fa_lint_runtime import safe_cosine

    def similarity(a, b):
        return safe_cosine(a, b, dim=1)
    ```

    ## Fix safety
    Unsafe: a zero vector gives NaN where torch gives 0, which later code may rely on.

    ## References
    - [torch.nn.functional.cosine_similarity](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cosine_similarity.html)
    """

    code = "FAL202"
    name = "clamped-cosine"
    summary = "a library cosine with its default floor on values of unknown size"
    level = Level.WARNING
    pitfall = "P2"
    runtime = "fa_lint_runtime.safe_cosine"
    fixable = "unsafe"
    gate = (occurs(b"cosine_similarity", b"CosineSimilarity"),)

    VALID = (
        "import torch.nn.functional as F\ndef f(image_features, text_features): "
        "return F.cosine_similarity(image_features, text_features)",
        "import torch.nn.functional as F\ndef f(model, x, y): return F.cosine_similarity(model(x), model(y))",
        "import torch.nn.functional as F\ndef f(a, b): return F.cosine_similarity(a, b, eps=1e-12)",
        "import torch.nn.functional as F\ndef f(layer, other): return F.cosine_similarity(layer.weight, other.weight)",
        "from mylib import cosine_similarity\ndef f(a, b): return cosine_similarity(a, b)",
        "from sklearn.metrics.pairwise import cosine_similarity\ndef f(a, b): return cosine_similarity(a, b)",
        "import torch.nn.functional as F\ndef test(a, b): assert F.cosine_similarity(a, b).mean() > 0.99",
    )
    INVALID = (
        Invalid(
            "import torch.nn.functional as F\ndef f(a, b): return F.cosine_similarity(a, b)",
            lines=(2,),
            fixed="from fa_lint_runtime import safe_cosine\ndef f(a, b): return safe_cosine(a, b, dim=1)",
        ),
        Invalid(
            "from torch.nn.functional import cosine_similarity as cos\ndef f(a, b): return cos(a, b, dim=-1)",
            lines=(2,),
            fixed="from fa_lint_runtime import safe_cosine\ndef f(a, b): return safe_cosine(a, b, dim=-1)",
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        values = values_of(facts)
        calls = {call.call.nid: call for call in clamped_cosines(facts)}
        for cosine in library_cosines(values):
            call = calls.get(cosine.call.nid)
            if call is None or cosine.module is not values.module or cosine.gradients():
                continue
            if any(floor.written for _, floor in cosine.pairs):
                continue
            vectors = [vector for frame, floor in cosine.pairs if not frame.calls for vector in floor.on]
            if any(vector.role.is_order_one for vector in vectors) or _is_given_order_one(call, values):
                continue
            if is_guarded(values, values.home(call.call), call.call, (call.left, call.right)):
                continue
            small = any(vector.name == t.DIFFERENCE or vector.role is t.Role.ERROR for vector in vectors)
            yield self.find(
                facts,
                call.call,
                f"`{call.label}` with its default floor: wrong where a norm can fall below 1e-8; "
                "use `safe_cosine`, or give `eps` to say that it is meant",
                computes=FLOORS[call.kind],
                level=Level.WARNING if small else Level.HINT,
                fix=safe_cosine_fix(call, facts),
                torch_fix=eps_fix(call, facts, certain=False),
            )


def _is_given_order_one(call: CosineCall, values: Values) -> bool:
    """Return True where every call of a helper passes a value that is not tiny, or a gradient, which FAL201 reports."""
    both = [values.as_called(side, comparing=False) for side in (call.left, call.right)]
    roles = [[t.surest(side).role for side in sides] for sides in zip(*both, strict=False)]
    found = [any(role.is_order_one or role.is_gradient for role in pair) for pair in roles]
    return bool(found) and all(found)
