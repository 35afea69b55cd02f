from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from fa_lint.analysis import terms as t
from fa_lint.analysis.frames import Frame
from fa_lint.analysis.values import Values, values_of
from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Invalid, Rule
from fa_lint.rules.common.alignments import alignments
from fa_lint.rules.common.elsewhere import related_steps
from fa_lint.rules.common.measure_words import FORMULA_GATE, is_measure_name, may_call_measure
from fa_lint.semantics import ir
from fa_lint.semantics.changes import changed
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.words import words

__all__ = ["SelfComparison"]

_COPY = "one side is a copy of the other that nothing has modified"
_PRODUCTS = frozenset("dot vdot inner matmul mm bmm mv vecdot einsum tensordot".split())
# These give the matrix of all pairs.
_PAIRS = frozenset(
    "pairwise matrix sim sims similarity similarities sequence sequences token tokens text image".split()
)
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
    across = "cosines"
    gate = FORMULA_GATE

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
        values = values_of(facts)
        reported: set[int] = set()
        for (number, nid), cosines in _cosines(values).items():
            frame = values.evaluator.frames[number]
            # A helper compares what its callers give it.
            for home, place in _calls(frame) if frame.calls else [(frame, facts.node(nid))]:
                statement = (facts.names.statement(place) or place).nid
                pairs = [cosine.dots[0] for cosine in cosines]
                same = [(a, b, reason) for a, b in pairs if (reason := _reason(values, home, place, a, b))]
                if not same or statement in reported or not isinstance(place, ir.Expr):
                    continue
                vector, other, reason = next((found for found in same if found[0].role.is_gradient), same[0])
                if self._is_check(place, facts) if vector.computed else self._is_deliberate(place, facts):
                    continue
                reported.add(statement)
                ways = {t.key(term) for term, _ in values.evaluator.of(frame, cast("ir.Expr", facts.node(nid)))}
                always = len(same) == len(cosines) == len(ways)
                yield self._finding(
                    facts, place, "a cosine", reason + ("" if always else " on one branch"),
                    Level.ERROR if always else Level.WARNING, _evidence(values, vector, other),
                )  # fmt: skip
        for call in facts.calls:
            name = ir.last_name(call.func)
            if _is_named_cosine(call, facts) and alignments(facts).of(call).is_measured:
                left, right = (t.present(values.of(arg.value)) for arg in call.args[:2])
                reasons = [_reason_of(values, call, a, b) for a, b, _ in t.both(left, right)]
                if all(reasons) and reasons and not self._is_deliberate(call, facts):
                    if (facts.names.statement(call) or call).nid not in reported:
                        yield self._finding(facts, call, f"`{name}`", reasons[0], Level.WARNING, ())

    def _finding(
        self, facts: ModuleFacts, node: ir.Expr, label: str, reason: str, level: Level, related: tuple[Related, ...]
    ) -> Finding:
        return self.find(
            facts,
            node,
            f"{label} of a value with itself: {reason}; the result is always 1 (0°); compare two different values",
            computes="cos(v, v) = 1 up to rounding",
            level=level,
            related=related,
        )

    def _is_deliberate(self, node: ir.Expr, facts: ModuleFacts) -> bool:
        """In an assertion, a test, a normalisation, or under a name that says so."""
        inner: ir.Node = node
        for outer in facts.names.ancestors(node):
            match outer:
                case ir.Assert() | ir.Compare():
                    return True
                case ir.Binary(op="/", right=right) if inner is right:
                    return True
                case ir.Call(func=func) if inner is not func and _says(ir.last_name(func)):
                    return True
                case ir.Assign(targets=targets) if any(_says(ir.last_name(t)) for t in targets):
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
                isinstance(part, ir.Call) and ir.last_name(part.func).lower().startswith("assert")
            )
            if checks and any(isinstance(n, ir.Name) and n.id in bound for n in ir.walk(part)):
                return True
        return False


def _cosines(values: Values) -> dict[tuple[int, int], list[t.Monomial]]:
    """The cosines that the functions of this module take, by frame and node; first with unbound arguments."""
    found: dict[tuple[int, int], list[t.Monomial]] = {}
    for made in sorted(values.made_of_anything(), key=lambda made: bool(made.frame.calls)):
        cosine = made.term.cosine if isinstance(made.term, t.Angle) else made.term
        if made.module is values.module and isinstance(cosine, t.Monomial) and cosine.is_cosine:
            if cosine.label == t.SQUARE or _is_squared_unit(cosine, made.frame, values):
                continue
            ways = found.setdefault((made.frame.number, made.node.nid), [])
            if isinstance(made.node, ir.Expr) and all(t.key(cosine) != t.key(way) for way in ways):
                ways.append(cosine)
    return found


def _is_squared_unit(cosine: t.Monomial, frame: Frame, values: Values) -> bool:
    """Return True for the squared norm of a unit vector, which compares nothing."""
    site = cosine.dot_site
    if site is None:
        return False
    facts = values.program.modules[site.module].facts
    node = facts.node(site.node)
    if not isinstance(node, ir.Expr) or not _is_square(node, facts, 0):
        return False
    home = values.evaluator.home(values.program.modules[site.module], node)
    if home.node is not frame.node or frame.calls:
        return True
    known = [term for term, _ in values.evaluator.of(home, node) if isinstance(term, t.Monomial)]
    return not known or any(term.is_cosine for term in known)


def _is_square(node: ir.Expr, facts: ModuleFacts, depth: int) -> bool:
    """Return True for ``x @ x``, ``(x * x).sum()``, ``x.pow(2).sum()`` and the like."""
    match node:
        case ir.Name() if depth < 3:
            bound = [b.value for b in facts.names.reaching(node) if b.how == "value"]
            return len(bound) == 1 and bound[0] is not None and _is_square(bound[0], facts, depth + 1)
        case ir.Binary(op="*" | "@", left=left, right=right):
            return ir.same(left, right)
        case ir.Binary(op="**"):
            return True
        case ir.Call(func=func, args=args):
            name = ir.last_name(func)
            operands = [arg.value for arg in args if arg.keyword is None]
            if isinstance(func, ir.Attr) and facts.qualified(func) is None:
                operands.insert(0, func.value)
            if name in ("pow", "square"):
                return True
            if name in ("sum", "nansum", "mean") and operands:
                return _is_square(operands[0], facts, depth)
            vectors = [value for value in operands if not isinstance(value, ir.Const)][:2]
            return len(vectors) == 2 and ir.same(*vectors) and name in _PRODUCTS
    return False


def _calls(frame: Frame) -> Iterator[tuple[Frame, ir.Node]]:
    """The calls of functions whose arguments are not bound that lead into a frame of the same module."""
    waiting, seen = [frame], {frame.number}
    while waiting:
        for site, caller in waiting.pop().calls:
            if caller.module is not frame.module or caller.number in seen:
                continue
            if caller.home.calls:
                seen.add(caller.number)
                waiting.append(caller.home)
            else:
                yield caller, frame.module.facts.node(site.node)


def _evidence(values: Values, *vectors: t.Vector) -> tuple[Related, ...]:
    """Return where a vector comes from, and where it was copied."""
    facts, found = values.module.facts, [*related_steps(values, vectors[0].evidence)]
    for vector in vectors:
        copy = values.evaluator.members.copied_at(vector.ident)
        if copy is not None and copy.module == values.module.number:
            found.append(Related(*facts.span(facts.node(copy.node)), "a copy of it"))
    return tuple(found)


def _reason(values: Values, frame: Frame, node: ir.Node, left: t.Vector, right: t.Vector) -> str:
    """Return why two vectors hold the same entries at a place; empty where they may not."""
    members, facts = values.evaluator.members, frame.module.facts
    if members.is_same(frame, node, left, right):
        weights = left.role is t.Role.PARAMETER and left.ident == right.ident
        if not frame.module.changes.is_steady(node, gradients=left.role.is_gradient, weights=weights):
            return ""
        return "both sides are the same value" if left.ident == right.ident else _COPY
    copies = members.deep_copies(left.ident) ^ members.deep_copies(right.ident)
    if not copies or members.before_deep_copies(left.ident) != members.before_deep_copies(right.ident):
        return ""
    names = (n for n in ir.walk(node) if isinstance(n, ir.Name) and facts.qualified(n) is None)
    operands = tuple(arg.value for arg in node.args) if isinstance(node, ir.Call) else tuple(names)
    own = [place for number, place in copies if values.evaluator.frames[number].module is frame.module]
    if len(own) < len(copies) or any(changed(place, node, operands, facts) for place in own):
        return ""
    return "one model is a deep copy of the other, and neither was trained since"


def _reason_of(values: Values, call: ir.Call, left: t.Term, right: t.Term) -> str:
    if isinstance(left, t.Vector) and isinstance(right, t.Vector):
        return _reason(values, values.home(call), call, left, right)
    return ""


def _is_named_cosine(call: ir.Call, facts: ModuleFacts) -> bool:
    """Return True for a function of unknown make whose name says cosine or angle, given two values."""
    name = ir.last_name(call.func)
    # What begins with a capital makes a layer: it compares nothing.
    if name[:1].isupper() or not is_measure_name(name) or set(words(name)) & _PAIRS:
        return False
    positional = [arg for arg in call.args if arg.keyword is None and not arg.star]
    if len(positional) < 2 or positional != call.args[: len(positional)] or facts.names.function_called(call):
        return False
    return may_call_measure(facts.text.encode())


def _says(identifier: str) -> bool:
    return bool(set(words(identifier)) & _DELIBERATE) or identifier in ("sqrt", "allclose", "isclose", "assert_close")
