from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.semantics import ir
from fa_lint.semantics.classes import is_module, reached
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback_names import is_feedback_name

__all__ = ["ParameterRecreatedInForward"]

_PARAMETERS = frozenset({"torch.nn.Parameter", "torch.nn.parameter.Parameter"})
_ENTRIES = ("forward", "__call__", "training_step")


class ParameterRecreatedInForward(Rule):
    """
    ## What it does
    Flags `self.w = nn.Parameter(…)` (also `self.layer.weight = …`, `setattr` and `register_parameter`) in the `forward` of a
    torch module, or in a method that `forward` calls. Silent in `__init__` and other methods, with `requires_grad=False`,
    on feedback (no optimizer should hold it), and where the parameter is made once, the first time it is needed.

    ## Why is this bad
    The optimizer was built on the tensor that was there before. It goes on updating that one, which no output depends on
    any more. Measured: a layer that renormalises its weight this way had moved by exactly 0.0 after 100 SGD
    steps at a rate of 0.1; the same renormalisation in place moved it by 1.25. A published feedback-alignment library
    froze its weights like this, and Γ against a frozen network still looks like a number.

    ## Example
    ```python
    import torch
    from torch import nn

    class Normalised(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                self.weight = nn.Parameter(self.weight / self.weight.norm())
            return super().forward(x)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn

    class Normalised(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                self.weight.div_(self.weight.norm())
            return super().forward(x)
    ```

    ## Fix safety
    No fix: whether the value should be written in place (`copy_` under `no_grad`) or be a plain tensor of the graph is the
    author's to say (`torch.nn.utils.parametrize` does the latter).

    ## References
    - [torch.optim: constructing it](https://docs.pytorch.org/docs/stable/optim.html#constructing-it)
    - [Parametrizations](https://docs.pytorch.org/tutorials/intermediate/parametrizations.html)
    """

    code = "FAL407"
    name = "parameter-recreated-in-forward"
    summary = "a parameter made anew in `forward` leaves the optimizer"
    level = Level.ERROR
    pitfall = "P4"
    runtime = "fa_lint_runtime.inspect_checkpoint"
    gate = (occurs(b"Parameter("), occurs(b"def forward", b"def __call__", b"def training_step"), occurs(b"torch"))

    VALID = (
        "from torch import nn\nclass M(nn.Module):\n    def __init__(self, w):\n        super().__init__()\n"
        "        self.w = nn.Parameter(w)\n    def forward(self, x): return x @ self.w",
        "from torch import nn\nclass M(nn.Module):\n    def prune(self, mask):\n        self.w = nn.Parameter(self.w[mask])\n"
        "    def forward(self, x): return x @ self.w",
        "from torch import nn\nclass M(nn.Module):\n    def forward(self, x):\n"
        "        self.b = nn.Parameter(self.w.sign(), requires_grad=False)\n        return x @ self.b",
        "import torch\nfrom torch import nn\nclass M(nn.Module):\n    def forward(self, x):\n        if self.w is None:\n"
        "            self.w = nn.Parameter(torch.zeros(x.shape[-1]))\n        return x * self.w",
        "import torch\nfrom torch import nn\nclass M(nn.Module):\n    def forward(self, x):\n        if not self.initialized:\n"
        "            self.setup(x)\n        return x * self.w\n    def setup(self, x):\n        self.w = nn.Parameter(torch.zeros(3))",
        "from torch import nn\nclass M(nn.Module):\n    def forward(self, x):\n        self.table = nn.Parameter(x.cumsum(0))\n"
        "        self.table.requires_grad = False\n        return self.table",
        "from torch import nn\nclass uSF(nn.Linear):\n    def forward(self, x):\n        self.weight_backward = nn.Parameter(self.weight.sign())\n"
        "        return super().forward(x)",
        "from torch import nn\nclass M:\n    def forward(self, x):\n        self.w = nn.Parameter(x)",
    )
    INVALID = (
        Invalid(
            """
            from torch import nn
            from torch.nn import Parameter
            class Cell(nn.Module):
                def forward(self, x):
                    self._constrain()
                    return self.cell(x)
                def _constrain(self):
                    self.cell.weight = Parameter(self.cell.weight.clamp(min=0))
            """,
            lines=(8,),
        ),
        Invalid(
            """
            import torch
            class Block(torch.nn.Linear):
                def forward(self, x):
                    if self.constrain:
                        w = torch.nn.Parameter(self.weight / self.weight.norm())
                        self.weight = w
                    return super().forward(x)
            """,
            lines=(6,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        seen: set[int] = set()
        for owner in facts.names.classes:
            if not is_module(facts, owner):
                continue
            initial = reached(facts, owner, "__init__")
            for method, via in reached(facts, owner, *_ENTRIES).items():
                if method in initial or (via is not None and _is_guarded(facts, via)):
                    continue
                for node in ir.walk(method.body):
                    made = _recreated(facts, node)
                    if made is None or node.nid in seen or _is_guarded(facts, node) or _is_frozen(facts, node, method):
                        continue
                    seen.add(node.nid)
                    yield self._found(facts, node, made, method, via)

    def _found(
        self, facts: ModuleFacts, node: ir.Node, made: ir.Call, method: ir.FunctionDef, via: ir.Call | None
    ) -> Finding:
        places = []
        if via is not None:
            places.append(Related(*facts.span(via), f"`forward` calls `{method.name}` here"))
        if made.nid != node.nid:
            places.append(Related(*facts.span(made), "the new parameter, unknown to the optimizer"))
        return self.find(
            facts,
            node,
            "a new `nn.Parameter` at every forward: the optimizer keeps updating the old one, so this weight never "
            "trains; write in place under `torch.no_grad()`",
            computes="gradients into a tensor that no optimizer holds",
            related=tuple(places),
        )


def _recreated(facts: ModuleFacts, node: ir.Node) -> ir.Call | None:
    """The ``nn.Parameter(…)`` that a statement stores on a module."""
    match node:
        case ir.Assign(targets=targets, value=value) if any(_is_attribute_of_self(t) for t in targets):
            return _parameter(facts, value)
        case ir.Call(func=ir.Name(id="setattr"), args=[ir.Arg(value=holder), _, ir.Arg(value=value)]):
            return _parameter(facts, value) if _is_self(holder) else None
        case ir.Call(func=ir.Attr(value=holder, attr="register_parameter"), args=[_, ir.Arg(value=value)]):
            return _parameter(facts, value) if _is_self(holder) else None
    return None


def _is_self(node: ir.Expr) -> bool:
    while isinstance(node, ir.Attr | ir.Subscript):
        node = node.value
    return isinstance(node, ir.Name) and node.id == "self"


def _is_attribute_of_self(node: ir.Expr) -> bool:
    return isinstance(node, ir.Attr) and node.attr != "data" and not is_feedback_name(node.attr) and _is_self(node)


def _parameter(facts: ModuleFacts, node: ir.Expr, depth: int = 0) -> ir.Call | None:
    match node:
        case ir.Call(func=func, args=args) if facts.qualified(func) in _PARAMETERS:
            frozen = next((a.value for a in args if a.keyword == "requires_grad"), None)
            frozen = args[1].value if len(args) > 1 and args[1].keyword is None else frozen
            if frozen is not None and facts.values.constant(frozen) is not True:
                return None
            return node
        case ir.Name() if depth < 4:
            found = [
                _parameter(facts, b.value, depth + 1) if b.how == "value" and b.value is not None else None
                for b in facts.names.reaching(node)
            ]
            return found[0] if found and all(f is not None for f in found) else None
    return None


def _is_frozen(facts: ModuleFacts, node: ir.Node, method: ir.FunctionDef) -> bool:
    """``self.w.requires_grad = False`` after it: nothing that an optimizer should hold."""
    names = {facts.source(target) for target in node.targets} if isinstance(node, ir.Assign) else set()
    for after in ir.walk(method.body):
        match after:
            case ir.Assign(targets=[ir.Attr(value=holder, attr="requires_grad")], value=ir.Const(value=False)):
                if facts.source(holder) in names:
                    return True
            case ir.Call(func=ir.Attr(value=holder, attr="requires_grad_"), args=[ir.Arg(value=ir.Const(value=False))]):
                if facts.source(holder) in names:
                    return True
    return False


def _is_guarded(facts: ModuleFacts, node: ir.Node) -> bool:
    """Under a test that is true only once: ``is None``, ``not self.ready``, ``hasattr``, a change of shape."""
    for above in facts.names.ancestors(node):
        if isinstance(above, ir.FunctionDef):
            return _returned_before(above, node)
        if isinstance(above, ir.If) and _asks_for_state(above.test):
            return True
    return False


def _returned_before(function: ir.FunctionDef, node: ir.Node) -> bool:
    """``if self.ready: return`` above it."""
    for statement in function.body.body:
        if statement.nid >= node.nid:
            return False
        if isinstance(statement, ir.If) and _asks_for_state(statement.test):
            if any(isinstance(inner, ir.Return) for inner in statement.body.body):
                return True
    return False


def _asks_for_state(test: ir.Expr) -> bool:
    for part in ir.walk(test):
        match part:
            case ir.Unary(op="not", operand=ir.Attr(attr=attr)) if attr != "training":
                return True
            case ir.Compare(
                ops=["is" | "is not" | "in" | "not in" | "!=" | "==" | "<" | ">" | "<=" | ">="],
                left=left,
                comparators=[right],
            ):
                for side in (left, right):
                    if isinstance(side, ir.Const) and side.value is None:
                        return True
                    if any(isinstance(n, ir.Attr) and n.attr in ("shape", "device", "__dict__") for n in ir.walk(side)):
                        return True
                    if (
                        isinstance(side, ir.Call)
                        and isinstance(side.func, ir.Attr)
                        and side.func.attr in ("size", "dim")
                    ):
                        return True
            case ir.Call(func=ir.Name(id="hasattr" | "len" | "isinstance")):
                return True
            case ir.Attr(attr=attr) if "init" in attr or attr in ("built", "ready", "first", "fitted"):
                return True
            case ir.Call(func=ir.Attr(attr="has_uninitialized_params" | "is_initialized")):
                return True
    return False
