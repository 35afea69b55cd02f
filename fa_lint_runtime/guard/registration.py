"""Kernels of ours in front of those of aten, in one of two ways, and out again.

Source: https://docs.pytorch.org/docs/stable/library.html (``Library.impl``).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch._C import DispatchKey

from .watch import quiet

__all__ = ["Kernel", "Wrapper", "register"]

Kernel = Callable[..., Any]
# Given what was there before, what stands in front of it.
Wrapper = Callable[[Kernel], Kernel]

# Where vmap takes composite functions apart.
_VMAP = "FuncTorchBatchedDecomposition"


def register(
    composite: Mapping[str, Wrapper],
    backend: Mapping[str, Kernel] = MappingProxyType({}),
    differentiable: Mapping[str, Wrapper] = MappingProxyType({}),
) -> Callable[[], None]:
    """Put every kernel in place; the function returned takes them out and restores what was there.

    Args:
        composite: functions that aten takes apart itself, with what is to stand in front of them.
        backend: functions with a kernel of their own. Nothing lies below a hook there, so it has to reach the same
            result another way.
        differentiable: functions with a kernel of their own and a formula for the backward pass, with what is to stand
            in front of the kernel that records the formula: the result has its graph there.

    A hook of a backend function must not take an operand that can be a number (``x / 3``): inside ``torch.func.grad``
    torch fails to hand such a number to Python.
    """
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    # torch says once that a kernel is being replaced, which is what is wanted here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, key, kernel in (*_composite(composite), *_backend(backend), *_recorded(differentiable)):
            library.impl(name, kernel, key)
    undo: Callable[[], None] = library._destroy
    return undo


def _composite(wrappers: Mapping[str, Wrapper]) -> Iterator[tuple[str, str, Kernel]]:
    for name, wrapper in wrappers.items():
        packet, _, overload = name.partition(".")
        op = getattr(getattr(torch.ops.aten, packet), overload or "default")
        kernel = wrapper(functools.partial(op._op_dk, DispatchKey.CompositeImplicitAutograd))
        for device in _devices():
            yield name, f"Autograd{device}", kernel
            # Inference tensors have no autograd key.
            yield name, device, kernel
        if _has_kernel(name, _VMAP):
            yield name, _VMAP, kernel


def _backend(kernels: Mapping[str, Kernel]) -> Iterator[tuple[str, str, Kernel]]:
    for name, kernel in kernels.items():
        for device in _devices():
            yield name, device, _quietly(kernel)


def _recorded(wrappers: Mapping[str, Wrapper]) -> Iterator[tuple[str, str, Kernel]]:
    for name, wrapper in wrappers.items():
        packet, _, overload = name.partition(".")
        op = getattr(getattr(torch.ops.aten, packet), overload or "default")
        # Registered once for all devices, so that it is still there under the alias.
        kernel = wrapper(functools.partial(op._op_dk, DispatchKey.Autograd))
        for device in _devices():
            yield name, f"Autograd{device}", kernel


def _devices() -> Sequence[str]:
    return ("CPU", "CUDA") if torch.cuda.is_available() else ("CPU",)


def _quietly(kernel: Kernel) -> Kernel:
    @functools.wraps(kernel)
    def run(*args: Any, **options: Any) -> Any:
        with quiet():
            return kernel(*args, **options)

    return run


def _has_kernel(name: str, key: str) -> bool:
    try:
        return bool(torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", key))
    except RuntimeError:
        return False
