"""Looks at one watched call: finds who watches, runs the checks where nobody can notice, adds up what they say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from warnings import catch_warnings

import torch
from torch import Tensor

from . import callsite, functorch
from .callsite import Call
from .events import GuardError
from .evidence import is_gradient
from .measurement import Measurement
from .session import Session, session_for
from .table import EVENTS

__all__ = ["Check", "is_inside", "nested", "watch"]

# Given the operands as plain tensors and whether values may be looked at: the number of vectors, and what is wrong.
Check = Callable[[tuple[Tensor, ...], bool], tuple[int, Measurement | None]]

_PLAIN = (Tensor, torch.nn.Parameter)
_EVIDENCE_CALLS = 3
_here = threading.local()


def is_inside() -> bool:
    """Whether this thread is within a watched call or a check: what it calls there is not the user's doing."""
    return getattr(_here, "depth", 0) > 0


@contextmanager
def nested() -> Iterator[None]:
    """What is called within is not the user's doing."""
    _here.depth = getattr(_here, "depth", 0) + 1
    try:
        yield
    finally:
        _here.depth -= 1


def watch(kind: str, function: str, operands: tuple[Tensor, ...], check: Check, call: Call | None) -> None:
    """Run ``check`` for the innermost guard that watches ``kind``.

    Raises:
        GuardError: mode ``"error"``.
        Warning: mode ``"warn"`` under a filter that turns warnings into errors.
    """
    session = session_for(kind)
    if session is None or not session.is_due(kind, call):
        return
    if not all(type(x) in _PLAIN and not x.is_meta and x.layout is torch.strided for x in operands):
        session.note("no plain dense tensors")
        return
    try:
        with nested():
            total, found, now = _measured(operands, check, session)
            session.look(kind, call, total)
            if found is None:
                return
            tally = session.tally(kind, call, function, backward=_in_backward())
            row = EVENTS[kind]
            if row.code != row.known_gradient and tally.code == row.code and tally.calls < _EVIDENCE_CALLS:
                if is_gradient(operands):
                    tally.code = row.known_gradient
            if not session.takes(tally.code):
                return
            session.record(tally, found, operands, now=now)
    except (GuardError, Warning):
        raise
    except Exception as error:
        session.note(f"{function}: the check failed: {type(error).__name__}: {str(error)[:80]}")


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def _measured(
    operands: tuple[Tensor, ...], check: Check, session: Session
) -> tuple[int, Measurement | None, bool]:
    """The check's verdict, computed without autograd, autocast, modes, transforms, warnings or a dispatch mode."""
    now = all(x.is_cpu for x in operands) and not session.deferred
    wrapped = any(functorch.is_wrapped(x) for x in operands)
    with torch._C.DisableTorchFunction(), torch.no_grad(), _unseen(wrapped):
        values = functorch.physical(operands) if wrapped else operands
        total, found = check(values, now)
    return total, found, now


@contextmanager
def _unseen(wrapped: bool) -> Iterator[None]:
    """Hide from modes of dispatch and transforms, where there are any."""
    if torch._C._len_torch_dispatch_stack() == 0 and not wrapped:
        yield
        return
    from torch.utils._python_dispatch import _disable_current_modes

    with _disable_current_modes(), catch_warnings(), torch._C._DisableFuncTorch():
        yield


def caller() -> Call | None:
    """The user's call that led to the hook that asks."""
    return callsite.caller(2)
