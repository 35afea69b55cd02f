from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.values import Values, values_of
from fa_lint.findings import Finding, Level
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.rules.common.elsewhere import related_steps
from fa_lint.rules.p3_half_precision._halves import SUBNORMAL, half_operand, is_upcast
from fa_lint.rules.p3_half_precision._normalised import is_drawn, is_normalised
from fa_lint.rules.p3_half_precision._rounded import (
    changes_parameters,
    half_models,
    is_updated_parameter,
    measures_rounding,
    names_change,
    tiny_comparisons,
)
from fa_lint.rules.p3_half_precision._stored import half_stores, mapped_over
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.scaling import Scaling
from fa_lint.semantics.slices import function_of, slice_of
from fa_lint.semantics.words import words

__all__ = ["HalfGradientCast"]

# What a name may add to "grad" and still be the gradient itself.
_PLAIN_WORDS = frozenset(
    "grad grads gradient gradients flat vec vector all param params layer total sum mean avg new per sample example "
    "batch weight weights list i j k a b 1 2 bp dfa fa true local".split()
)
_FEEDBACK_WORDS = frozenset({"feedback", "fb", "fa", "backward"})
# Compressing what is sent between machines, and optimisers that keep fp32 masters, are no measurements.
_TRANSPORT = frozenset("compress compressed compression bucket allreduce comm sync broadcast".split())
_MASTERS = frozenset({"master", "step", "optimizer", "unscale"})


class HalfGradientCast(Rule):
    """
    ## What it does
    Flags a cast to fp16 (`.half()`, `.to(torch.float16)`, `.type(...)`, `.astype(np.float16)`) of a gradient, of a
    credit signal, of feedback or of a change of parameters; a gradient stored in an
    array that was made as fp16; a model cast to fp16 whose unscaled gradients are then looked at; and an fp16 value that is compared with a number below 6e-8. Silent on bf16, on models cast for
    inference, on values scaled before the cast or divided by their own largest entry, on a cast that is taken back at once (rounding emulated on purpose) or
    compared with the value before it (rounding measured), in a custom `backward`, and on communication and optimiser
    code.

    ## Why is this bad
    fp16 flushes entries below 6e-8 to zero and has fewer than 11 bits below 6.1e-5. Measured on a 4-layer MLP: gradients of norm
    5e-6 lose 23 to 25 % of their entries to zero in the cast, and their cosine to the originals is 0.980; at the norms of
    1e-9 that hidden layers of DFA-trained networks have, nothing is left. A log, a quotient or a Gram matrix of
    the result inherits it; `+ 1e-6` after the cast is itself a subnormal number.

    ## Example
    ```python
    def store(bank, name, p):
        bank[name] = p.grad.flatten().half()
    ```

    ## Use instead
    ```python
    import torch

    def store(bank, name, p):
        bank[name] = p.grad.flatten().to(torch.bfloat16)
    ```

    ## Fix safety
    No fix: bf16 keeps the range and loses precision, fp32 keeps both and takes twice the memory, a scale needs its
    inverse later.

    ## References
    - [torch.finfo](https://docs.pytorch.org/docs/stable/type_info.html)
    - [Mixed precision training](https://arxiv.org/abs/1710.03740), section 3.2
    """

    code = "FAL302"
    name = "half-gradient"
    summary = "a gradient, credit or feedback cast to fp16"
    level = Level.WARNING
    pitfall = "P3"
    runtime = "fa_lint_runtime.check_magnitude"
    gate = (
        occurs(
            *(b"half", b"float16", b"HalfTensor", b"f2"),
            patterns=(rb"half\b(?<!\whalf)", rb"float16(?<!bfloat16)", rb"HalfTensor", rb"f2['\"](?<=['\"<]f2['\"])"),
        ),
        occurs(
            b".half()",
            b"to(",
            b"astype(",
            b"type(",
            b"np.",
            b"numpy",
            b"tensor(",
            b"torch_dtype",
            *(b"zeros", b"empty", b"ones", b"full", b"memmap"),
            patterns=(
                *(rb"grad", rb"Grad", rb"GRAD", rb"backward", rb"Backward", rb"credit", rb"Credit", rb"CREDIT"),
                *(rb"costate", rb"Costate", rb"COSTATE", rb"jac", rb"Jac", rb"JAC", rb"hessian", rb"Hessian", rb"vjp"),
                *(rb"VJP", rb"tape", rb"Tape", rb"feedback", rb"Feedback", rb"FEEDBACK", rb"_fa\b", rb"_FA\b"),
                *(rb"parameters", rb"state_dict", rb"weight", rb"e-\d"),
                *(rb"fa_", rb"FA_", rb"_fb", rb"_FB", rb"fb_", rb"FB_", rb"before"),
            ),
        ),
    )

    VALID = (
        "def f(model, x): return model.half()(x.half())",
        "import torch\ndef f(p): return p.grad.to(torch.bfloat16)",
        "import torch\ndef f(p): return p.grad.to(torch.float16).to(torch.float32)",
        "def f(p): return (p.grad * 1024).half()",
        "import torch\nclass Op(torch.autograd.Function):\n"
        "    @staticmethod\n    def backward(ctx, grad_output): return grad_output.half()",
        "def f(p, master): p.grad = master.grad.half()",
        "import torch, torch.distributed as dist\n"
        "def compress(p):\n    small = p.grad.half()\n    dist.all_reduce(small)\n    return small",
        "def f(x, spatial_grad_norm): return x.half(), spatial_grad_norm.half()",
    )
    INVALID = (
        Invalid("def f(p): return p.grad.half()", lines=(1,)),
        Invalid(
            """
            import torch

            def reduce(grad):
                return grad.sum(dim=0).to(dtype=torch.float16).cpu()

            def collect(model):
                return {n: reduce(p.grad.float()) for n, p in model.named_parameters()}
            """,
            lines=(4,),
        ),
        Invalid(
            """
            import torch

            def log_size(points, f):
                jacobian = torch.func.jacfwd(f)(points)
                _, sizes, _ = torch.svd(jacobian)
                return torch.log(sizes.to(torch.float16) + 1e-6)
            """,
            lines=(6,),
        ),
        Invalid(
            """
            import numpy as np
            import torch

            class Layer(torch.nn.Linear):
                def use(self, error):
                    return error @ self.feedback_matrix.half()

            def save(path, loss, x):
                grads = torch.autograd.grad(loss, x)[0]
                np.save(path, grads.cpu().numpy().astype(np.float16))
            """,
            lines=(6, 10),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        calls, values = facts.derived(Calls), values_of(facts)
        scaling = facts.derived(Scaling)
        cast: set[int] = set()
        for call in facts.calls:
            operand = half_operand(call, calls)
            if (
                operand is None
                or self._is_half_already(operand, calls)
                or is_upcast(call, calls)
                or self._is_transport(call, facts)
            ):
                continue
            operand = mapped_over(operand, facts)
            said = values.vector(operand)
            named = names_change(operand, facts)
            change = named or changes_parameters(said, values)
            vector = None if change else self._vector(said, operand, call, facts)
            if (vector is None and not change) or scaling.factor(operand) or is_normalised(operand, facts):
                continue
            if vector is not None and not vector.computed and is_drawn(operand, facts):
                continue
            if measures_rounding(call, operand, facts) or (not change and is_updated_parameter(said)):
                continue
            cast.add(call.nid)
            sure = "what is named like a change of parameters" if named else "a change of parameters"
            if vector is not None:
                what = "feedback" if vector.role is t.Role.FEEDBACK else f"a {vector.role.value}"
                sure = what if vector.computed else f"what is named like {what}"
            yield self.find(
                facts,
                call,
                f"a cast to fp16 of {sure}: entries below 6e-8 become 0; keep fp32 or use bf16",
                computes="fewer than 11 bits below 6.1e-5, nothing between 0 and 6e-8, infinity above 65504",
                related=related_steps(values, vector.evidence if vector is not None else ()),
            )
        yield from self._stores(facts, calls, values)
        yield from self._comparisons(facts, calls, cast)
        for nid in sorted({model.nid for model, _ in half_models(facts)}):
            yield self.find(
                facts,
                facts.node(nid),
                "a model cast to fp16 whose unscaled gradients are measured: entries below 6e-8 are 0",
                computes="activations and gradients with nothing between 0 and 6e-8",
            )

    def _stores(self, facts: ModuleFacts, calls: Calls, values: Values) -> Iterator[Finding]:
        for node, value in half_stores(calls):
            if self._is_half_already(value, calls) or self._is_transport(node, facts):
                continue
            said = values.vector(value)
            change = changes_parameters(said, values)
            if said.half or not (change or (said.computed and said.role.is_gradient)):
                continue
            if facts.derived(Scaling).factor(value) or is_normalised(value, facts):
                continue
            what = "a change of parameters" if change else f"a {said.role.value}"
            yield self.find(
                facts,
                node,
                f"{what} stored in an fp16 array: entries below 6e-8 become 0; keep fp32 or use bf16",
                computes="fewer than 11 bits below 6.1e-5, nothing between 0 and 6e-8, infinity above 65504",
                related=related_steps(values, () if change else said.evidence),
            )

    def _comparisons(self, facts: ModuleFacts, calls: Calls, cast: set[int]) -> Iterator[Finding]:
        for node, made in tiny_comparisons(calls):
            operand = half_operand(made, calls)
            if made.nid in cast or (operand is not None and measures_rounding(made, operand, facts)):
                continue
            yield self.find(
                facts,
                node,
                "an fp16 value compared with a number below 6e-8, which fp16 does not hold",
                computes="whether the value is 0",
            )

    def _is_half_already(self, operand: ir.Expr, calls: Calls) -> bool:
        return isinstance(operand, ir.Call) and half_operand(operand, calls) is not None

    def _vector(self, vector: t.Vector, operand: ir.Expr, call: ir.Call, facts: ModuleFacts) -> t.Vector | None:
        """Return the gradient, credit or feedback that is cast."""
        if vector.role.is_gradient:
            return vector if vector.computed or self._plainly_named(operand) else None
        if vector.role is t.Role.FEEDBACK:
            return vector if vector.computed or self._words(operand) & _FEEDBACK_WORDS else None
        if vector.role is t.Role.UNKNOWN and self._takes_subnormal(call, facts):
            made = (values_of(facts).vector(node) for node in slice_of(operand, facts).calls)
            return next((v for v in made if v.role is t.Role.GRADIENT and v.computed), None)
        return None

    def _takes_subnormal(self, call: ir.Call, facts: ModuleFacts) -> bool:
        """True if a constant that fp16 holds with few bits is added to the result."""
        above = facts.names.parent(call)
        if not (isinstance(above, ir.Binary) and above.op in ("+", "-")):
            return False
        value = facts.values.number(above.right if above.left is call else above.left)
        return value is not None and 0 < value < SUBNORMAL

    def _plainly_named(self, operand: ir.Expr) -> bool:
        found = self._words(operand)
        return bool(found) and found <= _PLAIN_WORDS

    def _words(self, operand: ir.Expr) -> set[str]:
        """The words of the name at the bottom of a chain of methods."""
        for _ in range(12):
            match operand:
                case ir.Call(func=ir.Attr(value=value)) | ir.Subscript(value=value):
                    operand = value
                case ir.Attr(attr="data" | "T", value=value):
                    operand = value
                case ir.Name(id=name) | ir.Attr(attr=name):
                    return set(words(name))
                case _:
                    return set()
        return set()

    def _is_transport(self, call: ir.Node, facts: ModuleFacts) -> bool:
        """True if the cast is part of communication, of an optimizer, or of a custom backward."""
        for above in facts.names.ancestors(call):
            match above:
                case ir.FunctionDef(name=name):
                    if name == "backward" or set(words(name)) & (_TRANSPORT | _MASTERS):
                        return True
                case ir.If(test=test) | ir.Conditional(test=test):
                    if any(isinstance(n, ir.Attr) and n.attr in ("dtype", "float16", "half") for n in ir.walk(test)):
                        return True
                case ir.Assign(targets=targets):
                    if any(isinstance(t, ir.Attr) and t.attr in ("grad", "data") for t in targets):
                        return True
                case ir.Call(func=ir.Attr(attr=attr)) if attr.rstrip("_") in ("copy", "all_reduce", "set"):
                    return True
        return _home(call, facts) in facts.derived(_senders)


def _senders(facts: ModuleFacts) -> set[int]:
    """Return the numbers of the functions (0 for the module) that call torch.distributed."""
    calls = (call for call in facts.calls if (facts.qualified(call.func) or "").startswith("torch.distributed."))
    return {_home(call, facts) for call in calls}


def _home(node: ir.Node, facts: ModuleFacts) -> int:
    function = function_of(node, facts)
    return 0 if function is None else function.nid
