"""The shape of the command line: ``check`` is what runs where no command is named, options stand in groups."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from fa_lint.source.escaping import visible

__all__ = ["DefaultGroup", "GroupedCommand", "GroupedOption", "UsageMistake"]

_OWN_FLAGS = ("--help", "-h", "--version", "-V")


class UsageMistake(click.ClickException):
    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"fa-lint: error: {visible(self.message)}", err=True)


class GroupedOption(click.Option):
    """An option under a heading of ``--help``."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose ``--help`` has a heading for each group of options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                groups.setdefault(param.group if isinstance(param, GroupedOption) else "Help", []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class DefaultGroup(click.Group):
    """``fa-lint`` and ``fa-lint PATH`` are ``fa-lint check`` and ``fa-lint check PATH``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if any("\0" in arg for arg in args):
            raise UsageMistake("an argument holds a null byte")
        _refuse_files_that_are_options(args)
        if not args:
            args = [] if ctx.resilient_parsing else ["check"]
        elif args[0] not in (*self.commands, *_OWN_FLAGS):
            args = ["check", *args]
        elif args[0] != "check" and os.path.exists(args[0]) and not ctx.resilient_parsing:
            name = args[0]
            click.echo(
                f"fa-lint: note: `{name}` is a command; `fa-lint check {name}` lints what has its name", err=True
            )
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
        check = self.commands["check"]
        checking = click.Context(check, parent=ctx, info_name="check")
        offered = check.shell_complete(checking, incomplete)
        if not incomplete.startswith("-"):
            for param in check.params:
                offered += param.shell_complete(checking, incomplete) if isinstance(param, click.Argument) else []
        found = own + [item for item in offered if item.value not in seen]
        # click's script for bash drops what came before a path.
        return sorted(found, key=lambda item: item.type == "plain")


def _refuse_files_that_are_options(args: list[str]) -> None:
    """Refuse an option that is also the name of a file here: pre-commit hands over names as the repository has them.

    One called ``--exit-zero`` would silence its hook, one called ``--output-file=…`` overwrite another file.
    """
    for arg in args[: args.index("--")] if "--" in args else args:
        if len(arg) > 1 and arg.startswith("-") and os.path.lexists(arg):
            raise UsageMistake(f"`{arg}` is an option and the name of a file here: rename the file, or write `./{arg}`")
