"""Looks at one watched call: finds who watches, runs the checks where nobody can notice, adds up what they say."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor

from . import callsite, functorch
from .callsite import Call
from .evidence import in_backward, is_gradient
from .measurement import Measurement
from .session import sessions_for
from .table import EVENTS
from .tally import Tally

__all__ = ["Check", "caller", "collecting_norms", "is_inside", "nested", "offer_norm", "quiet", "watch"]

# Given the operands as plain tensors and whether values may be looked at: the number of vectors, and what is wrong.
Check = Callable[[tuple[Tensor, ...], bool], tuple[int, Measurement | None]]

_PLAIN = (Tensor, torch.nn.Parameter)
_EVIDENCE_CALLS = 3
_NOTHING = nullcontext()
_here = threading.local()


def is_inside() -> bool:
    """Whether this thread is within a watched call or a check: what it calls there is not the user's doing."""
    return getattr(_here, "depth", 0) > 0


class nested:
    """What is called within is not the user's doing."""

    def __enter__(self) -> None:
        _here.depth = getattr(_here, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        _here.depth -= 1


class collecting_norms(nested):
    """Nested, and gives the norms that are computed within."""

    def __enter__(self) -> list[Tensor]:  # type: ignore[override]
        super().__enter__()
        self._before = getattr(_here, "norms", None)
        taken: list[Tensor] = []
        _here.norms = taken
        return taken

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        _here.norms = self._before


def quiet() -> AbstractContextManager[object]:
    """Hide from the function modes of the user, which see even attributes being read; free where there are none."""
    return torch._C.DisableTorchFunction() if torch._C._len_torch_function_stack() else _NOTHING


def offer_norm(norm: Tensor) -> None:
    """A norm was computed within; whoever collects may have it."""
    taken = getattr(_here, "norms", None)
    if taken is not None:
        taken.append(norm)


def watch(kind: str, function: str, operands: tuple[Tensor, ...], check: Check, call: Call | None) -> None:
    """Run ``check`` for the innermost guard that watches ``kind``.

    Raises:
        GuardError: mode ``"error"``.
        Warning: mode ``"warn"`` under a filter that turns warnings into errors.
    """
    sessions = sessions_for(kind)
    if not sessions or not sessions[0].is_due(kind, call):
        return
    first = sessions[0]
    if not all(type(x) in _PLAIN and not x.is_meta and x.layout is torch.strided for x in operands):
        first.note("no plain dense tensors")
        return
    event = None
    try:
        wrapped = _any_wrapped(operands)
        with nested(), _unnoticed(wrapped):
            values = functorch.physical(operands) if wrapped else operands
            now = all(x.is_cpu for x in operands) and not first.deferred
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


def _any_wrapped(operands: tuple[Tensor, ...]) -> bool:
    if torch._C._functorch.peek_interpreter_stack() is None:
        return False
    return any(functorch.is_wrapped(x) for x in operands)


class _unnoticed:
    """Without autograd, function modes, and, where there are any, dispatch modes and transforms of ``torch.func``."""

    def __init__(self, wrapped: bool) -> None:
        self._wrapped = wrapped
        self._stack: ExitStack | None = None

    def __enter__(self) -> None:
        self._functions = torch._C.DisableTorchFunction()
        self._functions.__enter__()
        self._grad = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)
        if torch._C._len_torch_dispatch_stack() or self._wrapped:
            from torch.utils._python_dispatch import _disable_current_modes

            self._stack = ExitStack()
            self._stack.enter_context(_disable_current_modes())
            self._stack.enter_context(torch._C._DisableFuncTorch())

    def __exit__(self, *error: Any) -> None:
        if self._stack is not None:
            self._stack.close()
        torch._C._set_grad_enabled(self._grad)
        self._functions.__exit__(*error)


def caller() -> Call | None:
    """The user's call that led to the hook that asks."""
    return callsite.caller(2)
