"""Dispatch an intercepted call to the active guards, with autograd and function modes off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor

from . import functorch
from .callsite import Call
from .evidence import in_backward, is_gradient
from .measurement import Measurement
from .session import sessions_for
from .table import EVENTS
from .tally import Tally

__all__ = [
    "Check", "any_wrapped", "collecting_norms", "is_inside", "nested", "offer_norm", "quiet", "unnoticed", "watch",
]  # fmt: skip

# Given the operands as plain tensors and whether values may be looked at: the number of vectors, and what is wrong.
Check = Callable[[tuple[Tensor, ...], bool], tuple[int, Measurement | None]]

_EVIDENCE_CALLS = 3
_NOTHING = nullcontext()


class _Here(threading.local):
    depth = 0
    norms: list[Tensor] | None = None


_here = _Here()


def is_inside() -> bool:
    """Whether this thread is within a watched call or a check: what it calls there is not the user's doing."""
    return _here.depth > 0


class nested:
    """What is called within is not the user's doing."""

    def __enter__(self) -> None:
        _here.depth += 1

    def __exit__(self, *_: object) -> None:
        _here.depth -= 1


class collecting_norms:
    """Nested, and gives the norms that are computed within."""

    def __enter__(self) -> list[Tensor]:
        _here.depth += 1
        self._before = _here.norms
        taken: list[Tensor] = []
        _here.norms = taken
        return taken

    def __exit__(self, *_: object) -> None:
        _here.depth -= 1
        _here.norms = self._before


def quiet() -> AbstractContextManager[object]:
    """Hide from the function modes of the user, which see even attributes being read; free where there are none."""
    return torch._C.DisableTorchFunction() if torch._C._len_torch_function_stack() else _NOTHING


def offer_norm(norm: Tensor) -> None:
    """A norm was computed within; whoever collects may have it."""
    if _here.norms is not None:
        _here.norms.append(norm)


def watch(kind: str, function: str, operands: tuple[Tensor, ...], check: Check, call: Call | None) -> None:
    """Run ``check`` for the innermost guard that watches ``kind``.

    Raises:
        GuardError: mode ``"error"``.
        GuardWarning: mode ``"warn"`` under a filter that makes errors of these warnings by name.
    """
    with quiet():
        _look(kind, function, operands, check, call)


def _look(kind: str, function: str, operands: tuple[Tensor, ...], check: Check, call: Call | None) -> None:
    sessions = sessions_for(kind)
    if not sessions or not sessions[0].is_due(kind, call):
        return
    first = sessions[0]
    now = not first.deferred
    for x in operands:
        if type(x) not in functorch.PLAIN or x.is_meta or x.layout is not torch.strided:
            first.note("no plain dense tensors")
            return
        now = now and x.is_cpu
    event = None
    try:
        wrapped = any_wrapped(operands)
        with unnoticed(wrapped):
            values = functorch.physical(operands) if wrapped else operands
            total, found = check(values, now)
            for session in sessions:
                session.look(kind, call, total)
                if found is None:
                    continue
                tally = session.tally(kind, call, function, backward=in_backward())
                _set_code(tally, operands)
                if session.takes(tally.code):
                    event = session.record(tally, found, operands, now=now)
                    break
    except Exception as error:
        first.note(f"{function}: the check failed: {type(error).__name__}: {str(error)[:80]}")
    if event is not None:
        session.tell(event)


def _set_code(tally: Tally, operands: tuple[Tensor, ...]) -> None:
    """Once the operand of a call site is known to be a gradient, the event says so; a few calls are looked at."""
    row = EVENTS[tally.kind]
    if row.code != row.known_gradient and tally.calls < _EVIDENCE_CALLS and is_gradient(operands):
        tally.code = row.known_gradient


def any_wrapped(operands: tuple[Tensor, ...]) -> bool:
    """Whether a transform of ``torch.func`` that runs has wrapped any of them."""
    if torch._C._functorch.peek_interpreter_stack() is None:
        return False
    return any(functorch.is_wrapped(x) for x in operands)


class unnoticed:
    """Nested, without autograd, and, where there are any, dispatch modes and transforms of ``torch.func``."""

    def __init__(self, wrapped: bool) -> None:
        self._wrapped = wrapped
        self._stack: ExitStack | None = None

    def __enter__(self) -> None:
        _here.depth += 1
        self._grad = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)
        if self._wrapped or torch._C._len_torch_dispatch_stack():
            from torch.utils._python_dispatch import _disable_current_modes

            self._stack = ExitStack()
            self._stack.enter_context(_disable_current_modes())
            self._stack.enter_context(torch._C._DisableFuncTorch())

    def __exit__(self, *error: Any) -> None:
        if self._stack is not None:
            self._stack.close()
        torch._C._set_grad_enabled(self._grad)
        _here.depth -= 1
