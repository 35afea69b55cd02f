"""Loads of a state: whether the model can hold feedback, and whether the keys of the file are checked before."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fa_lint.semantics import ir
from fa_lint.semantics.classes import chain, unknown_bases
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import FeedbackSite, feedback_sites, unused_sites
from fa_lint.semantics.feedback_names import is_feedback_name, is_possible_name, names_a_method
from fa_lint.semantics.origins import origins_of

__all__ = ["is_checked", "is_named_after_feedback", "may_hold_feedback", "named_buffers"]

# A buffer of this name is feedback also in a class that nothing marks and where nothing is sent through it.
_BUFFER = re.compile(r"_*(?:error_|output_)?feedbacks?")
_SETS = frozenset("issubset issuperset difference symmetric_difference isdisjoint".split())


def is_named_after_feedback(*names: str) -> bool:
    """True if a part of one of the dotted names is that of a method of the feedback-alignment family."""
    return any(names_a_method(part) for name in names for part in name.split("."))


# -- the model ----------------------------------------------------------------------------------------------------


def may_hold_feedback(facts: ModuleFacts, load: ir.Call) -> bool:
    """False where the file shows what the model is made of, and nothing of it is feedback."""
    assert isinstance(load.func, ir.Attr)
    receiver = load.func.value
    owner = facts.names.enclosing_class(load)
    if isinstance(receiver, ir.Name) and receiver.id == "self" and owner is not None:
        return bool(unknown_bases(facts, owner)) or owner.nid in facts.derived(_feedback_users)
    of_class = load.func.attr == "load_from_checkpoint"
    made = (facts.qualified(receiver) or facts.source(receiver),) if of_class else origins_of(facts, receiver)
    if not made or any(_brings_feedback(facts, origin) for origin in made):
        return True
    return any(_speaks(facts, node) for node in _changes(facts, receiver, load))


def _last(node: ir.Node) -> str:
    match node:
        case ir.Name(id=name):
            return name
        case ir.Attr(value=inner, attr="module" | "_orig_mod"):
            return _last(inner)
        case ir.Attr(attr=name):
            return name
    return ""


def _brings_feedback(facts: ModuleFacts, origin: str) -> bool:
    """Return True for a class or function of the module that uses feedback, or an import that is named after it."""
    found: list[ir.ClassDef | ir.FunctionDef] = [c for c in facts.names.classes if c.name == origin]
    found += [f for f in facts.names.functions if f.name == origin]
    if not found:
        return is_named_after_feedback(origin)
    return any(node.nid in facts.derived(_feedback_users) for node in found)


def named_buffers(facts: ModuleFacts) -> tuple[FeedbackSite, ...]:
    """Return the drawn buffers that are named after feedback and that nothing in this file multiplies."""
    return tuple(s for s in unused_sites(facts) if s.storage == "buffer" and _BUFFER.fullmatch(s.name))


def _feedback_users(facts: ModuleFacts) -> set[int]:
    """The classes and functions of the module that keep feedback, or name what does."""
    nodes: list[ir.ClassDef | ir.FunctionDef] = [*facts.names.classes, *facts.names.functions]
    found = {site.owner_nid for site in facts.derived(feedback_sites) or named_buffers(facts)}
    found |= {node.nid for node in nodes if _speaks(facts, node)}
    while True:
        names = {node.name for node in nodes if node.nid in found}
        inside = {node.nid for node in nodes if node.nid not in found and _uses(facts, node, names)}
        if not inside:
            return found
        found |= inside


def _uses(facts: ModuleFacts, node: ir.ClassDef | ir.FunctionDef, names: set[str]) -> bool:
    bodies: list[ir.Node] = list(chain(facts, node)) if isinstance(node, ir.ClassDef) else [node]
    return any(isinstance(part, ir.Name) and part.id in names for body in bodies for part in ir.walk(body))


def _speaks(facts: ModuleFacts, node: ir.Node) -> bool:
    """Return True where code names feedback: a class, a function, an import, an attribute."""
    for part in ir.walk(node):
        match part:
            case ir.ClassDef(name=name) | ir.FunctionDef(name=name) if is_named_after_feedback(name):
                return True
            case ir.Name(id=name) | ir.Attr(attr=name):
                whole = facts.qualified(part) or ""
                if is_feedback_name(name) or is_named_after_feedback(name, whole):
                    return True
    return False


def _changes(facts: ModuleFacts, model: ir.Expr, load: ir.Call) -> Iterator[ir.Node]:
    """The statements that give a part of the model a value, and the calls that are given the model, before the load."""
    name = _last(model)
    scope = facts.names.enclosing_function(load)
    for node in facts.nodes_of(ir.Assign, ir.Call):
        if isinstance(model, ir.Name) and (node.nid >= load.nid or facts.names.enclosing_function(node) is not scope):
            continue
        match node:
            case ir.Assign(targets=targets):
                if any(isinstance(t, ir.Attr | ir.Subscript) and _is_part(t.value, name) for t in targets):
                    yield node
            case ir.Call(args=args) if node is not load:
                if any(_last(arg.value) == name for arg in args) or _is_part(node.func, name):
                    yield node


def _is_part(node: ir.Expr, name: str) -> bool:
    """``model``, ``model.head``, ``self.model.head[0]``."""
    while True:
        if _last(node) == name:
            return True
        if not isinstance(node, ir.Attr | ir.Subscript):
            return False
        node = node.value


# -- the keys -----------------------------------------------------------------------------------------------------


def is_checked(facts: ModuleFacts, load: ir.Call) -> bool:
    """True if no key can be missing, or if the function asks before the load what keys the file has."""
    given = next((arg.value for arg in load.args if arg.keyword in (None, "state_dict")), None)
    if given is None or not isinstance(load.func, ir.Attr):
        return False
    if _begins_as_own(facts, given, facts.source(load.func.value)):
        return True
    scope = facts.names.enclosing_function(load)
    state = facts.source(given)
    for node in ir.walk(scope.body if scope is not None else facts.module):
        match node:
            case ir.Assert(test=test) if node.nid < load.nid:
                if _compares_keys(facts, test, state):
                    return True
            case ir.If(test=test, body=body) if node.nid < load.nid and _says(body):
                if _compares_keys(facts, test, state):
                    return True
            case ir.Subscript(value=value, index=[ir.Const(value=str() as key)]):
                # What the file has to have, or the lookup fails.
                if facts.source(value) == state and _names_feedback(key):
                    return True
    return False


def _says(body: ir.Block) -> bool:
    """``raise``, ``return``, ``print(missing)``: no new name for the state."""
    return any(isinstance(statement, ir.Raise | ir.Return | ir.ExprStmt) for statement in body.body)


def _begins_as_own(facts: ModuleFacts, given: ir.Expr, model: str, depth: int = 0) -> bool:
    """``state = model.state_dict(); state.update(…)``, ``{**model.state_dict(), **state}``."""
    match given:
        case ir.Call(func=ir.Attr(value=receiver, attr="state_dict")):
            return facts.source(receiver) == model
        case ir.Call(args=[first, *_]):
            return not first.keyword and _begins_as_own(facts, first.value, model, depth)
        case ir.Keyed(values=values):
            return any(_begins_as_own(facts, value, model, depth) for value in values)
        case ir.Binary(op="|", left=left, right=right):
            return any(_begins_as_own(facts, side, model, depth) for side in (left, right))
        case ir.Name() if depth < 4:
            bound = [b for b in facts.names.reaching(given) if b.how == "value" and b.value is not None]
            return any(b.value and _begins_as_own(facts, b.value, model, depth + 1) for b in bound)
    return False


def _compares_keys(facts: ModuleFacts, test: ir.Expr, state: str, depth: int = 0) -> bool:
    """Return True where a test asks what keys a state has: ``in``, a difference of sets, a comparison of them."""
    for part in ir.walk(test):
        match part:
            case ir.Compare(left=left, ops=["in" | "not in"], comparators=[keys]) if _reads(facts, keys, state):
                if not (isinstance(left, ir.Const) and isinstance(left.value, str)) or _names_feedback(left.value):
                    return True
            case ir.Compare() | ir.Binary(op="-" | "^") if _reads(facts, part, state) and _makes_sets(part):
                return True
            case ir.Call(func=ir.Attr(attr=attr)) if attr in _SETS and _reads(facts, part, state):
                return True
            case ir.Name() if depth < 3:
                values = [b.value for b in facts.names.reaching(part) if b.how == "value" and b.value is not None]
                if any(_compares_keys(facts, value, state, depth + 1) for value in values):
                    return True
    return False


def _names_feedback(key: str) -> bool:
    last = key.rpartition(".")[2]
    return is_feedback_name(last) or is_possible_name(last) or is_named_after_feedback(key)


def _makes_sets(node: ir.Node) -> bool:
    return any(isinstance(part, ir.Call) and _last(part.func) in ("set", "keys", "sorted") for part in ir.walk(node))


def _reads(facts: ModuleFacts, node: ir.Node, state: str) -> bool:
    return any(isinstance(part, ir.Expr) and facts.source(part) == state for part in ir.walk(node))
