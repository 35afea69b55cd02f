"""Across files: a helper that floors a cosine is judged by the gradients that callers elsewhere pass to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from fa_lint.analysis import Pending, Rows, facts_of, logical_rows, silenced
from fa_lint.findings import Assumption, Diagnostic, Finding, Level, RelatedPlace
from fa_lint.places import locate
from fa_lint.rules.base import related
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.roles import COMPUTED, Role, RoleNames
from fa_lint.source import Source
from fa_lint.suppressions import read_suppressions

__all__ = ["FLOOR", "Linked", "link"]

# What a finding at a call says of the place in the other file.
FLOOR = "the floor is here"

_Read = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that passes a gradient to an assumption's parameter."""

    path: str
    diagnostic: Diagnostic
    role: Role
    rows: Rows


@dataclass(slots=True)
class Linked:
    """The confirmed diagnostics, and by path the code and rows of those that a suppression at the call silences."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    silenced: dict[str, list[tuple[str, Rows]]] = field(default_factory=dict)


def link(pending: Iterable[Pending], paths: Iterable[str], read: _Read, declared: RoleNames) -> Linked:
    """Settle what single files left open: the confirmed diagnostics, and one at each call that confirms them."""
    linked = Linked()
    waiting = list(pending)
    if not waiting:
        return linked
    names = {a.function.encode(): a.function for p in waiting for a in p.when}
    found: dict[int, list[_Call]] = {}
    callers: dict[tuple[str, int, int], Diagnostic] = {}
    for path in paths:
        data = read(path)
        # Cheap first: a caller names the helper, and imports it.
        if data is None or not any(name in data for name in names):
            continue
        parsed = facts_of(path, data, declared)
        if parsed is None:
            continue
        suppressions = read_suppressions(parsed[0], True)
        for number, call in _calls(*parsed, waiting):
            if silenced(call.diagnostic.code, call.rows, suppressions):
                linked.silenced.setdefault(path, []).append((call.diagnostic.code, call.rows))
                continue
            found.setdefault(number, []).append(call)
            key = (path, call.diagnostic.start.row, call.diagnostic.start.column)
            callers.setdefault(key, call.diagnostic)
    linked.diagnostics += [_confirm(waiting[number], calls) for number, calls in found.items()]
    linked.diagnostics += callers.values()
    return linked


def _calls(source: Source, facts: ModuleFacts, waiting: list[Pending]) -> Iterable[tuple[int, _Call]]:
    for call in facts.calls:
        name = facts.qualified(call.func)
        if name is None or "." not in name:
            continue
        for number, item in enumerate(waiting):
            role = _gradient_passed(call, name, item, source.path, facts)
            if role is not None:
                yield number, _at_call(call, item, role, source, facts)


def _gradient_passed(call: ir.Call, name: str, item: Pending, caller: str, facts: ModuleFacts) -> Role | None:
    function = name.rpartition(".")[2]
    module = name.removesuffix(function)
    # `from . import helper` gives `.helper`: there the dots are the module.
    module = module[:-1] if module.strip(".") else module
    if not _is_module(module, item.diagnostic.path, caller):
        return None
    best: Role | None = None
    for assumption in item.when:
        value = _argument(call, assumption) if assumption.function == function else None
        role = facts.role(value)
        if role.is_gradient and (best is None or role.strength > best.strength):
            best = role
    return best


def _argument(call: ir.Call, assumption: Assumption) -> ir.Expr | None:
    for number, arg in enumerate(call.args):
        if arg.star:
            return None
        if arg.keyword == assumption.parameter or (arg.keyword is None and number == assumption.position):
            return arg.value
    return None


def _is_module(module: str, path: str, caller: str) -> bool:
    """Can the dotted ``module``, as imported in ``caller``, be the file ``path``?"""
    parts = PurePath(path).with_suffix("").parts
    if parts and parts[-1] == "__init__":
        parts = parts[:-1]
    dots = len(module) - len(module.lstrip("."))
    wanted = tuple(part for part in module.lstrip(".").split(".") if part)
    if dots:
        base = PurePath(caller).parts[:-dots]
        return parts == (*base, *wanted)
    if not wanted or parts[-len(wanted) :] != wanted:
        return False
    # ``from utils import …`` means the ``utils`` beside the caller or above it, not any file of that name.
    base = parts[: -len(wanted)]
    return len(wanted) > 1 or PurePath(caller).parts[: len(base)] == base


def _at_call(call: ir.Call, item: Pending, role: Role, source: Source, facts: ModuleFacts) -> _Call:
    start, end = facts.span(call)
    target = item.diagnostic
    computed = role.strength == COMPUTED
    certainty = f"a {role.kind}" if computed else f"what is named like a {role.kind}"
    finding = Finding(
        target.code,
        start,
        end,
        f"passes {certainty} to a helper whose cosine has a floor ({target.path}:{target.start.row}); "
        "use `safe_cosine`",
        Level.ERROR if computed else Level.WARNING,
        target.computes,
        None,
        related(facts, role),
    )
    rows = logical_rows(finding, source, facts)
    located = locate(finding, source, facts, rows)
    floor = RelatedPlace(target.path, target.start, target.end, FLOOR, target.cell)
    return _Call(source.path, replace(located, related=(*located.related, floor)), role, rows)


def _confirm(item: Pending, calls: list[_Call]) -> Diagnostic:
    ordered = sorted(calls, key=lambda call: call.diagnostic.sort_key)
    places = tuple(
        RelatedPlace(c.path, c.diagnostic.start, c.diagnostic.end, "a gradient is passed here", c.diagnostic.cell)
        for c in ordered[:5]
    )
    level = item.diagnostic.level
    if all(call.role.strength != COMPUTED for call in calls):
        level = min(level, Level.WARNING, key=lambda value: value.rank)
    return replace(item.diagnostic, related=(*item.diagnostic.related, *places), level=level)
