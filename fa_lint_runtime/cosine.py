"""Cosine similarity without a floor, exact at every magnitude.

No eps anywhere: a quotient that has a value is computed, whatever the norms; one that has none is NaN.
``F.cosine_similarity`` (https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cosine_similarity.html)
replaces every norm below 1e-8 by 1e-8: for ``||g|| = 5e-10`` it reports a twentieth of the cosine.

This module only chooses; the arithmetic lives in ``kernels``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .arguments import floating_tensor, result_dtype, shaped
from .eager import WITHOUT_FP64, is_plain_eager
from .errors import UndefinedCosineError
from .kernels import compensated, composite, function
from .kernels import triton as triton_kernels

__all__ = ["SafeCosineSimilarity", "Undefined", "safe_cosine", "safe_cosine_similarity"]

Undefined = Literal["nan", "raise"]


def safe_cosine(
    a: Tensor, b: Tensor, dim: int = -1, *, keepdim: bool = False, undefined: Undefined = "nan", exact: bool = False
) -> Tensor:
    """Cosine of the angle between ``a`` and ``b`` along ``dim``, right for every finite magnitude of either.

    fp16, bf16 and fp32 on a CPU: correctly rounded for \\|cos\\| >= 1e-9 (for any \\|cos\\| with ``exact=True``). fp64:
    absolute error below 4e-16 up to length 4096 and 4e-15 at 1e6; ``exact=True`` rounds it correctly.
    Symmetric, odd, 1 for ``a`` with itself, never outside [-1, 1], unchanged when an operand is multiplied by a power
    of two: bit by bit.

    Args:
        a, b: floating point, of shapes that broadcast; ``dim`` counts in the broadcast shape. Mixed dtypes promote as
            in torch. 0-dim tensors are vectors of length 1; vectors of length 0 have no cosine.
        dim: where the vectors lie.
        keepdim: keep ``dim`` with size 1.
        undefined: what a zero vector, or one that holds an inf or a NaN, gives: ``"nan"``, or ``"raise"``.
            It never becomes a number; a NaN takes no part in the gradient of the others (``nanmean`` trains).
        exact: spend more to round correctly where cancellation is heavy (eager CPU only; elsewhere without effect).

    Returns:
        Tensor: the broadcast shape without ``dim``, in the promoted dtype (float32 for 8-bit floats).

    Raises:
        UndefinedCosineError: with ``undefined="raise"``; carries index, reason, and how many.
        TypeError: integers, bools (convert them first) and complex numbers (two conventions: see the message); tensors
            that are sparse, nested or of MKL-DNN.
        IndexError: ``dim`` out of range.
        ValueError: an unknown ``undefined``.

    Notes:
        Twice differentiable, immune to autocast, works under ``torch.func``, ``torch.compile(fullgraph=True)``, meta
        and fake tensors and on DTensors; there, and on CUDA without Triton, through a composite fp64 formula that is
        accurate
        to a few 1e-16 but not certified to round correctly. ``torch.set_flush_denormal(True)`` makes subnormal inputs
        zero: NaN. The method is that of Kahan (accumulate wider, scale by powers of two), see ``kernels.blocked``.

    Example:
        >>> g = torch.tensor([3e-10, 4e-10])
        >>> safe_cosine(g, torch.tensor([1.0, 0.0]))
        tensor(0.6000)
        >>> torch.nn.functional.cosine_similarity(g, torch.tensor([1.0, 0.0]), dim=-1)
        tensor(0.0300)
        >>> safe_cosine(torch.zeros(2), g)
        tensor(nan)
    """
    floating_tensor("a", a)
    floating_tensor("b", b)
    if undefined not in ("nan", "raise"):
        raise ValueError(f'undefined must be "nan" or "raise", got {undefined!r}')
    scalar = a.ndim == 0 and b.ndim == 0
    dtype = a.dtype if a.dtype == b.dtype and a.dtype.itemsize > 1 else result_dtype(a.dtype, b.dtype)
    a, b, dim = shaped(a, b, dim)
    result = _dispatch(a, b, dim, keepdim and not scalar, dtype, exact)
    if undefined == "raise":
        _raise_if_undefined(a, b, dim, result, keepdim and not scalar)
    return result


def safe_cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1) -> Tensor:
    """:func:`safe_cosine` with the arguments of ``F.cosine_similarity``, but ``eps``, which is what makes it wrong.

    Example:
        >>> safe_cosine_similarity(torch.tensor([[3e-10, 4e-10]]), x2=torch.tensor([[1.0, 0.0]]))
        tensor([0.6000])
    """
    return safe_cosine(x1, x2, dim)


class SafeCosineSimilarity(nn.Module):
    """:func:`safe_cosine` in place of ``torch.nn.CosineSimilarity``.

    Args:
        dim: where the vectors lie.

    Example:
        >>> SafeCosineSimilarity(dim=1)(torch.tensor([[3e-10, 4e-10]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.6000])
    """

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The cosines along ``dim``."""
        return safe_cosine_similarity(x1, x2, self.dim)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"dim={self.dim}"


def _dispatch(a: Tensor, b: Tensor, dim: int, keepdim: bool, dtype: torch.dtype, exactly: bool) -> Tensor:
    if torch.compiler.is_compiling():
        return composite.cosine(a, b, dim, keepdim).to(dtype)
    on_cpu = a.is_cpu and b.is_cpu
    if not on_cpu and a.device.type in WITHOUT_FP64:
        return compensated.cosine(a, b, dim, keepdim).to(dtype)
    if not is_plain_eager(a, b):
        return composite.cosine(a, b, dim, keepdim).to(dtype)
    if on_cpu:
        if dim != a.ndim - 1:
            a, b = a.movedim(dim, -1), b.movedim(dim, -1)
        result = function.cosine(a, b, dtype, exactly)
        return result.unsqueeze(dim) if keepdim else result
    if triton_kernels.usable(a, b):
        result = triton_kernels.cosine(a.movedim(dim, -1), b.movedim(dim, -1), dtype)
        return result.unsqueeze(dim) if keepdim else result
    return composite.cosine(a, b, dim, keepdim).to(dtype)


def _raise_if_undefined(a: Tensor, b: Tensor, dim: int, result: Tensor, keepdim: bool) -> None:
    if result.is_meta or not is_plain_eager(result):
        raise RuntimeError(
            'undefined="raise" must look at values, which do not exist under torch.compile, torch.func, meta or fake '
            'tensors: use undefined="nan" there and count the NaNs outside'
        )
    flat = (result.squeeze(dim) if keepdim else result).detach()
    bad = torch.isnan(flat)
    count = int(bad.sum())
    if count == 0:
        return
    index = tuple(int(i) for i in bad.nonzero()[0])
    vectors = {"a": a.detach().movedim(dim, -1)[index], "b": b.detach().movedim(dim, -1)[index]}
    reasons = [f"{name} {_flaw(vector)}" for name, vector in vectors.items() if _flaw(vector)]
    raise UndefinedCosineError(index, " and ".join(reasons), count, flat.numel())


def _flaw(vector: Tensor) -> str:
    if vector.numel() == 0:
        return "has length 0"
    if bool(torch.isnan(vector).any()):
        return "holds a NaN"
    if bool(torch.isinf(vector).any()):
        return "holds an inf"
    return "" if bool(vector.any()) else "is a zero vector"
