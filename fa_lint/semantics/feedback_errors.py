"""Error signals: which expressions are a prediction minus its target, and which are only named like one."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from fa_lint.semantics import ir
from fa_lint.semantics.calls import given
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.matrix_products import MATRIX_PRODUCTS, is_product
from fa_lint.semantics.memory import Memory
from fa_lint.semantics.names import Binding
from fa_lint.semantics.words import words

__all__ = ["Signal", "signal_of"]

_NAMED = frozenset("error errors err errs delta deltas credit".split())
# Also the names of displacements and of what is left of a fit: believed only of a parameter.
_VAGUE = frozenset("delta deltas d e".split())
_LETTERS = frozenset({"e", "d"})
_PREDICTED = frozenset(
    "logits logit yhat ypred probs prob probability pred preds predicted prediction predictions output outputs out hat "
    "scores softmax sigmoid posterior".split()
)
_TARGETS = frozenset(
    "target targets label labels onehot truth gt tgt true y ys yb t teacher lbl lbls labs desired".split()
)
_SQUASHES = frozenset("softmax sigmoid log_softmax softmin logsigmoid expit exp".split())
_MODELS = frozenset("model models net nets network mlp cnn classifier forward head readout decoder".split())
_KEPT = frozenset(
    "t T view reshape transpose permute detach float double half to cpu cuda clone contiguous flatten unsqueeze "
    "squeeze type type_as numpy mul mul_ div div_ neg requires_grad_ expand sign clamp clip tanh mean sum normalize "
    "dropout where masked_fill chunk split".split()
)


class Signal(IntEnum):
    """How sure it is that a value is an error of the output: computed here, a gradient, or named so."""

    NONE = 0
    NAMED = 1
    GRADIENT = 2
    COMPUTED = 3


class _Memories:
    """What was found of the nodes of a module."""

    def __init__(self, _: ModuleFacts) -> None:
        self.signals = Memory(Signal.NONE)
        self.predictions = Memory(False)
        self.one_hots = Memory(False)


def signal_of(facts: ModuleFacts, node: ir.Expr) -> Signal:
    """The error that an expression carries; what computes it counts before its name."""
    return facts.derived(_Memories).signals.ask(node.nid, lambda: _signal(facts, node))


def _signal(facts: ModuleFacts, node: ir.Expr) -> Signal:
    match node:
        case ir.Name():
            return _of_name(facts, node)
        case ir.Attr(attr="T" | "mT" | "data" | "H", value=inner):
            return signal_of(facts, inner)
        case ir.Attr(attr="grad", value=inner):
            return Signal.COMPUTED if _is_prediction(facts, inner) else Signal.GRADIENT
        case ir.Attr(attr=identifier):
            found = _of_bindings(facts, facts.names.self_attribute(node), identifier)
            # ``hook.error = p - onehot`` somewhere else.
            return _best(facts, facts.derived(_set_outside).get(identifier, ())) or found if found else found
        case (
            ir.Subscript(value=inner)
            | ir.Unary(operand=inner)
            | ir.Starred(value=inner)
            | ir.Binary(op="/", left=inner)
        ):
            return signal_of(facts, inner)
        case ir.Walrus(value=inner):
            return signal_of(facts, inner)
        case ir.Conditional(body=body, orelse=orelse):
            return _best(facts, (body, orelse))
        case ir.Binary(op="-", left=left, right=right):
            return _residual(facts, left, right)
        case ir.Binary(op="+", left=left, right=right):
            # A state that an error corrects is a state.
            return min(signal_of(facts, left), signal_of(facts, right))
        case ir.Binary(op="*" | "@", left=left, right=right):
            # Scaled, masked by a derivative, or already sent through one matrix: an error still.
            return _best(facts, (left, right))
        case ir.Call():
            return _of_call(facts, node)
    return Signal.NONE


def _set_outside(facts: ModuleFacts) -> dict[str, list[ir.Expr]]:
    """By attribute, what is assigned to it on anything but ``self``."""
    found: dict[str, list[ir.Expr]] = {}
    for node in facts.nodes_of(ir.Assign):
        match node:
            case ir.Assign(targets=[ir.Attr(value=ir.Name(id=holder), attr=attr)], value=value) if holder != "self":
                found.setdefault(attr, []).append(value)
    return found


def _best(facts: ModuleFacts, nodes: Iterable[ir.Expr]) -> Signal:
    return max((signal_of(facts, node) for node in nodes), default=Signal.NONE)


def _of_call(facts: ModuleFacts, node: ir.Call) -> Signal:
    name, last = facts.qualified(node.func), ir.last_name(node.func)
    plain = [arg.value for arg in node.args if not arg.keyword and not arg.star]
    if last in ("sub", "sub_", "subtract"):
        pair = plain[:2] if name is not None else [*_receiver(node), *plain[:1]]
        if len(pair) == 2:
            return _residual(facts, pair[0], pair[1])
    if name in ("torch.autograd.grad", "torch.func.grad"):
        of = plain[1] if len(plain) > 1 else next((a.value for a in node.args if a.keyword == "inputs"), None)
        return Signal.COMPUTED if of is not None and _is_prediction(facts, of) else Signal.GRADIENT
    if last in MATRIX_PRODUCTS:
        return _best(facts, [*(_receiver(node) if name is None else []), *plain])
    if last in _KEPT:
        return _best(facts, _receiver(node) if name is None else plain)
    function = facts.names.function_called(node)
    if function is not None:
        found = _best(facts, facts.names.returned(function))
        return found or (Signal.NAMED if set(words(function.name)) & _NAMED else Signal.NONE)
    if name is None and isinstance(node.func, ir.Name | ir.Attr) and set(words(last)) & (_NAMED - _VAGUE):
        return Signal.NAMED
    return Signal.NONE


def _of_name(facts: ModuleFacts, node: ir.Name) -> Signal:
    if facts.qualified(node) is not None:
        return Signal.NONE
    bindings = facts.names.reaching(node)
    if _is_reduced_at_the_label(facts, bindings):
        return Signal.COMPUTED
    return _of_bindings(facts, bindings, node.id)


def _of_bindings(facts: ModuleFacts, bindings: list[Binding], identifier: str) -> Signal:
    found, known = Signal.NONE, False
    for binding in bindings:
        if binding.how == "value" and binding.value is not None:
            known = True
            found = max(found, signal_of(facts, binding.value))
        elif binding.how == "unpack" and isinstance(binding.value, ir.Call):
            found = max(found, _unpacked(facts, binding))
        elif binding.how == "param":
            found = max(found, _given(facts, binding))
    if found:
        return found
    said = set(words(identifier))
    if identifier in _LETTERS:
        return Signal.NAMED if bindings and not known else Signal.NONE
    if said & (_NAMED - _VAGUE) or (said & _NAMED and not known):
        return Signal.NONE if said & {"bar", "std", "rate", "func", "fn", "mse", "msg"} else Signal.NAMED
    return Signal.NONE


def _unpacked(facts: ModuleFacts, binding: Binding) -> Signal:
    assert isinstance(binding.value, ir.Call)
    function = facts.names.function_called(binding.value)
    if function is None:
        return signal_of(facts, binding.value)
    return _best(facts, facts.names.returned(function, binding.index))


def _given(facts: ModuleFacts, binding: Binding) -> Signal:
    """What the callers in this module hand to a parameter."""
    if not isinstance(binding.node, ir.Param):
        return Signal.NONE
    function = facts.names.enclosing_function(binding.node)
    if function is None:
        return Signal.NONE
    return _best(facts, given(facts, function, binding.name))


def _is_reduced_at_the_label(facts: ModuleFacts, bindings: list[Binding]) -> bool:
    """``err = probs.clone(); err[rows, y] -= 1``: the one-hot target is subtracted in place."""
    reduced = any(
        isinstance(b.node, ir.AugAssign) and b.node.op in ("-", "-=") and b.how in ("item", "update") for b in bindings
    )
    return reduced and any(
        b.value is not None and b.how == "value" and _is_prediction(facts, b.value) for b in bindings
    )


def _residual(facts: ModuleFacts, left: ir.Expr, right: ir.Expr) -> Signal:
    found = Signal.NONE
    for one, other in ((left, right), (right, left)):
        if _is_one_hot(facts, one) and not _is_one_hot(facts, other):
            return Signal.COMPUTED
        if _is_target(facts, one):
            if _is_prediction(facts, other):
                return Signal.COMPUTED
            if _is_product(facts, other):
                # The last layer of a network, or any other linear model.
                found = Signal.NAMED
    return found


def _is_product(facts: ModuleFacts, node: ir.Expr) -> bool:
    values = [node]
    if isinstance(node, ir.Name):
        values = [b.value for b in facts.names.reaching(node) if b.how == "value" and b.value is not None]
    return any(is_product(facts, value) for value in values)


def _is_one_hot(facts: ModuleFacts, node: ir.Expr) -> bool:
    """``F.one_hot(y)``, ``torch.eye(n)[y]``, ``zeros.scatter_(1, y, 1)``: a target whatever it is called."""
    return facts.derived(_Memories).one_hots.ask(node.nid, lambda: _holds_one_hot(facts, node))


def _holds_one_hot(facts: ModuleFacts, node: ir.Expr) -> bool:
    match node:
        case ir.Subscript(value=ir.Call(func=func)):
            return facts.qualified(func) in ("torch.eye", "numpy.eye", "jax.numpy.eye")
        case ir.Call(func=func):
            last = ir.last_name(func)
            if "onehot" in last.lower().replace("_", "") or last in ("label_binarize", "to_categorical"):
                return True
            if last == "scatter_":
                return True
            return last in _KEPT and any(_is_one_hot(facts, inner) for inner in _receiver(node))
        case ir.Name():
            if "onehot" in node.id.lower().replace("_", ""):
                return True
            values = [b.value for b in facts.names.reaching(node) if b.how == "value" and b.value is not None]
            return any(_is_one_hot(facts, value) for value in values)
    return False


def _is_target(facts: ModuleFacts, node: ir.Expr) -> bool:
    match node:
        case ir.Name(id=identifier) | ir.Attr(attr=identifier):
            said = set(words(identifier))
            return bool(said & _TARGETS) and not said & _PREDICTED
        case ir.Subscript(value=inner) | ir.Unary(operand=inner):
            return _is_target(facts, inner)
        case ir.Call() if ir.last_name(node.func) in _KEPT:
            return any(_is_target(facts, inner) for inner in _receiver(node))
    return _is_one_hot(facts, node)


def _is_prediction(facts: ModuleFacts, node: ir.Expr) -> bool:
    """A squashed score, what a network returned, the product with a readout, or a name that says so."""
    return facts.derived(_Memories).predictions.ask(node.nid, lambda: _predicts(facts, node))


def _predicts(facts: ModuleFacts, node: ir.Expr) -> bool:
    match node:
        case ir.Name(id=identifier):
            if set(words(identifier)) & _PREDICTED:
                return True
            bound = [
                b.value
                for b in facts.names.reaching(node)
                if b.how in ("value", "unpack") and b.value is not None and not _mentions(b.value, identifier)
            ]
            return any(_is_prediction(facts, value) for value in bound)
        case ir.Attr(attr=identifier):
            return bool(set(words(identifier)) & _PREDICTED)
        case ir.Subscript(value=inner) | ir.Unary(operand=inner):
            return _is_prediction(facts, inner)
        case ir.Sequence(items=[single]):
            return _is_prediction(facts, single)
        case ir.Binary(op="+" | "/" | "*", left=left, right=right):
            return _is_prediction(facts, left) or _is_prediction(facts, right)
        case ir.Call(func=func, args=args):
            last = ir.last_name(func)
            if last in _SQUASHES or set(words(last)) & (_MODELS | _PREDICTED):
                return True
            if last == "self" or (isinstance(func, ir.Attr) and facts.qualified(func) is None and last == "__call__"):
                return True
            if isinstance(func, ir.Attr) and isinstance(func.value, ir.Name) and func.value.id == "self":
                # ``self.fc2(h)``, ``self.layers[-1](h)``: the last of them is the output.
                return True
            if last in _KEPT | {"clone", "copy", "tanh"}:
                parts = _receiver(node) if facts.qualified(func) is None else [a.value for a in args[:1]]
                return any(_is_prediction(facts, part) for part in parts)
    return False


def _mentions(node: ir.Node, name: str) -> bool:
    return any(isinstance(part, ir.Name) and part.id == name for part in ir.walk(node))


def _receiver(node: ir.Call) -> list[ir.Expr]:
    return [node.func.value] if isinstance(node.func, ir.Attr) else []
