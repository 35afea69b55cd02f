"""Cosines, norms, unit vectors and angles that no magnitude can falsify.

No eps anywhere: a quotient that has a value is computed, whatever the norms; one that has none is NaN.
``F.cosine_similarity`` (https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cosine_similarity.html)
replaces every norm below 1e-8 by 1e-8: for ``||g|| = 5e-10`` it reports a twentieth of the cosine.

This module only chooses; the arithmetic lives in ``kernels``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .arguments import floating_tensor, normalized_dim, result_dtype
from .errors import UndefinedCosineError
from .kernels import blocked, compensated, composite, function
from .kernels import triton as triton_kernels

__all__ = ["Undefined", "safe_angle", "safe_cosine", "safe_cosine_matrix", "safe_norm", "safe_unit"]

Undefined = Literal["nan", "raise"]

_WITHOUT_FP64 = frozenset({"mps"})
_PLAIN = (Tensor, torch.nn.Parameter)


def _is_eager() -> bool:
    """No tracing, no torch.func transform, no forward-mode AD, no dispatch mode: plain memory can be touched."""
    return (
        torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and torch.autograd.forward_ad._current_level < 0
        and torch._C._get_tracing_state() is None
    )


def _is_plain(x: Tensor) -> bool:
    return type(x) in _PLAIN and x.layout is torch.strided


def _shaped(a: Tensor, b: Tensor, dim: int) -> tuple[Tensor, Tensor, int]:
    """Operands of one shape, at least 1-D, and a non-negative dim."""
    if a.shape != b.shape:
        shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]
        a, b = a.expand(shape), b.expand(shape)
    dim = normalized_dim(dim, a.ndim)
    return (a, b, dim) if a.ndim else (a.reshape(1), b.reshape(1), 0)


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
        TypeError: integers, bools (convert them first) and complex numbers (two conventions: see the message).
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
    a, b, dim = _shaped(a, b, dim)
    result = _dispatch(a, b, dim, keepdim and not scalar, dtype, exact)
    if undefined == "raise":
        _raise_if_undefined(a, b, dim, result, keepdim and not scalar)
    return result


def _dispatch(a: Tensor, b: Tensor, dim: int, keepdim: bool, dtype: torch.dtype, exactly: bool) -> Tensor:
    if torch.compiler.is_compiling():
        return composite.cosine(a, b, dim, keepdim).to(dtype)
    on_cpu = a.is_cpu and b.is_cpu
    if not on_cpu and a.device.type in _WITHOUT_FP64:
        return compensated.cosine(a, b, dim, keepdim).to(dtype)
    if not (_is_plain(a) and _is_plain(b) and _is_eager()):
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
    if torch.compiler.is_compiling() or result.is_meta or not (_is_plain(result) and _is_eager()):
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


def safe_norm(x: Tensor, dim: int = -1, keepdim: bool = False) -> Tensor:
    """L2 norm along ``dim``, in the unit and dtype of ``x``, without needless under- or overflow.

    It is inf only if the norm itself exceeds the dtype (fp16 ends at 65504: measure such norms on ``x.float()``) and
    0 only if the vector is zero, or the norm below the dtype. ``torch.linalg.vector_norm``
    (https://docs.pytorch.org/docs/stable/generated/torch.linalg.vector_norm.html) squares in the dtype: in fp32 it is
    0 below 1e-23.

    Args:
        x: floating point, any shape; a 0-dim tensor is a vector of length 1.
        dim: where the vectors lie. It is a dimension, never an order: ``x.norm(-1)`` is not ``safe_norm(x, -1)``
            (FAL101).
        keepdim: keep ``dim`` with size 1.

    Returns:
        Tensor: shape of ``x`` without ``dim``; NaN where a vector holds a NaN, inf where it holds an inf, 0 for
            length 0.
        Differentiable; the gradient of a zero vector is 0, as in torch.

    Raises:
        TypeError: not a real floating-point tensor.
        IndexError: ``dim`` out of range.

    Example:
        >>> safe_norm(torch.tensor([3e-30, 4e-30]))
        tensor(5.0000e-30)
        >>> torch.tensor([3e-30, 4e-30]).norm(dim=-1)
        tensor(0.)
    """
    floating_tensor("x", x)
    dtype = result_dtype(x.dtype, x.dtype)
    scalar = x.ndim == 0
    dim = normalized_dim(dim, x.ndim)
    x = x.reshape(1) if scalar else x
    if _can_block(x):
        result = blocked.norm(x, dim).to(dtype)
        return result.unsqueeze(dim) if keepdim and not scalar else result
    if x.device.type in _WITHOUT_FP64:
        return _norm_without_fp64(x, dim, keepdim and not scalar).to(dtype)
    return composite.norm(x, dim, keepdim and not scalar).to(dtype)


def _can_block(x: Tensor) -> bool:
    if torch.compiler.is_compiling() or x.device.type != "cpu" or not (_is_plain(x) and _is_eager()):
        return False
    return not (x.requires_grad and torch.is_grad_enabled())


def _norm_without_fp64(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        wide = x.to(torch.float32)
        amax = wide.detach().abs().amax(dim, keepdim=True) if x.shape[dim] else wide.new_zeros(())
        scale = torch.where((amax > 0) & torch.isfinite(amax), amax, 1.0)
        unit: Tensor = torch.linalg.vector_norm(wide / scale, dim=dim, keepdim=True) * scale
    return unit if keepdim else unit.squeeze(dim)


def safe_unit(x: Tensor, dim: int = -1) -> Tensor:
    """``x / ||x||`` along ``dim``, right for every finite magnitude; NaN for zero and non-finite vectors.

    ``F.normalize`` (https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.normalize.html) divides by
    ``max(||x||, 1e-12)`` instead and returns something that is no unit vector.

    Args:
        x: floating point, any shape; a 0-dim tensor gives its sign.
        dim: where the vectors lie.

    Returns:
        Tensor: shape of ``x``, its dtype (float32 for 8-bit floats). Twice differentiable.

    Raises:
        TypeError: not a real floating-point tensor.
        IndexError: ``dim`` out of range.

    Example:
        >>> safe_unit(torch.tensor([[3e-30, 4e-30], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [   nan,    nan]])
    """
    floating_tensor("x", x)
    dtype = result_dtype(x.dtype, x.dtype)
    dim = normalized_dim(dim, x.ndim)
    if x.device.type in _WITHOUT_FP64:
        norm = _norm_without_fp64(x, dim, True)
        return torch.where((norm > 0) & torch.isfinite(norm), x.to(torch.float32) / norm, float("nan")).to(dtype)
    wide = composite.unit(x.reshape(1) if x.ndim == 0 else x, dim)
    return wide.to(dtype).reshape(x.shape) if x.ndim == 0 else wide.to(dtype)


def safe_angle(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """Angle between ``a`` and ``b`` along ``dim``, in radians, 0 to pi; accurate near 0 and pi, where ``acos`` is not.

    ``2 atan2(|u - v|, |u + v|)`` for the unit vectors u and v (Kahan, "How Futile are Mindless Assessments of
    Roundoff", 2006, section 12). The absolute error before rounding to the dtype is a few 1e-16; ``acos`` of an fp32
    cosine loses
    every angle below 3e-4, and is NaN where rounding lifts the cosine above 1 (FAL204).

    Args:
        a, b: floating point, of shapes that broadcast; ``dim`` counts in the broadcast shape.
        dim: where the vectors lie.

    Returns:
        Tensor: the broadcast shape without ``dim``, in the promoted dtype; NaN for zero and non-finite vectors.
        Differentiable except at 0 and pi, where the gradient given is 0.

    Raises:
        TypeError: not real floating-point tensors.
        IndexError: ``dim`` out of range.

    Example:
        >>> safe_angle(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1e-6]))
        tensor(1.0000e-06)
        >>> torch.acos(torch.cosine_similarity(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1e-6]), dim=-1))
        tensor(0.)
    """
    floating_tensor("a", a)
    floating_tensor("b", b)
    dtype = result_dtype(a.dtype, b.dtype)
    a, b, dim = _shaped(a, b, dim)
    if a.device.type in _WITHOUT_FP64:
        u, v = safe_unit(a.to(torch.float32), dim), safe_unit(b.to(torch.float32), dim)
        return 2 * torch.atan2(_norm_without_fp64(u - v, dim, False), _norm_without_fp64(u + v, dim, False)).to(dtype)
    u, v = composite.unit(a, dim), composite.unit(b, dim)
    return (2 * torch.atan2(composite.norm(u - v, dim, False), composite.norm(u + v, dim, False))).to(dtype)


_MATRIX_ROWS = 1024


def safe_cosine_matrix(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Cosines of every row of ``a`` with every row of ``b`` (of ``a``, if ``b`` is left out): one fp64 product a block.

    Args:
        a: floating point, (..., n, d).
        b: floating point, (..., m, d), its leading dimensions broadcasting with those of ``a``.

    Returns:
        Tensor: (..., n, m) in the promoted dtype, within [-1, 1]; NaN where a row is zero or not finite. Accurate to a
        few 1e-16 before rounding to the dtype. Without ``b``, symmetric with a diagonal of exact ones. Differentiable.

    Raises:
        TypeError: not real floating-point tensors.
        ValueError: fewer than two dimensions, or different d.

    Example:
        >>> safe_cosine_matrix(torch.tensor([[1e-30, 0.0], [1e20, 1e20]]))
        tensor([[1.0000, 0.7071],
                [0.7071, 1.0000]])
    """
    other = a if b is None else b
    floating_tensor("a", a)
    floating_tensor("b", other)
    if a.ndim < 2 or other.ndim < 2 or a.shape[-1] != other.shape[-1]:
        raise ValueError(f"need (..., n, d) and (..., m, d), got {tuple(a.shape)} and {tuple(other.shape)}")
    dtype = result_dtype(a.dtype, other.dtype)
    if a.device.type in _WITHOUT_FP64:
        return safe_cosine(a.unsqueeze(-2), other.unsqueeze(-3))
    tracked = torch.is_grad_enabled() and (a.requires_grad or other.requires_grad)
    eager = not torch.compiler.is_compiling() and _is_plain(a) and _is_plain(other) and _is_eager()
    if eager and not tracked and a.ndim == other.ndim == 2:
        result = _blocked_matrix(a, other, dtype)
    else:
        result = _cosine_product(composite.unit(a, a.ndim - 1), composite.unit(other, other.ndim - 1)).to(dtype)
    return _mirrored(result) if b is None else result


def _cosine_product(u: Tensor, v: Tensor) -> Tensor:
    product = u @ v.mT
    return product + (product.detach().clamp(-1.0, 1.0) - product.detach())


def _blocked_matrix(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    result = torch.empty((len(a), len(b)), dtype=dtype, device=a.device)
    for j in range(0, len(b), _MATRIX_ROWS):
        v = composite.unit(b[j : j + _MATRIX_ROWS], 1)
        for i in range(0, len(a), _MATRIX_ROWS):
            u = composite.unit(a[i : i + _MATRIX_ROWS], 1)
            result[i : i + _MATRIX_ROWS, j : j + _MATRIX_ROWS] = _cosine_product(u, v)
    return result


def _mirrored(square: Tensor) -> Tensor:
    """The lower triangle on both sides, and 1 (or NaN) on the diagonal: a product is not symmetric to the last bit."""
    lower = square.tril(-1)
    diagonal = square.diagonal(dim1=-2, dim2=-1)
    ones = torch.where(torch.isnan(diagonal), diagonal, diagonal - diagonal.detach() + 1.0)
    return lower + lower.mT + torch.diag_embed(ones)
