"""Train and eval mode: which models behave otherwise in train mode, and whether ``eval()`` was called on the way."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls, argument
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
            if isinstance(part, ir.Call) and _is_modal(part, calls) and not _is_built_without(part, model, calls):
                return part
        return None
    for leaf in calls.sources(model):
        made = _construction(leaf)
        if made is None:
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


def _is_built_without(layer: ir.Call, model: ir.Expr, calls: Calls) -> bool:
    """Return True for dropout whose rate is a parameter of the class that the model is built with as 0."""
    rate = _rate(layer)
    bindings = calls.facts.names.reaching(rate) if isinstance(rate, ir.Name) else []
    param = bindings[0].node if len(bindings) == 1 else None
    function = calls.facts.names.parent(param) if isinstance(param, ir.Param) else None
    if not isinstance(param, ir.Param) or not isinstance(function, ir.FunctionDef) or function.name != "__init__":
        return False
    built = [made for leaf in calls.sources(model) if (made := _construction(leaf)) is not None]
    rates = [argument(made, function, param) or param.default for made in built] or [param.default]
    return all(calls.facts.values.number(rate) == 0 for rate in rates)


def _construction(leaf: ir.Expr | None) -> ir.Call | None:
    """``Net()`` of ``Net().to(device)``."""
    while isinstance(leaf, ir.Call) and isinstance(leaf.func, ir.Attr) and leaf.func.attr in ("to", "cuda", "train"):
        leaf = leaf.func.value
    return leaf if isinstance(leaf, ir.Call) else None


def _is_rate_zero(layer: ir.Call, calls: Calls) -> bool:
    """Return True for a rate that is written as 0; what a parameter is, the calls say."""
    rate = _rate(layer)
    bindings = calls.facts.names.reaching(rate) if isinstance(rate, ir.Name) else []
    if any(isinstance(binding.node, ir.Param) for binding in bindings):
        return False
    return calls.facts.values.number(rate) == 0


def _rate(layer: ir.Call) -> ir.Expr | None:
    given = layer.args[1:] if "dropout" in _written(layer) else layer.args
    named = next((arg.value for arg in layer.args if arg.keyword == "p"), None)
    return named or next((arg.value for arg in given if arg.keyword is None), None)


def _written(call: ir.Call) -> str:
    return ir.last_name(call.func)


def _is_modal(call: ir.Call, calls: Calls) -> bool:
    name = calls.facts.qualified(call.func) or ""
    if not name.endswith(f".{_written(call)}"):
        return False  # under another name here: the gate of the rules does not see it
    if "ropout" in name and _is_rate_zero(call, calls):
        return False
    if name in _MODAL_FUNCTIONS:
        return not any(arg.keyword == "training" and _is_false(arg.value) for arg in call.args)
    return name.startswith("torch.nn.") and name.rpartition(".")[2].startswith(_MODAL)


def _is_false(node: ir.Expr) -> bool:
    return isinstance(node, ir.Const) and node.value is False


def may_be_in_eval_mode(node: ir.Node, calls: Calls, depth: int = 0) -> bool:
    """True if ``eval()`` (or ``train(False)``) is called in the function of a node, a callee or a caller."""
    home = function_of(node, calls.facts)
    if depth > _DEPTH:
        return True
    for statement in calls.facts.nodes_of(ir.Assign):
        if isinstance(statement, ir.Assign) and _sets_mode(statement, calls):
            if function_of(statement, calls.facts) is home:
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


def _sets_mode(node: ir.Assign, calls: Calls) -> bool:
    """``layer.training = False`` and ``layer.p = 0``."""
    match node.targets:
        case [ir.Attr(attr="training")]:
            return _is_false(node.value)
        case [ir.Attr(attr="p", value=ir.Name() as layer)] if layer.id != "self":
            return calls.facts.values.number(node.value) == 0
    return False


def _switches(node: ir.Node) -> bool:
    match node:
        case ir.Call(func=ir.Attr(attr="eval"), args=[]):
            return True
        case ir.Call(func=ir.Attr(attr="train"), args=[ir.Arg(value=value), *_]):
            return not (isinstance(value, ir.Const) and value.value is True)
    return False
