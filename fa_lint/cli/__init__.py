"""The command line. Nothing heavy is imported before a command needs it; no traceback ever reaches the user."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from fa_lint._version import __version__
from fa_lint.cli.check import check
from fa_lint.cli.group import DefaultGroup
from fa_lint.cli.values import complete_codes, complete_keys
from fa_lint.installed import trusted_path
from fa_lint.source.escaping import visible

__all__ = ["cli", "main"]

_text_or_json = click.option("--output-format", type=click.Choice(("text", "json")), default="text", show_default=True)


@click.group(cls=DefaultGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="fa-lint")
def cli() -> None:
    """Find the silent mistakes that make gradient-alignment numbers wrong.

    `fa-lint PATH…` is short for `fa-lint check PATH…`, and `fa-lint` for `fa-lint check .`.
    """


cli.add_command(check)


@cli.command()
@click.argument("code", required=False, shell_complete=complete_codes)
@click.option("--all", "everything", is_flag=True, help="All rules.")
@_text_or_json
@click.option("--verify", is_flag=True, help="Run the rule's numeric demonstration on the installed torch.")
def rule(code: str | None, everything: bool, output_format: str, verify: bool) -> None:
    """Explain a rule, by its code or name; `fa-lint explain` is the same."""
    from fa_lint.output.explain import explain

    explain(code, everything, output_format, verify=verify)


cli.add_command(rule, "explain")


@cli.command()
@_text_or_json
def rules(output_format: str) -> None:
    """List the rules: code, name, level, fix and what each flags."""
    from fa_lint.cli.listing import list_rules

    list_rules(output_format)


@cli.command()
@click.argument("key", required=False, shell_complete=complete_keys)
@_text_or_json
def config(key: str | None, output_format: str) -> None:
    """List the keys of the configuration, or explain one."""
    from fa_lint.cli.listing import explain_keys

    explain_keys(key, output_format)


@cli.command()
def clean() -> None:
    """Remove the cache, of all projects."""
    from fa_lint.cli.clean import clean as remove_cache

    remove_cache()


@cli.command()
def server() -> None:
    """Serve editors: the Language Server Protocol over standard input and output (extra `lsp`)."""
    from fa_lint.integrations.lsp import serve

    serve()


@cli.command()
@click.argument("folder", default=".", type=click.Path(file_okay=False))
def init(folder: str) -> None:
    """Write a configuration into pyproject.toml (or fa-lint.toml), and declare the codes to Ruff."""
    from fa_lint.cli.init import init as write_configuration

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
