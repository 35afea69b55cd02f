"""``fa-lint rule`` and ``fa-lint explain``: what a rule says, as text or JSON, and its numbers on this machine."""

from __future__ import annotations

import difflib
import json
from typing import Any

import click

from fa_lint.console import stop
from fa_lint.rules import ENGINE_CODES, registry

__all__ = ["ENGINE_PAGES", "explain"]

ENGINE_PAGES = {
    "FAL900": "A file, or a cell of a notebook, that is not Python and was not checked. It says where and why. "
    "The other files are checked all the same; the exit code is at least 1.",
    "FAL901": "A suppression comment that silences nothing. The safe fix deletes it, or removes the unused codes.",
}


def _rule_dict(code: str) -> dict[str, Any]:
    from fa_lint.output._common import rule_url

    if code in ENGINE_CODES:
        return {
            "code": code,
            "name": ENGINE_CODES[code],
            "summary": ENGINE_PAGES[code],
            "level": "error" if code == "FAL900" else "warning",
            "pitfall": None,
            "runtime": None,
            "fix": "safe" if code == "FAL901" else "no",
            "default": True,
            "explanation": ENGINE_PAGES[code],
            "url": rule_url(code),
        }
    rule = registry()[code]
    return {
        "code": code,
        "name": rule.name,
        "summary": rule.summary,
        "level": str(rule.level),
        "pitfall": rule.pitfall,
        "runtime": rule.runtime,
        "fix": rule.fixable,
        "default": rule.default,
        "explanation": rule.documentation(),
        "url": rule_url(code),
    }


def explain(code: str | None, everything: bool, output_format: str, *, verify: bool = False) -> None:
    """``fa-lint rule`` and ``fa-lint explain``; ``verify`` ends the process: 0, or 1 where a claim fails."""
    known = sorted([*registry(), *ENGINE_CODES])
    if everything == (code is not None):
        stop("give one rule code, or --all")
    if code is not None and code.upper() not in known:
        close = difflib.get_close_matches(code.upper(), known, 1)
        stop(f"unknown rule `{code}`" + (f"; did you mean `{close[0]}`?" if close else ""))
    if verify:
        from fa_lint.verify import verify as run_demonstrations

        run_demonstrations(known if everything else [str(code).upper()], output_format)
    rules = [_rule_dict(c) for c in (known if everything else [str(code).upper()])]
    if output_format == "json":
        click.echo(json.dumps(rules if everything else rules[0], indent=2, ensure_ascii=False))
        return
    for number, rule in enumerate(rules):
        if number:
            click.echo("\n" + "-" * 100 + "\n")
        click.echo(f"# {rule['code']} {rule['name']} ({rule['level']})\n")
        click.echo(rule["explanation"])
