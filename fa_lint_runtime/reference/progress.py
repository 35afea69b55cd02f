"""The progress bar of a training run: on stderr, only on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["epochs_shown"]


def epochs_shown(epochs: int, title: str, shown: bool) -> Iterator[int]:
    """1 to ``epochs``, with a bar while they pass if ``shown`` and stderr is a terminal.

    Example:
        >>> list(epochs_shown(3, "dfa", False))
        [1, 2, 3]
    """
    numbers = range(1, epochs + 1)
    if not shown:
        yield from numbers
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(numbers, description=title, console=Console(stderr=True), transient=True)
