"""Two gradients of different lengths, cut to the same number of entries before a cosine or a dot product."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from torch import Tensor

from ..functorch import has_memory
from ..measurement import Measurement

__all__ = ["cut_lengths", "cut_to_common_length"]


def cut_lengths(a: Tensor, b: Tensor, known: Callable[[Tensor], Tensor | None]) -> tuple[int, int] | None:
    """Return the lengths before the cut, None where that is not what happened. Needs no values.

    Args:
        a, b: the operands, each one vector.
        known: the gradient that begins where its argument begins, None if there is none.
    """
    if a.numel() != b.numel() or not (_is_one_vector(a) and _is_one_vector(b)):
        return None
    wholes = [_whole(a), _whole(b)]
    if all(whole is None for whole in wholes):  # nearly always: to ask for known gradients takes longer
        return None
    gradients = known(a), known(b)
    wholes = [g if g is not None else whole for g, whole in zip(gradients, wholes, strict=True)]
    first, second = wholes
    if (gradients[0] is None and gradients[1] is None) or first is None or second is None:
        return None
    lengths = first.numel(), second.numel()
    same_rows = first.ndim > 1 and first.shape[1:] == second.shape[1:]
    if lengths[0] == lengths[1] or same_rows or any(_is_row(a.numel(), x) for x in wholes if x is not None):
        return None
    return lengths


def _is_one_vector(x: Tensor) -> bool:
    return has_memory(x) and x.numel() > 1 and x.numel() == max(x.shape) and x.is_contiguous()


def _whole(x: Tensor) -> Tensor | None:
    """What ``x`` is the beginning of; None where it is all there is, or something else."""
    base = x._base
    if base is None or base.numel() == x.numel() or not base.is_contiguous() or base.data_ptr() != x.data_ptr():
        return None
    return base


def _is_row(length: int, whole: Tensor) -> bool:
    """Whether ``whole[0]``, ``whole[0, 0]`` and so on have that length: an index, not a cut."""
    return any(length == prod(whole.shape[depth:]) for depth in range(1, whole.ndim))


def cut_to_common_length(a: Tensor, lengths: tuple[int, int], *, now: bool) -> tuple[int, Measurement | None]:
    """One pair. The number that came out has no true value."""
    detail = f"{lengths[0]} and {lengths[1]}"
    count: Tensor | int = 1 if now else a.new_ones(())
    return 1, Measurement("cut-to-common-length", count, 1, detail=detail)
