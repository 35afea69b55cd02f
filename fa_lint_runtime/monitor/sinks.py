"""Where readings go: a JSONL file, TensorBoard, W&B, or any function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .reading import Reading

__all__ = ["Sink", "as_sink"]

Sink = Callable[[Reading], None]


def as_sink(target: Any, prefix: str) -> Sink:
    """A function that takes readings.

    Args:
        target: a path (JSONL, appended line by line), an object with ``add_scalar`` (TensorBoard's ``SummaryWriter``),
            one with ``log`` (a W&B run or the ``wandb`` module), or a function of a :class:`Reading`.
        prefix: of scalar names.

    Raises:
        TypeError: none of these.

    Example:
        >>> found = []
        >>> as_sink(found.append, "fa") == found.append
        True
    """
    if isinstance(target, str | Path):
        return _jsonl(Path(target))
    if hasattr(target, "add_scalar"):
        return lambda reading: _tensorboard(target, prefix, reading)
    if hasattr(target, "log"):
        return lambda reading: _wandb(target, prefix, reading)
    if callable(target):
        chosen: Sink = target
        return chosen
    raise TypeError(
        f"a sink must be a path, an object with add_scalar or log, or a function; got {type(target).__name__}"
    )


def _jsonl(path: Path) -> Sink:
    def write(reading: Reading) -> None:
        # Opened for each line: a killed run leaves whole lines, and the file can be moved meanwhile.
        with path.open("a", encoding="utf-8") as file:
            file.write(reading.to_json() + "\n")

    return write


def _tensorboard(writer: Any, prefix: str, reading: Reading) -> None:
    for name, value in reading.scalars().items():
        writer.add_scalar(f"{prefix}/{name}", value, reading.step)


def _wandb(run: Any, prefix: str, reading: Reading) -> None:
    run.log({f"{prefix}/{name}": value for name, value in reading.scalars().items()}, step=reading.step)
