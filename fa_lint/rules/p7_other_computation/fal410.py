from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.frames import Frame
from fa_lint.analysis.values import Values, values_of
from fa_lint.findings import Finding, Level
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.rules.common.elsewhere import related_steps
from fa_lint.rules.p7_other_computation._picks import Picks, is_given_gradients, mentions_gradients, pairing
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.slices import slice_of

__all__ = ["CrossParameterComparison"]

# They compare each row of a matrix with each other one.
_OF_ROWS = frozenset(
    "numpy.corrcoef torch.corrcoef jax.numpy.corrcoef sklearn.metrics.pairwise.cosine_similarity "
    "torchmetrics.functional.pairwise_cosine_similarity".split()
)


class CrossParameterComparison(Rule):
    """
    ## What it does
    Flags cosines, and signs of inner products, between the entries of one list of gradients that has an entry for each
    *parameter*: `grads[i]` with `grads[j]` of `[p.grad for p in model.parameters()]` or `autograd.grad(loss, params)`,
    two loops over the same parameters, `combinations`, `zip(grads, grads[1:])`, and the rows of their stack
    (`np.corrcoef`, `R[:, None]` with `R[None]`). Silent where the list has an entry for each task, loss or
    sample, where one parameter is compared between two passes or two models, and on the rows of one gradient.

    ## Why is this bad
    The entries of that list come from one loss and point into different spaces: coordinate k of one is a weight of another
    layer than coordinate k of the other. Their cosine measures neither agreement nor conflict of tasks, and renumbering
    hidden units, which leaves the function as it is, changes it. Measured on 100 MLPs with four 64×64 layers and one loss:
    46 % of the pairs are "in conflict", and a renumbering moves their cosines by up to 0.09; the cosine between the
    gradients of two losses, 0.3219, stays to seven digits.

    ## Example
    ```python
    import torch

    def task_conflicts(model, loss):
        loss.backward()
        grads = [p.grad.flatten() for p in model.heads.parameters()]
        pairs = [(i, j) for i in range(len(grads)) for j in range(i)]
        return sum(torch.dot(grads[i], grads[j]) < 0 for i, j in pairs)
    ```

    ## Use instead
    ```python
    import torch

    def task_conflicts(model, losses):
        params = list(model.shared.parameters())
        rows = [torch.autograd.grad(loss, params, retain_graph=True) for loss in losses]
        grads = [torch.cat([g.flatten() for g in row]) for row in rows]
        pairs = [(i, j) for i in range(len(grads)) for j in range(i)]
        return sum(torch.dot(grads[i], grads[j]) < 0 for i, j in pairs)
    ```

    ## Fix safety
    No fix: the comparison needs one gradient for each loss, towards the same parameters.

    ## References
    - T. Yu et al., *Gradient surgery for multi-task learning*, 2020: the cosine between the gradients of two losses
    """

    code = "FAL410"
    name = "cross-parameter-comparison"
    summary = "gradients of different parameters compared with each other"
    level = Level.WARNING
    pitfall = "P7"
    runtime = "fa_lint_runtime.safe_cosine_matrix"
    gate = (
        occurs(b"grad", patterns=(rb"\.grad\b", rb"import grad\b")),
        occurs(b"param", b"heads", b"blocks", b"layers", b"modules", b"children", b"stages", b"convs"),
        occurs(b"cosine", b"Cosine", b"corrcoef", b"norm", b"dot", b"sum", b"@", b"inner", b"mm(", b"matmul"),
    )

    demonstration = Demonstration(
        setup="""
import torch
g = torch.Generator().manual_seed(0)
W = [torch.randn(64, 64, generator=g) / 8 for _ in range(4)]
x, y, z = (torch.randn(32, 64, generator=g) for _ in range(3))
order = torch.randperm(64, generator=g)
same = [W[0], W[1][order], W[2][:, order], W[3]]
def grads(weights, target):
    weights = [w.clone().requires_grad_() for w in weights]
    h = x
    for w in weights[:-1]:
        h = torch.tanh(h @ w.T)
    loss = ((h @ weights[-1].T - target) ** 2).mean()
    return [d.flatten() for d in torch.autograd.grad(loss, weights)]
def cos(a, b):
    return torch.dot(a, b) / (a.norm() * b.norm())
def layers(weights):
    return cos(*grads(weights, y)[:2])
def losses(weights):
    return cos(torch.cat(grads(weights, y)), torch.cat(grads(weights, z)))
""",
        before="(layers(W) - layers(same)).abs()",
        after="(losses(W) - losses(same)).abs()",
        claim="before > 0.01 and after < 1e-5",
    )

    VALID = (
        "import torch\ndef between_tasks(params, losses):\n"
        "    grads = [torch.cat([g.flatten() for g in torch.autograd.grad(l, params, retain_graph=True)]) for l in losses]\n"
        "    return [torch.cosine_similarity(grads[i], grads[j], dim=0) for i in range(3) for j in range(i)]",
        "import torch\ndef between_passes(model, la, lb):\n    params = list(model.parameters())\n"
        "    first = torch.autograd.grad(la, params, retain_graph=True)\n    second = torch.autograd.grad(lb, params)\n"
        "    return [torch.cosine_similarity(a.flatten(), b.flatten(), dim=0) for a, b in zip(first, second)]",
    )
    INVALID = (
        Invalid(
            """
            import torch
            def conflicts(model, loss):
                loss.backward()
                grads = [p.grad.flatten() for p in model.parameters()]
                for i, g in enumerate(grads):
                    for h in grads[i + 1:]:
                        yield torch.cosine_similarity(g, h, dim=0)
            """,
            lines=(7,),
        ),
        Invalid(
            """
            import torch
            from itertools import combinations
            def agreement(params, loss):
                grads = torch.autograd.grad(loss, params)
                return [torch.dot(a, b) / (a.norm() * b.norm()) for a, b in combinations(grads, 2)]
            """,
            lines=(5,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        values = values_of(facts)
        picks = Picks(values)
        found: dict[int, t.Vector] = {}
        for function, nodes in pairing(facts).items():
            if mentions_gradients(function, facts):
                root = values.evaluator.root(values.module, function)
                _compare(root, nodes, picks, values, found)
            if isinstance(function, ir.FunctionDef) and function.params and is_given_gradients(function, facts):
                for frame in values.frames_of(function):
                    inside: dict[int, t.Vector] = {}
                    _compare(frame, nodes, picks, values, inside)
                    if inside.keys() - found.keys():
                        vector = next(iter(inside.values()))
                        found |= {call.nid: vector for call in values.calls_to(frame)}
        for number, vector in sorted(found.items()):
            yield self.find(
                facts,
                facts.node(number),
                "gradients of different parameters compared with each other: both come from one loss and lie in different "
                "spaces; compare one gradient for each loss, towards the same parameters",
                computes="the cosine of vectors whose coordinates belong to different weights",
                related=related_steps(values, vector.evidence),
            )


def _compare(frame: Frame, nodes: list[ir.Expr], picks: Picks, values: Values, found: dict[int, t.Vector]) -> None:
    """Add the innermost comparisons of two entries of one list of parameters' gradients."""
    outer: set[int] = set()
    names = frame.module.facts.names
    for node in nodes:
        if node.nid in outer:
            continue
        correlated = _correlated(node, frame, picks, values)
        if correlated is not None:
            found[node.nid] = correlated
            continue
        for term in _measured(node, frame, values):
            a, b = term.dots[0]
            if not (a.role is b.role is t.Role.GRADIENT and a.computed and b.computed):
                continue
            first, second = picks.of(a.ident, frame), picks.of(b.ident, frame)
            apart = first and second and first.container == second.container and first.key != second.key
            rows = picks.are_rows(a.ident, b.ident) or (_is_every_pair(a, b) and picks.has_rows(a.ident))
            if apart or (rows and _stacks(node, frame.module.facts)):
                found[node.nid] = a
                outer |= {above.nid for above in names.ancestors(node)}
                break


def _is_every_pair(a: t.Vector, b: t.Vector) -> bool:
    """Return True for ``x[:, None]`` and ``x[None]``: each row meets each row."""
    new = [[place for place, axis in enumerate(vector.layout) if axis is None] for vector in (a, b)]
    return a.ident == b.ident and all(new) and new[0] != new[1]


def _correlated(node: ir.Expr, frame: Frame, picks: Picks, values: Values) -> t.Vector | None:
    """Return the rows whose correlations or cosines a library takes in one call."""
    facts = frame.module.facts
    if not isinstance(node, ir.Call) or len(node.args) != 1 or facts.qualified(node.func) not in _OF_ROWS:
        return None
    for term, _ in values.evaluator.of(frame, node.args[0].value):
        if isinstance(term, t.Vector) and term.role is t.Role.GRADIENT and term.computed:
            if picks.has_rows(term.ident) and _stacks(node, facts):
                return term
    return None


def _stacks(node: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True where a value is computed from vectors stacked as rows."""
    return any((facts.qualified(c.func) or "").endswith(("stack", "vstack")) for c in slice_of(node, facts).calls)


def _measured(node: ir.Expr, frame: Frame, values: Values) -> Iterator[t.Monomial]:
    """The cosines that an expression can be, and the inner products whose sign it asks for."""
    asked: list[ir.Expr] = []
    match node:
        case ir.Compare(left=left, comparators=[right]):
            zero = [side for side in (left, right) if isinstance(side, ir.Const) and side.value == 0]
            asked = [side for side in (left, right) if side not in zero] if zero else []
        case ir.Call(func=ir.Attr(value=value, attr="sign" | "sgn"), args=[]):
            asked = [value]
        case ir.Call(func=ir.Attr(attr="sign" | "sgn"), args=[ir.Arg(value=value)]):
            asked = [value]
    for side in asked:
        for term, _ in values.evaluator.of(frame, side):
            if isinstance(term, t.Monomial) and len(term.dots) == 1 and not term.vectors:
                yield term
    if not isinstance(node, ir.Compare):
        for term, _ in values.evaluator.of(frame, node):
            if isinstance(term, t.Monomial) and len(term.dots) == 1 and not term.vectors:
                exponents = [exponent for _, exponent in term.norms]
                if exponents == [-1, -1] or (exponents == [-2] and _is_every_pair(*term.dots[0])):
                    yield term
