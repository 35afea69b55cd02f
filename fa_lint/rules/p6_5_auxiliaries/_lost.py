"""Which save of a module leaves out which feedback of the same module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fa_lint.rules.common.feedback import is_repeatable
from fa_lint.semantics import ir
from fa_lint.semantics.calls import given as passed_for
from fa_lint.semantics.classes import chain, family, unknown_bases
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import FeedbackSite, feedback_sites
from fa_lint.semantics.feedback_stores import stores
from fa_lint.semantics.matrix_products import MATRIX_PRODUCTS
from fa_lint.semantics.origins import origins
from fa_lint.semantics.saves import Save, SavedEntry, is_model_entry, saves
from fa_lint.semantics.words import words

__all__ = ["can_be_lost", "contains", "handed_out_by", "lost_feedback", "names_seed"]

_SEEDS = frozenset("seed seeds rng generator args cfg config conf hparams hyperparameters".split())
_ATTACHES = frozenset("set register attach add init".split())
# ``seen.add(self.B)``: a container keeps nothing in a state.
_PUTS = frozenset({"add", "add_"})
_REGISTERS = frozenset({"register_buffer", "register_parameter"})
_REGISTERING = frozenset(f"torch.nn.{name}" for name in ("Parameter", "Buffer", "ParameterList", "ParameterDict"))
_WRITES = frozenset("save dump write export store serialize tofile checkpoint savetxt".split())


def lost_feedback(facts: ModuleFacts) -> Iterator[tuple[Save, list[FeedbackSite]]]:
    """Each save of a model, with the feedback beside it or unregistered inside it that no save writes."""
    written = facts.derived(saves)
    sites = [site for site in facts.derived(feedback_sites) if can_be_lost(facts, site, written)]
    if not sites:
        return
    for save in written:
        entries = [entry for entry in save.entries if is_model_entry(entry) or entry.of == "self"]
        if not entries or save.is_given:
            continue
        lost = [site for site in sites if _leaves_out(facts, save, entries, site)]
        if lost:
            yield save, lost


def can_be_lost(facts: ModuleFacts, site: FeedbackSite, written: tuple[Save, ...]) -> bool:
    """True if a feedback is outside its owner's state, and written by no save of the module."""
    if site.registered or site.carried or is_repeatable(site) or site.storage in ("unknown", "object"):
        return False
    names = {site.name, *handed_out_by(facts, site)}
    everything = (*(save.mentions for save in written), facts.derived(_written_otherwise))
    if site.name in everything[-1] or any(not names.isdisjoint(save.mentions) for save in written):
        return False
    if site.seed and any(names_seed(mentions) for mentions in everything):
        return False
    return not (_escapes(facts, site) if site.owner_kind == "local" else _is_given_away(facts, site))


def names_seed(mentions: Iterable[str]) -> bool:
    """Return True where a seed, or a configuration that may have it, is among what is written."""
    return any(set(words(name)) & _SEEDS for name in mentions)


def handed_out_by(facts: ModuleFacts, site: FeedbackSite) -> tuple[str, ...]:
    """What gives a caller the feedback: methods of its owner or relatives that return it, attributes that hold it."""
    if site.owner_kind not in ("module", "object"):
        return ()
    owner = facts.node(site.owner_nid)
    assert isinstance(owner, ir.ClassDef)
    found = {"__dict__": None}
    for here in family(facts, owner):
        for part in ir.walk(here.body):
            match part:
                case ir.FunctionDef(name=name) if any(_carries(value, site.name) for value in _outputs(part)):
                    found[name] = None
                case ir.Assign(
                    targets=[ir.Name(id=name) | ir.Attr(value=ir.Name(id="self"), attr=name)],
                    value=ir.Keyed() | ir.Sequence() as value,
                ) if name != site.name and _carries(value, site.name):
                    found[name] = None
    return tuple(found)


def _outputs(function: ir.FunctionDef) -> Iterator[ir.Expr]:
    """What a function returns, and what it puts into dicts and lists."""
    for node in ir.walk(function.body):
        match node:
            case ir.Return(value=ir.Expr() as value) | ir.Yield(value=ir.Expr() as value):
                yield value
            case ir.Assign(targets=[ir.Subscript(), *_], value=value):
                yield value
            case ir.Call(func=ir.Attr(attr="update" | "append" | "extend" | "setdefault"), args=args):
                yield from (arg.value for arg in args)


def _carries(node: ir.Expr, name: str) -> bool:
    """Return True where a value contains the feedback itself, or its name as a key: no product of it."""
    match node:
        case ir.Attr(attr=attr):
            return attr == name
        case ir.Const(value=value):
            return value == name
        case ir.Call(func=func, args=args):
            method = func.attr if isinstance(func, ir.Attr) else ""
            inside = [arg.value for arg in args] + ([func.value] if isinstance(func, ir.Attr) else [])
            return method not in MATRIX_PRODUCTS and any(_carries(part, name) for part in inside)
        case ir.Sequence(items=parts) | ir.Keyed(values=parts):
            return any(_carries(part, name) for part in parts)
        case ir.Comprehension(elements=elements, clause=clause):
            return _carries(clause.iter, name) and isinstance(elements[-1], ir.Name | ir.Call)
        case ir.Conditional(body=one, orelse=other) | ir.Binary(op="|" | "+", left=one, right=other):
            return _carries(one, name) or _carries(other, name)
        case ir.Starred(value=value) | ir.Subscript(value=value):
            return _carries(value, name)
    return False


def _is_given_away(facts: ModuleFacts, site: FeedbackSite) -> bool:
    """Return True where an attribute is given to another object that may register it: ``net.register_buffer(…)``."""
    for node in facts.nodes_of(ir.Call, ir.Assign):
        match node:
            case ir.Call(func=ir.Attr(value=receiver, attr=attr), args=args) if set(words(attr)) & _ATTACHES:
                other = not (isinstance(receiver, ir.Name) and receiver.id in ("self", "cls"))
                given = args if other and attr not in _PUTS else []
            case ir.Call(func=ir.Attr(value=ir.Name(id="self"), attr=attr), args=args) if attr not in _REGISTERS:
                # ``self.keep("B", self.B)``: a base class of another file writes what it is told to.
                if any(isinstance(arg.value, ir.Const) and arg.value.value == site.name for arg in args):
                    return True
                continue
            case ir.Call(func=ir.Name(id=name) | ir.Attr(attr=name), args=args) if name[:1].isupper():
                given = args if _may_register(facts, node) else []
            case ir.Assign(targets=[ir.Attr(value=receiver)], value=ir.Call(func=func, args=args)):
                other = not (isinstance(receiver, ir.Name) and receiver.id in ("self", "cls"))
                given = args if other and facts.qualified(func) in _REGISTERING else []
            case _:
                continue
        if any(_hands_out(arg.value, site.name) for arg in given):
            return True
    return False


def _may_register(facts: ModuleFacts, made: ir.Call) -> bool:
    """Return True for the constructor of a class that is out of sight, or that registers something."""
    owner = facts.names.class_named(made.func) if isinstance(made.func, ir.Name) else None
    if owner is None:
        name = facts.qualified(made.func) or ""
        return bool(name) and not name.startswith(("torch.", "numpy."))
    calls = [call for here in chain(facts, owner) for call in ir.walk(here.body) if isinstance(call, ir.Call)]
    return bool(unknown_bases(facts, owner)) or any(
        facts.qualified(call.func) in _REGISTERING or (isinstance(call.func, ir.Attr) and call.func.attr in _REGISTERS)
        for call in calls
    )


def _written_otherwise(facts: ModuleFacts) -> frozenset[str]:
    """What goes into a second file: the names in any call that is named after saving."""
    found: set[str] = set()
    for call in facts.calls:
        match call.func:
            case ir.Name(id=last) | ir.Attr(attr=last) if set(words(last)) & _WRITES:
                parts = [arg.value for arg in call.args]
                parts += [call.func] if last in ("tofile", "save") else []
                for node in (node for part in parts for node in ir.walk(part)):
                    # Of ``args.path`` only the path is written.
                    if not (isinstance(facts.names.parent(node), ir.Attr) and names_seed([ir.last_name(node)])):
                        found.add(ir.last_name(node))
    return frozenset(found)


def _mentions(node: ir.Node, name: str) -> bool:
    return any(ir.last_name(part) == name for part in ir.walk(node))


def _escapes(facts: ModuleFacts, site: FeedbackSite) -> bool:
    """True if a local leaves its function, or becomes part of an object: returned, stored, given to a constructor."""
    scope = facts.node(site.owner_nid) if site.owner_nid else facts.module
    for node in ir.walk(scope):
        match node:
            case ir.Return(value=ir.Expr() as value) | ir.Yield(value=ir.Expr() as value):
                if _hands_out(value, site.name):
                    return True
            case ir.Assign(targets=targets, value=value) if node.nid != site.store:
                kept = any(isinstance(target, ir.Attr | ir.Subscript) for target in targets)
                if kept and _hands_out(value, site.name):
                    return True
            case ir.Call(func=ir.Name(id=name) | ir.Attr(attr=name), args=args):
                # A class, or a method that attaches: the object may register it.
                attaches = name[:1].isupper() or bool(set(words(name)) & _ATTACHES)
                if attaches and name != "Variable" and node.nid > site.store:
                    if any(_hands_out(a.value, site.name) for a in args):
                        return True
    return False


def _hands_out(node: ir.Expr, name: str) -> bool:
    """The value itself or a display of it, not a product of it."""
    match node:
        case ir.Name(id=identifier) | ir.Attr(attr=identifier):
            return identifier == name
        case ir.Sequence(items=items) | ir.Keyed(values=items):
            return any(_hands_out(item, name) for item in items)
        case (
            ir.Call(func=ir.Attr(value=inner, attr="to" | "clone" | "detach" | "cpu" | "cuda"))
            | ir.Starred(value=inner)
        ):
            return _hands_out(inner, name)
    return False


# -- one save, one site -------------------------------------------------------------------------------------------


def _leaves_out(facts: ModuleFacts, save: Save, entries: list[SavedEntry], site: FeedbackSite) -> bool:
    match site.owner_kind:
        case "local":
            return any(e.of != "self" for e in entries) and _is_beside(facts, save, site)
        case "foreign":
            # Plain attributes survive where the whole object is pickled.
            loses = any(e.of.rpartition(".")[2] == site.owner and e.what != "object" for e in entries)
            return loses and _stays_plain(facts, site)
        case "object":
            return _beside(facts, save, entries, site)
    return any(entry.what != "object" and _holds(facts, save, entry, site) for entry in entries)


def _is_beside(facts: ModuleFacts, save: Save, site: FeedbackSite) -> bool:
    """Return True where a save runs beside a local: in its function or script, or in what its function calls."""
    if save.function_nid == site.owner_nid:
        return True
    if site.owner_nid == 0:
        return not save.owner or _mentions(facts.node(save.owner_nid), site.name)
    entered = {site.owner_nid}
    waiting = [facts.node(site.owner_nid)]
    while waiting:
        for node in ir.walk(waiting.pop()):
            called = facts.names.function_called(node) if isinstance(node, ir.Call) else None
            if called is None or called.nid in entered or not isinstance(node, ir.Call):
                continue
            if called.nid == save.function_nid:
                return not _is_written_as(facts, node, called, site)
            entered.add(called.nid)
            waiting.append(called)
    return False


def _is_written_as(facts: ModuleFacts, call: ir.Call, called: ir.FunctionDef, site: FeedbackSite) -> bool:
    """Return True where what a call hands over is written under the name of a parameter."""
    names = [param.name for param in called.params if param.name not in ("self", "cls")]
    given = {
        arg.keyword or "".join(names[position : position + 1])
        for position, arg in enumerate(call.args)
        if _mentions(arg.value, site.name)
    }
    return any(given & (save.mentions | {""}) for save in facts.derived(saves))


def _stays_plain(facts: ModuleFacts, site: FeedbackSite) -> bool:
    """``model.B = …`` is plain where the class of ``model`` is known and knows nothing of ``B``."""
    owners = _classes_of(facts, site.owner)
    names = {
        name for where, number, name in facts.derived(stores) if where == "self" and number in {o.nid for o in owners}
    }
    return bool(owners) and site.name not in names and not any(unknown_bases(facts, owner) for owner in owners)


def _beside(facts: ModuleFacts, save: Save, entries: list[SavedEntry], site: FeedbackSite) -> bool:
    """Return True if a trainer's feedback is saved by one of its methods, or beside an instance of it."""
    owner = facts.node(site.owner_nid)
    assert isinstance(owner, ir.ClassDef)
    # A pickle keeps plain attributes; a state dict keeps what a base of another file may make a module register.
    whole = {entry.of for entry in save.entries if entry.what == "object" or site.may_be_registered}
    if whole & {"self", "super"}:
        return False
    if save.owner_nid and any(c.nid == save.owner_nid for c in family(facts, owner)):
        return True
    instances = _instances(facts, owner, save)
    return bool(instances) and not instances & whole


def _instances(facts: ModuleFacts, owner: ir.ClassDef, save: Save) -> set[str]:
    """The names that hold an instance of a class where a save stands: its function, its class, the script."""
    found = set()
    for call in facts.calls:
        if not (isinstance(call.func, ir.Name) and facts.names.class_named(call.func) is owner):
            continue
        function = facts.names.enclosing_function(call)
        around = facts.names.enclosing_class(call)
        same = (function.nid if function is not None else 0) == save.function_nid
        if same or (around is not None and around.nid == save.owner_nid) or (function is None and not save.owner):
            statement = facts.names.statement(call)
            if isinstance(statement, ir.Assign):
                found |= {facts.source(target) for target in statement.targets}
    return found | _given_instances(facts, owner, save)


def _given_instances(facts: ModuleFacts, owner: ir.ClassDef, save: Save) -> set[str]:
    """The parameters of a saving function that an instance of a class is given for: by annotation, or by a caller."""
    function = facts.node(save.function_nid) if save.function_nid else None
    if not isinstance(function, ir.FunctionDef):
        return set()
    found = {p.name for p in function.params if isinstance(p.annotation, ir.Name) and p.annotation.id == owner.name}
    for param in function.params:
        values = passed_for(facts, function, param.name) if param.name not in ("self", "cls") else []
        if any(isinstance(value, ir.Name) and owner in _classes_of(facts, value.id) for value in values):
            found.add(param.name)
    return found


def _holds(facts: ModuleFacts, save: Save, entry: SavedEntry, site: FeedbackSite) -> bool:
    """True if the module of a site is part of what an entry saves."""
    owner = facts.node(site.owner_nid)
    assert isinstance(owner, ir.ClassDef)
    if entry.of in ("self", "super"):
        saver = facts.node(save.owner_nid) if save.owner_nid else None
        roots = [saver] if isinstance(saver, ir.ClassDef) else []
        roots += [c for c in facts.names.classes if saver is not None and saver in family(facts, c)]
    else:
        roots = _classes_of(facts, entry.of.rpartition(".")[2])
    return any(contains(facts, root, owner) for root in roots)


def _classes_of(facts: ModuleFacts, name: str) -> list[ir.ClassDef]:
    """The classes of the module whose instances are called ``name`` anywhere in it."""
    made = set(origins(facts, name))
    return [owner for owner in facts.names.classes if owner.name in made]


def contains(facts: ModuleFacts, root: ir.ClassDef, part: ir.ClassDef) -> bool:
    """True if a class, a base of it, or what either constructs at any depth, is the class of the feedback."""
    waiting: list[ir.ClassDef] = [root]
    seen: set[ir.ClassDef] = set()
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        for relative in chain(facts, here):
            if relative is part:
                return True
            waiting += facts.derived(_named_inside)[relative.nid]
    return False


def _named_inside(facts: ModuleFacts) -> dict[int, list[ir.ClassDef]]:
    """By class, the classes of the module that its body names."""
    found: dict[int, list[ir.ClassDef]] = {}
    for owner in facts.names.classes:
        named = [facts.names.class_named(node) for node in ir.walk(owner.body) if isinstance(node, ir.Name)]
        found[owner.nid] = [each for each in dict.fromkeys(named) if each is not None]
    return found
