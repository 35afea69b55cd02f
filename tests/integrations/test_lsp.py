"""``fa-lint server`` under a real client over stdio: diagnostics, code actions, hover, notebooks, configuration."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

pytest.importorskip("pygls", reason="the extra `lsp` is not installed")
pytest_lsp = pytest.importorskip("pytest_lsp")

from lsprotocol import types  # noqa: E402
from pytest_lsp import ClientServerConfig, LanguageClient  # noqa: E402

from fa_lint.installing import install_command  # noqa: E402
from tests.conftest import CLAMPED, SAFE, SAFE_FIXED, UNSAFE, UNSAFE_FIXED, write  # noqa: E402

# One server for all tests, as an editor has one for all files.
pytestmark = pytest.mark.asyncio(loop_scope="module")

_NOTEBOOK_ONLY = "jupyter-notebook"


def _make_client() -> LanguageClient:
    client: LanguageClient = pytest_lsp.make_test_lsp_client()
    client.registrations = []

    @client.feature(types.CLIENT_REGISTER_CAPABILITY)
    def register(params: types.RegistrationParams) -> None:
        client.registrations += params.registrations

    return client


_SERVER = ClientServerConfig([sys.executable, "-m", "fa_lint", "server"], client_factory=_make_client)


@pytest_lsp.fixture(config=_SERVER, scope="module")
async def client(lsp_client: LanguageClient) -> AsyncIterator[None]:
    capabilities = pytest_lsp.client_capabilities("visual-studio-code")
    await lsp_client.initialize_session(types.InitializeParams(capabilities=capabilities))
    yield
    await lsp_client.shutdown_session()


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the server did not answer in ten seconds")


async def _published(client: LanguageClient, uri: str, codes: list[str]) -> Sequence[types.Diagnostic]:
    await _until(lambda: uri in client.diagnostics and [d.code for d in client.diagnostics[uri]] == codes)
    return client.diagnostics[uri]


def _open(client: LanguageClient, path: Path, text: str, version: int = 1) -> str:
    uri = path.as_uri()
    item = types.TextDocumentItem(uri, "python", version, text)
    client.text_document_did_open(types.DidOpenTextDocumentParams(item))
    return uri


def _change(client: LanguageClient, uri: str, text: str, version: int) -> None:
    whole = types.TextDocumentContentChangeWholeDocument(text)
    identifier = types.VersionedTextDocumentIdentifier(version=version, uri=uri)
    client.text_document_did_change(types.DidChangeTextDocumentParams(identifier, [whole]))


def _span(diagnostic: types.Diagnostic) -> tuple[int, int, int, int]:
    start, end = diagnostic.range.start, diagnostic.range.end
    return start.line, start.character, end.line, end.character


async def _actions(
    client: LanguageClient, uri: str, line: int, character: int, only: list[str] | None = None
) -> list[types.CodeAction]:
    here = types.Position(line, character)
    context = types.CodeActionContext([], only=only)
    params = types.CodeActionParams(types.TextDocumentIdentifier(uri), types.Range(here, here), context)
    found = await client.text_document_code_action_async(params)
    return [action for action in found or () if isinstance(action, types.CodeAction)]


def _applied(texts: dict[str, str], edit: types.WorkspaceEdit | None) -> dict[str, str]:
    """What an editor makes of an edit (these texts have characters of one unit only)."""
    assert edit is not None
    assert edit.document_changes is not None
    result = dict(texts)
    for change in edit.document_changes:
        assert isinstance(change, types.TextDocumentEdit)
        text = result[change.text_document.uri]
        starts = [0, *(index + 1 for index, char in enumerate(text) if char == "\n")]
        for one in sorted(change.edits, key=lambda e: (e.range.start.line, e.range.start.character), reverse=True):
            assert isinstance(one, types.TextEdit)
            begin = starts[one.range.start.line] + one.range.start.character
            end = starts[one.range.end.line] + one.range.end.character
            text = text[:begin] + one.new_text + text[end:]
        result[change.text_document.uri] = text
    return result


# -- diagnostics --------------------------------------------------------------------------------------------------


async def test_open_change_save_and_close(client: LanguageClient, tmp_path: Path) -> None:
    uri = _open(client, tmp_path / "sub dir" / "a.py", UNSAFE)
    (found,) = await _published(client, uri, ["FAL101"])
    assert _span(found) == (3, 15, 3, 39)
    assert found.severity == types.DiagnosticSeverity.Error
    assert found.source == "fa-lint"
    assert found.code_description is not None
    assert found.code_description.href.endswith("/FAL101.md")
    _change(client, uri, "x = 1\n", 2)
    await _published(client, uri, [])
    _change(client, uri, CLAMPED, 3)
    (found,) = await _published(client, uri, ["FAL201"])
    assert found.related_information
    assert found.related_information[0].location.uri == uri
    client.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(uri)))
    await _published(client, uri, ["FAL201"])
    client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))
    await _published(client, uri, [])


async def test_columns_are_utf_16(client: LanguageClient, tmp_path: Path) -> None:
    text = "import torch\ns = '\N{GRINNING FACE}é'; n = torch.ones(3).norm(-1)\n"
    uri = _open(client, tmp_path / "a.py", text)
    (found,) = await _published(client, uri, ["FAL101"])
    # The face takes two units: one more than Python's column.
    assert _span(found) == (1, text.splitlines()[1].index("torch") + 1, 1, len(text.splitlines()[1]) + 1)


async def test_only_the_last_of_a_burst_of_changes_is_linted(client: LanguageClient, tmp_path: Path) -> None:
    uri = _open(client, tmp_path / "a.py", "x = 1\n")
    await _published(client, uri, [])
    for version in range(2, 12):
        _change(client, uri, UNSAFE if version % 2 else "x = 1\n", version)
    await _published(client, uri, ["FAL101"])


async def test_a_file_that_is_no_python(client: LanguageClient, tmp_path: Path) -> None:
    uri = _open(client, tmp_path / "a.py", "x = (\n")
    await _published(client, uri, ["FAL900"])
    assert client.error is None


async def test_an_excluded_file_is_left_alone(client: LanguageClient, tmp_path: Path) -> None:
    write(tmp_path / "fa-lint.toml", 'extend-exclude = ["third_party/"]\n')
    uri = _open(client, tmp_path / "third_party" / "a.py", UNSAFE)
    await _published(client, uri, [])


# -- configuration ------------------------------------------------------------------------------------------------


async def test_the_configuration_is_read_again(client: LanguageClient, tmp_path: Path) -> None:
    await _until(lambda: len(client.registrations) == 1)
    assert client.registrations[0].method == types.WORKSPACE_DID_CHANGE_WATCHED_FILES
    config = write(tmp_path / "fa-lint.toml", "")
    uri = _open(client, tmp_path / "a.py", UNSAFE)
    await _published(client, uri, ["FAL101"])
    event = types.FileEvent(config.as_uri(), types.FileChangeType.Changed)
    config.write_text('ignore = ["FAL101"]\n')
    client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([event]))
    await _published(client, uri, [])
    config.write_text('ignore = ["FAL1"\n')
    client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([event]))
    await _until(lambda: bool(client.messages))
    assert "not valid TOML" in client.messages[0].message
    config.write_text("")
    client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([event]))
    await _published(client, uri, ["FAL101"])


# -- code actions -------------------------------------------------------------------------------------------------


async def test_a_safe_fix_and_a_suppression(client: LanguageClient, tmp_path: Path) -> None:
    uri = _open(client, tmp_path / "a.py", SAFE)
    await _published(client, uri, ["FAL402"])
    fix, silence = await _actions(client, uri, 5, 20, only=["quickfix"])
    assert fix.is_preferred
    assert fix.diagnostics
    assert fix.diagnostics[0].code == "FAL402"
    assert _applied({uri: SAFE}, fix.edit) == {uri: SAFE_FIXED}
    silenced = _applied({uri: SAFE}, silence.edit)[uri]
    assert silenced == SAFE.replace("randn(n, n)\n", "randn(n, n)  # fa-lint: ignore[FAL402]\n")
    _change(client, uri, silenced, 2)
    await _published(client, uri, [])


async def test_an_unsafe_fix_says_so_and_is_not_preferred(client: LanguageClient, tmp_path: Path) -> None:
    uri = _open(client, tmp_path / "a.py", UNSAFE)
    fix, _ = await _actions(client, uri, 3, 20)
    assert "unsafe" in fix.title
    assert not fix.is_preferred
    assert _applied({uri: UNSAFE}, fix.edit) == {uri: UNSAFE_FIXED}


async def test_nothing_to_do_where_nothing_is_found(client: LanguageClient, tmp_path: Path) -> None:
    uri = _open(client, tmp_path / "a.py", UNSAFE)
    assert await _actions(client, uri, 0, 0) == []


async def test_all_safe_fixes_at_once(client: LanguageClient, tmp_path: Path) -> None:
    text = SAFE + UNSAFE.replace("import torch\n", "") + CLAMPED.replace("import", "\nimport")
    text += SAFE.partition("\n")[2].replace("LinearFA", "OtherFA")
    uri = _open(client, tmp_path / "a.py", text)
    await _published(client, uri, ["FAL402", "FAL101", "FAL201", "FAL402"])
    (everything,) = await _actions(client, uri, 0, 0, only=["source.fixAll"])
    fixed = _applied({uri: text}, everything.edit)[uri]
    assert fixed.count("self.register_buffer(") == 2
    assert "norm(-1" in fixed
    assert "F.cosine_similarity(" in fixed


async def test_a_finding_in_a_long_string_has_its_suppression_elsewhere(client: LanguageClient, tmp_path: Path) -> None:
    text = 'import torch\nn = torch.ones(3).norm(-1), """\n"""\n'
    uri = _open(client, tmp_path / "a.py", text)
    *_, silence = await _actions(client, uri, 1, 10)
    assert _applied({uri: text}, silence.edit)[uri] == text.replace(
        '"""\n"""\n', '"""\n"""  # fa-lint: ignore[FAL101]\n'
    )


# -- hover --------------------------------------------------------------------------------------------------------


async def _hover(client: LanguageClient, uri: str, line: int, character: int) -> str | None:
    position = types.Position(line, character)
    shown = await client.text_document_hover_async(types.HoverParams(types.TextDocumentIdentifier(uri), position))
    if shown is None:
        return None
    assert isinstance(shown.contents, types.MarkupContent)
    return shown.contents.value


async def test_hover_shows_the_page_of_the_rule(client: LanguageClient, tmp_path: Path) -> None:
    uri = _open(client, tmp_path / "a.py", UNSAFE)
    page = await _hover(client, uri, 3, 20)
    assert page is not None
    assert "## Why is this bad" in page
    assert await _hover(client, uri, 0, 2) is None


async def test_hover_on_a_code_in_a_suppression(client: LanguageClient, tmp_path: Path) -> None:
    uri = _open(client, tmp_path / "a.py", "x = 1  # noqa: FAL203, E501\n")
    page = await _hover(client, uri, 0, 17)
    assert page is not None
    assert "floored-gradient-cosine" in page
    assert await _hover(client, uri, 0, 1) is None


# -- notebooks ----------------------------------------------------------------------------------------------------


def _open_notebook(client: LanguageClient, path: Path, *cells: tuple[str, str]) -> tuple[str, list[str]]:
    """Cells are (language, text)."""
    uri = path.as_uri()
    uris = [f"vscode-notebook-cell:{path}#{number}" for number in range(len(cells))]
    kinds = [
        types.NotebookCellKind.Code if language == "python" else types.NotebookCellKind.Markup for language, _ in cells
    ]
    listed = [types.NotebookCell(kind, cell) for kind, cell in zip(kinds, uris, strict=True)]
    notebook = types.NotebookDocument(uri, _NOTEBOOK_ONLY, 1, listed)
    texts = [
        types.TextDocumentItem(cell, language, 1, text) for cell, (language, text) in zip(uris, cells, strict=True)
    ]
    client.notebook_document_did_open(types.DidOpenNotebookDocumentParams(notebook, texts))
    return uri, uris


async def test_a_notebook_is_one_program(client: LanguageClient, tmp_path: Path) -> None:
    cells = [
        ("python", "import torch.nn.functional as F\n"),
        ("markdown", "x.norm(-1)"),
        ("python", "%time 1\n" + CLAMPED.partition("\n\n")[2]),
    ]
    uri, uris = _open_notebook(client, tmp_path / "n.ipynb", *cells)
    (found,) = await _published(client, uris[2], ["FAL201"])
    assert _span(found)[0] == 2
    assert not client.diagnostics[uris[0]]
    fix, silence = await _actions(client, uris[2], 2, 15)
    texts = {cell: text for cell, (_, text) in zip(uris, cells, strict=True)}
    fixed = _applied(texts, fix.edit)
    assert "from fa_lint_runtime import safe_cosine" in fixed[uris[0]]
    assert "return safe_cosine(credit, p.grad, dim=0)" in fixed[uris[2]]
    assert "# fa-lint: ignore[FAL201]" in _applied(texts, silence.edit)[uris[2]]
    assert "clamped-gradient-cosine" in str(await _hover(client, uris[2], 2, 15))
    # The finding of one cell is not offered in another.
    assert await _actions(client, uris[0], 2, 15, only=["quickfix"]) == []
    assert uri not in client.diagnostics


async def test_all_safe_fixes_of_a_notebook_at_once(client: LanguageClient, tmp_path: Path) -> None:
    head, rest = SAFE.split("\n\n", 1)
    cells = [("python", head + "\n"), ("markdown", "x.norm(-1)"), ("python", rest)]
    _, uris = _open_notebook(client, tmp_path / "safe.ipynb", *cells)
    await _published(client, uris[2], ["FAL402"])
    fix, _, everything = await _actions(client, uris[2], 3, 15)
    texts = {cell: text for cell, (_, text) in zip(uris, cells, strict=True)}
    fixed = _applied(texts, fix.edit)
    assert "self.register_buffer(" in fixed[uris[2]]
    assert _applied(texts, everything.edit) == fixed


async def test_cells_that_change_and_go(client: LanguageClient, tmp_path: Path) -> None:
    uri, uris = _open_notebook(client, tmp_path / "n.ipynb", ("python", "import torch\n"), ("python", "x = 1\n"))
    await _published(client, uris[1], [])
    identifier = types.VersionedNotebookDocumentIdentifier(version=2, uri=uri)
    cell = types.VersionedTextDocumentIdentifier(version=2, uri=uris[1])
    text = types.NotebookDocumentCellContentChanges(
        cell, [types.TextDocumentContentChangeWholeDocument("torch.ones(3).norm(-1)\n")]
    )
    change = types.NotebookDocumentChangeEvent(cells=types.NotebookDocumentCellChanges(text_content=[text]))
    client.notebook_document_did_change(types.DidChangeNotebookDocumentParams(identifier, change))
    await _published(client, uris[1], ["FAL101"])
    client.notebook_document_did_save(types.DidSaveNotebookDocumentParams(types.NotebookDocumentIdentifier(uri)))
    await _published(client, uris[1], ["FAL101"])
    gone = types.NotebookDocumentCellChangeStructure(
        types.NotebookCellArrayChange(start=1, delete_count=1), did_close=[types.TextDocumentIdentifier(uris[1])]
    )
    identifier = types.VersionedNotebookDocumentIdentifier(version=3, uri=uri)
    change = types.NotebookDocumentChangeEvent(cells=types.NotebookDocumentCellChanges(structure=gone))
    client.notebook_document_did_change(types.DidChangeNotebookDocumentParams(identifier, change))
    await _published(client, uris[1], [])
    closing = types.DidCloseNotebookDocumentParams(
        types.NotebookDocumentIdentifier(uri), [types.TextDocumentIdentifier(uris[0])]
    )
    client.notebook_document_did_close(closing)
    assert client.error is None


# -- without the extra --------------------------------------------------------------------------------------------


async def test_without_pygls_it_is_one_line(tmp_path: Path) -> None:
    program = "import sys; sys.modules['pygls.lsp.server'] = None\nfrom fa_lint.cli import main\nmain(['server'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == f"fa-lint: error: the server needs the extra `lsp`: {install_command('lsp')}\n"
