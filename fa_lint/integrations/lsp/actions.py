"""Code actions: each finding's fix, a suppression for it, and all safe fixes at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lsprotocol import types

from fa_lint.findings import Applicability, Diagnostic, Place
from fa_lint.fixes.edits import FixError, fix_data
from fa_lint.fixes.ignores import insertion
from fa_lint.integrations.lsp.convert import diagnostic_of, range_of, text_edits, workspace_edit
from fa_lint.integrations.lsp.documents import Document
from fa_lint.project.config import Settings
from fa_lint.source.text import Source, SourceError

__all__ = ["FIX_ALL", "code_actions"]

FIX_ALL = "source.fixAll.fa-lint"


def code_actions(
    document: Document,
    found: Sequence[Diagnostic],
    settings: Settings,
    params: types.CodeActionParams,
    *,
    versioned: bool,
) -> list[types.CodeAction]:
    """What can be done about the findings in the range that was asked for."""
    wanted = params.context.only
    actions: list[types.CodeAction] = []
    cell = next((c for c, part in document.parts.items() if part.uri == params.text_document.uri), None)
    if _asked(types.CodeActionKind.QuickFix, wanted):
        for item in found:
            here = item.cell == cell and _overlaps(range_of(document, item.start, item.end, item.cell), params.range)
            if here:
                actions += _quick_fixes(item, document, versioned=versioned)
    if _asked(FIX_ALL, wanted):
        actions += _fix_all(document, found, settings, versioned=versioned)
    return actions


def _asked(kind: str, wanted: Sequence[types.CodeActionKind | str] | None) -> bool:
    """A client that asks for ``source`` or ``source.fixAll`` asks for ``source.fixAll.fa-lint`` too."""
    if wanted is None:
        return True
    names = [str(getattr(name, "value", name)) for name in wanted]
    kind = str(getattr(kind, "value", kind))
    return any(kind == name or kind.startswith(name + ".") or name == "" for name in names)


def _overlaps(one: types.Range, other: types.Range) -> bool:
    def key(position: types.Position) -> tuple[int, int]:
        return position.line, position.character

    return key(one.start) <= key(other.end) and key(other.start) <= key(one.end)


def _quick_fixes(item: Diagnostic, document: Document, *, versioned: bool) -> Iterator[types.CodeAction]:
    about = [diagnostic_of(item, document)]
    if item.fix is not None:
        safe = item.fix.applicability is Applicability.SAFE
        yield types.CodeAction(
            title=f"{item.code}: {item.fix.message}" + ("" if safe else " (unsafe: may change results)"),
            kind=types.CodeActionKind.QuickFix,
            diagnostics=about,
            is_preferred=safe,
            edit=workspace_edit(text_edits(item.fix.edits, document), document, versioned=versioned),
        )
    made = insertion(document.source, item) if document.source is not None else None
    if made is not None and document.source is not None and made.content:
        cell, place = document.source.place(made.offset)
        position = document.position(place, cell)
        change = {cell: [types.TextEdit(types.Range(position, position), made.content)]}
        yield types.CodeAction(
            title=f"{item.code}: silence it here (# fa-lint: ignore)",
            kind=types.CodeActionKind.QuickFix,
            diagnostics=about,
            edit=workspace_edit(change, document, versioned=versioned),
        )


def _fix_all(
    document: Document, found: Sequence[Diagnostic], settings: Settings, *, versioned: bool
) -> Iterator[types.CodeAction]:
    try:
        fixed = fix_data(document.path, document.data, found, settings, unsafe=False)
        new = Source.read(document.path, fixed.data)
    except (FixError, SourceError):
        return
    if not fixed.applied or document.source is None:
        return
    yield types.CodeAction(
        title="fa-lint: apply all safe fixes",
        kind=FIX_ALL,
        edit=workspace_edit(_replacements(document.source, new, document), document, versioned=versioned),
    )


def _replacements(old: Source, new: Source, document: Document) -> dict[int | None, list[types.TextEdit]]:
    """Whole cells, or the whole file, where the text differs."""
    if old.notebook is None or new.notebook is None:
        return {None: [_whole(old.text, new.text, document, None)]}
    edits: dict[int | None, list[types.TextEdit]] = {}
    for before, after in zip(old.notebook.cells, new.notebook.cells, strict=True):
        was = old.notebook.original[before.start : before.end]
        becomes = new.notebook.original[after.start : after.end]
        if was != becomes:
            edits[before.number] = [_whole(was, becomes, document, before.number)]
    return edits


def _whole(was: str, becomes: str, document: Document, cell: int | None) -> types.TextEdit:
    lines = Source("", b"", was).starts
    end = Place(len(lines), len(was) - lines[-1] + 1)
    return types.TextEdit(range_of(document, Place(1, 1), end, cell), becomes)
