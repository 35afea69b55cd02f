"""``guard``: the context manager and decorator. Importing it costs nothing; entering it imports torch."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, get_args

from ..dependencies import install_command
from ..strictness import declared_strictness
from .log import GuardLog
from .table import CODES

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .session import Session

__all__ = ["Mode", "guard"]

Mode = Literal["warn", "error", "record"]
P = ParamSpec("P")
T = TypeVar("T")


class guard:
    """Watch the code of the block (or of the decorated function) and report silent numerical mistakes.

    Nothing in the watched code changes: results, gradients, random numbers, autocast and exceptions stay as they are
    (but for the exception of mode ``"error"``). Events come once a call site and carry the lint code of the mistake.

    Args:
        mode: ``"warn"``: a :class:`GuardWarning` at the user's line; ``"error"``: a :class:`GuardError` there;
            ``"record"``: only the log. By default what ``FAL_RUNTIME`` (or ``strictness``) asks for, else ``"warn"``.
            ``FAL_RUNTIME=off`` switches every guard off: nothing is hooked.
        rules: codes or prefixes to watch.
        ignore: codes or prefixes to leave out; an outer guard sees them.
        sample: share of the calls of each call site that is checked, in (0, 1]; the first one always is.
        thorough: also put a ``TorchFunctionMode`` around the block, which sees more spellings (``torch.div``,
            a ``sqrt`` imported before, ``half.copy_(x)``, a cast by a stored ``torch.Tensor.half``) on this thread and
            costs about 2 µs a torch call.
        force_eager: run ``torch.compile``'d functions uncompiled meanwhile. Without it, compiled code keeps running
            as compiled, bit for bit, and the guard cannot see into it.

    Returns:
        GuardLog: from ``with guard(...) as log``.

    Raises:
        GuardError: mode ``"error"``; at the end of the block for what is known only then (a checkpoint without
            feedback, values on a GPU).
        ValueError: an unknown mode or code, a ``sample`` outside (0, 1].
        ImportError: torch is not installed.

    Notes:
        It sees what the dispatcher of torch sees on any thread: names bound before entry, hooks, ``Function.backward``,
        checkpoint recomputation, ``torch.func``, ``torch.jit``, DataParallel, every rank of DDP (a log each). It does
        not see into compiled graphs, CUDA graph replays, or worker processes of a DataLoader. On a GPU nothing waits
        for the device before the log is read.

    Example:
        >>> import torch
        >>> import torch.nn.functional as F
        >>> with guard(mode="record") as log:
        ...     cosine = F.cosine_similarity(torch.tensor([3e-10, 4e-10]), torch.tensor([0.6, 0.8]), dim=0)
        >>> event = log.events[0]
        >>> event.code, f"{event.was:.4f}", f"{event.should:.4f}", f"{event.magnitude:.0e}"
        ('FAL202', '0.0500', '1.0000', '5e-10')
    """

    def __init__(
        self,
        mode: Mode | None = None,
        rules: Sequence[str] = ("FAL",),
        *,
        ignore: Sequence[str] = (),
        sample: float = 1.0,
        thorough: bool = False,
        force_eager: bool = False,
    ) -> None:
        if mode is not None and mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
        if isinstance(rules, str) or isinstance(ignore, str):
            raise ValueError("rules and ignore take a list of codes, not one string")
        for pattern in (*rules, *ignore):
            if not any(code.startswith(pattern.upper()) for code in CODES):
                raise ValueError(f"no event has code {pattern!r}; the guard knows {', '.join(sorted(CODES))}")
        if not 0 < sample <= 1:
            raise ValueError(f"sample must be in (0, 1], got {sample!r}")
        self._mode = mode
        self._rules = tuple(rules)
        self._ignore = tuple(ignore)
        self._sample = sample
        self._thorough = thorough
        self._force_eager = force_eager
        self._entered: list[tuple[Session | None, ExitStack]] = []

    def __enter__(self) -> GuardLog:
        level = declared_strictness()
        if level == "off":
            self._entered.append((None, ExitStack()))
            return GuardLog()
        try:
            from . import install, session
        except ImportError:
            raise ImportError(f"the guard needs torch: {install_command('runtime')}") from None
        mode = self._mode or ("error" if level == "raise" else "warn")
        running = session.Session(mode, self._rules, self._ignore, self._sample)
        with ExitStack() as stack:
            install.acquire()
            stack.callback(install.release)
            if self._force_eager:
                import torch

                stack.enter_context(torch.compiler.set_stance("force_eager"))
            session.enter(running)
            stack.callback(session.leave, running)
            if self._thorough:
                from .thorough import ThoroughMode

                stack.enter_context(ThoroughMode())
            self._entered.append((running, stack.pop_all()))
        return running.log

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running, stack = self._entered.pop()
        stack.close()
        if running is not None:
            if kind is not None:
                running.mode = "record"
            running.finish()

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Decorate a function, also an ``async`` one: each call runs under a guard of its own."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def watched(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self._fresh():
                    return await function(*args, **kwargs)

            return watched  # type: ignore[return-value]

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            with self._fresh():
                return function(*args, **kwargs)

        return call

    def _fresh(self) -> guard:
        return guard(
            self._mode,
            self._rules,
            ignore=self._ignore,
            sample=self._sample,
            thorough=self._thorough,
            force_eager=self._force_eager,
        )

    @staticmethod
    def watch_feedback(feedback: Mapping[str, Any] | Iterable[Any] | Tensor | nn.Module) -> None:
        """Register feedback: a saved ``state_dict`` that comes without it is an event (FAL401).

        Args:
            feedback: a tensor, or a dict, list or module of them; held weakly.

        Raises:
            TypeError: no tensor in it.

        Example:
            >>> import torch
            >>> guard.watch_feedback({"B.0": torch.randn(4, 3)})
        """
        from . import saves

        saves.watch_feedback(feedback)
