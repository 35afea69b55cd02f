"""Whether a tensor is plain memory, so that a kernel may read it, or stands for something else."""

from __future__ import annotations

import torch
from torch import Tensor

from .kernels import slabs

__all__ = ["WITHOUT_FP64", "in_slabs", "is_plain_cpu", "is_plain_eager"]

WITHOUT_FP64 = frozenset({"mps"})
_PLAIN = (Tensor, torch.nn.Parameter)


def _is_eager() -> bool:
    """No tracing, no torch.func transform, no forward-mode AD, no dispatch mode: plain memory can be touched."""
    return (
        torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and torch.autograd.forward_ad._current_level < 0
        and torch._C._get_tracing_state() is None
    )


def is_plain_eager(*operands: Tensor) -> bool:
    """Ordinary strided tensors, and torch is not compiling either."""
    for x in operands:  # no generator: small inputs feel it
        if type(x) not in _PLAIN or x.layout is not torch.strided:
            return False
    return not torch.compiler.is_compiling() and _is_eager()


def is_plain_cpu(*operands: Tensor) -> bool:
    return is_plain_eager(*operands) and all(x.is_cpu for x in operands)


def in_slabs(*operands: Tensor) -> bool:
    """Whether operands of one shape are large enough for their fp64 copies to matter, and can be cut."""
    return operands[0].numel() > slabs.SLAB and is_plain_cpu(*operands)
