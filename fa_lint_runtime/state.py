"""Names in a ``state_dict`` without those of wrappers: DistributedDataParallel, DataParallel, ``torch.compile``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

__all__ = ["load_state", "state_of"]

_COMPILED = "_orig_mod"


def state_of(model: nn.Module) -> dict[str, Any]:
    """The ``state_dict`` of the module inside the wrappers, of which parts may be wrapped, too."""
    rename = _renaming(model)
    return {rename(key): value for key, value in model.state_dict().items()}


def load_state(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Load strictly, whether the model, what was saved, both or neither are wrapped.

    Raises:
        RuntimeError: names or shapes that do not fit, as from ``load_state_dict``.
    """
    rename = _renaming(model)
    real = {rename(key): key for key in model.state_dict()}
    for read in (dict, _without_compiled, _without_wrappers):
        found = read(state)
        if found.keys() == real.keys():
            model.load_state_dict({real[key]: value for key, value in found.items()})
            return
    model.load_state_dict(dict(state))


def _renaming(model: nn.Module) -> Callable[[str], str]:
    """From a name in ``model.state_dict()`` to that without wrappers. By their types: a module may be called so."""
    wrapped = {
        f"{name}.{inner}" if name else inner
        for name, module in model.named_modules(remove_duplicate=False)
        if (inner := _attribute(module))
    }

    def rename(key: str) -> str:
        parts = key.split(".")
        return ".".join(part for i, part in enumerate(parts) if ".".join(parts[: i + 1]) not in wrapped)

    return rename


def _attribute(module: nn.Module) -> str:
    """Where a wrapper keeps its module; "" if it is none."""
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return "module"
    return _COMPILED if _COMPILED in module._modules else ""


def _without_compiled(state: Mapping[str, Any]) -> dict[str, Any]:
    return {".".join(part for part in key.split(".") if part != _COMPILED): x for key, x in state.items()}


def _without_wrappers(state: Mapping[str, Any]) -> dict[str, Any]:
    found = _without_compiled(state)
    while found and all(key.startswith("module.") for key in found):
        found = {key.removeprefix("module."): x for key, x in found.items()}
    return found
