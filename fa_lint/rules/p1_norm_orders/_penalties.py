"""Gradient penalties: ``(‖g‖ - 1)²`` in any spelling, with the axis of the norm and what is differentiated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.backpropagated import computed_from
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.gradients import keyword
from fa_lint.semantics.ranks import Ranks, transformed
from fa_lint.semantics.slices import slice_of
from fa_lint.semantics.uses import Uses
from fa_lint.semantics.words import words

__all__ = ["Penalty", "penalties"]

_NORMS = {
    "torch.norm": "p",
    "torch.linalg.norm": "ord",
    "torch.linalg.vector_norm": "ord",
    "jax.numpy.linalg.norm": "ord",
}
_BOUNDS = frozenset("relu clamp clamp_min clip maximum max abs".split())
_SHAPING = frozenset("view reshape squeeze unsqueeze flatten float to contiguous".split())
_RESHAPING = frozenset(
    "view reshape flatten squeeze unsqueeze unflatten cat stack concat view_as reshape_as mean sum norm ravel "
    "parameters_to_vector einsum matmul rearrange unbind split chunk tensor_split vmap narrow select".split()
)
_TARGETS = frozenset("k center centre constant const target one ones lipschitz gamma".split())
_CRITICS = frozenset("critic critics discriminator disc dis netd d adversary wgan gan penalty gp lipschitz".split())
# Fields over space have a gradient of unit length at each point: there the axis of the coordinates is meant.
_FIELDS = frozenset("eikonal sdf normal normals surface occupancy field nerf point points distance levelset".split())
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class _Norm:
    node: ir.Call
    of: ir.Expr
    # Empty for the norm of all entries.
    axes: tuple[int, ...]
    keepdim: bool
    plain: bool


@dataclass(frozen=True, slots=True)
class _Pass:
    """What makes a gradient: of ``outputs`` (None where that is not in sight) by ``inputs``."""

    node: ir.Expr
    outputs: ir.Expr | None
    inputs: ir.Expr


@dataclass(frozen=True, slots=True)
class Penalty:
    """``square`` of the norm of ``of`` less a number."""

    square: ir.Expr
    norm: ir.Call
    of: ir.Expr
    axes: tuple[int, ...]
    keepdim: bool
    # A call of a norm of torch, not a root of a sum.
    plain: bool
    differentiated: _Pass

    @property
    def axis(self) -> int | None:
        """The one axis of the norm; None where it is taken along several, or of all entries."""
        return self.axes[0] if len(self.axes) == 1 else None

    def rank(self, facts: ModuleFacts) -> int | None:
        """Return how many dimensions the gradient has at least, also where a container holds it on its way."""
        ranks, made = facts.derived(Ranks), self.differentiated.node
        found = ranks.of(self.of)
        if found is None and self.axes:
            way = list(computed_from([self.of], facts.derived(Calls), frozenset({made.nid}), 400))
            if not any(isinstance(n, ir.Call) and n is not made and ir.last_name(n.func) in _RESHAPING for n in way):
                return ranks.of(made)
        return found

    def is_averaged(self, facts: ModuleFacts) -> bool:
        """Return True where a mean is taken of the penalty itself."""
        if _last_call(self.square) == "mse_loss":
            return not any(arg.keyword == "reduction" for arg in getattr(self.square, "args", ()))
        return _is_averaged(self.square, facts, 0)

    def is_of_batch(self, facts: ModuleFacts) -> bool:
        """Return True where the inputs are mixed with one number drawn for each of several samples."""
        for call in slice_of(self.differentiated.inputs, facts).calls:
            if facts.qualified(call.func) in ("torch.rand", "torch.empty", "torch.zeros") and call.args:
                first = call.args[0].value
                if isinstance(first, ir.Sequence) and first.items:
                    first = first.items[0]
                if not isinstance(first, ir.Const | ir.Starred) and not (
                    isinstance(first, ir.Attr) and first.attr == "shape"
                ):
                    return True
        return False

    def is_of_one_sample(self, facts: ModuleFacts) -> bool:
        """Return True where the differentiated input is no batch: ``critic(x[None])``, or a sample of a loop."""
        inputs, outputs = self.differentiated.inputs, self.differentiated.outputs
        if facts.derived(Ranks).of(inputs) == 1:
            return True
        name = ir.last_name(inputs)
        for part in slice_of(outputs, facts).nodes if outputs is not None else ():
            match part:
                case ir.Subscript(value=value, index=[ir.Const(value=None), *_]) if ir.last_name(value) == name:
                    return True
                case ir.Call(func=ir.Attr(attr="unsqueeze", value=value), args=[ir.Arg(value=axis)]):
                    if ir.last_name(value) == name and facts.values.number(axis) == 0:
                        return True
                case ir.Call(args=[ir.Arg(value=value), ir.Arg(value=axis)]) if _last_call(part) == "unsqueeze":
                    if ir.last_name(value) == name and facts.values.number(axis) == 0:
                        return True
        mixed = slice_of(inputs, facts)
        if any(_is_single(call, facts) for call in mixed.calls):
            return True
        home = facts.names.enclosing_function(self.norm)
        if home is not None and any("vmap" in facts.source(decorator) for decorator in home.decorators):
            return True
        if home is not None and any(
            _last_call(call) in ("vmap", "vjp", "jacrev")
            and home.name in {ir.last_name(arg.value) for arg in call.args}
            for call in facts.calls
        ):
            return True
        return any(
            binding.how == "iterate" or isinstance(binding.value, ir.Subscript)
            for binding in mixed.bindings.values()
            if binding.name == name or binding.how == "iterate"
        )

    def is_of_critic(self, facts: ModuleFacts) -> bool:
        """Return True where the input of a critic is differentiated, or a mixture of two batches."""
        if self._said(facts) & _CRITICS:
            return True
        mixed = slice_of(self.differentiated.inputs, facts).nodes
        return any(isinstance(n, ir.Binary) and n.op == "-" and isinstance(n.left, ir.Const) for n in mixed)

    def is_of_field(self, facts: ModuleFacts) -> bool:
        """Return True for a field over space, such as a signed distance."""
        return bool(self._said(facts) & _FIELDS)

    def _said(self, facts: ModuleFacts) -> set[str]:
        """The words of the functions around and of the functions that are differentiated."""
        found: set[str] = set()
        for node in (self.norm, self.differentiated.node):
            for above in facts.names.ancestors(node):
                if isinstance(above, ir.FunctionDef | ir.ClassDef):
                    found |= set(words(above.name))
        outputs = self.differentiated.outputs
        for call in slice_of(outputs, facts).calls if outputs is not None else ():
            name = ir.last_name(call.func)
            found |= {*words(name), name.lower()}
        return found


def penalties(facts: ModuleFacts) -> Iterator[Penalty]:
    """The squared distances of a norm from a number, in source order, each norm once."""
    seen: set[int] = set()
    for node in facts.nodes_of(ir.Call, ir.Binary):
        for left, right in _squared_differences(node, facts):
            for value, target in ((left, right), (right, left)):
                norm = _read_norm(value, facts) if _is_target(target, facts) else None
                if norm is None or norm.node.nid in seen or not isinstance(node, ir.Expr):
                    continue
                seen.add(norm.node.nid)
                made = _pass_behind(norm.of, facts)
                if made is not None:
                    yield Penalty(node, norm.node, norm.of, norm.axes, norm.keepdim, norm.plain, made)


def _pass_behind(gradient: ir.Expr, facts: ModuleFacts) -> _Pass | None:
    """Return the nearest pass that a gradient comes from."""
    for node in computed_from([gradient], facts.derived(Calls), most=400):
        match node:
            case ir.Call() if facts.qualified(node.func) == "torch.autograd.grad":
                inputs = keyword(node, "inputs", 1)
                while isinstance(inputs, ir.Sequence) and len(inputs.items) == 1:
                    inputs = inputs.items[0]
                return _Pass(node, keyword(node, "outputs", 0), inputs) if inputs is not None else None
            case ir.Call() if node.args and (function := transformed(node, facts)) is not None:
                outputs = function.body if isinstance(function, ir.Lambda) else function
                return _Pass(node, outputs, node.args[0].value)
            case ir.Attr(attr="grad", value=ir.Name() as inputs) if facts.qualified(inputs) is None:
                return _Pass(node, None, inputs)
    return None


def _is_single(call: ir.Call, facts: ModuleFacts) -> bool:
    """Return True for a draw or view whose first of several sizes is 1: ``torch.rand(1, 1)``, ``a.expand(1, c, h)``."""
    sizes = [arg.value for arg in call.args if arg.keyword is None]
    if len(sizes) == 1 and isinstance(sizes[0], ir.Sequence):
        sizes = sizes[0].items
    if ir.last_name(call.func) not in ("rand", "FloatTensor", "Tensor", "expand", "view", "reshape", "zeros", "empty"):
        return False
    return len(sizes) > 1 and facts.values.number(sizes[0]) == 1


def _is_averaged(node: ir.Expr, facts: ModuleFacts, depth: int) -> bool:
    above = facts.names.parent(node)
    if depth > _DEEPEST:
        return False
    match above:
        case ir.Attr(attr="mean"):
            return True
        case ir.Attr():
            call = facts.names.parent(above)
            return isinstance(call, ir.Call) and call.func is above and _is_averaged(call, facts, depth + 1)
        case ir.Arg():
            call = facts.names.parent(above)
            return isinstance(call, ir.Call) and facts.qualified(call.func) == "torch.mean"
        case ir.Binary(op="*" | "/" | "+") | ir.Unary():
            return _is_averaged(above, facts, depth + 1)
        case ir.Assign(targets=[ir.Name(id=name)]):
            uses = [use for use in facts.derived(Uses).of(name) if use.nid > node.nid]
            bound = (u for u in uses if any(b.node is above for b in facts.names.reaching(u)))
            return any(_is_averaged(use, facts, depth + 1) for use in bound)
    return False


def _bound(node: ir.Name, facts: ModuleFacts) -> ir.Expr | None:
    found = facts.names.reaching(node)
    return found[0].value if len(found) == 1 and found[0].how == "value" else None


def _last_call(node: ir.Node) -> str:
    return ir.last_name(node.func) if isinstance(node, ir.Call) else ""


def _operand(node: ir.Call, facts: ModuleFacts) -> ir.Expr | None:
    """Return what a function or method of a tensor is applied to."""
    if facts.qualified(node.func) is None and isinstance(node.func, ir.Attr):
        return node.func.value
    return node.args[0].value if node.args and not node.args[0].star else None


def _squared(node: ir.Node, facts: ModuleFacts) -> ir.Expr | None:
    """``x`` of ``x ** 2``, ``x.pow(2)``, ``x.square()`` and ``x * x``."""
    match node:
        case ir.Binary(op="**", left=left, right=right) if facts.values.number(right) == 2:
            return left
        case ir.Binary(op="*", left=left, right=right) if not isinstance(left, ir.Const) and ir.same(left, right):
            return left
        case ir.Call() if _last_call(node) == "square":
            return _operand(node, facts)
        case ir.Call(args=[*_, ir.Arg(value=power)]) if _last_call(node) == "pow":
            return _operand(node, facts) if facts.values.number(power) == 2 else None
    return None


def _squared_differences(node: ir.Node, facts: ModuleFacts) -> Iterator[tuple[ir.Expr, ir.Expr]]:
    if isinstance(node, ir.Call) and _last_call(node) == "mse_loss" and len(node.args) >= 2:
        yield node.args[0].value, node.args[1].value
        return
    inner = _squared(node, facts)
    for _ in range(_DEEPEST):
        match inner:
            case ir.Call(func=ir.Attr(attr="sub", value=left), args=[ir.Arg(value=right)]):
                yield left, right
                return
            case ir.Binary(op="-", left=left, right=right):
                yield left, right
                return
            case ir.Call() if _last_call(inner) in _BOUNDS:
                inner = _operand(inner, facts)
            case ir.Name():
                inner = _bound(inner, facts)
            case _:
                return


def _is_target(node: ir.Expr, facts: ModuleFacts) -> bool:
    if facts.values.number(node) is not None:
        return True
    return bool(set(words(_last_call(node) or ir.last_name(node))) & _TARGETS)


def _read_norm(node: ir.Expr, facts: ModuleFacts, depth: int = 0) -> _Norm | None:
    """Return the norm behind names, helpers, reshapes and a number that is added."""
    if depth > _DEEPEST:
        return None
    match node:
        case ir.Name():
            bound = _bound(node, facts)
            return _read_norm(bound, facts, depth + 1) if bound is not None else None
        case ir.Call(func=func):
            name = facts.qualified(func)
            if name in _NORMS or (name is None and isinstance(func, ir.Attr) and func.attr == "norm"):
                shift = int(name in _NORMS)
                order = keyword(node, _NORMS.get(name or "", "p"), shift)
                if order is not None and facts.values.number(order) != 2:
                    return None
                plain = name is None or name.startswith("torch.")
                return _reduced(node, _operand(node, facts), shift + 1, facts, plain=plain)
            if ir.last_name(func) == "sqrt":
                return _root(_operand(node, facts), facts)
            if ir.last_name(func) == "pow" and node.args and facts.values.number(node.args[-1].value) == 0.5:
                return _root(_operand(node, facts), facts)
            if ir.last_name(func) == "mean" and len(node.args) <= 1:
                # Of norms along an axis: a mean of one norm of the whole batch is that norm.
                averaged = _operand(node, facts)
                whole = averaged is not None and len(node.args) == int(facts.qualified(func) is not None)
                found = _read_norm(averaged, facts, depth + 1) if averaged is not None and whole else None
                return found if found is not None and found.axes else None
            for entered in facts.derived(Calls).entered(node):
                returned = facts.names.returned(entered)
                return _read_norm(returned[0], facts, depth + 1) if len(returned) == 1 else None
            if ir.last_name(func) in _SHAPING and name is None and isinstance(func, ir.Attr):
                return _read_norm(func.value, facts, depth + 1)
        case ir.Binary(op="**", left=left, right=right) if facts.values.number(right) == 0.5:
            return _root(left, facts)
        case ir.Binary(op="+", left=left, right=right) if facts.values.number(right) is not None:
            return _read_norm(left, facts, depth + 1)
    return None


def _root(node: ir.Expr | None, facts: ModuleFacts) -> _Norm | None:
    """Return the norm that is the root of a sum of squares, whose eps does not matter here."""
    for _ in range(_DEEPEST):
        match node:
            case ir.Name():
                node = _bound(node, facts)
            case ir.Binary(op="+", left=left, right=right):
                node = right if facts.values.number(left) is not None else left
            case ir.Call(func=func) if ir.last_name(func) == "sum":
                summed = _operand(node, facts)
                for _ in range(_DEEPEST):
                    if isinstance(summed, ir.Name):
                        summed = _bound(summed, facts)
                squared = _squared(summed, facts) if summed is not None else None
                return _reduced(node, squared, int(facts.qualified(func) is not None), facts, plain=False)
            case _:
                return None
    return None


def _reduced(node: ir.Call, of: ir.Expr | None, position: int, facts: ModuleFacts, *, plain: bool) -> _Norm | None:
    if of is None or any(arg.star for arg in node.args):
        return None
    dim = keyword(node, "dim", position) or keyword(node, "axis")
    axes: tuple[int, ...] = ()
    if dim is not None and not (isinstance(dim, ir.Const) and dim.value is None):
        found = [facts.values.number(item) for item in (dim.items if isinstance(dim, ir.Sequence) else [dim])]
        if not found or None in found:
            return None
        axes = tuple(int(axis) for axis in found if axis is not None)
    keepdim = any(arg.keyword in ("keepdim", "keepdims") for arg in node.args)
    return _Norm(node, of, axes, keepdim, plain)
