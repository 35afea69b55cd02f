"""``fa-diagnose utility``: seven reporting strategies, and what each would have walked back."""

from __future__ import annotations

from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..audit.reports import ReportError, read_reports
from ..audit.utility import PUBLISHED, Evidence, evidence_of, utility_table
from ..escaping import visible
from ..render.text import add_row
from .shared import as_json, refuse, write_output

__all__ = ["utility"]


@click.command()
@click.argument("reports", nargs=-1, type=click.Path(path_type=Path))
@click.option("--published", is_flag=True, help="The published CIFAR-10 table in place of reports.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write JSON to FILE.")
def utility(reports: tuple[Path, ...], published: bool, json_file: Path | None) -> None:
    """List what each reporting strategy would have walked back. REPORTS: JSON files or folders of an audit.

    A cell reads walked back / decided runs; ? marks runs that the strategy could not decide.
    Exit code 0; 2 usage.
    """
    if published == bool(reports):
        refuse("give REPORTS (files, or the folder of an audit), or --published")
    try:
        evidence: list[Evidence] = list(PUBLISHED) if published else [evidence_of(r) for r in read_reports(reports)]
    except ReportError as error:
        refuse(str(error))
    found = utility_table(evidence)
    methods = list(dict.fromkeys(e.method for e in evidence))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("reported")
    for method in methods:
        table.add_column(Text(visible(method)), justify="right")
    table.add_column("methods walked back", justify="right")
    for strategy, row in found.items():
        cells = [_cell(row[method]) for method in methods]
        count = sum(2 * back > known > 0 for back, known, _ in row.values())
        add_row(table, strategy, *cells, f"{count} of {len(methods)}")
    Console().print(table)
    if published:
        click.echo(
            "Computed from the published figures alone. (d) fires on EP (0.316 against 0.349), which the published\n"
            "table calls trustworthy: its own rule contradicts it. ‖h_L‖ only bounds blocks; ? where it cannot decide."
        )
    write_output(json_file, lambda: as_json(found) + "\n")


def _cell(answer: tuple[int, int, int]) -> str:
    back, known, runs = answer
    return (f"{back}/{known}" if known else "") + ("?" if known < runs else "")
