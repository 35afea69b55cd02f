"""Console script ``fa-diagnose``: a subcommand is a function in its own file under ``commands``, listed here."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

try:
    import click
except ImportError:
    from .dependencies import install_command

    raise ImportError(f"fa-diagnose needs click: {install_command('runtime')}") from None

from . import __version__
from .escaping import visible

__all__ = ["COMMANDS", "main"]

# Name of a subcommand to the module that holds the function of that name. Loaded when it is asked for.
COMMANDS: Mapping[str, str] = {
    "audit": "fa_lint_runtime.commands.audit",
    "compare": "fa_lint_runtime.commands.compare",
    "inspect": "fa_lint_runtime.commands.inspect",
    "partial": "fa_lint_runtime.commands.partial",
    "run": "fa_lint_runtime.commands.run",
    "table": "fa_lint_runtime.commands.table",
    "thresholds": "fa_lint_runtime.commands.thresholds",
    "utility": "fa_lint_runtime.commands.utility",
    "verify": "fa_lint_runtime.commands.verify",
}


class _Commands(click.Group):
    """Imports a subcommand's module only when the subcommand is used or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _orderly_end():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _orderly_end():
            return super().invoke(ctx)


@contextmanager
def _orderly_end() -> Iterator[None]:
    if sys.stdout is None:
        click.echo("fa-diagnose: standard output is closed", err=True)
        sys.exit(2)
    try:
        yield
    except KeyboardInterrupt:  # click would exit with 1, which is a verdict here
        sys.exit(130)
    except BrokenPipeError:  # nobody reads any more; click ends the run
        raise
    except OSError as error:
        # Python would write to a full disk again at its end, and complain in its own words.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = visible(str(error.filename or "standard output"))
        click.echo(f"fa-diagnose: {where}: {error.strerror or error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        vars(error)["message"] = visible(error.message)  # it repeats an argument, which may be the name of a file
        raise


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fa-diagnose")
def main() -> None:
    """Diagnose networks trained by feedback alignment: checkpoints, magnitudes, alignment."""


if __name__ == "__main__":
    sys.exit(main())
