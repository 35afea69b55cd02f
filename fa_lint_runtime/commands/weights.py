"""Weights and feedback from a checkpoint, ours or any that torch can read without running code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import load_checkpoint
from ..diagnostics.batches import tensors_of
from ..errors import CheckpointError, first_line
from ..feedback import Feedback
from ..inspection import looks_like_feedback
from ..state import load_state

__all__ = ["Weights", "WeightsError", "load_into", "read_weights"]

_USUAL = ("model", "state_dict", "model_state_dict", "net")


class WeightsError(ValueError):
    """A checkpoint that cannot be used: file, reason."""


@dataclass(frozen=True)
class Weights:
    """A ``state_dict`` and the feedback beside it; None if there is none. ``note`` says where it was found."""

    state: Mapping[str, Tensor]
    feedback: Feedback | None
    note: str = ""


def read_weights(path: Path, feedback_key: str | None, state_key: str | None) -> Weights:
    """Read a checkpoint of ``save_checkpoint`` (verified), or any other file with ``weights_only=True``.

    Args:
        path: the file.
        feedback_key: dotted path to a matrix, list or dict of matrices; None: what ``save_checkpoint`` stored.
        state_key: dotted path to the ``state_dict``; None: the usual names, else the file itself.

    Raises:
        WeightsError: unreadable, a wrong key, or a wrong shape.
    """
    try:
        own = load_checkpoint(path)
    except CheckpointError as own_error:
        return _foreign(path, feedback_key, state_key, own_error)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from None
    if state_key is not None or feedback_key is not None:
        where = {"model": own.model, "meta": own.meta, "optimizer": own.optimizer}
        state = _mapping(path, _at(path, where, state_key)) if state_key else own.model
        feedback = _feedback(path, _at(path, where, feedback_key)) if feedback_key else None
        return Weights(state, feedback)
    if own.kind in ("dfa", "fa"):
        return Weights(own.model, own.feedback())
    matrices = {site: a.tensors[""] for site, a in own.auxiliaries.items() if a.type == "tensor"}
    return _with_found(path, own.model, {**({"feedback": matrices} if matrices else {}), **own.meta})


def _foreign(path: Path, feedback_key: str | None, state_key: str | None, own_error: CheckpointError) -> Weights:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises nearly anything on a malformed file
        raise WeightsError(f"{path}: cannot be read without running code from it: {first_line(error)}") from own_error
    if state_key is not None:
        state = _mapping(path, _at(path, content, state_key))
    else:
        name = next((n for n in _USUAL if isinstance(content, Mapping) and isinstance(content.get(n), Mapping)), None)
        state = _mapping(path, content if name is None else content[name])
    if feedback_key is not None:
        return Weights(state, _feedback(path, _at(path, content, feedback_key)))
    beside = {} if content is state or not isinstance(content, Mapping) else content
    return _with_found(path, state, {str(name): value for name, value in beside.items() if value is not state})


def _with_found(path: Path, state: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Weights:
    """Feedback under a name that published repositories give it, if it is direct feedback: matrices of one input."""
    for name, value in beside.items():
        matrices = tensors_of(value)
        if not matrices or not all(looks_like_feedback(name, tuple(m.shape)) for m in matrices):
            continue
        if all(m.ndim == 2 and m.is_floating_point() and m.shape[1] == matrices[0].shape[1] for m in matrices):
            return Weights(state, _feedback(path, value), f"feedback: {name} of the checkpoint")
        return Weights(state, None, f"{name} of the checkpoint not used: it is no list of matrices of one input")
    return Weights(state, None)


def _at(path: Path, content: Any, key: str) -> Any:
    found = content
    for part in key.split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list | tuple) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            known = ", ".join(map(str, list(found)[:8])) if isinstance(found, Mapping) else type(found).__name__
            raise WeightsError(f"{path}: no key {key!r} (at {part!r}; there is: {known})")
    return found


def _mapping(path: Path, value: Any) -> Mapping[str, Tensor]:
    if not isinstance(value, Mapping) or not any(isinstance(v, Tensor) for v in value.values()):
        raise WeightsError(f"{path}: no state_dict found; name it with --state")
    return value


def _feedback(path: Path, value: Any) -> Feedback:
    if isinstance(value, Tensor):
        value = [value]
    named = value if isinstance(value, Mapping) else {f"blocks.{i}": matrix for i, matrix in enumerate(value)}
    try:
        return Feedback({str(site): matrix for site, matrix in named.items()}, kind="dfa")
    except (TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path}: feedback: {error}") from None


def load_into(path: Path, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """``load_state_dict``, strictly; what was saved may have been wrapped.

    Raises:
        WeightsError: names or shapes that do not fit, in one line.
    """
    try:
        load_state(model, state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        raise WeightsError(f"{path}: the weights do not fit the model: {' '.join(lines)[:300]}") from None
