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

from .checks.cast import flushed
from .checks.division import zero_by_zero
from .watch import caller, is_inside, watch

__all__ = ["ThoroughMode"]

_DIVISIONS = frozenset(
    {
        torch.div, torch.divide, torch.true_divide, torch.Tensor.div, torch.Tensor.divide, torch.Tensor.true_divide,
    }
)  # fmt: skip
_RUNS_USER_CODE: frozenset[Any] = frozenset({torch.Tensor.backward, torch.autograd.grad, torch.autograd.backward})
_skip_one = getattr(torch._C, "_skip_one_hop_torch_function", None)


class ThoroughMode(TorchFunctionMode):
    """Sees every function and method of torch that user code calls, on this thread and in its backward passes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if func in _RUNS_USER_CODE and _skip_one is not None:
            with self:
                return _skip_one(func, types, args, options)
        if func in _DIVISIONS and not is_inside():
            return _division(func, args, options)
        if func is torch.Tensor.copy_ and not is_inside():
            return _copy(func, args, options)
        return func(*args, **options)


def _division(func: Callable[..., Any], args: Any, options: Any) -> Any:
    result = func(*args, **options)
    operands = args[:2]
    call = caller()
    if len(operands) == 2 and all(isinstance(x, Tensor) for x in operands) and call is not None and not call.between:
        watch("zero-by-zero", "torch.div", operands, lambda xs, now: zero_by_zero(*xs, now=now), call)
    return result


def _copy(func: Callable[..., Any], args: Any, options: Any) -> Any:
    result = func(*args, **options)
    if len(args) > 1 and isinstance(args[1], Tensor) and result.dtype is torch.float16:
        source = args[1]
        if source.dtype is not torch.float16 and source.dtype.is_floating_point and source.shape == result.shape:
            pair = (source.detach(), result.detach())
            watch("half-flush", "Tensor.copy_", pair, lambda xs, now: flushed("half-flush", *xs, now=now), caller())
    return result
