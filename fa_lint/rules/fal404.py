from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import values_of
from fa_lint.findings import Finding, Level, Related
from fa_lint.rules._compared import Comparison, comparisons
from fa_lint.rules._elsewhere import related_steps
from fa_lint.rules._measure_words import COSINE_GATE
from fa_lint.rules.base import Invalid, Rule
from fa_lint.semantics import ir
from fa_lint.semantics.aliases import aliases
from fa_lint.semantics.congruence import congruent
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.kept import kept_gradient
from fa_lint.semantics.words import words

__all__ = ["SelfComparison"]

_REASONS = {
    "name": "both sides are the same value",
    "alias": "both sides are the same value under two names",
    "copy": "one side is a copy of the other that nothing has modified",
    "model": "one model is a deep copy of the other, and nothing has stepped either",
    "branches": "every branch assigns the same source",
}
# A deliberate check says so.
_DELIBERATE = frozenset(
    "self sanity identity identical same perfect check expected reference test tests assert upper ideal oracle norm "
    "norms normalizer normalization denominator denom".split()
)


class SelfComparison(Rule):
    """
    ## What it does
    Flags a cosine or an angle of a value with itself: the same name twice, an alias or an unmodified `.clone()`,
    `.detach()` or `.copy()` of it, two names that every branch binds to one source, the parameters of a deep copied model
    that no optimiser has stepped, and `p.grad` kept without a copy while a second `backward()` adds to the same tensor.
    Functions of the module that take the cosine of their parameters are judged by their calls; a function of another
    file whose name says cosine or alignment gives a `warning`.
    Silent in assertions and tests, in normalisations (`k(a, b) / sqrt(k(a, a) * k(b, b))`) and on matrices of all pairs.

    ## Why is this bad
    The result is 1 (0°) whatever the network does. In a published comparison of DFA with backprop the second model was
    a deep copy and the optimiser had been built on the first: its "angles" between the two were the rounding
    of `acos` near 1, up to 3.5e-4 rad, in every layer and epoch. Keeping `g = p.grad` and calling `p.grad.zero_()` gives the
    same 1.0000 for two unrelated losses.

    ## Example
    ```python
    import torch

    def alignment(p, loss_a, loss_b):
        loss_a.backward()
        a = p.grad
        p.grad.zero_()
        loss_b.backward()
        b = p.grad
        return torch.cosine_similarity(a.flatten(), b.flatten(), dim=0)
    ```

    ## Use instead
    ```python
    import torch
    from fa_lint_runtime import safe_cosine

    def alignment(p, loss_a, loss_b):
        (a,) = torch.autograd.grad(loss_a, p)
        (b,) = torch.autograd.grad(loss_b, p)
        return safe_cosine(a.flatten(), b.flatten(), dim=0)
    ```

    ## Fix safety
    No fix: which two values were to be compared is the author's to say.

    ## References
    - [torch.Tensor.backward](https://docs.pytorch.org/docs/stable/generated/torch.Tensor.backward.html): gradients accumulate
      in the leaves
    - CHECKLIST.md, pitfall 6.5
    """

    code = "FAL404"
    name = "self-comparison"
    summary = "a cosine or angle of a value with itself"
    level = Level.ERROR
    pitfall = "P6.5"
    runtime = "fa_lint_runtime.safe_cosine"
    gate = COSINE_GATE

    VALID = (
        "import torch.nn.functional as F\ndef f(a, b): return F.cosine_similarity(a, b, dim=0)",
        "import torch.nn.functional as F\ndef f(x): return F.cosine_similarity(x[:, None], x[None], dim=-1)",
        "import torch.nn.functional as F\ndef f(p, other):\n    g = p.grad.clone()\n    other.backward()\n"
        "    return F.cosine_similarity(g, p.grad, dim=0)",
        "import torch.nn.functional as F\ndef f(w, noise):\n    v = w.clone()\n    v += noise\n    return F.cosine_similarity(v, w, dim=0)",
        "import torch.nn.functional as F\ndef test_it(x): assert F.cosine_similarity(x, x, dim=0) > 0.99",
        "import torch\ndef f(p, loss_a, loss_b):\n    loss_a.backward()\n    a = p.grad\n    p.grad = None\n    loss_b.backward()\n"
        "    return torch.cosine_similarity(a, p.grad, dim=0)",
        "import copy, torch\ndef f(model, x, y, loss):\n    twin = copy.deepcopy(model)\n"
        "    opt = torch.optim.SGD(twin.parameters(), lr=0.1)\n    loss(twin(x), y).backward()\n    opt.step()\n"
        "    return [torch.cosine_similarity(p.view(-1), q.view(-1), dim=0)\n"
        "            for p, q in zip(model.parameters(), twin.parameters())]",
        "import torch\ndef cka(k, l):\n    def align(a, b): return (a * b).sum() / (a.norm() * b.norm())\n"
        "    return align(k, l) / torch.sqrt(align(k, k) * align(l, l))",
    )
    INVALID = (
        Invalid(
            "import torch.nn.functional as F\ndef f(p):\n    g = p.grad\n    return F.cosine_similarity(g, g, dim=0)",
            lines=(4,),
        ),
        Invalid(
            "import torch\ndef cosine(g):\n    h = g.detach().clone()\n    return torch.dot(g, h) / (g.norm() * h.norm())",
            lines=(4,),
        ),
        Invalid(
            """
            from metrics import grad_alignment
            import numpy as np
            def report(grad_fed):
                return grad_alignment(grad_fed, grad_fed)
            """,
            lines=(4,),
        ),
        Invalid(
            """
            import torch
            def gamma(bp, mode, p, q):
                if mode == "dfa":
                    other = p.grad
                else:
                    other = p.grad
                return torch.cosine_similarity(p.grad, other, dim=0)
            """,
            lines=(7,),
        ),
        Invalid(
            """
            import copy
            import torch
            def angles(one, two):
                found = []
                for p, q in zip(one.parameters(), two.parameters()):
                    cos = torch.dot(p.view(-1), q.view(-1)) / (p.norm() * q.norm())
                    found.append(torch.acos(cos.clamp(-1, 1)))
                return found
            def train(model, loader, loss):
                opt = torch.optim.Adam(model.parameters())
                for x, y in loader:
                    twin = copy.deepcopy(model)
                    opt.zero_grad()
                    loss(twin(x), y).backward()
                    opt.step()
                    print(angles(model, twin))
            """,
            lines=(16,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        reported: set[int] = set()
        for finding, node in self._compared(facts):
            statement = facts.names.statement(node)
            reported.add(statement.nid if statement is not None else node.nid)
            yield finding
        yield from self._computed(facts, reported)

    def _computed(self, facts: ModuleFacts, reported: set[int]) -> Iterator[Finding]:
        """Cosines whose vectors are one value, in every way they come about or in some."""
        values = values_of(facts)
        ways: dict[tuple[int, int], list[t.Monomial]] = {}
        is_same = values.evaluator.members.is_same
        for made in values.made_of_anything():
            if made.module is values.module and not made.frame.calls and isinstance(made.term, t.Monomial):
                if isinstance(made.node, ir.Expr) and made.term.is_cosine:
                    ways.setdefault((made.frame.number, made.node.nid), []).append(made.term)
        for (number, nid), cosines in ways.items():
            node, frame = facts.node(nid), values.evaluator.frames[number]
            statement = facts.names.statement(node)
            same = [c.dots[0][0] for c in cosines if is_same(frame, node, *c.dots[0])]
            place = statement.nid if statement is not None else nid
            if not same or place in reported or not isinstance(node, ir.Expr):
                continue
            gradient = next((v for v in same if v.role.is_gradient), same[0])
            if self._is_check(node, facts) if gradient.computed else self._is_deliberate(node, facts):
                continue
            reported.add(place)
            always = len(same) == len(cosines) == len(values.of(node))
            reason = "both sides are the same value"
            yield self.find(
                facts,
                node,
                f"a cosine of a value with itself: {reason if always else reason + ' on one branch'}; "
                "the result is 1 (0°) whatever was learnt",
                computes="cos(v, v) = 1 up to rounding",
                level=Level.ERROR if always else Level.WARNING,
                related=related_steps(values, gradient.evidence),
            )

    def _compared(self, facts: ModuleFacts) -> Iterator[tuple[Finding, ir.Expr]]:
        for found in comparisons(facts):
            if self._is_deliberate(found.node, facts):
                continue
            reason, places, sure = self._reason(found, facts)
            if not reason:
                continue
            related = tuple(Related(*facts.span(node), text) for node, text in places)
            finding = self.find(
                facts,
                found.node,
                f"`{found.label}` of a value with itself: {reason}; the result is 1 (0°) whatever was learnt",
                computes="cos(v, v) = 1 up to rounding",
                level=Level.ERROR if found.proven and sure else Level.WARNING,
                related=related,
            )
            yield finding, found.node

    def _reason(self, found: Comparison, facts: ModuleFacts) -> tuple[str, list[tuple[ir.Node, str]], bool]:
        same = aliases(facts).same(found.left, found.right, found.node) if found.measured else None
        if same is not None and not (found.of_gradients and same.kind in ("copy", "model")):
            return _REASONS[same.kind], [(facts.node(step.nid), step.text) for step in same.evidence], True
        kept = kept_gradient(found.left, found.right, found.node, facts) if found.measured else None
        if kept is not None:
            text = "the `.grad` tensor itself, not a copy"
            return "`.grad` is one tensor that every `backward()` writes to", [(b.node, text) for b in kept], True
        pair = congruent(found.left, found.right, facts)
        if pair is not None:
            text = "the same call of the same values"
            return "both sides are the same function of the same values", [(node, text) for node in pair], False
        return "", [], False

    def _is_deliberate(self, node: ir.Expr, facts: ModuleFacts) -> bool:
        """In an assertion, a test, a normalisation, or under a name that says so."""
        inner: ir.Node = node
        for outer in facts.names.ancestors(node):
            match outer:
                case ir.Assert() | ir.Compare():
                    return True
                case ir.Binary(op="/", right=right) if inner is right:
                    return True
                case ir.Call(func=func) if inner is not func and _says(_last(func)):
                    return True
                case ir.Assign(targets=targets) if any(_says(_last(t)) for t in targets):
                    return True
                case ir.FunctionDef(name=name) | ir.ClassDef(name=name) if _says(name):
                    return True
            inner = outer
        return self._is_asserted(node, facts)

    def _is_check(self, node: ir.Expr, facts: ModuleFacts) -> bool:
        """In an assertion, a comparison or a test."""
        around = facts.names.ancestors(node)
        tests = [n for n in around if isinstance(n, ir.FunctionDef | ir.ClassDef) and words(n.name)[:1] == ("test",)]
        return (
            bool(tests) or any(isinstance(n, ir.Assert | ir.Compare) for n in around) or self._is_asserted(node, facts)
        )

    def _is_asserted(self, node: ir.Expr, facts: ModuleFacts) -> bool:
        statement = facts.names.statement(node)
        if not isinstance(statement, ir.Assign):
            return False
        bound = {target.id for target in statement.targets if isinstance(target, ir.Name)}
        around = facts.names.enclosing_function(node) or facts.module
        for part in ir.walk(around):
            checks = isinstance(part, ir.Assert | ir.Compare) or (
                isinstance(part, ir.Call) and _last(part.func).lower().startswith("assert")
            )
            if checks and any(isinstance(n, ir.Name) and n.id in bound for n in ir.walk(part)):
                return True
        return False


def _last(node: ir.Node) -> str:
    return node.id if isinstance(node, ir.Name) else node.attr if isinstance(node, ir.Attr) else ""


def _says(identifier: str) -> bool:
    return bool(set(words(identifier)) & _DELIBERATE) or identifier in ("sqrt", "allclose", "isclose", "assert_close")
