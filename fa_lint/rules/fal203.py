from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from fa_lint.findings import (
    IN_HELPER,
    Applicability,
    Clue,
    Diagnostic,
    Edit,
    Finding,
    Fix,
    Level,
    RelatedPlace,
    Trace,
)
from fa_lint.gate import CallShape, Outline
from fa_lint.modules import Modules
from fa_lint.rules._callers import gradients_passed, open_parameters
from fa_lint.rules._cosines import is_guarded, runtime_fix, tiny
from fa_lint.rules._products import (
    Denominator,
    Floor,
    Product,
    division,
    enters_product,
    inner_product,
    read_denominator,
)
from fa_lint.rules._quotients import read_quotient
from fa_lint.rules.base import Demonstration, Invalid, ProjectRule, Question, occurs, related
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.roles import COMPUTED, Role
from fa_lint.semantics.slices import slice_of

__all__ = ["FlooredGradientCosine"]

# Below this a floor is out of reach of float32 gradients: no network in the literature reports norms under 1e-11.
_HARMLESS = 5e-12
_NORMALIZE_EPS = 1e-12


class FlooredGradientCosine(ProjectRule):
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
    # The gradient itself may live in another file; the floored quotient cannot.
    # A floor is a small literal or something called eps; ``F.normalize`` brings its own.
    gate = (
        occurs(b"/", b"div", b"normalize", b"= 0"),
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
                rb"\*\* ?-",
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

    def may_fire(self, outline: Outline) -> bool:
        # A product over floored norms may wait for a caller in another file; the other shapes need a gradient here.
        if outline.floored_product:
            return True
        return outline.gradients and (
            outline.floored_quotient
            or outline.zeroed_entries
            or (
                outline.normalized_product
                and (
                    "normalize" in outline.aliased
                    or any(self._is_torch(c, outline) for c in outline.called("normalize"))
                )
            )
        )

    def _is_torch(self, call: CallShape, outline: Outline) -> bool:
        return call.receiver in outline.functional if call.dotted else "normalize" in outline.imported

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        for finding, waits in self._all(facts):
            if not waits:
                yield finding

    def _all(self, facts: ModuleFacts) -> Iterator[tuple[Finding, list[dict[str, Any]]]]:
        """The findings, each with the parameters whose callers decide; none where the file itself decides."""
        for node in facts.nodes():
            match node:
                case (
                    ir.Binary(op="/")
                    | ir.AugAssign(op="/")
                    | ir.Call(func=ir.Attr(attr="div" | "div_" | "true_divide"))
                ):
                    parts = division(node)
                    if parts is not None:
                        yield from self._quotient(node, *parts, facts)
                case ir.Assign(targets=[ir.Subscript() as entries], value=value):
                    yield from ((finding, []) for finding in self._zeroed(node, entries, value, facts))
                case ir.Call() if facts.qualified(node.func) == "torch.nn.functional.normalize":
                    yield from ((finding, []) for finding in self._normalized(node, facts))

    # -- across files: a helper that floors what its callers pass ----------------------------------------------

    def clues(self, facts: ModuleFacts) -> Iterator[Clue]:
        for finding, waits in self._all(facts):
            if waits:
                yield Clue("helper", finding, {"waits": waits})

    def question(self, clues: Sequence[Trace], modules: Modules) -> Question | None:
        functions = {wait["function"] for clue in clues if not clue.silenced for wait in clue.data["waits"]}
        names = sorted(modules.names_of(functions))
        return Question(tuple(names), tuple(names)) if names else None

    def answers(self, facts: ModuleFacts, question: Question) -> Iterator[Clue]:
        for call, name, passed in gradients_passed(facts, question.names):
            role = max((role for _, role in passed), key=lambda role: role.strength)
            computed = role.strength == COMPUTED
            finding = self.find(
                facts,
                call,
                f"passes {'a' if computed else 'what is named like a'} {role.kind} to a helper whose cosine has a floor",
                level=Level.ERROR if computed else Level.WARNING,
                related=related(facts, role),
            )
            strengths = [[slot, role.strength] for slot, role in passed]
            yield Clue("call", finding, {"callee": name, "passed": strengths})

    def settle(
        self, clues: Sequence[Trace], answers: Sequence[Trace], modules: Modules
    ) -> Iterator[tuple[Trace, Diagnostic]]:
        reported: set[int] = set()
        for helper in clues:
            if helper.silenced:
                continue
            confirming = [call for call in answers if _reaches(call, helper, modules)]
            for call in confirming:
                if id(call) not in reported:
                    reported.add(id(call))
                    yield call, _at_call(call, helper)
            heard = [call for call in confirming if not call.silenced]
            if heard:
                yield helper, _confirmed(helper, heard)

    # -- quotients --------------------------------------------------------------------------------------------

    def _quotient(
        self, node: ir.Node, top: ir.Expr, bottom: ir.Expr, facts: ModuleFacts
    ) -> Iterator[tuple[Finding, list[dict[str, Any]]]]:
        denominator = read_denominator(bottom, facts)
        if denominator is None:
            return
        floor = _biting(denominator)
        if floor is None:
            return
        product = inner_product(top, facts)
        place = node if isinstance(node, ir.Expr) else top
        if product is not None and denominator.power >= 2:
            if _is_other_ratio(product, denominator):
                return
            operands = (product.left, product.right)
            yield from self._judge(node, place, operands, denominator, floor, product, facts)
        elif denominator.power == 1 and isinstance(node, ir.Expr) and enters_product(node, facts) is not None:
            yield from self._judge(node, place, (top, *denominator.operands), denominator, floor, None, facts)

    def _judge(
        self,
        node: ir.Node,
        place: ir.Expr,
        operands: tuple[ir.Expr, ...],
        denominator: Denominator,
        floor: Floor,
        product: Product | None,
        facts: ModuleFacts,
    ) -> Iterator[tuple[Finding, list[dict[str, Any]]]]:
        values = (*operands, *denominator.operands)
        role = _gradient(values, facts)
        waits: list[dict[str, Any]] = []
        if role is None:
            waits = open_parameters(values, facts) if product is not None else []
            if not waits:
                return
        if is_guarded(place, values, facts, floor.scale or 1e-8):
            return
        first = denominator.operands[0]
        is_projection = product is not None and all(ir.same(first, o) for o in denominator.operands[1:])
        what = "projection" if is_projection else "cosine" if product is not None else "unit vector"
        computed = role is None or role.strength == COMPUTED
        level = Level.ERROR if computed and floor.value is not None else Level.WARNING
        kind = role.kind if role is not None else "gradient"
        finding = Finding(
            self.code,
            *facts.span(node),
            f"floor `{facts.source(floor.node)}` under a {what} of {'' if computed else 'what is named like '}a {kind}: {_effect(floor)}; use `safe_cosine`",
            level,
            _computes(floor),
            self._fix(place, facts) if what == "cosine" else None,
            related(facts, role) if role is not None else (),
            self._smallest_floor(denominator, facts),
        )
        yield finding, waits

    def _fix(self, place: ir.Expr, facts: ModuleFacts) -> Fix | None:
        """Replace the whole quotient where numerator and norms are of the same two values."""
        if not isinstance(place, ir.Binary) or "#" in facts.source(place):
            return None
        if any(_is_array(call, facts) for call in slice_of(place, facts).calls):
            return None  # safe_cosine takes tensors
        found = read_quotient(place, facts)
        if found is None:
            return None
        keepdim = ", keepdim=True" if found.keepdim else ""
        call = f"safe_cosine({found.left}, {found.right}, dim={found.dim}{keepdim})"
        return runtime_fix(
            facts,
            "safe_cosine",
            (Edit(*facts.span(place), call),),
            "Replace the quotient by fa_lint_runtime.safe_cosine: no floor, NaN where a vector is zero",
        )

    def _smallest_floor(self, denominator: Denominator, facts: ModuleFacts) -> Fix | None:
        """Every floor at the smallest number there is; None where one is a parameter, or its value is not in sight."""
        edits = []
        for floor in denominator.floors:
            is_own = isinstance(floor.node, ir.Const)
            if isinstance(floor.node, ir.Name):
                bindings = facts.names.reaching(floor.node)
                is_own = [b.how for b in bindings] == ["value"]
            if not is_own or floor.value is None:
                return None
            edits.append(Edit(*facts.span(floor.node), tiny(facts)))
        message = "Replace the floor by the smallest number, which no product of norms meets"
        return Fix(Applicability.UNSAFE, message, tuple(edits)) if edits else None

    # -- the other two shapes ---------------------------------------------------------------------------------

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
        if threshold is None or not 0 < threshold <= 1e-4 or not _is_absolute(test.left, entries.value, facts):
            return
        role = facts.role(entries.value)
        if not role.is_gradient:
            return
        computed = role.strength == COMPUTED
        yield self.find(
            facts,
            node,
            f"gradient entries with |g| ≤ {threshold:g} are set to 0: a small gradient loses its direction or becomes zero",
            computes="a cosine with a truncated vector; exactly 0 where every entry is below the threshold",
            level=Level.ERROR if computed else Level.WARNING,
            related=related(facts, role),
        )

    def _normalized(self, node: ir.Call, facts: ModuleFacts) -> Iterator[Finding]:
        """``F.normalize(g) @ F.normalize(h)``"""
        if not node.args or any(arg.keyword == "eps" for arg in node.args) or len(node.args) > 3:
            return
        role = facts.role(node.args[0].value)
        if role.strength == COMPUTED and role.is_gradient and enters_product(node, facts) is not None:
            yield self.find(
                facts,
                node,
                f"`F.normalize` of a {role.kind} before a product: norms below {_NORMALIZE_EPS:g} are not normalised; "
                "use `safe_cosine` or `safe_unit`",
                computes="the cosine times min(1, ‖g‖/1e-12)",
                level=Level.HINT,
                related=related(facts, role),
            )


def _reaches(call: Trace, helper: Trace, modules: Modules) -> bool:
    """Does the call pass a gradient where the helper takes one?"""
    slots = {slot for slot, _ in call.data["passed"]}
    return any(
        slots & {wait["position"], wait["parameter"]}
        and modules.means(call.data["callee"], call.path, helper.path, wait["function"])
        for wait in helper.data["waits"]
    )


def _at_call(call: Trace, helper: Trace) -> Diagnostic:
    floor = helper.diagnostic
    place = RelatedPlace(floor.path, floor.start, floor.end, IN_HELPER, floor.cell)
    return replace(
        call.diagnostic,
        message=f"{call.diagnostic.message} ({floor.path}:{floor.start.row}); use `safe_cosine`",
        computes=floor.computes,
        related=(*call.diagnostic.related, place),
    )


def _confirmed(helper: Trace, calls: list[Trace]) -> Diagnostic:
    ordered = sorted((call.diagnostic for call in calls), key=lambda d: d.sort_key)
    places = tuple(RelatedPlace(d.path, d.start, d.end, "a gradient is passed here", d.cell) for d in ordered[:5])
    level = helper.diagnostic.level
    if all(d.level is not Level.ERROR for d in ordered):
        level = min(level, Level.WARNING, key=lambda value: value.rank)
    return replace(helper.diagnostic, related=(*helper.diagnostic.related, *places), level=level)


def _biting(denominator: Denominator) -> Floor | None:
    """The floor that bites first, if it bites at gradients' scale."""
    found: Floor | None = None
    for floor in denominator.floors:
        # An eps of unknown value is surely felt only where it is added to the norms.
        biting = floor.kind == "additive" if floor.scale is None else floor.scale > _HARMLESS
        if biting and (found is None or (floor.scale or 1) > (found.scale or 1)):
            found = floor
    return found


def _is_other_ratio(product: Product, denominator: Denominator) -> bool:
    """``S @ S / ((G * G).sum() + eps)``: one value over the square of another is neither cosine nor projection."""
    first, *others = denominator.operands
    if not all(ir.same(first, other) for other in others):
        return False
    return not (ir.same(first, product.left) or ir.same(first, product.right)) and ir.same(product.left, product.right)


def _gradient(values: Iterable[ir.Expr], facts: ModuleFacts) -> Role | None:
    roles = [facts.role(value) for value in values]
    gradients = [role for role in roles if role.is_gradient]
    return max(gradients, key=lambda role: role.strength) if gradients else None


def _is_array(call: ir.Call, facts: ModuleFacts) -> bool:
    """Return True for a call that makes an array of NumPy or JAX."""
    name = facts.qualified(call.func)
    if name is None:
        return isinstance(call.func, ir.Attr) and call.func.attr == "numpy"
    return name.startswith(("numpy.", "jax."))


def _effect(floor: Floor) -> str:
    if floor.scale is None:
        return "the cosine shrinks once the norms come near it"
    if floor.kind in ("clamp", "root"):
        return f"the cosine shrinks below norms of {floor.scale:.0e}"
    return f"halves the cosine at norms of {floor.scale:.0e}"


def _computes(floor: Floor) -> str:
    if floor.kind == "clamp":
        return "the inner product over the clamped norms: cos times ‖a‖‖b‖/floor once that is below 1"
    return "the cosine times ‖a‖‖b‖ / (‖a‖‖b‖ + floor)"


def _is_absolute(node: ir.Expr, entries: ir.Expr, facts: ModuleFacts) -> bool:
    if not isinstance(node, ir.Call):
        return False
    name = facts.qualified(node.func) or (node.func.id if isinstance(node.func, ir.Name) else "")
    if name in ("torch.abs", "numpy.abs", "abs"):
        return bool(node.args) and ir.same(node.args[0].value, entries)
    return isinstance(node.func, ir.Attr) and node.func.attr == "abs" and ir.same(node.func.value, entries)
