"""What a backward pass goes through: from the losses of a module back to what they are computed from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls, argument
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.gradients import keyword
from fa_lint.semantics.names import Binding
from fa_lint.semantics.severed import carries_no_gradient, cuts
from fa_lint.semantics.words import words

__all__ = ["Backpropagated", "computed_from", "given_for", "is_loss"]

# Functions through which no gradient flows.
_STEPS = frozenset(
    "argmin argmax argsort sign sgn round floor ceil long int bool any all isnan isinf isfinite nonzero numel size dim "
    "searchsorted bincount count_nonzero one_hot zeros_like ones_like rand_like randn_like randint randperm len range "
    "float isinstance print eq ne gt lt ge le".split()
)
_LIBRARY_PASSES = {"torch.autograd.grad": "outputs", "torch.autograd.backward": "tensors"}
_TRANSFORMS = (
    "torch.func.grad",
    "torch.func.jac",
    "torch.func.vjp",
    "torch.func.hessian",
    "torch.autograd.functional.",
)
_PASSES = frozenset({"backward", "manual_backward"})
_LOSS_WORDS = frozenset("loss losses criterion objective".split())
_MEASURE_WORDS = frozenset("eval evaluate evaluation metric metrics val validation test log report plot".split())
_MOST = 4000


def is_loss(function: ir.FunctionDef, facts: ModuleFacts) -> bool:
    """Return True for a function whose name, or whose class's name, says that it returns a loss."""
    said = set(words(function.name))
    if function.name in ("forward", "__call__"):
        owner = facts.names.enclosing_class(function)
        said = set(words(owner.name)) if owner is not None else set()
    return function.name == "training_step" or bool(said & _LOSS_WORDS and not said & _MEASURE_WORDS)


def computed_from(
    starts: Iterable[ir.Expr], calls: Calls, stop: frozenset[int] = frozenset(), most: int = _MOST
) -> Iterator[ir.Expr | ir.Param]:
    """The expressions that a gradient reaches from ``starts``, and the parameters where this module shows no caller.

    It enters the functions of the module and goes out to their callers; ``stop`` are numbers of nodes that end it.
    """
    facts = calls.facts
    seen: set[int] = set()
    waiting: list[tuple[ir.Expr, bool]] = [(start, True) for start in starts]
    while waiting and len(seen) < most:
        node, root = waiting.pop()
        if node.nid in seen:
            continue
        seen.add(node.nid)
        if cuts(node, facts) or (root and carries_no_gradient(node, facts)):
            continue
        yield node
        if node.nid in stop:
            continue
        match node:
            case ir.Name() if facts.qualified(node) is None:
                for binding in facts.names.reaching(node):
                    if isinstance(binding.node, ir.Param):
                        given = given_for(binding.node, calls)
                        if not given and binding.node.nid not in seen:
                            seen.add(binding.node.nid)
                            yield binding.node
                        waiting += [(value, True) for value in given]
                    elif binding.value is not None:
                        waiting.append((_one_of(binding), True))
            case ir.Attr() if facts.qualified(node) is None:
                bound = [b.value for b in facts.names.self_attribute(node) if b.value is not None]
                waiting += [(value, True) for value in bound] or [(node.value, False)]
            case ir.Call():
                waiting += [(value, True) for f in calls.entered(node) for value in facts.names.returned(f)]
                waiting += [(part, False) for part in _operands(node, facts)]
            case _:
                waiting += [(part, False) for part in _parts(node)]


def given_for(param: ir.Param, calls: Calls) -> list[ir.Expr]:
    """Return what the callers in this module pass for a parameter."""
    owner = calls.facts.names.parent(param)
    if not isinstance(owner, ir.FunctionDef) or param.name in ("self", "cls"):
        return []
    found = (argument(call, owner, param) for call in calls.callers(owner))
    return [value for value in found if value is not None]


def _one_of(binding: Binding) -> ir.Expr:
    """Return what one name of an unpacking stands for, where it is written out: ``for a, b in zip(xs, ys)``."""
    value, index = binding.value, binding.index
    assert value is not None
    while isinstance(value, ir.Call) and isinstance(value.func, ir.Name) and value.func.id in ("enumerate", "zip"):
        if value.func.id == "enumerate" and value.args:
            value, index = value.args[0].value, None
        elif index is not None and index < len(value.args) and not any(a.star for a in value.args):
            return value.args[index].value
        else:
            break
    return value


def _operands(node: ir.Call, facts: ModuleFacts) -> list[ir.Expr]:
    func = node.func
    name = ir.last_name(func)
    qualified = facts.qualified(func)
    if name in _STEPS and not (name == "float" and isinstance(func, ir.Attr)):
        return []  # `x.float()` is a tensor of the graph, `float(x)` is not
    given = [arg.value for arg in node.args]
    if qualified is None:
        # A method of a tensor works on it; what is only called, works on its arguments.
        return [*given, func.value] if isinstance(func, ir.Attr) else given
    if qualified == "torch.where":
        return given[1:]
    if qualified == "torch.autograd.grad":
        graph = keyword(node, "create_graph", 4)
        return given[:2] if graph is not None and facts.values.constant(graph) is not False else []
    return given


def _parts(node: ir.Expr) -> list[ir.Expr]:
    match node:
        case ir.Subscript(value=value):
            return [value]
        case ir.Conditional(body=body, orelse=orelse):
            return [body, orelse]
        case ir.Comprehension(elements=elements):
            return elements[-1:]
        case ir.Compare() | ir.Lambda() | ir.FString() | ir.Const():
            return []
    return [part for part in ir.children(node) if isinstance(part, ir.Expr)]


def _results(function: ir.Expr, facts: ModuleFacts) -> list[ir.Expr]:
    """What a function that is differentiated as such returns."""
    if isinstance(function, ir.Lambda):
        return [function.body]
    bound = facts.names.bindings(function) if isinstance(function, ir.Name) else []
    found = [b.node for b in bound if isinstance(b.node, ir.FunctionDef)]
    return [value for node in found for value in facts.names.returned(node)]


def _named_losses(value: ir.Expr) -> list[ir.Expr]:
    """The parts of a returned value that are named a loss."""
    parts = value.items if isinstance(value, ir.Sequence) else value.values if isinstance(value, ir.Keyed) else [value]
    return [part for part in parts if isinstance(part, ir.Name) and set(words(part.id)) & _LOSS_WORDS]


class Backpropagated:
    """The numbers of the expressions that a backward pass goes through.

    ``passed``: those of the backward passes of this module and of what is returned by the name of a loss;
    ``returned``: those that the functions return that are named a loss.
    """

    def __init__(self, facts: ModuleFacts) -> None:
        calls = facts.derived(Calls)
        losses: list[ir.Expr] = []
        # By the number of the function (0 for the module): what `backward()` is called on there.
        self.losses: dict[int, list[ir.Expr]] = defaultdict(list)
        for call in facts.calls:
            func = call.func
            name = facts.qualified(func)
            if name in _LIBRARY_PASSES:
                outputs = keyword(call, _LIBRARY_PASSES[name], 0)
                losses += [outputs] if outputs is not None else []
            elif name is not None and name.startswith(_TRANSFORMS) and call.args:
                losses += _results(call.args[0].value, facts)
            elif name is None and isinstance(func, ir.Attr) and func.attr in _PASSES:
                losses += [func.value, *(arg.value for arg in call.args)]
                home = facts.names.enclosing_function(call)
                self.losses[home.nid if home is not None else 0].append(func.value)
        returned: list[ir.Expr] = []
        for function in facts.names.functions:
            if is_loss(function, facts):
                returned += facts.names.returned(function)
            elif not set(words(function.name)) & _MEASURE_WORDS:
                losses += [v for value in facts.names.returned(function) for v in _named_losses(value)]
        self.passed = self._reached(losses, calls)
        self.returned = self._reached(returned, calls)
        self.all = self.passed | self.returned

    def _reached(self, losses: list[ir.Expr], calls: Calls) -> frozenset[int]:
        return frozenset(node.nid for node in computed_from(losses, calls, most=1 << 30))
