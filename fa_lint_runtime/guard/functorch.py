"""Below ``torch.func``: the values inside the wrappers of vmap, grad and jvp, with batch dimensions first."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["PLAIN", "has_memory", "is_wrapped", "physical"]

PLAIN = (Tensor, torch.nn.Parameter)


def is_wrapped(x: Tensor) -> bool:
    """Whether a transform of ``torch.func`` has wrapped this tensor."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(x))


def has_memory(x: Tensor) -> bool:
    """Whether it is a plain tensor over one piece of memory, so that addresses can be compared."""
    return type(x) in PLAIN and x.layout is torch.strided and not is_wrapped(x)


def _layers(x: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """The innermost tensor, and (level, batch dimension) from the outermost wrapper inwards."""
    functorch = torch._C._functorch
    layers = []
    while functorch.is_functorch_wrapped_tensor(x):
        if functorch.is_batchedtensor(x):
            layers.append((functorch.maybe_get_level(x), functorch.maybe_get_bdim(x)))
        x = functorch.get_unwrapped(x)
    return x, layers


def physical(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The plain tensors inside, shaped so that they broadcast as the wrapped ones do.

    Batch dimensions come first, one for each level of vmap that any of them has, then the logical dimensions of
    each, as many as the longest has: a negative ``dim`` means the same before and after.
    Must run with ``torch._C._DisableFuncTorch``.
    """
    opened = [_layers(x) for x in tensors]
    levels = sorted({level for _, layers in opened for level, _ in layers})
    logical = max(base.ndim - len(layers) for base, layers in opened)
    shaped = []
    for base, layers in opened:
        remaining = list(range(base.ndim))
        batch = {}
        for level, position in reversed(layers):
            batch[level] = remaining.pop(position)
        x = base.permute([batch[level] for level in levels if level in batch] + remaining)
        for i, level in enumerate(levels):
            if level not in batch:
                x = x.unsqueeze(i)
        while x.ndim < len(levels) + logical:
            x = x.unsqueeze(len(levels))
        shaped.append(x)
    return tuple(shaped)
