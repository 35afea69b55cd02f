"""Checkpoints written under a guard, and the feedback that none of them holds."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..digests import tensor_digest
from ..inspection import looks_like_feedback
from .callsite import Site
from .events import GuardEvent

__all__ = ["SaveBook", "remember_state", "watch_feedback"]

_MOST_STATES = 64
_DEPTH = 6

_watched: dict[str, weakref.ref[Tensor]] = {}
_states: dict[tuple[str, ...], weakref.ref[nn.Module]] = {}


@dataclass(slots=True)
class _Save:
    """The saves of one call site: what was expected there, and what of it is in no file so far."""

    site: Site
    function: str
    calls: int = 0
    expected: int = 0
    missing: dict[str, Tensor] = field(default_factory=dict)


class SaveBook:
    """Every ``torch.save`` under one guard. It keeps lost feedback alive, and digests of what lay in other files."""

    def __init__(self) -> None:
        self._saves: dict[Site, _Save] = {}
        self._elsewhere: set[str] = set()

    def add(self, payload: Any, site: Site, function: str) -> None:
        """Note a save: it may lack feedback, or bring what another one lacked."""
        held = [x for _, x in _tensors(payload, "") if x.layout is torch.strided and not x.is_meta]
        for save in self._saves.values():
            save.missing = {name: x for name, x in save.missing.items() if not _holds(held, x)}
        states = list(_state_dicts(payload))
        if not states:
            self._elsewhere.update(tensor_digest(x) for x in held)
            return
        expected = {name: x for name, ref in _watched.items() if (x := ref()) is not None}
        for state in states:
            module = _owner(state)
            if module is not None:
                expected = dict(_unregistered_feedback(module)) | expected
        missing = {
            name: x for name, x in expected.items() if not _holds(held, x) and tensor_digest(x) not in self._elsewhere
        }
        if missing:
            save = self._saves.setdefault(site, _Save(site, function))
            save.calls += 1
            save.expected = max(save.expected, len(expected))
            save.missing |= missing

    def events(self) -> list[GuardEvent]:
        """One for each call site whose feedback is in none of the files."""
        return [_event(save) for save in self._saves.values() if save.missing]


def watch_feedback(tensors: Mapping[str, Any] | Iterable[Any] | Tensor | nn.Module) -> None:
    """Register feedback that every saved ``state_dict`` must come with. See :meth:`fa_lint_runtime.guard`."""
    found = list(_tensors(tensors, "feedback" if isinstance(tensors, Tensor) else ""))
    if not found:
        raise TypeError(
            f"watch_feedback takes tensors, or a dict, list or module of them, got {type(tensors).__name__}"
        )
    for name, tensor in found:
        number, free = 1, name
        while free in _watched and (other := _watched[free]()) is not None and other is not tensor:
            number += 1
            free = f"{name}#{number}"
        _watched[free] = weakref.ref(tensor)


def remember_state(module: nn.Module, state: Any) -> None:
    """The module whose ``state_dict`` has these keys."""
    if isinstance(state, Mapping) and state:
        while len(_states) >= _MOST_STATES:
            _states.pop(next(iter(_states)))
        _states[tuple(state)] = weakref.ref(module)


def _event(save: _Save) -> GuardEvent:
    site = save.site
    names = sorted(save.missing)
    detail = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return GuardEvent(
        "FAL401", "checkpoint-without-feedback", save.function, site.file, site.line, site.end_line, site.column,
        site.end_column, save.calls, len(names), max(save.expected, len(names)), detail=detail,
        shapes=tuple(tuple(save.missing[name].shape) for name in names[:4]),
        dtypes=tuple(str(save.missing[name].dtype).removeprefix("torch.") for name in names[:4]),
    )  # fmt: skip


def _holds(saved: list[Tensor], wanted: Tensor) -> bool:
    """By memory, else by value: a copy on the CPU counts."""
    for x in saved:
        if x is wanted or (x.layout is torch.strided and x.data_ptr() == wanted.data_ptr() and x.shape == wanted.shape):
            return True
    for x in saved:
        if x.shape == wanted.shape and x.dtype == wanted.dtype and torch.equal(x.cpu(), wanted.detach().cpu()):
            return True
    return False


def _state_dicts(value: Any, depth: int = _DEPTH) -> Iterator[Mapping[Any, Any]]:
    if isinstance(value, Mapping):
        if _owner(value) is not None or _looks_like_state(value):
            yield value
        elif depth:
            for item in value.values():
                yield from _state_dicts(item, depth - 1)
    elif isinstance(value, list | tuple) and depth:
        for item in value:
            yield from _state_dicts(item, depth - 1)


def _owner(state: Mapping[Any, Any]) -> nn.Module | None:
    reference = _states.get(tuple(state))
    return None if reference is None else reference()


def _looks_like_state(value: Mapping[Any, Any]) -> bool:
    return any(
        isinstance(key, str) and isinstance(x, Tensor) and key.rpartition(".")[2] in ("weight", "bias")
        for key, x in value.items()
    )


def _tensors(
    value: Any, prefix: str, depth: int = _DEPTH, seen: set[int] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a structure with its dotted name, attributes of modules and plain objects included."""
    seen = set() if seen is None else seen
    if isinstance(value, Tensor):
        yield prefix, value
        return
    if depth == 0 or id(value) in seen or isinstance(value, str | bytes | int | float | type(None)):
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        items: Iterable[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list | tuple | set):
        items = list(enumerate(value))
    elif isinstance(value, nn.Module):
        items = [*value.state_dict().items(), *_plain_attributes(value)]
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        items = list(vars(value).items())
    else:
        return
    for key, item in items:
        yield from _tensors(item, f"{prefix}.{key}" if prefix else str(key), depth - 1, seen)


def _plain_attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            if not key.startswith("_") or isinstance(value, Tensor):
                yield (f"{name}.{key}" if name else key), value


def _unregistered_feedback(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors that ``state_dict`` leaves out and that are called what published code calls its feedback."""
    registered = {x.data_ptr() for x in module.state_dict().values() if isinstance(x, Tensor)}
    for name, part in module.named_modules():
        left_out: set[str] = getattr(part, "_non_persistent_buffers_set", set())
        own = {key: x for key, x in part._buffers.items() if key in left_out}
        own |= {key: x for key, x in vars(part).items() if not key.startswith("_") and not isinstance(x, nn.Module)}
        for key, value in own.items():
            for path, tensor in _tensors(value, f"{name}.{key}" if name else key, 3):
                if tensor.data_ptr() not in registered and looks_like_feedback(path, tuple(tensor.shape)):
                    yield path, tensor
