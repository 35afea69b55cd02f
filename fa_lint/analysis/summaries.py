"""What one file states for the sake of the others: typed facts with their places, cached by content.

A rule that concludes across files defines its facts as frozen dataclasses of plain fields (texts, numbers, tuples of
them, and such dataclasses): each file gives them once, and the conclusion is a function of the facts of all files.
"""

from __future__ import annotations

from dataclasses import dataclass

from fa_lint.findings import Located

__all__ = ["Fact", "Noted"]


@dataclass(frozen=True, slots=True)
class Fact:
    """The base of what a rule may state about a file."""


@dataclass(frozen=True, slots=True)
class Noted:
    """A fact of the file ``path``, and where it stands; ``at`` is None where no finding can point at it."""

    path: str
    fact: Fact
    at: Located | None = None
