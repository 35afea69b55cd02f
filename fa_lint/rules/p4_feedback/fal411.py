from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis.values import Values, values_of
from fa_lint.findings import Finding, Level
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.rules.p4_feedback._list_pairs import (
    carries_feedback,
    chosen_item,
    clamped_index,
    enumerated_feedback,
    holds_gradients,
    is_feedback,
    is_shifted,
    is_states,
    items_with,
    loop_of,
    loops_of,
)
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.list_lengths import ListLengths

__all__ = ["MispairedFeedback"]

_CLAMPED = "feedback under an index that is clamped to the last matrix"
_INDEXED = "gradients that begin with the input's, indexed like the feedback"
_ADVICE = "pair block l's output with the feedback of block l (`zip(grads[1:], Bs, strict=True)`)"


class MispairedFeedback(Rule):
    """
    ## What it does
    Flags gradients of hidden states that are paired with the feedback of another layer: an index that is clamped to the last
    matrix (`Bs[min(l, L - 1)]`), and `zip(grads, Bs)` or `grads[i]` beside `Bs[i]` where the gradients have one entry more,
    that of the input or the embedding, in front. Silent on `zip(grads[1:], Bs)`, on `Bs[l - 1]`, on `zip(…, strict=True)`, and
    where nothing in the file says that the lengths differ, or the states are trained under the same clamped index.

    ## Why is this bad
    State `h[l + 1]` is what block l makes, and block l was trained with `Bs[l]`. Paired by its own number, each state but the
    first meets a matrix that did not train it. Measured on a network with four blocks, trained by direct feedback alignment: Γ
    per state is 0.42, 0.18, 0.22, 0.16, 0.20 with the clamped index, and 0.42, 0.55, 0.37, 0.30, 0.20 with the site's own
    matrix. On another one 0.016 became 0.356. No shape is wrong, so nothing fails.

    ## Example
    ```python
    import torch

    def gammas(hiddens, loss, error, Bs, cosine):
        grads = torch.autograd.grad(loss, hiddens)
        return [cosine(g, error @ Bs[min(l, len(Bs) - 1)]) for l, g in enumerate(grads)]
    ```

    ## Use instead
    ```python
    import torch

    def gammas(hiddens, loss, error, Bs, cosine):
        grads = torch.autograd.grad(loss, hiddens)
        return [cosine(g, error @ B) for g, B in zip(grads[1:], Bs, strict=True)]
    ```

    ## Fix safety
    No fix: whether a matrix belongs to the input or to the output of its block is the training code's to say.

    ## References
    - A. Nøkland, *Direct feedback alignment provides learning in deep neural networks*, NeurIPS 2016
    - [zip](https://docs.python.org/3/library/functions.html#zip): `strict=True` raises where the lengths differ
    """

    code = "FAL411"
    name = "mispaired-feedback"
    summary = "gradients of hidden states paired with the feedback of another layer"
    level = Level.WARNING
    pitfall = "P4"
    runtime = "fa_lint_runtime.Feedback"
    gate = (
        occurs(b"zip(", b"min(", b"minimum(", b"range(", b"enumerate(", b" else "),
        occurs(b"grad", b"credit", b"costate", b"gamma", b"align"),
        # The names that feedback has by itself or beside other evidence, as `semantics/feedback_names.py` reads them.
        occurs(
            b"B",
            b"R",
            b"H",
            b"eedback",
            b"back",
            b"fb",
            b"fa",
            b"rojection",
            b"random_",
            b"fixed_",
            b"bwd",
            b"b_mat",
            patterns=(
                rb"eedback",
                rb"[BRH](?<![A-Za-z0-9][BRH])(?:s|mats?)?(?:_?\d+|_\w+)?\b",
                rb"bwd",
                rb"back(?<![a-z]back)(?:_?[wmWM]\w*)?s?\b",
                rb"fb_?[wm]",
                rb"fa_?[wm]",
                rb"_(?:fa|fb)\b",
                rb"random_",
                rb"fixed_",
                rb"rojection",
                rb"b_mat",
            ),
        ),
    )

    demonstration = Demonstration(
        setup="""
import torch
torch.manual_seed(0)
d, C, L = 64, 8, 3
x, y = torch.randn(512, d), torch.randint(C, (512,))
Ws, Bs = [torch.zeros(d, d, requires_grad=True) for _ in range(L)], [torch.randn(C, d) / C**0.5 for _ in range(L)]
V = (torch.randn(d, C) / d**0.5).requires_grad_()
opt = torch.optim.Adam([*Ws, V], 1e-3)
for step in range(200):
    hs, updates = [x.clone().requires_grad_()], []
    for W in Ws:
        updates.append(torch.tanh(hs[-1].detach() @ W))
        hs.append(hs[-1] + torch.tanh(hs[-1] @ W))
    logits = hs[-1] @ V
    losses = torch.nn.functional.cross_entropy(logits, y, reduction="none")
    grads = torch.autograd.grad(losses.sum(), hs, retain_graph=True)
    error = (logits.softmax(1) - torch.eye(C)[y]).detach()
    V.grad, = torch.autograd.grad(losses.mean(), V)
    for W, B, update in zip(Ws, Bs, updates):
        W.grad, = torch.autograd.grad((update * (error @ B)).sum(1).mean(), W)
    opt.step()
def gamma(g, B): return torch.cosine_similarity(g * 1e6, error @ B, dim=1).mean()
""",
        before="gamma(grads[1], Bs[min(1, L - 1)])",
        after="gamma(grads[1], Bs[0])",
        claim="after > before + 0.15",
    )

    VALID = (
        "import torch\ndef f(hs, loss, e, Bs, cos):\n    grads = torch.autograd.grad(loss, hs)\n"
        "    return [cos(g, e @ B) for g, B in zip(grads[1:], Bs)]",
        "import torch\ndef f(hs, loss, e, Bs, cos):\n    grads = torch.autograd.grad(loss, hs)\n"
        "    return [cos(grads[l], e @ Bs[l - 1]) for l in range(1, len(grads))]",
        "import torch\ndef f(hs, loss, e, Bs, cos):\n    grads = torch.autograd.grad(loss, hs)\n"
        "    return [cos(g, e @ B) for g, B in zip(grads, Bs, strict=True)]",
        "def f(blocks, h, e, Bs):\n    for l, block in enumerate(blocks):\n        h = block(h, e @ Bs[min(l, len(Bs) - 1)])\n"
        "    grad = e\n    return h, grad",
    )
    INVALID = (
        Invalid(
            """
            import torch
            def f(hs, loss, e, Bs, L, cos):
                grads = torch.autograd.grad(loss, hs)
                return [cos(g, e @ Bs[min(l, L - 1)]) for l, g in enumerate(grads)]
            """,
            lines=(4,),
        ),
        Invalid(
            """
            import torch
            def f(model, x, y, loss_fn, e, cos):
                assert len(model.blocks) == len(model.Bs)
                hs = [model.embed(x)]
                for block in model.blocks:
                    hs.append(block(hs[-1]))
                grads = torch.autograd.grad(loss_fn(hs[-1], y), hs)
                return [cos(g, e @ B) for g, B in zip(grads, model.Bs)]
            """,
            lines=(8,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        values = values_of(facts)
        reported: set[int] = set()
        for node in facts.nodes_of(ir.Subscript, ir.Conditional, ir.Call):
            text = ""
            match node:
                case ir.Subscript() | ir.Conditional():
                    clamped = _clamped(node, facts)
                    if clamped is not None and self._is_paired(*clamped, facts, values):
                        text = "" if facts.derived(_trains_clamped) else _CLAMPED
                    elif clamped is None and isinstance(node, ir.Subscript) and len(node.index) == 1:
                        if is_feedback(node.value, facts):
                            text = self._shifted(node, node.index[0], facts, values)
                        elif isinstance(node.index[0], ir.Name):
                            text = self._beside_enumerated(node.value, node.index[0], facts, values)
                case ir.Call(func=ir.Name(id="zip")):
                    text = self._zipped(node, facts, values)
            statement = (facts.names.statement(node) or node).nid
            if text and statement not in reported:
                reported.add(statement)
                yield self.find(
                    facts,
                    node,
                    f"{text}: a state is paired with the feedback of the next block; {_ADVICE}",
                    computes="Γ of a state with feedback that did not train it",
                )

    def _is_paired(self, matrices: ir.Expr, index: ir.Name, bound: ir.Expr, facts: ModuleFacts, values: Values) -> bool:
        """Return True where the index runs over gradients or hidden states, and can reach the bound."""
        lengths = facts.derived(ListLengths)
        last = lengths.number(bound)
        for name, loop in loops_of(index, facts):
            turns = lengths.of(loop.iter)
            if turns is not None and (turns == lengths.of(matrices) or (last and turns == last.longer(1, 0))):
                continue
            over = [part for part in ir.walk(loop.iter) if isinstance(part, ir.Name | ir.Attr)]
            taken = [part.value for part in items_with(name, loop, facts)]
            if any(is_states(part, values) for part in (*over, *taken)):
                return True
        return False

    def _shifted(self, node: ir.Subscript, index: ir.Expr, facts: ModuleFacts, values: Values) -> str:
        """``grads[i]`` beside ``Bs[i]`` in one loop, and no ``grads[i + 1]``."""
        loop = loop_of(index, facts) if isinstance(index, ir.Name) else None
        if loop is None or not isinstance(index, ir.Name):
            return ""
        lengths, statement = facts.derived(ListLengths), facts.names.statement(node)
        items = [part for part in items_with(index, loop, facts) if not is_feedback(part.value, facts)]
        items = [part for part in items if is_states(part.value, values, sure=True)]
        items = [part for part in items if facts.names.statement(part) is statement] or items
        if any(not isinstance(part.index[0], ir.Name) for part in items):
            return ""
        beside = [part.value for part in items]
        match loop.target, loop.iter:
            case ir.Sequence(items=[_, _]), ir.Call(func=ir.Name(id="enumerate"), args=[ir.Arg(value=value), *_]):
                beside += [value] if is_states(value, values, sure=True) and not is_feedback(value, facts) else []
        if any(is_shifted(value, node.value, lengths) for value in beside):
            return _INDEXED
        return ""

    def _beside_enumerated(self, states: ir.Expr, index: ir.Name, facts: ModuleFacts, values: Values) -> str:
        """``grads[i]`` in ``for i, B in enumerate(Bs)``, and no ``grads[i + 1]``."""
        loop = loop_of(index, facts)
        matrices = enumerated_feedback(loop, facts) if loop is not None else None
        if loop is None or matrices is None or not is_shifted(states, matrices, facts.derived(ListLengths)):
            return ""
        if any(not isinstance(part.index[0], ir.Name) for part in items_with(index, loop, facts)):
            return ""
        return _INDEXED if is_states(states, values, sure=True) else ""

    def _zipped(self, node: ir.Call, facts: ModuleFacts, values: Values) -> str:
        if any(arg.keyword == "strict" and facts.values.constant(arg.value) is not False for arg in node.args):
            return ""
        sides = [arg.value for arg in node.args if arg.keyword is None and not arg.star]
        lists = [side for side in sides if is_feedback(side, facts)]
        # A list that is zipped with feedback has an entry for each matrix, and so have blocks that carry theirs.
        beside = [side for side in sides if lists or carries_feedback(side, node, facts)]
        lengths = facts.derived(ListLengths)
        for states in (side for side in sides if side not in lists):
            length = lengths.of(states)
            if length is not None and any(lengths.of(side) == length for side in lists):
                continue
            if any(is_shifted(states, side, lengths) for side in (*lists, *beside) if side is not states):
                if holds_gradients(states, node, facts, values):
                    return "`zip` of feedback and of gradients that begin with the input's"
        return ""


def _clamped(node: ir.Subscript | ir.Conditional, facts: ModuleFacts) -> tuple[ir.Expr, ir.Name, ir.Expr] | None:
    """The list, the variable and the bound of feedback under a clamped index."""
    match node:
        case ir.Subscript(value=value, index=[index]) if is_feedback(value, facts):
            clamped = clamped_index(index, facts)
            return None if clamped is None else (value, *clamped)
        case ir.Conditional():
            chosen = chosen_item(node, facts)
            return None if chosen is None else (chosen[0].value, *chosen[1:])
    return None


def _trains_clamped(facts: ModuleFacts) -> bool:
    """True if states are trained by the matrices under a clamped index, too: ``h.backward(e @ Bs[min(l, L - 1)])``."""
    for node in facts.nodes_of(ir.Subscript, ir.Conditional):
        assert isinstance(node, ir.Subscript | ir.Conditional)
        clamped = _clamped(node, facts)
        for index, loop in loops_of(clamped[1], facts) if clamped is not None else ():
            if isinstance(loop, ir.For) and _sends_back(loop, index):
                return True
    return False


def _sends_back(loop: ir.For, index: ir.Name) -> bool:
    """True if a loop gives its states a gradient: ``h.backward(…)``, ``states[l].backward(…)``, ``h.grad = …``."""
    items = {part.id for part in ir.walk(loop.target) if isinstance(part, ir.Name)} - {index.id}
    for part in ir.walk(loop.body):
        match part:
            case ir.Call(func=ir.Attr(value=state, attr="backward"), args=[_, *_]):
                pass
            case ir.Assign(targets=[ir.Attr(value=state, attr="grad")]):
                pass
            case _:
                continue
        match state:
            case ir.Name(id=name) if name in items:
                return True
            case ir.Subscript(index=[ir.Name(id=name)]) if name == index.id:
                return True
    return False
