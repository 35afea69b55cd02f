"""``fa-diagnose compare A.json B.json``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..audit.comparison import compare_reports
from ..audit.reports import ReportError, read_report
from ..escaping import visible
from ..render.text import add_row
from .shared import as_json, refuse, say, write_output

__all__ = ["compare"]


@click.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write JSON to FILE.")
def compare(before: Path, after: Path, json_file: Path | None) -> None:
    """What differs between two reports: verdict, criteria, figures by layer.

    Exit code: that of AFTER's verdict; 2 usage.
    """
    try:
        first, second = read_report(before), read_report(after)
    except ReportError as error:
        refuse(str(error))
    found = compare_reports(first, second)
    for warning in found.warnings:
        say(visible(f"not alike: {warning}"), err=True)
    console = Console()
    say(f"verdict: {found.verdicts[0]} -> {found.verdicts[1]}")
    for change in found.criteria:
        say(visible(f"  {change.name}: {change.before} -> {change.after}"))
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("layer", "figure", first.method_name, second.method_name, "ratio"):
        table.add_column(Text(visible(title)), justify="left" if title == "figure" else "right")
    for name, a, b in found.figures:
        add_row(table, "", name, _shown(a), _shown(b), _ratio(a, b))
    for index, name, a, b in found.layers:
        add_row(table, str(index), name, _shown(a), _shown(b), _ratio(a, b))
    console.print(table)
    write_output(json_file, lambda: as_json(asdict(found)) + "\n")
    sys.exit(second.exit_code)


def _shown(value: float | None) -> str:
    return "N/A" if value is None else f"{value:.3g}"


def _ratio(a: float | None, b: float | None) -> str:
    return "" if a is None or b is None or a == 0 or a * b < 0 else f"{b / a:.3g}"
