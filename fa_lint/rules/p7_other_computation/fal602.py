from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.rules.common.products import division, inner_product, read_denominator
from fa_lint.rules.p7_other_computation._two_passes import is_of_other_turns, is_set_elsewhere, passes_behind
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.differentiated import Differentiated
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.modes import may_be_in_eval_mode
from fa_lint.semantics.slices import slice_of

__all__ = ["TrainModeMeasurement"]

_COSINES = frozenset(
    "torch.nn.functional.cosine_similarity fa_lint_runtime.safe_cosine fa_lint_runtime.safe_angle".split()
)
_SEEDS = frozenset(
    "manual_seed manual_seed_all seed_everything set_seed seed_all get_rng_state set_rng_state fork_rng".split()
)
_DEPTH = 4


class TrainModeMeasurement(Rule):
    """
    ## What it does
    Flags a cosine or an angle between gradients or hidden states of two forward passes, where the model has dropout or
    BatchNorm and nothing on the way calls `eval()`. Silent where both sides come from one pass, where the model has no
    such layer or comes from another file, on what is trained on (a cosine that flows into a loss or that `forward` returns),
    where the same seed is set before each pass through dropout, and where `eval()` or `train(False)` is called in the function, in one that it
    calls, or in a caller.

    ## Why is this bad
    Each pass draws its own dropout masks, and BatchNorm moves its running statistics: the two sides belong to different
    networks. Measured on a 3-layer MLP (256 units, batch 128): the gradients of one and the same batch, taken twice in
    train mode, had cosines of 0.69, 0.70 and 0.82 with dropout 0.1, and of 0.15, 0.20 and 0.41 with dropout 0.5; in
    eval mode 1.0000. An exact credit signal would be reported with those numbers.

    ## Example
    ```python
    import torch
    from torch import nn
    import torch.nn.functional as F

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.drop = nn.Linear(8, 2), nn.Dropout(0.5)

        def forward(self, x):
            return self.fc(self.drop(x))

    def agreement(x, y):
        net = Net()
        first = torch.autograd.grad(net(x).sum(), net.fc.weight)[0]
        second = torch.autograd.grad(net(y).sum(), net.fc.weight)[0]
        return F.cosine_similarity(first, second)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn
    import torch.nn.functional as F

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.drop = nn.Linear(8, 2), nn.Dropout(0.5)

        def forward(self, x):
            return self.fc(self.drop(x))

    def agreement(x, y):
        net = Net().eval()
        first = torch.autograd.grad(net(x).sum(), net.fc.weight)[0]
        second = torch.autograd.grad(net(y).sum(), net.fc.weight)[0]
        return F.cosine_similarity(first, second)
    ```

    ## Fix safety
    No fix: where `eval()` belongs, and whether `train()` must follow, is the author's to say.

    ## References
    - [Module.eval](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.eval)
    """

    code = "FAL602"
    name = "train-mode-measurement"
    summary = "two compared passes with dropout or BatchNorm active"
    level = Level.WARNING
    pitfall = "P7"
    runtime = "fa_lint_runtime.safe_cosine"
    gate = (
        occurs(b"ropout", b"BatchNorm", b"batch_norm", b"torchvision", b"RReLU", b"Transformer"),
        occurs(b"cosine_similarity", b"safe_cosine", b"safe_angle", b"norm", b"sqrt", b".5"),
    )

    _NET = (
        "import torch, torch.nn.functional as F\nfrom torch import nn\n"
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.fc, self.drop = nn.Linear(8, 2), {layer}\n"
        "    def forward(self, x): return self.fc(self.drop(x))\n"
    )
    _TWO = (
        "def f(x, y):\n    net = Net(){mode}\n"
        "    a = torch.autograd.grad(net(x).sum(), net.fc.weight)[0]\n"
        "    b = torch.autograd.grad(net(y).sum(), net.fc.weight)[0]\n"
        "    return F.cosine_similarity(a, b)\n"
    )

    VALID = (
        _NET.format(layer="nn.ReLU()") + _TWO.format(mode=""),
        _NET.format(layer="nn.Dropout(0.0)") + _TWO.format(mode=""),
        _NET.format(layer="nn.Dropout(0.5)") + _TWO.format(mode="\n    net.eval()"),
        _NET.format(layer="nn.BatchNorm1d(8)") + _TWO.format(mode=".train(False)"),
        _NET.format(layer="nn.Dropout(0.5)")
        + "def f(x, credit):\n    net = Net()\n"
        + "    g = torch.autograd.grad(net(x).sum(), net.fc.weight)[0]\n    return F.cosine_similarity(g, credit)\n",
        "import torch, torch.nn.functional as F\nfrom nets import Net  # BatchNorm or not, not known here\n"
        + _TWO.format(mode=""),
    )
    INVALID = (
        Invalid(_NET.format(layer="nn.Dropout(0.5)") + _TWO.format(mode=""), lines=(12,)),
        Invalid(
            _NET.format(layer="nn.BatchNorm1d(8)")
            + "def grads(net, x):\n    return torch.autograd.grad(net(x).sum(), net.fc.weight)[0].flatten()\n"
            + "def f(x, y):\n    net = Net().cuda()\n    net.train()\n    a, b = grads(net, x), grads(net, y)\n"
            + "    return a @ b / (a.norm() * b.norm())\n",
            lines=(14,),
        ),
        Invalid(
            "import torch.nn as nn, torch.nn.functional as F\n"
            "net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1))\n"
            "def invariance(x, y):\n    return F.cosine_similarity(net(x), net(y), dim=1)\n",
            lines=(4,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        calls = facts.derived(Calls)
        for node, left, right in self._comparisons(facts):
            first, second = passes_behind(left, calls), passes_behind(right, calls)
            shared = set(first) & set(second)
            if not first or not second or (shared and not is_of_other_turns(left, right, shared, facts)):
                continue
            layer = next(iter(first.values()))
            if any(is_set_elsewhere(call, calls) for nid in first if isinstance(call := facts.node(nid), ir.Call)):
                continue
            if may_be_in_eval_mode(node, calls) or _is_objective(node, (left, right), calls):
                continue
            if not _acts_on_batch(layer) and _are_seeded({*first, *second}, calls):
                continue
            one, other = facts.node(next(iter(first))), facts.node(next(iter(second)))
            yield self.find(
                facts,
                node,
                "two passes are compared with dropout or BatchNorm active: call `eval()` before measuring",
                computes="the agreement of two different networks: each pass draws its own masks and statistics",
                related=(
                    Related(*facts.span(layer), "this layer acts in train mode"),
                    Related(*facts.span(one), "the first pass"),
                    Related(*facts.span(other), "the second pass"),
                ),
            )

    def _comparisons(self, facts: ModuleFacts) -> Iterator[tuple[ir.Expr, ir.Expr, ir.Expr]]:
        """The cosines of the module: calls of a library, and quotients of a product and norms."""
        for node in facts.nodes_of(ir.Call, ir.Binary):
            if isinstance(node, ir.Call) and facts.qualified(node.func) in _COSINES and len(node.args) >= 2:
                yield node, node.args[0].value, node.args[1].value
            elif isinstance(node, ir.Binary):
                parts = division(node)
                product = inner_product(parts[0], facts) if parts is not None else None
                below = read_denominator(parts[1], facts) if parts is not None and product is not None else None
                if product is not None and below is not None and below.power >= 2:
                    yield node, product.left, product.right


def _is_objective(node: ir.Expr, sides: tuple[ir.Expr, ir.Expr], calls: Calls) -> bool:
    """Return True for a cosine that is trained on: it is differentiated, or what a forward pass returns."""
    facts = calls.facts
    if any(_is_finished_gradient(part, facts) for side in sides for part in slice_of(side, facts).nodes):
        return False
    return _is_returned_by_forward(node, calls, 0) or facts.derived(Differentiated).by(node) is not None


def _is_finished_gradient(node: ir.Node, facts: ModuleFacts) -> bool:
    """Return True for a gradient that has no graph of its own."""
    match node:
        case ir.Attr(attr="grad"):
            return facts.qualified(node) is None
        case ir.Call(func=func, args=args) if facts.qualified(func) == "torch.autograd.grad":
            return not any(arg.keyword == "create_graph" for arg in args)
    return False


def _is_returned_by_forward(node: ir.Expr, calls: Calls, depth: int) -> bool:
    facts = calls.facts
    function = facts.names.enclosing_function(node)
    if function is None or depth > _DEPTH:
        return False
    if not any(part is node for value in facts.names.returned(function) for part in slice_of(value, facts).nodes):
        return False
    if function.name in ("forward", "training_step"):
        return True
    return any(_is_returned_by_forward(call, calls, depth + 1) for call in calls.callers(function))


def _acts_on_batch(layer: ir.Node) -> bool:
    """Return True for a layer that acts on the batch and draws nothing, so that no seed makes two passes alike."""
    return any("norm" in part.lower() for node in ir.walk(layer) if (part := ir.last_name(node)))


def _are_seeded(passes: set[int], calls: Calls) -> bool:
    """Return True if a seed is set between any two passes, and before the first or in the function that makes each."""
    facts = calls.facts
    before: list[bool] = []
    for nid in sorted(passes):
        call = facts.node(nid)
        entered = calls.entered(call) if isinstance(call, ir.Call) else []
        inside = any(_is_seed(part) for function in entered for part in ir.walk(function.body))
        home = facts.names.enclosing_function(call)
        events = [c for c in facts.calls if c.nid < nid and facts.names.enclosing_function(c) is home]
        events = [c for c in events if c.nid in passes or _is_seed(c)]
        before.append(inside or (bool(events) and _is_seed(max(events, key=lambda c: c.nid))))
    return all(before)


def _is_seed(node: ir.Node) -> bool:
    match node:
        case ir.Call(func=ir.Attr(attr=name) | ir.Name(id=name)):
            return name in _SEEDS
    return False
