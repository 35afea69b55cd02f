"""What several subcommands share: usage errors in one line, JSON that is valid, files written whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from ..escaping import to_json, visible, visible_lines
from ..files import write_text

__all__ = ["EXIT_INCONCLUSIVE", "EXIT_USAGE", "EXIT_WALKED_BACK", "as_json", "refuse", "say", "write_output"]

EXIT_WALKED_BACK, EXIT_USAGE, EXIT_INCONCLUSIVE = 1, 2, 3


def say(text: str, *, err: bool = False) -> None:
    """Print lines on which no terminal and no log of a CI service acts: names in them are of files that others made."""
    click.echo(visible_lines(text), err=err)


def refuse(message: str) -> NoReturn:
    """One line on stderr, exit code 2."""
    say(visible(f"fa-diagnose: {' '.join(message.split())}"), err=True)
    raise SystemExit(EXIT_USAGE)


def _finite(value: Any) -> Any:
    """NaN and infinities as strings, because JSON has no such numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def as_json(value: Any) -> str:
    """Indented JSON that any reader accepts; NaN becomes the string ``"nan"``.

    Example:
        >>> as_json({"a": float("nan")})
        '{\\n  "a": "nan"\\n}'
    """
    return to_json(_finite(value))


def write_output(path: Path | None, make: Callable[[], str]) -> None:
    """Write what ``make`` returns, if a path is given; an impossible path is a usage error."""
    if path is None:
        return
    try:
        write_text(path, make())
    except OSError as error:
        refuse(f"{path}: cannot be written: {error.strerror or error}")
