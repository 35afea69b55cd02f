"""``fa-diagnose audit CONFIG.toml``: methods × seeds × models."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import click
import torch

from ..audit import (
    AuditConfig,
    CellResult,
    ConfigError,
    Progress,
    against_published,
    audit_page,
    cells_of,
    check_targets,
    executor_named,
    exit_code,
    load_config,
    rows_of,
    run_audit,
    to_latex,
    to_markdown,
)
from ..audit.template import TEMPLATE
from ..dependencies import MissingDependencyError
from ..escaping import visible
from .shared import refuse, say, write_output

__all__ = ["audit"]


@click.command()
@click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-j", "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes, one thread each.")
@click.option(
    "--executor", metavar="KIND", help="processes:2, dask:ADDRESS, ray:ADDRESS, submitit:partition=gpu,…, or mpi."
)
@click.option(
    "--shard", metavar="I/N|auto", help="Which of N drivers of this folder begins (auto: from SLURM's array)."
)
@click.option("--dry-run", is_flag=True, help="List the cells and what is left to compute.")
@click.option("--html/--no-html", default=None, help="Write the page with figures (default: if matplotlib is there).")
def audit(
    config: Path,
    overrides: tuple[str, ...],
    jobs: int,
    executor: str | None,
    shard: str | None,
    dry_run: bool,
    html: bool | None,
) -> None:
    """Train and diagnose every cell of CONFIG; write table.md, table.tex, table.html into its folder.

    `fa-diagnose audit init [FILE]` writes a CONFIG with comments. KEY=VALUE (recipe.lr=1e-3) goes before what CONFIG
    says.

    A finished cell is never computed again, so an interrupted run resumes. Several runs on one folder share the cells.
    Exit code 0: every cell trustworthy. 1: one walked back, invalid, diverged or failed. 3: one inconclusive or not
    measurable. 2: usage.
    """
    if str(config) == "init":
        _write_template(Path(overrides[0] if overrides else "audit.toml"))
        return
    torch.set_num_threads(1)  # with two, the same cell took up to a hundred times longer on a busy machine
    try:
        settings = load_config(config, overrides)
        check_targets(settings)
        if dry_run:
            _list(settings)
            return
        results = _computed(settings, jobs, executor, shard)
    except (ConfigError, ValueError, MissingDependencyError) as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename or config}: {error.strerror or error}")
    if int(os.environ.get("RANK", "0")) != 0 and shard is None:
        return
    _write(config, settings, results, html)
    sys.exit(exit_code(results))


def _write_template(path: Path) -> None:
    if path.exists():
        refuse(f"{path} is there already")
    write_output(path, lambda: TEMPLATE)
    say(f"{path}: change what it says, then fa-diagnose audit {path}")


def _computed(settings: AuditConfig, jobs: int, executor: str | None, shard: str | None) -> list[CellResult]:
    place = None if shard in (None, "auto") else _place(str(shard))
    progress = Progress(len(cells_of(settings)), settings.out / "cells")
    made = nullcontext(None) if executor is None else executor_named(executor, settings.out)
    with made as pool, progress.shown():
        return run_audit(settings, jobs=jobs, executor=pool, shard=place, on_cell=progress)


def _place(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise ValueError(f"--shard takes I/N with 1 <= I <= N, or auto; got {text!r}")
    return int(index) - 1, int(count)


def _write(config: Path, settings: AuditConfig, results: list[CellResult], html: bool | None) -> None:
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
    say(table)
    for line in against_published(rows, settings):
        say(visible(line))
    say(f"{settings.out / 'table.md'}, .tex" + ("" if html is False else ", .html"), err=True)


def _list(settings: AuditConfig) -> None:
    for cell in cells_of(settings):
        stored = CellResult.read(settings, cell)
        say(f"{cell.name}: {'finished' if stored else 'to compute'}")
