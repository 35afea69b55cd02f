"""Content digests of tensors and of nested structures that hold tensors."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["tensor_digest", "tensors_in", "tree_digest"]


def _bytes_of(x: Tensor) -> memoryview:
    flat = x.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def _feed_tensor(state: Any, x: Tensor) -> None:
    state.update(f"tensor {x.dtype} {tuple(x.shape)}\n".encode())
    state.update(_bytes_of(x))


def tensor_digest(x: Tensor) -> str:
    """SHA-256 of dtype, shape and content, as 64 hexadecimal digits; the device does not matter.

    Example:
        >>> tensor_digest(torch.zeros(2)) == tensor_digest(torch.zeros(2).clone())
        True
    """
    state = hashlib.sha256()
    _feed_tensor(state, x)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        _feed_tensor(state, value)
    elif isinstance(value, Mapping):
        state.update(f"map {len(value)}\n".encode())
        for key, item in value.items():
            _feed(state, key)
            _feed(state, item)
    elif isinstance(value, list | tuple):
        state.update(f"{type(value).__name__} {len(value)}\n".encode())
        for item in value:
            _feed(state, item)
    elif isinstance(value, float):
        state.update(b"float" + struct.pack("<d", value))
    elif value is None or isinstance(value, bool | int | str | bytes | torch.dtype | torch.device | torch.Size):
        text = repr(value).encode()
        state.update(f"{type(value).__name__} {len(text)}\n".encode() + text)
    else:
        raise TypeError(
            f"cannot store a {type(value).__name__}: only tensors, numbers, strings, lists, tuples and dicts"
        )


def tree_digest(value: Any) -> str:
    """SHA-256 of a nested structure of dicts, lists, tuples, tensors and plain values, order included.

    Raises:
        TypeError: something else is in it.

    Example:
        >>> tree_digest({"a": [1, 2.0]}) == tree_digest({"a": [1, 2]})
        False
    """
    state = hashlib.sha256()
    _feed(state, value)
    return state.hexdigest()


def tensors_in(value: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a nested structure with its dotted path.

    Example:
        >>> [name for name, _ in tensors_in({"model": {"w": torch.zeros(1)}, "list": [torch.zeros(2)]})]
        ['model.w', 'list.0']
    """
    if isinstance(value, Tensor):
        yield prefix, value
    elif isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from tensors_in(item, f"{prefix}.{key}" if prefix else str(key))
