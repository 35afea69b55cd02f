"""Gradients that come back to a cast of float16 autocast: seen by a hook on the cast's own node of the graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .callsite import Call, caller
from .checks.gradient import SMALLEST_NORMAL, flushed_gradient
from .watch import is_inside, watch

__all__ = ["watch_gradient"]

# The backward pass in which a subnormal gradient was seen last: from there on, zeros are flushed ones.
_sinking: dict[int, int] = {}


def watch_gradient(cast: Tensor, forward: Call | None) -> None:
    """Look at the gradient of an autocast copy when it arrives. The hook returns nothing: the gradient is unchanged."""
    node = cast.grad_fn
    if node is None:
        return

    def look(gradients: tuple[Any, ...]) -> None:
        gradient = gradients[0]
        if is_inside() or not isinstance(gradient, Tensor) or gradient.dtype is not torch.float16:
            return
        task = torch._C._current_graph_task_id()
        thread_sinks = _sinking.get(0) == task

        def check(values: tuple[Tensor, ...], now: bool) -> Any:
            total, found = flushed_gradient(values[0], sinking=thread_sinks, now=now)
            if now and 0 < float(values[0].abs().max()) < SMALLEST_NORMAL:
                _sinking[0] = task
            return total, found

        watch("gradient-flush", "backward", (gradient,), check, caller() or forward)

    node.register_prehook(look)
