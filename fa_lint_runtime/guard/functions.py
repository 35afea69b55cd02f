"""Hooks on Python functions of torch, by exchanging the function's code and nothing else.

The function object stays the same one, so that every name it was ever bound to is covered, ``is`` and pickle still
agree, and ``torch.jit.script`` still finds the original source.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from . import saves, session
from .callsite import keywords_at as _keywords_at  # noqa: F401
from .callsite import site_of
from .checks.division import zero_by_zero
from .evidence import in_backward, remember_grads, remember_leaves
from .watch import caller, is_inside, watch

__all__ = ["install"]

_HANDLER = "_fa_lint_guard_handler"


def _trampoline(function: FunctionType, name: str) -> CodeType:
    """Code that passes everything to the handler, and looks like the original to whoever asks where it is."""
    scope: dict[str, Any] = {}
    exec(f"def call(*args, **kwargs):\n    return {name}(*args, **kwargs)", scope)
    old = function.__code__
    code: CodeType = scope["call"].__code__
    return code.replace(
        co_filename=old.co_filename,
        co_firstlineno=old.co_firstlineno,
        co_name=old.co_name,
        co_qualname=old.co_qualname,
    )


def _exchange(function: Any, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[], None]:
    """Let ``make(original)`` answer for ``function``; the function returned undoes it."""
    if not isinstance(function, FunctionType) or function.__code__.co_freevars:
        return lambda: None
    code, scope = function.__code__, function.__globals__
    original = FunctionType(code, scope, function.__name__, function.__defaults__, function.__closure__)
    original.__kwdefaults__ = function.__kwdefaults__
    name = f"{_HANDLER}_{function.__qualname__.replace('.', '_')}"
    scope[name] = make(original)
    function.__code__ = _trampoline(function, name)

    def restore() -> None:
        function.__code__ = code
        scope.pop(name, None)

    return restore


def _save(original: Callable[..., Any]) -> Callable[..., Any]:
    def save(obj: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(obj, *args, **kwargs)
        watching = session.session_for("checkpoint-without-feedback")
        if watching is not None:
            try:
                record = saves.save_record(obj, site_of(caller()), "torch.save")
            except Exception as error:
                watching.note(f"torch.save: the check failed: {type(error).__name__}")
            else:
                if record is not None:
                    watching.saves.append(record)
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
        result = original(*args, **kwargs)
        if isinstance(result, tuple):
            remember_grads(result)
        return result

    return grad


def _backward(original: Callable[..., Any]) -> Callable[..., Any]:
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        remember_leaves([tensors] if isinstance(tensors, Tensor) else tensors)
        return original(tensors, *args, **kwargs)

    return backward


def _divide(name: str) -> Callable[[], None]:
    """``/`` and ``/=`` of tensors: set on ``torch.Tensor``, where nothing but inheritance stood before."""
    below = getattr(torch.Tensor, name)

    def divide(self: Tensor, other: Any) -> Any:
        if type(other) is not Tensor or is_inside():
            return below(self, other)
        before = self.detach().clone() if name == "__itruediv__" else self
        result = below(self, other)
        call = caller()
        if call is not None and not call.between and not in_backward() and session.session_for("zero-by-zero"):
            watch("zero-by-zero", "division", (before, other), lambda xs, now: zero_by_zero(*xs, now=now), call)
        return result

    divide.__name__ = name
    divide.__qualname__ = f"Tensor.{name}"
    setattr(torch.Tensor, name, divide)

    def restore() -> None:
        delattr(torch.Tensor, name)

    return restore


def install() -> Callable[[], None]:
    """Put every hook in place; the function returned takes them out again."""
    undo = [
        _exchange(torch.save, _save),
        _exchange(nn.Module.state_dict, _state_dict),
        _exchange(torch.autograd.grad, _grad),
        _exchange(torch.autograd.backward, _backward),
        *(_divide(name) for name in ("__truediv__", "__itruediv__") if name not in vars(torch.Tensor)),
    ]

    def restore() -> None:
        for step in reversed(undo):
            step()

    return restore
