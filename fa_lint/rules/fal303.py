from __future__ import annotations

import re
from collections.abc import Iterator

from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.gradients import GradientSite, grad_reads, gradient_sites
from fa_lint.semantics.scaling import Scaling
from fa_lint.semantics.slices import function_of, slice_of
from fa_lint.semantics.words import words

__all__ = ["ScaledGradientNorm"]

_NORMS = frozenset(
    "torch.norm torch.linalg.norm torch.linalg.vector_norm torch.nn.utils.clip_grad_norm_ "
    "torch.nn.utils.clip_grad_norm torch.nn.utils.get_total_norm torch.nn.utils.clip_grad.clip_grad_norm_".split()
)
_CLIPS = frozenset({"clip_grad_norm_", "clip_grad_norm", "get_total_norm"})
_KEEPING = frozenset("detach clone float double cpu to flatten view reshape mean sum contiguous cuda numpy".split())
_GRADIENT = re.compile(rb"backward|grad")


class ScaledGradientNorm(Rule):
    """
    ## What it does
    Flags a norm of gradients (`.norm()`, `torch.linalg.vector_norm`, `clip_grad_norm_`), or a hand-written step with
    them, while they are still multiplied by the loss scale of a `GradScaler`: after `autograd.grad(scaler.scale(loss), …)` or
    `scaler.scale(loss).backward()`, and before `scaler.unscale_(optimizer)` or `scaler.step(optimizer)`. Silent after
    a division by `get_scale()`, with an inverse scale, for a gradient divided by its own norm, for signs and cosines,
    which are scale-free, and for scalers that scale nothing.

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
        scaling = Scaling(calls)
        for site in gradient_sites(facts, calls):
            found = slice_of(site.loss, facts)
            scale = next((c for c in found.calls if scaling.scale_call(c) and scaling.scales(c)), None)
            if scale is None or self._unscaled(site, facts):
                continue
            sinks = self._after_grad(site, facts) if site.how == "grad" else self._after_backward(site, facts, scaling)
            for sink, what in sinks:
                yield self.find(
                    facts,
                    sink,
                    f"{what} of gradients that still carry the loss scale; unscale them first",
                    computes="the value times the loss scale: 65536 at first, twice that every 2,000 steps",
                    related=(
                        Related(*facts.span(scale), "the loss is scaled here"),
                        Related(*facts.span(site.call), "its gradients are computed here"),
                    ),
                )

    def _unscaled(self, site: GradientSite, facts: ModuleFacts) -> bool:
        """Does the function handle the scale itself: read it, invert it, or unscale by a name?"""
        home = function_of(site.call, facts)
        inside = {node.nid for node in ir.walk(site.call)}
        for node in ir.walk(home.body if home is not None else facts.module.body):
            name = node.id if isinstance(node, ir.Name) else node.attr if isinstance(node, ir.Attr) else ""
            if node.nid in inside or not name or name == "unscale_":
                continue
            found = set(words(name))
            if "unscale" in found or "unscaled" in found or "get_scale" in name:
                return True
            if "scale" in found and found & {"inv", "inverse", "loss", "grad"}:
                return True
        return False

    # -- autograd.grad ------------------------------------------------------------------------------------------

    def _after_grad(self, site: GradientSite, facts: ModuleFacts) -> Iterator[tuple[ir.Node, str]]:
        home = function_of(site.call, facts)
        for node in facts.nodes():
            if node.nid < site.call.nid and not self._around(node, site.call, facts):
                continue
            if function_of(node, facts) is not home:
                continue
            if isinstance(node, ir.Call):
                operand = self._normed(node, facts)
                if operand is not None and self._comes_from(operand, site.call, facts):
                    if not self._divides(node, site.call, facts):
                        yield node, "a norm"
            elif isinstance(node, ir.Binary) and node.op in ("-", "+"):
                sides = (node.left, node.right)
                linear = [self._is_multiple(side, site.call, facts) for side in sides]
                if linear[0] != linear[1] and not any(isinstance(s, ir.Const) for s in sides):
                    yield node, "a step with a multiple"

    def _around(self, node: ir.Node, call: ir.Call, facts: ModuleFacts) -> bool:
        return any(above is node for above in facts.names.ancestors(call))

    def _normed(self, call: ir.Call, facts: ModuleFacts) -> ir.Expr | None:
        name = facts.qualified(call.func)
        if name in _NORMS and call.args:
            return call.args[0].value
        if name is None and isinstance(call.func, ir.Attr) and call.func.attr == "norm":
            return call.func.value
        return None

    def _comes_from(self, operand: ir.Expr, source: ir.Call, facts: ModuleFacts) -> bool:
        return any(node is source for node in slice_of(operand, facts).nodes)

    def _divides(self, norm: ir.Call, source: ir.Call, facts: ModuleFacts) -> bool:
        """Is the norm (or the name it is bound to) the denominator of the same gradients?"""
        uses: list[ir.Node] = [norm]
        statement = facts.names.statement(norm)
        if isinstance(statement, ir.Assign) and isinstance(statement.targets[0], ir.Name):
            bound = statement.targets[0].id
            home = function_of(norm, facts)
            uses = [
                node
                for node in ir.walk(home.body if home is not None else facts.module.body)
                if isinstance(node, ir.Name) and node.id == bound and node.nid > norm.nid
            ]
        return bool(uses) and all(self._is_denominator(use, source, facts) for use in uses)

    def _is_denominator(self, use: ir.Node, source: ir.Call, facts: ModuleFacts) -> bool:
        below = use
        for above in facts.names.ancestors(use):
            if isinstance(above, ir.Binary) and above.op == "/" and above.right is below:
                return self._comes_from(above.left, source, facts)
            if isinstance(above, ir.Stmt):
                return False
            below = above
        return False

    def _is_multiple(self, node: ir.Expr, source: ir.Call, facts: ModuleFacts, depth: int = 0) -> bool:
        """Is a value the gradients times something, through names and shapes only?"""
        if node is source:
            return True
        if depth > 10:
            return False
        match node:
            case ir.Binary(op="*", left=left, right=right):
                return self._is_multiple(left, source, facts, depth + 1) != self._is_multiple(
                    right, source, facts, depth + 1
                )
            case ir.Unary(operand=value) | ir.Subscript(value=value) | ir.Attr(attr="data", value=value):
                return self._is_multiple(value, source, facts, depth + 1)
            case ir.Call(func=ir.Attr(attr=attr, value=value)) if attr in _KEEPING:
                return self._is_multiple(value, source, facts, depth + 1)
            case ir.Name():
                bound = [b for b in facts.names.reaching(node) if b.how in ("value", "unpack")]
                values = [b.value for b in bound if b.value is not None]
                return bool(values) and all(self._is_multiple(v, source, facts, depth + 1) for v in values)
        return False

    # -- backward -----------------------------------------------------------------------------------------------

    def _after_backward(
        self, site: GradientSite, facts: ModuleFacts, scaling: Scaling
    ) -> Iterator[tuple[ir.Node, str]]:
        home = function_of(site.call, facts)
        end = min((c.nid for c in facts.calls if self._ends(c, site, home, facts)), default=len(facts.names.nodes))
        reads = {read.nid for read in grad_reads(facts)}
        for call in facts.calls:
            if not site.call.nid < call.nid < end or function_of(call, facts) is not home:
                continue
            operand = self._normed(call, facts)
            if operand is None or self._other_arm(site.call, call, facts):
                continue
            last = (facts.qualified(call.func) or "").rpartition(".")[2]
            if last in _CLIPS:
                yield call, "a norm"
                continue
            nodes = slice_of(operand, facts).nodes
            fresh = [n for n in nodes if n.nid in reads and n.nid > site.call.nid]
            if fresh and not self._is_denominator(call, site.call, facts):
                yield call, "a norm"

    def _ends(self, call: ir.Call, site: GradientSite, home: ir.FunctionDef | None, facts: ModuleFacts) -> bool:
        """Does a call take the scale out, or the gradients away?"""
        if call.nid <= site.call.nid or function_of(call, facts) is not home or not isinstance(call.func, ir.Attr):
            return False
        match call.func:
            case ir.Attr(attr="step" | "update", value=ir.Name(id=name) | ir.Attr(attr=name)):
                return "scaler" in words(name)
            case ir.Attr(attr=attr):
                return attr == "zero_grad" or "unscale" in attr
        return False

    def _other_arm(self, first: ir.Node, second: ir.Node, facts: ModuleFacts) -> bool:
        """Do two nodes stand in different arms of one ``if``?"""
        around = facts.names.ancestors(first)
        within = {n.nid for n in around}
        for above in facts.names.ancestors(second):
            if isinstance(above, ir.If) and above.nid in within:
                mine = {n.nid for n in facts.names.ancestors(second)}
                return (above.body.nid in within) != (above.body.nid in mine)
        return False
