"""The server: what the client sends, and what is published for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from fa_lint._version import __version__
from fa_lint.findings import Diagnostic
from fa_lint.integrations.lsp.actions import FIX_ALL, code_actions
from fa_lint.integrations.lsp.convert import diagnostic_of
from fa_lint.integrations.lsp.documents import Document, find_text, open_documents, read_document
from fa_lint.integrations.lsp.hover import hover
from fa_lint.project.config import ConfigError, Settings, find_config, load
from fa_lint.project.discovery import is_excluded
from fa_lint.project.engine import lint_text
from fa_lint.rules import RuleError
from fa_lint.source.escaping import visible

__all__ = ["FaLintServer", "make_server"]

# Long enough for a burst of keys, short enough to feel immediate.
_PAUSE = 0.2
_CONFIGURATIONS = ("**/pyproject.toml", "**/fa-lint.toml")
_NOTEBOOKS = types.NotebookDocumentSyncOptions(
    notebook_selector=[
        types.NotebookDocumentFilterWithNotebook(
            notebook="jupyter-notebook", cells=[types.NotebookCellLanguage("python")]
        )
    ],
    save=True,
)


class FaLintServer(LanguageServer):
    """A language server that lints what is open. Settings are read from disk each time."""

    def __init__(self) -> None:
        super().__init__("fa-lint", __version__, notebook_document_sync=_NOTEBOOKS)
        self._told: set[str] = set()

    def check(self, uri: str) -> tuple[Document, Settings, list[Diagnostic]] | None:
        """Lint an open document; None where it is not open, not wanted, or where the configuration is broken."""
        document = read_document(self.workspace, uri)
        if document is None:
            return None
        try:
            settings = load(find_config(document.path))
            self._told.clear()
            if is_excluded(document.path, settings):
                return document, settings, []
            report = lint_text(document.path, document.data, settings)
        except (ConfigError, RuleError) as error:
            self._tell(f"fa-lint: {error}")
            return None
        for problem in report.problems:
            self._tell(f"fa-lint: internal error: {problem}")
        return document, settings, report.diagnostics

    def publish(self, uri: str) -> None:
        """Lint a document and show what is found, in each of its parts."""
        checked = self.check(uri)
        if checked is None:
            return
        document, _, found = checked
        for cell, part in document.parts.items():
            shown = [diagnostic_of(item, document) for item in found if item.cell == cell]
            self._show(part.uri, shown, part.version)

    def publish_all(self) -> None:
        """Lint everything open: the configuration has changed."""
        for uri in open_documents(self.workspace):
            self.publish(uri)

    def clear(self, uris: Sequence[str]) -> None:
        """Show nothing any more."""
        for uri in uris:
            self._show(uri, [], None)

    def _show(self, uri: str, found: list[types.Diagnostic], version: int | None) -> None:
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, found, version))

    def _tell(self, message: str) -> None:
        """Once, not at every key."""
        if message not in self._told:
            self._told.add(message)
            self.window_show_message(types.ShowMessageParams(types.MessageType.Error, visible(message)))

    @property
    def can_version_edits(self) -> bool:
        workspace = self.client_capabilities.workspace
        edits = workspace.workspace_edit if workspace is not None else None
        return bool(edits is not None and edits.document_changes)

    @property
    def can_register_watchers(self) -> bool:
        workspace = self.client_capabilities.workspace
        watched = workspace.did_change_watched_files if workspace is not None else None
        return bool(watched is not None and watched.dynamic_registration)


def make_server() -> FaLintServer:
    """A server with all its features; it is not started yet."""
    server = FaLintServer()
    _watch_configurations(server)
    _follow_files(server)
    _follow_notebooks(server)
    _answer(server)
    return server


def _watch_configurations(server: FaLintServer) -> None:
    @server.feature(types.INITIALIZED)
    async def initialized(params: types.InitializedParams) -> None:
        if not server.can_register_watchers:
            return
        watchers = [types.FileSystemWatcher(pattern) for pattern in _CONFIGURATIONS]
        options = types.DidChangeWatchedFilesRegistrationOptions(watchers)
        registration = types.Registration("fa-lint-configuration", types.WORKSPACE_DID_CHANGE_WATCHED_FILES, options)
        await server.client_register_capability_async(types.RegistrationParams([registration]))

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def watched(params: types.DidChangeWatchedFilesParams) -> None:
        server.publish_all()

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    def configured(params: types.DidChangeConfigurationParams) -> None:
        server.publish_all()


def _follow_files(server: FaLintServer) -> None:
    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        server.publish(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    async def changed(params: types.DidChangeTextDocumentParams) -> None:
        await asyncio.sleep(_PAUSE)
        document = find_text(server.workspace, params.text_document.uri)
        if document is not None and document.version == params.text_document.version:
            server.publish(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        server.publish(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        server.clear([params.text_document.uri])


def _follow_notebooks(server: FaLintServer) -> None:
    @server.feature(types.NOTEBOOK_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenNotebookDocumentParams) -> None:
        server.publish(params.notebook_document.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
    async def changed(params: types.DidChangeNotebookDocumentParams) -> None:
        structure = params.change.cells.structure if params.change.cells is not None else None
        if structure is not None:
            server.clear([cell.uri for cell in structure.did_close or ()])
        await asyncio.sleep(_PAUSE)
        uri = params.notebook_document.uri
        notebook = server.workspace.get_notebook_document(notebook_uri=uri)
        if notebook is not None and notebook.version == params.notebook_document.version:
            server.publish(uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveNotebookDocumentParams) -> None:
        server.publish(params.notebook_document.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseNotebookDocumentParams) -> None:
        server.clear([cell.uri for cell in params.cell_text_documents])


def _answer(server: FaLintServer) -> None:
    kinds = types.CodeActionOptions([types.CodeActionKind.QuickFix, FIX_ALL])

    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION, kinds)
    def act(params: types.CodeActionParams) -> list[types.CodeAction]:
        checked = server.check(params.text_document.uri)
        if checked is None:
            return []
        document, settings, found = checked
        return code_actions(document, found, settings, params, versioned=server.can_version_edits)

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def tell(params: types.HoverParams) -> types.Hover | None:
        checked = server.check(params.text_document.uri)
        return None if checked is None else hover(checked[0], checked[2], params.text_document.uri, params.position)
