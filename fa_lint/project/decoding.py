"""Values of declared types from untrusted JSON: anything that is not of its declared type is refused."""

from __future__ import annotations

import dataclasses
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fa_lint.findings import DiagnosticFix

__all__ = ["decode"]

_HIGHEST = 100_000_000  # of rows and columns
_T = TypeVar("_T")


def decode(kind: type[_T], value: object) -> _T:
    """Return ``value`` as a ``kind``: a frozen dataclass of texts, numbers, enums and tuples of them.

    Raises TypeError or ValueError where it is not one, and for a fix, which is never taken from outside.
    """
    found: _T = _decoded(kind, value)
    return found


def _decoded(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        if kind is DiagnosticFix or not isinstance(value, dict) or value.keys() != hints.keys():
            raise TypeError(kind)
        made: Any = kind
        return made(**{name: _decoded(hint, value[name]) for name, hint in hints.items()})
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(value)
        kinds = inner[:1] * len(value) if inner[1:] == (...,) else inner
        return tuple(_decoded(each, item) for each, item in zip(kinds, value, strict=True))
    if origin in (Union, UnionType):
        (other,) = (each for each in inner if each is not NoneType)
        return None if value is None else _decoded(other, value)
    if origin is Literal:
        return inner[inner.index(value)]
    if issubclass(kind, Enum):
        return kind(value)
    if type(value) is not kind or (kind is int and not 0 <= value <= _HIGHEST):
        raise TypeError(value)
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
