from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.rules.p7_other_computation._exclusive import never_both
from fa_lint.rules.p7_other_computation._losses import LogitLoss, logit_losses, probability
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.severed import carries_no_gradient
from fa_lint.semantics.slices import function_of, slice_of
from fa_lint.semantics.words import words

__all__ = ["MismatchedErrorSignal"]

_ERROR_WORDS = frozenset(
    "error errors err e delta deltas grad grads gradient credit signal dz dy dout dlogits derror residual".split()
)
_ONE_HOT = frozenset({"torch.nn.functional.one_hot", "jax.nn.one_hot"})
_MEASURES = frozenset(
    {"abs", "pow", "square", "norm", "vector_norm", "mean", "sum", "item", "argmax", "max", "min", "std"}
)
_SHAPES = frozenset({"shape", "size", "dim", "ndim", "dtype", "device", "numel", "requires_grad"})
_PRINTS = frozenset({"print", "len", "float", "str", "repr", "isinstance", "type"})
_SENDERS = frozenset({"torch.matmul", "torch.mm", "torch.einsum", "torch.autograd.backward", "torch.autograd.grad"})
_SUBTRACT = frozenset({"torch.sub", "torch.subtract"})


class MismatchedErrorSignal(Rule):
    """
    ## What it does
    Flags an output error that is not the gradient of the loss beside it: `logits - onehot` (or a copy of the
    logits with 1 taken from that of the target) where the same logits go to `cross_entropy` (or `logits - y` beside
    `binary_cross_entropy_with_logits`), and a softmax given to `CrossEntropyLoss`, directly or as the output of a model
    of the file. Silent on `softmax(logits) - onehot` with cross-entropy, on `log_softmax` before cross-entropy, and on squared errors and metrics.

    ## Why is this bad
    The feedback carries another error than the one that backprop carries, so Γ compares two objectives. Measured on 512
    samples of 10 classes with logits of standard deviation 3: the cosine of `logits - onehot` to the gradient of the
    cross-entropy is 0.42 on average over samples, and negative for 9 % of them. A softmax before `CrossEntropyLoss`
    bounds the loss below by 1.461 for 10 classes, turns the gradient (mean cosine 0.75), and shrinks that of samples which
    are wrong with a confidence above 0.99 to 0.0006 of its norm.

    ## Example
    ```python
    import torch.nn.functional as F

    def train(model, x, y, feedback):
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        error = logits - F.one_hot(y, 10)
        return loss, error @ feedback
    ```

    ## Use instead
    ```python
    import torch.nn.functional as F
    from fa_lint_runtime import output_error

    def train(model, x, y, feedback):
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        error = output_error(logits, y)
        return loss, error @ feedback
    ```

    ## Fix safety
    No fix: either the loss or the error is the one that was meant.

    ## References
    - [torch.nn.CrossEntropyLoss](https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html): expects unnormalised logits
    """

    code = "FAL604"
    name = "mismatched-error-signal"
    summary = "an output error that is not the gradient of the loss beside it"
    level = Level.WARNING
    pitfall = "P7"
    runtime = "fa_lint_runtime.output_error"
    gate = (
        occurs(b"cross_entropy", b"CrossEntropyLoss", b"BCEWithLogitsLoss"),
        occurs(b"softmax", b"Softmax", b"igmoid", b"-", b".sub"),
    )

    VALID = (
        "import torch.nn.functional as F\n"
        "def f(logits, y):\n    loss = F.cross_entropy(logits, y)\n"
        "    error = F.softmax(logits, -1) - F.one_hot(y, 10)\n    return loss, error",
        "import torch.nn.functional as F\ndef f(x, y): return F.cross_entropy(F.log_softmax(x, -1), y)",
        "import torch.nn.functional as F\n"
        "def f(out, onehot):\n    error = out - onehot\n    return F.mse_loss(out, onehot), error",
        "import torch.nn.functional as F\n"
        "def f(logits, y, onehot):\n    brier = ((logits - onehot) ** 2).mean()\n    return F.cross_entropy(logits, y), brier",
        "import torch.nn.functional as F\n"
        "def f(logits, y):\n    probs = logits.softmax(-1)\n    return F.cross_entropy(logits, y), probs.max()",
        "import torch.nn as nn, torch.nn.functional as F\n"
        "class Net(nn.Module):\n    def forward(self, x):\n"
        "        if self.training:\n            return self.fc(x)\n        return F.softmax(self.fc(x), -1)\n"
        "def f(x, y):\n    net = Net()\n    return nn.CrossEntropyLoss()(net(x), y)",
    )
    INVALID = (
        Invalid(
            """
            import torch
            import torch.nn as nn

            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.fc = nn.Linear(4, 3)
                    self.softmax = nn.Softmax(dim=1)

                def forward(self, x):
                    x = self.fc(x)
                    return self.softmax(x)

            def train(x, y):
                net = Net()
                criterion = nn.CrossEntropyLoss()
                out = net(x)
                return criterion(out, y)
            """,
            lines=(18,),
        ),
        Invalid(
            """
            import torch.nn.functional as F

            def f(x, y):
                p = F.softmax(x, dim=1)
                return F.cross_entropy(p.view(-1, 10), y)
            """,
            lines=(5,),
        ),
        Invalid(
            """
            import torch
            import torch.nn.functional as F

            def dfa(model, x, y, B, classes):
                out = model(x)
                loss = F.cross_entropy(out, y)
                target = torch.eye(classes)[y]
                e = out - target
                return loss, e @ B
            """,
            lines=(8,),
        ),
        Invalid(
            """
            import torch.nn.functional as F

            def f(score, y, B):
                loss = F.binary_cross_entropy_with_logits(score, y)
                return loss, (score - y) @ B
            """,
            lines=(5,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        calls = facts.derived(Calls)
        reported: set[int] = set()
        for loss in logit_losses(calls):
            soft = probability(loss.logits, loss.link, calls)
            if soft is not None:
                yield self.find(
                    facts,
                    loss.call,
                    f"`{loss.label}` of a {loss.link}: it applies the {loss.link} itself; pass the logits",
                    computes=f"the {loss.link} twice: a bounded loss, and gradients that vanish where the net is wrong",
                    related=(Related(*facts.span(soft), f"the {loss.link} is taken here"),),
                )
                continue
            for error in self._errors(loss, calls):
                if error.nid in reported:
                    continue
                reported.add(error.nid)
                yield self.find(
                    facts,
                    error,
                    f"an output error of raw logits beside `{loss.label}`, whose gradient is the {loss.link} minus the target; "
                    "use `output_error`",
                    computes="the gradient of a squared error, not of the loss",
                    related=(Related(*facts.span(loss.call), "the loss of the same logits"),),
                )

    def _errors(self, loss: LogitLoss, calls: Calls) -> Iterator[ir.Node]:
        facts = calls.facts
        logits = _origin(loss.logits, facts)
        home = function_of(loss.call, facts)
        for node in ir.walk(home.body if home is not None else facts.module.body):
            if self._is_taken_in_place(node, loss, calls):
                yield node
            for left, right in _difference(node, facts):
                if not self._is_same(_origin(left, facts), logits, facts) or not self._is_target(right, loss, calls):
                    continue
                if not isinstance(node, ir.Expr) or function_of(node, facts) is not home:
                    continue
                if never_both(loss.call, node, facts) or not self._is_error(node, facts):
                    continue
                if not (_is_metric(loss.call, facts) and _is_trained_on_square(node, home, facts)):
                    yield node

    def _is_taken_in_place(self, node: ir.Node, loss: LogitLoss, calls: Calls) -> bool:
        """True for ``error = logits.clone()`` and ``error[rows, y] -= 1``: the logits minus the one-hot target."""
        facts, home = calls.facts, function_of(loss.call, calls.facts)
        match node:
            case ir.AugAssign(
                op="-",
                target=ir.Subscript(value=ir.Name() as name, index=[ir.Name() | ir.Call(), index]),
                value=ir.Const(value=1),
            ) if loss.link == "softmax":
                pass
            case _:
                return False
        bound = facts.names.reaching(name)
        made = [b for b in bound if b.how != "item"]
        if len(made) != 1 or made[0].how != "value" or made[0].value is None or function_of(node, facts) is not home:
            return False
        if _is_changed_in_place(name, facts):
            return False
        statement = made[0].node
        is_target = loss.target is not None and ir.same(_origin(index, facts), _origin(loss.target, facts))
        is_same = self._is_same(_origin(made[0].value, facts), _origin(loss.logits, facts), facts)
        if not is_target or not is_same or never_both(loss.call, name, facts) or not isinstance(statement, ir.Assign):
            return False
        if not set(words(name.id)) & _ERROR_WORDS or not _is_sent(statement, name.id, facts):
            return False
        return not (_is_metric(loss.call, facts) and _is_trained_on_square(name, home, facts))

    def _is_same(self, left: ir.Expr, logits: ir.Expr, facts: ModuleFacts) -> bool:
        if left is logits:
            return True
        if not isinstance(logits, ir.Name | ir.Attr) or not ir.same(left, logits):
            return False
        if isinstance(left, ir.Name) and isinstance(logits, ir.Name):
            mine = {b.node.nid for b in facts.names.reaching(left)}
            return mine == {b.node.nid for b in facts.names.reaching(logits)}
        return True

    def _is_target(self, node: ir.Expr, loss: LogitLoss, calls: Calls) -> bool:
        """True if a subtrahend is the target of the loss: the same expression, or one-hot."""
        if loss.target is not None and ir.same(_origin(node, calls.facts), _origin(loss.target, calls.facts)):
            return True
        if loss.link == "sigmoid":
            return False
        name = ir.last_name(node)
        if {"onehot", "hot"} & set(words(name)):
            return True
        for part in slice_of(node, calls.facts).nodes:
            match part:
                case ir.Call(func=func) if calls.facts.qualified(func) in _ONE_HOT:
                    return True
                case ir.Call(func=ir.Attr(attr="scatter_" | "scatter")):
                    return True
                case ir.Subscript(value=ir.Call(func=func)) if calls.facts.qualified(func) in (
                    "torch.eye",
                    "numpy.eye",
                ):
                    return True
        return False

    def _is_error(self, node: ir.Expr, facts: ModuleFacts) -> bool:
        """True if a difference is sent on as an error, and not only measured."""
        below: ir.Node = node
        for above in facts.names.ancestors(node):
            match above:
                case ir.Binary(op="**") | ir.Compare():
                    return False
                case ir.Binary(op="@"):
                    return True
                case ir.Attr(attr=attr, value=value) if attr in _MEASURES and value is below:
                    return False
                case ir.Call(func=ir.Attr(attr="backward" | "matmul" | "mm")):
                    return True
                case ir.Call(func=func) if func is not below and facts.qualified(func) is not None:
                    return facts.qualified(func) in _SENDERS
                case ir.Assign(targets=[ir.Name(id=name)]):
                    return bool(set(words(name)) & _ERROR_WORDS) and _is_sent(above, name, facts)
                case ir.Assign(targets=[ir.Attr(attr=name)]):
                    return bool(set(words(name)) & _ERROR_WORDS)
                case ir.Stmt():
                    return False
            below = above
        return False


def _is_metric(loss: ir.Call, facts: ModuleFacts) -> bool:
    """Return True for a loss that is only looked at: without a graph, or made a number at once."""
    if carries_no_gradient(loss, facts):
        return True
    above = facts.names.parent(loss)
    match above:
        case ir.Attr(attr="item" | "detach" | "data" | "tolist"):
            return True
        case ir.Arg() if isinstance(call := facts.names.parent(above), ir.Call):
            return isinstance(call.func, ir.Name) and call.func.id in ("float", "print")
    return False


def _is_trained_on_square(error: ir.Expr, home: ir.FunctionDef | None, facts: ModuleFacts) -> bool:
    """Return True if a squared error stands beside an error that is its gradient, and is no metric itself."""
    for node in ir.walk(home.body if home is not None else facts.module.body):
        match node:
            case ir.Binary(op="**", left=base):
                is_square = True
            case ir.Binary(op="*", left=base, right=right) if ir.same(base, right):
                is_square = True
            case ir.Call(func=ir.Attr(attr="pow" | "square", value=base)) if facts.qualified(node.func) is None:
                is_square = True
            case ir.Call(func=func) if _is_squared_error(func, facts):
                base, is_square = func, False
            case _:
                continue
        if isinstance(node, ir.Expr) and not _is_looked_at(node, facts):
            if not is_square or any(part is error or ir.same(part, error) for part in slice_of(base, facts).nodes):
                return True
    return False


def _is_squared_error(func: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True for ``F.mse_loss``, and for what is called after it or made as ``nn.MSELoss()``."""
    if "mse" in facts.source(func).lower():
        return True
    return any(facts.qualified(call.func) == "torch.nn.MSELoss" for call in slice_of(func, facts).calls)


def _is_looked_at(node: ir.Expr, facts: ModuleFacts) -> bool:
    if carries_no_gradient(node, facts):
        return True
    for above in facts.names.ancestors(node):
        if isinstance(above, ir.Attr) and above.attr in ("item", "detach"):
            return True
        if isinstance(above, ir.Call) and isinstance(above.func, ir.Name) and above.func.id in ("float", "print"):
            return True
        if isinstance(above, ir.Stmt):
            break
    return False


def _origin(node: ir.Expr, facts: ModuleFacts) -> ir.Expr:
    """The expression behind a value: without ``detach`` and ``float``, and through names that are bound once."""
    seen: set[int] = set()
    while node.nid not in seen:
        seen.add(node.nid)
        match node:
            case ir.Call(func=ir.Attr(attr="detach" | "clone" | "float" | "double" | "contiguous", value=inner)):
                node = inner
            case ir.Attr(attr="data", value=inner):
                node = inner
            case ir.Name():
                bound = facts.names.reaching(node)
                if len(bound) == 1 and bound[0].how == "value" and bound[0].value is not None:
                    node = bound[0].value
    return node


def _difference(node: ir.Node, facts: ModuleFacts) -> list[tuple[ir.Expr, ir.Expr]]:
    """The two sides of a difference, either way round, as an operator, a method or a function."""
    match node:
        case ir.Binary(op="-", left=left, right=right):
            return [(left, right), (right, left)]
        case ir.Call(func=func, args=[ir.Arg(value=left), ir.Arg(value=right)]) if facts.qualified(func) in _SUBTRACT:
            return [(left, right), (right, left)]
        case ir.Call(func=ir.Attr(attr="sub" | "subtract", value=left) as func, args=[ir.Arg(value=right)]):
            return [(left, right), (right, left)] if facts.qualified(func) is None else []
    return []


def _is_changed_in_place(name: ir.Name, facts: ModuleFacts) -> bool:
    """Return True for an array that a method such as ``exp_`` changes, or a function that writes to it."""
    for use in ir.walk(facts.names.scope_of(name).node):
        if isinstance(use, ir.Name) and use.id == name.id:
            match facts.names.parent(use):
                case ir.Attr(attr=attr) if attr.endswith("_"):
                    return True
                case ir.Arg(keyword="out"):
                    return True
    return False


def _is_sent(statement: ir.Assign, name: str, facts: ModuleFacts) -> bool:
    """True if a name that a statement binds is read for anything but a measure: multiplied, stored, returned."""
    waiting, seen = [(statement, name)], {statement.nid}
    while waiting:
        bound, identifier = waiting.pop()
        for use in ir.walk(facts.names.scope_of(bound).node):
            if not isinstance(use, ir.Name) or use.id != identifier or use.nid < bound.nid:
                continue
            if all(binding.node is not bound for binding in facts.names.reaching(use)) or _is_target_of(use, facts):
                continue
            onward = _onward(use, facts)
            if onward is True:
                return True
            if isinstance(onward, ir.Assign) and onward.nid not in seen:
                seen.add(onward.nid)
                waiting += [(onward, target.id) for target in onward.targets if isinstance(target, ir.Name)]
    return False


def _is_target_of(use: ir.Name, facts: ModuleFacts) -> bool:
    above, below = facts.names.parent(use), use.nid
    if isinstance(above, ir.Subscript) and above.value is use:
        below = above.nid
        above = facts.names.parent(above)
    match above:
        case ir.Assign(targets=targets):
            return any(target.nid == below for target in targets)
        case ir.AugAssign(target=ir.Subscript() as target):
            return target.nid == below
    return False


def _onward(use: ir.Name, facts: ModuleFacts) -> ir.Assign | bool:
    """Where one read of an error goes: into a name, out (True), or into a measure (False)."""
    below: ir.Node = use
    for above in facts.names.ancestors(use):
        match above:
            case ir.Binary(op="**") | ir.Compare() | ir.Delete() | ir.If() | ir.Assert():
                return False
            case ir.Binary(op="@") | ir.Return() | ir.Yield() | ir.AugAssign():
                return True
            case ir.Attr(attr=attr, value=value) if value is below and attr in _MEASURES | _SHAPES:
                return False
            case ir.Call(func=func) if func is not below:
                last = (facts.qualified(func) or "").rpartition(".")[2] or (
                    func.id if isinstance(func, ir.Name) else ""
                )
                return last not in _MEASURES | _PRINTS and not last.endswith(("_loss", "_like"))
            case ir.Assign(targets=targets):
                return above if all(isinstance(target, ir.Name) for target in targets) else True
            case ir.Stmt():
                return isinstance(below, ir.Call)
        below = above
    return False
