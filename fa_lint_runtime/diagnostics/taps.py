"""Hidden states of a model's own forward, seen by hooks: one callback at the moment each of them exists.

The gradient is later taken with respect to the *gradient edge* of the hidden state, that is to the value it has at this
moment: what in-place operations do to it afterwards does not matter
(https://docs.pytorch.org/docs/stable/generated/torch.autograd.graph.GradientEdge.html).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .batches import Batch, call, tensors_of
from .discovery import Blocks, Layers, find_blocks, follows_contract, rows_of_blocks
from .outputs import first_hidden, logits_of

__all__ = ["Mode", "Plan", "make_plan", "run"]

Mode = Literal["contract", "outputs of blocks", "inputs of blocks", "outputs of layers"]
OnHidden = Callable[[int, Tensor], None]


@dataclass(frozen=True)
class Plan:
    """Where the hidden states h_0 … h_L of one model come from.

    Attributes:
        mode: ``"contract"``: ``return_hidden=True``; ``"outputs of blocks"``: each block contains its skip, h_0 is the
            input of the first; ``"inputs of blocks"``: the skip lies outside (``h = h + block(h)``), h_L is what the
            first module after the last block takes; ``"outputs of layers"``: no residual stream.
        source: how the blocks were found.
        names: what made each hidden state, for example ``"blocks.2"``.
        producers: the module whose parameters made each, None where it is not one module.
        blocks: every hooked module once.
        calls: how many times blocks are called in one forward.
        final: module whose input is h_L (``"inputs of blocks"``).
        batch_dims: of each hidden state.
        caveats: what the reader should know.
    """

    mode: Mode
    source: str
    names: tuple[str, ...]
    producers: tuple[nn.Module | None, ...]
    blocks: tuple[nn.Module, ...] = ()
    calls: int = 0
    final: nn.Module | None = None
    batch_dims: tuple[int, ...] = ()
    caveats: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """L + 1."""
        return len(self.names)


def _is_replay() -> bool:
    """True while activation checkpointing runs a block again inside the backward pass."""
    return torch._C._current_graph_task_id() != -1


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    taken = first_hidden(args)
    return first_hidden(kwargs) if taken is None else taken


def run(model: nn.Module, plan: Plan, x: Any, on_hidden: OnHidden) -> Tensor:
    """One forward of the model; ``on_hidden(l, h_l)`` for every hidden state, in the layout of the model.

    The logits, on the device of ``x``.

    Raises:
        RuntimeError: this forward did not call the blocks as the first one did.
    """
    if plan.mode == "contract":
        logits, hidden = call(model, x, return_hidden=True)
        for index, h in enumerate(hidden):
            on_hidden(index, h)
        return _beside(x, logits_of(logits))
    calls = _Calls(plan, on_hidden)
    with ExitStack() as stack:
        for handle in calls.handles():
            stack.callback(handle.remove)
        output = call(model, x)
    if calls.seen != plan.calls or calls.reported != plan.count:
        raise RuntimeError(
            f"this batch called the blocks {calls.seen} times, the first one {plan.calls} times: a model whose depth "
            "depends on its input has no fixed h_0 … h_L to report"
        )
    return _beside(x, logits_of(output))


def _beside(x: Any, logits: Tensor) -> Tensor:
    """The logits where the inputs are, and so the targets: a model may lie on several devices."""
    first = next(iter(tensors_of(x)), None)
    return logits if first is None else logits.to(first.device)


class _Calls:
    """Counts calls of blocks and reports hidden states in their order."""

    def __init__(self, plan: Plan, on_hidden: OnHidden) -> None:
        self.plan, self.on_hidden = plan, on_hidden
        self.seen = self.reported = 0

    def handles(self) -> list[Any]:
        # Ahead of the hooks that are there: FSDP2's own pre-hook would hide the skip connection from a later one.
        handles: list[Any] = []
        for block in self.plan.blocks:
            handles.append(block.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True))
            handles.append(block.register_forward_hook(self._after))
        if self.plan.final is not None:
            hook = self.plan.final.register_forward_pre_hook(self._last, with_kwargs=True, prepend=True)
            handles.append(hook)
        return handles

    def _report(self, h: Tensor | None) -> None:
        if h is None:
            raise RuntimeError(f"block {self.plan.names[self.reported]} handles no floating-point tensor")
        self.on_hidden(self.reported, h)
        self.reported += 1

    def _before(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if _is_replay():
            return
        if self.plan.mode == "inputs of blocks" or (self.plan.mode == "outputs of blocks" and self.seen == 0):
            self._report(_argument(args, kwargs))

    def _after(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        if _is_replay():
            return
        self.seen += 1
        if self.plan.mode != "inputs of blocks":
            self._report(first_hidden(output))

    def _last(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not _is_replay() and self.seen == self.plan.calls and self.reported == self.plan.calls:
            self._report(_argument(args, kwargs))


@dataclass
class _Trace:
    """What a small forward showed: every call of a block, and the first module called after the last of them."""

    names: list[str] = field(default_factory=list)
    modules: list[nn.Module] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    after: list[tuple[nn.Module, Tensor]] = field(default_factory=list)
    logits: Tensor = field(default_factory=lambda: torch.empty(0))

    def branches(self) -> bool:
        """Two blocks take the same tensor, although the first of them made another: they run beside each other."""
        taken: dict[int, int] = {}
        for index, x in enumerate(self.inputs):
            before = taken.setdefault(id(x), index)
            if self.modules[before] is not self.modules[index] and self.outputs[before] is not x:
                return True
        return False

    def head(self) -> str | None:
        """The block, called once, whose output is what the model returns."""
        name, made = self.names[-1], self.outputs[-1]
        is_head = _same_value(made, self.logits) and self.names.count(name) == 1
        return name if is_head else None


def make_plan(
    model: nn.Module, layers: Layers | None, probe: Batch, *, before_activations: bool = False
) -> tuple[Plan, Tensor]:
    """Run a few samples through the model and decide where its hidden states are. Also their logits, without a graph.

    Inside ``measured``. ``before_activations``: they are what layers return, as the activation comes after that.

    Raises:
        ValueError: no blocks, or a hidden state without a batch dimension.
    """
    if layers is None and follows_contract(model):
        return _contract_plan(model, probe)
    for blocks in [find_blocks(model, layers)] if layers is not None else rows_of_blocks(model):
        trace, caveats = _traced(model, blocks, probe), list(blocks.caveats)
        if layers is not None or not (trace.branches() or (len(blocks.modules) == 1 and len(trace.inputs) == 1)):
            break
    if not trace.inputs:
        raise ValueError(f"none of the blocks is called in the forward pass: {blocks.source}")
    head = trace.head()
    if layers is None and head is not None and len(set(trace.names)) > 1:
        caveats.append(f"{head} makes the logits: it is taken for the head, not for a block")
        blocks = blocks.without(head)
        trace = _traced(model, blocks, probe)
    mode = "outputs of layers" if before_activations else _mode(trace, blocks)
    count = len(trace.names)
    names, producers = _numbered(trace.names), list(trace.modules)
    hidden = list(trace.outputs)
    final = None
    if mode != "outputs of layers":
        names, producers = [f"input of {trace.names[0]}", *names], [None, *producers]  # type: ignore[list-item]
        hidden = [trace.inputs[0], *trace.outputs]
    if mode == "inputs of blocks":
        hidden = list(trace.inputs)
        if trace.after:
            final, last = trace.after[0]
            hidden.append(last)
        else:
            names, producers = names[:-1], producers[:-1]
            caveats.append("no module takes the result of the last block: h_L is not observed")
    plan = Plan(
        mode=mode,
        source=blocks.source,
        names=tuple(names),
        producers=tuple(producers),
        blocks=tuple(dict.fromkeys(blocks.modules.values())),
        calls=count,
        final=final,
        batch_dims=tuple(_batch_dim(h, name, probe.size, model) for h, name in zip(hidden, names, strict=True)),
        caveats=tuple(caveats),
    )
    return plan, _beside(probe.x, trace.logits.detach())


def _contract_plan(model: nn.Module, probe: Batch) -> tuple[Plan, Tensor]:
    result = call(model, probe.x, return_hidden=True)
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], list | tuple):
        raise ValueError("model(x, return_hidden=True) must return (logits, [h_0, …, h_L]); give layers=… to use hooks")
    with torch.no_grad():
        own, other = logits_of(call(model, probe.x)), logits_of(result[0]).detach()
    # Two calls of one network: equal up to the rounding of another kernel. NaN equals NaN here.
    if own.shape != other.shape or not torch.allclose(own, other, rtol=1e-3, atol=1e-5, equal_nan=True):
        raise ValueError(
            "model(x, return_hidden=True) gives other logits than model(x): its hidden states belong to another "
            "computation; give layers=… to use hooks on model(x) itself"
        )
    hidden = result[1]
    blocks = getattr(model, "blocks", None)
    modules: list[nn.Module | None] = [None] * len(hidden)
    names = [f"h_{index}" for index in range(len(hidden))]
    first = next((name for name in ("embed", "patch_embed") if isinstance(getattr(model, name, None), nn.Module)), None)
    if first is not None and hidden:
        names[0], modules[0] = first, getattr(model, first)
    if isinstance(blocks, nn.ModuleList | nn.Sequential) and len(blocks) == len(hidden) - 1:
        for index, block in enumerate(blocks):
            names[index + 1], modules[index + 1] = f"blocks.{index}", block
    dims = tuple(_batch_dim(h, name, probe.size, model) for h, name in zip(hidden, names, strict=True))
    source = f"original contract: return_hidden=True gives {len(hidden)} hidden states"
    return Plan("contract", source, tuple(names), tuple(modules), batch_dims=dims), _beside(probe.x, other)


def _traced(model: nn.Module, blocks: Blocks, probe: Batch) -> _Trace:
    trace, total = _Trace(), [0]
    inside = {id(m) for block in blocks.modules.values() for m in block.modules()}
    names = {id(block): name for name, block in blocks.modules.items()}

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        taken = _argument(args, kwargs)
        if taken is not None and not _is_replay():
            trace.after.clear()
            trace.names.append(names[id(module)])
            trace.modules.append(module)
            trace.inputs.append(taken)

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        made = first_hidden(output)
        if made is not None and not _is_replay():
            trace.outputs.append(made)
            total[0] += 1

    def elsewhere(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        taken = _argument(args, kwargs)
        if taken is not None and total[0] == len(trace.inputs) > 0 and not _is_replay():
            trace.after.append((module, taken))

    with ExitStack() as stack:
        for block in blocks.modules.values():
            stack.callback(block.register_forward_pre_hook(before, with_kwargs=True, prepend=True).remove)
            stack.callback(block.register_forward_hook(after).remove)
        for module in model.modules():
            if id(module) not in inside and module is not model:
                stack.callback(module.register_forward_pre_hook(elsewhere, with_kwargs=True, prepend=True).remove)
        trace.logits = logits_of(call(model, probe.x))
    if len(trace.outputs) != len(trace.inputs):
        raise ValueError(f"a block takes or returns no floating-point tensor of 2 dimensions or more: {blocks.source}")
    return trace


def _mode(trace: _Trace, blocks: Blocks) -> Mode:
    # What follows the last block says little: pooling and normalisation are often plain functions.
    after = [trace.after[0][1]] if trace.after and len(trace.inputs) == 1 else []
    pairs = list(zip(trace.inputs, trace.outputs, [*trace.inputs[1:], *after], strict=False))
    if all(_same_value(output, taken) for _, output, taken in pairs):
        return "outputs of blocks"
    if blocks.alike or all(_is_skip(before, output, taken) for before, output, taken in pairs):
        return "inputs of blocks"
    return "outputs of layers"


def _same_value(a: Tensor, b: Tensor) -> bool:
    if a is b:
        return True
    if a.grad_fn is None or b.grad_fn is None:
        return False
    node, number = b.grad_fn, b.output_nr
    if a.device != b.device and node.name().startswith("ToCopyBackward"):
        node, number = node.next_functions[0]  # type: ignore[assignment]
    return a.grad_fn is node and a.output_nr == number


def _is_skip(before: Tensor, output: Tensor, taken: Tensor) -> bool:
    """Return whether ``taken = before + c output``."""
    if not before.shape == output.shape == taken.shape:
        return False
    before, output, taken = (x.detach().to(taken.device, torch.float64).flatten() for x in (before, output, taken))
    moved, made = taken - before, output
    return bool(torch.dot(moved, made).abs() >= 0.999 * moved.norm() * made.norm())


def _numbered(names: list[str]) -> list[str]:
    repeated = {name for name in names if names.count(name) > 1}
    seen: dict[str, int] = {}
    numbered = []
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        numbered.append(f"{name}#{seen[name]}" if name in repeated else name)
    return numbered


def _batch_dim(h: Tensor, name: str, size: int, model: nn.Module) -> int:
    candidates = [dim for dim in (0, 1) if h.ndim > dim and h.shape[dim] == size]
    if not candidates:
        raise ValueError(
            f"hidden state {name} has shape {tuple(h.shape)}: no batch dimension of {size} among the first two"
        )
    if len(candidates) == 2 and h.ndim > 2 and any(getattr(m, "batch_first", True) is False for m in model.modules()):
        return 1
    return candidates[0]
