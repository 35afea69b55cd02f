"""The command line. Nothing heavy is imported before a command needs it; no traceback ever reaches the user."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from fa_lint._version import __version__
from fa_lint.escaping import visible
from fa_lint.installed import trusted_path

__all__ = ["main"]

_FORMAT_NAMES = ("full", "concise", "json", "jsonl", "sarif", "github", "gitlab", "junit")


class _Usage(click.ClickException):
    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"fa-lint: error: {visible(self.message)}", err=True)


class _DefaultGroup(click.Group):
    """``fa-lint PATH`` is ``fa-lint check PATH``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if any("\0" in arg for arg in args):
            raise _Usage("an argument holds a null byte")
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h", "--version", "-V"):
            args = ["check", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            # It may repeat an argument, which may be the name of a file.
            vars(error)["message"] = visible(error.message)
            raise
        except KeyboardInterrupt:
            sys.exit(130)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # What may follow `fa-lint` is a command, or anything that may follow `fa-lint check`.
        own = super().shell_complete(ctx, incomplete)
        seen = {item.value for item in own}
        checking = click.Context(check, parent=ctx, info_name="check")
        offered = check.shell_complete(checking, incomplete)
        if not incomplete.startswith("-"):
            for param in check.params:
                offered += param.shell_complete(checking, incomplete) if isinstance(param, click.Argument) else []
        found = own + [item for item in offered if item.value not in seen]
        # click's script for bash drops what came before a path.
        return sorted(found, key=lambda item: item.type == "plain")


@click.group(cls=_DefaultGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="fa-lint")
def cli() -> None:
    """Find the silent mistakes that make gradient-alignment numbers wrong.

    `fa-lint PATH…` is short for `fa-lint check PATH…`.
    """


def _codes(_: click.Context, __: click.Parameter, values: Sequence[str]) -> tuple[str, ...] | None:
    from fa_lint.config import expand_codes

    if not values:
        return None
    try:
        # An empty value (`--select "$UNSET"`) is a mistake, not a wish for no rule at all.
        return expand_codes(tuple(c.strip() for v in values for c in v.split(",") if c.strip() or not v.strip(" ,")))
    except ValueError as error:
        raise _Usage(str(error)) from None


def _pairs(
    _: click.Context, __: click.Parameter, values: Sequence[str]
) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
    from fa_lint.config import parse_per_file_ignores

    table: dict[str, list[str]] = {}
    for value in values:
        for pair in value.split(","):
            pattern, colon, code = pair.rpartition(":")
            if not colon or not pattern or not code:
                raise _Usage(f"--per-file-ignores takes PATTERN:CODE, not `{pair}`")
            table.setdefault(pattern.strip(), []).append(code.strip())
    try:
        return parse_per_file_ignores(table) if table else None
    except ValueError as error:
        raise _Usage(f"--per-file-ignores: {error}") from None


def _shard(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    from fa_lint.shards import parse_shard

    try:
        return None if value is None else parse_shard(value)
    except ValueError as error:
        raise _Usage(str(error)) from None


def _complete_codes(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from fa_lint.rules import ENGINE_CODES, registry

    names = {code: rule.name for code, rule in registry().items()} | dict(ENGINE_CODES)
    return [CompletionItem(code, help=name) for code, name in names.items() if code.startswith(incomplete.upper())]


class _CheckCommand(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Its value is optional, and a path that follows is no reason: only `--add-ignore=REASON` gives one.
        end = args.index("--") if "--" in args else len(args)
        head = ["--add-ignore=" if arg == "--add-ignore" else arg for arg in args[:end]]
        return super().parse_args(ctx, [*head, *args[end:]])


@cli.command(cls=_CheckCommand)
@click.argument("paths", nargs=-1, type=click.Path())
@click.option(
    "--select",
    multiple=True,
    callback=_codes,
    shell_complete=_complete_codes,
    help="Codes or prefixes to turn on, instead of the configured ones.",
)
@click.option(
    "--ignore", multiple=True, callback=_codes, shell_complete=_complete_codes, help="Codes or prefixes to turn off."
)
@click.option(
    "--extend-select",
    multiple=True,
    callback=_codes,
    shell_complete=_complete_codes,
    help="Codes or prefixes to turn on as well.",
)
@click.option(
    "--per-file-ignores", multiple=True, callback=_pairs, metavar="PATTERN:CODE", help="Turn codes off in some files."
)
@click.option("--exclude", multiple=True, help="gitignore-style patterns to leave out, instead of the configured ones.")
@click.option("--extend-exclude", multiple=True, help="gitignore-style patterns to leave out as well.")
@click.option("--force-exclude", is_flag=True, help="Apply excludes to files named on the command line too.")
@click.option("--fix", is_flag=True, help="Apply safe fixes.")
@click.option("--unsafe-fixes", is_flag=True, help="With --fix or --diff: unsafe fixes as well.")
@click.option("--diff", is_flag=True, help="Show what --fix would change, and change nothing.")
@click.option(
    "--add-ignore", metavar="[=REASON]", help="Write a suppression, with the reason, at every finding that is shown."
)
@click.option("--baseline", type=click.Path(dir_okay=False), help="Report only findings that are not in this baseline.")
@click.option("--write-baseline", type=click.Path(dir_okay=False), help="Write a baseline of all findings.")
@click.option("--prune-baseline", is_flag=True, help="Remove entries that no longer match from the --baseline.")
@click.option("--diff-from", metavar="REV", help="Report only lines changed since a git revision.")
@click.option("--shard", callback=_shard, metavar="I/N", help="Lint the I-th of N parts of the files.")
@click.option("--watch", is_flag=True, help="Run again when a file changes (extra `watch`).")
@click.option("--output-format", type=click.Choice(_FORMAT_NAMES), default="full", show_default=True)
@click.option(
    "--output-file",
    multiple=True,
    metavar="[FORMAT:]PATH",
    help="Write the findings to a file: PATH instead of printing, FORMAT:PATH as well. May be repeated.",
)
@click.option("--statistics", is_flag=True, help="Count findings by rule.")
@click.option(
    "--fail-on",
    type=click.Choice(("error", "warning", "hint")),
    help="Lowest level that makes the exit code 1 [default: warning].",
)
@click.option(
    "--max-file-size",
    type=click.IntRange(1, 100_000_000),
    metavar="BYTES",
    help="Longest file that is read [default: 10000000].",
)
@click.option("--exit-zero", is_flag=True, help="Exit 0 even with findings.")
@click.option("--stdin-filename", metavar="PATH", help="Name of the code read from standard input (`-`).")
@click.option("--show-files", is_flag=True, help="List the files that would be linted.")
@click.option("--show-settings", is_flag=True, help="Show the settings in force.")
@click.option("--isolated", is_flag=True, help="Ignore every configuration file.")
@click.option("--config", "config_file", type=click.Path(dir_okay=False), help="Use this configuration file.")
@click.option("--color", type=click.Choice(("auto", "always", "never")), default="auto", show_default=True)
@click.option(
    "-j", "--jobs", type=click.IntRange(0), default=0, metavar="N", help="Worker processes (0: one per core)."
)
@click.option("--no-cache", is_flag=True, help="Neither read nor write the cache.")
@click.option(
    "--with-runtime",
    type=click.Path(dir_okay=False),
    metavar="F.json",
    help="Mark findings that the run-time guard confirmed, and add events no rule found (pytest --fa-guard-json).",
)
def check(paths: tuple[str, ...], **options: Any) -> None:
    """Lint files and directories (`-` reads standard input)."""
    from fa_lint import commands

    commands.check(paths, commands.CheckOptions(**options))


@cli.command()
@click.argument("code", required=False, shell_complete=_complete_codes)
@click.option("--all", "everything", is_flag=True, help="All rules.")
@click.option("--output-format", type=click.Choice(("text", "json")), default="text", show_default=True)
@click.option("--verify", is_flag=True, help="Run the rule's numeric demonstration on the installed torch.")
def rule(code: str | None, everything: bool, output_format: str, verify: bool) -> None:
    """Explain a rule; `fa-lint explain` is the same."""
    from fa_lint.explain import explain

    explain(code, everything, output_format, verify=verify)


cli.add_command(rule, "explain")


@cli.command()
def server() -> None:
    """Serve editors: the Language Server Protocol over standard input and output (extra `lsp`)."""
    from fa_lint.integrations.lsp import serve

    serve()


@cli.command()
@click.argument("folder", default=".", type=click.Path(file_okay=False))
def init(folder: str) -> None:
    """Write a configuration into pyproject.toml (or fa-lint.toml), and declare the codes to Ruff."""
    from fa_lint.init import init as write_configuration

    write_configuration(folder)


def main(argv: Sequence[str] | None = None) -> None:
    """The console script: exit 0 clean, 1 findings, 2 usage, configuration or internal error."""
    if argv is None:
        sys.path[:] = trusted_path()
    if sys.stdout is None:
        click.echo("fa-lint: error: standard output is closed", err=True)
        sys.exit(2)
    try:
        cli.main(args=list(argv) if argv is not None else None, prog_name="fa-lint", standalone_mode=True)
    except Exception as error:  # the last resort: a line, not a traceback
        click.echo(f"fa-lint: internal error: {type(error).__name__}: {visible(str(error))}", err=True)
        sys.exit(2)
