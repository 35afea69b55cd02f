"""The options of ``fa-lint check``, in the groups and the order of its ``--help``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from fa_lint.cli import values
from fa_lint.cli.group import GroupedCommand, GroupedOption

__all__ = ["check"]

_FORMAT_NAMES = ("full", "concise", "json", "jsonl", "sarif", "github", "gitlab", "junit", "rdjson")


_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _group(heading: str) -> Callable[..., _Decorator]:
    return partial(click.option, cls=GroupedOption, group=heading)


_rules = _group("Rules")
_codes: Callable[..., _Decorator] = partial(
    _rules, multiple=True, callback=values.codes, shell_complete=values.complete_codes, metavar="RULE"
)
_files = _group("Files")
_fixes = _group("Fixes and suppressions")
_changes = _group("Old findings and changes")
_output = _group("Output")
_settings = _group("Configuration")
_running = _group("Running")
_file: Callable[..., click.Path] = partial(click.Path, dir_okay=False)


class _CheckCommand(GroupedCommand):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Its value is optional, and a path that follows is no reason: only `--add-ignore=REASON` gives one.
        end = args.index("--") if "--" in args else len(args)
        head = ["--add-ignore=" if arg == "--add-ignore" else arg for arg in args[:end]]
        return super().parse_args(ctx, [*head, *args[end:]])


@click.command(cls=_CheckCommand)
@click.argument("paths", nargs=-1, type=click.Path())
@_codes("--select", help="Codes, prefixes or names to turn on, instead of the configured ones.")
@_codes("--ignore", help="Codes, prefixes or names to turn off.")
@_codes("--extend-select", help="Codes, prefixes or names to turn on as well.")
@_rules(
    "--per-file-ignores", multiple=True, callback=values.pairs, metavar="PATTERN:RULE", help="Off in some files only."
)
@_files("--exclude", multiple=True, help="gitignore-style patterns to leave out, instead of the configured ones.")
@_files("--extend-exclude", multiple=True, help="gitignore-style patterns to leave out as well.")
@_files("--force-exclude", is_flag=True, help="Apply excludes to files named on the command line too.")
@_files(
    "--max-file-size",
    type=click.IntRange(1, 100_000_000),
    metavar="BYTES",
    help="Longest file that is read [default: 10000000].",
)
@_files("--stdin-filename", metavar="PATH", help="Name of the code read from standard input (`-`).")
@_files("--show-files", is_flag=True, help="List the files that would be linted.")
@_fixes("--fix", is_flag=True, help="Apply safe fixes.")
@_fixes("--unsafe-fixes", is_flag=True, help="With --fix or --diff: unsafe fixes as well.")
@_fixes("--diff", is_flag=True, help="Show what --fix would change, and change nothing.")
@_fixes("--add-ignore", metavar="[=REASON]", help="Write a suppression, with the reason, at every finding shown.")
@_changes("--baseline", type=_file(), help="Report only findings that are not in this baseline.")
@_changes("--write-baseline", type=_file(), help="Write a baseline of all findings.")
@_changes("--prune-baseline", is_flag=True, help="Remove entries that no longer match from the --baseline.")
@_changes("--diff-from", metavar="REV", help="Report only lines changed since a git revision.")
@_changes(
    "--with-runtime",
    type=_file(),
    metavar="F.json",
    help="Mark findings that the run-time guard confirmed, and add events no rule found (pytest --fa-guard-json).",
)
@_output("--output-format", type=click.Choice(_FORMAT_NAMES), default="full", show_default=True)
@_output(
    "--output-file",
    multiple=True,
    metavar="[FORMAT:]PATH",
    help="Write the findings to a file: PATH instead of printing, FORMAT:PATH as well. May be repeated.",
)
@_output("--statistics", is_flag=True, help="Count findings by rule; JSON with --output-format json.")
@_output(
    "--max-findings",
    type=click.IntRange(0),
    metavar="N",
    help="Findings that `full` shows, 0 for all [default: 50 on a terminal, else all].",
)
@_output("--color", type=click.Choice(("auto", "always", "never")), default="auto", show_default=True)
@_output("-q", "--quiet", is_flag=True, help="Print findings and errors, nothing else.")
@_output("-v", "--verbose", is_flag=True, help="Say which configuration, files and cache the run used.")
@_output(
    "--fail-on",
    type=click.Choice(("error", "warning", "hint")),
    help="Lowest level that makes the exit code 1 [default: warning].",
)
@_output("--exit-zero", is_flag=True, help="Exit 0 even with findings.")
@_settings(
    "--config",
    "config_file",
    multiple=True,
    callback=values.config,
    metavar="FILE|'KEY = VALUE'",
    help="Use this configuration file, or set one key in TOML. May be repeated.",
)
@_settings("--isolated", is_flag=True, help="Ignore every configuration file.")
@_settings("--show-settings", is_flag=True, help="Show the settings in force.")
@_running("-j", "--jobs", type=click.IntRange(0), default=0, metavar="N", help="Worker processes (0: one per core).")
@_running("--no-cache", is_flag=True, help="Neither read nor write the cache.")
@_running("--shard", callback=values.shard, metavar="I/N", help="Lint the I-th of N parts of the files.")
@_running("--watch", is_flag=True, help="Run again when a file changes (extra `watch`).")
def check(paths: tuple[str, ...], **options: Any) -> None:
    """Lint files and directories [default: the current directory]; `-` reads standard input."""
    from fa_lint.cli import commands

    commands.check(paths or (".",), commands.CheckOptions(**options))
