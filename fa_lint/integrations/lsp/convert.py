"""fa-lint's findings and edits in the protocol's words."""

from __future__ import annotations

import os
from collections.abc import Iterable

from lsprotocol import types
from pygls.uris import from_fs_path

from fa_lint.findings import Diagnostic, DiagnosticEdit, Level, Place
from fa_lint.integrations.lsp.documents import Document
from fa_lint.output import rule_url

__all__ = ["diagnostic_of", "range_of", "text_edits", "workspace_edit"]

_SEVERITIES = {
    Level.ERROR: types.DiagnosticSeverity.Error,
    Level.WARNING: types.DiagnosticSeverity.Warning,
    Level.HINT: types.DiagnosticSeverity.Information,
}


def range_of(document: Document, start: Place, end: Place, cell: int | None) -> types.Range:
    """A span of one cell or file."""
    return types.Range(document.position(start, cell), document.position(end, cell))


def diagnostic_of(found: Diagnostic, document: Document) -> types.Diagnostic:
    """A finding with its evidence, and a link to its page."""
    message = f"{found.message}\n{found.computes}" if found.computes else found.message
    return types.Diagnostic(
        range=range_of(document, found.start, found.end, found.cell),
        message=message,
        severity=_SEVERITIES[found.level],
        code=found.code,
        code_description=types.CodeDescription(url) if (url := rule_url(found.code)) else None,
        source="fa-lint",
        tags=[types.DiagnosticTag.Unnecessary] if found.code == "FAL901" else None,
        related_information=_related(found, document) or None,
    )


def _related(found: Diagnostic, document: Document) -> list[types.DiagnosticRelatedInformation]:
    information = []
    for place in found.related:
        part = document.parts.get(place.cell) if place.path == document.path else None
        uri = part.uri if part is not None else from_fs_path(os.path.abspath(place.path))
        if uri is not None:
            span = range_of(document, place.start, place.end, place.cell)
            location = types.Location(uri, span)
            information.append(types.DiagnosticRelatedInformation(location, place.message))
    return information


def text_edits(edits: Iterable[DiagnosticEdit], document: Document) -> dict[int | None, list[types.TextEdit]]:
    """Edits by the cell they lie in."""
    found: dict[int | None, list[types.TextEdit]] = {}
    for edit in edits:
        change = types.TextEdit(range_of(document, edit.start, edit.end, edit.cell), edit.content)
        found.setdefault(edit.cell, []).append(change)
    return found


def workspace_edit(
    edits: dict[int | None, list[types.TextEdit]], document: Document, *, versioned: bool
) -> types.WorkspaceEdit:
    """Edits of one document; ``versioned`` where the client can refuse those that come too late."""
    if not versioned:
        return types.WorkspaceEdit(changes={document.parts[cell].uri: changes for cell, changes in edits.items()})
    return types.WorkspaceEdit(
        document_changes=[
            types.TextDocumentEdit(
                types.OptionalVersionedTextDocumentIdentifier(document.parts[cell].uri, document.parts[cell].version),
                changes,
            )
            for cell, changes in edits.items()
        ]
    )
