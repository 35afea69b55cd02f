from __future__ import annotations

import ast
from collections.abc import Iterator

from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Gate, Invalid, Rule, occurs
from fa_lint.rules.common.measure_words import COSINE_GATE
from fa_lint.rules.p5_layers._swallowed import swallowed
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["SwallowedMetricError"]


class _Any(Gate):
    """Open where an alignment is named, or a norm beside a gradient."""

    def open_for(self, data: bytes) -> bool:
        return COSINE_GATE[0].open_for(data) or (b"grad" in data and b"norm(" in data)


class SwallowedMetricError(Rule):
    """
    ## What it does
    Flags `except …: pass` (or `continue`), `contextlib.suppress`, and handlers that put a number in the place of a value,
    around the computation of an alignment or of the norm of a gradient; a number that the value had before an attempt
    whose handler only logs; a decorator that returns a number for an alignment that raises. Silent where the handler raises, returns or stores
    NaN or None, counts the failures, logs that the value is missing, or computes it in another way.

    ## Why is this bad
    The layers that fail are the ones in question: a detached layer, a missing `.grad`, a changed shape. On a six-layer
    network trained with DFA (cosines by layer 0.56 to 0.77, mean 0.678) one swallowed layer moved the mean to 0.706; 0.0
    in place of another gave 0.523.

    ## Example
    ```python
    import torch

    def gamma(layers, credit):
        found = {}
        for name, layer in layers.items():
            try:
                found[name] = torch.cosine_similarity(layer.weight.grad, credit[name], dim=0)
            except Exception:
                pass
        return found
    ```

    ## Use instead
    ```python
    import torch

    def gamma(layers, credit):
        found = {}
        for name, layer in layers.items():
            if layer.weight.grad is None:
                found[name] = torch.tensor(float("nan"))
                continue
            found[name] = torch.cosine_similarity(layer.weight.grad, credit[name], dim=0)
        return found
    ```

    ## Fix safety
    No fix: which errors are expected is the author's to say. Test for the expected case, let the rest raise.

    ## References
    - [contextlib.suppress](https://docs.python.org/3/library/contextlib.html#contextlib.suppress)
    - CHECKLIST.md, pitfall 5
    """

    code = "FAL502"
    name = "swallowed-metric-error"
    summary = "an error of an alignment or gradient metric is dropped or replaced by a number"
    level = Level.WARNING
    pitfall = "P5"
    runtime = "fa_lint_runtime.check_magnitude"
    gate = (_Any((b"import",)), occurs(b"except", b"suppress"))

    VALID = (
        "import torch\ndef f(p, q):\n    try:\n        return torch.cosine_similarity(p.grad, q, dim=0)\n"
        "    except RuntimeError as error:\n        raise ValueError('shapes') from error",
        "import torch\ndef f(p, q):\n    try:\n        return torch.cosine_similarity(p.grad, q, dim=0)\n"
        "    except RuntimeError:\n        return float('nan')",
        "import logging\nimport torch\ndef f(p, q):\n    cos = None\n    try:\n        cos = torch.cosine_similarity(p.grad, q, dim=0)\n"
        "    except RuntimeError:\n        logging.exception('no alignment')\n    return cos",
        "import torch\ndef f(x, y):\n    try:\n        return torch.cosine_similarity(x, y, dim=0)\n    except RuntimeError:\n        return 0.0",
        "try:\n    from torch.nn.functional import cosine_similarity\nexcept ImportError:\n    pass",
    )
    INVALID = (
        Invalid(
            """
            import torch
            def gamma(p, credit):
                try:
                    cos = torch.cosine_similarity(p.grad, credit, dim=0).item()
                except Exception:
                    cos = 0.0
                return cos
            """,
            lines=(5,),
        ),
        Invalid(
            """
            import torch
            def norms(model):
                found = []
                for p in model.parameters():
                    try:
                        found.append(p.grad.norm().item())
                    except AttributeError:
                        continue
                return found
            """,
            lines=(7,),
        ),
        Invalid(
            """
            import contextlib
            import torch
            def gamma(p, credit, log):
                with contextlib.suppress(Exception):
                    log(torch.cosine_similarity(p.grad, credit, dim=0))
            """,
            lines=(4,),
        ),
        Invalid(
            """
            import torch
            def gamma(p, credit):
                try:
                    return torch.cosine_similarity(p.grad, credit, dim=0).item()
                except RuntimeError as error:
                    print("failed", error)
                    return 1.0
            """,
            lines=(5,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        for found in swallowed(facts):
            where = Related(*facts.span(found.metric), f"{found.what} is computed here")
            yield self.find(
                facts,
                found.node,
                f"an error of {found.what} is {found.how}: nothing shows that the value is missing; raise, or record NaN",
                computes="a mean over the layers that did not fail"
                if found.how == "dropped"
                else "a number that was not measured",
                related=(where,),
            )


def _last(node: ast.Attribute | ast.alias) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.name
