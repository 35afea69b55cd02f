"""When float16 comes into play, hook every cast of aten; before that, none.

``aten::to`` runs for each cast of bfloat16 autocast and for Python numbers in arithmetic: hooked all the time it would
cost 10 % of a training step. So the methods that can ask for float16, and ``autocast``, only switch the hook on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from .exchange import exchange

__all__ = ["CastSwitch", "is_asked_for"]

_METHODS = ("half", "to", "type", "type_as")
_asked = threading.local()
_TYPE_NAMES = frozenset({"torch.HalfTensor", "torch.cuda.HalfTensor"})


def is_asked_for() -> bool:
    """Whether a cast to float16 that runs now was written by somebody, rather than made by autocast."""
    return getattr(_asked, "now", False)


class _Method:
    """Stands in for a method of ``torch.Tensor``: equal to it, so that tables keyed by it still answer."""

    def __init__(self, below: Any, turn_on: Callable[[], None]) -> None:
        self._below = below
        self._turn_on = turn_on
        self.__name__, self.__qualname__, self.__doc__ = below.__name__, below.__qualname__, below.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or not (self.__name__ == "half" or _asks_for_half(args, kwargs)):
            return self._below(*args, **kwargs)
        self._turn_on()
        before, _asked.now = is_asked_for(), True
        try:
            return self._below(*args, **kwargs)
        finally:
            _asked.now = before

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self._below or (isinstance(other, _Method) and other._below is self._below)

    def __hash__(self) -> int:
        return hash(self._below)

    def __reduce__(self) -> Any:
        return getattr, (torch._C.TensorBase, self.__name__)


def _asks_for_half(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    for value in (*args[1:], *kwargs.values()):
        if value is torch.float16 or value is torch.HalfTensor:
            return True
        if isinstance(value, Tensor) and value.dtype is torch.float16:
            return True
        if isinstance(value, str) and value in _TYPE_NAMES:
            return True
    return False


class CastSwitch:
    """Turns the hook of casts on at the first sign of float16, and off with the last guard."""

    def __init__(self, install_hook: Callable[[], Callable[[], None]]) -> None:
        self._install_hook = install_hook
        self._undo: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._on = False

    def turn_on(self) -> None:
        """From here on every cast of aten passes the hook."""
        if self._on:
            return
        with self._lock:
            if not self._on:
                self._on = True
                self._undo.append(self._install_hook())

    def install(self) -> Callable[[], None]:
        """Watch for the first sign; the function returned undoes everything."""
        for name in _METHODS:
            if name not in vars(torch.Tensor):
                self._undo.append(self._replace(name))
        self._undo.append(exchange(torch.autocast.__enter__, self._autocast_enter))
        if any(_is_half_autocast(device) for device in ("cpu", "cuda")):
            self.turn_on()
        return self._restore

    def _replace(self, name: str) -> Callable[[], None]:
        setattr(torch.Tensor, name, _Method(getattr(torch.Tensor, name), self.turn_on))
        return lambda: delattr(torch.Tensor, name)

    def _autocast_enter(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def enter(region: Any) -> Any:
            if not self._on and getattr(region, "fast_dtype", None) is torch.float16 and region._enabled:
                self.turn_on()
            return original(region)

        return enter

    def _restore(self) -> None:
        while self._undo:
            self._undo.pop()()


def _is_half_autocast(device: str) -> bool:
    return torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) is torch.float16
