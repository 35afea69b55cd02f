"""How many dimensions a tensor has at least, where the code shows it: draws, views, unpacked shapes, layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls, argument
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.gradients import keyword
from fa_lint.semantics.memory import Memory
from fa_lint.semantics.names import Binding

__all__ = ["Ranks", "transformed"]

_SIZED = frozenset(
    f"torch.{name}" for name in "rand randn zeros ones empty Tensor FloatTensor cuda.FloatTensor DoubleTensor".split()
)
# Draws of JAX are given a key first.
_SIZED_SECOND = frozenset({"jax.random.uniform", "jax.random.normal"})
_SIZED_FIRST = frozenset({"torch.full", "torch.normal"})
_RESHAPED = frozenset("view reshape expand repeat new_empty new_zeros new_ones".split())
_SAME = frozenset(
    "requires_grad_ detach detach_ clone to cuda cpu float double half type type_as contiguous uniform_ normal_ mul "
    "add sub div mul_ add_ sub_ clamp clamp_ data exp sigmoid tanh relu roll flip retain_grad bernoulli_ lerp permute "
    "transpose".split()
)
_SAME_CALLS = frozenset(
    "torch.rand_like torch.randn_like torch.zeros_like torch.ones_like torch.clone torch.lerp torch.mul torch.add "
    "torch.sub torch.autograd.Variable torch.tensor torch.as_tensor torch.nn.functional.interpolate torch.clamp "
    "torch.sigmoid torch.tanh torch.cat".split()
)
_LAYERS = {"torch.nn.Conv1d": 3, "torch.nn.Conv2d": 4, "torch.nn.Conv3d": 5, "torch.nn.ConvTranspose2d": 4}
_UNFLATTENING = frozenset({"view", "reshape", "unsqueeze", "unflatten"})
# Wrappers of a layer that keep what it is.
_WRAPPERS = frozenset({"spectral_norm", "weight_norm"})


class Ranks:
    """Answers :meth:`of` for the tensors of one module; None where the code does not show it."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._facts = facts
        self._calls = facts.derived(Calls)
        self._memory: Memory[int | None] = Memory(None)
        # Sizes that are read of a name: function and name → the greatest number of dimensions that is spoken of.
        self._read: dict[tuple[int, str], int] = defaultdict(int)
        for node in facts.nodes_of(ir.Assert, ir.Assign, ir.Call, ir.Subscript):
            match node:
                case ir.Assert(test=ir.Compare(left=left, ops=["=="], comparators=[ir.Const(value=int() as rank)])):
                    self._note(node, _counted(left), rank)
                case ir.Assign(targets=[ir.Sequence(items=items)], value=value):
                    if not any(isinstance(item, ir.Starred) for item in items):
                        self._note(node, _shape_of(value), len(items))
                case ir.Call(
                    func=ir.Attr(attr="size", value=value), args=[ir.Arg(value=ir.Const(value=int() as axis))]
                ):
                    self._note(node, value, axis + 1)
                case ir.Subscript(value=shape, index=[ir.Const(value=int() as axis)]):
                    self._note(node, _shape_of(shape), axis + 1)

    def _note(self, node: ir.Node, tensor: ir.Expr | None, rank: int) -> None:
        if isinstance(tensor, ir.Name) and rank > 0:
            home = self._facts.names.enclosing_function(node)
            key = (home.nid if home is not None else 0, tensor.id)
            self._read[key] = max(self._read[key], rank)

    def of(self, node: ir.Expr) -> int | None:
        """Return how many dimensions a tensor has at least."""
        return self._memory.ask(node.nid, lambda: self._of(node))

    def taken_by(self, func: ir.Expr) -> int | None:
        """Return how many dimensions the convolution at the entrance of a model takes."""
        owner = self._calls.class_of(func)
        if owner is None and isinstance(func, ir.Name):
            owner = self._facts.names.class_named(func)
        if owner is not None:
            return self._entrance(owner)
        for leaf in self._calls.sources(func):
            if isinstance(leaf, ir.Call) and self._facts.qualified(leaf.func) == "torch.nn.Sequential" and leaf.args:
                return self._layer(leaf.args[0].value)
        return None

    def _entrance(self, owner: ir.ClassDef) -> int | None:
        forward = self._facts.names.method(owner, "forward")
        if forward is None or any(
            isinstance(part, ir.Call) and isinstance(part.func, ir.Attr) and part.func.attr in _UNFLATTENING
            and isinstance(part.func.value, ir.Name) and part.func.value.id in {p.name for p in forward.params}
            for part in ir.walk(forward.body)
        ):  # fmt: skip
            return None
        layers = (self._layer(part) for part in ir.walk(owner.body) if isinstance(part, ir.Call))
        return next((rank for rank in layers if rank is not None), None)

    def _layer(self, node: ir.Expr) -> int | None:
        if isinstance(node, ir.Call) and node.args:
            name = self._facts.qualified(node.func) or ""
            if name.rpartition(".")[2] in _WRAPPERS:
                return self._layer(node.args[0].value)
            return _LAYERS.get(name)
        return None

    def _of(self, node: ir.Expr) -> int | None:
        match node:
            case ir.Name() if self._facts.qualified(node) is None:
                return self._named(node)
            case ir.Attr(attr="data" | "grad", value=value):
                return self.of(value)
            case ir.Attr():
                return self._agreed(self._bound(b) for b in self._facts.names.self_attribute(node))
            case ir.Binary(op="+" | "-" | "*" | "/", left=left, right=right):
                return _most((self.of(left), self.of(right)))
            case ir.Unary(operand=value) | ir.Starred(value=value) | ir.Walrus(value=value):
                return self.of(value)
            case ir.Conditional(body=body, orelse=orelse):
                return self._agreed(self.of(arm) for arm in (body, orelse) if not _is_none(arm))
            case ir.Subscript(value=value, index=index):
                return self._part(value, index)
            case ir.Call():
                return self._call(node)
        return None

    def _named(self, node: ir.Name) -> int | None:
        bound = self._facts.names.reaching(node)
        found = self._agreed(self._bound(b) for b in bound if b.value is None or not _is_none(b.value))
        if found is not None:
            return found
        home = self._facts.names.enclosing_function(node)
        names = {b.how for b in self._facts.names.bindings(node)}
        # A name that is bound once has the sizes that are read of it anywhere in its function.
        if len(self._facts.names.bindings(node)) == 1 and names <= {"param", "value"}:
            return self._read.get((home.nid if home is not None else 0, node.id))
        return None

    def _bound(self, binding: Binding) -> int | None:
        if isinstance(binding.node, ir.Param):
            owner = self._facts.names.parent(binding.node)
            if not isinstance(owner, ir.FunctionDef):
                return None
            given = (argument(call, owner, binding.node) for call in self._calls.callers(owner))
            return self._agreed(self.of(value) if value is not None else None for value in given)
        value = binding.value
        if value is None or binding.how not in ("value", "unpack"):
            return None
        if binding.how == "unpack" and not (isinstance(value, ir.Call) and self._is_grad(value)):
            return None
        return self.of(value)

    def _agreed(self, ranks: Iterable[int | None]) -> int | None:
        found = set(ranks)
        return found.pop() if len(found) == 1 else None

    def _is_grad(self, call: ir.Call) -> bool:
        return self._facts.qualified(call.func) == "torch.autograd.grad"

    def _part(self, value: ir.Expr, index: list[ir.Expr]) -> int | None:
        if isinstance(value, ir.Call) and self._is_grad(value):
            return self.of(value)
        if isinstance(value, ir.Name):
            bound = [b.value for b in self._facts.names.reaching(value)]
            if len(bound) == 1 and isinstance(bound[0], ir.Call) and self._is_grad(bound[0]):
                return self.of(bound[0])
        added = sum(isinstance(i, ir.Const) and i.value is None for i in index)
        kept = sum(isinstance(i, ir.Slice) for i in index)
        whole = self.of(value)
        if any(isinstance(i, ir.Const) and i.value is ... for i in index):
            return None
        taken = len(index) - added - kept
        return added + (max(whole - taken, kept) if whole is not None else kept) or None

    def _call(self, node: ir.Call) -> int | None:
        func, name = node.func, self._facts.qualified(node.func)
        if name is None and isinstance(func, ir.Attr) and not self._calls.entered(node):
            return self._method(node, func)
        if name is None and transformed(node, self._facts) is not None and node.args:
            return self.of(node.args[0].value)
        if name == "torch.autograd.grad":
            inputs = keyword(node, "inputs", 1)
            if isinstance(inputs, ir.Sequence):
                inputs = inputs.items[0] if len(inputs.items) == 1 else None
            return (self.of(inputs) or self._taken(node)) if inputs is not None else None
        if name in _SIZED | _SIZED_FIRST:
            return self._size(
                [a.value for a in node.args if a.keyword in (None, "size")][: 1 if name in _SIZED_FIRST else None]
            )
        if name in _SIZED_SECOND:
            size = keyword(node, "shape", 1)
            return self._size([size]) if size is not None else None
        if name in _SAME_CALLS:
            first = node.args[0].value if node.args else None
            if isinstance(first, ir.Sequence):
                return _most(self.of(item) for item in first.items)
            return _most(self.of(a.value) for a in node.args if a.keyword is None)
        if name in ("torch.flatten", "torch.reshape") and node.args:
            return self._reshaped(name.rpartition(".")[2], [a.value for a in node.args[1:]])
        entered = self._calls.entered(node)
        return self._agreed(self.of(v) for f in entered for v in self._facts.names.returned(f)) if entered else None

    def _taken(self, node: ir.Call) -> int | None:
        """The rank that the model takes whose output is differentiated by its input."""
        outputs, inputs = keyword(node, "outputs", 0), keyword(node, "inputs", 1)
        for leaf in self._calls.sources(outputs) if outputs is not None else ():
            while isinstance(leaf, ir.Call) and isinstance(leaf.func, ir.Attr) and not leaf.args:
                leaf = leaf.func.value  # critic(x).sum()
            if isinstance(leaf, ir.Call) and leaf.args and inputs is not None:
                if ir.same(leaf.args[0].value, inputs) and (rank := self.taken_by(leaf.func)) is not None:
                    return rank
        return None

    def _method(self, node: ir.Call, func: ir.Attr) -> int | None:
        given = [a.value for a in node.args if a.keyword in (None, "size")]
        if func.attr in _RESHAPED | {"flatten"}:
            return self._reshaped(func.attr, given)
        if func.attr in ("view_as", "expand_as", "reshape_as") and given:
            return _most((self.of(given[0]), self.of(func.value) if func.attr == "expand_as" else None))
        if func.attr in ("new_tensor", "new_full") and given:
            return self.of(given[0]) if func.attr == "new_tensor" else self._size(given[:1])
        if func.attr == "unsqueeze":
            whole = self.of(func.value)
            return None if whole is None else whole + 1
        if func.attr in _SAME:
            return _most((self.of(func.value), *(self.of(value) for value in given)))
        return None

    def _reshaped(self, name: str, given: list[ir.Expr]) -> int | None:
        if name == "flatten":
            start = self._facts.values.number(given[0]) if given else 0
            return None if len(given) > 1 or start is None or start < 0 else int(start) + 1
        return self._size(given)

    def _size(self, given: list[ir.Expr]) -> int | None:
        if len(given) != 1:
            return None if not given or any(isinstance(g, ir.Starred) for g in given) else len(given)
        match given[0]:
            case ir.Sequence(items=items):
                return None if any(isinstance(item, ir.Starred) for item in items) else len(items)
            case shape if (tensor := _shape_of(shape)) is not None:
                return self.of(tensor)
            case ir.Name() | ir.Subscript() | ir.Starred() | ir.Binary():
                return None  # a number or a whole shape
        return 1


def transformed(call: ir.Call, facts: ModuleFacts) -> ir.Expr | None:
    """Return ``f`` of ``torch.func.grad(f)(x)`` and ``jax.grad(f)(x)``, also under ``vmap`` and behind a name."""
    made: ir.Expr | None = call.func
    for _ in range(4):
        if isinstance(made, ir.Name):
            bound = facts.names.reaching(made)
            made = bound[0].value if len(bound) == 1 and bound[0].how == "value" else None
        if not isinstance(made, ir.Call) or not made.args:
            return None
        name = facts.qualified(made.func)
        if name in ("torch.func.grad", "jax.grad"):
            # The others differentiate by another argument than the first.
            other = any(
                number == 1 if arg.keyword is None else arg.keyword == "argnums" for number, arg in enumerate(made.args)
            )
            return None if other else made.args[0].value
        made = made.args[0].value if name in ("torch.func.vmap", "jax.vmap") else None
    return None


def _shape_of(node: ir.Expr) -> ir.Expr | None:
    """``x`` of ``x.shape`` and ``x.size()``."""
    match node:
        case ir.Attr(attr="shape", value=value) | ir.Call(func=ir.Attr(attr="size", value=value), args=[]):
            return value
    return None


def _counted(node: ir.Expr) -> ir.Expr | None:
    """``x`` of ``x.ndim``, ``x.dim()`` and ``len(x.shape)``."""
    match node:
        case ir.Attr(attr="ndim", value=value) | ir.Call(func=ir.Attr(attr="dim", value=value), args=[]):
            return value
        case ir.Call(func=ir.Name(id="len"), args=[ir.Arg(value=value)]):
            return _shape_of(value)
    return None


def _is_none(node: ir.Expr) -> bool:
    return isinstance(node, ir.Const) and node.value is None


def _most(ranks: Iterable[int | None]) -> int | None:
    return max((rank for rank in ranks if rank is not None), default=None)
