"""The layers of a model that act otherwise in train mode, wherever in the module the model is made."""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls, argument
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.modes import active_layer

__all__ = ["acting_layer", "is_dropout"]

_DEPTH = 4
_SAME_MODEL = frozenset({"to", "cuda", "cpu", "train", "float", "double"})
_CONTAINERS = frozenset("Sequential ModuleList TransformerEncoder TransformerDecoder".split())
# Position and default of the rate of dropout.
_RATES = {
    "TransformerEncoderLayer": (3, 0.1),
    "TransformerDecoderLayer": (3, 0.1),
    "Transformer": (5, 0.1),
    "MultiheadAttention": (2, 0.0),
    **dict.fromkeys("Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout".split(), (0, 0.5)),
}
_FUNCTIONS = frozenset({"torch.nn.functional.dropout", "torch.dropout"})


class _Known:
    """The answers for the expressions of a module: functions that call each other ask for them again and again."""

    def __init__(self, facts: ModuleFacts) -> None:
        self.layers: dict[int, ir.Node | None] = {}


def acting_layer(model: ir.Expr, calls: Calls, depth: int = 0) -> ir.Node | None:
    """Return a layer that acts in train mode: of what a function returns, of the parts of a model, or of itself."""
    known = calls.facts.derived(_Known).layers
    if model.nid not in known:
        known[model.nid] = None  # a model that is made of itself
        known[model.nid] = _find(model, calls, depth)
    return known[model.nid]


def _find(model: ir.Expr, calls: Calls, depth: int) -> ir.Node | None:
    found = active_layer(model, calls)
    if found is not None or depth > _DEPTH:
        return found
    owner = calls.class_of(model)
    if owner is not None:
        return _in_class(owner, calls, depth)
    ways = [_in_made(leaf, calls, depth) for leaf in calls.sources(model)]
    return ways[0] if ways and all(ways) else None


def is_dropout(call: ir.Call, calls: Calls) -> bool:
    """Return True for ``F.dropout`` with a rate that is not 0, unless it is switched off for good."""
    if calls.facts.qualified(call.func) not in _FUNCTIONS:
        return False
    training = _given(call, 2, "training")
    if isinstance(training, ir.Const) and training.value is False:
        return False
    rate = _given(call, 1, "p")
    return rate is None or calls.facts.values.number(rate) != 0


def _in_class(owner: ir.ClassDef, calls: Calls, depth: int) -> ir.Node | None:
    """Return an acting layer of the parts that a class makes."""
    for part in (node for one in calls.lineage(owner) for node in ir.walk(one.body)):
        if not isinstance(part, ir.Call):
            continue
        if _is_library_layer(part, calls):
            return part
        made = calls.facts.names.class_named(part.func) if isinstance(part.func, ir.Name) else None
        found = acting_layer(part, calls, depth + 1) if made is not None and made is not owner else None
        if found is not None and _is_given_rate(found, part, made, calls):
            return found
    return None


def _in_made(leaf: ir.Expr | None, calls: Calls, depth: int) -> ir.Node | None:
    """Return an acting layer of what an expression makes; None where it has none or it is not in sight."""
    if not isinstance(leaf, ir.Call):
        return None
    if isinstance(leaf.func, ir.Attr) and leaf.func.attr in _SAME_MODEL:
        return acting_layer(leaf.func.value, calls, depth + 1)
    if _is_library_layer(leaf, calls):
        return leaf
    function = calls.facts.names.function_called(leaf)
    if function is not None:
        leaves = [leaf for value in calls.facts.names.returned(function) for leaf in calls.sources(value)]
        found = [acting_layer(leaf, calls, depth + 1) if leaf is not None else None for leaf in leaves]
        return found[0] if found and all(found) else None
    name = calls.facts.qualified(leaf.func) or ""
    if name.startswith("torch.nn.") and name.rpartition(".")[2] in _CONTAINERS:
        parts = (acting_layer(part, calls, depth + 1) for part in _parts(leaf, calls))
        return next((part for part in parts if part is not None), None)
    return None


def _parts(container: ir.Call, calls: Calls) -> Iterator[ir.Expr]:
    """The layers that a container is given: one by one, in a list, or from a comprehension."""
    for arg in container.args:
        for leaf in calls.sources(arg.value):
            match leaf:
                case ir.Sequence(items=items) | ir.Comprehension(elements=items):
                    yield from items
                case ir.Expr():
                    yield leaf


def _is_library_layer(call: ir.Call, calls: Calls) -> bool:
    """Return True for a layer of torch that has dropout at a rate that is known and not 0, or BatchNorm."""
    name = calls.facts.qualified(call.func) or ""
    last = name.rpartition(".")[2]
    if not name.startswith("torch.nn."):
        return False
    if last.startswith(("BatchNorm", "SyncBatchNorm", "LazyBatchNorm")):
        return True
    if last not in _RATES:
        return False
    place, default = _RATES[last]
    rate = _given(call, place, "dropout" if place else "p")
    return bool(default if rate is None else _number(rate, calls))


def _number(rate: ir.Expr, calls: Calls) -> float | None:
    """Return a rate that is the same for every caller."""
    bound = calls.facts.names.reaching(rate) if isinstance(rate, ir.Name) else []
    return None if any(isinstance(b.node, ir.Param) for b in bound) else calls.facts.values.number(rate)


def _is_given_rate(layer: ir.Node, made: ir.Call, owner: ir.ClassDef | None, calls: Calls) -> bool:
    """Return False for dropout at a rate that the class is given and that this call does not show to be above 0."""
    given = layer.args[0].value if isinstance(layer, ir.Call) and layer.args else None
    bound = calls.facts.names.reaching(given) if isinstance(given, ir.Name) else []
    params = [b.node for b in bound if isinstance(b.node, ir.Param)]
    init = calls.method(owner, "__init__") if owner is not None else None
    if init is None or not params or not any(param is params[0] for param in init.params):
        return not params
    rate = argument(made, init, params[0]) or params[0].default
    return rate is not None and bool(_number(rate, calls))


def _given(call: ir.Call, place: int, keyword: str) -> ir.Expr | None:
    named = [arg.value for arg in call.args if arg.keyword == keyword]
    plain = [arg.value for arg in call.args if arg.keyword is None]
    return named[0] if named else plain[place] if len(plain) > place else None
