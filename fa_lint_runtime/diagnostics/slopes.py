"""The derivative of the activation that follows a hidden state, for credits of the form ``(e B^T) f'``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

__all__ = ["gated", "slopes_at"]

_ELEMENTWISE = frozenset(
    "Relu Tanh Sigmoid Gelu Silu Mish LeakyRelu Elu Softplus Hardtanh Hardswish Hardsigmoid LogSigmoid Threshold "
    "Softshrink Hardshrink ClampMin ClampMax Clamp Sin Cos Exp Erf Abs".split()
)


def slopes_at(
    logits: Tensor, edges: Sequence[GradientEdge | None], states: Sequence[Tensor]
) -> list[tuple[Tensor | None, str]]:
    """f' at every hidden state in its own layout, fp64, or None and the name of what follows the state instead.

    The graph knows the activation, whether it is a module or a function, and has kept what its derivative needs; asked
    before the backward pass frees that.
    """
    readers = _readers(logits, edges)
    found: list[tuple[Tensor | None, str]] = []
    for edge, state in zip(edges, states, strict=True):
        nodes = [] if edge is None else readers[edge.node, edge.output_nr]
        names = [type(node).__name__.split("Backward")[0] for node in nodes]
        if len(names) == 1 and names[0] in _ELEMENTWISE:
            with torch.no_grad():
                found.append((nodes[0](torch.ones_like(state)).to(torch.float64), names[0]))
        else:
            found.append((None, " and ".join(sorted(set(names))) or "nothing"))
    return found


def _readers(logits: Tensor, edges: Sequence[GradientEdge | None]) -> dict[tuple[Any, int], list[Any]]:
    """The nodes of the graph that take each hidden state."""
    readers: dict[tuple[Any, int], list[Any]] = {(e.node, e.output_nr): [] for e in edges if e is not None}
    seen: set[Any] = set()
    stack: list[Any] = [logits.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for source in node.next_functions:
            if source in readers:
                readers[source].append(node)
            stack.append(source[0])
    return readers


def gated(signal: Tensor, slope: Tensor) -> Tensor:
    """``signal * slope``, batch first; one signal a sample serves every position; the signal itself where it is of
    another width."""
    if signal.ndim == 2 and slope.ndim == 3:
        signal = signal.unsqueeze(1)
    elif signal.ndim == 2 and signal.shape[1] == slope[0].numel():
        signal = signal.reshape(slope.shape)
    return signal * slope if signal.shape[-1] == slope.shape[-1] else signal
