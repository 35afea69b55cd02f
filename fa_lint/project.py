"""Across files: what the rules noted in single files is completed by others, and settled.

Two rounds, both by file and both cached by content: every file gives its clues when it is analysed; then each rule
asks one question of the files whose bytes can hold an answer. The rules settle from clues and answers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fa_lint.cache import Cache
from fa_lint.check_file import Rows, answers_of
from fa_lint.findings import Diagnostic, Trace
from fa_lint.modules import Modules
from fa_lint.rules import registry
from fa_lint.rules.base import ProjectRule
from fa_lint.semantics.roles import RoleNames

__all__ = ["Linked", "link"]

_Read = Callable[[str], bytes | None]


@dataclass(slots=True)
class Linked:
    """The confirmed diagnostics, and by path the code and rows of those that a suppression silences."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    silenced: dict[str, list[tuple[str, Rows]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def link(
    clues: dict[str, list[Trace]],
    paths: Iterable[str],
    read: _Read,
    declared: RoleNames,
    modules: Modules,
    cache: Cache | None = None,
) -> Linked:
    """Settle what single files left open: ``clues`` by rule code, ``paths`` the files of the run."""
    linked = Linked()
    for code, mine in sorted(clues.items()):
        rule = registry().get(code)
        if not isinstance(rule, ProjectRule):
            continue
        try:
            _settle(rule, mine, list(paths), read, declared, modules, cache, linked)
        except Exception as error:  # one broken rule must not cost the user the others
            linked.problems.append(f"rule {code} failed across files: {type(error).__name__}: {error}")
    return linked


def _settle(
    rule: ProjectRule,
    clues: list[Trace],
    paths: list[str],
    read: _Read,
    declared: RoleNames,
    modules: Modules,
    cache: Cache | None,
    linked: Linked,
) -> None:
    question = rule.question(clues, modules)
    answers: list[Trace] = []
    for path in paths if question is not None else ():
        data = read(path)
        # Cheap first: most files cannot hold an answer.
        if question is None or data is None or not any(word.encode() in data for word in question.words):
            continue
        known = cache.answers(data, path, rule.code, question) if cache is not None else None
        if known is None:
            known = answers_of(path, data, rule, question, declared)
            if cache is not None:
                cache.put_answers(data, path, rule.code, question, known)
        answers += known
    for trace, diagnostic in rule.settle(clues, answers, modules):
        if trace.silenced:
            linked.silenced.setdefault(trace.path, []).append((rule.code, trace.rows))
        else:
            linked.diagnostics.append(diagnostic)
