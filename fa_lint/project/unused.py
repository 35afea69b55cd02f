"""FAL901: suppressions that silence nothing, and the fix that drops them."""

from __future__ import annotations

from fa_lint.findings import Applicability, Edit, Finding, Fix, Level
from fa_lint.rules import ENGINE_CODES, registry
from fa_lint.source.suppressions import Suppression, named_codes
from fa_lint.source.text import Source

__all__ = ["unused"]


def unused(suppressions: list[Suppression], codes: frozenset[str], source: Source) -> list[Finding]:
    """A finding for each suppression, or part of one, that no finding of ``codes`` has used."""
    found = []
    for item in suppressions:
        if item.codes is None:
            if item.used or not item.ours:
                continue
            idle = set[str]()
        else:
            idle = {c for c in item.codes if c in codes and c not in item.used and c not in ENGINE_CODES}
            # Another tool's codes are its own affair after `noqa`, and a mistake in our own comment.
            known = {*registry(), *ENGINE_CODES}
            idle |= {c for c in item.codes if c not in known and (item.ours or c.startswith("FAL"))}
            if not idle and (item.codes or not item.ours):
                continue
        what = ", ".join(f"`{c}`" for c in sorted(idle)) or "anything"
        fix = _drop_suppression(item, idle, source)
        message = f"unused suppression: nothing here is silenced for {what}"
        found.append(Finding("FAL901", item.start, item.end, message, Level.WARNING, "", fix))
    return found


def _drop_suppression(item: Suppression, idle: set[str], source: Source) -> Fix:
    """Delete the comment, or only its unused codes where others are left. What else the line says stays."""
    kept = [code for code in named_codes(source.text[item.start : item.end]) if code.upper() not in idle]
    if kept:
        head = "# noqa: " if not item.ours else f"# fa-lint: ignore{'-file' if item.whole_file else ''}["
        content = head + ", ".join(kept) + ("]" if item.ours else "")
        return Fix(Applicability.SAFE, "Remove the unused codes", (Edit(item.start, item.end, content),))
    return Fix(Applicability.SAFE, "Delete the suppression", (_deletion(item, source),))


def _deletion(item: Suppression, source: Source) -> Edit:
    row_start = source.starts[item.row - 1]
    row_end = row_start + len(source.line(item.row))
    start, end = item.start, item.end
    rest = source.text[end:row_end]
    other = rest.find("#")
    if item.ours and other >= 0:
        return Edit(start, end + other, "")
    if rest.strip() and not item.ours and other != len(rest) - len(rest.lstrip()):
        # "noqa: FAL101 because": the words are a comment of their own.
        return Edit(start, end + len(rest) - len(rest.lstrip()), "# ")
    while start > row_start and source.text[start - 1] in " \t":
        start -= 1
    if item.ours or not rest.strip():
        end = row_end
    following = source.starts[item.row] if item.row < len(source.starts) else end
    whole_line = start == row_start and end == row_end
    if whole_line and (source.notebook is None or following <= source.cell_at(start).end):
        end = following
    return Edit(start, end, "")
