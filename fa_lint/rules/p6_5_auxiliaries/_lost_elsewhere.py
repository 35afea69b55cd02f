"""Across files: feedback that is kept in one file, and the save in another that leaves it out.

A save is held against a feedback only where the code joins the two: the saved object is made from the class that keeps
the feedback, or handed to the saver by a file that makes it, or saver and keeper are one object by inheritance.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fa_lint.analysis.modules import Modules
from fa_lint.analysis.summaries import Fact, Noted
from fa_lint.findings import Located
from fa_lint.rules.p6_5_auxiliaries._called import called_names, starred
from fa_lint.rules.p6_5_auxiliaries._lost import can_be_lost, contains, names_seed
from fa_lint.semantics import ir
from fa_lint.semantics.classes import names_torch_module
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import FeedbackSite, feedback_sites
from fa_lint.semantics.origins import origins
from fa_lint.semantics.saves import Save, is_model_entry, saves

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
    that other files define (dotted names). ``registered``: it is in the state of its owner if one of them is a torch
    module. ``outputs`` are the methods and attributes that give it, ``seeded`` says that a seed repeats the draw.
    """

    name: str
    owner: str
    kind: Literal["module", "object"]
    where: str
    sure: bool
    makers: tuple[str, ...]
    bases: tuple[str, ...]
    registered: bool
    outputs: tuple[str, ...]
    seeded: bool


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
        if not save.is_given:
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
    saved = [(n.fact, n.at) for n in noted if isinstance(n.fact, StateSave) and n.at is not None]
    kept = [(n.fact, n.at) for n in noted if isinstance(n.fact, KeptFeedback) and n.at is not None]
    names = {fact.name for fact, _ in kept}
    # By name, the files that run together with one that writes it.
    written: dict[str, set[str]] = {name: set() for name in names}
    for save, at in saved:
        for name in names.intersection(save.mentions):
            written[name] |= modules.reaching(at.path)
    sites = [(fact, at) for fact, at in kept if written[fact.name].isdisjoint(modules.reaching(at.path))]
    joins = _Joins(noted, sites, modules) if sites else None
    for save, at in saved if joins is not None else ():
        found = joins.of(save, at.path) if joins is not None else {}
        lost = [number for number in sorted(found) if sites[number][1].path != at.path]
        if lost:
            through = dict.fromkeys(place for number in lost for place in found[number])
            yield at, [sites[number] for number in lost], list(through)


class _Joins:
    """What joins saves and feedback (by number): the classes and functions that other files build them with."""

    def __init__(self, noted: Sequence[Noted], sites: Sequence[tuple[KeptFeedback, Located]], modules: Modules) -> None:
        self._modules = modules
        self._sites = [site for site, _ in sites]
        # By what is used, the classes and functions that build with it.
        users: dict[Maker, list[Maker]] = {}
        for each in noted:
            if isinstance(each.fact, Builder):
                for part in each.fact.parts:
                    for used in modules.meanings(part, each.path) if "." in part else {(each.path, part)}:
                        users.setdefault(used, []).append((each.path, each.fact.name))
        # By maker, what it makes holds; by base class, the feedback that its subclasses keep.
        self._held: dict[Maker, list[int]] = {}
        self._below: dict[Maker, list[int]] = {}
        for number, (site, at) in enumerate(sites):
            for base in {meaning for name in site.bases for meaning in modules.meanings(name, at.path)}:
                self._below.setdefault(base, []).append(number)
            is_module = any(modules.descends(base, at.path, names_torch_module) for base in site.bases)
            if site.registered and is_module:
                continue
            if site.kind == "module" or is_module:
                for maker in _all_users({(at.path, maker) for maker in site.makers}, users):
                    self._held.setdefault(maker, []).append(number)
        # By who is given it, and by the files behind that, what is handed over and where it is made.
        self._given: dict[Maker, list[tuple[int, Located]]] = {}
        for each in noted:
            if isinstance(each.fact, MadeObject) and each.at is not None:
                handed = [(number, each.at) for number in self._made_by(each.fact.made, each.path)]
                receivers = {m for name in each.fact.given if handed for m in modules.meanings(name, each.path)}
                behind = {(file, "") for path, _ in receivers for file in modules.reaches(path)}
                for receiver in receivers | behind:
                    self._given.setdefault(receiver, []).extend(handed)

    def of(self, save: StateSave, path: str) -> dict[int, list[Located]]:
        """The feedback that a save concerns, each with the places through which (none where it does so directly)."""
        found: dict[int, list[Located]] = {}
        states = [entry for entry in save.entries if entry.what != "object"]
        if any(not entry.made and entry.of not in ("self", "super") for entry in states):
            # What inherits a save from its file may be given the model, too.
            for receiver in {save.owner, save.function, ""} - ({""} if not save.owner else set()):
                for number, at in self._given.get((path, receiver), ()):
                    found.setdefault(number, []).append(at)
        for entry in states:
            found.update((number, []) for number in self._made_by(entry.made, path))
        # Saver and keeper are one object: only pickling it whole keeps a plain attribute.
        whole = any(entry.of == "self" and entry.what == "object" for entry in save.entries)
        own = any(entry.of in ("self", "super") for entry in save.entries)
        for number in self._below.get((path, save.owner), ()) if save.owner and save.entries else ():
            found.pop(number, None)
            registered = own and self._sites[number].registered
            if not whole and not registered and (own or self._sites[number].kind == "object"):
                found[number] = []
        return {number: places for number, places in found.items() if not _writes(save, self._sites[number])}

    def _made_by(self, names: Iterable[str], path: str) -> list[int]:
        """The feedback that an object holds which calling one of ``names`` in a file gives."""
        makers = {m for name in names for m in (self._modules.meanings(name, path) if "." in name else {(path, name)})}
        return sorted({number for maker in makers for number in self._held.get(maker, ())})


def _writes(save: StateSave, site: KeptFeedback) -> bool:
    """Return True where a save calls a method that gives it the feedback, or writes the seed."""
    seeded = site.seeded and names_seed(save.mentions)
    return seeded or not set(site.outputs).isdisjoint(save.mentions)


def _all_users(found: set[Maker], users: Mapping[Maker, Sequence[Maker]]) -> set[Maker]:
    """What makes an object with a feedback: the makers of its own file, and all that builds with one of them."""
    waiting = list(found)
    while waiting:
        new = {user for user in users.get(waiting.pop(), ()) if user not in found}
        found |= new
        waiting += new
    return found
