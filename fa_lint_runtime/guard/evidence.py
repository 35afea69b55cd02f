"""Which tensors are known to be gradients: results of ``autograd.grad``, ``.grad`` of leaves, anything in backward."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .functorch import has_memory

__all__ = ["forget", "in_backward", "is_gradient", "remember_grads", "remember_leaves"]

_results: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
_leaves: dict[int, weakref.ref[Tensor]] = {}
_backwards = 0
_lock = threading.Lock()
_MOST_NODES = 20_000


def in_backward() -> bool:
    """Whether autograd is running on this thread."""
    return torch._C._current_graph_task_id() != -1


def remember_grads(grads: Iterable[Any]) -> None:
    """Results of ``torch.autograd.grad``."""
    for grad in grads:
        if type(grad) is Tensor:
            _results[id(grad)] = grad


def remember_leaves(roots: Iterable[Any]) -> None:
    """The leaves below the roots of a ``backward``: walked on the 1st, 2nd, 4th, 8th … backward only."""
    global _backwards
    with _lock:
        _backwards += 1
        if _backwards & (_backwards - 1):
            return
    stack: list[Any] = [root.grad_fn for root in roots if isinstance(root, Tensor) and root.grad_fn is not None]
    seen: set[Any] = set()
    while stack and len(seen) < _MOST_NODES:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor):
            _leaves[id(leaf)] = weakref.ref(leaf)
        stack.extend(following for following, _ in node.next_functions)


def is_gradient(operands: Iterable[Tensor]) -> bool:
    """Whether any operand lies in the memory of a known gradient, or autograd is running."""
    if in_backward():
        return True
    places = {x.untyped_storage().data_ptr() for x in operands if has_memory(x)} - {0}
    known = list(_results.values())
    for reference in list(_leaves.values()):
        leaf = reference()
        if leaf is not None and leaf.grad is not None:
            known.append(leaf.grad)
    return any(has_memory(g) and g.untyped_storage().data_ptr() in places for g in known)


def forget() -> None:
    """Drop everything; called when the last guard ends."""
    global _backwards
    _results.clear()
    _leaves.clear()
    _backwards = 0
