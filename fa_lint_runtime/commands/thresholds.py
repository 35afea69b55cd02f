"""``fa-diagnose thresholds``: how far each threshold can move before a verdict changes."""

from __future__ import annotations

import math
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from ..audit.figures import threshold_figure
from ..audit.reports import ReportError, read_reports
from ..audit.sensitivity import sensitivity
from ..dependencies import MissingDependencyError
from ..diagnostics import DiagnosticThresholds
from .shared import as_json, refuse, write_output

__all__ = ["thresholds"]


@click.command()
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--svg", "svg_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the plot to FILE.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write JSON to FILE.")
def thresholds(reports: tuple[Path, ...], svg_file: Path | None, json_file: Path | None) -> None:
    """The range of each threshold that gives the same verdicts on all REPORTS (JSON files or folders of an audit).

    A threshold inside a wide empty range is robust; one with values of several methods beside it is a choice.
    Exit code 0; 2 usage.
    """
    try:
        found = sensitivity(read_reports(reports), DiagnosticThresholds())
        figure = threshold_figure(found) if svg_file is not None else ""
    except (ReportError, MissingDependencyError) as error:
        refuse(str(error))
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("diagnostic", "threshold", "same answers from", "to", "fires", "not measured"):
        table.add_column(title, justify="left" if title == "diagnostic" else "right")
    for one in found:
        total = sum(len(group) for group in one.values.values())
        table.add_row(
            one.name, f"{one.threshold:g}", _shown(one.low), _shown(one.high), f"{one.fires}/{total}", str(one.unknown)
        )
    Console().print(table)
    write_output(svg_file, lambda: figure)
    write_output(
        json_file,
        lambda: as_json([{k: v for k, v in vars(one).items() if k != "log"} for one in found]) + "\n",
    )


def _shown(value: float) -> str:
    return "any" if math.isinf(value) else f"{value:.2g}"
