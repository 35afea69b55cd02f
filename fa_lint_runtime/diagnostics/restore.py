"""Measure a model and leave no trace: modes, buffers, ``requires_grad``, random states, wrappers, checkpointing."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import torch.utils.checkpoint as checkpointing
from torch import Tensor, nn

from ..inspection import looks_like_feedback
from ..placement import cuda_indices, factories_on
from .batches import mapped

__all__ = ["is_sharded", "measured", "random_states", "tracked_inputs", "unwrapped", "without_recomputation"]


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's module inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel`` wrappers.

    ``DistributedDataParallel`` would expect its gradient hooks to fire, and they never do in a diagnostic.

    Raises:
        TypeError: no ``nn.Module``, or one of TorchScript.
    """
    inner: object = model
    while True:
        if isinstance(inner, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = inner.module
        elif isinstance(compiled := getattr(inner, "_orig_mod", None), nn.Module):
            inner = compiled
        else:
            if not isinstance(inner, nn.Module):
                raise TypeError(f"model must be an nn.Module, got {type(inner).__name__}")
            if isinstance(inner, torch.jit.ScriptModule):
                raise TypeError("TorchScript calls no hooks: give the nn.Module that this model was made from")
            return inner


def is_sharded(model: nn.Module) -> bool:
    """True for FSDP2 (``fully_shard``): parameters are distributed, every rank must run every forward."""
    return any(type(module).__name__.startswith("FSDP") for module in model.modules())


@contextmanager
def measured(model: nn.Module, *, track_parameters: bool) -> Iterator[None]:
    """Evaluation mode, gradients on, eager code; everything as it was afterwards, also after an exception.

    Args:
        model: the unwrapped model.
        track_parameters: let every floating-point parameter require a gradient meanwhile, so that hidden states of
            frozen networks have a graph. No gradient of a parameter is ever computed for that.
    """
    with ExitStack() as stack:
        stack.enter_context(random_states(model))
        stack.enter_context(_buffers(model))
        if not is_sharded(model):  # FSDP2 keeps its own books
            stack.enter_context(_attributes(model))
            stack.enter_context(_parameters(model))
        stack.enter_context(_evaluation_mode(model))
        stack.enter_context(_gradients(model))
        if track_parameters:
            stack.enter_context(_all_tracked(model))
        stack.enter_context(_plain_checkpoints())
        # Nothing can be compiled where Dynamo was never imported, and importing it takes seconds.
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        home = next((p.device for p in model.parameters()), torch.device("cpu"))
        stack.enter_context(factories_on(home))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    # The attribute, not .train(): overridden train() methods merge weights and freeze statistics.
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _parameters(model: nn.Module) -> Iterator[None]:
    """Parameters that a forward pass replaces or writes to, as some layers do with their feedback."""
    tables = [(module, dict(module._parameters)) for module in model.modules()]
    named = [(name, p) for name, p in model.named_parameters() if not p.is_inference()]
    data = [(p, p.data) for _, p in named]
    copies = [(p, p.detach().clone()) for name, p in named if looks_like_feedback(name, tuple(p.shape))]
    try:
        yield
    finally:
        for module, table in tables:
            module._parameters.clear()
            module._parameters.update(table)
        for parameter, own in data:
            if parameter.data_ptr() != own.data_ptr():
                parameter.data = own
        with torch.no_grad():
            for parameter, content in copies:
                if not torch.equal(parameter, content):
                    parameter.copy_(content)


@contextmanager
def _buffers(model: nn.Module) -> Iterator[None]:
    kept = [
        (module, name, buffer, buffer.detach().clone(), buffer._version)
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not buffer.is_inference()
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, content, version in kept:
                if buffer._version != version:
                    buffer.copy_(content)
                module._buffers[name] = buffer


@contextmanager
def _attributes(model: nn.Module) -> Iterator[None]:
    """Plain attributes that forward passes replace: counters, caches, stored activations with their whole graph.

    Also what is in the lists, dicts, sets and deques among them: forward passes append to those.
    """
    kept = [(module, dict(module.__dict__)) for module in model.modules()]
    filled = [
        (value, value.copy())
        for _, attributes in kept
        for name, value in attributes.items()
        if type(value) in _CONTAINERS and name not in _OF_TORCH
    ]
    try:
        yield
    finally:
        for container, content in filled:
            container.clear()
            if isinstance(container, list | deque):
                container.extend(content)
            else:
                container.update(content)
        for module, attributes in kept:
            for name in set(module.__dict__) - set(attributes):
                del module.__dict__[name]
            for name, value in attributes.items():
                if module.__dict__.get(name, _MISSING) is not value:
                    module.__dict__[name] = value


@contextmanager
def _gradients(model: nn.Module) -> Iterator[None]:
    """``.grad`` out of reach: the backward of some methods calls ``backward()`` of its own on every block."""
    kept = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        for parameter, _ in kept:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in kept:
            parameter.grad = gradient


@contextmanager
def _all_tracked(model: nn.Module) -> Iterator[None]:
    frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


@contextmanager
def random_states(model: nn.Module) -> Iterator[None]:
    """The global random states as they were afterwards, on the CPU and on the devices of the model."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(cuda_indices(p.device for p in model.parameters())):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


_MISSING = object()
_CONTAINERS = (list, dict, set, deque)
_OF_TORCH = frozenset(nn.Module().__dict__)  # parameters, buffers, hooks: others look after them


class _NoCheckpoint:
    """Stands in for the re-entrant checkpoint, which forbids ``torch.autograd.grad``: simply keep the activations."""

    @staticmethod
    def apply(function: Callable[..., Any], _preserve: bool, *args: Any) -> Any:
        return function(*args)


@contextmanager
def _plain_checkpoints() -> Iterator[None]:
    original = checkpointing.CheckpointFunction
    try:
        checkpointing.CheckpointFunction = _NoCheckpoint  # type: ignore[assignment,misc]
        yield
    finally:
        checkpointing.CheckpointFunction = original  # type: ignore[misc]


@contextmanager
def without_recomputation() -> Iterator[None]:
    """Checkpointed blocks keep their activations: run again, they would find other parameters than before."""
    original = getattr(checkpointing, "_checkpoint_without_reentrant_generator", None)
    if original is None:
        yield
        return

    def once(*_args: Any, **_kwargs: Any) -> Iterator[None]:
        yield

    try:
        checkpointing._checkpoint_without_reentrant_generator = once
        yield
    finally:
        checkpointing._checkpoint_without_reentrant_generator = original


def tracked_inputs(value: Any) -> Any:
    """Inputs as leaves of a fresh graph: floating tensors require a gradient, nothing aliases what the caller holds."""

    def leaf(tensor: Tensor) -> Tensor:
        copy = tensor.detach()
        if copy.is_inference():
            copy = copy.clone()
        return copy.requires_grad_(True) if copy.is_floating_point() else copy

    return mapped(value, leaf)
