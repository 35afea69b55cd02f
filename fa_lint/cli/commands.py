"""``fa-lint check``: settings, files, the engine, fixes and suppressions, and the report."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn

from fa_lint.cli.delivery import deliver, exit_code, refuse_overwriting, say_problems
from fa_lint.cli.options import CheckOptions, conflict
from fa_lint.cli.selection import Selection, narrow, select_files, write_baseline
from fa_lint.findings import Diagnostic, Level
from fa_lint.fixes.edits import FixError, fix_data
from fa_lint.fixes.ignores import add_ignores, to_silence
from fa_lint.fixes.rewriting import Change, Rewriting, imports_runtime, print_diff, rewrite
from fa_lint.installing import NEEDS_RUNTIME
from fa_lint.output import shown_path
from fa_lint.output.console import echo, plural, put, remark, stop, tell
from fa_lint.project.cache import cache_folder
from fa_lint.project.config import ConfigError, Settings, as_rows, find_config, load, override
from fa_lint.project.discovery import DiscoveryError
from fa_lint.project.engine import MOST_FOLLOWED, Report, lint, lint_text
from fa_lint.rules import ENGINE_CODES, RuleError, registry
from fa_lint.source.escaping import visible
from fa_lint.source.reading import read_file

__all__ = ["CheckOptions", "check"]

_LONGEST_CALL = 10_000


def check(paths: tuple[str, ...], options: CheckOptions) -> NoReturn:
    """``fa-lint check``; ends the process with the documented exit code."""
    if "-" in paths and paths != ("-",):
        stop("`-` (standard input) cannot be mixed with paths")
    refused = conflict(options, paths)
    if refused is not None:
        stop(refused)
    if options.watch:
        from fa_lint.cli.watch import watch

        watch(paths, lambda: run(paths, options))
    sys.exit(run(paths, options))


def run(paths: tuple[str, ...], options: CheckOptions) -> int:
    """One run, with its output; the exit code. Ends the process if the options contradict each other."""
    from fa_lint.project.baseline import BaselineError
    from fa_lint.project.changes import ChangeError
    from fa_lint.project.confirm import RuntimeLogError

    try:
        os.getcwd()
    except OSError as error:
        stop(f"the working directory cannot be used: {error.strerror or error}")
    try:
        settings = _settings(paths, options)
        registry()
        if options.show_settings:
            for key, value in as_rows(settings):
                echo(visible(f"{key} = {value}") + "\n")
            return 0
        if paths == ("-",):
            return _check_stdin(settings, options)
        chosen = select_files(paths, settings, options)
        if options.show_files:
            for path in chosen.files:
                echo(shown_path(path) + "\n")
            return 0
        _say_inputs(chosen, settings, options)
        refuse_overwriting([*chosen.files, *chosen.context], settings, options)
        return _check_files(chosen, settings, options)
    except (ConfigError, RuleError, DiscoveryError, ChangeError, BaselineError, RuntimeLogError) as error:
        stop(str(error))


def _settings(paths: tuple[str, ...], options: CheckOptions) -> Settings:
    if options.isolated and options.config_file:
        raise ConfigError("--isolated", "cannot be combined with --config")
    start = options.stdin_filename or "." if paths == ("-",) else paths[0]
    found = None if options.isolated else options.config_file or find_config(start)
    settings = override(load(found), options.config_values)
    changes: dict[str, Any] = {}
    for name in ("select", "ignore", "extend_select", "per_file_ignores"):
        if getattr(options, name) is not None:
            changes[name] = getattr(options, name)
    for name in ("exclude", "extend_exclude"):
        if getattr(options, name):
            changes[name] = tuple(p for value in getattr(options, name) for p in value.split(",") if p)
    if options.force_exclude:
        changes["force_exclude"] = True
    if options.max_file_size is not None:
        changes["max_file_size"] = options.max_file_size
    if options.fail_on:
        changes["fail_on"] = Level(options.fail_on)
    return replace(settings, **changes)


# -- files --------------------------------------------------------------------------------------------------------


def _check_files(chosen: Selection, settings: Settings, options: CheckOptions) -> int:
    with _progress(options) as progress:
        report = _lint(chosen, settings, options, progress)
    if not chosen.files and not chosen.context:
        remark("fa-lint: warning: no Python file or notebook under the given paths", quiet=options.quiet)
    if len(chosen.files) + len(chosen.context) > MOST_FOLLOWED:
        what = f"note: over {MOST_FOLLOWED} files in one run, so values are not followed from file to file"
        remark(f"fa-lint: {what}; lint a package at a time for that", quiet=options.quiet)
    if options.verbose:
        tell(f"fa-lint: {report.parsed} parsed, {report.cached} from the cache, in {report.seconds:.2f} s")
    if options.write_baseline is not None:
        say_problems(report)
        write_baseline(report, options.write_baseline, quiet=options.quiet)
        return 2 if report.problems else 0
    report = narrow(report, chosen.files, settings, options)
    failed = False
    if options.fix or options.diff or options.add_ignore is not None:
        change = _change(settings, options)
        done = rewrite(_wanted(report, options), report.seen, change, diff_colour=_diff_colour(options))
        failed = bool(done.problems)
        if options.diff:
            say_problems(report)
            _say_changes("Would fix", done, options)
            return 2 if failed or report.problems else int(bool(done.files) and not options.exit_zero)
        if done.files:
            verb = "Fixed" if options.add_ignore is None else "Silenced"
            _say_changes(verb, done, options)
            again = replace(options, prune_baseline=False)
            report = narrow(_lint(chosen, settings, options), chosen.files, settings, again)
    if options.with_runtime is not None:
        _confirm(report, options.with_runtime, chosen.files, settings, quiet=options.quiet)
    deliver(report, options)
    return 2 if failed else exit_code(report, settings, options)


def _confirm(report: Report, log: str, files: list[str], settings: Settings, *, quiet: bool) -> None:
    from fa_lint.project.confirm import confirm, read_events

    try:
        read_file(log)
        # No call is longer; a log may say anything.
        events = [replace(e, end_line=min(e.end_line, e.line + _LONGEST_CALL)) for e in read_events(log)]
        outside = confirm(report, events, files, settings)
    except OSError as error:
        stop(f"--with-runtime: cannot read {log}: {error.strerror or error}")
    except (ValueError, RecursionError) as error:  # no path of any file, or nested for ever
        stop(f"--with-runtime: cannot use {log}: {error}")
    if outside:
        shown = ", ".join(outside[:5]) + (f" and {len(outside) - 5} more" if len(outside) > 5 else "")
        what = f"{plural(len(outside), 'guard event')} in files not linted here"
        remark(f"fa-lint: note: {what}: {shown}", quiet=quiet)


def _lint(
    chosen: Selection,
    settings: Settings,
    options: CheckOptions,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    return lint(
        chosen.files,
        settings,
        jobs=options.jobs,
        use_cache=not options.no_cache,
        progress=progress,
        context=chosen.context,
    )


def _say_inputs(chosen: Selection, settings: Settings, options: CheckOptions) -> None:
    """What ``--verbose`` adds on the inputs of a run."""
    if not options.verbose:
        return
    tell(f"fa-lint: configuration: {settings.config_file or 'none, the defaults'}")
    tell(f"fa-lint: rules: {', '.join(sorted(settings.codes))}")
    tell(f"fa-lint: {plural(len(chosen.files), 'file')} to lint, {len(chosen.context)} more read for links")
    tell(f"fa-lint: cache: {'not used' if options.no_cache else cache_folder() or 'none, there is no place for it'}")


def _say_changes(verb: str, done: Rewriting, options: CheckOptions) -> None:
    names = dict(ENGINE_CODES) | {code: rule.name for code, rule in registry().items()}
    rules = ", ".join(
        f"{code} {names.get(code, '')}".strip() + (f" ({count})" if count > 1 else "")
        for code, count in sorted(done.findings.items())
    )
    what = f"{plural(done.findings.total(), 'finding')} in {plural(done.files, 'file')}"
    remark(f"{verb} {what}{f': {rules}' if rules else ''}.", quiet=options.quiet)
    _say_needs(done.needs_runtime, options)


def _say_needs(runtime: bool, options: CheckOptions) -> None:
    if runtime:
        remark(NEEDS_RUNTIME, quiet=options.quiet)


def _wanted(report: Report, options: CheckOptions) -> list[Diagnostic]:
    if options.add_ignore is not None:
        return to_silence(report.diagnostics)
    return [d for d in report.diagnostics if d.fix is not None]


def _diff_colour(options: CheckOptions) -> str | None:
    return options.color if options.diff else None


def _change(settings: Settings, options: CheckOptions) -> Change:
    def fixed(path: str, data: bytes, found: list[Diagnostic]) -> tuple[bytes, Counter[str]]:
        result = fix_data(path, data, found, settings, unsafe=options.unsafe_fixes, only_these=options.narrows)
        return result.data, result.applied

    def ignored(path: str, data: bytes, found: list[Diagnostic]) -> tuple[bytes, Counter[str]]:
        return add_ignores(path, data, found, options.add_ignore or "")

    return fixed if options.add_ignore is None else ignored


# -- standard input -----------------------------------------------------------------------------------------------


def _check_stdin(settings: Settings, options: CheckOptions) -> int:
    if sys.stdin is None:
        stop("standard input is closed")
    data = sys.stdin.buffer.read(settings.max_file_size + 1)
    path = options.stdin_filename or "-"
    report = narrow(lint_text(path, data, settings, apart=True), (), settings, options)
    if not (options.fix or options.diff or options.add_ignore is not None):
        deliver(report, options)
        return exit_code(report, settings, options)
    try:
        new, _ = _change(settings, options)(path, data, _wanted(report, options))
    except FixError as error:
        stop(str(error))
    _say_needs(imports_runtime(data, new), options)
    if options.diff:
        print_diff(path, data, new, options.color)
        say_problems(report)
        return 2 if report.problems else int(new != data and not options.exit_zero)
    # As Ruff does: the code to stdout, what is left to say to stderr.
    put(new)
    left = narrow(lint_text(path, new, settings, apart=True), (), settings, options)
    deliver(left, options, err=True)
    return exit_code(left, settings, options)


# -- progress -----------------------------------------------------------------------------------------------------


@contextmanager
def _progress(options: CheckOptions) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the terminal's error stream once a run takes over a second; it moves by bytes, as the work does."""
    if sys.stderr is None or not sys.stderr.isatty() or options.quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("Linting"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    began = time.monotonic()
    task = None

    def advance(done: int, total: int) -> None:
        nonlocal task
        if task is None and time.monotonic() - began > 1:
            bar.start()
            task = bar.add_task("", total=total)
        if task is not None:
            bar.update(task, completed=done)

    try:
        yield advance
    finally:
        bar.stop()
