"""Hooks on what torch does in Python: saving, ``state_dict``, the entries of autograd, ``/`` and ``sqrt``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from . import saves, session
from .callsite import backward_pass, caller, site_of
from .checks.division import zero_by_zero
from .derivatives import confirming, watch_root
from .evidence import in_backward, remember_grads, remember_leaves
from .exchange import exchange
from .masking import unmasked
from .watch import is_inside, nested, quiet, unnoticed, watch

__all__ = ["install"]


def _save(original: Callable[..., Any]) -> Callable[..., Any]:
    def save(obj: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(obj, *args, **kwargs)
        for watching in session.sessions_for("checkpoint-without-feedback")[:1]:
            try:
                watching.saves.add(obj, site_of(caller()), "torch.save")
            except Exception as error:
                watching.note(f"torch.save: the check failed: {type(error).__name__}: {str(error)[:80]}")
        return result

    return save


def _state_dict(original: Callable[..., Any]) -> Callable[..., Any]:
    def state_dict(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        if not kwargs.get("prefix"):
            saves.remember_state(self, result)
        return result

    return state_dict


def _grad(original: Callable[..., Any]) -> Callable[..., Any]:
    def grad(*args: Any, **kwargs: Any) -> Any:
        with backward_pass(caller()), confirming() as running:
            result = original(*args, **kwargs)
        if isinstance(result, tuple):
            inputs = args[1] if len(args) > 1 else kwargs.get("inputs", ())
            with quiet():
                remember_grads(result, inputs if isinstance(inputs, list | tuple) else [inputs] * len(result))
            running.confirm(result)
        return result

    return grad


def _backward(original: Callable[..., Any]) -> Callable[..., Any]:
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        remember_leaves([tensors] if isinstance(tensors, Tensor) else tensors)
        with backward_pass(caller()), confirming() as running:
            result = original(tensors, *args, **kwargs)
        running.confirm()
        return result

    return backward


def _divide(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def make(below: Callable[..., Any]) -> Callable[..., Any]:
        def divide(self: Tensor, other: Any) -> Any:
            if type(other) is not Tensor or is_inside():
                return below(self, other)
            before = self
            if name == "__itruediv__":
                with quiet(), unnoticed(False):
                    before = self.detach().clone()
            with nested():
                result = below(self, other)
            call = caller()
            if call is not None and call.is_direct and not in_backward():
                watch("zero-by-zero", "division", (before, other), unmasked(zero_by_zero, result, call), call)
            return result

        return divide

    return make


def _sqrt(below: Callable[..., Any]) -> Callable[..., Any]:
    """In Python, where it costs a tenth of a hook in the dispatcher: some optimizers call it for each parameter."""

    def sqrt(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled() or is_inside():
            return below(*args, **kwargs)
        with nested():
            result = below(*args, **kwargs)
        watch_root("torch.sqrt", result)
        return result

    return sqrt


def _replace(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[], None]:
    """Set a name of ``torch``, or a method of ``torch.Tensor``: it has some (``/=``) and inherits others (``/``)."""
    inherited = name not in vars(owner)
    below = getattr(owner, name)
    function = make(below)
    qualified = f"Tensor.{name}" if owner is torch.Tensor else name
    function.__module__, function.__name__, function.__qualname__ = "torch", name, qualified
    setattr(owner, name, function)

    def restore() -> None:
        if inherited:
            delattr(owner, name)
        else:
            setattr(owner, name, below)

    return restore


def install() -> Callable[[], None]:
    """Put every hook in place; the function returned takes them out again."""
    undo = [
        exchange(torch.save, _save),
        exchange(nn.Module.state_dict, _state_dict),
        exchange(torch.autograd.grad, _grad),
        exchange(torch.autograd.backward, _backward),
        *(_replace(torch.Tensor, name, _divide(name)) for name in ("__truediv__", "__itruediv__")),
        *(_replace(owner, name, _sqrt) for owner in (torch.Tensor, torch) for name in ("sqrt", "sqrt_")),
    ]

    def restore() -> None:
        for step in reversed(undo):
            step()

    return restore
