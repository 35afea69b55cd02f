from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fa_lint.analysis import terms as t
from fa_lint.analysis.models import FUNCTIONS
from fa_lint.analysis.values import Values, values_of
from fa_lint.findings import Applicability, Edit, Finding, Fix, Level, Related
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.rules.common.alignments import cosines_in
from fa_lint.rules.common.elsewhere import related_steps
from fa_lint.rules.p2_floors._arccosines import ARCCOSINES, arc_argument, safe_angle_fix, ways
from fa_lint.rules.p2_floors._bounds import Bounds
from fa_lint.semantics import ir
from fa_lint.semantics.differentiated import Differentiated
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["UnclampedAcos"]


class UnclampedAcos(Rule):
    """
    ## What it does
    Flags `acos`/`arccos` of a cosine of two vectors with no clamp to [−1, 1]: of a library cosine, of `a @ b / (‖a‖ ‖b‖)`,
    also through a name. Silent where the value is clamped anywhere on its way, and on `safe_cosine`, which never
    leaves the interval.

    ## Why is this bad
    In float32 `cos(w, w)` exceeds 1 in about a third of random 32×64 cases (1.00000036 measured), and `acos` of that is
    NaN: the angle disappears exactly where the alignment is perfect. `F.cosine_similarity` can return more than 1 as well
    ([pytorch#78064](https://github.com/pytorch/pytorch/issues/78064)). A clamp cures the NaN but not the resolution:
    near 1 the smallest angle that float32 `acos` can report is 3.5e-4 rad (0.02°). Where the angle is differentiated a
    clamp at ±1 is no cure at all: the gradient is not finite at 1 (FAL206); `safe_angle` gives 0 there.

    ## Example
    ```python
    import torch

    def angle(a, b):
        return torch.acos(torch.dot(a, b) / (a.norm() * b.norm()))
    ```

    ## Use instead
    ```python
    from fa_lint_runtime import safe_angle

    def angle(a, b):
        return safe_angle(a, b, dim=0)
    ```

    ## Fix safety
    Unsafe: `safe_angle` (atan2 of the unit vectors) replaces the whole expression where it is a cosine of two values;
    elsewhere, and with `fix-style = "torch"`, the argument is clamped. Either changes NaN into an angle. Where the angle
    flows into a loss that is differentiated, no clamp is offered.

    ## References
    - [torch.acos](https://docs.pytorch.org/docs/stable/generated/torch.acos.html)
    - W. Kahan, *How futile are mindless assessments of roundoff*, §12: the angle between two vectors by atan2
    """

    code = "FAL204"
    name = "unclamped-acos"
    summary = "acos of a cosine that rounding can push beyond 1"
    level = Level.WARNING
    pitfall = "P2"
    runtime = "fa_lint_runtime.safe_angle"
    fixable = "unsafe"
    gate = (occurs(b"acos", b"arccos", b"asin", b"arcsin", b"sqrt("),)

    demonstration = Demonstration(
        setup="import torch\nw = torch.randn(1000, 64, generator=torch.Generator().manual_seed(0))\n"
        "n = w.norm(dim=1)\ncos = (w / n[:, None]).mul(w / n[:, None]).sum(1)",
        before="torch.acos(cos).isnan().sum()",
        after="torch.acos(cos.clamp(-1, 1)).isnan().sum()",
        claim="before > 0 and after == 0",
    )

    VALID = (
        "import torch\ndef f(a, b): return torch.acos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))",
        "import torch\ndef f(a, b):\n    cos = a @ b / (a.norm() * b.norm())\n"
        "    cos = torch.clamp(cos, -1.0, 1.0)\n    return torch.acos(cos)",
        "import numpy as np\ndef f(a, b): return np.arccos(np.clip(a @ b / np.linalg.norm(a), -1, 1))",
        "import torch\nfrom fa_lint_runtime import safe_cosine\ndef f(a, b): return torch.acos(safe_cosine(a, b))",
        "import torch\ndef f(x): return torch.acos(x)",
        "import math\ndef f(c): return math.acos(0.5)",
    )
    INVALID = (
        Invalid(
            "import torch\ndef f(a, b): return torch.acos(torch.dot(a, b) / (a.norm() * b.norm()))",
            lines=(2,),
            fixed="from fa_lint_runtime import safe_angle\ndef f(a, b): return safe_angle(a, b, dim=0)",
        ),
        Invalid(
            "import torch\nimport torch.nn.functional as F\ndef f(feats, w):\n"
            "    cos = F.cosine_similarity(feats, w, dim=-1)\n    return torch.acos(cos)",
            lines=(5,),
            fixed="import torch\nimport torch.nn.functional as F\ndef f(feats, w):\n"
            "    cos = F.cosine_similarity(feats, w, dim=-1)\n    return torch.acos(cos.clamp(-1.0, 1.0))",
        ),
        Invalid(
            "import numpy as np\ndef f(a, b):\n    c = np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))\n"
            "    return np.degrees(np.arccos(c))",
            lines=(4,),
            fixed="import numpy as np\ndef f(a, b):\n    c = np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))\n"
            "    return np.degrees(np.arccos(np.clip(c, -1.0, 1.0)))",
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        values, bounds = values_of(facts), facts.derived(Bounds)
        for call in facts.calls:
            found = arc_argument(call, facts)
            unclamped = [terms for terms in ways(found[0], values) if _is_unclamped(terms)] if found is not None else []
            if found is not None and unclamped:
                argument, library = found
                if self._clamped_in_place(argument, call, facts) or bounds.hold(call, argument):
                    continue
                if bounds.is_handled(call, library):
                    continue
                yield replace(
                    self._finding(call, argument, library, facts), related=_taken_elsewhere(unclamped, values)
                )
        for node in facts.nodes_of(ir.Call, ir.Binary):
            root = _under_root(node, facts)
            if isinstance(node, ir.Expr) and root is not None and _is_unclamped(values.of(root), squared=True):
                if bounds.hold(node, root) or any(bounds.hold(node, side) for side in _squared(root)):
                    continue
                yield self.find(
                    facts,
                    node,
                    "`sqrt(1 - c²)` of a cosine that rounding can push beyond 1: NaN where the vectors agree; "
                    "clamp `1 - c²` at 0",
                    computes="NaN wherever the rounded cosine is above 1 or below -1",
                )

    def _finding(self, call: ir.Call, argument: ir.Expr, library: str, facts: ModuleFacts) -> Finding:
        acos = library.rpartition(".")[2] in ARCCOSINES
        fix = safe_angle_fix(call, argument, library, facts) if acos else None
        flow = facts.derived(Differentiated)
        if library.startswith(("torch", "jax", ".")) and flow.may_have_graph(argument) and flow.by(call) is not None:
            advice = "differentiated, a clamp at ±1 gives a non-finite gradient there; use `safe_angle`"
            clamp = None
        else:
            advice = "use `safe_angle`, or clamp to [-1, 1]"
            clamp = self._clamp(call, argument, library, facts) if acos else None
        return self.find(
            facts,
            call,
            f"`{library}` of a cosine that rounding can push beyond 1: NaN where the vectors agree; {advice}",
            computes="NaN wherever the rounded cosine is above 1 or below -1",
            fix=fix or clamp,
            torch_fix=clamp,
        )

    def _clamped_in_place(self, argument: ir.Expr, call: ir.Call, facts: ModuleFacts) -> bool:
        """``cos.clamp_(-1, 1)`` or ``cos[cos > 1] = 1`` before the call."""
        if not isinstance(argument, ir.Name):
            return False
        scope = facts.names.scope_of(call).node
        for node in ir.walk(scope):
            if node.nid >= call.nid:
                continue
            match node:
                case ir.Call(func=ir.Attr(attr="clamp_" | "clip_", value=ir.Name(id=name))) if name == argument.id:
                    return True
                case ir.Assign(targets=[ir.Subscript(value=ir.Name(id=name))]) if name == argument.id:
                    return True
        return False

    def _clamp(self, call: ir.Call, argument: ir.Expr, library: str, facts: ModuleFacts) -> Fix | None:
        start, end = facts.span(argument)
        text = facts.text[start:end]
        if library.startswith("math") or "\n" in text:
            return None
        if library.startswith(("numpy", "jax")):
            module = facts.source(call.func).rpartition(".")[0]
            content = f"{module}.clip({text}, -1.0, 1.0)" if module else None
        else:
            atomic = isinstance(argument, ir.Name | ir.Attr | ir.Call | ir.Subscript)
            content = f"{text}.clamp(-1.0, 1.0)" if atomic else f"({text}).clamp(-1.0, 1.0)"
        if content is None:
            return None
        return Fix(Applicability.UNSAFE, "Clamp the cosine to [-1, 1]", (Edit(start, end, content),))


def _taken_elsewhere(ways: list[t.Alternatives], values: Values) -> tuple[Related, ...]:
    """Return where other files take the cosines that a function of this one is given."""
    cosines = cosines_in(term for terms in ways for term, _ in terms)
    sites = [cosine.dot_site for cosine in cosines if cosine.dot_site is not None]
    steps = (t.Step(site, "the cosine is taken here") for site in sites if site.module != values.module.number)
    return related_steps(values, steps)


def _is_unclamped(values: t.Alternatives, *, squared: bool = False) -> bool:
    """Return True where each way a value comes about is a cosine with no clamp on its way."""
    known = [term for term, _ in values if not isinstance(term, t.Unknown | t.Constant)]
    return bool(known) and all(_can_exceed(term, squared) for term in known)


def _can_exceed(term: t.Term, squared: bool) -> bool:
    if isinstance(term, t.Sequence):
        elements = term.element or t.unique(way for item in term.items or () for way in item)
        return _is_unclamped(elements, squared=squared)
    if isinstance(term, t.Aggregate):
        if term.how == "mean":
            return _can_exceed(term.of, squared)
        return term.how == "cosine of a rotation" and not term.limited and not squared
    if not isinstance(term, t.Monomial) or term.clamped:
        return False
    if any(floor.size is None and floor.kind == "add" for floor in term.floors_below):
        return False
    return term.is_squared_cosine if squared else term.is_cosine


def _squared(node: ir.Expr) -> list[ir.Expr]:
    """``c`` of ``c ** 2``, ``c * c`` and ``c.pow(2)``."""
    match node:
        case ir.Binary(op="**" | "*", left=left):
            return [left]
        case ir.Call(func=ir.Attr(attr="pow" | "square", value=value)):
            return [value]
    return []


def _under_root(node: ir.Node, facts: ModuleFacts) -> ir.Expr | None:
    """``c ** 2`` of ``sqrt(1 - c ** 2)``."""
    inner: ir.Expr | None = None
    match node:
        case ir.Call(func=ir.Attr(attr="sqrt", value=value), args=[]):
            inner = value
        case ir.Call(func=func, args=[ir.Arg(value=value)]):
            row = FUNCTIONS.get(facts.qualified(func) or "")
            inner = value if row is not None and row.operation == "root" else None
        case ir.Binary(op="**", left=value, right=right) if facts.values.number(right) == 0.5:
            inner = value
    match inner:
        case ir.Binary(op="-", left=ir.Const(value=1 | 1.0), right=square):
            return square
    return None
