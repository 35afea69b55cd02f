"""``fa-diagnose table``: methods × seeds from reports of any origin."""

from __future__ import annotations

from pathlib import Path

import click

from ..audit import audit_page
from ..audit.formats import COLUMNS, FORMATS, chosen, to_latex, usual
from ..audit.reports import ReportError, read_any
from ..audit.table import rows_of_files
from ..dependencies import MissingDependencyError
from ..escaping import visible
from .shared import refuse, say, write_output

__all__ = ["table"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "style", type=click.Choice([*FORMATS, "html"]), default="text", show_default=True)
@click.option("--columns", metavar="TITLE;…", help="Titles in this order, or all (default: at most ten).")
@click.option("--caption", default="", help="Of the LaTeX table, or the title of the page.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="FILE instead of the terminal.")
def table(runs: tuple[Path, ...], style: str, columns: str | None, caption: str, output: Path | None) -> None:
    """One row for each network and method of RUNS: files of `run --json`, cells of an audit, or folders of either.

    Reports with the same method name and the same hidden states are seeds of one method; a file that is named twice
    counts once. Exit code 0; 2 usage, or a file that is no report.
    """
    try:
        found, left_out = read_any(runs)
        rows = rows_of_files(found)
        if columns is None:
            wanted = usual(rows)
        else:
            wanted = COLUMNS if columns == "all" else chosen([title.strip() for title in columns.split(";")])
        if style == "html":
            text = audit_page(caption or "Methods", f"{len(found)} runs", rows, None if columns is None else wanted)
        elif style == "latex":
            text = to_latex(rows, wanted, caption)
        else:
            text = FORMATS[style](rows, wanted)
    except (ReportError, ValueError, MissingDependencyError) as error:
        refuse(str(error))
    for reason in left_out:
        say(visible(f"left out: {reason}"), err=True)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_output(output, lambda: text)
