"""The plain CPU path: fp64 Gram numbers <a,b>, <a,a>, <b,b> of every row, block by block in a fixed workspace.

A block of each operand is converted into a thread-local fp64 workspace (2 MiB an operand), and ``np.vecdot`` (one
BLAS ``ddot`` a row) reads it there, so memory sees each operand once and no full fp64 copy exists. Long rows are
summed in chunks of about 1024 columns: that keeps the error small, bounds it, and keeps OpenBLAS from starting its
own threads (it does beyond 10,000).

Inputs up to fp32 (every product exact in fp64) come out correctly rounded: the error of the fp64 cosine is bounded by
e = (columns per chunk + chunks + 3) * 2^-53 * (1 + |cos|), whatever the order of summation (Higham, "Accuracy and
Stability of Numerical Algorithms", 2002, section 3.1); a row whose rounding e could change is computed again by
``exact`` (Ziv's strategy, ACM TOMS 17(3), 1991). Which rows: those with |cos| >= 5e-10, or all of them for
``exact=True``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import exact, workers
from .rounding import doubtful, quotient, store, store_if_certain
from .workspace import ALIGNED, BLOCK, Floats, Rows, chunks, load, workspace

__all__ = ["cosine", "cosine_backward", "gram", "norm", "portions", "roundoffs"]

PARALLEL_FROM = 4_194_304  # elements an operand from which more threads pay for the GIL they pass around
_CERTIFY_FROM = 5e-10  # half the promised 1e-9
_FROM_DIFFERENCE = 0.75
_EXACT = 5_000  # elements of rows refined at a time: no operation on them is large enough for torch to start threads
_FSUM_UP_TO = 4096  # elements of doubtful rows below which Python's exact sum beats a tree of small torch operations

# Rows outside these limits have lost bits, or everything, to under- or overflow of a square.
_SQUARE_LOW, _PRODUCT_LOW, _PRODUCT_HIGH, _COSINE_LOW = 2.0**-900, 2.0**-960, 2.0**1000, 2.0**-500
_TOP = 230


def _dot(x: Floats, y: Floats, out: Floats) -> None:
    np.vecdot(x, y, out=out)


if not hasattr(np, "vecdot"):  # numpy < 2.0

    def _dot(x: Floats, y: Floats, out: Floats) -> None:
        np.einsum("...i,...i->...", x, y, out=out)


def _gram_block(a: Tensor, b: Tensor | None, out: Floats) -> None:
    """Into ``out`` (3, rows): <a,b>, <a,a>, <b,b>; without ``b`` only <a,a>."""
    views = workspace.shaped(*a.shape)
    load(views, a, b)
    p, q = views.p, views.q
    target = out if views.partial is None else views.partial
    _dot(p, p, target[1])
    if b is not None:
        _dot(p, q, target[0])
        _dot(q, q, target[2])
    if views.partial is not None:
        np.sum(views.partial, axis=-1, out=out)


def _blocks(rows: int, columns: int) -> list[tuple[int, int, int, int]]:
    """(first row, end row, first column, end column) of blocks that fit the workspace, of nearly equal size."""
    if columns > BLOCK:
        count = math.ceil(columns / BLOCK)
        width = math.ceil(columns / count)
        return [(r, r + 1, c, min(c + width, columns)) for r in range(rows) for c in range(0, columns, width)]
    height = max(1, BLOCK // max(columns, ALIGNED))
    height = math.ceil(rows / max(1, math.ceil(rows / height)))
    return [(r, min(r + height, rows), 0, columns) for r in range(0, rows, max(height, 1))]


def _threads(rows: int, columns: int) -> int:
    return torch.get_num_threads() if rows * columns >= PARALLEL_FROM else 1


def gram(a: Tensor, b: Tensor | None) -> Floats:
    """Gram numbers (3, R) of the rows of detached CPU matrices (R, D)."""
    rows, columns = a.shape
    out = np.empty((3, rows))
    if b is None:
        out[0] = out[2] = 0.0
    if rows * max(columns, ALIGNED) <= BLOCK:  # the common small case, without the bookkeeping
        _gram_block(a, b, out)
        return out
    blocks = _blocks(rows, columns)
    threads = _threads(rows, columns)
    if columns > BLOCK:
        parts = np.zeros((len(blocks) // rows, 3, rows))
        width = blocks[0][3]
        targets = {block: parts[block[2] // width, :, block[0] : block[1]] for block in blocks}
    else:
        targets = {block: out[:, block[0] : block[1]] for block in blocks}

    def work(share: Iterable[tuple[int, int, int, int]]) -> None:
        with np.errstate(all="ignore"):
            for block in share:
                r0, r1, c0, c1 = block
                _gram_block(a[r0:r1, c0:c1], None if b is None else b[r0:r1, c0:c1], targets[block])

    workers.run(work, blocks, threads)
    if columns > BLOCK:
        np.sum(parts, axis=0, out=out)
    return out


@functools.cache
def roundoffs(columns: int) -> int:
    """By how many unit roundoffs (2^-53) times |a||b| a Gram number of so many columns can be off, any order."""
    blocks = math.ceil(columns / BLOCK)
    within = math.ceil(columns / max(blocks, 1))
    return math.ceil(within / chunks(within)) + ALIGNED + chunks(within) + blocks


def _out_of_range(numbers: Floats) -> Rows:
    """Rows whose Gram numbers, of fp64 inputs, cannot be trusted: squares or products may have under- or overflowed."""
    ab, aa, bb = numbers
    product = aa * bb
    fine = (product >= _PRODUCT_LOW) & (product <= _PRODUCT_HIGH) & (aa >= _SQUARE_LOW) & (bb >= _SQUARE_LOW)
    fine &= np.abs(ab) >= np.sqrt(product) * _COSINE_LOW
    return np.flatnonzero(~fine)


def _scaled(x: Tensor) -> tuple[Tensor, npt.NDArray[np.int32]]:
    """fp64 rows times 2^k each, which brings their largest entries to 2^229..2^230, and those k (rows, 1).

    So high that no product matters that underflows, so low that the product of two squares does not overflow.
    """
    numbers = x.numpy()
    k = _TOP - np.frexp(np.abs(numbers).max(1, keepdims=True))[1]
    return torch.from_numpy(np.ldexp(numbers, k)), k


def portions(rows: Rows, columns: int, elements: int) -> list[Rows]:
    """``rows`` in portions of at most so many elements, but at least one row."""
    step = max(1, elements // max(columns, 1))
    return [rows[i : i + step] for i in range(0, len(rows), step)]


def _rescue(a: Tensor, b: Tensor, numbers: Floats) -> Rows | None:
    """Gram numbers of out-of-range rows once more, after scaling by powers of two (the cosine does not notice)."""
    if torch.float64 not in (a.dtype, b.dtype) or a.shape[1] == 0:
        return None
    rows = _out_of_range(numbers)
    for some in portions(rows, a.shape[1], BLOCK):
        index = torch.from_numpy(some)
        x, _ = _scaled(a[index].to(torch.float64))
        y, _ = _scaled(b[index].to(torch.float64))
        numbers[:, some] = gram(x, y)
    return rows


def _fsum_gram(x: Tensor, y: Tensor) -> Floats:
    """Gram numbers of a few rows whose products are exact in fp64, each sum correctly rounded."""
    return np.array([[math.fsum(row) for row in (p * q).tolist()] for p, q in ((x, y), (x, x), (y, y))])


def _refine(a: Tensor, b: Tensor, c: Floats, rows: Rows, dtype: torch.dtype) -> None:
    """Compute some rows of ``c`` again to 70 bits; for a narrower ``dtype`` rounded to odd."""
    products_exact = torch.float64 not in (a.dtype, b.dtype)
    if products_exact and 0 < len(rows) * a.shape[1] <= _FSUM_UP_TO:
        index = torch.from_numpy(rows)
        some = quotient(_fsum_gram(a[index].to(torch.float64), b[index].to(torch.float64)))
        c[rows] = some
        left = doubtful(some, dtype, 1, 0.0)
        if left is None:
            return
        rows = rows[left]
    for some_rows in portions(rows, a.shape[1], _EXACT):
        index = torch.from_numpy(some_rows)
        x, y = a[index].to(torch.float64), b[index].to(torch.float64)
        if not products_exact:
            x, y = _scaled(x)[0], _scaled(y)[0]
        high, low = exact.cosine(x, y, products_exact)
        c[some_rows] = (high if dtype == torch.float64 else exact.round_to_odd(high, low)).numpy()


def _from_difference(a: Tensor, b: Tensor, c: Floats) -> None:
    """fp64 rows far from orthogonal, as 1 - |u - v|^2 / 2 of the unit vectors: half the error of the quotient."""
    rows = np.flatnonzero(np.abs(c) >= _FROM_DIFFERENCE)
    for some in portions(rows, a.shape[1], BLOCK):
        index = torch.from_numpy(some)
        x, y = _scaled(a[index].to(torch.float64))[0], _scaled(b[index].to(torch.float64))[0]
        x /= torch.from_numpy(np.sqrt(gram(x, None)[1]))[:, None]
        y /= torch.from_numpy(np.sqrt(gram(y, None)[1]))[:, None]
        sign = np.sign(c[some])
        x -= y * torch.from_numpy(sign)[:, None]
        c[some] = sign * (1.0 - gram(x, None)[1] / 2)


def cosine(a: Tensor, b: Tensor, out: Tensor, exactly: bool) -> tuple[Floats, Rows | None]:
    """Cosines of the rows of detached CPU matrices (R, D) into ``out`` (R,), contiguous.

    Returns what the backward pass needs: the Gram numbers, and the rows for which they are those of scaled copies.
    """
    with np.errstate(all="ignore"):
        numbers = gram(a, b)
        rescued = _rescue(a, b, numbers)
        c = quotient(numbers)
        rows: Rows | None
        if out.dtype == torch.float32 and not exactly and store_if_certain(c, out, roundoffs(a.shape[1])):
            return numbers, rescued
        if out.dtype == torch.float64:
            rows = np.flatnonzero(~np.isnan(c)) if exactly else None
            if rows is None and a.shape[1] <= BLOCK:
                _from_difference(a, b, c)
        else:
            rows = doubtful(c, out.dtype, roundoffs(a.shape[1]), 0.0 if exactly else _CERTIFY_FROM)
        if rows is not None:
            _refine(a, b, c, rows, out.dtype)
        store(c, out)
    return numbers, rescued


def _factors(numbers: Floats, upstream: Floats) -> Floats:
    """(3, R): the factors of b in grad a (and of a in grad b), of a in grad a, of b in grad b; 0 for no gradient."""
    ab, aa, bb = numbers
    across = 1.0 / np.sqrt(aa * bb)
    factors = np.stack([across, -(ab * across) / aa, -(ab * across) / bb]) * upstream
    factors[:, (upstream == 0) | ~np.isfinite(factors).all(0)] = 0.0
    return factors


def _backward_block(a: Tensor, b: Tensor, factors: Tensor, grads: tuple[Tensor | None, Tensor | None]) -> None:
    views = workspace.shaped(*a.shape)
    load(views, a, b)
    mixed = workspace.scratch()[: a.numel()].view(a.shape)
    for grad, own, other, factor in zip(grads, (views.x, views.y), (views.y, views.x), factors[1:], strict=True):
        if grad is not None:
            torch.mul(own, factor[:, None], out=mixed)
            mixed.addcmul_(other, factors[0][:, None])
            grad.copy_(mixed)


def cosine_backward(
    a: Tensor, b: Tensor, numbers: Floats, upstream: Floats, grads: tuple[Tensor | None, Tensor | None]
) -> None:
    """Gradients of the rows' cosines times ``upstream`` (R,) into ``grads``; rows without a gradient get zeros."""
    rows, columns = a.shape
    blocks = _blocks(rows, columns)
    threads = _threads(rows, columns)
    with np.errstate(all="ignore"):
        factors = torch.from_numpy(_factors(numbers, upstream))

    def work(share: Iterable[tuple[int, int, int, int]]) -> None:
        for r0, r1, c0, c1 in share:
            some = tuple(None if g is None else g[r0:r1, c0:c1] for g in grads)
            x, y = a[r0:r1, c0:c1], b[r0:r1, c0:c1]
            _backward_block(x, y, factors[:, r0:r1], (some[0], some[1]))

    workers.run(work, blocks, threads)
    dead = np.flatnonzero(~factors.numpy().any(0))
    if len(dead):  # 0 * inf is NaN
        index = torch.from_numpy(dead)
        for grad in grads:
            if grad is not None:
                grad[index] = 0.0


def norm(x: Tensor, dim: int) -> Tensor:
    """fp64 L2 norms of a detached CPU tensor along a non-negative ``dim``."""
    moved = x.movedim(dim, -1)
    rows = moved.reshape(math.prod(moved.shape[:-1]), moved.shape[-1])
    with np.errstate(all="ignore"):
        squares = gram(rows, None)[1]
        result = torch.from_numpy(np.sqrt(squares))
        if rows.dtype == torch.float64 and rows.shape[1]:
            index = torch.from_numpy(np.flatnonzero(~((squares >= _SQUARE_LOW) & (squares <= _PRODUCT_HIGH))))
            if len(index):
                scaled, k = _scaled(rows[index])
                result[index] = torch.from_numpy(np.ldexp(np.sqrt(gram(scaled, None)[1]), -k[:, 0]))
    return result.reshape(moved.shape[:-1])
