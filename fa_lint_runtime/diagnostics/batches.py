"""Batches as users have them: ``(x, y)`` with x a tensor, a tuple of arguments or a dict of keyword arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Batch", "as_batches", "call", "fingerprints", "mapped", "tensors_of", "to_batch"]

_MOST_BATCHES = 4096
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Batch:
    """Inputs and targets of ``size`` samples.

    Attributes:
        x: a tensor, a tuple (positional arguments) or a dict (keyword arguments).
        y: what the loss takes.
        size: number of samples, from ``y`` where it is a tensor, else from the first tensor of ``x``.
    """

    x: Any
    y: Any
    size: int

    def head(self, count: int) -> Batch:
        """The first ``count`` samples."""
        if count >= self.size:
            return self

        def cut(value: Tensor) -> Tensor:
            if value.ndim and value.shape[0] == self.size:
                return value[:count]
            return value[:, :count] if value.ndim > 1 and value.shape[1] == self.size else value

        return Batch(mapped(self.x, cut), mapped(self.y, cut), count)

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The same batch with a function applied to the tensors of ``x``."""
        return Batch(mapped(self.x, function), self.y, self.size)

    def to(self, device: torch.device) -> Batch:
        """On a device; nothing is copied if it is there already, except tensors of ``inference_mode``."""

        def move(value: Tensor) -> Tensor:
            # Not back to the host: it would go on before the copy has arrived.
            moved = value.to(device, non_blocking=device.type != "cpu")
            return moved.clone() if moved.is_inference() else moved

        return Batch(mapped(self.x, move), mapped(self.y, move), self.size)


def mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """A nested structure with a function applied to its tensors."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: mapped(item, function) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a namedtuple
        return type(value)(*(mapped(item, function) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(mapped(item, function) for item in value)
    return value


def tensors_of(value: Any) -> list[Tensor]:
    """Every tensor of a nested structure, in order."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in tensors_of(item)]


def to_batch(item: Any, index: int) -> Batch:
    """One item of ``eval_batches`` as a :class:`Batch`.

    Raises:
        ValueError: it is no pair, or holds no tensor.
    """
    if isinstance(item, Mapping):
        x, y = _without_labels(item, index)
    elif isinstance(item, list | tuple) and len(item) == 2:
        x, y = item
    else:
        what = f"a {type(item).__name__}" + (f" of {len(item)}" if isinstance(item, list | tuple) else "")
        hint = "" if not isinstance(item, list | tuple) or len(item) < 3 else ": several inputs are ((a, b), y)"
        raise ValueError(f"batch {index} must be a pair (x, y), or a dict with labels, got {what}{hint}")
    tensors = [*tensors_of(y), *tensors_of(x)]
    if not tensors or not tensors[0].ndim:
        raise ValueError(f"batch {index} holds no tensor with a batch dimension")
    size = tensors[0].shape[0]
    if size == 0:
        raise ValueError(f"batch {index} is empty")
    if not any(size in t.shape[:2] for t in tensors_of(x)):
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors_of(x)) or "no tensor"
        raise ValueError(f"batch {index}: y has {size} samples, x has {shapes}")
    return Batch(x, y, size)


def _without_labels(item: Mapping[str, Any], index: int) -> tuple[dict[str, Any], Any]:
    """Keyword arguments and targets of a batch as ``transformers.Trainer`` has it."""
    for name in ("labels", "label", "label_ids"):
        if name in item:
            return {key: value for key, value in item.items() if key != name}, item[name]
    raise ValueError(f"batch {index} is a dict without labels ({', '.join(map(str, item))}): give (inputs, targets)")


def as_batches(eval_batches: Iterable[Any]) -> Sequence[Any]:
    """``eval_batches`` as something with a length and an index.

    An iterable without a length is read to its end, which must come before 4,096 batches or 1 GiB of tensors.

    Raises:
        ValueError: there are none, or a generator goes on.
    """
    batches = eval_batches if isinstance(eval_batches, Sequence) else _read_to_the_end(eval_batches)
    if not len(batches):
        raise ValueError("eval_batches is empty: give disjoint (x, y) batches, 8 of about 128 are usual")
    return batches


def _read_to_the_end(eval_batches: Iterable[Any]) -> list[Any]:
    if isinstance(eval_batches, Sized):
        # A DataLoader has the method, and over a stream no length.
        with suppress(TypeError):
            return list(islice(eval_batches, len(eval_batches)))
    found: list[Any] = []
    size = 0
    for item in eval_batches:
        found.append(item)
        size += sum(tensor.nbytes for tensor in tensors_of(item))
        if len(found) > _MOST_BATCHES or size > _MOST_BYTES:
            raise ValueError(
                f"eval_batches has no length and goes on after {len(found):,} batches ({size / 2**20:,.0f} MiB): give "
                "a list, or cut it with `itertools.islice`; 8 batches of about 128 are usual"
            )
    return found


def call(model: nn.Module, x: Any, **extra: Any) -> Any:
    """``model(x)``, ``model(*x)`` or ``model(**x)``."""
    if isinstance(x, Mapping):
        return model(**x, **extra)
    if isinstance(x, tuple) or (isinstance(x, list) and _takes(model, len(x))):
        return model(*x, **extra)
    return model(x, **extra)


def _takes(model: nn.Module, count: int) -> bool:
    """Return True where the forward pass takes that many arguments by position. A DataLoader makes lists of tuples."""
    parameters = inspect.signature(getattr(model, "forward_of_model", model.forward)).parameters.values()
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is p.empty for p in places)
    any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return needed <= count and (count <= len(places) or any_number) and not (count == 1 and needed == 1)


def fingerprints(batch: Batch) -> Tensor:
    """One int64 a sample that equal samples share: a wrapping sum of the bits of ``x`` times fixed odd numbers.

    Shape (size,), on the device of ``x``; different samples collide with probability about 2^-63.
    """
    total = torch.zeros(batch.size, dtype=torch.int64)
    for number, tensor in enumerate(tensors_of(batch.x)):
        if not tensor.ndim or tensor.shape[0] != batch.size:
            continue
        words = _words(tensor.detach().reshape(batch.size, -1))
        weights = _odd_numbers(number, words.shape[1], words.device)
        # A product of matrices of integers reads everything once; torch has it on the CPU only.
        own = words @ weights if words.is_cpu else (words * weights).sum(1)
        total = total.to(words.device) + own
    return total


def _words(rows: Tensor) -> Tensor:
    """The bits of (n, k) as int64: eight bytes a number where a row has a multiple of eight, else a number each."""
    rows = rows.contiguous()
    if rows.shape[1] * rows.dtype.itemsize % 8 == 0 and rows.dtype != torch.bool:
        misplaced = rows.storage_offset() * rows.dtype.itemsize % 8
        return (rows.clone() if misplaced else rows).view(torch.int64)
    if rows.dtype.is_floating_point or rows.dtype.is_complex:
        rows = rows.view({1: torch.int8, 2: torch.int16, 4: torch.int32}[rows.dtype.itemsize])
    return rows.to(torch.int64)


@lru_cache(maxsize=16)
def _odd_numbers(seed: int, count: int, device: torch.device) -> Tensor:
    """The same on every device; kept there, as the host waits for a copy."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(-(2**62), 2**62, (count,), generator=generator, device="cpu") * 2 + 1).to(device)
