"""``fa-diagnose inspect F``: what a checkpoint holds and what it lacks."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..errors import CheckpointError
from ..escaping import visible
from ..inspection import inspect_checkpoint
from .shared import say

__all__ = ["inspect"]


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--require-feedback", is_flag=True, help="Exit with 1 if nothing looks like feedback.")
def inspect(file: Path, as_json: bool, require_feedback: bool) -> None:
    """List the tensors of FILE (.pt, .safetensors), which look like feedback, and what is lacking.

    Runs no code from the file. Exit code 0; 1 with --require-feedback if there is none; 2 if FILE is unreadable.
    """
    try:
        found = inspect_checkpoint(file)
    except CheckpointError as error:
        say(visible(str(error)), err=True)
        sys.exit(2)
    click.echo(found.to_json() if as_json else found.to_text())
    if require_feedback and not found.feedback_like:
        sys.exit(1)
