"""Across files: feedback that is kept in one file, and the save in another that leaves it out.

A save is held against a feedback only where the code joins the two: the saved object is made from the class that keeps
the feedback, or handed to the saver by a file that makes it, or saver and keeper are one object by inheritance.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fa_lint.findings import Located
from fa_lint.modules import Modules
from fa_lint.rules._called import called_names, starred
from fa_lint.rules._lost import can_be_lost, contains
from fa_lint.semantics import ir
from fa_lint.semantics.classes import names_torch_module
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import FeedbackSite, feedback_sites
from fa_lint.semantics.origins import origins
from fa_lint.semantics.saves import Save, is_model_entry, saves
from fa_lint.summaries import Fact, Noted

__all__ = [
    "Builder",
    "KeptFeedback",
    "MadeObject",
    "StateSave",
    "builders",
    "kept_feedback",
    "lost_pairs",
    "made",
    "makers_of",
    "state_saves",
]

# (file, class or function of it): what gives an object that holds a feedback.
Maker = tuple[str, str]

_LIBRARIES = sys.stdlib_module_names | {"torch", "numpy", "torchvision", "tqdm", "jax", "scipy", "einops"}


@dataclass(frozen=True, slots=True)
class KeptFeedback(Fact):
    """Feedback outside the state of its owner, which no save of its file writes.

    ``makers`` are the classes whose instances hold it and the functions that return one; ``bases`` those of the owner
    that other files define (dotted names).
    """

    name: str
    owner: str
    kind: Literal["module", "object"]
    where: str
    sure: bool
    makers: tuple[str, ...]
    bases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SavedState:
    """One object in a file: ``what`` and ``of`` as in a :class:`SavedEntry`, and the names of what makes it."""

    what: str
    of: str
    made: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StateSave(Fact):
    """A save, the class and the function around it, what it writes, and every name in that."""

    entries: tuple[SavedState, ...]
    mentions: tuple[str, ...]
    owner: str
    function: str


@dataclass(frozen=True, slots=True)
class Builder(Fact):
    """A class or function and what it builds with or inherits from: imported (dotted names), or of its own file."""

    name: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MadeObject(Fact):
    """A call of something imported, and the imported functions that its result is given to (dotted names)."""

    made: tuple[str, ...]
    given: tuple[str, ...]


# -- what one file states -----------------------------------------------------------------------------------------


def kept_feedback(facts: ModuleFacts) -> Iterator[FeedbackSite]:
    """The feedback that a save elsewhere can lose."""
    written = facts.derived(saves)
    for site in facts.derived(feedback_sites):
        if site.owner_kind in ("module", "object") and can_be_lost(facts, site, written):
            yield site


def makers_of(facts: ModuleFacts, owner: ir.ClassDef) -> tuple[str, ...]:
    """The classes of the module whose instances hold the feedback, and the functions that return such an instance."""
    classes = [c.name for c in facts.names.classes if contains(facts, c, owner)]
    found = list(classes)
    for function in facts.names.functions:
        if facts.names.enclosing_class(function) is None:
            for node in ir.walk(function.body):
                match node:
                    case ir.Return(value=ir.Call(func=ir.Name(id=name))) if name in classes:
                        found.append(function.name)
    return tuple(dict.fromkeys(found))


def state_saves(facts: ModuleFacts) -> Iterator[tuple[Save, StateSave]]:
    """The saves of a module, each with what its entries were made from."""
    for save in facts.derived(saves):
        if save.parameter is None:
            entries = tuple(
                SavedState(entry.what, entry.of, _made(facts, entry.of))
                for entry in save.entries
                if is_model_entry(entry) or entry.of == "self"
            )
            yield save, StateSave(entries, tuple(sorted(save.mentions)), save.owner, save.function)


def _made(facts: ModuleFacts, of: str) -> tuple[str, ...]:
    own = {c.name for c in facts.names.classes} | {f.name for f in facts.names.functions}
    found: dict[str, None] = {}
    for origin in origins(facts, of):
        names = [origin] if "." in origin or origin in own else starred(origin, facts)
        found.update(dict.fromkeys(names))
    return tuple(found)


def builders(facts: ModuleFacts) -> Iterator[Builder]:
    """The classes and functions of a module that use others to build; those of a library build nothing of ours."""
    names = facts.names
    imported = _imported(facts)
    if not imported and not names.star_modules:
        return
    scopes = {c.nid: c.name for c in names.classes}
    scopes |= {f.nid: f.name for f in names.functions if names.enclosing_class(f) is None}
    own = set(scopes.values())
    used: dict[int, dict[str, None]] = {}
    for node in facts.nodes_of(ir.Name):
        assert isinstance(node, ir.Name)
        found = [node.id] if node.id in own else []
        if node.id in imported:
            found = _built_with(facts, node)
        elif not found and names.star_modules and not names.bindings(node):
            found = [name for name in starred(node.id, facts) if not _is_library(name)]
        for above in names.ancestors(node) if found else ():
            if above.nid in scopes:
                used.setdefault(above.nid, {}).update(dict.fromkeys(found))
    for nid, parts in used.items():
        yield Builder(scopes[nid], tuple(sorted(part for part in parts if part != scopes[nid])))


def _built_with(facts: ModuleFacts, node: ir.Name) -> list[str]:
    """What is called of an import, or passed on as a class: ``self.build(LinearFA)``, ``class Net(base.Net)``."""
    whole: ir.Expr = node
    above = facts.names.parent(whole)
    while isinstance(above, ir.Attr):
        whole, above = above, facts.names.parent(above)
    name = facts.qualified(whole) or ""
    builds = name.rpartition(".")[2][:1].isupper() or (isinstance(above, ir.Call) and above.func is whole)
    return [name] if "." in name and builds else []


def made(facts: ModuleFacts) -> Iterator[tuple[ir.Call, MadeObject]]:
    """The objects that a module makes by something imported and hands to something imported."""
    if not _imported(facts) and not facts.names.star_modules:
        return
    calls: dict[int, tuple[ir.Call, tuple[str, ...]]] = {}
    held: dict[str, dict[tuple[str, ...], int]] = {}
    for call in facts.calls:
        names = tuple(name for name in called_names(call, facts) if not _is_library(name))
        if names:
            calls[call.nid] = call, names
            statement = facts.names.statement(call)
            for target in statement.targets if isinstance(statement, ir.Assign) else ():
                if isinstance(target, ir.Name):
                    held.setdefault(target.id, {}).setdefault(names, call.nid)
    given: dict[int, set[str]] = {}
    for call in facts.calls if calls else ():
        taken = [arg.value for arg in call.args]
        by = [value.nid for value in taken if value.nid in calls]
        by += [nid for value in taken if isinstance(value, ir.Name) for nid in held.get(value.id, {}).values()]
        for nid in by:
            given.setdefault(nid, set()).update(n for n in called_names(call, facts) if not _is_library(n))
    for nid, receivers in given.items():
        if receivers:
            yield calls[nid][0], MadeObject(calls[nid][1], tuple(sorted(receivers)))


def _imported(facts: ModuleFacts) -> set[str]:
    """The local names of what a module imports from others than the libraries of the field."""
    return {binding.name for binding in facts.names.imports if not _is_library(binding.target or "")}


def _is_library(name: str) -> bool:
    return name.partition(".")[0] in _LIBRARIES


# -- the conclusion -----------------------------------------------------------------------------------------------


def lost_pairs(
    noted: Sequence[Noted], modules: Modules
) -> Iterator[tuple[Located, list[tuple[KeptFeedback, Located]], list[Located]]]:
    """Each save with the feedback of other files that it leaves out, and the places that join them."""
    kept = [(n.fact, n.at) for n in noted if isinstance(n.fact, KeptFeedback) and n.at is not None]
    written = [(n.fact, n.at) for n in noted if isinstance(n.fact, StateSave) and n.at is not None]
    sites = []
    for fact, at in kept:
        by = {save_at.path for save, save_at in written if fact.name in save.mentions}
        if not any(modules.together(path, at.path) for path in by):
            sites.append((fact, at))
    judge = _Judge(noted, modules) if sites else None
    for save, save_at in written if judge is not None else ():
        assert judge is not None
        left_out = []
        through: dict[Located, None] = {}
        for fact, at in sites:
            joined = judge.joined(save, save_at.path, fact, at.path) if at.path != save_at.path else None
            if joined is not None:
                left_out.append((fact, at))
                through.update(dict.fromkeys(joined))
        if left_out:
            yield save_at, left_out, list(through)


class _Judge:
    """Joins saves and feedback through the classes and functions that other files build them with."""

    def __init__(self, noted: Sequence[Noted], modules: Modules) -> None:
        self._modules = modules
        self._made = [(n.fact, n.at) for n in noted if isinstance(n.fact, MadeObject) and n.at is not None]
        self._known: dict[KeptFeedback, dict[str, set[Maker]]] = {}
        # By what is used, the classes and functions that build with it.
        self._users: dict[Maker, list[Maker]] = {}
        for each in noted:
            if isinstance(each.fact, Builder):
                builder = (each.path, each.fact.name)
                for part in each.fact.parts:
                    for used in modules.meanings(part, each.path) if "." in part else {(each.path, part)}:
                        self._users.setdefault(used, []).append(builder)

    def joined(self, save: StateSave, save_path: str, site: KeptFeedback, path: str) -> list[Located] | None:
        """The places through which a save concerns a feedback (none where it does so directly), or None."""
        if not save.entries:
            return None
        is_module = site.kind == "module" or any(
            self._modules.descends(base, path, names_torch_module) for base in site.bases
        )
        if save.owner and any((save_path, save.owner) in self._modules.meanings(b, path) for b in site.bases):
            # Saver and keeper are one object: only pickling it whole keeps a plain attribute.
            whole = any(entry.of == "self" and entry.what == "object" for entry in save.entries)
            own = site.kind == "object" or any(entry.of in ("self", "super") for entry in save.entries)
            return [] if own and not whole else None
        if not is_module:
            return None
        states = [entry for entry in save.entries if entry.what != "object"]
        makers = self._makers(site, path)
        if any(self._gives(name, save_path, makers) for entry in states for name in entry.made):
            return []
        if not any(not entry.made and entry.of not in ("self", "super") for entry in states):
            return None
        found = [
            at
            for fact, at in self._made
            if any(self._gives(name, at.path, makers) for name in fact.made)
            and any(self._ends_in(name, at.path, save, save_path) for name in fact.given)
        ]
        return found or None

    def _gives(self, name: str, path: str, makers: set[Maker]) -> bool:
        """True if calling ``name`` of the file ``path`` gives an object that holds the feedback."""
        if "." not in name:
            return (path, name) in makers
        return not makers.isdisjoint(self._modules.meanings(name, path))

    def _makers(self, site: KeptFeedback, path: str) -> set[Maker]:
        """What makes an object with the feedback: its own file's makers, and all that builds with one of them."""
        known = self._known.setdefault(site, {})
        if path not in known:
            found = {(path, maker) for maker in site.makers}
            waiting = list(found)
            while waiting:
                new = {user for user in self._users.get(waiting.pop(), ()) if user not in found}
                found |= new
                waiting += new
            known[path] = found
        return known[path]

    def _ends_in(self, name: str, path: str, save: StateSave, save_path: str) -> bool:
        """True if a function or class that is given the object holds the save, or inherits it from the save's file."""
        meanings = self._modules.meanings(name, path)
        if any((save_path, own) in meanings for own in (save.owner, save.function) if own):
            return True
        return bool(save.owner) and any(save_path in self._modules.reaches(file) for file, _ in meanings)
