"""The plain CPU path for large operands up to fp32, where numba is installed: one pass over memory, no workspace.

``blocked`` is the oracle and the fallback: it takes other dtypes, small inputs, a machine without numba, and every row
whose rounding is not certain here. A certain row is correctly rounded, so which path took it cannot be seen in a
cosine, nor can the number of threads. Importing numba takes half a second, compiling a second or two (once: the code is
kept in ``__pycache__``, or where ``NUMBA_CACHE_DIR`` says), so neither happens before an input for which it pays.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import blocked, workers
from .workspace import Floats

__all__ = ["FROM", "cosine", "cosine_backward", "usable"]

Bits = npt.NDArray[np.generic]
Block = tuple[int, int, int, int]

FROM = 65_536  # elements an operand from which this path is taken
PARALLEL_FROM = 2_097_152  # from which a second thread pays for being woken
GRAIN = 1_048_576  # elements an operand that a thread takes at a time
COPIED = 131_072  # the same where they must be copied to lie side by side
_FLOOR = 6e-10  # a little above the floor of ``blocked``: what is certain here it would certify too
_FORMATS = {torch.float32: (23, 8), torch.bfloat16: (7, 8), torch.float16: (10, 5)}  # bits of mantissa and exponent


@functools.cache
def _kernels(dtype: torch.dtype) -> ModuleType | None:
    """The kernels, if numba is there and can compile them for operands of this dtype."""
    try:
        import numba

        if numba.config.DISABLE_JIT:  # type: ignore[attr-defined, unused-ignore]
            return None
        from . import numba_device

        _try_out(numba_device, torch.ones(1, dtype=dtype, device="cpu"))
    except ModuleNotFoundError:
        return None
    except Exception as reason:  # a numpy it does not know, a compiler that fails: the other path will do
        warnings.warn(f"numba cannot compile the cosine kernels, slower ones are used: {reason}", stacklevel=2)
        return None
    return numba_device


def _try_out(kernels: ModuleType, one: Tensor) -> None:
    """What every call needs; the other kernels are compiled when they are."""
    numbers = np.empty((1, 3))
    kernels.gram(_numpy(one), 1, _numpy(one), 1, 1, numbers)
    kernels.settle(numbers, _bits(one.clone()), *_FORMATS[one.dtype], 0.0, 0.0, 0.0, np.empty(1, dtype=np.bool_))


def usable(a: Tensor, b: Tensor, dtype: torch.dtype) -> bool:
    """Whether this path takes plain CPU operands of one shape, vectors along the last dimension, for such a result."""
    if a.numel() < FROM or a.dtype != dtype or b.dtype != dtype or dtype not in _FORMATS:
        return False
    return not (a.is_neg() or b.is_neg()) and _kernels(dtype) is not None


def _numpy(x: Tensor) -> Bits:
    """As the kernels want it: bf16, which numpy lacks, as int16; fp16, which numba lacks, as uint16."""
    if x.dtype == torch.float32:
        return x.numpy()
    return x.view(torch.int16 if x.dtype == torch.bfloat16 else torch.uint16).numpy()


def _bits(x: Tensor) -> Bits:
    return x.view(torch.int32 if x.dtype == torch.float32 else torch.int16).numpy()


@dataclass(frozen=True, slots=True)
class _Operand:
    """A matrix, the memory it lies in, and the distances there of its rows and of its columns."""

    matrix: Bits
    flat: Bits
    row: int
    column: int

    def piece(self, block: Block, across: bool) -> tuple[Bits, int]:
        """Memory from the first element of a block on, and the distance of its rows (``across``: of its columns)."""
        r0, r1, c0, c1 = block
        if across:
            return self.flat[r0 + c0 * self.column :], self.column
        if self.column == 1:
            return self.flat[r0 * self.row + c0 :], self.row
        return np.ascontiguousarray(self.matrix[r0:r1, c0:c1]).reshape(-1), c1 - c0


def _operand(x: Tensor) -> _Operand:
    rows, columns = x.shape
    row, column = x.stride()
    row, column = (row if rows > 1 else columns), (column if columns > 1 else 1)
    span = (rows - 1) * row + (columns - 1) * column + 1
    return _Operand(_numpy(x), _numpy(x.as_strided((span,), (1,))), row, column)


def _is_across(a: _Operand, b: _Operand) -> bool:
    """Whether vectors lie side by side in both (``dim`` was not the last one)."""
    return a.row == b.row == 1 and 1 not in (a.column, b.column)


def _grain(a: _Operand, b: _Operand, across: bool) -> int:
    return GRAIN if across or a.column == b.column == 1 else COPIED


def _blocks(rows: int, columns: int, grain: int) -> list[Block]:
    """(first row, end row, first column, end column) of blocks of at most so many elements."""
    width = min(columns, grain)
    height = grain // width
    return [
        (r, min(r + height, rows), c, min(c + width, columns))
        for r in range(0, rows, height)
        for c in range(0, columns, width)
    ]


def _threads(elements: int) -> int:
    return torch.get_num_threads() if elements >= PARALLEL_FROM else 1


def _gram(kernels: ModuleType, a: _Operand, b: _Operand) -> Floats:
    """Gram numbers (R, 3)."""
    rows, columns = a.matrix.shape
    across = _is_across(a, b)
    blocks = _blocks(rows, columns, _grain(a, b, across))
    width = blocks[0][3]
    partial = np.empty((math.ceil(columns / width), rows, 3))
    kernel = kernels.gram_across if across else kernels.gram

    def work(share: Iterable[Block]) -> None:
        for block in share:
            r0, r1, c0, c1 = block
            kernel(*a.piece(block, across), *b.piece(block, across), c1 - c0, partial[c0 // width, r0:r1])

    workers.run(work, blocks, _threads(rows * columns))
    numbers: Floats = partial[0] if len(partial) == 1 else partial.sum(0)
    return numbers


def cosine(a: Tensor, b: Tensor, out: Tensor, exactly: bool) -> tuple[Floats, None]:
    """Cosines of the rows of detached matrices (R, D) into ``out`` (R,), contiguous.

    Returns what the backward pass needs: the Gram numbers (R, 3), and that no row was scaled.
    """
    kernels = _kernels(a.dtype)
    assert kernels is not None
    columns = a.shape[1]
    x, y = _operand(a), _operand(b)
    numbers = _gram(kernels, x, y)
    bits = _bits(out)
    doubtful = np.empty(len(bits), dtype=np.bool_)
    # Sums of n terms in any order are off by n 2^-53 |a||b| at most; then come a product, a root and a quotient.
    terms = min(columns, kernels.CHUNK) + math.ceil(columns / kernels.CHUNK) + math.ceil(columns / COPIED) + 3
    if kernels.settle(numbers, bits, *_FORMATS[out.dtype], terms * 2.0**-52, 0.0, _FLOOR, doubtful):
        for some in blocked.portions(np.flatnonzero(doubtful), columns, COPIED):
            bits[some] = _doubtful(kernels, x.matrix[some], y.matrix[some], numbers[some], out.dtype, exactly)
    return numbers, None


def _doubtful(kernels: ModuleType, x: Bits, y: Bits, numbers: Floats, dtype: torch.dtype, exactly: bool) -> Bits:
    """The cosines of contiguous rows, as bits: from accurate sums where these decide, else by ``blocked``."""
    rows, columns = x.shape
    bits = _bits(torch.zeros(rows, dtype=dtype, device="cpu"))
    doubtful = np.empty(rows, dtype=np.bool_)
    kernels.overlap(x.reshape(-1), columns, y.reshape(-1), columns, columns, doubtful)  # the others are orthogonal
    large = doubtful & (exactly | (np.abs(numbers[:, 0]) >= _FLOOR * np.sqrt(numbers[:, 1] * numbers[:, 2])))
    if large.any():
        bits[large], doubtful[large] = _accurate(kernels, x[large], y[large], dtype, 0.0 if exactly else _FLOOR)
    if doubtful.any():
        out = torch.empty(int(doubtful.sum()), dtype=dtype, device="cpu")
        p, q = (torch.from_numpy(z[doubtful]).view(dtype) for z in (x, y))
        blocked.cosine(p, q, out, exactly)
        bits[doubtful] = _bits(out)
    return bits


def _accurate(kernels: ModuleType, x: Bits, y: Bits, dtype: torch.dtype, floor: float) -> tuple[Bits, Bits]:
    """The same from sums in twice the precision, and which of them even these leave open."""
    rows, columns = x.shape
    numbers = np.empty((rows, 3))
    kernels.accurate_gram(x.reshape(-1), columns, y.reshape(-1), columns, columns, numbers)
    bits = _bits(torch.empty(rows, dtype=dtype, device="cpu"))
    doubtful = np.empty(rows, dtype=np.bool_)
    # Ogita, Rump and Oishi, theorem 4.1, for the sums; three more roundings, with room to spare.
    error = (columns / kernels.LANES + kernels.LANES) ** 2 * 2.0**-104
    kernels.settle(numbers, bits, *_FORMATS[dtype], error, 2.0**-50, floor, doubtful)
    return bits, doubtful


def cosine_backward(
    a: Tensor, b: Tensor, numbers: Floats, upstream: Floats, grads: tuple[Tensor | None, Tensor | None]
) -> None:
    """Gradients of the rows' cosines times ``upstream`` (R,) into contiguous ``grads``; no gradient gives zeros."""
    kernels = _kernels(a.dtype)
    assert kernels is not None
    rows, columns = a.shape
    x, y = _operand(a), _operand(b)
    flat = [np.empty(0, dtype=x.matrix.dtype) if g is None else _operand(g).flat for g in grads]

    def work(share: Iterable[Block]) -> None:
        for block in share:
            r0, r1, c0, c1 = block
            pieces = x.piece(block, False), y.piece(block, False)
            targets = [g[r0 * columns + c0 :] for g in flat]
            weights = numbers[r0:r1], upstream[r0:r1]
            kernels.gradients(*pieces[0], *pieces[1], c1 - c0, *weights, *targets, columns)

    workers.run(work, _blocks(rows, columns, _grain(x, y, False)), _threads(rows * columns))
