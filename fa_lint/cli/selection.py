"""Which files a run reports on, which it only reads for the links between files, and which findings are wanted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fa_lint.cli.options import CheckOptions
from fa_lint.output.console import plural, remark
from fa_lint.project.config import Settings
from fa_lint.project.discovery import discover
from fa_lint.project.engine import Report

if TYPE_CHECKING:
    from fa_lint.project.baseline import Baseline

__all__ = ["Selection", "narrow", "select_files", "write_baseline"]


@dataclass(frozen=True, slots=True)
class Selection:
    """``files`` are reported on, ``context`` only read."""

    files: list[str]
    context: list[str]


def select_files(paths: tuple[str, ...], settings: Settings, options: CheckOptions) -> Selection:
    """The files under ``paths`` after ``--shard`` and ``--diff-from``.

    Raises :class:`~fa_lint.project.discovery.DiscoveryError` and :class:`~fa_lint.project.changes.ChangeError`.
    """
    found = files = discover(paths, settings)
    if options.shard is not None:
        from fa_lint.project.shards import in_shard

        files = in_shard(files, options.shard, settings.root)
    if options.diff_from is not None:
        from fa_lint.project.changes import changes_since

        changes = changes_since(options.diff_from, files)
        files = [path for path in files if path in changes]
    chosen = set(files)
    return Selection(files, [path for path in found if path not in chosen])


def narrow(report: Report, linted: Collection[str], settings: Settings, options: CheckOptions) -> Report:
    """The report without what the baseline knows and without what stands on unchanged lines.

    Raises :class:`~fa_lint.project.baseline.BaselineError` and :class:`~fa_lint.project.changes.ChangeError`.
    """
    found = report.diagnostics
    if options.baseline is not None:
        from fa_lint.project.baseline import Baseline

        old = Baseline.load(options.baseline)
        found, smaller = old.apply(found, linted, settings.codes)
        _say_gone(old, smaller, options)
    if options.diff_from is not None:
        from fa_lint.project.changes import changes_since

        changes = changes_since(options.diff_from, linted)
        found = [item for item in found if changes.touch(item)]
    return replace(report, diagnostics=found)


def _say_gone(old: Baseline, smaller: Baseline, options: CheckOptions) -> None:
    gone = old.without(smaller)
    if not gone:
        return
    for entry in gone:
        times = f" ({entry.count} times)" if entry.count > 1 else ""
        remark(f"{old.file}: entry no longer matches: {entry}{times}", quiet=options.quiet)
    count = plural(sum(entry.count for entry in gone), "finding")
    if options.prune_baseline:
        smaller.write()
        remark(f"Removed {count} from {old.file}.", quiet=options.quiet)
    else:
        text = f"{count} in {old.file} no longer found; `--prune-baseline` removes the entries."
        remark(text, quiet=options.quiet)


def write_baseline(report: Report, file: str, *, quiet: bool) -> None:
    """``--write-baseline``; raises :class:`~fa_lint.project.baseline.BaselineError`."""
    from fa_lint.project.baseline import Baseline

    Baseline.of(report.diagnostics, file).write()
    remark(f"Wrote {plural(len(report.diagnostics), 'finding')} to {file}.", quiet=quiet)
