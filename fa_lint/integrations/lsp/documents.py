"""What an editor has open, as fa-lint reads it: a file, or a notebook whose cells are documents of their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from lsprotocol import types
from pygls.uris import to_fs_path
from pygls.workspace import TextDocument, Workspace

from fa_lint.findings import Place
from fa_lint.integrations.texts import encoded
from fa_lint.source.text import Source, SourceError

__all__ = ["Document", "Part", "find_text", "open_documents", "read_document"]

_UNITS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}


@dataclass(frozen=True, slots=True)
class Part:
    """One text document of the client."""

    uri: str
    version: int | None


@dataclass(frozen=True, slots=True)
class Document:
    """One unit of linting. ``parts`` are its text documents by cell number (None: a plain file)."""

    uri: str
    path: str
    data: bytes
    source: Source | None
    parts: dict[int | None, Part]
    encoding: str

    def position(self, place: Place, cell: int | None) -> types.Position:
        """A place in the client's units, which are not Python's characters."""
        units = place.column - 1
        if self.source is not None:
            row = self.source.whole_row(cell, place.row)
            text = self.source.line(row)[: place.column - 1] if row <= len(self.source.starts) else ""
            # A column beyond the line's text is its line end.
            units = self.units(text) + max(place.column - 1 - len(text), 0)
        return types.Position(place.row - 1, units)

    def units(self, text: str) -> int:
        """The length of ``text`` as the client counts."""
        codec, size = _UNITS[self.encoding]
        return len(text.encode(codec, "surrogatepass")) // size


def read_document(workspace: Workspace, uri: str) -> Document | None:
    """The file, or the whole notebook, that a URI (of a file, a notebook or a cell) belongs to; None if not open."""
    notebook = workspace.get_notebook_document(notebook_uri=uri) or workspace.get_notebook_document(cell_uri=uri)
    encoding = str(getattr(workspace.position_encoding, "value", workspace.position_encoding) or "utf-16")
    if notebook is not None:
        data, parts = _joined(workspace, notebook)
        path = _path(notebook.uri, ".ipynb")
        return Document(notebook.uri, path, data, _source(path, data), parts, encoding)
    text = find_text(workspace, uri)
    if text is None:
        return None
    data = encoded(text.source)
    path = _path(uri, ".py")
    return Document(uri, path, data, _source(path, data), {None: Part(uri, text.version)}, encoding)


def find_text(workspace: Workspace, uri: str) -> TextDocument | None:
    """An open text document; pygls would read one that is not open from the disk."""
    texts: dict[str, TextDocument] = workspace.text_documents
    return texts.get(unquote(uri)) or texts.get(uri)


def open_documents(workspace: Workspace) -> list[str]:
    """The URIs of all open files and notebooks, as the client wrote them."""
    notebooks = list(workspace.notebook_documents.values())
    cells = {cell.document for notebook in notebooks for cell in notebook.cells}
    files = [text.uri for text in workspace.text_documents.values() if text.uri not in cells]
    return [*(notebook.uri for notebook in notebooks), *files]


def _path(uri: str, suffix: str) -> str:
    """The file behind a URI; something never saved has a name of its own kind."""
    path = to_fs_path(uri) if uri.startswith("file:") else None
    return path or f"untitled{suffix}"


def _source(path: str, data: bytes) -> Source | None:
    try:
        return Source.read(path, data)
    except SourceError:
        return None


def _joined(workspace: Workspace, notebook: types.NotebookDocument) -> tuple[bytes, dict[int | None, Part]]:
    """The notebook as the JSON that would be on disk, so far as fa-lint reads it."""
    cells: list[dict[str, Any]] = []
    parts: dict[int | None, Part] = {}
    for number, cell in enumerate(notebook.cells, 1):
        text = workspace.get_text_document(cell.document)
        python = cell.kind == types.NotebookCellKind.Code and text.language_id in (None, "python")
        cells.append({"cell_type": "code" if python else "markdown", "source": text.source})
        parts[number] = Part(cell.document, text.version)
    document = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document).encode(), parts
