"""The loops that numba compiles: fp32, bf16 and fp16 in, fp64 sums in registers, no copies. Driven by ``compiled``.

Operands come as the flat run of memory from their first element on, and a step; bf16 comes as int16, fp16 as uint16.
LLVM may reorder the plain sums (``reassoc``; it could not vectorise them otherwise): all products are exact, so every
order stays within the bound that ``settle`` is given. Nothing else is compiled with a fastmath flag.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import overload

__all__ = ["CHUNK", "LANES", "accurate_gram", "gradients", "gram", "gram_across", "overlap", "settle"]

CHUNK = 2048  # products that one running sum takes at most
LANES = 256  # running sums side by side where the code asks for them
_ONE = np.int64(1)


def _compiled(function: Callable[..., Any]) -> Any:
    return numba.njit(nogil=True, error_model="numpy")(function)


def _reordered_sum(function: Callable[..., Any]) -> Any:
    return numba.njit(nogil=True, fastmath={"reassoc", "contract"})(function)


def _by_dtype(stub: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """The decorated function picks what ``stub`` means, once numba knows the types of the arguments."""
    return lambda choose: overload(stub, strict=False)(choose)


def _kernel(function: Callable[..., Any]) -> Any:
    """Compiled, the code kept on disk where that is possible."""
    in_process = _compiled(function)
    try:
        kept = numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return in_process
    usable = True

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        nonlocal usable
        if usable:
            try:
                return kept(*arguments)
            except Exception:  # a full disk, a damaged file: the kernels themselves never raise
                usable = False
        return in_process(*arguments)

    return call


def _wide(x: Any) -> Any:
    """An element as fp64, exactly."""


@_by_dtype(_wide)
def _wide_of_dtype(x: Any) -> Any:
    def wide_fp32(x: Any) -> Any:
        return np.float64(x)

    def wide_bf16(x: Any) -> Any:
        return np.float64(np.int32(np.int32(x) << 16).view(np.float32))

    def wide_fp16(x: Any) -> Any:
        size = np.int32(x & np.uint16(0x7FFF))
        value = np.int32(size << 13).view(np.float32) * np.float32(2.0**112)
        value = value if size < 0x7C00 else (np.float32(np.inf) if size == 0x7C00 else np.float32(np.nan))
        return np.float64(-value if x > np.uint16(0x7FFF) else value)

    return {numba.types.float32: wide_fp32, numba.types.int16: wide_bf16, numba.types.uint16: wide_fp16}[x]


def _put(target: Any, i: int, value: float) -> None:
    """``value`` rounded to an element, by way of fp32 as torch does it."""


@_by_dtype(_put)
def _put_of_dtype(target: Any, i: Any, value: Any) -> Any:
    def put_fp32(target: Any, i: int, value: float) -> None:
        target[i] = np.float32(value)

    def put_bf16(target: Any, i: int, value: float) -> None:
        bits = np.float32(value).view(np.int32)
        rounded = np.int32(bits + np.int32(0x7FFF) + np.int32(np.int32(bits >> 16) & np.int32(1)))
        is_nan = np.int32(bits & np.int32(0x7FFFFFFF)) > np.int32(0x7F800000)
        target[i] = np.int16(0x7FC0) if is_nan else np.int16(rounded >> 16)

    def put_fp16(target: Any, i: int, value: float) -> None:
        bits = np.float32(value).view(np.int32)
        size = np.int32(bits & np.int32(0x7FFFFFFF))
        normal = np.int32(np.int32(size + np.int32(0xFFF) + np.int32(np.int32(size >> 13) & np.int32(1))) >> 13)
        # The ulp of 0.5 in fp32 is the unit of fp16's subnormals: the addition rounds.
        raised = np.float32(np.int32(size).view(np.float32) + np.float32(0.5))
        subnormal = np.int32(raised.view(np.int32) - np.int32(0x3F000000))
        result = np.int32(normal - np.int32(112 << 10)) if size >= np.int32(0x38800000) else subnormal
        if size >= np.int32(0x477FF000):  # 65520, which rounds to inf
            result = np.int32(0x7C00) if size <= np.int32(0x7F800000) else np.int32(0x7E00)
        target[i] = np.uint16(result | np.int32(np.int32(bits >> 16) & np.int32(0x8000)))

    return {numba.types.float32: put_fp32, numba.types.int16: put_bf16, numba.types.uint16: put_fp16}[target.dtype]


@_reordered_sum
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


@_compiled
def _two_sum(a: float, b: float) -> tuple[float, float]:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@_compiled
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


@_compiled
def _any_product(x: Any, y: Any) -> bool:
    found = 0
    for j in range(x.shape[0]):
        found |= (_wide(x[j]) != 0.0) & (_wide(y[j]) != 0.0)
    return found != 0


@_kernel
def overlap(a: Any, a_step: int, b: Any, b_step: int, columns: int, out: Any) -> None:
    """Into ``out`` (rows,): whether any product of a row is not zero."""
    for row in range(out.shape[0]):
        out[row] = False
        for start in range(0, columns, LANES):
            end = min(start + LANES, columns)
            if _any_product(a[row * a_step + start : row * a_step + end], b[row * b_step + start : row * b_step + end]):
                out[row] = True
                break


@_compiled
def _narrowed(size: float, mantissa: int, bias: Any, normal: float, unit: float) -> Any:
    """The bits of a number >= 0 rounded to a format, ties to even; 1 / ``unit`` is its smallest subnormal number."""
    if size < normal:
        return np.int64(np.rint(size * unit))
    bits = np.float64(size).view(np.int64)
    dropped = 52 - mantissa
    rounded = bits + ((_ONE << (dropped - 1)) - 1) + ((bits >> dropped) & 1)
    return (rounded >> dropped) - ((1023 - bias) << mantissa)


@_kernel
def settle(
    numbers: Any,
    bits: Any,
    mantissa: int,
    exponent: int,
    error: float,
    relative: float,
    floor: float,
    doubtful: Any,
) -> int:
    """Round the cosines of Gram numbers (rows, 3) into ``bits``; mark the rows that are not certain and count them.

    Certain are NaN, and a cosine of at least ``floor`` when everything within ``error`` + ``relative`` of its own size
    rounds to the same number. ``mantissa`` and ``exponent``: bits of the result's format.
    """
    count = 0
    bias = (_ONE << (exponent - 1)) - 1
    normal, unit = 2.0 ** (1 - bias), 2.0 ** (mantissa + bias - 1)
    for row in range(numbers.shape[0]):
        cosine = np.float64(numbers[row, 0] / np.sqrt(numbers[row, 1] * numbers[row, 2]))
        size = min(abs(cosine), 1.0)
        slack = error + relative * size
        if np.isnan(cosine):
            bits[row] = ((_ONE << (exponent + 1)) - 1) << (mantissa - 1)
            doubtful[row] = False
        elif size >= floor and size > slack:
            rounded = _narrowed(size + slack, mantissa, bias, normal, unit)
            doubtful[row] = rounded != _narrowed(size - slack, mantissa, bias, normal, unit)
            bits[row] = rounded | ((cosine.view(np.int64) >> 63) << (mantissa + exponent))
        else:
            doubtful[row] = True
        count += doubtful[row]
    return count


@_compiled
def _mix(target: Any, own: Any, factor: float, other: Any, across: float, live: bool) -> None:
    if live:
        for j in range(target.shape[0]):
            _put(target, j, factor * _wide(own[j]) + across * _wide(other[j]))
    else:
        target[:] = 0


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
                _mix(ga[row * step + start : row * step + end], x, own_a, y, across, live)
            if gb.shape[0] > 0:
                _mix(gb[row * step + start : row * step + end], y, own_b, x, across, live)
