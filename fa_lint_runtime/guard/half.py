"""Gradients that come back through casts from and to float16, on the line of the forward pass that made the cast."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import Node

from .callsite import Call, caller
from .checks.gradient import flushed_gradient, is_subnormal
from .watch import is_inside, watch

__all__ = ["cast_of_this_node", "remember_cast", "watch_gradient"]

_CAST = "fa_lint_cast"

# By device: the latest backward pass, and whether a subnormal gradient was seen in it. From there on, zeros are flushed
# ones. On a device that nothing may wait for, the answer stays there.
_sinking: dict[torch.device, tuple[int, Tensor | bool]] = {}


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

        def check(values: tuple[Tensor, ...], now: bool) -> Any:
            device = values[0].device
            latest, sinks = _sinking.get(device, (task, False))
            sinks = sinks if latest == task else False
            result = flushed_gradient(values[0], sinking=sinks, now=now)
            subnormal = is_subnormal(values[0])
            _sinking[device] = task, sinks or bool(subnormal) if now else subnormal | sinks
            return result

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
