"""Across files: feedback that is kept in one file, and the save in another that leaves it out.

A save is held against a feedback only where the code joins the two: the saved object is made from the class that keeps
the feedback, or handed to the saver by a file that makes it, or saver and keeper are one object by inheritance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fa_lint.findings import Trace
from fa_lint.modules import Modules
from fa_lint.rules._called import called_names, starred
from fa_lint.rules._lost import can_be_lost, contains
from fa_lint.semantics import ir
from fa_lint.semantics.classes import chain, unknown_bases
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import FeedbackSite, feedback_sites
from fa_lint.semantics.origins import origins
from fa_lint.semantics.saves import Save, SavedEntry, is_model_entry, saves

__all__ = ["SAVING", "describe_holders", "describe_makers", "describe_save", "kept_feedback", "lost_pairs"]

# (file, class or function of it): what gives an object that holds a feedback.
Maker = tuple[str, str]

# What a file that writes a checkpoint can hold.
SAVING = (
    ".state_dict(",
    "torch.save",
    "save_file",
    "save_model",
    "save_checkpoint",
    "save_state",
    "save_pretrained",
    "pickle.dump",
)


def kept_feedback(facts: ModuleFacts) -> Iterator[tuple[FeedbackSite, dict[str, Any]]]:
    """The feedback that a save elsewhere can lose, with what the other files have to know of it."""
    written = facts.derived(saves)
    for site in facts.derived(feedback_sites):
        if site.owner_kind in ("module", "object") and can_be_lost(facts, site, written):
            owner = facts.node(site.owner_nid)
            assert isinstance(owner, ir.ClassDef)
            yield (
                site,
                {
                    "name": site.name,
                    "owner": site.owner,
                    "kind": site.owner_kind,
                    "sure": site.certain and not site.seed,
                    "makers": _makers(facts, owner),
                    "bases": list(unknown_bases(facts, owner)),
                    "whole": [c.name for c in chain(facts, owner)],
                },
            )


def _makers(facts: ModuleFacts, owner: ir.ClassDef) -> list[str]:
    """The classes of the module whose instances hold the feedback, and the functions that return such an instance."""
    classes = [c.name for c in facts.names.classes if contains(facts, c, owner)]
    makers = list(classes)
    for function in facts.names.functions:
        if facts.names.enclosing_class(function) is None:
            for node in ir.walk(function.body):
                match node:
                    case ir.Return(value=ir.Call(func=ir.Name(id=name))) if name in classes:
                        makers.append(function.name)
    return list(dict.fromkeys(makers))


# -- what another file says ---------------------------------------------------------------------------------------


def describe_save(facts: ModuleFacts, names: Sequence[str]) -> Iterator[tuple[Save, dict[str, Any]]]:
    """The saves of a module: what each entry was made from, and which of ``names`` it writes."""
    for save in facts.derived(saves):
        entries = [entry for entry in save.entries if is_model_entry(entry) or entry.of == "self"]
        if save.parameter is None:
            yield (
                save,
                {
                    "entries": [{"what": entry.what, "of": entry.of, "made": _made(facts, entry)} for entry in entries],
                    "mentions": sorted(save.mentions & set(names)),
                    "owner": save.owner,
                    "function": save.function,
                },
            )


def _made(facts: ModuleFacts, entry: SavedEntry) -> list[str]:
    """The imported classes or functions that the saved object comes from, through those of this module."""
    found: list[str] = []
    for origin in origins(facts, entry.of):
        if "." in origin:
            found.append(origin)
            continue
        parts: list[ir.ClassDef | ir.FunctionDef] = [*facts.names.classes, *facts.names.functions]
        own = [part for part in parts if part.name == origin]
        for part in own:
            relatives = chain(facts, part) if isinstance(part, ir.ClassDef) else [part]
            found += [name for relative in relatives for name in _built_in(facts, relative)]
        if not own:
            found += starred(origin, facts)
    return list(dict.fromkeys(found))


def _built_in(facts: ModuleFacts, scope: ir.Node) -> Iterator[str]:
    for node in ir.walk(scope):
        if isinstance(node, ir.Call):
            yield from called_names(node, facts)
        elif isinstance(node, ir.Name | ir.Attr):
            # A class that is passed on, ``self.build(LinearFA)``, is built by who takes it.
            name = facts.qualified(node)
            if name is not None and name.rpartition(".")[2][:1].isupper():
                yield name


def describe_holders(facts: ModuleFacts) -> Iterator[tuple[ir.ClassDef | ir.FunctionDef, dict[str, Any]]]:
    """The classes and functions of a module with the imported classes and functions that they use to build."""
    scopes: list[ir.ClassDef | ir.FunctionDef] = [*facts.names.classes, *facts.names.functions]
    for scope in scopes:
        if isinstance(scope, ir.FunctionDef) and facts.names.enclosing_class(scope) is not None:
            continue
        relatives = chain(facts, scope) if isinstance(scope, ir.ClassDef) else [scope]
        bases = unknown_bases(facts, scope) if isinstance(scope, ir.ClassDef) else ()
        built = {name for part in relatives for name in _built_in(facts, part)} | set(bases)
        own = {
            node.func.id
            for part in relatives
            for node in ir.walk(part)
            if isinstance(node, ir.Call) and isinstance(node.func, ir.Name) and facts.qualified(node.func) is None
        }
        yield scope, {"holder": scope.name, "builds": sorted(n for n in built if "." in n), "own": sorted(own)}


def describe_makers(facts: ModuleFacts, names: Sequence[str]) -> Iterator[tuple[ir.Call, dict[str, Any]]]:
    """The calls that make an object by one of ``names``, with the imported functions it is handed to."""
    wanted = set(names)
    for call in facts.calls:
        made = [name for name in called_names(call, facts) if name.rpartition(".")[2] in wanted]
        if made:
            yield call, {"made": made, "given": sorted(_given(facts, call))}


def _given(facts: ModuleFacts, made: ir.Call) -> set[str]:
    statement = facts.names.statement(made)
    held: set[str] = set()
    if isinstance(statement, ir.Assign):
        held = {t.id for t in statement.targets if isinstance(t, ir.Name)}
    inside = {node.nid for node in ir.walk(made)}
    found: set[str] = set()
    for call in facts.calls:
        if call.nid in inside:
            continue
        values = [arg.value for arg in call.args]
        if any(v is made or (isinstance(v, ir.Name) and v.id in held) for v in values):
            found.update(called_names(call, facts))
    return found


# -- the verdict --------------------------------------------------------------------------------------------------


def lost_pairs(
    kept: Sequence[Trace], answers: Sequence[Trace], modules: Modules
) -> Iterator[tuple[Trace, list[Trace], list[Trace]]]:
    """Each save with the feedback of other files that it leaves out, and the places that join them."""
    all_saves = [a for a in answers if a.kind == "save"]
    written = {name for save in all_saves for name in save.data["mentions"]}
    judge = _Judge(answers, modules)
    lost = [site for site in kept if site.data["name"] not in written]
    for save in all_saves:
        left_out: list[Trace] = []
        through: list[Trace] = []
        for site in lost:
            joined = judge.joined(save, site) if site.path != save.path else None
            if joined is not None:
                left_out.append(site)
                through += [place for place in joined if place not in through]
        if left_out:
            yield save, left_out, through


class _Judge:
    """Joins saves and feedback through the classes and functions that other files build them with."""

    def __init__(self, answers: Sequence[Trace], modules: Modules) -> None:
        self._makers = [a for a in answers if a.kind == "maker"]
        self._holders = [a for a in answers if a.kind == "holder"]
        self._modules = modules
        self._known: dict[tuple[str, str], set[Maker]] = {}

    def joined(self, save: Trace, site: Trace) -> list[Trace] | None:
        """The places through which a save concerns a feedback (none where it does so directly), or None."""
        entries = save.data["entries"]
        if not entries:
            return None
        owner = save.data["owner"]
        inherits = any(self._modules.means(base, site.path, save.path, owner) for base in site.data["bases"])
        if inherits and owner:
            # Saver and keeper are one object: only pickling it whole keeps a plain attribute.
            whole = any(entry["of"] == "self" and entry["what"] == "object" for entry in entries)
            own = site.data["kind"] == "object" or any(entry["of"] in ("self", "super") for entry in entries)
            return [] if own and not whole else None
        if site.data["kind"] != "module":
            return None
        states = [entry for entry in entries if entry["what"] != "object"]
        if any(self._gives(name, save.path, site) for entry in states for name in entry["made"]):
            return []
        if not any(not entry["made"] and entry["of"] not in ("self", "super") for entry in states):
            return None
        found = [
            maker
            for maker in self._makers
            if any(self._gives(name, maker.path, site) for name in maker.data["made"])
            and any(self._ends_in(name, maker.path, save) for name in maker.data["given"])
        ]
        return found or None

    def _gives(self, name: str, path: str, site: Trace) -> bool:
        """True if calling ``name`` of the file ``path`` gives an object that holds the feedback."""
        return any(self._modules.means(name, path, file, maker) for file, maker in self._all_makers(site))

    def _all_makers(self, site: Trace) -> set[Maker]:
        key = (site.path, site.data["owner"])
        if key not in self._known:
            found = {(site.path, maker) for maker in site.data["makers"]}
            growing = True
            while growing:
                more = {
                    (holder.path, holder.data["holder"])
                    for holder in self._holders
                    if (holder.path, holder.data["holder"]) not in found and self._builds(holder, found)
                }
                found |= more
                growing = bool(more)
            self._known[key] = found
        return self._known[key]

    def _builds(self, holder: Trace, makers: set[Maker]) -> bool:
        if any((holder.path, own) in makers for own in holder.data["own"]):
            return True
        return any(
            self._modules.means(name, holder.path, file, maker)
            for name in holder.data["builds"]
            for file, maker in makers
        )

    def _ends_in(self, name: str, path: str, save: Trace) -> bool:
        """True if a function or class that is given the object holds the save, or inherits it from the save's file."""
        names = [own for own in (save.data["owner"], save.data["function"]) if own]
        if any(self._modules.means(name, path, save.path, own) for own in names):
            return True
        defining = self._modules.definers(name, path)
        return bool(save.data["owner"]) and any(save.path in self._modules.reaches(file) for file in defining)
