"""Differences under a root: which squares are summed there, and whether a gradient flows into one of the sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.analysis import terms as t
from fa_lint.analysis.models import METHODS
from fa_lint.analysis.values import Values, values_of
from fa_lint.semantics import ir
from fa_lint.semantics.backpropagated import Backpropagated, computed_from, given_for
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.gradients import keyword
from fa_lint.semantics.roles import MODEL_WORDS
from fa_lint.semantics.words import EPS_WORDS, PLACES, words

__all__ = ["Difference", "differences", "may_be_trained"]

_MOST = 600
# What keeps a sum of squares away from zero, or picks the entries that are not.
_GUARDS = frozenset(
    "clamp clamp_ clamp_min clamp_min_ clip clip_ relu relu_ softplus maximum max where masked_fill masked_fill_ "
    "masked_select nan_to_num threshold exp cosh add add_ triu_indices tril_indices".split()
)
_MODELS = (MODEL_WORDS - frozenset("dropout relu norm clip pool activation".split())) | frozenset(
    "critic discriminator unet vae autoencoder policy actor gan rnn lstm gru cnn backbones agent".split()
)
_LAYER_CALLS = frozenset(
    f"torch.nn.functional.{name}" for name in "linear embedding conv1d conv2d conv3d bilinear layer_norm".split()
)
_OUTPUTS = frozenset(
    "output outputs out pred preds prediction predictions logit logits feat feats feature features emb embs embed "
    "embeds embedding embeddings latent latents hidden hiddens repr reprs representation recon reconstruction "
    "representations reconstructed anchor anchors positive positives negative negatives proto protos prototype "
    "prototypes centers centres centroids student generated estimate estimated hat".split()
)
# Arguments of a loss that no model makes.
_FEATURES = frozenset(name for name, row in METHODS.items() if row.operation == "hidden")
_DATA = PLACES | frozenset("target targets label labels gt mask masks weight weights true truth dim margin".split())


@dataclass(frozen=True, slots=True)
class Difference:
    """``node`` is ``left - right``; ``of_itself``: a batch against itself, whose diagonal is zero."""

    node: ir.Expr
    left: ir.Expr
    right: ir.Expr
    of_itself: bool = False


def differences(under: ir.Expr, facts: ModuleFacts) -> list[Difference]:
    """Return the differences whose squares alone are summed under a root; none where anything else is."""
    values = values_of(facts)
    found: list[Difference] = []
    waiting = [under]
    while waiting:
        summand = waiting.pop()
        named = _bound(summand, facts)
        if isinstance(named, ir.Binary) and named.op == "+":
            waiting += [named.right, named.left]
            continue
        squared = _mean_squared_error(named, facts) or _of_value(summand, values, facts)
        if squared is None or len(found) > 3:
            return []
        found.append(squared)
    stop = frozenset(difference.node.nid for difference in found)
    return [] if _is_guarded(under, stop, facts) else found


def _bound(node: ir.Expr, facts: ModuleFacts) -> ir.Expr:
    for _ in range(8):
        if not isinstance(node, ir.Name):
            break
        bound = facts.names.reaching(node)
        if len(bound) != 1 or bound[0].how != "value" or bound[0].value is None:
            break
        node = bound[0].value
    return node


def _of_value(node: ir.Expr, values: Values, facts: ModuleFacts) -> Difference | None:
    """The one difference whose square an expression is, elementwise or summed, however it comes about."""
    found: Difference | None = None
    for term, _ in values.of(node):
        if isinstance(term, t.Unknown):
            continue  # None, say, on another way
        if not isinstance(term, t.Monomial) or term.floors or term.norms or term.inexact:
            return None
        factors = term.vectors if not term.dots else term.dots[0]
        if len(term.dots) > 1 or len(factors) != 2 or (term.dots and term.vectors):
            return None
        first, second = factors
        if first.ident != second.ident:
            return None
        if first.argument:
            found = _passed(first, values, facts)
        else:
            found = _made_at(first.ident, values, facts) if first.name == t.DIFFERENCE else None
        if found is None:
            return None
    return found


def _passed(vector: t.Vector, values: Values, facts: ModuleFacts) -> Difference | None:
    """The difference that a caller in this module passes for an argument."""
    key = values.evaluator.identities.key(vector.ident)
    param = facts.node(key[2]) if key[:1] == ("argument",) and isinstance(key[2], int) else None
    for given in given_for(param, facts.derived(Calls)) if isinstance(param, ir.Param) else ():
        for term, _ in values.of(given):
            if isinstance(term, t.Vector) and term.name == t.DIFFERENCE:
                found = _made_at(term.ident, values, facts)
                if found is not None:
                    return found
    return None


def _made_at(ident: int, values: Values, facts: ModuleFacts) -> Difference | None:
    """The subtraction that makes a value, unless a mask or an index has picked its entries."""
    key_of = values.evaluator.identities.key
    key = key_of(ident)
    while key[:1] != ("node",):
        if len(key) < 2 or not isinstance(key[1], int):
            return None
        if key[0] == "element" and len(key) > 2 and key[2] == "index" and not (len(key) > 3 and key[3] == "slice"):
            return None
        key = key_of(key[1])
    frame = values.evaluator.frames[key[1]] if isinstance(key[1], int) else None
    if frame is None or not isinstance(key[2], int):
        return None
    if frame.module.number != values.module.number:
        return None
    node = facts.node(key[2])
    sides = _sides(node, facts)
    if sides is None or not isinstance(node, ir.Expr):
        return None
    one, other = (t.one(values.evaluator.of(frame, side)) for side in sides)
    if any(facts.values.number(side) is not None for side in sides):
        return None
    for side, rest in ((sides[1], one), (sides[0], other)):
        averaged = _averaged(_bound(side, facts), facts)
        mean_of = t.one(values.evaluator.of(frame, averaged)) if averaged is not None else None
        if isinstance(mean_of, t.Vector) and isinstance(rest, t.Vector) and mean_of.ident == rest.ident:
            return None  # the deviation from a mean: zero for constant values only
    itself = isinstance(one, t.Vector) and isinstance(other, t.Vector) and one.ident == other.ident
    return Difference(node, *sides, itself)


def _averaged(node: ir.Expr, facts: ModuleFacts) -> ir.Expr | None:
    """What ``x.mean(…)`` and ``torch.mean(x, …)`` are the mean of."""
    match node:
        case ir.Call(func=ir.Attr(attr="mean", value=value) as func) if facts.qualified(func) is None:
            return value
        case ir.Call(func=func, args=[first, *_]) if facts.qualified(func) == "torch.mean":
            return first.value
    return None


def _sides(node: ir.Node, facts: ModuleFacts) -> tuple[ir.Expr, ir.Expr] | None:
    match node:
        case ir.Binary(op="-", left=left, right=right):
            return left, right
        case ir.Call(func=func, args=[ir.Arg(value=left), ir.Arg(value=right), *_]) if (
            facts.qualified(func) is not None
        ):
            return left, right
        case ir.Call(func=ir.Attr(value=left), args=[ir.Arg(value=right), *_]):
            return left, right
    return None


def _mean_squared_error(node: ir.Expr, facts: ModuleFacts) -> Difference | None:
    """``F.mse_loss(a, b)`` and ``nn.MSELoss()(a, b)``."""
    if not isinstance(node, ir.Call) or len(node.args) < 2:
        return None
    made = facts.qualified(node.func) == "torch.nn.functional.mse_loss"
    if not made:
        leaves = [node.func] if isinstance(node.func, ir.Call) else list(facts.derived(Calls).sources(node.func))
        made = bool(leaves) and all(
            isinstance(leaf, ir.Call) and facts.qualified(leaf.func) == "torch.nn.MSELoss" for leaf in leaves
        )
    return Difference(node, node.args[0].value, node.args[1].value) if made else None


def _is_guarded(under: ir.Expr, stop: frozenset[int], facts: ModuleFacts) -> bool:
    """Return True where something between a root and the differences under it keeps zero away."""
    for part in computed_from([under], facts.derived(Calls), stop, _MOST):
        if part.nid in stop:
            continue
        match part:
            case ir.Call(func=ir.Name(id=name) | ir.Attr(attr=name)) if name in _GUARDS:
                return True
            case ir.Binary(op="+", left=left, right=right):
                if any(facts.values.number(side) is not None or _is_eps(side) for side in (left, right)):
                    return True
            case ir.Subscript(index=index) if any(
                isinstance(i, ir.Compare | ir.Unary) and not _is_number(i, facts) for i in index
            ):
                return True
    return False


def _is_number(node: ir.Expr, facts: ModuleFacts) -> bool:
    return facts.values.number(node) is not None


def _is_eps(node: ir.Expr) -> bool:
    name = ir.last_name(node)
    return bool(set(words(name)) & EPS_WORDS)


# -- what is trained --------------------------------------------------------------------------------------------------


def may_be_trained(difference: Difference, facts: ModuleFacts, in_loss: bool) -> bool:
    """Return True where a gradient flows into one of the sides; ``in_loss``: a function named a loss returns it."""
    if all(_is_place(side, facts) for side in (difference.left, difference.right)):
        return False
    parts = list(_parts(difference, facts))
    return any(_is_trained(part, facts, in_loss) for part in parts) or _is_all_there_is(difference.node, parts, facts)


def _is_place(side: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True for one of several points in space, ``pos[row]``: those of other indices are elsewhere."""
    node = _bound(side, facts)
    if not isinstance(node, ir.Subscript):
        return False
    said = node.value.id if isinstance(node.value, ir.Name) else getattr(node.value, "attr", "")
    return bool(set(words(str(said))) & PLACES)


def _is_all_there_is(node: ir.Expr, parts: list[ir.Expr | ir.Param], facts: ModuleFacts) -> bool:
    """Return True where the loss of a backward pass is computed from nothing else that could require a gradient."""
    home = facts.names.enclosing_function(node)
    losses = facts.derived(Backpropagated).losses.get(home.nid if home is not None else 0, [])
    known = {part.nid for part in parts}
    seen = False
    for part in computed_from(losses, facts.derived(Calls), most=_MOST) if len(losses) == 1 else ():
        if part.nid in known:
            seen = seen or isinstance(part, ir.Param)
        elif _is_open(part, facts):
            return False
    return seen


def _is_open(part: ir.Expr | ir.Param, facts: ModuleFacts) -> bool:
    """Return True for what may require a gradient."""
    match part:
        case ir.Param(name=name):
            return not set(words(name)) & _DATA
        case ir.Name(id="self" | "cls"):
            return True
        case ir.Call(func=func) if facts.qualified(func) is None and not facts.derived(Calls).entered(part):
            if not (isinstance(func, ir.Attr) and func.attr in METHODS):
                return True  # an unresolved call
    return _is_trained(part, facts, False)


def _parts(difference: Difference, facts: ModuleFacts) -> Iterator[ir.Expr | ir.Param]:
    for side in (difference.left, difference.right):
        yield from computed_from([side], facts.derived(Calls), most=_MOST)


class _Leaves:
    """The names that are set to require a gradient by a statement, or handed to an optimizer, by function."""

    def __init__(self, facts: ModuleFacts) -> None:
        self.names: set[tuple[int, str]] = set()
        for node in facts.nodes_of(ir.Call, ir.Assign):
            match node:
                case ir.Call(func=ir.Attr(attr="requires_grad_", value=ir.Name(id=name)), args=args):
                    if not args or facts.values.constant(args[0].value) is not False:
                        self._add(node, name, facts)
                case ir.Assign(targets=[ir.Attr(attr="requires_grad", value=ir.Name(id=name))], value=value):
                    if facts.values.constant(value) is True:
                        self._add(node, name, facts)
                case ir.Call(func=func, args=[ir.Arg(value=ir.Sequence(items=items)), *_]):
                    if (facts.qualified(func) or "").startswith("torch.optim."):
                        for item in items:
                            if isinstance(item, ir.Name):
                                self._add(node, item.id, facts)

    def _add(self, node: ir.Node, name: str, facts: ModuleFacts) -> None:
        home = facts.names.enclosing_function(node)
        self.names.add((home.nid if home is not None else 0, name))


def _is_trained(part: ir.Expr | ir.Param, facts: ModuleFacts, in_loss: bool) -> bool:
    match part:
        case ir.Name(id=name):
            home = facts.names.enclosing_function(part)
            return (home.nid if home is not None else 0, name) in facts.derived(_Leaves).names
        case ir.Param(name=name):
            said = set(words(name))
            return bool(said & _OUTPUTS) or (in_loss and name != "self" and not said & _DATA)
        case ir.Call():
            return _is_forward(part, facts)
        case ir.Attr(attr="weight"):
            return facts.qualified(part) is None
    return False


def _is_forward(call: ir.Call, facts: ModuleFacts) -> bool:
    """Return True for a forward pass, a parameter, or a tensor that requires a gradient."""
    func, name = call.func, facts.qualified(call.func)
    if any(arg.keyword == "requires_grad" and facts.values.constant(arg.value) is True for arg in call.args):
        return True
    if name is not None:
        if name == "torch.autograd.grad":
            graph = keyword(call, "create_graph", 4)
            return graph is not None and facts.values.constant(graph) is not False
        return name in _LAYER_CALLS or name == "torch.nn.Parameter"
    last = ir.last_name(func)
    if isinstance(func, ir.Attr):
        if last == "requires_grad_":
            return not call.args or facts.values.constant(call.args[0].value) is not False
        if last in _FEATURES | {"parameters", "named_parameters", "decode", "rsample", "generate"} - {
            "relu",
            "tanh",
            "sigmoid",
            "softmax",
        }:
            return True
        if last in METHODS:
            return False
    if set(words(last)) & _MODELS:
        return True
    owner = facts.derived(Calls).class_of(func)
    if owner is not None:
        return any(base.startswith("torch.nn.") for base in facts.derived(Calls).bases(owner))
    leaves = list(facts.derived(Calls).sources(func)) if isinstance(func, ir.Name | ir.Attr) else []
    return any(isinstance(x, ir.Call) and (facts.qualified(x.func) or "").startswith("torch.nn.") for x in leaves)
