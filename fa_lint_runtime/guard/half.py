"""Gradients that come back through casts from and to float16, on the line of the forward pass that made the cast."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import Node

from .callsite import Call, caller
from .checks.gradient import SMALLEST_NORMAL, flushed_gradient
from .watch import is_inside, watch

__all__ = ["cast_of_this_node", "remember_cast", "watch_gradient"]

_CAST = "fa_lint_cast"

# The backward pass in which a subnormal gradient was seen last: from there on, zeros are flushed ones.
_sinking: dict[int, int] = {}


def watch_gradient(copy: Tensor, forward: Call | None) -> None:
    """Look at the gradient of an autocast copy when it arrives. The hook returns nothing: the gradient is unchanged."""
    node = copy.grad_fn
    if node is None:
        return
    place = None if forward is None else forward.without_frames()

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

        watch("gradient-flush", "backward", (gradient,), check, caller(place))

    node.register_prehook(look)


def remember_cast(result: Tensor, forward: Call | None) -> None:
    """Keep the line of a cast out of float16 in the graph: its backward casts the gradient to float16."""
    if result.grad_fn is not None and forward is not None:
        _metadata(result.grad_fn)[_CAST] = forward.without_frames()


def cast_of_this_node() -> Call | None:
    """The line of the cast whose backward runs on this thread, as far as it was kept."""
    node = torch._C._current_autograd_node()
    return None if node is None else _metadata(node).get(_CAST)


def _metadata(node: Node) -> dict[str, Call]:
    """What a node of the graph carries for Python; torch's stubs call the property a method."""
    return cast("dict[str, Call]", node.metadata)
