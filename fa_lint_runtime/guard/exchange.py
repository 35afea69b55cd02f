"""Hook a Python function of torch by exchanging its code and nothing else.

The function object stays the same one, so that every name it was ever bound to is covered, ``is`` and pickle still
agree, and ``torch.jit.script`` still finds the original source.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

__all__ = ["exchange"]

_HANDLER = "_fa_lint_guard"


def _trampoline(function: FunctionType, name: str) -> CodeType:
    """Code that passes everything to the handler, and looks like the original to whoever asks where it is."""
    scope: dict[str, Any] = {}
    exec(f"def call(*args, **kwargs):\n    return {name}(*args, **kwargs)", scope)
    old = function.__code__
    code: CodeType = scope["call"].__code__
    return code.replace(
        co_filename=old.co_filename,
        co_firstlineno=old.co_firstlineno,
        co_name=old.co_name,
        co_qualname=old.co_qualname,
    )


def exchange(function: Any, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[], None]:
    """Let ``make(original)`` answer for ``function``; the function returned undoes it."""
    if not isinstance(function, FunctionType) or function.__code__.co_freevars:
        return lambda: None
    code, scope = function.__code__, function.__globals__
    original = FunctionType(code, scope, function.__name__, function.__defaults__, function.__closure__)
    original.__kwdefaults__ = function.__kwdefaults__
    name = f"{_HANDLER}_{function.__qualname__.replace('.', '_')}"
    scope[name] = make(original)
    function.__code__ = _trampoline(function, name)

    def restore() -> None:
        function.__code__ = code
        scope.pop(name, None)

    return restore
