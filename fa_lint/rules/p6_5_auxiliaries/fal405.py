from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import values_of
from fa_lint.findings import Applicability, Finding, Fix, Level, Related
from fa_lint.rules.base import Invalid, Rule
from fa_lint.rules.common.alignments import Alignment, evidence
from fa_lint.rules.common.fabricated import as_missing, fabrications
from fa_lint.rules.common.measure_words import GRADIENT_FORMULA_GATE
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.roles import COMPUTED

__all__ = ["FabricatedAlignment"]


class FabricatedAlignment(Rule):
    """
    ## What it does
    Flags an alignment that is set to a constant where it could not be computed: entries of a cosine or angle overwritten
    under a mask (`cos[isnan] = 1.`, `torch.where`, `masked_fill`, `nan_to_num`), a number returned or assigned in the
    branch in which a gradient, the feedback or anything to compare was missing (`else 0.0`), and a default that stays when
    no branch computes one. An `error` where the value is a cosine of computed gradients or credits, a `warning` where
    weights are compared or names say so. Silent on NaN, None and exceptions, on accumulators, running extremes and clips.

    ## Why is this bad
    The constant enters every mean as if it had been measured. In a published alignment measurement samples whose
    gradients had been thresholded to zero were given a cosine of 1: 31 to 38 % of the samples at a loss of 1e-4.
    As an angle, 0.0 reads as perfect alignment; as a cosine, as orthogonality.

    ## Example
    ```python
    import torch

    def alignment(p, credit):
        cos = torch.cosine_similarity(p.grad, credit, dim=1)
        cos[torch.isnan(cos)] = 1.0
        return cos
    ```

    ## Use instead
    ```python
    import torch

    def alignment(p, credit):
        cos = torch.cosine_similarity(p.grad, credit, dim=1)
        cos[torch.isnan(cos)] = float("nan")
        return cos
    ```

    ## Fix safety
    Unsafe: the constant becomes `float("nan")`, which changes every mean it entered; report how many values are missing
    and use `nanmean`. No fix for `nan_to_num`, which should go.

    ## References
    - [torch.nanmean](https://docs.pytorch.org/docs/stable/generated/torch.nanmean.html)
    - CHECKLIST.md, pitfall 6.5
    """

    code = "FAL405"
    name = "fabricated-alignment"
    summary = "an alignment set to a constant when it could not be computed"
    level = Level.ERROR
    pitfall = "P6.5"
    runtime = "fa_lint_runtime.safe_cosine"
    fixable = "unsafe"
    across = "cosines"
    is_given_cosines = True
    gate = GRADIENT_FORMULA_GATE

    VALID = (
        "import torch\ndef f(p, q):\n    c = torch.cosine_similarity(p.grad, q.grad, dim=1)\n    c[c != c] = float('nan')\n    return c",
        "import torch\ndef f(x, y, pad):\n    c = torch.cosine_similarity(x, y, dim=1)\n    c[pad == 0] = 0.0\n    return c",
        "import torch\ndef f(p, q):\n    if p.grad is None:\n        return None\n    return torch.cosine_similarity(p.grad, q, dim=0)",
        "import torch\ndef f(p, q):\n    total = 0.0\n    for a, b in zip(p, q):\n        total += torch.cosine_similarity(a.grad, b.grad, dim=0)\n"
        "    return total",
        "import torch\ndef f(p, q):\n    best = -1.0\n    for a, b in zip(p, q):\n"
        "        cos = torch.cosine_similarity(a.grad, b.grad, dim=0)\n        if cos > best:\n            best = cos\n    return best",
        "import torch\ndef surgery(p, q):\n    cos = torch.cosine_similarity(p.grad, q.grad, dim=0)\n    return cos if cos < 0 else 0.0",
        "import torch\ndef f(p, q):\n    cos = torch.cosine_similarity(p.grad, q.grad, dim=0)\n    return 0.0 if cos < 0 else cos",
    )
    INVALID = (
        Invalid(
            """
            import torch
            def gamma(p, credit, dead):
                angle = torch.cosine_similarity(p.grad, credit, dim=1)
                angle[dead.sum(dim=1) == 0] = 1.
                return angle
            """,
            lines=(4,),
            fixed="""
            import torch
            def gamma(p, credit, dead):
                angle = torch.cosine_similarity(p.grad, credit, dim=1)
                angle[dead.sum(dim=1) == 0] = float("nan")
                return angle
            """,
        ),
        Invalid(
            """
            import torch
            def gamma(p, feedback, credit):
                gamma = 1.0 if feedback is None else torch.cosine_similarity(p.grad, credit, dim=0)
                return gamma
            """,
            lines=(3,),
            fixed="""
            import torch
            def gamma(p, feedback, credit):
                gamma = float("nan") if feedback is None else torch.cosine_similarity(p.grad, credit, dim=0)
                return gamma
            """,
        ),
        Invalid(
            """
            import torch
            def cosine(a, b):
                if a.norm() == 0 or b.norm() == 0:
                    return 0.0
                return torch.dot(a, b) / (a.norm() * b.norm())
            def report(p, q):
                return cosine(p.grad.flatten(), q.grad.flatten())
            """,
            lines=(4,),
            fixed="""
            import torch
            def cosine(a, b):
                if a.norm() == 0 or b.norm() == 0:
                    return float("nan")
                return torch.dot(a, b) / (a.norm() * b.norm())
            def report(p, q):
                return cosine(p.grad.flatten(), q.grad.flatten())
            """,
        ),
        Invalid(
            """
            import numpy as np
            import torch
            def mean_gamma(pairs):
                sims = [torch.cosine_similarity(p.grad, q.grad, dim=0).item() for p, q in pairs]
                return np.mean(sims) if sims else 0.0
            """,
            lines=(5,),
            fixed="""
            import numpy as np
            import torch
            def mean_gamma(pairs):
                sims = [torch.cosine_similarity(p.grad, q.grad, dim=0).item() for p, q in pairs]
                return np.mean(sims) if sims else float("nan")
            """,
        ),
        Invalid(
            """
            import torch
            def gamma(p, credit):
                cos = torch.cosine_similarity(p.grad, credit, dim=1)
                return torch.nan_to_num(cos)
            """,
            lines=(4,),
        ),
        Invalid(
            """
            import torch
            def angles(blocks, angle_of):
                angle = 0
                for name, p in blocks.items():
                    if p.grad is not None:
                        angle = torch.acos(torch.cosine_similarity(p.grad, p.credit, dim=0))
                print(angle)
            """,
            lines=(3,),
            fixed="""
            import torch
            def angles(blocks, angle_of):
                angle = float("nan")
                for name, p in blocks.items():
                    if p.grad is not None:
                        angle = torch.acos(torch.cosine_similarity(p.grad, p.credit, dim=0))
                print(angle)
            """,
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        for found in fabrications(facts):
            alignment = found.alignment
            proven = alignment.strength == COMPUTED and alignment.subject in ("gradient", "feedback")
            value = facts.source(found.constant) if found.constant is not None else "0.0"
            yield self.find(
                facts,
                found.node,
                f"an alignment set to {value} where {found.reason}: nothing was measured there; use NaN",
                computes=f"{value} enters every mean as if it had been measured",
                level=Level.ERROR if proven else Level.WARNING,
                fix=self._fix(found.constant if found.replaceable else None, facts),
                related=self._related(alignment, found.node, facts),
            )

        yield from self._of_zeros(facts)

    def _of_zeros(self, facts: ModuleFacts) -> Iterator[Finding]:
        """A vector of zeros in the place of a gradient that is missing: its cosine is 0 or NaN, and measures nothing."""
        values = values_of(facts)
        seen: set[int] = set()
        for made in values.made():
            if made.module is not values.module or not isinstance(made.term, t.Monomial) or not made.term.is_cosine:
                continue
            zeros = [v for v in made.term.dots[0] if v.role is t.Role.ZEROS]
            others = [term for term, _ in values.evaluator.of(made.frame, made.node) if isinstance(term, t.Monomial)] if (
                isinstance(made.node, ir.Expr)
            ) else []  # fmt: skip
            measured = any(v.role.is_gradient for term in others if term.is_cosine for v in term.dots[0])
            if len(zeros) != 1 or not measured or not zeros[0].evidence:
                continue
            site = zeros[0].evidence[0].site
            if site.module != values.module.number or site.node in seen:
                continue
            seen.add(site.node)
            yield self.find(
                facts,
                facts.node(site.node),
                "zeros in the place of a gradient that is missing: nothing was measured there; use NaN",
                computes="the cosine with a zero vector, 0 under a floor, enters every mean as if it had been measured",
                level=Level.WARNING,
            )

    def _related(self, alignment: Alignment, node: ir.Node, facts: ModuleFacts) -> tuple[Related, ...]:
        own = facts.span(node)
        return tuple(place for place in evidence(facts, alignment) if (place.start, place.end) != own)

    def _fix(self, constant: ir.Expr | None, facts: ModuleFacts) -> Fix | None:
        edit = as_missing(constant, facts) if constant is not None else None
        if edit is None:
            return None
        return Fix(Applicability.UNSAFE, "Mark the value as missing: NaN", (edit,))
