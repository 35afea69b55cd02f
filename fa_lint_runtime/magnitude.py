"""Say how large vectors are before anything is divided by their norm, and what a narrower dtype would lose."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .arguments import floating_tensor, normalized_dim
from .errors import MagnitudeError
from .kernels import blocked
from .strictness import current_strictness, signal

__all__ = ["Headroom", "MagnitudeReport", "assert_magnitude", "check_magnitude", "dtype_headroom"]

_NAN = float("nan")


@dataclass(frozen=True)
class MagnitudeReport:
    """What :func:`check_magnitude` measured. Norms are L2, in the unit of the input, computed in fp64.

    Attributes:
        name: what the caller calls the tensor.
        shape: its shape.
        dtype: its dtype, for example ``"torch.float32"``.
        dim: the dimension along which vectors lie.
        floor: the norm below which a vector is too small.
        count: number of vectors.
        minimum, median, maximum: of the finite norms (median: mean of the middle two); NaN if there is none.
        share_below: share of vectors with a finite norm below ``floor``, 0 to 1.
        zero_share: share of vectors that are exactly zero.
        nonfinite_share: share of vectors that hold an inf or a NaN (or whose norm exceeds fp64).
        first_index: index (``dim`` left out) of the first offending vector, None if there is none.
        dtype_floor: smallest positive number of the dtype; what is below half of it is flushed to zero.
        dtype_tiny: smallest normal number of the dtype; below it, bits are lost.

    Example:
        >>> report = check_magnitude(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        >>> report.maximum, report.zero_share, report.first_index, report.ok
        (5.0, 0.5, (1,), False)
    """

    name: str | None
    shape: tuple[int, ...]
    dtype: str
    dim: int
    floor: float
    count: int
    minimum: float
    median: float
    maximum: float
    share_below: float
    zero_share: float
    nonfinite_share: float
    first_index: tuple[int, ...] | None
    dtype_floor: float
    dtype_tiny: float

    @property
    def ok(self) -> bool:
        """True if every vector is finite and at least ``floor`` long."""
        return self.first_index is None

    def message(self) -> str:
        """One paragraph: what was found, then what to do about it."""
        what = self.name or "tensor"
        found = (
            f"{what} {list(self.shape)} {self.dtype}: of {self.count} vectors along dim {self.dim}, "
            f"{self.share_below:.1%} have a norm below {self.floor:g} ({self.zero_share:.1%} exactly zero) and "
            f"{self.nonfinite_share:.1%} are not finite; norms: min {self.minimum:.3g}, median {self.median:.3g}, "
            f"max {self.maximum:.3g}; first at index {self.first_index}; "
            f"{self.dtype} resolves down to {self.dtype_floor:.3g}."
        )
        return " ".join([found, *self._advice()])

    def _advice(self) -> list[str]:
        if self.ok:
            return ["Nothing to do."]
        advice = []
        if self.nonfinite_share:
            advice.append(
                "Non-finite vectors: find the overflow first (fp16 ends at 65504), no cosine cures it (FAL301)."
            )
        if self.zero_share:
            advice.append(
                "Zero vectors have no direction: count them and report N/A (FAL405)"
                + (", or keep gradients in fp32 or bf16 if fp16 flushed them (FAL302)." if self._is_half else ".")
            )
        if self.share_below > self.zero_share:
            advice.append(
                "Short vectors: F.cosine_similarity, F.normalize and hand-written `+ eps` shrink their cosine (FAL201, "
                "FAL203); use fa_lint_runtime.safe_cosine, and report ||g|| beside every cosine."
            )
        return advice

    @property
    def _is_half(self) -> bool:
        return self.dtype == "torch.float16"


def _smallest_subnormal(dtype: torch.dtype) -> float:
    info = torch.finfo(dtype)
    return float(info.smallest_normal) * float(info.eps)


def _median(ordered: Tensor) -> float:
    count = ordered.numel()
    if count == 0:
        return _NAN
    low, high = float(ordered[(count - 1) // 2]), float(ordered[count // 2])
    return low + (high - low) / 2


def check_magnitude(x: Tensor, floor: float = 1e-8, dim: int = -1, *, name: str | None = None) -> MagnitudeReport:
    """Measure the L2 norms of the vectors of ``x`` along ``dim``. Never raises for what it finds, never warns.

    Args:
        x: floating point, any shape; a 0-dim tensor is one vector of length 1.
        floor: smallest acceptable norm, in the unit of ``x``. The default is the eps of ``F.cosine_similarity``
            (https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cosine_similarity.html), which
            replaces each smaller norm.
        dim: where vectors lie.
        name: how to call the tensor in messages.

    Returns:
        MagnitudeReport: the figures; ``.ok`` says whether every vector is finite and at least ``floor`` long.

    Raises:
        TypeError: not a floating-point tensor.
        IndexError: ``dim`` out of range.
        ValueError: ``floor`` negative or not finite.

    Example:
        >>> report = check_magnitude(torch.full((4, 256), 1e-10), name="g_2")
        >>> report.share_below, f"{report.median:.1e}"
        (1.0, '1.6e-09')
    """
    floating_tensor("x", x)
    if not (math.isfinite(floor) and floor >= 0):
        raise ValueError(f"floor must be a finite number >= 0, got {floor!r}")
    dim = normalized_dim(dim, x.ndim)
    values = x.detach()
    norms = blocked.norm(values.reshape(1) if values.ndim == 0 else values, dim)
    finite = torch.isfinite(norms)
    bad = ~finite | (norms < floor)
    ordered = norms[finite].sort().values
    count = norms.numel()
    where = bad.nonzero()

    def share(mask: Tensor) -> float:
        return int(mask.sum()) / count if count else 0.0

    return MagnitudeReport(
        name=name,
        shape=tuple(x.shape),
        dtype=str(x.dtype),
        dim=dim,
        floor=float(floor),
        count=count,
        minimum=float(ordered[0]) if ordered.numel() else _NAN,
        median=_median(ordered),
        maximum=float(ordered[-1]) if ordered.numel() else _NAN,
        share_below=share(norms < floor),
        zero_share=share(norms == 0),
        nonfinite_share=share(~finite),
        first_index=tuple(int(i) for i in where[0]) if len(where) else None,
        dtype_floor=_smallest_subnormal(x.dtype),
        dtype_tiny=float(torch.finfo(x.dtype).smallest_normal),
    )


def assert_magnitude(x: Tensor, floor: float = 1e-8, dim: int = -1, *, name: str | None = None) -> None:
    """Raise if any vector of ``x`` along ``dim`` is shorter than ``floor`` or not finite.

    What happens then follows :func:`fa_lint_runtime.strictness` (``FAL_RUNTIME``): raise by default, a
    :class:`RuntimeCheckWarning` under ``"warn"``; under ``"off"`` nothing is computed at all.

    Args:
        x: floating point, any shape.
        floor: smallest acceptable norm, in the unit of ``x``.
        dim: where vectors lie.
        name: how to call the tensor in the message.

    Raises:
        MagnitudeError: with every figure in ``error.report`` (a :class:`MagnitudeReport`).
        TypeError, IndexError, ValueError: as :func:`check_magnitude`.

    Example:
        >>> assert_magnitude(torch.ones(8, 256), name="h_4")
        >>> assert_magnitude(torch.full((8, 256), 5e-11), name="g_2")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        fa_lint_runtime.errors.MagnitudeError: g_2 [8, 256] torch.float32: of 8 vectors ... 100.0% ...
    """
    if current_strictness() == "off":
        return
    report = check_magnitude(x, floor, dim, name=name)
    if not report.ok:
        signal(MagnitudeError(report))


@dataclass(frozen=True)
class Headroom:
    """What :func:`dtype_headroom` measured. Shares are of all entries, 0 to 1; bits are powers of two.

    Attributes:
        source, target: dtypes, for example ``"torch.float32"``.
        count: number of entries.
        bits_above_flush: log2 of the smallest non-zero magnitude over the largest one that ``target`` rounds to zero;
            0 or negative: something is lost. inf if every entry is zero.
        bits_below_overflow: log2 of the smallest magnitude that ``target`` rounds beyond its range over the largest
            magnitude; 0 or negative: something overflows. inf if every entry is zero.
        flushed_share: non-zero entries that become zero.
        overflow_share: finite entries that become inf or NaN.
        subnormal_share: entries that survive below ``target``'s smallest normal number, with fewer bits.
        nonfinite_share: entries that are inf or NaN already.
        scale_exponent: the k for which ``x * 2**k`` has its largest entry two bits below overflow; None if there is no
            finite non-zero entry.

    Example:
        >>> dtype_headroom(torch.tensor([1e-9, 1.0]), torch.float16).flushed_share
        0.5
    """

    source: str
    target: str
    count: int
    bits_above_flush: float
    bits_below_overflow: float
    flushed_share: float
    overflow_share: float
    subnormal_share: float
    nonfinite_share: float
    scale_exponent: int | None

    @property
    def lost_share(self) -> float:
        """Share of entries that become zero, inf or NaN."""
        return self.flushed_share + self.overflow_share


def dtype_headroom(x: Tensor, dtype: torch.dtype = torch.float16) -> Headroom:
    """How far the entries of ``x`` are from being flushed to zero or overflowing in ``dtype``.

    The shares are counted on the cast itself, not modelled: fp16 rounds (2^-25, 2^-24) up to its smallest number and
    everything from 65520 on to inf (IEEE 754-2019, round to nearest, ties to even).

    Args:
        x: floating point, any shape.
        dtype: a floating-point dtype of torch.

    Raises:
        TypeError: ``x`` is not a floating-point tensor or ``dtype`` not a floating-point dtype.

    Example:
        >>> headroom = dtype_headroom(torch.tensor([2.0**-20, 0.0, 7e4, 1.0]), torch.float16)
        >>> headroom.bits_above_flush, headroom.overflow_share, headroom.flushed_share
        (5.0, 0.25, 0.0)
    """
    floating_tensor("x", x)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating-point torch.dtype, got {dtype!r}")
    values = x.detach().reshape(-1)
    cast = values.to(dtype).to(torch.float64)
    wide = values.to(torch.float64).abs()
    finite = torch.isfinite(wide)
    used = wide[finite & (wide > 0)]
    info = torch.finfo(dtype)
    flush = _smallest_subnormal(dtype) / 2
    limit = float(info.max) * (2 - float(info.eps) / 2) / (2 - float(info.eps))
    if dtype == torch.float64:
        flush, limit = math.ulp(0.0), float(info.max)
    count = wide.numel()

    def share(mask: Tensor) -> float:
        return int(mask.sum()) / count if count else 0.0

    low, high = (float(used.min()), float(used.max())) if used.numel() else (math.inf, 0.0)
    return Headroom(
        source=str(x.dtype),
        target=str(dtype),
        count=count,
        bits_above_flush=math.log2(low) - math.log2(flush) if used.numel() else math.inf,
        bits_below_overflow=math.log2(limit) - math.log2(high) if used.numel() else math.inf,
        flushed_share=share(finite & (wide > 0) & (cast == 0)),
        overflow_share=share(finite & ~torch.isfinite(cast)),
        subnormal_share=share((cast != 0) & (cast.abs() < float(info.smallest_normal))),
        nonfinite_share=share(~finite),
        scale_exponent=math.floor(math.log2(limit) - math.log2(high)) - 2 if used.numel() else None,
    )
