"""The path of ``blocked`` for a few short rows up to fp32, where calls cost more than sums: the same in fewer calls.

It gives up where a cosine is not certain; ``blocked`` takes over then.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .blocked import roundoffs
from .workspace import ALIGNED, WHOLE, Floats, workspace

__all__ = ["ELEMENTS", "cosine"]

ELEMENTS = 32_768  # an operand: torch starts no threads to copy them
_SHAPES = 64


@dataclass(frozen=True, slots=True)
class _Buffers:
    """Of one shape: where the operands go (rows, columns), and every number that a call writes.

    Attributes:
        targets: for the operands, in the workspace, which all shapes share.
        left, right: the same, so that one product gives all Gram numbers, one of them twice.
        numbers, products: those, (4, rows) and (2, 2, rows) in the same memory.
        errors: (2, 1), how far a cosine may be off, to either side.
        rounded: (2, rows) in the dtype of the result, or fp32; ``low`` is its first row.
    """

    targets: list[Tensor]
    left: Floats
    right: Floats
    numbers: Floats
    products: Floats
    cosines: Floats
    errors: Floats
    rounded: npt.NDArray[np.floating]
    low: Tensor


class _Kept(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[tuple[int, int, torch.dtype], _Buffers] = {}


_kept = _Kept()


def _made(rows: int, columns: int, dtype: torch.dtype) -> _Buffers:
    views, numbers = workspace.shaped(rows, columns), np.empty((4, rows))
    error = (roundoffs(columns) + 3) * 2.0**-52
    with torch.inference_mode(False):
        # numpy rounds fp64 to fp16 in one step; bf16 it does not know.
        rounded = torch.empty((2, rows), dtype=torch.float16 if dtype == torch.float16 else torch.float32, device="cpu")
        low = rounded[0]
    made = _Buffers(
        [views.x, views.y],
        views.both[:, None],
        views.both,
        numbers,
        numbers.reshape(2, 2, rows),
        np.empty(rows),
        np.array([[-error], [error]]),
        rounded.numpy(),
        low,
    )
    if len(_kept.buffers) >= _SHAPES:
        _kept.buffers.clear()
    _kept.buffers[rows, columns, dtype] = made
    return made


def cosine(a: Tensor, b: Tensor, dtype: torch.dtype) -> tuple[Tensor, Floats] | None:
    """Cosines of the rows of CPU matrices (R, D) up to fp32 without a graph, rounded to ``dtype``, and Gram numbers.

    The numbers are (4, R), two of them <a,b>, and overwritten by the next call. None where ``blocked`` must compute.
    """
    rows, columns = a.shape
    found = _kept.buffers.get((rows, columns, dtype))
    if found is None:
        if columns > WHOLE or not 0 < rows * max(columns, ALIGNED) <= ELEMENTS or dtype == torch.float64:
            return None
        found = _made(rows, columns, dtype)
    torch._foreach_copy_(found.targets, (a, b))
    cosines, rounded, numbers = found.cosines, found.rounded, found.numbers
    with np.errstate(all="ignore"):
        np.vecdot(found.left, found.right, out=found.products)
        np.multiply(numbers[0], numbers[3], out=cosines)
        np.sqrt(cosines, out=cosines)
        np.divide(numbers[1], cosines, out=cosines)
        np.add(cosines, found.errors, out=rounded, casting="same_kind")
    # Each cosine rounds to the same number wherever in its error interval it lies; NaN is the same NaN.
    low = rounded[0]
    if low.tobytes() != rounded[1].tobytes():
        return None
    if dtype != torch.bfloat16:
        return found.low.clone(), numbers
    if ((low.view(np.uint32) & 0xFFFF) == 0x8000).any():  # fp32 hides on which side of a midpoint the cosine lies
        return None
    return found.low.to(dtype), numbers
