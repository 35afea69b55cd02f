"""Where readings go: a JSONL file, TensorBoard, MLflow, W&B, or any function."""

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
            one with ``log_metrics`` (the ``mlflow`` module), one with ``log`` (a W&B run or the ``wandb`` module), or a
            function of a :class:`Reading`.
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
    if hasattr(target, "log_metrics"):
        return lambda reading: target.log_metrics(_named(prefix, reading), step=reading.step)
    if hasattr(target, "log"):
        return lambda reading: target.log(_named(prefix, reading), step=reading.step)
    if callable(target):
        chosen: Sink = target
        return chosen
    raise TypeError(
        "a sink must be a path, an object with add_scalar, log_metrics or log, or a function; "
        f"got {type(target).__name__}"
    )


def _jsonl(path: Path) -> Sink:
    def write(reading: Reading) -> None:
        # Opened for each line: a killed run leaves whole lines, and the file can be moved meanwhile.
        with path.open("a", encoding="utf-8") as file:
            file.write(reading.to_json() + "\n")

    return write


def _tensorboard(writer: Any, prefix: str, reading: Reading) -> None:
    for name, value in _named(prefix, reading).items():
        writer.add_scalar(name, value, reading.step)


def _named(prefix: str, reading: Reading) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in reading.scalars().items()}
