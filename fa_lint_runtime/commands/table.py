"""``fa-diagnose table``: methods × seeds from reports of any origin."""

from __future__ import annotations

from pathlib import Path

import click

from ..audit import audit_page
from ..audit.formats import COLUMNS, FORMATS, NARROW, chosen, to_latex
from ..audit.reports import ReportError, read_reports
from ..audit.table import rows_of_reports
from ..dependencies import MissingDependencyError
from .shared import refuse, write_output

__all__ = ["table"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--format", "style", type=click.Choice([*FORMATS, "html"]), default="text", show_default=True)
@click.option("--columns", metavar="TITLE;…", help="Titles in this order, or all (default: at most ten).")
@click.option("--caption", default="", help="Of the LaTeX table, or the title of the page.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="FILE instead of the terminal.")
def table(runs: tuple[Path, ...], style: str, columns: str | None, caption: str, output: Path | None) -> None:
    """One row for each method of RUNS: files of `run --json`, cells of an audit, or folders of either.

    Reports with the same method name are seeds of one method. Exit code 0; 2 usage, or a file that is no report.
    """
    try:
        rows = rows_of_reports(read_reports(runs))
        titles = [c.title for c in COLUMNS] if columns == "all" else (columns or ";".join(NARROW)).split(";")
        wanted = chosen([title.strip() for title in titles])
        if style == "html":
            text = audit_page(caption or "Methods", f"{len(runs)} runs", rows)
        elif style == "latex":
            text = to_latex(rows, wanted, caption)
        else:
            text = FORMATS[style](rows, wanted)
    except (ReportError, ValueError, MissingDependencyError) as error:
        refuse(str(error))
    if output is None:
        click.echo(text, nl=False)
    else:
        write_output(output, lambda: text)
