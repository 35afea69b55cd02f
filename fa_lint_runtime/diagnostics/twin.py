"""A network with the same forward pass whose backward pass is its derivative, to measure methods that replace it.

Libraries of feedback alignment put their credit where the gradient would be: in ``torch.autograd.Function`` of their
own, and in backward hooks. The twin runs the forward of such a Function under autograd, and has no hooks.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .batches import Batch, call, to_batch
from .credits import CreditFunction, CreditInputs
from .discovery import Layers
from .losses import LossFunction
from .outputs import Token, logits_of
from .plain import per_sample_gradients
from .precision import custom_functions
from .restore import measured, random_states, unwrapped
from .taps import make_plan

__all__ = ["own_credit", "plain_twin"]

Replacement = Callable[[Any], nn.Module]

_lock = threading.RLock()  # what is replaced while a twin runs is replaced for the whole process
_OURS = ("torch.", "fa_lint_runtime.kernels.")


def plain_twin(model: nn.Module, x: Any, replace: Mapping[type[nn.Module], Replacement] | None = None) -> nn.Module:
    """A copy of ``model`` that gives the same logits, and the gradients of its forward pass.

    Args:
        model: its layers may have autograd Functions and backward hooks of their own.
        x: one batch of inputs, on which the logits of both are compared, bit by bit.
        replace: class of a layer to a function that makes the ordinary layer from it, where the forward pass itself
            detaches or computes with tensors that autograd cannot follow.

    Raises:
        ValueError: the logits differ, a Function of the user's is still in the graph, or ``replace`` names the class of
            ``model`` itself.

    Source:
        https://docs.pytorch.org/docs/stable/notes/extending.html

    Example:
        >>> class Reversed(torch.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         return 2 * x
        ...     @staticmethod
        ...     def backward(ctx, g):
        ...         return -g
        >>> class Net(nn.Module):
        ...     def forward(self, x):
        ...         return Reversed.apply(x)
        >>> x = torch.ones(1, 2, requires_grad=True)
        >>> torch.autograd.grad(plain_twin(Net(), x)(x).sum(), x)[0]
        tensor([[2., 2.]])
    """
    inner = unwrapped(model)
    if type(inner) in (replace or {}):
        raise ValueError(f"replace names {type(inner).__name__}, the class of the model itself: name its layers")
    twin = copy.deepcopy(inner)
    for module in twin.modules():
        module._backward_hooks.clear()
        module._backward_pre_hooks.clear()
    for name, module in list(twin.named_modules(remove_duplicate=False)):
        make = (replace or {}).get(type(module))
        if make is not None:
            parent, _, child = name.rpartition(".")
            setattr(twin.get_submodule(parent), child, make(module))
    _set(twin, "__class__", _plain_class(type(twin)))
    _compare(inner, twin, to_batch((x, None), 0))
    return twin


def _plain_class(own: type[nn.Module]) -> type[nn.Module]:
    """Of a network whose forward pass runs Functions under autograd: of a copy as of the twin itself."""

    @wraps(own.forward)  # its signature is that of the model
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with _plain_functions():
            return own.forward(self, *args, **kwargs)

    return type(own.__name__, (own,), {"forward": forward, "__module__": own.__module__})


def _set(owner: Any, name: str, value: Any) -> None:
    setattr(owner, name, value)


def _compare(model: nn.Module, twin: nn.Module, batch: Batch) -> None:
    with measured(model, track_parameters=True), measured(twin, track_parameters=True):
        logits = []
        for network in (model, twin):
            with random_states(network), torch.enable_grad():
                logits.append(logits_of(call(network, batch.mapped(torch.clone).x)))
        same = _are_equal(logits[0], logits[1])
        left = custom_functions(logits[1], None)
    if not same:
        raise ValueError("the plain twin gives other logits than the model: name its layers with replace={Class: …}")
    if left:
        raise ValueError(f"the plain twin still runs {', '.join(left)}: name the layer with replace={{Class: …}}")


def _are_equal(a: Tensor, b: Tensor) -> bool:
    """Bit by bit; a NaN is equal to a NaN."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


class _Context:
    """What a Function's forward may do to its ``ctx``; nothing of it matters without its backward."""

    saved_tensors: tuple[Any, ...] = ()

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in arguments)

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def _ignored(self, *_: Any) -> None: ...

    save_for_forward = mark_dirty = mark_non_differentiable = set_materialize_grads = _ignored


@contextmanager
def _plain_functions() -> Iterator[None]:
    """Functions of users run their forward under autograd; hooks on tensors are not set."""
    function = torch.autograd.Function
    own_apply, own_hook = function.__dict__["apply"], Tensor.register_hook

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if cls.__module__.startswith(_OURS):
            return own_apply.__func__(cls, *args, **kwargs)
        if cls.setup_context is not function.setup_context:
            return cls.forward(*args, **kwargs)
        return cls.forward(_Context(args), *args, **kwargs)

    with _lock:
        _set(function, "apply", classmethod(apply))
        _set(Tensor, "register_hook", lambda *_, **__: RemovableHandle(OrderedDict()))
        try:
            yield
        finally:
            _set(function, "apply", own_apply)
            _set(Tensor, "register_hook", own_hook)


def own_credit(
    model: nn.Module, layers: Layers | None, loss_fn: LossFunction | None, token: Token | None
) -> CreditFunction:
    """What the backward pass of ``model`` itself gives at its hidden states, as a credit to hold against the twin."""
    inner = unwrapped(model)

    def credit(inputs: CreditInputs) -> dict[str, Tensor]:
        rows = per_sample_gradients(inner, inputs.x, inputs.y, loss_fn, layers=layers, token=token or "cls")
        with measured(inner, track_parameters=True):
            names = make_plan(inner, layers, to_batch((inputs.x, inputs.y), 0).head(3))[0].names
        return {name: row for name, row in zip(names, rows, strict=True) if row is not None}

    return credit
