"""``thorough=True``: a ``TorchFunctionMode`` on top of the hooks, for spellings that reach no hook of their own.

A mode is off while its own handler runs, and with it off during everything that ``backward`` calls; so it enters
itself again around those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .callsite import caller
from .checks.cast import flushed
from .checks.division import zero_by_zero
from .derivatives import watch_root
from .masking import unmasked
from .watch import is_inside, quiet, watch

__all__ = ["ThoroughMode"]

_skip_one = getattr(torch._C, "_skip_one_hop_torch_function", None)


class ThoroughMode(TorchFunctionMode):
    """Sees every function and method of torch that user code calls, on this thread and in its backward passes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        handler = _HANDLERS.get(func)
        if handler is None or is_inside():
            return func(*args, **kwargs) if kwargs else func(*args)
        return handler(self, func, types, args, kwargs or {})


def _run_user_code(mode: ThoroughMode, func: Callable[..., Any], types: Any, args: Any, options: Any) -> Any:
    if _skip_one is None:
        return func(*args, **options)
    with mode:
        return _skip_one(func, types, args, options)


def _division(mode: ThoroughMode, func: Callable[..., Any], types: Any, args: Any, options: Any) -> Any:
    result = func(*args, **options)
    operands = args[:2]
    # Every optimizer divides by numbers.
    if len(operands) < 2 or not (isinstance(operands[0], Tensor) and isinstance(operands[1], Tensor)):
        return result
    call = caller()
    if call is not None and call.is_direct:
        watch("zero-by-zero", "torch.div", operands, unmasked(zero_by_zero, result, call), call)
    return result


def _copy(mode: ThoroughMode, func: Callable[..., Any], types: Any, args: Any, options: Any) -> Any:
    result = func(*args, **options)
    with quiet():
        if len(args) > 1 and isinstance(args[1], Tensor) and result.dtype is torch.float16:
            source = args[1]
            if source.dtype is not torch.float16 and source.dtype.is_floating_point and source.shape == result.shape:
                pair = source, result
                watch("half-flush", "Tensor.copy_", pair, lambda xs, now: flushed("half-flush", *xs, now=now), caller())
    return result


def _sqrt(mode: ThoroughMode, func: Callable[..., Any], types: Any, args: Any, options: Any) -> Any:
    result = func(*args, **options)
    if isinstance(result, Tensor):
        watch_root("torch.sqrt", result)
    return result


_DIVISIONS = (
    torch.div, torch.divide, torch.true_divide, torch.Tensor.div, torch.Tensor.divide, torch.Tensor.true_divide,
)  # fmt: skip
_BELOW: tuple[Any, ...] = (torch._C._VariableFunctions, torch._C.TensorBase)
_RUNS_USER_CODE = (torch.Tensor.backward, torch.autograd.grad, torch.autograd.backward)
_HANDLERS: dict[Any, Callable[..., Any]] = {
    torch.Tensor.copy_: _copy,
    # Not by the names of torch, where hooks of ours stand.
    **{getattr(owner, name): _sqrt for owner in _BELOW for name in ("sqrt", "sqrt_")},
    **dict.fromkeys(_DIVISIONS, _division),
    **dict.fromkeys(_RUNS_USER_CODE, _run_user_code),
}
