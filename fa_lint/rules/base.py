"""The shape of a rule: metadata, documentation, gates, a check, and the examples that are its tests."""

from __future__ import annotations

import inspect
import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from fa_lint.analysis.modules import Modules
from fa_lint.analysis.summaries import Fact, Noted
from fa_lint.findings import Diagnostic, Finding, Fix, Level, Located, Related
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = [
    "SECTIONS",
    "Demonstration",
    "Gate",
    "Invalid",
    "ProjectRule",
    "Rule",
    "occurs",
]

SECTIONS = (
    "What it does",
    "Why is this bad",
    "Example",
    "Use instead",
    "Fix safety",
    "References",
)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A rule's mistake in numbers, for ``fa-lint explain CODE --verify``.

    ``setup`` is a program; the expressions ``before`` (what the rule flags) and ``after`` (what it advises) are
    evaluated behind it, and ``claim`` over the two values of these names says what is wrong with the first. Text only:
    nothing is imported before it runs.
    """

    setup: str
    before: str
    after: str
    claim: str


def _block(code: str) -> str:
    return textwrap.dedent(code).strip("\n") + "\n"


class Invalid:
    """An example that must fire, once for each ``lines`` entry, and what ``--fix --unsafe-fixes`` makes of it."""

    def __init__(self, code: str, *, lines: tuple[int, ...] = (), fixed: str | None = None) -> None:
        self.code = _block(code)
        self.lines = lines
        self.fixed = None if fixed is None else _block(fixed)


@dataclass(frozen=True, slots=True)
class Gate:
    """A byte gate: one of ``literals`` must occur in a file, and so must one of the patterns where any is given."""

    literals: tuple[bytes, ...]
    pattern: re.Pattern[bytes] | None = None
    others: tuple[re.Pattern[bytes], ...] = ()

    def open_for(self, data: bytes) -> bool:
        # Plain searches run at memory speed; the pattern sees only the files that pass them.
        if not any(literal in data for literal in self.literals):
            return False
        if self.pattern is None or self.pattern.search(data) is not None:
            return True
        return any(other.search(data) for other in self.others)


def _is_open(gate: Gate, data: bytes, known: dict[Gate, bool]) -> bool:
    if gate not in known:
        known[gate] = gate.open_for(data)
    return known[gate]


def occurs(*literals: bytes, pattern: bytes | None = None, patterns: tuple[bytes, ...] = ()) -> Gate:
    """A :class:`Gate` from literals and regular expressions, of which one must match.

    Several that each begin with letters are many times faster than one with ``|``.
    """
    first, *others = (pattern,) if pattern is not None else patterns or (None,)
    return Gate(literals, None if first is None else re.compile(first), tuple(re.compile(p) for p in others if p))


class Rule(ABC):
    """One rule, one file. The class docstring is its page: the headings of :data:`SECTIONS`, in that order.

    ``code``, ``name`` and ``summary`` name the bad thing; ``level`` is the highest it reports; ``pitfall`` is the
    section of CHECKLIST.md; ``runtime`` the function of ``fa_lint_runtime`` that guards against it at run time;
    ``gate`` byte gates, each of which is open for every file with a finding (see :func:`occurs`). A rule with
    ``across`` follows ``"gradients"`` into the functions of other files, or ``"cosines"`` out of them; its gates are
    then those of the file with the formula. With ``is_given_cosines`` it also runs where other files pass cosines to
    the functions of a file.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    summary: ClassVar[str]
    level: ClassVar[Level]
    pitfall: ClassVar[str]
    runtime: ClassVar[str]
    gate: ClassVar[tuple[Gate, ...]]
    across: ClassVar[Literal["", "gradients", "cosines"]] = ""
    is_given_cosines: ClassVar[bool] = False
    fixable: ClassVar[str] = "no"
    default: ClassVar[bool] = True
    VALID: ClassVar[tuple[str, ...]] = ()
    INVALID: ClassVar[tuple[Invalid, ...]] = ()
    demonstration: ClassVar[Demonstration | None] = None

    def may_match(self, data: bytes, known: dict[Gate, bool] | None = None) -> bool:
        """Return True if the rule can fire in a file of these bytes; ``known`` are the gates asked so far."""
        known = {} if known is None else known
        return all(_is_open(gate, data, known) for gate in self.gate)

    @abstractmethod
    def check(self, facts: ModuleFacts) -> Iterator[Finding]:
        """The findings in one module, from its facts alone."""

    def find(
        self,
        facts: ModuleFacts,
        node: ir.Node,
        message: str,
        *,
        computes: str = "",
        level: Level | None = None,
        fix: Fix | None = None,
        related: tuple[Related, ...] = (),
        torch_fix: Fix | None = None,
    ) -> Finding:
        start, end = facts.span(node)
        return Finding(self.code, start, end, message, level or self.level, computes, fix, related, torch_fix)

    @classmethod
    def documentation(cls) -> str:
        """The rule's page in Markdown, without its title."""
        return inspect.cleandoc(cls.__doc__ or "")


class ProjectRule(Rule):
    """A rule with a half that no single file can judge: the absence of something, or what a caller elsewhere does.

    Every file gives its ``facts`` once (:meth:`summarise`, behind ``stating``: gates of which one must be open), and
    :meth:`conclude` is a function of the facts of all files. ``subject`` is a gate for the text that the imports of a
    file lead to: a file that it opens is summarised too.
    """

    facts: ClassVar[tuple[type[Fact], ...]]
    stating: ClassVar[tuple[Gate, ...]]
    subject: ClassVar[Gate | None] = None

    def may_state(self, data: bytes, known: dict[Gate, bool]) -> bool:
        """Return True if a file of these bytes can state anything for others."""
        return any(_is_open(gate, data, known) for gate in self.stating)

    @abstractmethod
    def summarise(self, facts: ModuleFacts) -> Iterator[tuple[Fact, Finding | None]]:
        """What one module states, each fact with the finding-to-be at its place."""

    @abstractmethod
    def conclude(self, noted: Sequence[Noted], modules: Modules) -> Iterator[tuple[Located, Diagnostic]]:
        """The diagnostics, each with the place of the summary at which it is reported."""
