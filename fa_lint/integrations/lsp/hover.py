"""Hover: the page of the rule behind a finding, or of the code named in a suppression."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lsprotocol import types

from fa_lint.findings import Diagnostic
from fa_lint.integrations.lsp.convert import range_of
from fa_lint.integrations.lsp.documents import Document
from fa_lint.output import rule_url
from fa_lint.output.explain import ENGINE_PAGES
from fa_lint.rules import ENGINE_CODES, registry

__all__ = ["hover"]

_CODE = re.compile(r"\b[A-Z]{3,5}\d{3}\b")


def hover(document: Document, found: Sequence[Diagnostic], uri: str, position: types.Position) -> types.Hover | None:
    """What to show at a position; None where there is no finding and no code."""
    cell = next((c for c, part in document.parts.items() if part.uri == uri), None)
    pages = []
    span = None
    for item in found:
        where = range_of(document, item.start, item.end, item.cell)
        if item.cell == cell and _holds(where, position):
            pages.append(f"**{item.message}**\n\n{_page(item.code)}")
            span = span or where
    named = _named(document, cell, position)
    if named is not None:
        pages.append(_page(named[0]))
        span = span or named[1]
    if not pages:
        return None
    text = "\n\n---\n\n".join(dict.fromkeys(pages))
    return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, text), span)


def _holds(span: types.Range, position: types.Position) -> bool:
    start, end = (span.start.line, span.start.character), (span.end.line, span.end.character)
    return start <= (position.line, position.character) <= end


def _named(document: Document, cell: int | None, position: types.Position) -> tuple[str, types.Range] | None:
    """The code written at a position."""
    source = document.source
    if source is None:
        return None
    row = source.whole_row(cell, position.line + 1)
    line = source.line(row) if row <= len(source.starts) else ""
    for match in _CODE.finditer(line):
        span = types.Range(
            types.Position(position.line, document.units(line[: match.start()])),
            types.Position(position.line, document.units(line[: match.end()])),
        )
        if match.group() in {*registry(), *ENGINE_CODES} and _holds(span, position):
            return match.group(), span
    return None


def _page(code: str) -> str:
    rule = registry().get(code)
    name = rule.name if rule is not None else ENGINE_CODES[code]
    text = rule.documentation() if rule is not None else ENGINE_PAGES[code]
    url = rule_url(code)
    title = f"{code} {name}"
    return f"# {f'[{title}]({url})' if url else title}\n\n{text}"
