"""Where a report goes: the terminal, files in any format, and the exit code."""

from __future__ import annotations

import os
import sys

from fa_lint.cli.options import CheckOptions
from fa_lint.output import FORMATS, render_statistics
from fa_lint.output.console import echo, stop, tell, wants_colour
from fa_lint.output.full import Look, render_full
from fa_lint.project.config import Settings
from fa_lint.project.engine import Report
from fa_lint.source.files import replace_file

__all__ = ["deliver", "exit_code", "refuse_overwriting", "say_problems"]


# What a person reads at once.
_SCREENFUL = 50


def deliver(report: Report, options: CheckOptions, *, err: bool = False) -> None:
    """Write the report to every ``--output-file``, and print it.

    A plain ``--output-file PATH`` holds what would be printed, instead of it; ``FORMAT:PATH`` files come beside it.
    """
    say_problems(report)
    targets = [_target(given, options.output_format) for given in options.output_file]
    for name, path, given in targets:
        text = _rendered(report, name, options) if path == given else FORMATS[name](report)
        try:
            replace_file(path, text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            stop(f"cannot write {path}: {error.strerror or error}")
    if any(path == given for _, path, given in targets):
        return
    stream = sys.stderr if err else sys.stdout
    terminal = stream.isatty()
    colour = wants_colour(options.color, terminal)
    echo(_rendered(report, options.output_format, options, terminal=terminal, colour=colour), err=err)


def _rendered(report: Report, name: str, options: CheckOptions, *, terminal: bool = False, colour: bool = False) -> str:
    """The text of the report for one place, a file unless it is said to be a terminal."""
    if options.statistics:
        return render_statistics(report, name)
    if name != "full":
        return FORMATS[name](report)
    most = options.max_findings if options.max_findings is not None else _SCREENFUL if terminal else 0
    return render_full(report, Look(colour, colour and terminal, most or None, not options.quiet))


def refuse_overwriting(inputs: list[str], settings: Settings, options: CheckOptions) -> None:
    """End the run where what it is to write would take the place of what it reads."""
    paths = [path for _, path, _ in (_target(given, options.output_format) for given in options.output_file)]
    written = [path for path in (*paths, options.write_baseline) if path is not None and os.path.isfile(path)]
    if not written:
        return
    read = (*inputs, settings.config_file, options.baseline, options.with_runtime)
    known = {_identity(path) for path in read if path is not None and os.path.exists(path)}
    for path in written:
        if _identity(path) in known:
            stop(f"{path} is read by this run, and would be overwritten")


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _target(given: str, default: str) -> tuple[str, str, str]:
    """Format, path and the text of an ``--output-file``; the path is the text where no format is named."""
    name, colon, path = given.partition(":")
    return (name, path, given) if colon and path and name in FORMATS else (default, given, given)


def say_problems(report: Report) -> None:
    """Internal errors, one line each."""
    for problem in report.problems:
        tell(f"fa-lint: internal error: {problem}")


def exit_code(report: Report, settings: Settings, options: CheckOptions) -> int:
    """0 clean, 1 findings that fail the run, 2 an internal error."""
    if report.problems:
        return 2
    failing = any(d.level.rank >= settings.fail_on.rank or d.code == "FAL900" for d in report.diagnostics)
    return int(failing and not options.exit_zero)
