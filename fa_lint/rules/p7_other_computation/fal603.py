from __future__ import annotations

from collections.abc import Iterator

from fa_lint.findings import Applicability, Edit, Finding, Fix, Level, Related
from fa_lint.rules.base import Invalid, Rule, occurs
from fa_lint.rules.p7_other_computation._legacy_hooks import FULL, is_fallback, is_single_operation
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.gradients import keyword
from fa_lint.semantics.hooks import Hook, hooks, replaces, uses
from fa_lint.semantics.words import words

__all__ = ["LegacyBackwardHook"]

_METHOD = "register_backward_hook"
_RETURN_NONE = frozenset("append extend insert add update print __setitem__ setattr info debug warning".split())
# What a bias or a weight is called where its gradient is taken from a legacy hook: a full hook has none of them.
_PARAMETER_WORDS = frozenset("weight weights bias biases w b gw gb dw db param params parameter".split())


class LegacyBackwardHook(Rule):
    """
    ## What it does
    Flags `module.register_backward_hook(hook)` (and `torch.nn.modules.module.register_module_backward_hook`) where the
    hook reads `grad_input` or returns a replacement for it. Silent on `register_full_backward_hook`, on tensor
    hooks, on hooks that only read `grad_output`, on hooks of other files, where a test of the version leaves only versions
    without full hooks, and on modules of one operation and one input (ReLU, BatchNorm, Conv2d), where the value is right.

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
    Unsafe, and offered only where the hook reads `grad_input[0]` and returns nothing: the full hook gives the gradient of
    the module's first input there, None where that input needs no gradient. A full hook raises at run time where an
    operation in place changes the input or the output of its module (`nn.ReLU(inplace=True)` behind it, or the module
    itself), so a model whose modules are all hooked needs activations that are not in place. Hooks that use other positions
    must be rewritten: a full hook has one entry for each input of the module and none for its parameters.

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
        "def f(m, seen):\n    def hook(module, gi, go): seen.append(gi[0])\n"
        "    if hasattr(m, 'register_full_backward_hook'): m.register_full_backward_hook(hook)\n"
        "    else: m.register_backward_hook(hook)",
        "from torch import nn\ndef hook(module, gi, go): return (gi[0].clamp(min=0),)\ndef f(net):\n"
        "    for m in net.modules():\n        if isinstance(m, nn.ReLU): m.register_backward_hook(hook)",
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
            registered = self._registered(call, facts)
            if registered is None or is_single_operation(call, calls) or is_fallback(call, calls):
                continue
            if calls.entered(call):
                continue  # a method of that name of a class of this module
            for hook in hooks(registered, calls):
                found = self._judge(call, hook, calls)
                if found is not None:
                    yield found
                    break

    def _registered(self, call: ir.Call, facts: ModuleFacts) -> ir.Expr | None:
        """The hook that a call registers the legacy way."""
        name = facts.qualified(call.func)
        if name in ("torch.nn.Module.register_backward_hook", "torch.nn.modules.module.Module.register_backward_hook"):
            return keyword(call, "hook", 1)
        if name == "torch.nn.modules.module.register_module_backward_hook":
            return keyword(call, "hook", 0)
        if name is None and self._is_method(call.func, facts):
            return keyword(call, "hook", 0)
        return None

    def _is_method(self, func: ir.Expr, facts: ModuleFacts) -> bool:
        match func:
            case ir.Attr(attr=attr):
                return attr == _METHOD
            case ir.Call(func=ir.Name(id="getattr"), args=[_, ir.Arg(value=ir.Const(value=attr)), *_]):
                return attr == _METHOD
            case ir.Name():
                bound = [b.value for b in facts.names.reaching(func) if b.how == "value"]
                return len(bound) == 1 and isinstance(bound[0], ir.Attr) and bound[0].attr == _METHOD
        return False

    def _judge(self, call: ir.Call, hook: Hook, calls: Calls) -> Finding | None:
        if len(hook.params) < 2:
            return None
        facts = calls.facts
        reads = [read for read in uses(hook, hook.params[1], calls) if not _is_thrown_away(read, facts)]
        replaced = replaces(hook, calls)
        if not reads and replaced is None:
            return None
        places: list[tuple[ir.Node, str]] = [(read, f"`{read.id}` is read here") for read in reads[:3]]
        if replaced is not None:
            places.append((replaced, "returned in place of `grad_input`"))
        what = "replaces" if replaced is not None else "reads"
        return self.find(
            facts,
            call,
            f"the legacy hook {what} `{hook.params[1].name}` of the module's last operation, not of the module; "
            "use `register_full_backward_hook`",
            computes="its entries and their order depend on the bias, the rank of the input and the last operation",
            fix=self._fix(call, reads, facts) if replaced is None and _returns_nothing(hook) else None,
            related=tuple(Related(*facts.span(node), text) for node, text in places),
        )

    def _fix(self, call: ir.Call, reads: list[ir.Name], facts: ModuleFacts) -> Fix | None:
        for read in reads:
            match facts.names.parent(read):
                case ir.Subscript(value=value, index=[ir.Const(value=0)]) as first if value is read:
                    if not self._is_kept_as_parameter(first, facts):
                        continue
            return None
        _, end = facts.span(call.func)
        last = call.func.attr if isinstance(call.func, ir.Attr) else ""
        if last not in FULL or facts.text[end - len(last) : end] != last:
            return None
        edit = Edit(end - len(last), end, FULL[last])
        return Fix(Applicability.UNSAFE, "Register a full backward hook", (edit,))

    def _is_kept_as_parameter(self, read: ir.Expr, facts: ModuleFacts) -> bool:
        """True if the statement around a read calls it the gradient of a weight or a bias."""
        statement = facts.names.statement(read)
        targets = statement.targets if isinstance(statement, ir.Assign) else []
        said = (text for target in targets for part in ir.walk(target) if (text := _said(part)))
        return any(set(words(text)) & _PARAMETER_WORDS for text in said)


def _is_thrown_away(read: ir.Name, facts: ModuleFacts) -> bool:
    """``_ = grad_input``"""
    match facts.names.parent(read):
        case ir.Assign(targets=[ir.Name(id="_")]):
            return True
    return False


def _returns_nothing(hook: Hook) -> bool:
    """False for a lambda that may return a value, which a full hook takes for a gradient."""
    if not isinstance(hook.function, ir.Lambda):
        return True
    match hook.function.body:
        case ir.Call(func=ir.Attr(attr=name) | ir.Name(id=name)):
            return name in _RETURN_NONE
    return False


def _said(node: ir.Node) -> str:
    match node:
        case ir.Name(id=text) | ir.Attr(attr=text) | ir.Const(value=str() as text):
            return text
    return ""
