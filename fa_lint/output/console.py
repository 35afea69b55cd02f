"""What every command says to the terminal: text, colour, and the one line that ends a run with exit code 2."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

import click

from fa_lint.source.escaping import visible, visible_line

__all__ = ["echo", "plural", "put", "remark", "stop", "tell", "wants_colour"]


def stop(message: str) -> NoReturn:
    """Say why, and exit with 2."""
    click.echo(f"fa-lint: error: {visible(message)}", err=True)
    sys.exit(2)


def tell(message: str) -> None:
    """A remark beside the findings, on the error stream."""
    click.echo(visible_line(message), err=True)


def remark(message: str, *, quiet: bool) -> None:
    """A remark that ``--quiet`` leaves out."""
    if not quiet:
        tell(message)


def echo(text: str, *, err: bool = False) -> None:
    """UTF-8 whatever the terminal; a file name that is none is shown (and is valid JSON) as ``\\udcff``."""
    put(text.encode("utf-8", "backslashreplace"), err=err)


def put(data: bytes, *, err: bool = False) -> None:
    """The bytes, or the end of the run where they cannot be written."""
    try:
        click.echo(data, nl=False, err=err)
    except BrokenPipeError:  # nobody reads any more; click ends the run
        raise
    except OSError as error:
        # Python would try again at its end, and complain in its own words.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        stop(f"cannot write to standard output: {error.strerror or error}")


def plural(count: int, noun: str) -> str:
    """``1 finding``, ``2 findings``, ``2 entries``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"


def wants_colour(choice: str, terminal: bool) -> bool:
    """``--color``, NO_COLOR, FORCE_COLOR and the terminal, in that order."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "") not in ("", "0", "false"):
        return True
    return terminal and os.environ.get("TERM") != "dumb"
