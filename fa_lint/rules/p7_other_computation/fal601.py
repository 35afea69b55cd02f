from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.rules.p7_other_computation._cuts import Cut, cut_of, holder
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.gradients import GradientSite, grad_reads, gradient_sites, keyword
from fa_lint.semantics.names import Binding
from fa_lint.semantics.slices import function_of, slice_of

__all__ = ["SeveredGraph"]

_REDUCING = frozenset({"sum", "mean", "squeeze", "view", "reshape", "float", "double"})


class SeveredGraph(Rule):
    """
    ## What it does
    Flags a gradient towards a tensor that left the graph *after* it fed the loss: `h = h.detach()` (also
    `.clone().detach()`, `.data`, `torch.tensor(h)`, a helper that detaches, or a value made under `no_grad`) between the
    loss and `autograd.grad(loss, h)`, or between the loss and a read of `h.grad`, of a name, an attribute of `self` or
    each tensor of a list. Silent where the new leaf then feeds a loss of its own, and where
    another way binds the name.

    ## Why is this bad
    The loss was computed from the old tensor; the new one is a leaf that no loss has seen. `h.grad` is None,
    `autograd.grad(..., allow_unused=True)` gives None, and code that maps None to zero reports a gradient of norm 0 and a
    cosine of 0 or NaN. Measured on the example below (8 hidden units, batch 16): None, where the gradient has norm 0.111.

    ## Example
    ```python
    import torch

    def credit(layer, head, x, y, loss_fn):
        hidden = layer(x)
        loss = loss_fn(head(hidden), y)
        hidden = hidden.detach().requires_grad_()
        return torch.autograd.grad(loss, hidden, allow_unused=True)[0]
    ```

    ## Use instead
    ```python
    import torch

    def credit(layer, head, x, y, loss_fn):
        hidden = layer(x).detach().requires_grad_()
        loss = loss_fn(head(hidden), y)
        return torch.autograd.grad(loss, hidden)[0]
    ```

    ## Fix safety
    No fix: the cut belongs before the loss or nowhere, which is the author's to say.

    ## References
    - [torch.autograd.grad](https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad.html), `allow_unused`
    - [torch.Tensor.detach](https://docs.pytorch.org/docs/stable/generated/torch.Tensor.detach.html)
    """

    code = "FAL601"
    name = "severed-graph"
    summary = "a gradient towards a tensor detached after it fed the loss"
    level = Level.ERROR
    pitfall = "P7"
    runtime = "fa_lint_runtime.check_magnitude"
    gate = (
        occurs(b"detach", b".data", b"no_grad", b"inference_mode", b"tensor(", b"Parameter("),
        # `grad(…)`, `x.grad` and `from torch.autograd import grad as g`, but not `no_grad()`.
        occurs(b"grad", patterns=(rb"grad\((?<!_grad\()", rb"\.grad\b", rb"grad\b(?<=[\s,(]grad)")),
    )

    VALID = (
        "import torch\n"
        "def f(net, x):\n    x = x.detach().requires_grad_()\n    loss = net(x).sum()\n    return torch.autograd.grad(loss, x)",
        "import torch\n"
        "def f(net, x, n):\n    x = x.clone().requires_grad_()\n"
        "    for _ in range(n):\n        loss = net(x).sum()\n        (g,) = torch.autograd.grad(loss, x)\n"
        "        x = (x + g).detach().requires_grad_()\n    return x",
        "import torch\n"
        "def f(net, x):\n    loss = net(x).sum()\n    x = x.detach().requires_grad_()\n"
        "    net(x).sum().backward()\n    return x.grad",
        "import torch\n"
        "def f(net, x, fresh):\n    loss = net(x).sum()\n    if fresh:\n        x = x.detach()\n    return torch.autograd.grad(loss, x)",
        "import torch\n"
        "def f(net, x):\n    loss = net(x).sum()\n    seen = x.detach()\n    return torch.autograd.grad(loss, x), seen",
        "def f(loss, h):\n    loss.backward()\n    g = h.grad\n    h = h.detach()\n    return g, h",
    )
    INVALID = (
        Invalid(
            """
            import torch

            def credit(layer, head, x):
                h = layer(x)
                loss = head(h).mean()
                h = h.clone().detach().requires_grad_(True)
                loss.backward()
                return h.grad
            """,
            lines=(8,),
        ),
        Invalid(
            """
            import torch

            def gradients(model, x):
                hidden = model.body(x)
                out = model.head(hidden)
                loss = out.mean()
                leaf = hidden.data
                return torch.autograd.grad(outputs=loss, inputs=[leaf], allow_unused=True)
            """,
            lines=(8,),
        ),
        Invalid(
            """
            import torch

            def gradients(model, x):
                hidden = model.body(x)
                loss = model.head(hidden).mean()
                with torch.no_grad():
                    hidden = model.body(x)
                (g,) = torch.autograd.grad(loss.sum(), hidden, allow_unused=True)
                return g
            """,
            lines=(8,),
        ),
        Invalid(
            """
            import torch

            def towards(loss, h):
                h = h.detach().requires_grad_()
                return torch.autograd.grad(loss, [h], allow_unused=True)
            """,
            lines=(5,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        sites = list(gradient_sites(facts, facts.derived(Calls)))
        for site in sites:
            if site.how == "grad":
                for target in self._targets(keyword(site.call, "inputs", 1), facts):
                    cut = cut_of(target, facts)
                    if cut is not None and self._fed_before(site, cut, facts):
                        yield self._report(site.call, cut, site, facts)
        for read in grad_reads(facts):
            held = holder(read.value, facts)
            cut = cut_of(held, facts) if held is not None else None
            passed = self._backward_before(read, cut, sites, facts) if cut is not None else None
            if cut is not None and passed is not None:
                yield self._report(read, cut, passed, facts)

    def _report(self, node: ir.Expr, cut: Cut, site: GradientSite, facts: ModuleFacts) -> Finding:
        said = facts.source(cut.target)
        return self.find(
            facts,
            node,
            f"a gradient towards `{said}`, which {cut.how} after it fed the loss: the loss does not depend on this tensor; detach it before the forward pass",
            computes="None (zero, where None is mapped to it) instead of the gradient",
            related=(
                Related(*facts.span(cut.binding.node), f"`{said}` {cut.how} here"),
                Related(*facts.span(site.call), "the gradient is computed here"),
            ),
        )

    def _targets(self, inputs: ir.Expr | None, facts: ModuleFacts) -> list[ir.Name | ir.Attr]:
        items = inputs.items if isinstance(inputs, ir.Sequence) else [inputs]
        return [held for item in items if (held := holder(item, facts)) is not None]

    def _loss(self, loss: ir.Expr, facts: ModuleFacts) -> tuple[ir.Name, int] | None:
        """The name of a loss and the number of the statement that computed it (0 for a parameter)."""
        while isinstance(loss, ir.Call) and isinstance(loss.func, ir.Attr) and loss.func.attr in _REDUCING:
            loss = loss.func.value
        if not isinstance(loss, ir.Name):
            return None
        bound = facts.names.reaching(loss)
        if len(bound) != 1 or function_of(bound[0].node, facts) is not function_of(loss, facts):
            if len(bound) == 1 and bound[0].how == "param":
                return loss, 0
            return None
        if bound[0].how == "param":
            return loss, 0
        return (loss, bound[0].node.nid) if bound[0].how in ("value", "unpack") else None

    def _fed_before(self, site: GradientSite, cut: Cut, facts: ModuleFacts) -> bool:
        found = self._loss(site.loss, facts)
        if found is None:
            return False
        loss, computed = found
        if not computed < cut.binding.node.nid < site.call.nid:
            return False
        if computed == 0:
            return any(isinstance(source, ir.Name) and self._is_param(source, facts) for source in cut.sources)
        nodes = slice_of(loss, facts).nodes
        if any(isinstance(node, ir.Name) and node.id in self._fed_names(cut, facts) for node in nodes):
            return True
        others = [source for source in cut.sources if not isinstance(source, ir.Name)]
        made = {b.value.nid for source in others for b in self._made_with(source, computed, facts) if b.value}
        return any(
            node.nid in made or any(ir.same(node, other) for other in others)
            for node in nodes
            if isinstance(node, ir.Expr)
        )

    def _fed_names(self, cut: Cut, facts: ModuleFacts) -> set[str]:
        """The names under which the value was before: its own, those it was taken from, those that a list was filled with."""
        found = {cut.binding.name} if isinstance(cut.target, ir.Name) else set()
        for source in cut.sources:
            if isinstance(source, ir.Name):
                found.add(source.id)
                found |= {b.value.id for b in facts.names.reaching(source) if isinstance(b.value, ir.Name)}
        return found

    def _made_with(self, source: ir.Expr, before: int, facts: ModuleFacts) -> list[Binding]:
        """The calls that gave an attribute beside what the loss is computed of: ``out, self.h = net(x)``."""
        if not isinstance(source, ir.Attr):
            return []
        home = function_of(source, facts)
        bound = [b for b in facts.names.self_attribute(source) if function_of(b.node, facts) is home]
        return [b for b in bound if b.how == "unpack" and b.node.nid < before]

    def _is_param(self, name: ir.Name, facts: ModuleFacts) -> bool:
        return all(b.how == "param" for b in facts.names.reaching(name))

    def _backward_before(
        self, read: ir.Attr, cut: Cut | None, sites: list[GradientSite], facts: ModuleFacts
    ) -> GradientSite | None:
        """The backward whose gradient is looked for, if none can have reached the tensor."""
        if cut is None:
            return None
        found = None
        home = function_of(read, facts)
        for site in sites:
            if function_of(site.call, facts) is not home or site.how == "transform":
                continue
            if site.how == "grad" or site.call.nid < cut.binding.node.nid:
                continue
            if site.call.nid > read.nid or not self._fed_before(site, cut, facts):
                return None
            found = site
        return found if found is not None and not self._entered(read, cut, facts) else None

    def _entered(self, read: ir.Attr, cut: Cut, facts: ModuleFacts) -> bool:
        """True if the new leaf is used between the cut and the read, in what may hold a backward of its own."""
        return any(
            isinstance(node, ir.Name | ir.Attr)
            and ir.same(node, cut.target)
            and cut.binding.node.nid < node.nid < read.nid
            and any(isinstance(above, ir.Arg) for above in facts.names.ancestors(node)[:3])
            and not any(above is cut.binding.node for above in facts.names.ancestors(node))
            for node in facts.nodes_of(ir.Name, ir.Attr)
        )
