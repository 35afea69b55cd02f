"""What a rule says: a finding with its place, evidence and fix. Frozen, ordered, picklable; nothing of the parser."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fa_lint.installing import RUNTIME

__all__ = [
    "IN_HELPER",
    "Applicability",
    "Diagnostic",
    "DiagnosticEdit",
    "DiagnosticFix",
    "Edit",
    "Finding",
    "Fix",
    "Level",
    "Located",
    "Place",
    "Related",
    "RelatedPlace",
    "Rows",
]

# What a finding at a call says of the helper's own place: silencing the call is enough.
IN_HELPER = "the floor is here"
# First and last row of a logical line, in the whole text.
Rows = tuple[int, int]


class Level(StrEnum):
    """How sure and how bad: ``error`` corrupts a number, ``warning`` may, ``hint`` is worth a look."""

    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"

    @property
    def rank(self) -> int:
        return ("hint", "warning", "error").index(self.value)


class Applicability(StrEnum):
    """``safe`` fixes keep what the author meant to compute; ``unsafe`` ones may change results on purpose."""

    SAFE = "safe"
    UNSAFE = "unsafe"


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the characters ``start:end`` of the text."""

    start: int
    end: int
    content: str


@dataclass(frozen=True, slots=True)
class Fix:
    applicability: Applicability
    message: str
    edits: tuple[Edit, ...]
    # Names to bring in with ``from fa_lint_runtime import …``; merged once for all fixes of a file.
    imports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Related:
    """A place that is part of the evidence; ``path`` where it lies in another file."""

    start: int
    end: int
    message: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule's verdict on a span of one module's text (character offsets).

    ``path`` is another file where the mistake stands in a function that this one calls; ``call`` is the call then.
    """

    code: str
    start: int
    end: int
    message: str
    level: Level
    computes: str = ""
    fix: Fix | None = None
    related: tuple[Related, ...] = ()
    # The fix that needs no package but torch.
    torch_fix: Fix | None = None
    path: str = ""
    call: Finding | None = None


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """1-based row and column; in a notebook the row counts within the 1-based ``cell``."""

    row: int
    column: int


@dataclass(frozen=True, slots=True)
class DiagnosticEdit:
    start: Place
    end: Place
    content: str
    cell: int | None = None


@dataclass(frozen=True, slots=True)
class DiagnosticFix:
    applicability: Applicability
    message: str
    edits: tuple[DiagnosticEdit, ...]

    @property
    def uses_runtime(self) -> bool:
        """Return True where the fixed code calls ``fa_lint_runtime``."""
        return RUNTIME in self.message or self.needs_runtime

    @property
    def needs_runtime(self) -> bool:
        """Return True where the fixed code imports ``fa_lint_runtime`` and the code before it did not."""
        return any(RUNTIME in edit.content for edit in self.edits)


@dataclass(frozen=True, slots=True)
class RelatedPlace:
    path: str
    start: Place
    end: Place
    message: str
    cell: int | None = None


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A located finding, as the outputs and the integrations see it.

    ``frame`` holds the source lines to show: (row, text) pairs. ``scope`` is the dotted name of the function or class
    around the finding and ``statement`` the text of its statement without layout: what stays when lines move.
    """

    path: str
    cell: int | None
    start: Place
    end: Place
    code: str
    name: str
    message: str
    level: Level
    computes: str = ""
    runtime: str = ""
    noqa_row: int = 0
    fix: DiagnosticFix | None = None
    related: tuple[RelatedPlace, ...] = ()
    frame: tuple[tuple[int, str], ...] = ()
    scope: str = ""
    statement: str = ""
    torch_fix: DiagnosticFix | None = None

    @property
    def sort_key(self) -> tuple[str, int, Place, str, Place, str]:
        """The order of every output: path, cell, line, column, code."""
        return (self.path, self.cell or 0, self.start, self.code, self.end, self.message)


@dataclass(frozen=True, slots=True)
class Located:
    """A place of a summary. ``silenced``: a suppression on its ``rows`` covers what would be reported there."""

    diagnostic: Diagnostic
    rows: Rows
    silenced: bool = False

    @property
    def path(self) -> str:
        return self.diagnostic.path

    def as_related(self, message: str = "") -> RelatedPlace:
        """Return the place as evidence of a finding elsewhere."""
        at = self.diagnostic
        return RelatedPlace(at.path, at.start, at.end, message or at.message, at.cell)
