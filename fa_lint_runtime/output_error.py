"""The output error of a softmax classifier, without the cancellation that loses confident samples."""

from __future__ import annotations

import torch
from torch import Tensor

from .arguments import floating_tensor, result_dtype

__all__ = ["error_of", "output_error"]


def output_error(logits: Tensor, target: Tensor) -> Tensor:
    """``softmax(logits) - onehot(target)``, the gradient of summed cross-entropy, every entry accurate relatively.

    The entry of the target is ``-(sum of the other probabilities)``. Written as ``p_y - 1`` it is 0 in fp32 from a
    logit gap of 18 on (true value -1.5e-8 a rival), and the sample drops out of the credit; the sum keeps it.

    Args:
        logits: floating point, (..., C).
        target: integer class indices, (...).

    Returns:
        Tensor: shape and dtype of ``logits`` (float32 for 8-bit floats), computed in fp64 (in fp32 on MPS). Each row
            sums to 0
        up to rounding. Differentiable.

    Raises:
        TypeError: logits not floating point, target not integer.
        ValueError: shapes that do not fit.
        IndexError: a class outside 0..C-1 (not checked where there are no values to look at: ``torch.compile``,
            ``torch.func``, meta and fake tensors).

    Source:
        The derivative of https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html with
        ``reduction="sum"``.

    Example:
        >>> logits, target = torch.tensor([[20.0, 0.0]]), torch.tensor([0])
        >>> output_error(logits, target)
        tensor([[-2.0612e-09,  2.0612e-09]])
        >>> logits.softmax(-1) - torch.tensor([[1.0, 0.0]])
        tensor([[0.0000e+00, 2.0612e-09]])
    """
    floating_tensor("logits", logits)
    if not isinstance(target, Tensor) or target.dtype not in (
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
    ):
        raise TypeError(
            f"target must hold integer class indices, got {getattr(target, 'dtype', type(target).__name__)}"
        )
    if logits.ndim == 0 or logits.shape[:-1] != target.shape:
        raise ValueError(f"need logits (..., C) and target (...), got {tuple(logits.shape)} and {tuple(target.shape)}")
    classes = logits.shape[-1]
    if _has_values(target) and target.numel():
        low, high = int(target.min()), int(target.max())
        if low < 0 or high >= classes:
            raise IndexError(f"target must lie in 0..{classes - 1}, got {low}..{high}")
    if logits.device.type == "mps":
        with torch.autocast("mps", enabled=False):
            error = error_of(logits.to(torch.float32), target)
    else:  # autocast leaves fp64 alone
        error = error_of(logits.to(torch.float64), target)
    return error.to(result_dtype(logits.dtype, logits.dtype))


def _has_values(x: Tensor) -> bool:
    if torch.compiler.is_compiling() or x.is_meta or type(x) is not Tensor:
        return False
    return torch._C._functorch.peek_interpreter_stack() is None and torch._C._len_torch_dispatch_stack() == 0


def error_of(logits: Tensor, target: Tensor) -> Tensor:
    """:func:`output_error` in the dtype of ``logits``, (..., C), of targets that were checked; no host sync."""
    own = torch.arange(logits.shape[-1], device=logits.device) == target.unsqueeze(-1)
    rivals = torch.where(own, 0.0, torch.softmax(logits, -1))
    return torch.where(own, -rivals.sum(-1, keepdim=True), rivals)
