"""``fa-lint rules`` and ``fa-lint config``: what there is to choose from, as columns or JSON."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Any

from fa_lint.findings import Level
from fa_lint.output.console import echo, stop
from fa_lint.output.explain import rule_dict
from fa_lint.project.config import Settings
from fa_lint.project.config_keys import KEYS, close_key
from fa_lint.rules import ENGINE_CODES, registry
from fa_lint.source.escaping import to_json

__all__ = ["explain_keys", "list_rules"]

_SHOWN = ("code", "name", "level", "fix", "summary")


def list_rules(output_format: str) -> None:
    """``fa-lint rules``"""
    rules = [rule_dict(code) for code in sorted([*registry(), *ENGINE_CODES])]
    if output_format == "json":
        wanted = (*_SHOWN, "default", "url")
        echo(to_json([{field: rule[field] for field in wanted} for rule in rules], indent=2) + "\n")
    else:
        for rule in rules:
            rule["summary"] = rule["summary"].partition(". ")[0] + ("" if rule["default"] else " (off by default)")
        _print_columns([_SHOWN, *([rule[field] for field in _SHOWN] for rule in rules)])


def explain_keys(name: str | None, output_format: str) -> None:
    """``fa-lint config [KEY]``"""
    if name is not None and name not in KEYS:
        stop(f"unknown key `{name}`{close_key(name)}")
    described = [_key_dict(key) for key in KEYS if name in (None, key)]
    if output_format == "json":
        echo(to_json(described if name is None else described[0], indent=2) + "\n")
    elif name is None:
        _print_columns([[key["key"], key["summary"]] for key in described])
    else:
        [key] = described
        echo(
            f"{key['summary']}\n\ntype:    {key['type']}\ndefault: {to_json(key['default'])}\n"
            f"example: {key['key']} = {key['example']}\n"
        )


def _key_dict(name: str) -> dict[str, Any]:
    key = KEYS[name]
    default = getattr(Settings(), name.replace("-", "_"))
    if isinstance(default, Level):
        default = str(default)
    elif isinstance(default, tuple):
        default = {} if name == "per-file-ignores" else list(default)
    return {"key": name, "type": key.kind, "default": default, "example": key.example, "summary": key.summary}


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Rows as columns; on a terminal none is longer than the terminal is wide."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    most = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for row in rows:
        line = "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        echo((line if most is None or len(line) <= most else line[: most - 1] + "…") + "\n")
