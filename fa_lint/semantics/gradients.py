"""Where gradients are computed (``backward``, ``autograd.grad``, ``torch.func.grad``) and what is done with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.slices import function_of
from fa_lint.semantics.words import words

__all__ = ["FRAMEWORK_WORDS", "GradientSite", "gradient_sites", "grad_reads", "keyword", "read_after", "stepped_after"]

# ``accelerator.backward(loss)`` and its like scale the loss themselves.
FRAMEWORK_WORDS = frozenset(
    "accelerator fabric engine scaler optimizer optim opt strategy trainer booster amp plugin precision self super "
    "wrapper deepspeed ds".split()
)
_TRANSFORMS = frozenset(f"torch.func.{name}" for name in ("grad", "grad_and_value", "jacrev", "jacfwd", "hessian"))
# Those that are given the function and its inputs at once.
_DIRECT = frozenset(
    {"torch.func.vjp", *(f"torch.autograd.functional.{name}" for name in ("jacobian", "hessian", "vjp", "hvp", "vhp"))}
)
_OPTIMISERS = frozenset({"optimizer", "optimiser", "opt", "optim", "optimizers", "sgd", "adam"})
_HOOKS = frozenset({"register_hook", "register_full_backward_hook", "register_backward_hook"})
# What is done to ``.grad`` without looking at its size.
_HOUSEKEEPING = frozenset({"zero_", "detach_", "requires_grad_", "data", "is_sparse", "shape", "dtype", "device"})


@dataclass(frozen=True, slots=True)
class GradientSite:
    """A call that computes gradients. ``how``: backward, grad, or transform (whose ``loss`` is the function)."""

    call: ir.Call
    how: str
    loss: ir.Expr
    label: str


def keyword(call: ir.Call, name: str, position: int | None = None) -> ir.Expr | None:
    """The argument ``name`` of a call, given by keyword or at ``position``."""
    for number, arg in enumerate(call.args):
        if arg.star:
            return None
        if arg.keyword == name or (arg.keyword is None and number == position):
            return arg.value
    return None


def gradient_sites(facts: ModuleFacts, calls: Calls) -> Iterator[GradientSite]:
    """Every gradient computation of the module whose loss is in sight, in source order."""
    for call in facts.calls:
        func = call.func
        name = facts.qualified(func)
        if name == "torch.autograd.grad":
            loss = keyword(call, "outputs", 0)
            if loss is not None:
                yield GradientSite(call, "grad", loss, "torch.autograd.grad")
        elif name == "torch.autograd.backward":
            loss = keyword(call, "tensors", 0)
            if loss is not None:
                yield GradientSite(call, "backward", loss, "torch.autograd.backward")
        elif name in _DIRECT:
            function = keyword(call, "func", 0)
            if function is not None:
                yield GradientSite(call, "transform", function, facts.source(func))
        elif name is None and (made := _transform(func, calls)) is not None:
            yield GradientSite(call, "transform", made.args[0].value, facts.source(made.func))
        elif isinstance(func, ir.Attr) and func.attr == "backward" and name is None and not _is_framework(func, calls):
            yield GradientSite(call, "backward", func.value, ".backward()")


def _transform(func: ir.Expr, calls: Calls, depth: int = 0) -> ir.Call | None:
    """The ``torch.func.grad(f)`` that a called expression always is, also below ``vmap`` and behind a name."""
    if depth > 4 or not isinstance(func, ir.Call | ir.Name | ir.Attr):
        return None
    leaves = list(calls.sources(func))
    made = leaves[0] if len(leaves) == 1 else None
    if not isinstance(made, ir.Call) or not made.args:
        return None
    name = calls.facts.qualified(made.func)
    if name == "torch.func.vmap":
        return _transform(made.args[0].value, calls, depth + 1)
    return made if name in _TRANSFORMS else None


def _is_framework(func: ir.Attr, calls: Calls) -> bool:
    receiver = func.value
    match receiver:
        case ir.Name(id="self" | "cls" | "super") | ir.Call(func=ir.Name(id="super")):
            return True
        case ir.Name(id=name) | ir.Attr(attr=name):
            if set(words(name)) & FRAMEWORK_WORDS:
                return True
            owner = calls.class_of(receiver)
            return owner is not None or (isinstance(receiver, ir.Name) and _is_class(receiver, calls.facts))
    return False


def _is_class(node: ir.Name, facts: ModuleFacts) -> bool:
    return facts.names.class_named(node) is not None


def grad_reads(facts: ModuleFacts) -> list[ir.Attr]:
    """Every read of ``.grad`` that looks at the gradient: no test for None, no clearing, no target of an assignment."""
    found = (node for node in facts.nodes_of(ir.Attr) if isinstance(node, ir.Attr) and node.attr == "grad")
    return [node for node in found if facts.qualified(node.value) is None and not _is_housekeeping(node, facts)]


def _is_housekeeping(node: ir.Attr, facts: ModuleFacts) -> bool:
    below: ir.Node = node
    above = facts.names.parent(node)
    for _ in range(3):
        match above:
            case ir.Attr(attr=attr) if attr in _HOUSEKEEPING:
                if attr != "data":
                    return True
            case ir.Compare(comparators=[ir.Const(value=None)]) | ir.Unary(op="not") | ir.Delete() | ir.Bool():
                return True
            case ir.If(test=test) | ir.Conditional(test=test) if test is below:
                return True
            case ir.Assign(targets=targets) if any(t is below for t in targets):
                return True
            case _:
                return False
        below, above = above, facts.names.parent(above)
    return False


def stepped_after(site: GradientSite, facts: ModuleFacts) -> ir.Node | None:
    """The optimiser step that uses the gradients of a ``backward``, where nothing clears them before it."""
    home = function_of(site.call, facts)
    for call in facts.calls:
        if call.nid <= site.call.nid or function_of(call, facts) is not home or not isinstance(call.func, ir.Attr):
            continue
        if call.func.attr == "zero_grad":
            return None
        match call.func:
            case ir.Attr(attr="step", value=ir.Name(id=name) | ir.Attr(attr=name)) if set(words(name)) & _OPTIMISERS:
                return call
    return None


def read_after(site: GradientSite, facts: ModuleFacts, calls: Calls) -> ir.Node | None:
    """Where the gradients of a ``backward`` are looked at: a later ``.grad`` here or around, or a hook."""
    home = function_of(site.call, facts)
    around = {home.nid} if home is not None else set()
    for call in calls.callers(home) if home is not None else ():
        outer = function_of(call, facts)
        if outer is not None:
            around.add(outer.nid)
    for read in facts.derived(grad_reads):
        owner = function_of(read, facts)
        if owner is None or owner is home:
            if (owner is home and read.nid > site.call.nid) or (owner is None and home is not None):
                return read
        elif owner.nid in around or any(
            function_of(call, facts) is home and call.nid > site.call.nid for call in calls.callers(owner)
        ):
            return read
    for call in facts.calls:
        if isinstance(call.func, ir.Attr) and call.func.attr in _HOOKS and facts.qualified(call.func) is None:
            return call
    return None
