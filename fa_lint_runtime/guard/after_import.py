"""Run something right after torch has been imported, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__all__ = ["after_torch"]


class _Waiter(MetaPathFinder):
    """Finds ``torch`` as the others would, and looks on while it is executed."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "torch" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        loader: Any = spec.loader if spec is not None else None
        if loader is None or not hasattr(loader, "exec_module"):
            return spec
        execute = loader.exec_module

        def executed(module: ModuleType) -> None:
            del loader.exec_module
            execute(module)
            self._then()

        loader.exec_module = executed
        return spec


def after_torch(then: Callable[[], None]) -> Callable[[], None]:
    """Call ``then`` now if torch is there, else as soon as it has been imported; the function returned gives up."""
    if "torch" in sys.modules:
        then()
        return lambda: None
    waiter = _Waiter(then)
    sys.meta_path.insert(0, waiter)

    def give_up() -> None:
        if waiter in sys.meta_path:
            sys.meta_path.remove(waiter)

    return give_up
