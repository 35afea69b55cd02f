"""The rule pages under ``docs/rules``, generated from the rule classes: ``python -m tools.rule_pages docs/rules``."""

from __future__ import annotations

import sys
from pathlib import Path

from fa_lint.output.explain import ENGINE_PAGES
from fa_lint.rules import ENGINE_CODES, Rule, registry

__all__ = ["index", "page", "pages", "write"]

_NOTE = "<!-- Generated from the rule class by `python -m tools.rule_pages docs/rules`; edit the class. -->"


def page(rule: Rule) -> str:
    """The Markdown page of one rule."""
    fix = {"no": "none", "sometimes": "sometimes (see *Fix safety*)", "unsafe": "unsafe", "safe": "safe"}[rule.fixable]
    head = [
        _NOTE,
        f"# {rule.code} {rule.name}",
        f"{rule.summary[0].upper()}{rule.summary[1:]}.",
        f"| level | fix | pitfall | at run time | by default |\n|---|---|---|---|---|\n"
        f"| {rule.level} | {fix} | [{rule.pitfall}](../../CHECKLIST.md) | `{rule.runtime}` | "
        f"{'on' if rule.default else 'off'} |",
    ]
    return "\n\n".join([*head, rule.documentation()]) + "\n"


def index() -> str:
    """The table of all rules."""
    rows = [
        f"| [{code}]({code}.md) | {rule.name} | {rule.level} | {rule.fixable} | {rule.summary} |"
        for code, rule in registry().items()
    ]
    for code, name in ENGINE_CODES.items():
        rows.append(f"| [{code}]({code}.md) | {name} | | | {ENGINE_PAGES[code].split('.')[0]} |")
    return (
        "\n".join([_NOTE, "", "# Rules", "", "| code | name | level | fix | flags |", "|---|---|---|---|---|", *rows])
        + "\n"
    )


def pages() -> dict[str, str]:
    """File name → text of every page."""
    found = {f"{code}.md": page(rule) for code, rule in registry().items()}
    for code, name in ENGINE_CODES.items():
        found[f"{code}.md"] = f"{_NOTE}\n\n# {code} {name}\n\n{ENGINE_PAGES[code]}\n"
    found["README.md"] = index()
    return found


def write(folder: Path) -> None:
    """Write all pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
