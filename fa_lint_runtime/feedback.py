"""The fixed random matrices of feedback alignment, as a module: in ``state_dict``, moved by ``.to``, with a digest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from .arguments import floating_tensor
from .digests import tensor_digest, tree_digest
from .errors import MissingFeedbackError

__all__ = ["Feedback"]

Kind = Literal["dfa", "fa", "custom"]


def _draw(shapes: Sequence[tuple[int, int]], seed: int, dtype: torch.dtype) -> list[Tensor]:
    """``randn(rows, columns) / sqrt(columns)`` on the CPU from a generator of their own, whatever the global state."""
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu") for shape in shapes)
    return [(matrix / math.sqrt(matrix.shape[1])).to(dtype) for matrix in drawn]


class Feedback(nn.Module):
    """Fixed feedback matrices, one for each site of a network, none of them trainable.

    They are buffers: ``state_dict`` holds them, ``.to`` moves them, an optimizer does not see them (FAL402). The site
    map, the kind and the seed travel with the ``state_dict``. A site names *what the matrix serves*, for example
    ``"blocks.2"`` for
    the matrix that trains block 2: pairing a state with a neighbour's matrix changes the alignment reported by half.

    Args:
        matrices: site name to matrix (rows: size at the site, columns: size of the signal that comes in).
        kind: ``"dfa"``: every matrix takes the output error; ``"fa"``: each takes the credit of the next site, the
            last one the output error; ``"custom"``: only stored.
        seed: the seed that made them, None if unknown.
        derivative: each credit is multiplied by the derivative of the activation that follows its site, as published:
            ``(e B^T) f'``. The site is the pre-activation.

    Raises:
        TypeError: a matrix that is not a floating-point tensor.
        ValueError: no matrix, a matrix that is not 2-D, or (``"fa"``) sizes that do not chain.

    Source:
        Nøkland, "Direct Feedback Alignment Provides Learning in Deep Neural Networks" (2016); Lillicrap et al.,
        "Random synaptic feedback weights support error backpropagation for deep learning" (2016).

    Example:
        >>> feedback = Feedback.dfa([256, 256], classes=10, seed=42)
        >>> feedback.sites, feedback["blocks.1"].shape, feedback.seed
        (('blocks.0', 'blocks.1'), torch.Size([256, 10]), 42)
        >>> feedback.digest == Feedback.dfa([256, 256], classes=10, seed=42).digest
        True
        >>> sum(p.numel() for p in feedback.parameters())
        0
    """

    def __init__(
        self,
        matrices: Mapping[str, Tensor],
        *,
        kind: Kind = "custom",
        seed: int | None = None,
        derivative: bool = False,
    ) -> None:
        super().__init__()
        if not matrices:
            raise ValueError("feedback needs at least one matrix")
        for site, matrix in matrices.items():
            floating_tensor(f"feedback for {site!r}", matrix)
            if matrix.ndim != 2:
                raise ValueError(f"feedback for {site!r} must be 2-D, got shape {tuple(matrix.shape)}")
        self.kind: Kind = kind
        self.seed = seed
        self.derivative = derivative
        self._sites = tuple(matrices)
        for i, matrix in enumerate(matrices.values()):
            self.register_buffer(f"matrix_{i}", matrix.detach().clone())
        if kind == "fa":
            rows = [m.shape[0] for m in matrices.values()]
            for site, matrix, following in zip(self._sites, matrices.values(), rows[1:], strict=False):
                if matrix.shape[1] != following:
                    raise ValueError(
                        f"feedback for {site!r} takes {matrix.shape[1]} values, the next site has {following}"
                    )

    @classmethod
    def dfa(
        cls,
        sizes: Sequence[int],
        classes: int,
        seed: int,
        *,
        sites: Sequence[str] | None = None,
        dtype: torch.dtype = torch.float32,
        derivative: bool = False,
    ) -> Self:
        """Direct feedback alignment: ``B_l = randn(sizes[l], classes) / sqrt(classes)``.

        Args:
            sizes: width at each site.
            classes: width of the output error.
            seed: of a generator of their own; the global random state is neither used nor moved.
            sites: names; ``blocks.0``, ``blocks.1``, … by default.
            dtype: of the matrices; drawn in fp64 on the CPU and rounded, so that the device does not matter.
            derivative: see the class.

        Example:
            >>> Feedback.dfa([8, 4], classes=3, seed=0).credit(torch.ones(2, 3))["blocks.1"].shape
            torch.Size([2, 4])
        """
        matrices = _draw([(size, classes) for size in sizes], seed, dtype)
        named = dict(zip(_names(sites, len(sizes)), matrices, strict=True))
        return cls(named, kind="dfa", seed=seed, derivative=derivative)

    @classmethod
    def fa(
        cls,
        sizes: Sequence[int],
        classes: int,
        seed: int,
        *,
        sites: Sequence[str] | None = None,
        dtype: torch.dtype = torch.float32,
        derivative: bool = False,
    ) -> Self:
        """Sequential feedback alignment: ``B_l`` takes the credit of site l + 1, the last one the output error.

        Arguments as in :meth:`dfa`; ``B_l`` has shape ``(sizes[l], sizes[l + 1])``, the last ``(sizes[-1], classes)``,
        entries ``randn / sqrt(columns)``.

        Example:
            >>> Feedback.fa([8, 4], classes=3, seed=0)["blocks.0"].shape
            torch.Size([8, 4])
        """
        widths = [*sizes[1:], classes]
        matrices = _draw(list(zip(sizes, widths, strict=True)), seed, dtype)
        named = dict(zip(_names(sites, len(sizes)), matrices, strict=True))
        return cls(named, kind="fa", seed=seed, derivative=derivative)

    @property
    def sites(self) -> tuple[str, ...]:
        """Site names, in order."""
        return self._sites

    def __getitem__(self, site: str) -> Tensor:
        """The matrix of a site.

        Raises:
            MissingFeedbackError: no such site.
        """
        if site not in self._sites:
            raise MissingFeedbackError(f"feedback for site {site!r} (known: {', '.join(self._sites)})")
        matrix: Tensor = getattr(self, f"matrix_{self._sites.index(site)}")
        return matrix

    def __contains__(self, site: object) -> bool:
        return site in self._sites

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)

    def keys(self) -> tuple[str, ...]:
        """Site names, in order, as a mapping has them."""
        return self._sites

    def items(self) -> list[tuple[str, Tensor]]:
        """(site, matrix) pairs, in order."""
        return [(site, self[site]) for site in self._sites]

    def credit(self, error: Tensor, slopes: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The credit ``a_l`` at every site from the output error (..., C).

        Args:
            error: ``softmax - onehot``, for example.
            slopes: site to f' there, shaped as the credit; for feedback with ``derivative=True``, and only there.

        Raises:
            ValueError: kind ``"custom"``: how its matrices combine is not known; slopes that are missing, or not used.

        Example:
            >>> feedback = Feedback.dfa([4], classes=3, seed=0, derivative=True)
            >>> z = torch.tensor([[-1.0, 2.0, 3.0, -4.0]])
            >>> feedback.credit(torch.ones(1, 3), {"blocks.0": (z > 0).float()})["blocks.0"].ne(0)
            tensor([[False,  True,  True, False]])
        """
        if self.kind == "custom":
            raise ValueError('feedback of kind "custom" does not say how its matrices combine')
        if self.derivative == (slopes is None):
            raise ValueError("slopes, site to f', belong to feedback with derivative=True, and to no other")
        credits: dict[str, Tensor] = {}
        signal = error
        for site, matrix in reversed(self.items()):
            signal = _product(error if self.kind == "dfa" else signal, matrix)
            signal = signal if slopes is None else signal * slopes[site]
            credits[site] = signal
        return {site: credits[site] for site in self._sites}

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each matrix (dtype, shape, content)."""
        return {site: tensor_digest(matrix) for site, matrix in self.items()}

    @property
    def digest(self) -> str:
        """SHA-256 of kind, sites and matrices: quote it beside every alignment (dtype matters, device does not)."""
        return tree_digest([self.kind, self.digests, *(["derivative"] if self.derivative else [])])

    def get_extra_state(self) -> dict[str, Any]:
        """Site map, kind and seed, for ``state_dict``."""
        return {"sites": list(self._sites), "kind": self.kind, "seed": self.seed, "derivative": self.derivative}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take site map, kind and seed from a ``state_dict``."""
        self._sites = tuple(state["sites"])
        self.kind, self.seed, self.derivative = state["kind"], state["seed"], state.get("derivative", False)

    def extra_repr(self) -> str:
        """For ``print``."""
        derivative = ", derivative=True" if self.derivative else ""
        return f"kind={self.kind!r}, seed={self.seed}, sites={len(self._sites)}{derivative}, digest={self.digest[:12]}"


def _product(error: Tensor, matrix: Tensor) -> Tensor:
    """In the wider of the two dtypes: errors are often fp64 where matrices are fp32."""
    dtype = torch.promote_types(error.dtype, matrix.dtype)
    return error.to(dtype) @ matrix.to(dtype).mT


def _names(sites: Sequence[str] | None, count: int) -> list[str]:
    names = [f"blocks.{i}" for i in range(count)] if sites is None else list(sites)
    if len(names) != count or len(set(names)) != count:
        raise ValueError(f"need {count} different site names, got {names}")
    return names
