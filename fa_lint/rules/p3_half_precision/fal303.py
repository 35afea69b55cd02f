from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.rules.p3_half_precision._scaled import ScaledUses
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.gradients import gradient_sites
from fa_lint.semantics.scaling import Scaling
from fa_lint.semantics.slices import slice_of

__all__ = ["ScaledGradientNorm"]


class ScaledGradientNorm(Rule):
    """
    ## What it does
    Flags what depends on the size of gradients while they are still multiplied by the loss scale of a `GradScaler`:
    norms and statistics of them, clipping by norm or by value, noise or weight decay added to them, and hand-written
    steps. That is after `autograd.grad(scaler.scale(loss), …)` or `scaler.scale(loss).backward()`, and before
    `scaler.unscale_(optimizer)` or `scaler.step(optimizer)` of the optimiser that owns the parameters, also in the
    functions that are called between the two. Silent after a division by `get_scale()`, with an inverse scale, for
    what is scale-free (a gradient divided by its own norm, signs, cosines, tests for finite values), and for scalers
    that scale nothing.

    ## Why is this bad
    The scale starts at 65536 and doubles every 2,000 steps, so the norm measures the scaler. A gradient of norm 1e-3
    reads as 65.5; `clip_grad_norm_(…, 1.0)` then clips every step to 1/65.5 of what was meant.

    ## Example
    ```python
    import torch

    def step(scaler, loss, model, optimizer):
        scaler.scale(loss).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        return norm
    ```

    ## Use instead
    ```python
    import torch

    def step(scaler, loss, model, optimizer):
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        return norm
    ```

    ## Fix safety
    No fix: `unscale_` needs the optimiser that owns the parameters, and may be called once a step.

    ## References
    - [Automatic mixed precision examples](https://docs.pytorch.org/docs/stable/notes/amp_examples.html), working with unscaled gradients
    """

    code = "FAL303"
    name = "scaled-gradient-norm"
    summary = "a norm of gradients that still carry the loss scale"
    level = Level.WARNING
    pitfall = "P3"
    runtime = "fa_lint_runtime.check_magnitude"
    gate = (
        occurs(b".scale(", b"scale_loss"),
        occurs(b"backward", b"grad("),
    )

    VALID = (
        "import torch\n"
        "def f(scaler, loss, x):\n"
        "    g = torch.autograd.grad(scaler.scale(loss), x)[0] / scaler.get_scale()\n    return g.norm()",
        "import torch\n"
        "def f(scaler, loss, x):\n"
        "    inv_scale = 1.0 / scaler.get_scale()\n"
        "    g = [p * inv_scale for p in torch.autograd.grad(scaler.scale(loss), x)]\n    return g[0].norm()",
        "import torch\n"
        "def f(scaler, loss, x, alpha):\n"
        "    g = torch.autograd.grad(scaler.scale(loss), x)[0]\n    return x + alpha * g / g.norm(), x + alpha * g.sign()",
        "import torch\n"
        "def f(scaler, loss, model, optimizer):\n"
        "    scaler.scale(loss).backward()\n    scaler.step(optimizer)\n"
        "    return [p.grad.norm() for p in model.parameters()]",
        "import torch\n"
        "def f(scaler, loss, model):\n"
        "    if scaler:\n        scaler.scale(loss).backward()\n"
        "    else:\n        loss.backward()\n        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
        "import torch\n"
        "class Same:\n    def scale(self, loss): return loss\n"
        "def f(loss, x):\n    return torch.autograd.grad(Same().scale(loss), x)[0].norm()",
        "def f(scaler, loss, model):\n    scaler.scale(loss).backward()\n    return [p.norm() for p in model.parameters()]",
    )
    INVALID = (
        Invalid(
            """
            import torch

            def size(scaler, loss, x):
                (g,) = torch.autograd.grad(scaler.scale(loss), [x])
                return g.flatten().norm()
            """,
            lines=(5,),
        ),
        Invalid(
            """
            def norms(scaler, loss, model):
                scaler.scale(loss).backward()
                return {n: p.grad.norm() for n, p in model.named_parameters()}
            """,
            lines=(3,),
        ),
        Invalid(
            """
            import torch
            from torch.cuda.amp import GradScaler

            def meta_step(loss, weights, lr, fp16):
                scaler = GradScaler(enabled=fp16)
                step = torch.autograd.grad(scaler.scale(loss), weights)[0].detach()
                return weights - lr * step
            """,
            lines=(7,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        calls = facts.derived(Calls)
        scaling = facts.derived(Scaling)
        seen: set[int] = set()
        for site in gradient_sites(facts, calls):
            found = slice_of(site.loss, facts)
            scale = next((c for c in found.calls if scaling.scale_call(c) and scaling.scales(c)), None)
            if scale is None:
                continue
            for use, what in ScaledUses(site, scale, calls).after():
                if use.nid in seen:
                    continue
                seen.add(use.nid)
                yield self.find(
                    facts,
                    use,
                    f"{what} of gradients that still carry the loss scale; unscale them first",
                    computes="the value times the loss scale: 65536 at first, twice that every 2,000 steps",
                    related=(
                        Related(*facts.span(scale), "the loss is scaled here"),
                        Related(*facts.span(site.call), "its gradients are computed here"),
                    ),
                )
