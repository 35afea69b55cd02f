"""Autocast: which contexts and decorators switch fp16 on, and which of them a place in the code runs under.

Defaults as torch 2.13 reports them from ``torch.get_autocast_dtype``: fp16 on cuda, mps and xpu; bf16 on cpu, hpu, xla.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["HALF", "Autocast", "Autocasts", "dtype_name", "truths"]

# Where each spelling takes (device, dtype, enabled); None where the device is in the name.
_SPELLINGS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "torch.autocast": (None, ("device_type", "dtype", "enabled")),
    "torch.amp.autocast": (None, ("device_type", "dtype", "enabled")),
    "torch.amp.autocast_mode.autocast": (None, ("device_type", "dtype", "enabled")),
    "torch.cuda.amp.autocast": ("cuda", ("enabled", "dtype")),
    "torch.cuda.amp.autocast_mode.autocast": ("cuda", ("enabled", "dtype")),
    "torch.cpu.amp.autocast": ("cpu", ("enabled", "dtype")),
}
_DEFAULT_HALF = frozenset({"cuda", "mps", "xpu"})
_KNOWN = _DEFAULT_HALF | {"cpu", "hpu", "xla"}
HALF = frozenset({"torch.float16", "torch.half", "numpy.float16", "jax.numpy.float16"})
_SETTERS = frozenset({"torch.set_autocast_dtype", "torch.set_autocast_gpu_dtype"})
# Trainers whose ``autocast()`` follows the precision they were built with.
_TRAINERS = {"Fabric": "precision", "Accelerator": "mixed_precision"}
_TRAINER_HALF = frozenset({"16-mixed", "16", "fp16", "16-true"})
# Methods that change a dict.
_CHANGES = frozenset({"update", "pop", "popitem", "clear", "setdefault", "__setitem__"})


@dataclass(frozen=True, slots=True)
class Autocast:
    """An autocast context: ``nid`` opens it; ``half`` says whether fp16 is on, ``certain`` whether it always is."""

    nid: int
    half: bool
    certain: bool


def truths(node: ir.Expr | None, calls: Calls, depth: int = 0) -> frozenset[bool | None]:
    """The truth values a flag can have in this module; None stands for what the module does not show."""
    if depth > 6:
        return frozenset({None})
    found: set[bool | None] = set()
    for leaf in calls.sources(node):
        match leaf:
            case ir.Const(value=value):
                found.add(bool(value))
            case ir.Unary(op="not", operand=operand):
                found |= {None if t is None else not t for t in truths(operand, calls, depth + 1)}
            case ir.Bool(op=op, left=left, right=right):
                sides = truths(left, calls, depth + 1), truths(right, calls, depth + 1)
                decisive = op == "or"
                if frozenset({decisive}) in sides:
                    found.add(decisive)
                elif sides == (frozenset({not decisive}), frozenset({not decisive})):
                    found.add(not decisive)
                else:
                    found.add(None)
            case _:
                found.add(None)
    return frozenset(found) or frozenset({None})


def dtype_name(leaf: ir.Expr | None, calls: Calls) -> str | None:
    """The name of the dtype that one of the sources of an expression is, also an item of a dict that is written out."""
    match leaf:
        case ir.Subscript(value=table, index=[key]):
            item = _item(table, _text(key, calls), calls)
            return calls.facts.qualified(item) if item is not None else None
        case ir.Call(func=ir.Attr(attr="get", value=table), args=[ir.Arg(value=key), *_]):
            item = _item(table, _text(key, calls), calls)
            return calls.facts.qualified(item) if item is not None else None
        case ir.Call(func=ir.Name(id="getattr"), args=[ir.Arg(value=library), ir.Arg(value=key), *_]):
            text, name = _text(key, calls), calls.facts.qualified(library)
            return f"{name}.{text}" if text is not None and name is not None else None
    return calls.facts.qualified(leaf) if leaf is not None else None


def _text(node: ir.Expr, calls: Calls) -> str | None:
    """The text an expression always is."""
    found = {leaf.value if isinstance(leaf, ir.Const) else None for leaf in calls.sources(node)}
    text = found.pop() if len(found) == 1 else None
    return text if isinstance(text, str) else None


def _item(table: ir.Expr, key: str | None, calls: Calls) -> ir.Expr | None:
    """The value under a key of a dict that is written out and not changed."""
    made = list(calls.sources(table))
    if key is None or len(made) != 1 or _is_changed(table, calls.facts):
        return None
    match made[0]:
        case ir.Keyed(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            found = [value for name, value in pairs if isinstance(name, ir.Const) and name.value == key]
            return found[-1] if found else None
        case ir.Call(func=ir.Name(id="dict"), args=args) if all(arg.keyword is not None for arg in args):
            return next((arg.value for arg in args if arg.keyword == key), None)
    return None


def _is_changed(table: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True where the module writes an item of what is called like a dict, or calls a method that does."""
    for node in facts.nodes_of(ir.Assign, ir.AugAssign, ir.Delete, ir.Call):
        match node:
            case ir.Assign(targets=targets):
                written = [target.value for target in targets if isinstance(target, ir.Subscript)]
            case ir.AugAssign(target=target) | ir.Delete(target=target):
                written = [target.value if isinstance(target, ir.Subscript) else target]
            case ir.Call(func=ir.Attr(attr=attr, value=value)) if attr in _CHANGES:
                written = [value]
            case _:
                continue
        if any(ir.same(value, table) for value in written):
            return True
    return False


class Autocasts:
    """Answers :meth:`around`: the autocast context that is innermost at a node of its function."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._calls = facts.derived(Calls)
        self._facts = facts
        self._known: dict[int, Autocast | None] = {}
        self._redefined = any(self._facts.qualified(call.func) in _SETTERS for call in self._facts.calls)

    def around(self, node: ir.Node) -> Autocast | None:
        """The context that decides at ``node``, up to its function and its decorators; None if there is none."""
        below = node
        for above in self._facts.names.ancestors(node):
            if isinstance(above, ir.With) and isinstance(below, ir.Block):
                contexts = [*(item.context for item in above.items), *self._entered_later(above, node)]
                for context in reversed(contexts):
                    found = self.read(context)
                    if found is not None:
                        return found
            if isinstance(above, ir.FunctionDef):
                return next((f for d in above.decorators if (f := self.read(d)) is not None), None)
            below = above
        return None

    def _entered_later(self, block: ir.With, node: ir.Node) -> Iterator[ir.Expr]:
        """What the ``ExitStack`` of a block enters before ``node``."""
        stacks = {item.target.id for item in block.items if isinstance(item.target, ir.Name)}
        for call in self._facts.calls if stacks else ():
            match call:
                case ir.Call(func=ir.Attr(attr="enter_context", value=ir.Name(id=name)), args=[ir.Arg(value=value)]):
                    if name in stacks and block.nid < call.nid < node.nid:
                        yield value

    def read(self, node: ir.Expr) -> Autocast | None:
        """The autocast an expression opens, or None where it opens none that is known."""
        if node.nid not in self._known:
            self._known[node.nid] = None
            self._known[node.nid] = self._read(node)
        return self._known[node.nid]

    def _read(self, node: ir.Expr) -> Autocast | None:
        found = []
        others = False
        for leaf in self._calls.sources(node):
            context = self._called(leaf) if isinstance(leaf, ir.Call) else None
            if context is None:
                others = True
            else:
                found.append(context)
        if not found:
            return None
        half = [c for c in found if c.half]
        if not half:
            return None if others else found[0]
        certain = not others and len(half) == len(found) and all(c.certain for c in half)
        return Autocast(half[0].nid, True, certain)

    def _called(self, call: ir.Call) -> Autocast | None:
        name, args = self._spelled(call)
        if name in _SPELLINGS:
            device, order = _SPELLINGS[name]
            given = self._arguments(args, order)
            if given is None:
                return Autocast(call.nid, False, False)
            halves = self._dtypes(given.get("dtype"), device, given.get("device_type"))
            switched = truths(given["enabled"], self._calls) if "enabled" in given else frozenset({True})
            if switched == {False} or True not in halves:
                return Autocast(call.nid, False, True)
            return Autocast(call.nid, True, halves == {True} and switched == {True})
        if isinstance(call.func, ir.Attr) and call.func.attr == "autocast" and name is None:
            found = self._of_trainer(call, call.func.value)
            if found is not None:
                return found
        return self._of_manager(call) or self._returned(call)

    def _spelled(self, call: ir.Call) -> tuple[str | None, list[ir.Arg]]:
        """The library function of a call and what it is given, also by a ``functools.partial`` that the call names."""
        name = self._facts.qualified(call.func)
        made = list(self._calls.sources(call.func)) if name is None else []
        match made:
            case [ir.Call(func=func, args=[ir.Arg(value=bound, star=""), *first])] if (
                self._facts.qualified(func) == "functools.partial"
            ):
                args = [*first, *call.args]
                return self._facts.qualified(bound), sorted(args, key=lambda arg: arg.keyword is not None)
        return name, call.args

    def _of_manager(self, call: ir.Call) -> Autocast | None:
        """The autocast around the ``yield`` of a context manager that this module writes as a generator."""
        for function in self._calls.entered(call):
            if any(self._facts.qualified(d) == "contextlib.contextmanager" for d in function.decorators):
                for part in ir.walk(function.body):
                    if isinstance(part, ir.Yield):
                        return self.around(part)
        return None

    def _returned(self, call: ir.Call) -> Autocast | None:
        """The autocast that a function of this module returns, where no call gives it anything to choose by."""
        entered = self._calls.entered(call)
        if len(entered) != 1 or any(other.args for other in self._calls.callers(entered[0])):
            return None
        values = self._facts.names.returned(entered[0])
        found = [self.read(value) for value in values]
        half = [context for context in found if context is not None and context.half]
        if not half:
            return found[0] if found and None not in found else None
        return half[0] if len(half) == len(found) else replace(half[0], certain=False)

    def _arguments(self, args: list[ir.Arg], order: tuple[str, ...]) -> dict[str, ir.Expr] | None:
        given: dict[str, ir.Expr] = {}
        for number, arg in enumerate(args):
            if arg.star:
                return None
            if arg.keyword is not None:
                given[arg.keyword] = arg.value
            elif number < len(order):
                given[order[number]] = arg.value
        return given

    def _dtypes(self, dtype: ir.Expr | None, device: str | None, written: ir.Expr | None) -> set[bool | None]:
        """True for fp16, False for another dtype, None for an unknown one, for each way the dtype can be."""
        found: set[bool | None] = set()
        for leaf in self._calls.sources(dtype) if dtype is not None else (None,):
            if dtype is None or (isinstance(leaf, ir.Const) and leaf.value is None):
                found |= self._defaults(device, written)
            else:
                name = dtype_name(leaf, self._calls)
                found.add(name in HALF if name is not None else None)
        return found

    def _defaults(self, device: str | None, written: ir.Expr | None) -> set[bool | None]:
        if self._redefined:
            return {None}
        devices = {device} if device is not None else set(self._devices(written))
        found: set[bool | None] = set()
        for name in devices:
            # A device that the code does not name can be cuda: that is what autocast is written for.
            found |= {True, None} if name is None else {name in _DEFAULT_HALF if name in _KNOWN else None}
        return found

    def _devices(self, node: ir.Expr | None, depth: int = 0) -> Iterator[str | None]:
        for leaf in self._calls.sources(node):
            match leaf:
                case ir.Const(value=str() as value):
                    yield value.partition(":")[0]
                case ir.Attr(attr="type", value=value) if depth < 4:
                    yield from self._devices(value, depth + 1)
                case ir.Call(func=func, args=[ir.Arg(value=value), *_]) if depth < 4 and self._is_device(func):
                    yield from self._devices(value, depth + 1)
                case ir.Call(func=ir.Attr(attr="split" | "partition" | "lower", value=value)) if depth < 4:
                    yield from self._devices(value, depth + 1)
                case ir.Subscript(value=value) if depth < 4 and not isinstance(value, ir.Name):
                    yield from self._devices(value, depth + 1)
                case _:
                    yield None

    def _is_device(self, func: ir.Expr) -> bool:
        return self._facts.qualified(func) == "torch.device" or (isinstance(func, ir.Name) and func.id == "str")

    def _of_trainer(self, call: ir.Call, receiver: ir.Expr) -> Autocast | None:
        """``fabric.autocast()`` of a ``Fabric(precision="16-mixed")``, and accelerate's likewise."""
        for leaf in self._calls.sources(receiver):
            if not isinstance(leaf, ir.Call):
                continue
            last = (self._facts.qualified(leaf.func) or "").rpartition(".")[2]
            if last in _TRAINERS:
                given = next((a.value for a in leaf.args if a.keyword == _TRAINERS[last]), None)
                precision = self._facts.values.constant(given)
                half = str(precision) in _TRAINER_HALF
                return Autocast(call.nid, half, half)
        return None
