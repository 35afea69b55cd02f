"""One vector a sample: lengths and directions in fp64, of any magnitude, and their sums over groups of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..kernels import blocked, composite

__all__ = ["GroupSums", "Rows", "as_rows", "group_sums", "norms64", "stacked"]

_SMALL = 1 << 20  # elements up to which the plain way costs less than to go block by block


def norms64(x: Tensor) -> Tensor:
    """fp64 L2 norms of the rows of (B, d), of any magnitude; (B,)."""
    x = x.detach()
    if x.dtype != torch.float64 and x.numel() <= _SMALL:
        small: Tensor = torch.linalg.vector_norm(x, dim=-1, dtype=torch.float64)
        return small
    if type(x) is Tensor and x.is_cpu:
        return blocked.norm(x, x.ndim - 1)
    return composite.norm(x, x.ndim - 1, False)


@dataclass(frozen=True)
class GroupSums:
    """Sums of vectors over contiguous groups of the samples of a batch.

    Attributes:
        unit: (m, d) of unit vectors (zero and non-finite ones left out).
        raw: (m, d) of the vectors divided by ``scale``.
        scale: 0-dim fp64, the largest norm.
        norms: (B,) fp64 of the vectors that were summed; 0 of those left out.
    """

    unit: Tensor
    raw: Tensor
    scale: Tensor
    norms: Tensor

    def cpu(self) -> GroupSums:
        """On the CPU."""
        return GroupSums(self.unit.cpu(), self.raw.cpu(), self.scale.cpu(), self.norms.cpu())

    def group_of_each(self) -> Tensor:
        """(B,) int64: the group each sample is in."""
        return _group_of_each(len(self.norms), len(self.unit), self.norms.device)


@dataclass(frozen=True)
class Rows:
    """One vector a sample, for sums over samples; leading dimensions (layers) may come before.

    Attributes:
        vectors: (B, d) fp64, multiplied by a power of two where fp64 itself would underflow.
        norms: (B,) fp64 L2 norms of the vectors as given.
        inverse: (B,) fp64 with ``inverse * vectors`` of length 1; 0 where there is no direction.
    """

    vectors: Tensor
    norms: Tensor
    inverse: Tensor

    @property
    def unit(self) -> Tensor:
        """(B, d) unit vectors, zero where undefined."""
        return torch.where(self.inverse.unsqueeze(-1) > 0, self.vectors * self.inverse.unsqueeze(-1), 0.0)

    def each(self) -> list[Rows]:
        """One by one along the first dimension."""
        return [Rows(*parts) for parts in zip(self.vectors, self.norms, self.inverse, strict=True)]


def as_rows(x: Tensor, given: torch.dtype | None = None) -> Rows:
    """(…, B, d) of any magnitude; ``given`` is the dtype the numbers had before ``x``, if another."""
    x = x.detach()
    wide = x.to(torch.float64)
    norms = length = torch.linalg.vector_norm(wide, dim=-1)
    # Squares of narrower numbers neither under- nor overflow in fp64.
    if (given or x.dtype) == torch.float64 and not _are_moderate(norms):
        norms = norms64(x)
        scale = composite.power_of_two_scale(norms)
        wide, length = x * scale.unsqueeze(-1), norms * scale
    inverse = torch.where((length > 0) & (length < math.inf), 1.0 / length, 0.0)
    return Rows(wide, norms, inverse)


def _are_moderate(norms: Tensor) -> bool:
    """No square that counts under- or overflowed in these fp64 norms. On a CPU only: elsewhere a host sync."""
    if not norms.is_cpu or norms.numel() == 0:
        return False
    low, high = norms.aminmax()
    return float(low) > 1e-140 and float(high) < 1e140


def group_sums(rows: Rows, groups: int) -> list[GroupSums]:
    """Sums over contiguous groups of samples of unit vectors and of the vectors themselves; one result for each layer.

    A vector with an inf or a NaN makes the sums of its group NaN, and what is computed from them N/A.
    """
    size = rows.norms.shape[-1]
    groups = min(groups, size)
    norms = torch.where(rows.inverse > 0, rows.norms, 0.0)
    top = norms.amax(-1, keepdim=True)
    relative = norms / torch.where(top > 0, top, 1.0)
    weights = torch.stack([rows.inverse, rows.inverse * relative], -2)
    if groups > 1:
        weights = (weights.unsqueeze(-2) * _membership(size, groups, norms.device)).flatten(-3, -2)
    both = (weights @ rows.vectors).to(torch.float32)
    return [
        GroupSums(sums[:groups], sums[groups:], scale, own)
        for sums, scale, own in zip(both, top.squeeze(-1), norms, strict=True)
    ]


@lru_cache(maxsize=8)
def _group_of_each(size: int, groups: int, device: torch.device) -> Tensor:
    return torch.arange(size, device=device) * groups // size


@lru_cache(maxsize=8)
def _membership(size: int, groups: int, device: torch.device) -> Tensor:
    """(groups, size): 1 where a sample belongs to a group."""
    of = _group_of_each(size, groups, device)
    return (of == torch.arange(groups, device=device).unsqueeze(1)).to(torch.float64)


def _absent(size: int, width: int, device: torch.device) -> Rows:
    """Without a direction, every norm NaN."""
    zeros = torch.zeros(1, size, dtype=torch.float64, device=device)
    return Rows(zeros.unsqueeze(-1).expand(-1, -1, width), torch.full_like(zeros, float("nan")), zeros)


def stacked(
    vectors: Sequence[Tensor | None], widths: Sequence[int], size: int, device: torch.device
) -> list[tuple[list[int], Rows]]:
    """Rows of several layers, small layers of one width together; None is a layer without a gradient."""
    found: list[tuple[list[int], Rows]] = []
    together: dict[tuple[torch.Size, torch.dtype], list[int]] = {}
    for index, x in enumerate(vectors):
        if x is None:
            found.append(([index], _absent(size, widths[index], device)))
        elif x.numel() > _SMALL // 8:
            found.append(([index], as_rows(x.unsqueeze(0))))
        else:
            together.setdefault((x.shape, x.dtype), []).append(index)
    for indices in together.values():
        layers = [x.detach() for i in indices if (x := vectors[i]) is not None]
        wide = layers[0].new_empty((len(layers), *layers[0].shape), dtype=torch.float64)
        found.append((indices, as_rows(torch.stack(layers, out=wide), layers[0].dtype)))
    return found
