"""Train and eval mode: which models behave otherwise in train mode, and whether ``eval()`` was called on the way."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.slices import function_of

__all__ = ["active_layer", "may_be_in_eval_mode"]

_MODAL = ("Dropout", "AlphaDropout", "FeatureAlphaDropout", "BatchNorm", "SyncBatchNorm", "LazyBatchNorm", "RReLU")
_MODAL_FUNCTIONS = frozenset({"torch.nn.functional.dropout", "torch.nn.functional.batch_norm", "torch.dropout"})
# Families of torchvision whose every member has dropout or BatchNorm.
_TORCHVISION = ("resnet", "resnext", "wide_resnet", "vgg", "alexnet", "densenet", "mobilenet", "googlenet", "inception")
_DEPTH = 6


def active_layer(model: ir.Expr, calls: Calls) -> ir.Node | None:
    """The dropout or BatchNorm of a model of this module; None where it has none or its class is unknown."""
    owner = calls.class_of(model)
    if owner is not None:
        for part in (node for c in calls.lineage(owner) for node in ir.walk(c.body)):
            if isinstance(part, ir.Call) and _is_modal(part, calls):
                return part
        return None
    for leaf in calls.sources(model):
        made: ir.Expr | None = leaf
        while (
            isinstance(made, ir.Call) and isinstance(made.func, ir.Attr) and made.func.attr in ("to", "cuda", "train")
        ):
            made = made.func.value
        if not isinstance(made, ir.Call):
            continue
        name = calls.facts.qualified(made.func) or ""
        if name.startswith("torchvision.models.") and name.rpartition(".")[2].startswith(_TORCHVISION):
            return made
        if name == "torch.nn.Sequential":
            found = next(
                (a.value for a in made.args if isinstance(a.value, ir.Call) and _is_modal(a.value, calls)), None
            )
            if found is not None:
                return found
    return None


def _is_modal(call: ir.Call, calls: Calls) -> bool:
    name = calls.facts.qualified(call.func) or ""
    written = (
        call.func.attr if isinstance(call.func, ir.Attr) else call.func.id if isinstance(call.func, ir.Name) else ""
    )
    if not name.endswith(f".{written}"):
        return False  # under another name here: the gate of the rules does not see it
    if name in _MODAL_FUNCTIONS:
        return not any(arg.keyword == "training" and _is_false(arg.value) for arg in call.args)
    if not name.startswith("torch.nn.") or not name.rpartition(".")[2].startswith(_MODAL):
        return False
    rate = next((arg.value for arg in call.args if arg.keyword in (None, "p")), None)
    return not ("Dropout" in name and calls.facts.values.number(rate) == 0)


def _is_false(node: ir.Expr) -> bool:
    return isinstance(node, ir.Const) and node.value is False


def may_be_in_eval_mode(node: ir.Node, calls: Calls, depth: int = 0) -> bool:
    """True if ``eval()`` (or ``train(False)``) is called in the function of a node, a callee or a caller."""
    home = function_of(node, calls.facts)
    if depth > _DEPTH:
        return True
    for call in calls.facts.calls:
        if function_of(call, calls.facts) is not home:
            continue
        if _switches(call):
            return True
        if any(_switches(inner) for f in calls.entered(call) for inner in ir.walk(f.body)):
            return True
    if home is None:
        return False
    callers = calls.callers(home)
    return any(
        may_be_in_eval_mode(call, calls, depth + 1) for call in callers if function_of(call, calls.facts) is not home
    )


def _switches(node: ir.Node) -> bool:
    match node:
        case ir.Call(func=ir.Attr(attr="eval"), args=[]):
            return True
        case ir.Call(func=ir.Attr(attr="train"), args=[ir.Arg(value=value), *_]):
            return not (isinstance(value, ir.Const) and value.value is True)
    return False
