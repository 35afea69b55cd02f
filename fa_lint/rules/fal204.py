from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Applicability, Edit, Finding, Fix, Level
from fa_lint.rules._cosines import runtime_fix
from fa_lint.rules._products import division, inner_product, read_denominator
from fa_lint.rules._quotients import read_quotient
from fa_lint.rules.base import Demonstration, Invalid, Rule, occurs
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.names import Binding

__all__ = ["UnclampedAcos"]

_ACOS = {"torch.acos": "torch", "numpy.arccos": "np", "jax.numpy.arccos": "jnp", "math.acos": "math"}
_LIBRARY_COSINES = frozenset({"torch.nn.functional.cosine_similarity", "sklearn.metrics.pairwise.cosine_similarity"})
_CLAMPS = frozenset(
    {"clamp", "clamp_", "clip", "clip_", "hardtanh", "tanh", "cos", "min", "max", "minimum", "maximum", "nan_to_num"}
)
_SAFE = frozenset({"safe_cosine", "safe_cosine_matrix"})


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
    near 1 the smallest angle that float32 `acos` can report is 3.5e-4 rad (0.02°).

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
    elsewhere, and with `fix-style = "torch"`, the argument is clamped. Either changes NaN into an angle.

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
    gate = (occurs(b"acos", b"arccos"),)

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
        for call in facts.calls:
            found = self._argument(call, facts)
            if found is None:
                continue
            argument, library = found
            cosine = self._cosine(argument, facts)
            if cosine is None or self._clamped_in_place(argument, call, facts):
                continue
            if self._bounded_by_branch(call, argument, facts):
                continue
            yield self.find(
                facts,
                call,
                f"`{library}` of a cosine that rounding can push beyond 1: NaN where the vectors agree; "
                "use `safe_angle`, or clamp to [-1, 1]",
                computes="NaN wherever the rounded cosine is above 1 or below -1",
                fix=self._angle(call, argument, library, facts) or self._clamp(call, argument, library, facts),
                torch_fix=self._clamp(call, argument, library, facts),
            )

    def _argument(self, call: ir.Call, facts: ModuleFacts) -> tuple[ir.Expr, str] | None:
        name = facts.qualified(call.func)
        if name in _ACOS and call.args and not call.args[0].star:
            return call.args[0].value, name
        if name is None and isinstance(call.func, ir.Attr) and call.func.attr in ("acos", "arccos", "acos_", "arccos_"):
            return call.func.value, f".{call.func.attr}"
        return None

    def _cosine(self, node: ir.Expr, facts: ModuleFacts, depth: int = 0) -> ir.Expr | None:
        """The cosine an expression is, if no clamp stands on its way."""
        if depth > 8:
            return None
        match node:
            case ir.Name():
                bindings = facts.names.reaching(node)
                values = [self._of_binding(b, facts, depth) for b in bindings]
                return values[0] if values and all(v is not None for v in values) else None
            case ir.Call(func=func) if division(node) is None:
                name = facts.qualified(func)
                if name in _LIBRARY_COSINES:
                    return node
                last = (name or "").rpartition(".")[2] or (func.attr if isinstance(func, ir.Attr) else "")
                if last in _CLAMPS | _SAFE:
                    return None
                if (
                    isinstance(func, ir.Attr)
                    and name is None
                    and last in ("mean", "item", "squeeze", "abs", "float", "sum", "t")
                ):
                    return (
                        self._cosine(func.value, facts, depth + 1) if last != "sum" else self._unit_product(node, facts)
                    )
                return self._unit_product(node, facts)
            case ir.Unary(op="-", operand=inner):
                return self._cosine(inner, facts, depth + 1)
            case ir.Binary(op="@"):
                return self._unit_product(node, facts)
        parts = division(node)
        if parts is None:
            return None
        denominator = read_denominator(parts[1], facts)
        if (
            denominator is None
            or denominator.power < 2
            or any(f.kind == "additive" and f.value is None for f in denominator.floors)
        ):
            return None
        return node if inner_product(parts[0], facts) is not None else None

    def _of_binding(self, binding: Binding, facts: ModuleFacts, depth: int) -> ir.Expr | None:
        return self._cosine(binding.value, facts, depth + 1) if binding.how == "value" and binding.value else None

    def _unit_product(self, node: ir.Expr, facts: ModuleFacts) -> ir.Expr | None:
        product = inner_product(node, facts)
        if product is None:
            return None
        units = [facts.role(side).kind == "unit" for side in (product.left, product.right)]
        return node if all(units) else None

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

    def _bounded_by_branch(self, call: ir.Call, argument: ir.Expr, facts: ModuleFacts) -> bool:
        """Is the call under a comparison of its argument with ±1?"""
        for outer in facts.names.ancestors(call):
            if isinstance(outer, ir.If | ir.Conditional):
                for part in ir.walk(outer.test):
                    if isinstance(part, ir.Compare) and any(
                        ir.same(side, argument) for side in (part.left, *part.comparators)
                    ):
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

    def _angle(self, call: ir.Call, argument: ir.Expr, library: str, facts: ModuleFacts) -> Fix | None:
        """``acos`` of a cosine written out in place becomes ``safe_angle``."""
        if not library.startswith(("torch", ".")):
            return None
        if isinstance(argument, ir.Call) and facts.qualified(argument.func) in _LIBRARY_COSINES:
            arguments = [a for a in argument.args if a.keyword in (None, "dim")]
            positional = [a for a in arguments if a.keyword is None]
            if len(arguments) != len(argument.args) or not 2 <= len(positional) <= 3:
                return None
            dims = [a for a in arguments if a.keyword == "dim"] + positional[2:]
            left, right = facts.source(positional[0].value), facts.source(positional[1].value)
            dim = facts.source(dims[0].value) if dims else "1"
        else:
            found = read_quotient(argument, facts)
            if found is None or found.keepdim:
                return None
            left, right, dim = found.left, found.right, found.dim
        if "#" in facts.source(call):
            return None
        content = f"safe_angle({left}, {right}, dim={dim})"
        edits = (Edit(*facts.span(call), content),)
        return runtime_fix(facts, "safe_angle", edits, "Call fa_lint_runtime.safe_angle")
