"""``fa-lint rule`` and ``fa-lint explain``: what a rule says, as text or JSON, and its numbers on this machine."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from fa_lint.output.console import stop
from fa_lint.rules import ENGINE_CODES, close_to, code_of, registry

__all__ = ["ENGINE_PAGES", "explain", "rule_dict"]

ENGINE_PAGES = {
    "FAL900": "A file, or a cell of a notebook, that is not Python and was not checked. It says where and why. "
    "The other files are checked all the same; the exit code is at least 1.",
    "FAL901": "A suppression comment that silences nothing. The safe fix deletes it, or removes the unused codes.",
}


# Wider lines of prose are hard to read.
_WIDEST = 100


def rule_dict(code: str) -> dict[str, Any]:
    """Return what is known of a rule, as plain data."""
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
    meant = None if code is None else code_of(code)
    if code is not None and meant is None:
        stop(f"unknown rule `{code}`{close_to(code)}")
    wanted = known if meant is None else [meant]
    if verify:
        from fa_lint.output.verify import verify as run_demonstrations

        run_demonstrations(wanted, output_format)
    rules = [rule_dict(c) for c in wanted]
    if output_format == "json":
        click.echo(json.dumps(rules if everything else rules[0], indent=2, ensure_ascii=False))
        return
    pages = [f"# {rule['code']} {rule['name']} ({rule['level']})\n\n{rule['explanation']}" for rule in rules]
    if sys.stdout.isatty():
        _show(pages, [rule["url"] for rule in rules])
    else:
        click.echo(f"\n{'-' * 100}\n\n".join(f"{page}\n" for page in pages), nl=False)


def _show(pages: list[str], urls: list[str | None]) -> None:
    """Markdown as a terminal can show it."""
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    width = min(console.width, _WIDEST)
    for page, url in zip(pages, urls, strict=True):
        console.print(Markdown(page), width=width)
        if url is not None:
            console.print(f"\n{url}\n", style=f"link {url}", soft_wrap=True)
