"""What alignment is without adaptation: the same network and samples under feedback that never trained it.

Sampling alone cannot show adaptation: all samples share one B and the error has C - 1 dimensions, so that Γ has
a spread of about 1/sqrt(d (C - 1)) *between* feedback matrices, which no interval over samples contains.

For credits ``a_i = M e_i``, statistic and null use ``T(M) = sum_i <g_i/|g_i|, M u_i> / sqrt(n sum_i |M u_i|^2)`` with
``u_i = e_i/|e_i|``: the cosine with every credit measured in the root mean square of all. It is taken for the training
feedback and for K fresh ones, so ``(1 + #{|T_k| >= |T|}) / (K + 1)`` is a valid p-value (Phipson and Smyth,
"Permutation P-values Should Never Be Zero", 2010).

``T`` needs two sums over samples only, ``X = sum g_i u_i^T`` (d, C) and ``S = sum u_i u_i^T`` (C, C). With
``S = U L U^T`` and M Gaussian, the columns of ``M U`` are independent Gaussian vectors, and all that matters of column
c is its component along the column ``x_c`` of ``X U`` and its length: ``<X, M> = sum_c |x_c| z_c`` and
``tr(M S M^T) = sum_c L_c (z_c^2 + q_c)`` with z standard normal and q chi-square of d - 1 degrees. So K fresh feedbacks
cost 2 K C random numbers, whatever d is, and no pass over the gradients.

For credits of other origin, the sign of every unit of the credit is redrawn instead, one for all samples. Feedback with
independent, symmetric rows has the same distribution under it, whatever the rows are multiplied by afterwards: in
``(e B^T) f'`` the derivative of the activation, which is in the gradient too, stays where it is. (A permutation of the
units moves it: 25 % of the layers of untrained ReLU networks are called aligned at a nominal 5 %.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..feedback import Kind

__all__ = ["FeedbackNull", "Moments", "SignNull", "SignSums", "null_draws"]

Floats = npt.NDArray[np.float64]
_ENUMERATED = 11  # units up to which every pattern of signs is looked at


def null_draws(asked: int, layers: int, alpha: float) -> int:
    """Draws that let Holm's first step (level ``alpha / layers``) be passed with room to spare.

    Example:
        >>> null_draws(199, 4, 0.05), null_draws(199, 13, 0.05)
        (199, 519)
    """
    return max(asked, math.ceil(2 * layers / alpha) - 1)


@dataclass(frozen=True)
class Moments:
    """Sums over the samples of one batch that the null of a feedback matrix needs. fp64.

    Attributes:
        cross: (d, C) ``sum_i g_i/|g_i| u_i^T``.
        second: (C, C) ``sum_i u_i u_i^T``.
        count: 0-dim, samples with a gradient and an error.
    """

    cross: Tensor
    second: Tensor
    count: Tensor

    def cpu(self) -> Moments:
        """On the CPU."""
        return Moments(self.cross.cpu(), self.second.cpu(), self.count.cpu())


@dataclass(frozen=True)
class FeedbackNull:
    """Fresh feedback of the kind the network was trained with.

    Attributes:
        kind: ``"dfa"`` or ``"fa"``; a fresh FA chain redraws every matrix from the site to the output.
        matrix: (d, C) the effective training feedback M, fp64, on the CPU.
        sizes: rows of the matrices from this site to the last one.
        draws: K.
        seed: of a generator of its own.
    """

    kind: Kind
    matrix: Tensor
    sizes: tuple[int, ...]
    draws: int
    seed: int

    def values(self, moments: Sequence[Moments]) -> tuple[float, Floats]:
        """(T of the training feedback, T of K fresh ones) over all batches together."""
        cross = torch.stack([m.cross for m in moments]).sum(0)
        second = torch.stack([m.second for m in moments]).sum(0)
        count = float(torch.stack([m.count for m in moments]).sum())
        squares = float(((self.matrix @ second) * self.matrix).sum())
        observed = float((cross * self.matrix).sum()) / math.sqrt(count * squares) if count * squares > 0 else math.nan
        if not (math.isfinite(observed) and bool(torch.isfinite(cross).all())):
            return math.nan, np.full(self.draws, math.nan)
        return observed, self._fresh(cross.numpy(), second.numpy(), count)

    def _fresh(self, cross: Floats, second: Floats, count: float) -> Floats:
        rng = np.random.default_rng(self.seed)
        gram = cross.T @ cross
        roots = self._chain(rng, len(second))
        if roots is None:
            spectrum, basis = np.linalg.eigh(second)
            columns = np.einsum("ic,ij,jc->c", basis, gram, basis)
        else:  # M = G R with R (K, r, C): the errors seen by G are R u
            spectrum, basis = np.linalg.eigh(roots @ second @ roots.transpose(0, 2, 1))
            columns = np.einsum("kic,kij,kjc->kc", basis, roots @ gram @ roots.transpose(0, 2, 1), basis)
        shape = (self.draws, spectrum.shape[-1])
        along = rng.standard_normal(shape)
        across = rng.chisquare(self.sizes[0] - 1, shape) if self.sizes[0] > 1 else np.zeros(shape)
        products = (np.sqrt(np.maximum(columns, 0.0)) * along).sum(1)
        squares = (np.maximum(spectrum, 0.0) * (along**2 + across)).sum(1)
        fresh: Floats = products / np.sqrt(count * squares)
        return fresh

    def _chain(self, rng: np.random.Generator, classes: int) -> Floats | None:
        """(K, r, C) triangular factors of the fresh product of all matrices after this one; None for DFA.

        A Gaussian matrix times ``R`` has the law of any Gaussian matrix times an ``R`` of the same ``R^T R``.
        """
        root: Floats | None = None
        if self.kind == "fa":
            for size in reversed(self.sizes[1:]):
                width = classes if root is None else root.shape[1]
                matrix = rng.standard_normal((self.draws, size, width)) / math.sqrt(size)
                root = np.asarray(np.linalg.qr(matrix if root is None else matrix @ root, mode="r"))
        return root


@dataclass(frozen=True)
class SignSums:
    """Sums over the samples of one batch that the null of a credit of other origin needs. fp64.

    Attributes:
        units: (m,) ``sum_i g_ij a_ij / (|g_i| |a_i|)``, for every unit j whose sign is redrawn.
        count: 0-dim, samples with a gradient and a credit.
    """

    units: Tensor
    count: Tensor

    @classmethod
    def of(cls, unit_gradient: Tensor, unit_credit: Tensor, shape: Sequence[int]) -> SignSums:
        """Of one batch: both (n, d), zero where undefined; ``shape`` is that of a hidden state before it was flattened.

        Positions (T, d) share the sign of a feature and feature maps (C, H, W) that of a channel, as they may share
        the feedback.
        """
        columns = (unit_gradient * unit_credit).sum(0)
        if math.prod(shape) == len(columns) and len(shape) > 1:
            columns = columns.reshape(tuple(shape))
            columns = columns.sum(0) if len(shape) == 2 else columns.flatten(1).sum(1)
        return cls(columns, (unit_gradient.any(1) & unit_credit.any(1)).sum().to(torch.float64))

    def cpu(self) -> SignSums:
        """On the CPU."""
        return SignSums(self.units.cpu(), self.count.cpu())


@dataclass(frozen=True)
class SignNull:
    """The observed credits with the signs of their units redrawn.

    Attributes:
        draws: K; all sign patterns where there are fewer than 2048.
        seed: of a generator of its own.
    """

    draws: int
    seed: int

    def values(self, sums: Sequence[SignSums]) -> tuple[float, Floats]:
        """(observed mean cosine, mean cosines under other signs) over all batches together."""
        units = (torch.stack([s.units for s in sums]).sum(0) / torch.stack([s.count for s in sums]).sum()).numpy()
        return float(units.sum()), np.array([(1.0 - 2.0 * flipped) @ units for flipped in self._patterns(len(units))])

    def _patterns(self, units: int) -> Iterator[npt.NDArray[np.int8]]:
        """Which units are flipped, draw by draw."""
        if units <= _ENUMERATED:
            yield from (np.arange(1, 2**units)[:, None] >> np.arange(units) & 1).astype(np.int8)  # 0: as observed
            return
        rng = np.random.default_rng(self.seed)
        for _ in range(self.draws):
            yield rng.integers(0, 2, units, dtype=np.int8)
