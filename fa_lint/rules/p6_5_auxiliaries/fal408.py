from __future__ import annotations

import re
from collections.abc import Iterator

from fa_lint.findings import Finding, Level, Related
from fa_lint.rules.base import Gate, Invalid, Rule, occurs
from fa_lint.rules.common.feedback import FEEDBACK, evidence
from fa_lint.rules.p6_5_auxiliaries._loads import (
    is_checked,
    is_named_after_feedback,
    may_hold_feedback,
    named_buffers,
)
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import feedback_sites
from fa_lint.semantics.feedback_names import names_a_method

__all__ = ["UncheckedPartialLoad"]

_REGISTERED = re.compile(rb"register_buffer\([^,)]*feedbacks?[\"']")


class _FeedbackGate(Gate):
    """Open where a file says feedback, or a buffer is named after it."""

    def open_for(self, data: bytes) -> bool:
        return all(gate.open_for(data) for gate in FEEDBACK) or _REGISTERED.search(data) is not None


class UncheckedPartialLoad(Rule):
    """
    ## What it does
    Flags `load_state_dict(…, strict=False)` whose result is dropped (or bound to a name that is not read), and
    Lightning's `load_from_checkpoint(…, strict=False)`, which returns the model, in a module that draws feedback,
    defines or imports a class or function named after it. Silent where the missing keys are inspected, returned,
    logged or stored, where the keys of the file are checked before, where the state that is loaded began as the
    model's own, and where the model is made of something that has nothing to do with feedback.

    ## Why is this bad
    `strict=False` turns a checkpoint without the feedback into a success: the model keeps the matrix that its constructor
    has just drawn. Measured on a layer with the feedback in a buffer, loaded from a checkpoint that was written before
    the buffer existed: `missing_keys=['B']`, no warning, and the credit of 20 such reloads had a cosine of 0.002 ± 0.018
    to that of the trained layers.

    ## Example
    ```python
    import torch
    from fa_layers import LinearFA

    def restore(path):
        model = LinearFA(256, 10)
        model.load_state_dict(torch.load(path), strict=False)
        return model
    ```

    ## Use instead
    ```python
    import torch
    from fa_layers import LinearFA

    def restore(path):
        model = LinearFA(256, 10)
        missing, unexpected = model.load_state_dict(torch.load(path), strict=False)
        assert not any("weight_fa" in key for key in missing), missing
        return model
    ```

    ## Fix safety
    No fix: which keys may be missing is the author's to say. `fa_lint_runtime.load_checkpoint` refuses a file whose
    feedback is incomplete.

    ## References
    - [torch.nn.Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.load_state_dict)
    """

    code = "FAL408"
    name = "unchecked-partial-load"
    summary = "a partial `load_state_dict` with its result dropped, where feedback exists"
    level = Level.WARNING
    pitfall = "P6.5"
    runtime = "fa_lint_runtime.load_checkpoint"
    gate = (occurs(b"load_state_dict", b"load_from_checkpoint"), _FeedbackGate((b"",)))

    VALID = (
        "import torch\nfrom fa_layers import LinearFA\ndef f(model, state): model.load_state_dict(state)",
        "import torch\nfrom fa_layers import LinearFA\ndef f(model, state):\n"
        "    missing, unexpected = model.load_state_dict(state, strict=False)\n    print(missing)",
        "import torch\nfrom fa_layers import LinearFA\ndef f(model, state): return model.load_state_dict(state, strict=False)",
        "import torch\nfrom fa_layers import LinearFA\ndef f(model, state): print(model.load_state_dict(state, strict=False))",
        "import torch\n# no feedback alignment here\ndef f(model, state): model.load_state_dict(state, strict=False)",
        "import torch\nfrom fa_layers import LinearFA\ndef f(model, state, strict):\n    model.load_state_dict(state, strict=strict)",
    )
    INVALID = (
        Invalid(
            """
            import torch
            from torch import nn
            class LinearFA(nn.Linear):
                def __init__(self, n):
                    super().__init__(n, n)
                    self.register_buffer("weight_fa", torch.randn(n, n))
            def restore(model, path):
                state = torch.load(path)
                model.load_state_dict(state["model"], False)
                _ = model.load_state_dict(state["model"], strict=False)
            """,
            lines=(9, 10),
        ),
        Invalid(
            """
            import torch
            from layers import feedback_alignment
            strict = False
            def restore(model, path):
                result = model.load_state_dict(torch.load(path), strict=strict)
                return model
            """,
            lines=(5,),
        ),
    )

    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        places: tuple[Related, ...] | None = None
        for call in facts.calls:
            if not _is_partial(facts, call) or not _is_dropped(facts, call):
                continue
            if places is None:
                places = _feedback(facts)
            if not places:
                return
            if is_checked(facts, call) or not may_hold_feedback(facts, call):
                continue
            yield self.find(
                facts,
                call,
                "`strict=False` with its result dropped: a checkpoint without the feedback loads without an error; "
                "check the missing keys",
                computes="the freshly drawn feedback stays where the checkpoint has none",
                related=places,
            )


def _is_partial(facts: ModuleFacts, call: ir.Call) -> bool:
    if not (isinstance(call.func, ir.Attr) and call.func.attr in ("load_state_dict", "load_from_checkpoint")):
        return False
    strict = next((a.value for a in call.args if a.keyword == "strict"), None)
    if (
        strict is None
        and call.func.attr == "load_state_dict"
        and len(call.args) > 1
        and not any(a.keyword or a.star for a in call.args[:2])
    ):
        strict = call.args[1].value
    return strict is not None and facts.values.constant(strict) is False


def _is_dropped(facts: ModuleFacts, call: ir.Call) -> bool:
    if isinstance(call.func, ir.Attr) and call.func.attr == "load_from_checkpoint":
        # It returns the model, and the missing keys to nobody.
        return True
    match facts.names.parent(call):
        case ir.ExprStmt():
            return True
        case ir.Assign(targets=targets):
            bound = [n for t in targets for n in ir.walk(t) if isinstance(n, ir.Name | ir.Attr)]
            return all(isinstance(n, ir.Name) and not _is_read(facts, n) for n in bound)
    return False


def _is_read(facts: ModuleFacts, name: ir.Name) -> bool:
    function = facts.names.enclosing_function(name)
    return any(
        isinstance(node, ir.Name) and node.id == name.id and node.nid > name.nid and name.id != "_"
        for node in ir.walk(function.body if function is not None else facts.module)
    )


def _feedback(facts: ModuleFacts) -> tuple[Related, ...]:
    """Where feedback comes from in this module: a draw, a class or a function of that name, an import."""
    sites = facts.derived(feedback_sites) or named_buffers(facts)
    if sites:
        return evidence(facts, sites[0])
    named: list[ir.ClassDef | ir.FunctionDef] = [*facts.names.classes, *facts.names.functions]
    for node in named:
        if names_a_method(node.name):
            start = facts.span(node)[0]
            return (Related(start, start + 1, f"`{node.name}` is named after feedback"),)
    for binding in facts.names.imports:
        if is_named_after_feedback(binding.name, binding.target or ""):
            return (Related(*facts.span(binding.node), f"`{binding.name}` is imported here"),)
    return ()
