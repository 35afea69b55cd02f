"""A thread-local fp64 workspace of fixed size, into which blocks of the operands are converted."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["ALIGNED", "BLOCK", "Floats", "Rows", "chunks", "load", "workspace"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

BLOCK = 262_144  # fp64 numbers an operand: 2 MiB
WHOLE = 4096  # columns that one ddot sums; longer rows are cut
CHUNK = 1024  # into chunks of about so many
ALIGNED = 8  # fp64 numbers in a cache line
_GRAIN = 32_768  # torch starts no threads of its own for a copy of up to this many elements
_KEPT_VIEWS = 64
_CAPACITY = 2 * (BLOCK + BLOCK // 8)


@dataclass(frozen=True, slots=True)
class Views:
    """One shape of the workspace: where torch writes (rows, columns), where numpy reads (rows, chunks, width)."""

    x: Tensor
    y: Tensor
    p: Floats
    q: Floats
    pieces: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
    arrays: tuple[Floats, Floats]
    partial: Floats | None
    padding: Floats
    both: Floats


class _Workspace(threading.local):
    """Two operands' worth of fp64 for each thread, allocated on first use and kept: fresh pages cost more than sums."""

    def __init__(self) -> None:
        self.views: dict[tuple[int, int], Views] = {}
        self._numbers: Tensor | None = None
        self._scratch: Tensor | None = None

    def scratch(self) -> Tensor:
        """As many numbers as one operand has, for the backward pass."""
        if self._scratch is None:
            self._scratch = _fresh(BLOCK)
        return self._scratch

    def shaped(self, rows: int, columns: int) -> Views:
        found = self.views.get((rows, columns))
        return found if found is not None else self._shape(rows, columns)

    def _shape(self, rows: int, columns: int) -> Views:
        parts = chunks(columns)
        width = ALIGNED * math.ceil(columns / parts / ALIGNED)
        if self._numbers is None:
            self._numbers = _fresh(_CAPACITY)
        size = 2 * rows * parts * width
        numbers = self._numbers if size <= _CAPACITY else _fresh(size)
        with torch.inference_mode(False):
            padded = numbers[:size].view(2, rows, parts * width)
            x, y = padded[0, :, :columns], padded[1, :, :columns]
            pieces = (_pieces(x), _pieces(y))
            both = padded.numpy()
        arrays = (both[0, :, :columns], both[1, :, :columns])
        if parts == 1:
            views = Views(x, y, *arrays, pieces, arrays, None, both[:, :, columns:], both[:, :, :columns])
        else:
            shape = (rows, parts, width)
            partial = np.empty((3, rows, parts))
            p, q = both[0].reshape(shape), both[1].reshape(shape)
            views = Views(x, y, p, q, pieces, arrays, partial, both[:, :, columns:], both[:, :, :columns])
        if len(self.views) >= _KEPT_VIEWS:
            self.views.clear()
        self.views[rows, columns] = views
        return views


def _fresh(count: int) -> Tensor:
    """Uninitialised fp64. torch aligns to a cache line (numpy does not: that costs a third of the speed of a dot)."""
    with torch.inference_mode(False):  # an inference tensor could not be written to later
        return torch.empty(count, dtype=torch.float64, device="cpu")


workspace = _Workspace()


def chunks(columns: int) -> int:
    """How many sums a row of so many columns is cut into."""
    return 1 if columns <= WHOLE else math.ceil(columns / CHUNK)


def _pieces(x: Tensor) -> tuple[Tensor, ...]:
    """A block in pieces that torch copies without starting threads."""
    columns = x.shape[1]
    return torch.split(x, _GRAIN, 1) if columns > _GRAIN else torch.split(x, max(1, _GRAIN // max(columns, 1)))


def load(views: Views, a: Tensor, b: Tensor | None) -> None:
    """Convert into the workspace on this thread only: on a busy machine torch's threads wait long for each other."""
    alone = torch.get_num_threads() == 1
    for operand, whole, array, pieces in zip((a, b), (views.x, views.y), views.arrays, views.pieces, strict=True):
        if operand is None:
            continue
        if alone or len(pieces) == 1:
            whole.copy_(operand)
        elif operand.dtype == torch.float32 and not operand.is_neg():
            np.copyto(array, operand.numpy())  # a little slower than torch in one thread, but always in one
        else:
            torch._foreach_copy_(pieces, _pieces(operand))  # one call: each return to Python waits for the GIL
    if views.partial is not None:
        views.padding.fill(0.0)
