"""Console script ``fa-diagnose``: a subcommand is a function in its own file under ``commands``, listed here."""

from __future__ import annotations

import sys

try:
    import click
except ImportError:
    raise ImportError('fa-diagnose needs click: pip install "fa-lint[runtime]"') from None

from . import __version__
from .commands.audit import audit
from .commands.inspect import inspect
from .commands.verify import verify

__all__ = ["COMMANDS", "main"]

COMMANDS: tuple[click.Command, ...] = (audit, inspect, verify)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fa-diagnose")
def main() -> None:
    """Measure what feedback alignment really did: checkpoints, magnitudes, alignment."""


for _command in COMMANDS:
    main.add_command(_command)

if __name__ == "__main__":
    sys.exit(main())
