from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fa_lint.analysis import terms as t
from fa_lint.analysis.passes import Passes
from fa_lint.findings import Finding, Level
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.rules.common.elsewhere import related_steps
from fa_lint.semantics import ir
from fa_lint.semantics.autocast import Autocasts
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["Fp16Gradient"]

_COMPUTES = "fp16 holds nothing between 0 and 6e-8, and fewer than 11 bits below 6.1e-5"


class Fp16Gradient(Rule):
    """
    ## What it does
    Flags a gradient (`autograd.grad`, `backward`, `torch.func.grad`) of a loss whose forward pass ran under fp16
    autocast, where nothing scales the loss: an explicit `float16`/`half`, the CUDA default, the old
    `torch.cuda.amp.autocast`, decorators, Fabric and accelerate, through functions and across files. A scaler that
    gives the loss back unchanged does not count. An inner product of two gradients under fp16 autocast is flagged too.
    The forward pass is any call under autocast that carries a gradient to the loss, whatever it is named.
    An `error` where autocast is always fp16 and the gradient is looked at; a `warning` where it depends on a flag or
    on a device that the code does not name, or where the gradient only steps an optimiser. Silent on bf16, a disabled autocast, `scaler.scale(loss)`, apex
    `scale_loss`, a constant factor on the loss, and inference.

    ## Why is this bad
    fp16 has no number between 0 and 6e-8 and fewer than 11 bits below 6.1e-5. In a 4-layer MLP (batch 256, mean
    cross-entropy), the cosine between the fp16 and the fp32 gradient of a layer was 0.97 to 1.00 at a loss of 4e-3, with
    and without scaling; at a loss of 1e-5 it was 0.19, 0.27, 0.29 and 0.60 without, 0.84 to 1.00 with the loss times
    65536. It looks harmless early in training, which is when people check.

    ## Example
    ```python
    import torch

    def gradient_norm(model, x, y, loss_fn):
        with torch.autocast("cuda"):
            loss = loss_fn(model(x), y)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        return sum(g.pow(2).sum() for g in grads).sqrt()
    ```

    ## Use instead
    ```python
    import torch

    def gradient_norm(model, x, y, loss_fn):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = loss_fn(model(x), y)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        return sum(g.pow(2).sum() for g in grads).sqrt()
    ```

    ## Fix safety
    No fix: whether to measure in fp32, in bf16 or with a scaled loss (then divide by the scale) is the author's to say.

    ## References
    - [torch.amp](https://docs.pytorch.org/docs/stable/amp.html), gradient scaling
    - [Mixed precision training](https://arxiv.org/abs/1710.03740), section 3.2
    """

    code = "FAL301"
    name = "fp16-gradient"
    summary = "a gradient under fp16 autocast with no loss scaling"
    level = Level.ERROR
    pitfall = "P3"
    runtime = "fa_lint_runtime.dtype_headroom"
    # The gradient itself may be taken in a function of another file.
    gate = (occurs(b"autocast"),)

    VALID = (
        "import torch\n"
        "def f(model, x, scaler):\n"
        "    with torch.autocast('cuda'):\n        loss = model(x).mean()\n"
        "    (g,) = torch.autograd.grad(scaler.scale(loss), [x])\n    return g / scaler.get_scale()",
        "import torch\n"
        "def f(model, x):\n"
        "    with torch.autocast('cuda', enabled=False):\n        loss = model(x).mean()\n"
        "    return torch.autograd.grad(loss, x)",
        "import torch\n"
        "def f(model, x, use_amp=False):\n"
        "    with torch.cuda.amp.autocast(enabled=use_amp):\n        loss = model(x).mean()\n"
        "    return torch.autograd.grad(loss, x)",
        "import torch\n"
        "def f(model, x):\n"
        "    with torch.autocast('cuda'):\n"
        "        with torch.autocast('cuda', enabled=False):\n            loss = model(x).mean()\n"
        "    return torch.autograd.grad(loss, x)",
        "import torch\n"
        "def f(model, x):\n"
        "    with torch.autocast('cpu'):\n        loss = model(x).mean()\n"
        "    return torch.autograd.grad(loss, x)",
        "import torch\n"
        "def f(model, x):\n"
        "    with torch.autocast('cuda'):\n        loss = 1024 * model(x).mean()\n"
        "    return [g / 1024 for g in torch.autograd.grad(loss, x)]",
        "import torch\n"
        "def f(model, x, y, loss_fn):\n"
        "    out = model(x)\n"
        "    with torch.autocast('cuda'):\n        loss = loss_fn(out, y)\n"
        "    return torch.autograd.grad(loss, x)",
        "import torch\n"
        "def f(model, x, accelerator):\n"
        "    with torch.autocast('cuda'):\n        loss = model(x).mean()\n"
        "    accelerator.backward(loss)\n    return x.grad",
        "import torch\n@torch.no_grad()\ndef f(model, x):\n    with torch.autocast('cuda'):\n        return model(x)",
    )
    INVALID = (
        Invalid(
            """
            import torch
            from torch.amp import autocast

            class NoScaler:
                def scale(self, loss):
                    return loss

            def norms(model, x, y, loss_fn, scaler):
                with autocast("cuda"):
                    loss = loss_fn(model(x), y)
                grads = torch.autograd.grad(scaler.scale(loss), list(model.parameters()))
                return [g.norm().item() for g in grads]

            def main(model, x, y, loss_fn):
                return norms(model, x, y, loss_fn, NoScaler())
            """,
            lines=(11,),
        ),
        Invalid(
            """
            import torch

            def gamma(model, x, credit):
                out = model(x)
                out.mean().backward()
                return torch.dot(credit, x.grad.flatten())

            @torch.cuda.amp.autocast()
            def evaluate(model, x, credit):
                return gamma(model, x, credit)
            """,
            lines=(5,),
        ),
        Invalid(
            """
            import torch

            def step(model, x, y, loss_fn, optimizer, args):
                with torch.cuda.amp.autocast(args.fp16):
                    loss = loss_fn(model(x), y)
                loss.backward()
                optimizer.step()
            """,
            lines=(6,),
        ),
        Invalid(
            """
            import torch

            def agreement(p, q):
                with torch.autocast("cuda", dtype=torch.half):
                    return p.grad.flatten() @ q.grad.flatten()
            """,
            lines=(5,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        passes = facts.derived(Passes)
        for found in passes.half_gradients():
            sure = found.certain and found.measured
            when = "" if found.certain else ", where autocast is fp16"
            why = "the scaler returns the loss unchanged" if found.dummy else "nothing scales the loss"
            finding = self.find(
                found.module.facts,
                found.call,
                f"`{found.label}` of a forward pass under fp16 autocast{when}: {why}, so small gradients are 0",
                computes=_COMPUTES,
                level=Level.ERROR if sure else Level.WARNING,
                related=related_steps(passes.values, found.evidence, found.module),
            )
            yield finding if found.module is passes.values.module else replace(finding, path=found.module.path)
        yield from self._products(facts, passes)

    def _products(self, facts: ModuleFacts, passes: Passes) -> Iterator[Finding]:
        """Inner products of two gradients that autocast rounds to fp16."""
        for node in facts.nodes_of(ir.Binary, ir.Call):
            match node:
                case ir.Binary(op="@", left=left, right=right):
                    sides = (left, right)
                case ir.Call(func=ir.Attr(attr="matmul" | "mm" | "mv" | "bmm", value=receiver) as func, args=args):
                    plain = [arg.value for arg in args if arg.keyword is None]
                    if facts.qualified(func) is None:
                        plain.insert(0, receiver)
                    if len(plain) < 2:
                        continue
                    sides = (plain[0], plain[1])
                case _:
                    continue
            context = facts.derived(Autocasts).around(node)
            if context is None or not context.half:
                continue
            vectors = [_gradient(passes.values.of(side)) for side in sides]
            if vectors[0] is None or vectors[1] is None:
                continue
            if t.Role.GRADIENT not in (vectors[0].role, vectors[1].role):
                continue
            opens = t.Step(t.Site(passes.values.module.number, context.nid), "fp16 autocast opens here")
            evidence = (opens, *vectors[0].evidence, *vectors[1].evidence)
            yield self.find(
                facts,
                node,
                "an inner product of gradients under fp16 autocast: both are rounded to fp16 first",
                computes="entries below 6e-8 count as 0, products above 65504 as infinity",
                level=Level.ERROR if context.certain else Level.WARNING,
                related=related_steps(passes.values, evidence),
            )


def _gradient(values: t.Alternatives) -> t.Vector | None:
    """Return the gradient that code shows a value to be."""
    vectors = (term for term, _ in values if isinstance(term, t.Vector))
    return next((v for v in vectors if v.role.is_gradient and v.computed), None)
