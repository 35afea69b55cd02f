"""``fa-diagnose audit CONFIG.toml``: methods × seeds × models."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click
import torch

from ..audit import (
    AuditConfig,
    CellResult,
    ConfigError,
    against_published,
    audit_page,
    cells_of,
    exit_code,
    load_config,
    rank_and_world,
    rows_of,
    run_audit,
    to_latex,
    to_markdown,
)
from ..dependencies import MissingDependencyError
from .shared import refuse, write_output

__all__ = ["audit"]


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-j", "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes, one thread each.")
@click.option("--dry-run", is_flag=True, help="List the cells and what is left to compute.")
@click.option("--html/--no-html", default=None, help="Write the page with figures (default: if matplotlib is there).")
def audit(config: Path, jobs: int, dry_run: bool, html: bool | None) -> None:
    """Train and diagnose every cell of CONFIG; write table.md, table.tex, table.html into its folder.

    A finished cell is never computed again, so an interrupted run resumes. Under torchrun each rank takes its share.
    Exit code 0: every cell trustworthy. 1: one walked back, invalid, diverged or failed. 3: one inconclusive or not
    measurable. 2: usage.
    """
    torch.set_num_threads(1)  # with two, the same cell took up to a hundred times longer on a busy machine
    try:
        settings = load_config(config)
        if dry_run:
            _list(settings)
            return
        results = run_audit(settings, jobs=jobs, on_cell=_tell)
    except (ConfigError, MissingDependencyError) as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename or config}: {error.strerror or error}")
    if rank_and_world()[0] != 0:
        return
    rows = rows_of(results)
    table = to_markdown(rows)
    write_output(settings.out / "table.md", lambda: table)
    write_output(settings.out / "table.tex", lambda: to_latex(rows))
    description = f"{json.dumps(dict(settings.data))}; {settings.recipe.describe()}; seeds {list(settings.seeds)}"
    if html is not False:
        try:
            page = audit_page(f"Audit: {config.name}", description, rows)
        except MissingDependencyError as error:
            if html:
                refuse(str(error))
            click.echo(f"no page: {error}", err=True)
        else:
            write_output(settings.out / "table.html", lambda: page)
    click.echo(table)
    for line in against_published(rows):
        click.echo(line)
    click.echo(f"{settings.out / 'table.md'}, .tex" + ("" if html is False else ", .html"), err=True)
    sys.exit(exit_code(results))


def _tell(result: CellResult, stored: bool) -> None:
    if rank_and_world()[0] != 0:
        return
    verdict = result.error or (result.report.verdict if result.report else "trained")
    state = "there already" if stored else f"{result.seconds:.0f} s"
    click.echo(f"{time.strftime('%H:%M:%S')} {result.cell.name}: {result.accuracy:.3f}, {verdict} ({state})", err=True)


def _list(settings: AuditConfig) -> None:
    for cell in cells_of(settings):
        stored = CellResult.read(settings, cell)
        click.echo(f"{cell.name}: {'finished' if stored else 'to compute'}")
