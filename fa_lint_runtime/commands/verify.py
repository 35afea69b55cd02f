"""``fa-diagnose verify``: the published claims on the installed torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from ..dependencies import MissingDependencyError
from ..verify import Level
from ..verify import verify as run_verification
from ..verify.page import verification_page
from ..verify.text import print_verification
from .shared import EXIT_WALKED_BACK, as_json, refuse, write_output

__all__ = ["verify"]


@click.command()
@click.option("--instant", "level", flag_value="instant", help="Without training: seconds.")
@click.option("--quick", "level", flag_value="quick", help="Eight networks.")
@click.option("--full", "level", flag_value="full", help="Every configuration, three seeds; minutes.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Processes that train (default: cores, at most 2).")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write JSON to FILE.")
@click.option("--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to FILE.")
@click.option("--quiet", is_flag=True, help="No table, no progress.")
def verify(level: Level | None, jobs: int | None, json_file: Path | None, html_file: Path | None, quiet: bool) -> None:
    """Measure the published claims here: claim, measured, verdict.

    Exit code 0: every claim was measured (whatever the verdict). 1: one could not be, or a remedy of this package gave
    a wrong answer. 2: usage.
    """
    for path in (json_file, html_file):
        if path is not None and not path.parent.is_dir():
            refuse(f"{path}: its folder does not exist")
    console, notes = Console(), Console(stderr=True)
    try:
        with Progress(console=notes, transient=True, disable=quiet or not notes.is_terminal) as bar:
            task = bar.add_task("training", total=None)
            found = run_verification(
                level or "default",
                jobs=jobs or min(2, os.cpu_count() or 1),
                on_progress=lambda text, done, total: bar.update(task, description=text, completed=done, total=total),
            )
    except MissingDependencyError as error:
        refuse(str(error))
    write_output(json_file, lambda: as_json(found.as_dict()) + "\n")
    write_output(html_file, lambda: verification_page(found))
    if not quiet:
        print_verification(found, console)
    sys.exit(0 if found.complete else EXIT_WALKED_BACK)
