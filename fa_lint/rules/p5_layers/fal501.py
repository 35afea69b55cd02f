from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.rules.common.alignments import evidence
from fa_lint.rules.common.measure_words import GRADIENT_FORMULA_GATE
from fa_lint.rules.p5_layers._collapse import collapses
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["CollapsedLayers"]


class CollapsedLayers(Rule):
    """
    ## What it does
    Flags per-layer (or per-parameter) alignments that are reduced to one number, a mean, a median, `sum / len`, a running
    mean, or the first non-zero one, and are not seen again: not returned, logged, stored or printed in the function, nor
    by its only caller in the file. Silent on means over samples, batches, pairs, seeds or tasks, on means beside which the
    smallest, the largest or the deviation is reported, and on accuracies and losses.

    ## Why is this bad
    The layers differ more than the methods do. On one network the aggregation alone moved the reported number from 0.024
    to 0.135, and in blown-up networks the input layer carried 88 to 98 % of the mean: the blocks were not aligned at all.
    A bias of 10 entries counts as much as a matrix of 10⁶.

    ## Example
    ```python
    import torch

    def gamma(model, credit):
        found = []
        for name, p in model.named_parameters():
            found.append(torch.cosine_similarity(p.grad.flatten(), credit[name].flatten(), dim=0))
        return torch.stack(found).mean()
    ```

    ## Use instead
    ```python
    import torch

    def gamma(model, credit):
        found = {}
        for name, p in model.named_parameters():
            found[name] = torch.cosine_similarity(p.grad.flatten(), credit[name].flatten(), dim=0)
        return found
    ```

    ## Fix safety
    No fix: return or log the values by layer, and name the aggregation of any single number.

    ## References
    - CHECKLIST.md, pitfalls 5 and 6
    """

    code = "FAL501"
    name = "collapsed-layers"
    summary = "per-layer alignments reduced to one number and dropped"
    level = Level.WARNING
    pitfall = "P5"
    runtime = "fa_lint_runtime.safe_cosine"
    across = "cosines"
    is_given_cosines = True
    gate = (*GRADIENT_FORMULA_GATE, occurs(b"mean", b"median", b"sum(", b"+=", b"average", b"avg", b"break"))

    VALID = (
        "import torch\ndef f(model, credit):\n    found = []\n    for n, p in model.named_parameters():\n"
        "        c = torch.cosine_similarity(p.grad, credit[n], dim=0)\n        print(n, c)\n        found.append(c)\n"
        "    return sum(found) / len(found)",
        "import torch\ndef f(model, credit):\n    found = {}\n    for n, p in model.named_parameters():\n"
        "        found[n] = torch.cosine_similarity(p.grad, credit[n], dim=0)\n    return found, sum(found.values()) / len(found)",
        "import torch\ndef f(model, batches):\n    found = []\n    for x in batches:\n"
        "        found.append(torch.cosine_similarity(model.w.grad, x.grad, dim=0))\n    return sum(found) / len(found)",
        "import torch\ndef f(model, loss):\n    losses = []\n    for p in model.parameters():\n        losses.append(loss(p))\n"
        "    return sum(losses) / len(losses)",
        "import numpy as np\nimport torch\ndef f(model, credit):\n"
        "    found = [torch.cosine_similarity(p.grad, c, dim=0) for p, c in zip(model.parameters(), credit)]\n"
        "    return np.mean(found), np.min(found), np.max(found)",
    )
    INVALID = (
        Invalid(
            """
            import numpy as np
            import torch
            def gamma(model, credit):
                return np.mean([torch.cosine_similarity(p.grad, credit[n], dim=0) for n, p in model.named_parameters()])
            """,
            lines=(4,),
        ),
        Invalid(
            """
            import torch
            def gamma(model, credit):
                angles = {}
                for name, p in model.named_parameters():
                    cos = torch.cosine_similarity(p.grad, credit[name], dim=0)
                    angles[name] = torch.acos(cos).item()
                print("angle", sum(angles.values()) / len(angles))
            """,
            lines=(7,),
        ),
        Invalid(
            """
            import torch
            def gamma(layers, credit):
                total, count = 0.0, 0
                for layer, c in zip(layers, credit):
                    if layer.weight.grad is None:
                        continue
                    total += torch.cosine_similarity(layer.weight.grad, c, dim=0)
                    count += 1
                return total / max(count, 1)
            """,
            lines=(9,),
        ),
        Invalid(
            """
            import torch
            def by_layer(model, credit):
                return [torch.cosine_similarity(p.grad, c, dim=0) for p, c in zip(model.parameters(), credit)]
            def gamma(model, credit):
                cosines = by_layer(model, credit)
                return torch.stack(cosines).mean()
            """,
            lines=(6,),
        ),
        Invalid(
            """
            import torch
            def gamma(block, twin):
                angles = {n: torch.cosine_similarity(p.grad, q.grad, dim=0)
                          for (n, p), q in zip(block.named_parameters(), twin.parameters())}
                angle = None
                for name, value in angles.items():
                    if value != 0:
                        angle = value
                        break
                return angle
            """,
            lines=(8,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        for found in collapses(facts):
            start, end = facts.span(found.filled)
            here = Related(start, min(end, start + 200), "one value a layer is made here")
            yield self.find(
                facts,
                found.node,
                f"per-layer alignments reduced to {found.how}; no per-layer value is returned or logged: "
                "keep them, and name the aggregation",
                computes="one number in which each layer or parameter counts the same, biases included",
                related=(here, *evidence(facts, found.alignment)),
            )
