"""The loops that numba compiles: fp32 and bf16 in, fp64 sums in registers, no copies at all. Driven by ``compiled``.

Operands come as the flat run of memory from their first element on, and a step; bf16 comes as its bits (int16).
LLVM may reorder the plain sums (``reassoc``; it could not vectorise them otherwise): all products are exact, so every
order stays within the bound that ``settle`` is given. Nothing else is compiled with a fastmath flag.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import overload

__all__ = ["CHUNK", "LANES", "accurate_gram", "gradients", "gram", "gram_across", "settle"]

CHUNK = 2048  # products that one running sum takes at most
LANES = 256  # running sums side by side where the code asks for them
_SMALLEST = 2.0**-120  # cosines from here on are normal numbers of fp32 and bf16
_ONE = np.int64(1)
_REBIAS = np.int64(1023 - 127)  # from the exponent of fp64 to that of fp32 and bf16


def _kernel(function: Callable[..., Any]) -> Any:
    compiled = numba.njit(nogil=True, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # neither the package's folder nor the user's cache can be written
        compiled.enable_caching()
    return compiled


_part = numba.njit(nogil=True, error_model="numpy")
_reordered_sum = numba.njit(nogil=True, fastmath={"reassoc", "contract"})


def _wide(x: Any) -> Any:
    """An element as fp64, exactly."""


@overload(_wide, strict=False)  # type: ignore[untyped-decorator, unused-ignore]
def _wide_of_dtype(x: Any) -> Any:
    if x == numba.types.int16:
        return lambda x: np.float64(np.int32(np.int32(x) << np.int32(16)).view(np.float32))
    return lambda x: np.float64(x)


def _put(target: Any, i: int, value: float) -> None:
    """``value`` rounded to an element, by way of fp32 as torch does it."""


@overload(_put, strict=False)  # type: ignore[untyped-decorator, unused-ignore]
def _put_of_dtype(target: Any, i: Any, value: Any) -> Any:
    def put_bf16(target: Any, i: int, value: float) -> None:
        bits = np.float32(value).view(np.int32)
        rounded = np.int32(bits + np.int32(0x7FFF) + np.int32(np.int32(bits >> 16) & np.int32(1)))
        is_nan = np.int32(bits & np.int32(0x7FFFFFFF)) > np.int32(0x7F800000)
        target[i] = np.int16(0x7FC0) if is_nan else np.int16(rounded >> 16)

    def put_fp32(target: Any, i: int, value: float) -> None:
        target[i] = np.float32(value)

    return put_bf16 if target.dtype == numba.types.int16 else put_fp32


@_reordered_sum  # type: ignore[untyped-decorator, unused-ignore]
def _sums(x: Any, y: Any) -> tuple[float, float, float]:
    ab = aa = bb = 0.0
    for j in range(x.shape[0]):
        p, q = _wide(x[j]), _wide(y[j])
        ab += p * q
        aa += p * p
        bb += q * q
    return ab, aa, bb


@_kernel
def gram(a: Any, a_step: int, b: Any, b_step: int, columns: int, out: Any) -> None:
    """Into ``out`` (rows, 3): <a,b>, <a,a>, <b,b>; element (row, column) lies at row * step + column."""
    for row in range(out.shape[0]):
        ab = aa = bb = 0.0
        for start in range(0, columns, CHUNK):
            end = min(start + CHUNK, columns)
            sums = _sums(a[row * a_step + start : row * a_step + end], b[row * b_step + start : row * b_step + end])
            ab += sums[0]
            aa += sums[1]
            bb += sums[2]
        out[row, 0], out[row, 1], out[row, 2] = ab, aa, bb


@_kernel
def gram_across(a: Any, a_step: int, b: Any, b_step: int, columns: int, out: Any) -> None:
    """The same where rows lie side by side: element (row, column) lies at row + column * step."""
    rows = out.shape[0]
    ab, aa, bb = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    out[:] = 0.0
    for first in range(0, rows, LANES):
        width = min(LANES, rows - first)
        for start in range(0, columns, CHUNK):
            ab[:] = aa[:] = bb[:] = 0.0
            for column in range(start, min(start + CHUNK, columns)):
                x = a[column * a_step + first : column * a_step + first + width]
                y = b[column * b_step + first : column * b_step + first + width]
                for lane in range(width):
                    p, q = _wide(x[lane]), _wide(y[lane])
                    ab[lane] += p * q
                    aa[lane] += p * p
                    bb[lane] += q * q
            for lane in range(width):
                out[first + lane, 0] += ab[lane]
                out[first + lane, 1] += aa[lane]
                out[first + lane, 2] += bb[lane]


@_part  # type: ignore[untyped-decorator, unused-ignore]
def _two_sum(a: float, b: float) -> tuple[float, float]:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@_part  # type: ignore[untyped-decorator, unused-ignore]
def _folded(high: Any, low: Any) -> float:
    total, rest = 0.0, 0.0
    for lane in range(LANES):
        total, error = _two_sum(total, high[lane])
        rest += error + low[lane]
    return total + rest


@_kernel
def accurate_gram(a: Any, a_step: int, b: Any, b_step: int, columns: int, out: Any) -> None:
    """The same numbers as ``gram``, as if the sums were taken in twice the precision and then rounded.

    Sum2 of Ogita, Rump and Oishi, "Accurate sum and dot product" (2005), algorithm 4.4, in lanes.
    """
    high, low = np.empty((3, LANES)), np.empty((3, LANES))
    for row in range(out.shape[0]):
        high[:], low[:] = 0.0, 0.0
        for start in range(0, columns, LANES):
            end = min(start + LANES, columns)
            x = a[row * a_step + start : row * a_step + end]
            y = b[row * b_step + start : row * b_step + end]
            for lane in range(end - start):
                p, q = _wide(x[lane]), _wide(y[lane])
                high[0, lane], error = _two_sum(high[0, lane], p * q)
                low[0, lane] += error
                high[1, lane], error = _two_sum(high[1, lane], p * p)
                low[1, lane] += error
                high[2, lane], error = _two_sum(high[2, lane], q * q)
                low[2, lane] += error
        for i in range(3):
            out[row, i] = _folded(high[i], low[i])


@_part  # type: ignore[untyped-decorator, unused-ignore]
def _narrowed(size: float, dropped: int) -> Any:
    """The bits of a positive number rounded to a dtype with so many mantissa bits less, ties to even."""
    bits = np.float64(size).view(np.int64)
    rounded = bits + ((_ONE << (dropped - 1)) - 1) + ((bits >> dropped) & 1)
    return (rounded >> dropped) - (_REBIAS << (52 - dropped))


@_kernel
def settle(
    numbers: Any, bits: Any, dropped: int, error: float, relative: float, floor: float, doubtful: Any
) -> int:
    """Round the cosines of Gram numbers (rows, 3) into ``bits``; mark the rows that are not certain and count them.

    Certain are NaN, and a cosine of at least ``floor`` when everything within ``error`` + ``relative`` of its own size
    rounds to the same number. ``dropped``: mantissa bits of fp64 that the result's dtype, fp32 or bf16, lacks.
    """
    count = 0
    for row in range(numbers.shape[0]):
        cosine = np.float64(numbers[row, 0] / np.sqrt(numbers[row, 1] * numbers[row, 2]))
        size = min(abs(cosine), 1.0)
        slack = error + relative * size
        if np.isnan(cosine):
            bits[row] = 0x1FF << (51 - dropped)
            doubtful[row] = False
        elif size >= floor and size - slack >= _SMALLEST:
            rounded = _narrowed(size + slack, dropped)
            doubtful[row] = rounded != _narrowed(size - slack, dropped)
            bits[row] = rounded | ((cosine.view(np.int64) >> 63) << (60 - dropped))
        else:
            doubtful[row] = True
        count += doubtful[row]
    return count


@_part  # type: ignore[untyped-decorator, unused-ignore]
def _mix(target: Any, own: Any, factor: float, other: Any, across: float) -> None:
    for j in range(target.shape[0]):
        _put(target, j, factor * _wide(own[j]) + across * _wide(other[j]))


@_kernel
def gradients(
    a: Any, a_step: int, b: Any, b_step: int, columns: int, numbers: Any, upstream: Any, ga: Any, gb: Any, step: int
) -> None:
    """grad a = up (b / |a||b| - cos a / |a|^2), and likewise grad b; zeros for a row that has no gradient.

    ``ga`` and ``gb`` are flat, their rows ``step`` apart; one of length 0 is not wanted.
    """
    for row in range(upstream.shape[0]):
        ab, aa, bb = numbers[row, 0], numbers[row, 1], numbers[row, 2]
        cross = 1.0 / np.sqrt(aa * bb)
        own_a, own_b = -(ab * cross) / aa * upstream[row], -(ab * cross) / bb * upstream[row]
        across = cross * upstream[row]
        live = upstream[row] != 0.0 and np.isfinite(across) and np.isfinite(own_a) and np.isfinite(own_b)
        for start in range(0, columns, CHUNK):  # what the first gradient read is still in the cache for the second
            end = min(start + CHUNK, columns)
            x = a[row * a_step + start : row * a_step + end]
            y = b[row * b_step + start : row * b_step + end]
            if ga.shape[0] > 0:
                target = ga[row * step + start : row * step + end]
                if live:
                    _mix(target, x, own_a, y, across)
                else:
                    target[:] = 0
            if gb.shape[0] > 0:
                target = gb[row * step + start : row * step + end]
                if live:
                    _mix(target, y, own_b, x, across)
                else:
                    target[:] = 0
