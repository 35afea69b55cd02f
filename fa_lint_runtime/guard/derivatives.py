"""Gradients through infinite derivatives, reported at the call of the forward pass.

What acos at 1 or a root at 0 sends back is inf or NaN, but ``relu``, ``clamp`` or ``where`` below it may put 0 there.
So the node is looked at while it runs, and it is an event only if a gradient at the end of the pass is not finite.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import functorch
from .callsite import Call, caller
from .checks.derivative import infinite_derivative, lost_entries
from .evidence import leaves_below
from .session import sessions_for
from .watch import any_wrapped, is_inside, quiet, unnoticed, watch

__all__ = ["confirming", "is_differentiated", "singular_entries", "watch_derivative", "watch_root"]


class _Suspect(NamedTuple):
    kind: str
    name: str
    place: Call | None
    gradient: Tensor
    lost: Tensor
    node: Any


class confirming:
    """A backward pass: collects what its nodes lost, for :meth:`confirm`."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self.suspects: list[_Suspect] = []

    def __enter__(self) -> confirming:
        _passes.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _passes.remove(self)

    def confirm(self, results: Sequence[Any] = ()) -> None:
        """Report what reached ``results``, by default the gradients of leaves."""
        finite: dict[int, Tensor] = {}
        for suspect in self.suspects:
            with quiet():
                found: Iterable[Any] = results or (leaf.grad for leaf in leaves_below([suspect.node]))
                # Of a sharded tensor every rank would have to ask.
                arrived = [g for g in found if type(g) in functorch.PLAIN and g.layout is torch.strided]
            watch(suspect.kind, suspect.name, (suspect.gradient,), _check(suspect, arrived, finite), suspect.place)

    @staticmethod
    def innermost() -> confirming | None:
        """The pass of this thread; for a thread of the engine the only one there is, else None."""
        own = [one for one in _passes if one._thread == threading.get_ident()]
        return own[-1] if own else _passes[0] if len(_passes) == 1 else None


_passes: list[confirming] = []


def _check(suspect: _Suspect, arrived: list[Tensor], finite: dict[int, Tensor]) -> Callable[..., Any]:
    def are_finite() -> Iterator[Tensor]:
        for grad in arrived:
            if id(grad) not in finite:
                plain = functorch.physical((grad,))[0] if functorch.is_wrapped(grad) else grad
                finite[id(grad)] = plain.isfinite().all()
            yield finite[id(grad)]

    return lambda _, now: infinite_derivative(suspect.kind, suspect.lost, are_finite(), now=now)


def is_differentiated(x: Tensor, kind: str) -> bool:
    """Whether the user differentiates a function of ``x`` and a guard is active. Optimizers leave at once."""
    if not torch.is_grad_enabled() or type(x) not in functorch.PLAIN or is_inside():
        return False
    with quiet():
        return bool(
            x.requires_grad
            and x.dtype.is_floating_point
            and x.layout is torch.strided
            and not x.is_meta
            and torch._C._functorch.peek_interpreter_stack() is None
            and sessions_for(kind)
        )


def singular_entries(x: Tensor, mark: Callable[[Tensor], Tensor]) -> Tensor | None:
    """What ``mark`` marks; None for nothing, where that is known without waiting for a device."""
    with quiet(), unnoticed(False):
        found = mark(x)
        return None if found.is_cpu and not bool(found.any()) else found


def watch_root(name: str, result: Tensor) -> None:
    """A power of an exponent between 0 and 1, of which only 0 gives 0."""
    kind = "root-gradient-at-zero"
    if is_differentiated(result, kind):
        zeros = singular_entries(result, lambda x: x == 0)
        if zeros is not None:
            watch_derivative(kind, name, result, zeros)


def watch_derivative(kind: str, name: str, result: Tensor, singular: Tensor) -> None:
    """Look at what the node of ``result`` hands back. The hook returns nothing: the gradient is unchanged."""
    with quiet():
        node = result.grad_fn
    # After a change in place of a view it is the view's.
    if node is None or not node.name().startswith(("Acos", "Asin", "Sqrt", "Pow")):
        return
    call = caller()
    place = None if call is None else call.without_frames()

    def look(gradients: tuple[Any, ...], incoming: tuple[Any, ...]) -> None:
        running, sessions = confirming.innermost(), sessions_for(kind)
        pair = gradients[0], incoming[0]
        if running is None or not sessions or is_inside() or not all(_is_readable(x) for x in pair):
            return
        try:
            with quiet():
                wrapped = any_wrapped(pair)
                with unnoticed(wrapped):
                    lost = lost_entries(singular, *(functorch.physical(pair) if wrapped else pair))
                    if not lost.is_cpu or bool(lost.any()):
                        node = torch._C._current_autograd_node()
                        running.suspects.append(_Suspect(kind, name, place, pair[0], lost, node))
        except Exception as error:
            sessions[0].note(f"{name}: the check failed: {type(error).__name__}: {str(error)[:80]}")

    node.register_hook(look)


def _is_readable(x: Any) -> bool:
    """Whether it is a tensor with values at hand: ``torch.autograd`` has batches apart from those of ``torch.func``."""
    return type(x) in functorch.PLAIN and not torch._C._functorch.is_legacy_batchedtensor(x)
