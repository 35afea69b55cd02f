from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import values_of
from fa_lint.findings import Finding, Level
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.rules.common.elsewhere import related_steps
from fa_lint.rules.p2_floors._floors import floored_quotients
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["FlooredGradientCosine"]


class FlooredGradientCosine(Rule):
    """
    ## What it does
    Flags a hand-written cosine or projection of gradients whose denominator carries a floor: `a @ b / (a.norm() *
    b.norm() + 1e-8)`, a `clamp(min=…)` or `max(…, eps)` on the norms, an eps inside the root, unit vectors made with an
    additive eps before their product, and gradient entries zeroed below a threshold. An `error` where the values are
    computed as gradients, a `warning` where only names say so, a `hint` for `F.normalize` before the product (its
    floor of 1e-12 on each norm rarely bites). A helper that takes its vectors as parameters is judged by its callers, in
    this file or in others of the project.

    ## Why is this bad
    The floor is compared with the *product* of two norms. With `+ 1e-8`, two parallel gradients of norm 1e-4 give 0.5
    instead of 1, at 1e-5 0.0099 and at 1e-7 0: ten thousand times earlier than the clamp in `F.cosine_similarity`. With
    `+ 1e-12` a norm of 1e-6 gives 0.5. Zeroing entries with `|g| ≤ 1e-8` turned 8 to 15 % of the samples of a trained
    network into a cosine of exactly 0.

    ## Example
    ```python
    import torch

    def alignment(p, credit):
        g = p.grad.flatten()
        return torch.dot(g, credit) / (g.norm() * credit.norm() + 1e-8)
    ```

    ## Use instead
    ```python
    import torch
    from fa_lint_runtime import safe_cosine

    def alignment(p, credit):
        g = p.grad.flatten()
        return safe_cosine(g, credit, dim=0)
    ```

    ## Fix safety
    Unsafe, and offered where the whole expression is one cosine to the letter: Euclidean norms of the same two tensors along
    the dimension of the product, nothing else done to either. The result differs from the original
    by the floor's error. A zero vector gives NaN where the floor gave 0, so that the mean over a batch with one zero row
    becomes NaN, and the code then needs the package `fa_lint_runtime`. No fix for projections.

    With `fix-style = "torch"` the floor itself becomes `torch.finfo(torch.float32).tiny`, projections and unit vectors
    included: a zero vector gives 0 as before, and no package is needed. In fp16 that number is 0, and a zero vector NaN.

    ## References
    - [Yu et al. 2020, Gradient surgery for multi-task learning](https://arxiv.org/abs/2001.06782), for the projections
    - CHECKLIST.md, pitfall 2
    """

    code = "FAL203"
    name = "floored-gradient-cosine"
    summary = "a hand-written cosine or projection of gradients with a floor in its denominator"
    level = Level.ERROR
    pitfall = "P2"
    runtime = "fa_lint_runtime.safe_cosine"
    fixable = "unsafe"
    across = "gradients"
    # The gradient itself may live in another file; the floored quotient cannot.
    # A floor is a small literal or something called eps; ``F.normalize`` brings its own.
    gate = (
        occurs(b"/", b"div", b"normalize", b"= 0", b"rsqrt", b"reciprocal", b"**"),
        occurs(b"norm", b"sqrt", b".5", b"dot(", b"sum(", b"einsum", b"matmul", b"mm(", b"inner", b"abs(", b"@"),
        occurs(
            *(
                b"eps",
                b"EPS",
                b"Eps",
                b"tiny",
                b"Tiny",
                b"TINY",
                b"tability",
                b"STABILITY",
                b"e-",
                b"E-",
                b".0",
                b"**",
                b"functional",
            ),
            patterns=(
                # Whole words of a name, as `words` splits it: `steps` and `deps` are no eps.
                rb"eps(?<![a-zA-Z]eps)(?:ilon|(?![a-z]))",
                rb"tiny(?<![a-zA-Z]tiny)(?![a-z])",
                rb"stability(?<![a-zA-Z]stability)(?![a-z])",
                *(
                    rb"Eps(?:ilon|(?![a-z]))",
                    rb"Tiny(?![a-z])",
                    rb"Stability(?![a-z])",
                    rb"EPS",
                    rb"TINY",
                    rb"STABILITY",
                ),
                *(rb"e-(?<=\de-)\d", rb"e-(?<=\d\.e-)\d", rb"E-(?<=\dE-)\d", rb"E-(?<=\d\.E-)\d"),
                rb"\.0\d(?<=\d\.0\d)",
                rb"\*\* ?\(?-",
                rb"normalize\b(?<!\wnormalize)",
            ),
        ),
    )

    demonstration = Demonstration(
        setup="import torch\nfrom fa_lint_runtime import safe_cosine\n"
        "grad = torch.tensor([3e-6, 4e-6])\ncredit = 2 * grad",
        before="credit @ grad / (credit.norm() * grad.norm() + 1e-8)",
        after="safe_cosine(credit, grad)",
        claim="abs(before - 5e-11 / (5e-11 + 1e-8)) < 1e-5 and after == 1",
    )

    VALID = (
        "import torch\ndef f(p, q):\n    a, b = p.grad, q.grad\n    return (a * b).sum() / (a.norm() * b.norm())",
        "import torch\ndef f(p, q):\n    a, b = p.grad, q.grad\n"
        "    return (a * b).sum() / (a.norm().clamp_min(1e-30) * b.norm().clamp_min(1e-30))",
        "import torch\ndef f(feats, other): return (feats * other).sum() / (feats.norm() * other.norm() + 1e-8)",
        "import torch\nfrom .constants import EPS\ndef f(p, q):\n    a, b = p.grad, q.grad\n"
        "    return (a * b).sum() / (a.norm() * b.norm() + EPS)",
        "import torch\ndef coherence(p):\n    g = p.grad\n    s = g.sum(0)\n    return s @ s / ((g * g).sum() + 1e-8)",
        "import torch\ndef step(p): p.grad /= p.grad.norm() + 1e-8",
        "import torch\ndef f(sdf, xyz, n):\n    g = torch.autograd.grad(sdf.sum(), xyz)[0]\n"
        "    return (g * n).sum(-1) / (g.norm(dim=-1) * n.norm(dim=-1) + 1e-8)",
        "import torch\ndef f(p, z, onehot):\n    grad_proxy = torch.softmax(z, -1) - onehot\n"
        "    return grad_proxy @ p / (grad_proxy.norm() * p.norm() + 1e-8)",
        "import torch\ndef cosine(a, b): return a @ b / (a.norm() * b.norm() + 1e-8)\n"
        "def f(layer, other): return cosine(layer.weight, other.weight)",
        "import torch\ndef f(p, q):\n    a, b = p.grad.flatten(), q.grad.flatten()\n    if a.norm() < 1e-4:\n"
        "        raise ValueError('too small')\n    return a @ b / (a.norm() * b.norm() + 1e-8)",
    )
    INVALID = (
        Invalid(
            """
            import torch
            def gamma(p, q):
                a, b = p.grad.flatten(), q.grad.flatten()
                return torch.dot(a, b) / (a.norm() * b.norm() + 1e-8)
            """,
            lines=(4,),
            fixed="""
            from fa_lint_runtime import safe_cosine
            def gamma(p, q):
                a, b = p.grad.flatten(), q.grad.flatten()
                return safe_cosine(a, b, dim=0)
            """,
        ),
        Invalid(
            """
            import torch
            def gamma(p, credit):
                g = p.grad
                return (g * credit).sum(dim=-1) / torch.clamp(g.norm(dim=-1) * credit.norm(dim=-1), min=1e-8)
            """,
            lines=(4,),
            fixed="""
            from fa_lint_runtime import safe_cosine
            def gamma(p, credit):
                g = p.grad
                return safe_cosine(g, credit, dim=-1)
            """,
        ),
        Invalid(
            """
            import torch
            def surgery(losses, params):
                gs = [torch.cat([g.flatten() for g in torch.autograd.grad(l, params)]) for l in losses]
                for gi in gs:
                    for gj in gs:
                        gi -= (gi @ gj) / (gj.norm() ** 2 + 1e-8) * gj
            """,
            lines=(6,),
        ),
        Invalid(
            """
            import torch
            def cosine(u, v):
                eps = 1e-8
                n = u.norm() * v.norm() + eps
                return (u * v).sum() / n
            def gamma(p, q):
                return cosine(p.grad, q.grad)
            """,
            lines=(5,),
            fixed="""
            import torch
            from fa_lint_runtime import safe_cosine
            def cosine(u, v):
                return safe_cosine(u.flatten(), v.flatten(), dim=0)
            def gamma(p, q):
                return cosine(p.grad, q.grad)
            """,
        ),
        Invalid(
            """
            import torch
            class Probe:
                def __init__(self, sensitivity=1e-8):
                    self.sensitivity = sensitivity
                def clean(self, p):
                    g = p.grad
                    g[g.abs() <= self.sensitivity] = 0
                    return g
            """,
            lines=(7,),
        ),
        Invalid(
            """
            import torch
            def gamma(p, q):
                u = p.grad / (p.grad.norm() + 1e-8)
                v = q.grad / (q.grad.norm() + 1e-8)
                return (u * v).sum()
            """,
            lines=(3, 4),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        yield from floored_quotients(facts, self)
        for node in facts.nodes_of(ir.Assign):
            if isinstance(node, ir.Assign) and isinstance(node.targets[0], ir.Subscript):
                yield from self._zeroed(node, node.targets[0], node.value, facts)

    def _zeroed(self, node: ir.Assign, entries: ir.Subscript, value: ir.Expr, facts: ModuleFacts) -> Iterator[Finding]:
        """``g[g.abs() <= 1e-8] = 0``"""
        if facts.values.number(value) != 0 or len(entries.index) != 1:
            return
        test = entries.index[0]
        if isinstance(test, ir.Name):
            bound = [b.value for b in facts.names.reaching(test) if b.how == "value" and b.value is not None]
            test = bound[0] if len(bound) == 1 else test
        if not isinstance(test, ir.Compare) or test.ops[0] not in ("<", "<="):
            return
        threshold = facts.values.number(test.comparators[0])
        if threshold is None or not 0 < threshold <= 1e-4 or not isinstance(test.left, ir.Call):
            return
        # Each absolute value is that of the vector whose entries are set.
        values = values_of(facts)
        if not _is_absolute(test.left, facts) or not _is_one(values.of(test.left), values.of(entries.value)):
            return
        gradients = [x for x, _ in values.of(entries.value) if isinstance(x, t.Vector) and x.role.is_gradient]
        if not gradients:
            return
        computed = all(vector.computed for vector in gradients)
        yield self.find(
            facts,
            node,
            f"gradient entries with |g| ≤ {threshold:g} are set to 0: a small gradient loses its direction or becomes zero",
            computes="a cosine with a truncated vector; exactly 0 where every entry is below the threshold",
            level=Level.ERROR if computed else Level.WARNING,
            related=related_steps(values, gradients[0].evidence),
        )


def _is_absolute(call: ir.Call, facts: ModuleFacts) -> bool:
    name = facts.qualified(call.func) or (call.func.id if isinstance(call.func, ir.Name) else "")
    return name in ("torch.abs", "numpy.abs", "abs") or (isinstance(call.func, ir.Attr) and call.func.attr == "abs")


def _is_one(left: t.Alternatives, right: t.Alternatives) -> bool:
    return bool({t.key(term) for term, _ in left} & {t.key(term) for term, _ in right})
