from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Applicability, Edit, Finding, Fix, Level, Related
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.hooks import Hook, hooks, replaces, uses

__all__ = ["LegacyBackwardHook"]

_METHOD = "register_backward_hook"
_FULL = {_METHOD: "register_full_backward_hook", "register_module_backward_hook": "register_module_full_backward_hook"}


class LegacyBackwardHook(Rule):
    """
    ## What it does
    Flags `module.register_backward_hook(hook)` (and `torch.nn.modules.module.register_module_backward_hook`) where the
    hook reads `grad_input` or gives back a replacement for it. Silent on `register_full_backward_hook`, on tensor
    hooks, on hooks that only read `grad_output`, and on hooks of other files.

    ## Why is this bad
    The legacy hook sits on the *last operation* of the module, not on the module, so `grad_input` holds the gradients
    of that operation in its order. Measured on torch 2.13: for `nn.Linear(3, 4)` on a `(2, 3)` input they are the bias,
    the input and the weight, shapes `(4,)`, `(2, 3)`, `(3, 4)`; without a bias the input comes first; for a `(5, 2, 3)`
    input there is a single entry of shape `(10, 4)`, the gradient of the output. For `nn.Conv2d` the input comes first
    and the bias last. A feedback alignment layer that replaces `grad_input[0]` overwrites the gradient of its bias and
    lets the true gradient through.

    ## Example
    ```python
    class Probe:
        def attach(self, layer):
            layer.register_backward_hook(self.hook)

        def hook(self, module, grad_input, grad_output):
            self.error = grad_input[0]
    ```

    ## Use instead
    ```python
    class Probe:
        def attach(self, layer):
            layer.register_full_backward_hook(self.hook)

        def hook(self, module, grad_input, grad_output):
            self.error = grad_input[0]
    ```

    ## Fix safety
    Unsafe, and offered only where the hook reads `grad_input[0]` and replaces nothing: the full hook gives the gradient of
    the module's first input there, None where that input needs no gradient. Hooks that use other positions must be rewritten: a full hook has one entry for each
    input of the module and none for its parameters.

    ## References
    - [Module.register_full_backward_hook](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_full_backward_hook)
    - [Module.register_backward_hook](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_backward_hook), deprecated
    """

    code = "FAL603"
    name = "legacy-backward-hook"
    summary = "a legacy backward hook that uses `grad_input` by position"
    level = Level.WARNING
    pitfall = "P7"
    runtime = "fa_lint_runtime.check_magnitude"
    fixable = "sometimes"
    gate = (occurs(b"register_backward_hook", b"register_module_backward_hook"),)

    VALID = (
        "def f(layer, seen):\n"
        "    def hook(module, grad_input, grad_output):\n        seen.append(grad_output[0])\n"
        "    layer.register_backward_hook(hook)",
        "def f(layer, seen):\n    layer.register_backward_hook(lambda m, gi, go: seen.append(go[0]))",
        "def f(layer, seen):\n"
        "    def hook(module, grad_input, grad_output):\n        seen.append(grad_input[0])\n"
        "    layer.register_full_backward_hook(hook)",
        "from probes import hook\ndef f(layer): layer.register_backward_hook(hook)",
        "class Remote:\n    def register_backward_hook(self, hook):\n        raise NotImplementedError",
    )
    INVALID = (
        Invalid(
            """
            from torch import nn

            def swap(module, grad_input, grad_output):
                return grad_output[0].mm(module.feedback), grad_input[1], grad_input[2]

            class Layer(nn.Linear):
                def __init__(self, m, n):
                    super().__init__(m, n)
                    self.register_backward_hook(swap)
            """,
            lines=(9,),
        ),
        Invalid(
            """
            def record(layer, seen):
                def hook(module, grad_input, grad_output):
                    seen.append(grad_input[0].norm())
                return layer.register_backward_hook(hook)
            """,
            lines=(4,),
            fixed="""
            def record(layer, seen):
                def hook(module, grad_input, grad_output):
                    seen.append(grad_input[0].norm())
                return layer.register_full_backward_hook(hook)
            """,
        ),
        Invalid(
            """
            from functools import partial

            def hook(name, seen, module, inward, outward):
                seen[name] = [g.norm() for g in inward]

            def attach(model, seen):
                for name, layer in model.named_modules():
                    layer.register_backward_hook(partial(hook, name, seen))
            """,
            lines=(8,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        calls = facts.derived(Calls)
        for call in facts.calls:
            if not call.args or not self._registers(call, facts):
                continue
            for hook in hooks(call.args[0].value, calls):
                found = self._judge(call, hook, calls)
                if found is not None:
                    yield found
                    break

    def _registers(self, call: ir.Call, facts: ModuleFacts) -> bool:
        name = facts.qualified(call.func)
        if name is not None:
            return name == "torch.nn.modules.module.register_module_backward_hook"
        return isinstance(call.func, ir.Attr) and call.func.attr == _METHOD

    def _judge(self, call: ir.Call, hook: Hook, calls: Calls) -> Finding | None:
        if len(hook.params) < 2:
            return None
        facts = calls.facts
        reads = uses(hook, hook.params[1], calls)
        replaced = replaces(hook, calls)
        if not reads and replaced is None:
            return None
        places: list[tuple[ir.Node, str]] = [(read, f"`{read.id}` is read here") for read in reads[:3]]
        if replaced is not None:
            places.append((replaced, "given back in place of `grad_input`"))
        what = "replaces" if replaced is not None else "reads"
        return self.find(
            facts,
            call,
            f"the legacy hook {what} `{hook.params[1].name}` of the module's last operation, not of the module; "
            "use `register_full_backward_hook`",
            computes="its entries and their order depend on the bias, the rank of the input and the last operation",
            fix=self._fix(call, reads, facts) if replaced is None else None,
            related=tuple(Related(*facts.span(node), text) for node, text in places),
        )

    def _fix(self, call: ir.Call, reads: list[ir.Name], facts: ModuleFacts) -> Fix | None:
        for read in reads:
            match facts.names.parent(read):
                case ir.Subscript(value=value, index=[ir.Const(value=0)]) if value is read:
                    continue
            return None
        _, end = facts.span(call.func)
        last = call.func.attr if isinstance(call.func, ir.Attr) else ""
        if last not in _FULL or facts.text[end - len(last) : end] != last:
            return None
        edit = Edit(end - len(last), end, _FULL[last])
        return Fix(Applicability.UNSAFE, "Register a full backward hook", (edit,))
