"""Hooks below Python: kernels that look on while aten does its work.

A hook at the dispatcher sees a call whatever name it came by: ``from … import``, an entry of a list, a partial, a
thread, a backward hook, a recomputation, ``torch.func``, ``torch.jit``. It never sees compiled code. Each kernel calls
what was there before, with the same arguments, and returns its result untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .callsite import Call, caller, keywords_at
from .casts import is_asked_for
from .checks.acos import acos_out_of_range
from .checks.averaged_norm import averaged_norm, gradient_below_norm
from .checks.cast import flushed
from .checks.clamped_cosine import clamped_cosine
from .checks.cut import cut_lengths, cut_to_common_length
from .checks.division import undefined_cosine
from .checks.embedding_loss import floored_embedding_loss
from .checks.norm import negative_order, underflowed_norm
from .checks.normalize import floored_normalize
from .checks.overflow import overflowed_cosine, overflowed_norm
from .checks.self_cosine import same_memory, self_cosine
from .derivatives import is_differentiated, singular_entries, watch_derivative, watch_root
from .evidence import gradient_at, gradients_of_samples, in_backward
from .half import cast_of_this_node, remember_cast, watch_gradient
from .masking import unmasked
from .measurement import Measurement
from .registration import Kernel, Wrapper, register
from .watch import collecting_norms, is_inside, nested, offer_norm, quiet, watch

__all__ = ["install", "install_casts"]

_NORMALIZE = torch.nn.functional.normalize.__code__


def _look_at_cosine(
    x1: Tensor, x2: Tensor, dim: int, eps: float, result: Any, taken: list[Tensor], call: Call | None
) -> None:
    back = dim - max(x1.ndim, x2.ndim, 1) if dim >= 0 else dim
    pair, name = (x1, x2), "F.cosine_similarity"
    if same_memory(x1, x2):
        watch("self-cosine", name, pair, lambda xs, now: self_cosine(xs[0], now=now), call)
    _look_at_lengths(name, x1, x2, call)
    plain = not (_wrapped(x1) or _wrapped(x2))
    out = result if plain else None
    # The very norms that aten divides by, where it asked for exactly these.
    own = (taken[0], taken[1]) if plain and len(taken) == 2 else None
    watch(
        "clamped-cosine",
        name,
        pair,
        lambda xs, now: clamped_cosine(xs[0], xs[1], back, eps, out, own, now=now),
        call,
    )
    lost = partial(overflowed_cosine, dim=back, result=out, taken=own)
    watch("overflowed-cosine", name, pair, lambda xs, now: lost(*xs, now=now), call)
    if eps == 0 and out is not None:
        watch("zero-by-zero", name, pair, unmasked(partial(undefined_cosine, result=out), out, call), call)


def _look_at_lengths(name: str, x1: Tensor, x2: Tensor, call: Call | None) -> None:
    if x1._base is None and x2._base is None:
        return
    lengths = cut_lengths(x1, x2, gradient_at)
    if lengths is not None:
        pair = (x1, x2)
        watch("cut-to-common-length", name, pair, lambda xs, now: cut_to_common_length(xs[0], lengths, now=now), call)


def _cosine(below: Kernel) -> Kernel:
    def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Any:
        if is_inside():
            return below(x1, x2, dim, eps)
        with collecting_norms() as taken:
            result = below(x1, x2, dim, eps)
        with quiet():
            _look_at_cosine(x1, x2, dim, eps, result, taken, caller())
        return result

    return cosine_similarity


def _wrapped(x: Tensor) -> bool:
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(x))


def _embedding_loss(below: Kernel) -> Kernel:
    def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, *rest: Any, **options: Any) -> Any:
        if is_inside():
            return below(input1, input2, target, *rest, **options)
        with nested():
            result = below(input1, input2, target, *rest, **options)
        with quiet():
            call = caller()
            pair, name = (input1, input2), "F.cosine_embedding_loss"
            if same_memory(input1, input2):
                watch("self-cosine", name, pair, lambda xs, now: self_cosine(xs[0], now=now), call)
            watch("floored-embedding-loss", name, pair, lambda xs, now: floored_embedding_loss(*xs, now=now), call)
        return result

    return cosine_embedding_loss


def _is_wrong_order(order: Any) -> bool:
    return isinstance(order, int | float) and order < 0 and order != float("-inf")


def _watch_order(name: str, x: Tensor, order: Any, result: Any, call: Call | None) -> None:
    if keywords_at(call) & {"p", "ord", "norm_deg"}:
        return
    out = None if _wrapped(x) else result
    watch("negative-norm-order", name, (x,), lambda xs, now: negative_order(xs[0], float(order), out, now=now), call)


def _linalg_norm(below: Kernel) -> Kernel:
    def linalg_norm(self: Tensor, *rest: Any, **options: Any) -> Any:
        order = rest[0] if rest else options.get("ord")
        if is_inside() or not _is_wrong_order(order):
            return below(self, *rest, **options)
        with nested():
            result = below(self, *rest, **options)
        with quiet():
            _watch_order("torch.linalg.norm", self, order, result, caller())
        return result

    return linalg_norm


def _pairwise(below: Kernel) -> Kernel:
    def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, *rest: Any, **options: Any) -> Any:
        if is_inside() or not _is_wrong_order(p):
            return below(x1, x2, p, *rest, **options)
        with nested():
            result = below(x1, x2, p, *rest, **options)
        with quiet():
            _watch_order("F.pairwise_distance", x1, p, result, caller())
        return result

    return pairwise_distance


def _vector_norm(self: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    result = torch.empty(0, dtype=_real(dtype or self.dtype), device=self.device)
    torch.linalg.vector_norm(self, ord, dim, keepdim, dtype=dtype, out=result)
    if is_inside():
        offer_norm(result)
        return result
    if ord == 2:
        _watch_small_norm(self, dim, result)
    elif _is_wrong_order(ord):
        _watch_order("torch.linalg.vector_norm", self, ord, result, caller())
    return result


def _real(dtype: torch.dtype) -> torch.dtype:
    return dtype.to_real() if dtype.is_complex else dtype


def _watch_small_norm(x: Tensor, dim: Any, result: Tensor) -> None:
    call = caller()
    axes = None if dim is None or len(dim) == 0 else tuple(dim)
    frame = call.frame_of(_NORMALIZE) if call else None
    name = "torch.linalg.vector_norm" if frame is None else "F.normalize"
    watch("overflowed-norm", name, (x,), lambda xs, now: overflowed_norm(xs[0], result, axes, now=now), call)
    if frame is not None:
        eps = float(frame.f_locals["eps"])

        def floored(xs: tuple[Tensor, ...], now: bool) -> tuple[int, Measurement | None]:
            return floored_normalize(xs[0], result, axes, eps, now=now)

        watch("floored-normalize", "F.normalize", (x,), floored, call)
        return

    def underflowed(xs: tuple[Tensor, ...], now: bool) -> tuple[int, Measurement | None]:
        return underflowed_norm(xs[0], result, axes, now=now)

    watch("underflowed-norm", "torch.linalg.vector_norm", (x,), underflowed, call)


def _acos(self: Tensor) -> Any:
    dtype = self.dtype if self.dtype.is_floating_point or self.dtype.is_complex else torch.get_default_dtype()
    result = torch.empty_like(self, dtype=dtype)
    torch.acos(self, out=result)
    if not is_inside():
        watch("acos-out-of-range", "torch.acos", (self,), lambda xs, now: acos_out_of_range(xs[0], now=now), caller())
    return result


def _acos_(self: Tensor) -> Any:
    if not is_inside():
        watch("acos-out-of-range", "Tensor.acos_", (self,), lambda xs, now: acos_out_of_range(xs[0], now=now), caller())
    return torch.acos(self, out=self)


def _to(below: Kernel) -> Kernel:
    def to(self: Any, *rest: Any, **options: Any) -> Any:
        result = below(self, *rest, **options)
        with quiet():
            # A Python number that meets a half tensor arrives here as itself.
            if isinstance(self, Tensor) and self.dtype is not result.dtype and not is_inside():
                if result.dtype is torch.float16 and self.dtype.is_floating_point:
                    _watch_cast(self, result)
                elif self.dtype is torch.float16 and result.requires_grad:
                    remember_cast(result, caller())
        return result

    return to


def _watch_cast(x: Tensor, result: Tensor) -> None:
    call = caller(cast_of_this_node())
    # Autocast is off while it casts, so ``is_autocast_enabled`` says nothing here.
    automatic = not is_asked_for() and torch.get_autocast_dtype(x.device.type) is torch.float16
    kind = "gradient-flush" if in_backward() else "autocast-flush" if automatic else "half-flush"
    name = {"gradient-flush": "backward", "autocast-flush": "autocast"}.get(kind, "Tensor.to")
    watch(kind, name, (x, result), lambda xs, now: flushed(kind, *xs, now=now), call)
    if kind == "autocast-flush" and result.requires_grad:
        watch_gradient(result, call)


def _arc(name: str) -> Wrapper:
    kind = "acos-gradient-at-boundary"

    def wrapper(below: Kernel) -> Kernel:
        def arc(self: Tensor) -> Any:
            # Before the call, which may be in place.
            ends = singular_entries(self, lambda x: x.abs() == 1) if is_differentiated(self, kind) else None
            result = below(self)
            if ends is not None:
                watch_derivative(kind, name, result, ends)
            return result

        return arc

    return wrapper


def _pow(below: Kernel) -> Kernel:
    def power(self: Tensor, exponent: Any) -> Any:
        result = below(self, exponent)
        if isinstance(exponent, float) and 0 < exponent < 1:
            watch_root("torch.pow", result)
        return result

    return power


def _mean(below: Kernel) -> Kernel:
    def mean(self: Tensor, **options: Any) -> Any:
        kind = "averaged-scalar-norm"
        with quiet():
            if self.ndim == 0 and is_differentiated(self, kind):
                gradient = gradient_below_norm(self, gradients_of_samples())
                if gradient is not None:
                    check = partial(averaged_norm, gradient)
                    watch(kind, "mean", (gradient,), lambda _, now: check(now=now), caller())
        return below(self, **options)

    return mean


def _dot(below: Kernel) -> Kernel:
    def dot(self: Tensor, tensor: Tensor) -> Any:
        result = below(self, tensor)
        if not is_inside():
            with quiet():
                _look_at_lengths("torch.dot", self, tensor, caller())
        return result

    return dot


_COMPOSITE: dict[str, Wrapper] = {
    "cosine_similarity": _cosine,
    "cosine_embedding_loss": _embedding_loss,
    "linalg_norm": _linalg_norm,
    "pairwise_distance": _pairwise,
}
_CASTS: dict[str, Wrapper] = {
    "to.dtype": _to,
    "to.device": _to,
    "to.other": _to,
    "to.dtype_layout": _to,
}
_BACKEND: dict[str, Kernel] = {
    "linalg_vector_norm": _vector_norm,
    "acos": _acos,
    "acos_": _acos_,
}
_DIFFERENTIABLE: dict[str, Wrapper] = {
    "acos": _arc("torch.acos"),
    "acos_": _arc("torch.acos"),
    "asin": _arc("torch.asin"),
    "asin_": _arc("torch.asin"),
    "pow.Tensor_Scalar": _pow,
    "pow_.Scalar": _pow,
    "mean": _mean,
    "dot": _dot,
}


def install() -> Callable[[], None]:
    """Register every hook but those of casts; the function returned takes them out and restores what was there."""
    return register(_COMPOSITE, _BACKEND, _DIFFERENTIABLE)


def install_casts() -> Callable[[], None]:
    """Register the hooks of casts. See ``casts``."""
    return register(_CASTS)
