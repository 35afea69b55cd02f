from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Finding, Level
from fa_lint.rules.base import Invalid, Rule
from fa_lint.rules.common.alignments import NO_ALIGNMENT, SHOWN, Alignment, alignments, evidence
from fa_lint.rules.common.measure_words import GRADIENT_FORMULA_GATE
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.words import NORM_WORDS, words

__all__ = ["AlignmentWithoutMagnitude"]

_MAGNITUDES = frozenset("check_magnitude assert_magnitude clip_grad_norm_ safe_norm get_total_norm".split())


class AlignmentWithoutMagnitude(Rule):
    """
    ## What it does
    A hint, off unless selected by code (`--extend-select FAL503`): a function or class computes the cosine of gradients or
    credits, and no norm of a gradient is computed beside it for anything but the cosine's own denominator.

    ## Why is this bad
    A cosine has no scale: it is 1.0 between gradients of norm 1e-3 and between two of norm 1e-9 alike, though the second pair
    trains nothing and sits where floors and fp16 corrupt the cosine itself (`F.cosine_similarity` gives 0.0500 for parallel
    vectors of which one has norm 5e-10). Γ without ‖g‖ cannot be judged.

    ## Example
    ```python
    import torch

    def gamma(p, credit):
        return torch.cosine_similarity(p.grad, credit, dim=0)
    ```

    ## Use instead
    ```python
    import torch

    def gamma(p, credit):
        return torch.cosine_similarity(p.grad, credit, dim=0), p.grad.norm()
    ```

    ## Fix safety
    No fix.

    ## References
    - CHECKLIST.md, pitfalls 2 and 5
    """

    code = "FAL503"
    name = "alignment-without-magnitude"
    summary = "an alignment of gradients with no norm of a gradient beside it"
    level = Level.HINT
    pitfall = "P5"
    runtime = "fa_lint_runtime.check_magnitude"
    default = False
    gate = GRADIENT_FORMULA_GATE

    VALID = (
        "import torch\ndef f(p, q):\n    return torch.cosine_similarity(p.grad, q, dim=0), p.grad.norm()",
        "import torch\ndef f(p, q):\n    n = p.grad.norm()\n    print('norm', n)\n    return torch.dot(p.grad, q) / (n * q.norm())",
        "import torch\ndef f(x, y): return torch.cosine_similarity(x, y, dim=0)",
        "import torch\nclass Probe:\n    def angle(self, p, q): return torch.cosine_similarity(p.grad, q, dim=0)\n"
        "    def size(self, p): return p.grad.norm()",
        "import torch\nfrom fa_lint_runtime import assert_magnitude\ndef f(p, q):\n    assert_magnitude(p.grad)\n"
        "    return torch.cosine_similarity(p.grad, q, dim=0)",
    )
    INVALID = (
        Invalid("import torch\ndef f(p, q): return torch.cosine_similarity(p.grad, q, dim=0)", lines=(2,)),
        Invalid(
            """
            import torch
            def cosine(p, q):
                a, b = p.grad.flatten(), q.grad.flatten()
                na, nb = a.norm(), b.norm()
                return torch.dot(a, b) / (na * nb)
            """,
            lines=(5,),
        ),
        Invalid(
            """
            import torch
            def cosine(a, b):
                return torch.dot(a, b) / (a.norm() * b.norm())
            def report(p, credit, log):
                log("angle", cosine(p.grad, credit))
            """,
            lines=(5,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        seen: set[int] = set()
        for node in facts.nodes_of(ir.Call, ir.Binary):
            if not isinstance(node, ir.Call | ir.Binary):
                continue
            found = self._computed(node, facts)
            region = self._region(node, facts)
            if not found.is_measured or region.nid in seen:
                continue
            seen.add(region.nid)
            if not self._has_magnitude(region, facts):
                yield self.find(
                    facts,
                    node,
                    "an alignment of gradients with no norm beside it: report ‖g‖ with every Γ",
                    computes="Γ, which may be that of rounding errors: without ‖g‖ a reader cannot tell",
                    related=evidence(facts, found),
                )

    def _computed(self, node: ir.Call | ir.Binary, facts: ModuleFacts) -> Alignment:
        """The alignment of gradients that a function takes of its own values: helpers are judged where they are called."""
        known = alignments(facts)
        pair = known.operands(node)
        if pair is None:
            called = facts.names.function_called(node) if isinstance(node, ir.Call) else None
            if called is None or known.returned(called).subject == "none":
                return NO_ALIGNMENT
        elif all(side.argument for side in pair):
            return NO_ALIGNMENT
        found = known.of(node)
        return found if found.subject == "gradient" and found.strength >= SHOWN else NO_ALIGNMENT

    def _region(self, node: ir.Node, facts: ModuleFacts) -> ir.Node:
        return facts.names.enclosing_class(node) or facts.names.enclosing_function(node) or facts.module

    def _has_magnitude(self, region: ir.Node, facts: ModuleFacts) -> bool:
        for node in ir.walk(region):
            if isinstance(node, ir.Call):
                name = ir.last_name(node.func)
                if name in _MAGNITUDES:
                    return True
                if set(words(name)) & NORM_WORDS and name != "normalize" and not self._only_divides(node, facts, set()):
                    return True
        return False

    def _only_divides(self, norm: ir.Node, facts: ModuleFacts, seen: set[int]) -> bool:
        """True if a norm goes nowhere but into a denominator or a test for zero."""
        inner: ir.Node = norm
        for outer in facts.names.ancestors(norm):
            match outer:
                case ir.Binary(op="/", right=right) if inner is right:
                    return True
                case ir.Compare():
                    return True
                case ir.Assign(targets=targets):
                    names = [part for target in targets for part in ir.walk(target) if isinstance(part, ir.Name)]
                    return bool(names) and all(self._uses_only_divide(name, facts, seen) for name in names)
                case ir.Stmt():
                    return False
            inner = outer
        return False

    def _uses_only_divide(self, name: ir.Name, facts: ModuleFacts, seen: set[int]) -> bool:
        if name.nid in seen:
            return True
        seen.add(name.nid)
        region = facts.names.enclosing_function(name) or facts.module
        uses = [
            part for part in ir.walk(region) if isinstance(part, ir.Name) and part.id == name.id and part.nid > name.nid
        ]
        return all(self._only_divides(use, facts, seen) for use in uses if not self._is_target(use, facts))

    def _is_target(self, use: ir.Name, facts: ModuleFacts) -> bool:
        parent = facts.names.parent(use)
        return isinstance(parent, ir.Assign) and any(use is target for target in parent.targets)
