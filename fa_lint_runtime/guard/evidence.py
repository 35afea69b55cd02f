"""Which tensors are known to be gradients: results of ``autograd.grad``, ``.grad`` of leaves, anything in backward."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from .functorch import has_memory

__all__ = [
    "forget", "gradient_at", "gradients_of_samples", "in_backward", "is_gradient", "leaves_below", "remember_grads",
    "remember_leaves",
]  # fmt: skip

_results: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
_of_samples: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
_leaves: dict[int, weakref.ref[Tensor]] = {}
_backwards = 0
_lock = threading.Lock()
_MOST_NODES = 20_000


def in_backward() -> bool:
    """Whether autograd is running on this thread."""
    return torch._C._current_graph_task_id() != -1


def remember_grads(grads: Iterable[Any], inputs: Iterable[Any]) -> None:
    """Results of ``torch.autograd.grad``."""
    for grad, of in zip(grads, inputs, strict=False):
        if type(grad) is Tensor:
            _results[id(grad)] = grad
            if grad.requires_grad and type(of) is Tensor:
                _of_samples[id(grad)] = grad


def gradients_of_samples() -> list[Tensor]:
    """Results of ``torch.autograd.grad(…, create_graph=True)`` with respect to what is no parameter."""
    return list(_of_samples.values())


def remember_leaves(roots: Iterable[Any]) -> None:
    """The leaves below the roots of a ``backward``: walked on the 1st, 2nd, 4th, 8th … backward only."""
    global _backwards
    with _lock:
        _backwards += 1
        if _backwards & (_backwards - 1):
            return
    for leaf in leaves_below(root.grad_fn for root in roots if isinstance(root, Tensor)):
        _leaves[id(leaf)] = weakref.ref(leaf)


def leaves_below(nodes: Iterable[Any]) -> Iterator[Tensor]:
    """The leaves that a backward pass from these nodes of the graph reaches."""
    stack = list(nodes)
    seen: set[Any] = set()
    while stack and len(seen) < _MOST_NODES:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor):
            yield leaf
        stack.extend(following for following, _ in node.next_functions)


def _known_gradients() -> Iterator[Tensor]:
    yield from list(_results.values())
    for reference in list(_leaves.values()):
        leaf = reference()
        if leaf is not None and leaf.grad is not None:
            yield leaf.grad


def gradient_at(x: Tensor) -> Tensor | None:
    """The known gradient that begins where ``x`` begins, the longest if there are several."""
    place = x.data_ptr()
    found = [g for g in _known_gradients() if has_memory(g) and g.is_contiguous() and g.data_ptr() == place]
    return max(found, key=Tensor.numel, default=None)


def is_gradient(operands: Iterable[Tensor]) -> bool:
    """Whether any operand lies in the memory of a known gradient, or autograd is running."""
    if in_backward():
        return True
    places = {x.untyped_storage().data_ptr() for x in operands if has_memory(x)} - {0}
    return any(has_memory(g) and g.untyped_storage().data_ptr() in places for g in _known_gradients())


def forget() -> None:
    """Drop everything; called when the last guard ends."""
    global _backwards
    _results.clear()
    _of_samples.clear()
    _leaves.clear()
    _backwards = 0
