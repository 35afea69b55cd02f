"""What alignment is without adaptation: the same network and samples under feedback that never trained it.

Sampling alone says nothing about adaptation: all samples share one B and the error has C - 1 dimensions, so that Γ has
a spread of about 1/sqrt(d (C - 1)) *between* feedback matrices, which no interval over samples contains.

For credits ``a_i = M e_i``, statistic and null use ``T(M) = sum_i <g_i/|g_i|, M u_i> / sqrt(n sum_i |M u_i|^2)`` with
``u_i = e_i/|e_i|``: the cosine with every credit measured in the root mean square of all. It needs two small sums over
samples (d × C and C × C), so K draws cost as much as K products of matrices with one vector, and because the same
statistic is taken for the training feedback and for K fresh ones, (1 + #{|T_k| >= |T|}) / (K + 1) is a valid p-value
(Phipson and Smyth, "Permutation P-values Should Never Be Zero", 2010).

For credits of other origin, the frame of the credit is redrawn instead: one random signed permutation of its d
coordinates for all samples. Feedback with independent, symmetric rows has the same distribution under it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..feedback import Kind

__all__ = ["FeedbackNull", "FrameNull", "NullSums", "null_draws", "null_result"]

_CHUNK = 4_000_000  # numbers drawn at a time
_KEPT = 32_000_000  # numbers of one site kept between batches instead of drawn again


def null_draws(asked: int, layers: int, alpha: float) -> int:
    """Draws that let Holm's first step (level ``alpha / layers``) be passed with room to spare.

    Example:
        >>> null_draws(199, 5, 0.05), null_draws(199, 13, 0.05)
        (199, 519)
    """
    return max(asked, math.ceil(2 * layers / alpha) - 1)


@dataclass(frozen=True)
class NullSums:
    """Sums over the samples of one batch, for the observed credit (index 0) and K fresh ones: numerator, squares.

    Attributes:
        products: (K + 1,) ``sum_i <g_i/|g_i|, a_i>``.
        squares: (K + 1,) ``sum_i |a_i|^2``.
        count: samples with a gradient and an error.
    """

    products: Tensor
    squares: Tensor
    count: Tensor


def null_result(sums: list[NullSums]) -> tuple[Tensor, Tensor]:
    """(observed statistic, (K,) null statistics) of all batches together."""
    products = torch.stack([s.products for s in sums]).sum(0)
    squares = torch.stack([s.squares for s in sums]).sum(0)
    count = torch.stack([s.count for s in sums]).sum()
    values = products / (count * squares).sqrt()
    return values[0], values[1:]


class FeedbackNull:
    """Fresh feedback of the kind the network was trained with, drawn once and the same for every batch.

    Args:
        kind: ``"dfa"`` or ``"fa"``; a fresh FA chain redraws every matrix from the site to the output.
        sizes: rows of the matrices from this site to the last one (one for DFA).
        classes: columns of the error.
        draws: K.
        seed: of a generator of its own.
    """

    def __init__(self, kind: Kind, sizes: list[int], classes: int, draws: int, seed: int) -> None:
        self.sizes = sizes if kind == "fa" else sizes[:1]
        self.classes, self.draws, self.seed = classes, draws, seed
        self._kept: list[Tensor] | None = None

    def _chunks(self, device: torch.device) -> Iterator[Tensor]:
        """(k, d, C) fresh matrices, K in all; their scale does not matter."""
        if self._kept is not None:
            yield from self._kept
            return
        keep: list[Tensor] | None = [] if self.draws * self.sizes[0] * self.classes <= _KEPT else None
        generator = torch.Generator().manual_seed(self.seed)
        step = max(1, _CHUNK // (self.sizes[0] * self.classes))
        for start in range(0, self.draws, step):
            chunk = self._drawn(min(step, self.draws - start), generator).to(device)
            if keep is not None:
                keep.append(chunk)
            yield chunk
        self._kept = keep

    def _drawn(self, count: int, generator: torch.Generator) -> Tensor:
        # A chain B_l (B_{l+1} …): given the rest R^T R of the chain below it, it is a Gaussian matrix times R.
        root: Tensor | None = None
        for size in reversed(self.sizes[1:]):
            width = self.classes if root is None else root.shape[-2]
            matrix = torch.randn(count, size, width, generator=generator)
            root = torch.linalg.qr(matrix if root is None else matrix @ root, mode="r").R
            root = root / root.flatten(1).norm(dim=1).clamp_min(1e-30)[:, None, None]
        width = self.classes if root is None else root.shape[-2]
        fresh = torch.randn(count, self.sizes[0], width, generator=generator)
        return fresh if root is None else fresh @ root

    def sums(self, unit_gradient: Tensor, unit_error: Tensor, matrix: Tensor) -> NullSums:
        """Of one batch.

        Args:
            unit_gradient: (n, d) or (n, T, d) fp64, zero where undefined.
            unit_error: (n, C) or (n, T, C) fp64, zero where undefined.
            matrix: (d, C) fp64, the training feedback.
        """
        d, c = unit_gradient.shape[-1], unit_error.shape[-1]
        flat_g, flat_e = unit_gradient.reshape(-1, d), unit_error.reshape(-1, c)
        cross, second = flat_g.mT @ flat_e, flat_e.mT @ flat_e
        products, squares = [(cross * matrix).sum().reshape(1)], [((matrix @ second) * matrix).sum().reshape(1)]
        cross32, second32 = cross.to(torch.float32), second.to(torch.float32)
        for chunk in self._chunks(unit_gradient.device):
            products.append((chunk.flatten(1) @ cross32.flatten()).to(torch.float64))
            squares.append(((chunk @ second32) * chunk).flatten(1).sum(1).to(torch.float64))
        rows = unit_gradient.reshape(len(unit_gradient), -1), unit_error.reshape(len(unit_error), -1)
        used = rows[0].any(1) & rows[1].any(1)
        return NullSums(torch.cat(products), torch.cat(squares), used.sum().to(torch.float64))


class FrameNull:
    """The observed credits in K random frames: signed permutations of the coordinates, one for all samples.

    Args:
        size: d.
        draws: K.
        seed: of a generator of its own.
    """

    def __init__(self, size: int, draws: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        keys = torch.rand(draws, size, generator=generator)
        self.permutations = keys.argsort(1)
        self.signs = torch.randint(0, 2, (draws, size), generator=generator, dtype=torch.int8) * 2 - 1

    def sums(self, unit_gradient: Tensor, unit_credit: Tensor) -> NullSums:
        """Of one batch: both (n, d) fp64, zero where undefined."""
        permutations = self.permutations.to(unit_gradient.device)
        signs = self.signs.to(unit_gradient.device)
        size = unit_gradient.shape[1]
        observed = (unit_gradient * unit_credit).sum().reshape(1)
        if size <= 4096:
            cross = unit_gradient.mT @ unit_credit
            rows = torch.arange(size, device=cross.device).expand_as(permutations)
            fresh = (cross[rows, permutations] * signs).sum(1)
        else:
            pairs = zip(permutations, signs, strict=True)
            fresh = torch.stack([((unit_gradient * s) * unit_credit[:, p]).sum() for p, s in pairs])
        used = (unit_gradient.any(1) & unit_credit.any(1)).sum().to(torch.float64)
        products = torch.cat([observed, fresh])
        return NullSums(products, used.expand_as(products), used)
