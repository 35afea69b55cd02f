"""The mean of one number, which is the norm of a whole batch of gradients: a penalty for each sample was meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..measurement import Measurement

__all__ = ["averaged_norm", "gradient_below_norm"]

_ELEMENTWISE = frozenset("Abs Add Clamp ClampMin Div Mul Neg Pow Relu Rsub Sub".split())
_SHAPE = frozenset("Clone ReshapeAlias UnsafeView View".split())
_MOST_STEPS = 24


def gradient_below_norm(scalar: Tensor, gradients: Iterable[Tensor]) -> Tensor | None:
    """Return the gradient whose norm over all entries led to ``scalar``, if nothing else with a graph went into it.

    Only names, edges and numbers of the graph are read: a saved tensor may be there to be unpacked once.
    """
    known = [(g.grad_fn, g) for g in gradients if g.grad_fn is not None and g.ndim > 1 and len(g) > 1]
    node: Any = scalar.grad_fn
    rooted = normed = squared = False
    for _ in range(_MOST_STEPS if known else 0):
        if normed:
            for source, gradient in known:
                if source is node:
                    return gradient
        following = {edge for edge, _ in node.next_functions if edge is not None}
        name = node.name().partition("Backward")[0]
        if normed:
            if name not in _SHAPE and not (squared and name in ("Mul", "Pow")):
                return None
        elif name in ("LinalgVectorNorm", "Norm") or (name == "Sum" and rooted):
            normed, squared = True, name == "Sum"
        elif name == "Sqrt" or (name == "Pow" and getattr(node, "_saved_exponent", None) == 0.5):
            rooted = True
        elif name not in _ELEMENTWISE:
            return None
        if len(following) != 1:
            return None
        node = following.pop()
    return None


def averaged_norm(gradient: Tensor, *, now: bool) -> tuple[int, Measurement | None]:
    """The norm over everything against the mean of the norms of the samples (the first dimension)."""
    wide = gradient.to(torch.float32 if gradient.device.type == "mps" else torch.float64)
    each = torch.linalg.vector_norm(wide.flatten(1), dim=1)
    count: Tensor | int = 1 if now else each.new_ones(())
    whole = torch.linalg.vector_norm(each)
    return 1, Measurement("averaged-scalar-norm", count, 1, None, whole, each.mean(), None, str(len(gradient)))
