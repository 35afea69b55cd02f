"""The two Triton kernels (Triton ships with CUDA builds of torch); without it, plain functions, never called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
    import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]

    AVAILABLE = True
except ImportError:
    AVAILABLE = False

__all__ = ["AVAILABLE", "gradient_kernel", "gram_kernel"]


def _jit(kernel: Callable[..., None]) -> Any:
    return triton.jit(kernel) if AVAILABLE else kernel


@_jit
def gram_kernel(  # type: ignore[no-untyped-def]
    a_ptr,
    b_ptr,
    partial_ptr,  # fp64 (splits, 3, rows): <a,b>, <a,a>, <b,b>
    out_ptr,  # fp32 (rows,): the cosine, written only if there is one split
    rows,
    columns,
    a_row,
    a_column,
    b_row,
    b_column,
    span,  # columns per split, a multiple of COLUMNS
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FINISH: tl.constexpr,
):
    """Each program reads its share of both operands once; fp64 sums; no atomics, so the result is deterministic."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    split = tl.program_id(1).to(tl.int64)
    start = split * span
    ab = tl.zeros((ROWS, COLUMNS), dtype=tl.float64)
    aa = tl.zeros((ROWS, COLUMNS), dtype=tl.float64)
    bb = tl.zeros((ROWS, COLUMNS), dtype=tl.float64)
    a_rows = a_ptr + row[:, None] * a_row
    b_rows = b_ptr + row[:, None] * b_row
    for offset in range(0, span, COLUMNS):
        column = start + offset + tl.arange(0, COLUMNS).to(tl.int64)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        x = tl.load(a_rows + column[None, :] * a_column, mask=inside, other=0.0).to(tl.float32).to(tl.float64)
        y = tl.load(b_rows + column[None, :] * b_column, mask=inside, other=0.0).to(tl.float32).to(tl.float64)
        ab += x * y
        aa += x * x
        bb += y * y
    ab_sum = tl.sum(ab, axis=1)
    aa_sum = tl.sum(aa, axis=1)
    bb_sum = tl.sum(bb, axis=1)
    target = partial_ptr + split * 3 * rows + row
    tl.store(target, ab_sum, mask=row < rows)
    tl.store(target + rows, aa_sum, mask=row < rows)
    tl.store(target + 2 * rows, bb_sum, mask=row < rows)
    if FINISH:
        cosine = ab_sum / tl.sqrt(aa_sum * bb_sum)  # 0 / 0 and inf / inf are NaN: undefined
        cosine = tl.where(cosine > 1.0, 1.0, cosine)
        cosine = tl.where(cosine < -1.0, -1.0, cosine)
        tl.store(out_ptr + row, cosine.to(tl.float32), mask=row < rows)


@_jit
def gradient_kernel(  # type: ignore[no-untyped-def]
    a_ptr, b_ptr,
    gram_ptr,  # fp64 (3, rows)
    upstream_ptr,  # fp64 (rows,)
    ga_ptr, gb_ptr,  # contiguous (rows, columns)
    rows, columns, a_row, a_column, b_row, b_column,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WANT_A: tl.constexpr, WANT_B: tl.constexpr,
):  # fmt: skip
    """grad a = up (b / |a||b| - cos a / |a|^2), in fp64, rounded once; 0 where there is no gradient."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    column = tl.program_id(1).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS).to(tl.int64)
    real = row < rows
    ab = tl.load(gram_ptr + row, mask=real, other=0.0)
    aa = tl.load(gram_ptr + rows + row, mask=real, other=1.0)
    bb = tl.load(gram_ptr + 2 * rows + row, mask=real, other=1.0)
    upstream = tl.load(upstream_ptr + row, mask=real, other=0.0)
    across = upstream / tl.sqrt(aa * bb)
    own_a = -(ab * across) / aa
    own_b = -(ab * across) / bb
    total = across + own_a + own_b
    live = (upstream != 0.0) & (total - total == 0.0)  # inf - inf and NaN fail
    inside = real[:, None] & (column < columns)[None, :]
    x = tl.load(a_ptr + row[:, None] * a_row + column[None, :] * a_column, mask=inside, other=0.0)
    y = tl.load(b_ptr + row[:, None] * b_row + column[None, :] * b_column, mask=inside, other=0.0)
    x = x.to(tl.float32).to(tl.float64)
    y = y.to(tl.float32).to(tl.float64)
    place = row[:, None] * columns + column[None, :]
    if WANT_A:
        value = tl.where(live[:, None], across[:, None] * y + own_a[:, None] * x, 0.0)
        tl.store(ga_ptr + place, value.to(tl.float32).to(ga_ptr.dtype.element_ty), mask=inside)
    if WANT_B:
        value = tl.where(live[:, None], across[:, None] * x + own_b[:, None] * y, 0.0)
        tl.store(gb_ptr + place, value.to(tl.float32).to(gb_ptr.dtype.element_ty), mask=inside)
