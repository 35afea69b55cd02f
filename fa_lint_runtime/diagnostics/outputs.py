"""Finding tensors in what modules take and return, and turning hidden states into one vector a sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = ["Token", "first_hidden", "logits_of", "pool", "samples_first"]

Token = Literal["cls", "last", "mean", "all"] | int
_NAMED = ("cls", "last", "mean", "all")


def _walk(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _walk(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _walk(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _walk(getattr(value, field.name))


def first_hidden(value: Any) -> Tensor | None:
    """The hidden state in the arguments or the result of a block: its first floating-point tensor of 2 dims or more."""
    for tensor in _walk(value):
        if tensor.is_floating_point() and tensor.ndim >= 2:
            return tensor
    return None


def logits_of(output: Any) -> Tensor:
    """The logits in what a model returns: the tensor, ``output["logits"]``, ``output.logits`` or the first tensor.

    Raises:
        TypeError: there is none.
    """
    if isinstance(output, Mapping) and isinstance(output.get("logits"), Tensor):
        named: Tensor = output["logits"]
        return named
    if isinstance(getattr(output, "logits", None), Tensor):
        attribute: Tensor = output.logits
        return attribute
    found = [tensor for tensor in _walk(output) if tensor.is_floating_point()]
    if (
        isinstance(output, Mapping)
        and sum(isinstance(t, Tensor) and t.is_floating_point() for t in output.values()) > 1
    ):
        raise TypeError(
            f"the model returns several outputs ({', '.join(map(str, output))}) and none is named logits: wrap it in a "
            "module that returns the one to diagnose, or all of them concatenated for loss_fn to split"
        )
    if found:
        return found[0]
    raise TypeError(f"the model returned a {type(output).__name__} without a floating-point tensor: no logits to take")


def samples_first(h: Tensor, batch_dim: int) -> Tensor:
    """The batch dimension moved to the front (``nn.Transformer`` has it second by default)."""
    return h if batch_dim == 0 else h.movedim(batch_dim, 0)


def pool(h: Tensor, token: Token) -> Tensor:
    """One vector a sample, (B, d), out of (B, d), (B, T, d) or a feature map (B, C, H, W, …).

    Args:
        h: batch first.
        token: of the T positions: ``"cls"`` (the first), ``"last"``, an index, their ``"mean"``, or ``"all"``
            (concatenated). Feature maps are flattened.

    Raises:
        ValueError: an unknown name.
        IndexError: no such position.

    Example:
        >>> pool(torch.zeros(4, 7, 16), "cls").shape, pool(torch.zeros(4, 3, 5, 5), "cls").shape
        (torch.Size([4, 16]), torch.Size([4, 75]))
    """
    if token not in _NAMED and (isinstance(token, bool) or not isinstance(token, int)):
        raise ValueError(f'token must be "cls", "last", "mean", "all" or an index, got {token!r}')
    if h.ndim == 1:
        return h.unsqueeze(1)
    if h.ndim != 3:
        return h.flatten(1)
    if token == "cls":
        return h[:, 0]
    if token == "last":
        return h[:, -1]
    if token == "mean":
        return h.mean(1)
    if token == "all":
        return h.flatten(1)
    return h[:, token]


def place(vectors: Tensor, like: Tensor, batch_dim: int, token: Token) -> Tensor:
    """The inverse of :func:`pool` for cotangents: (B, d) put where ``pool`` would read it in a tensor like ``like``."""
    shape = like.movedim(batch_dim, 0).shape
    if len(shape) != 3 or token == "all":
        full = vectors.reshape(shape)
    elif token == "mean":
        full = (vectors / shape[1]).unsqueeze(1).expand(shape)
    else:
        index = token if isinstance(token, int) else {"cls": 0, "last": -1}[token]
        full = torch.zeros(shape, dtype=vectors.dtype, device=vectors.device)
        full[:, index] = vectors
    return full.movedim(0, batch_dim).to(like.device, like.dtype)
