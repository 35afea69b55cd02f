"""What several rules ask of one file or module, worked out once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, TypeVar

__all__ = ["Derived"]

_T = TypeVar("_T")


class Derived:
    """Keeps analyses of itself.

    They hold what they were made from, and such a circle keeps a whole syntax tree until the collector comes by:
    whoever is done calls :meth:`forget`.
    """

    def __init__(self) -> None:
        self._derived: dict[Callable[[Any], Any], Any] = {}

    def derived(self, build: Callable[[Self], _T]) -> _T:
        """``build(self)``, built on first use."""
        if build not in self._derived:
            self._derived[build] = build(self)
        found: _T = self._derived[build]
        return found

    def forget(self) -> None:
        """Drop every analysis."""
        self._derived.clear()
