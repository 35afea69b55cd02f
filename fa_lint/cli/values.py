"""What the values of options mean, and what a shell may complete them to."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from fa_lint.cli.group import UsageMistake

__all__ = ["codes", "complete_codes", "complete_keys", "config", "pairs", "shard"]


def codes(_: click.Context, __: click.Parameter, values: Sequence[str]) -> tuple[str, ...] | None:
    """Codes, prefixes and names of rules as codes and prefixes."""
    from fa_lint.project.config import expand_codes

    if not values:
        return None
    try:
        # An empty value (`--select "$UNSET"`) is a mistake, not a wish for no rule at all.
        return expand_codes(tuple(c.strip() for v in values for c in v.split(",") if c.strip() or not v.strip(" ,")))
    except ValueError as error:
        raise UsageMistake(str(error)) from None


def pairs(
    _: click.Context, __: click.Parameter, values: Sequence[str]
) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
    """``PATTERN:CODE`` pairs as the table of the configuration."""
    from fa_lint.project.config import parse_per_file_ignores

    table: dict[str, list[str]] = {}
    for value in values:
        for pair in value.split(","):
            pattern, colon, code = pair.rpartition(":")
            if not colon or not pattern or not code:
                raise UsageMistake(f"--per-file-ignores takes PATTERN:CODE, not `{pair}`")
            table.setdefault(pattern.strip(), []).append(code.strip())
    try:
        return parse_per_file_ignores(table) if table else None
    except ValueError as error:
        raise UsageMistake(f"--per-file-ignores: {error}") from None


def shard(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    from fa_lint.project.shards import parse_shard

    try:
        return None if value is None else parse_shard(value)
    except ValueError as error:
        raise UsageMistake(str(error)) from None


def config(ctx: click.Context, _: click.Parameter, values: Sequence[str]) -> str | None:
    """The configuration file among the values; what is ``key = value`` goes to ``config_values``."""
    files = [value for value in values if "=" not in value or os.path.exists(value)]
    if len(files) > 1:
        raise UsageMistake("--config names more than one file")
    ctx.params["config_values"] = tuple(value for value in values if value not in files)
    return files[0] if files else None


def complete_codes(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from fa_lint.rules import ENGINE_CODES, registry

    names = {code: rule.name for code, rule in registry().items()} | dict(ENGINE_CODES)
    found = [CompletionItem(code, help=name) for code, name in names.items() if code.startswith(incomplete.upper())]
    if incomplete:
        found += [CompletionItem(name, help=code) for code, name in names.items() if name.startswith(incomplete)]
    return found


def complete_keys(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from fa_lint.project.config_keys import KEYS

    return [CompletionItem(name, help=key.summary) for name, key in KEYS.items() if name.startswith(incomplete)]
