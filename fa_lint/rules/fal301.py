from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fa_lint.findings import Clue, Diagnostic, Finding, Level, RelatedPlace, Trace
from fa_lint.modules import Modules
from fa_lint.rules._called import called_names
from fa_lint.rules.base import Invalid, ProjectRule, Question, occurs, related
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.precision import Precision, calls_under_fp16, unscaled_gradients
from fa_lint.semantics.roles import COMPUTED, Evidence, Role

__all__ = ["Fp16Gradient"]

_COMPUTES = "fp16 holds nothing between 0 and 6e-8, and fewer than 11 bits below 6.1e-5"


class Fp16Gradient(ProjectRule):
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
        precision = facts.derived(Precision)
        for found in precision.half_gradients():
            sure = found.certain and found.measured
            when = "" if found.certain else ", where autocast is fp16"
            why = "the scaler returns the loss unchanged" if found.dummy else "nothing scales the loss"
            yield self.find(
                facts,
                facts.node(found.nid),
                f"`{found.label}` of a forward pass under fp16 autocast{when}: {why}, so small gradients are 0",
                computes=_COMPUTES,
                level=Level.ERROR if sure else Level.WARNING,
                related=related(facts, Role("gradient", COMPUTED, found.evidence)),
            )
        yield from self._products(facts, precision)

    # -- across files: the autocast here, the gradient there ----------------------------------------------------

    def clues(self, facts: ModuleFacts) -> Iterator[Clue]:
        for call, context in calls_under_fp16(facts):
            names = [name for name in called_names(call, facts) if not _is_library(name)]
            if names:
                opens = Evidence(context.nid, "fp16 autocast opens here")
                where = related(facts, Role("gradient", COMPUTED, (opens,)))
                finding = self.find(facts, call, "called under fp16 autocast", related=where)
                yield Clue("call", finding, {"callees": names, "certain": context.certain})

    def question(self, clues: Sequence[Trace], modules: Modules) -> Question | None:
        called = {name.rpartition(".")[2] for clue in clues for name in clue.data["callees"]}
        names = sorted(modules.known_as(called))
        return Question(tuple(f"def {name}(" for name in names), tuple(names)) if names else None

    def answers(self, facts: ModuleFacts, question: Question) -> Iterator[Clue]:
        wanted = set(question.names)
        for found in unscaled_gradients(facts):
            functions = [name for name in found.functions if name.rpartition(".")[2] in wanted]
            if functions:
                message = (
                    f"`{found.label}` of a forward pass under fp16 autocast: nothing scales the loss, "
                    "so small gradients are 0"
                )
                finding = self.find(facts, facts.node(found.nid), message, computes=_COMPUTES)
                yield Clue("gradient", finding, {"functions": functions, "measured": found.measured})

    def settle(
        self, clues: Sequence[Trace], answers: Sequence[Trace], modules: Modules
    ) -> Iterator[tuple[Trace, Diagnostic]]:
        for answer in answers:
            calls = [clue for clue in clues if clue.path != answer.path and _enters(clue, answer, modules)]
            if not calls:
                continue
            certain = answer.data["measured"] and any(call.data["certain"] for call in calls)
            places = tuple(
                place
                for call in sorted(calls, key=lambda c: c.diagnostic.sort_key)[:3]
                for place in (*call.diagnostic.related, _called_here(call.diagnostic))
            )
            level = Level.ERROR if certain else Level.WARNING
            yield answer, replace(answer.diagnostic, level=level, related=places)

    def _products(self, facts: ModuleFacts, precision: Precision) -> Iterator[Finding]:
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
            context = precision.autocasts.around(node)
            if context is None or not context.half:
                continue
            roles = [facts.role(side) for side in sides]
            if not all(role.is_gradient and role.strength == COMPUTED for role in roles):
                continue
            if "gradient" not in (roles[0].kind, roles[1].kind):
                continue
            opens = Evidence(context.nid, "fp16 autocast opens here")
            yield self.find(
                facts,
                node,
                "an inner product of gradients under fp16 autocast: both are rounded to fp16 first",
                computes="entries below 6e-8 count as 0, products above 65504 as infinity",
                level=Level.ERROR if context.certain else Level.WARNING,
                related=related(facts, Role("gradient", COMPUTED, (opens, *roles[0].evidence, *roles[1].evidence))),
            )


_LIBRARIES = sys.stdlib_module_names | {"torch", "numpy", "torchvision", "tqdm", "jax", "scipy", "einops"}


def _is_library(name: str) -> bool:
    return name.partition(".")[0] in _LIBRARIES


def _enters(call: Trace, gradient: Trace, modules: Modules) -> bool:
    return any(
        modules.means(callee, call.path, gradient.path, function)
        for callee in call.data["callees"]
        for function in gradient.data["functions"]
    )


def _called_here(found: Diagnostic) -> RelatedPlace:
    return RelatedPlace(found.path, found.start, found.end, "called under it here", found.cell)
