"""What a module writes to disk: each save call with the state dicts, whole objects and values that go into it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fa_lint.semantics import ir
from fa_lint.semantics.calls import passing
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.saved_contents import SavedEntry, collect_mentions, entries_of, only_method
from fa_lint.semantics.words import words

__all__ = ["Save", "SavedEntry", "is_model_entry", "saves"]

# Function: position and keyword of what it writes.
_FUNCTIONS: dict[str, tuple[int, str]] = {
    "torch.save": (0, "obj"),
    "torch.jit.save": (0, "m"),
    "pickle.dump": (0, "obj"),
    "pickle.dumps": (0, "obj"),
    "dill.dump": (0, "obj"),
    "cloudpickle.dump": (0, "obj"),
    "joblib.dump": (0, "value"),
    "safetensors.torch.save_file": (0, "tensors"),
    "safetensors.torch.save_model": (0, "model"),
    "safetensors.torch.save": (0, "tensors"),
    "numpy.save": (1, "arr"),
    "torch_xla.core.xla_model.save": (0, "data"),
    "lightning_utilities.save": (0, "obj"),
    "flax.serialization.to_bytes": (0, "target"),
    "flax.serialization.msgpack_serialize": (0, "pytree"),
    "flax.training.checkpoints.save_checkpoint": (1, "target"),
    "equinox.tree_serialise_leaves": (1, "pytree"),
}
_MANY = frozenset({"numpy.savez", "numpy.savez_compressed"})
# Methods of trainers: position and keyword of what they write, None where they write the models they were given.
_METHODS: dict[str, tuple[int, str] | None] = {
    "save_checkpoint": None,
    "save_state": None,
    "save_pretrained": None,
    "save_model": (0, "model"),
    "save": (0, "obj"),
}
_SAVING = frozenset({"save", "checkpoint", "snapshot", "dump"})
_TRAINERS = frozenset({"trainer", "accelerator", "fabric", "accel"})
# What these write is the state of a run.
_OF_STATES = ("flax.", "equinox.", "orbax.")
_TRAINER_CLASSES = frozenset({"Trainer", "Seq2SeqTrainer", "Accelerator", "Fabric", "SFTTrainer", "Lite"})
# Calls through which a trainer learns of its model.
_GIVEN = frozenset({"fit", "prepare", "setup", "setup_module", "Trainer", "Seq2SeqTrainer", "SFTTrainer"})
_NOT_MODELS = frozenset(
    "optimizer optimizers optim optims opt opts scheduler schedulers sched scaler sampler lr loader stats".split()
)
_MODEL_WORDS = frozenset(
    "model models net nets network networks module student teacher encoder classifier mlp cnn".split()
)


@dataclass(frozen=True, slots=True)
class Save:
    """``call`` is the save, ``place`` the expression that assembles what is saved (often the call itself).

    ``owner`` and ``owner_nid`` are the class around it, ``function`` and ``function_nid`` the function (0: a script).
    ``mentions`` are all identifiers and keys that go into the file, local names followed. ``is_given``: it is a
    parameter, and a caller elsewhere decides what is saved.
    """

    call: int
    place: int
    saver: str
    owner: str
    owner_nid: int
    function: str
    function_nid: int
    entries: tuple[SavedEntry, ...]
    mentions: frozenset[str]
    is_given: bool = False


def is_model_entry(entry: SavedEntry) -> bool:
    """True if an entry holds (the state of) a network, rather than of an optimizer or a number."""
    last = set(words(entry.of.rpartition(".")[2]))
    if entry.what in ("state_dict", "part"):
        return not last & _NOT_MODELS
    return entry.what == "object" and bool(last & _MODEL_WORDS) and not last & _NOT_MODELS


def saves(facts: ModuleFacts) -> tuple[Save, ...]:
    """Every save of a module, in source order; a helper that saves its parameter gives one for each call of it here."""
    found: list[Save] = []
    for call in facts.calls:
        saved = _written(facts, call)
        if saved is None:
            continue
        found += _described(facts, call, *saved)
    return tuple(sorted(found, key=lambda save: save.call))


def _written(facts: ModuleFacts, call: ir.Call) -> tuple[str, list[ir.Expr], bool] | None:
    """The saver's name, what it writes, and whether it writes state dicts of objects; None where a call is no save."""
    name = facts.qualified(call.func)
    if name in _FUNCTIONS:
        value = _argument(call, *_FUNCTIONS[name])
        return (name, [value], name.startswith(_OF_STATES)) if value is not None else None
    if name in _MANY:
        return name, [a.value for a in call.args[1:]], False
    if name is not None and set(words(name.rpartition(".")[2])) & _SAVING:
        # A helper of another file that is given networks or their state dicts writes them.
        given = [a.value for a in call.args if any(_is_given(e) for e in entries_of(facts, a.value))]
        return (name, given, False) if given and not name.startswith(("torch.", "orbax.")) else None
    if name is not None or not isinstance(call.func, ir.Attr) or call.func.attr not in _METHODS:
        return None
    receiver = call.func.value
    if facts.names.function_called(call) is not None:
        return None
    last = ir.last_name(receiver)
    where = _METHODS[call.func.attr]
    if call.func.attr == "save" and _made_by(facts, receiver).startswith("orbax."):
        value = next((v for key in ("args", "item") if (v := _argument(call, 1, key)) is not None), None)
        if isinstance(value, ir.Call) and (facts.qualified(value.func) or "").startswith("orbax.") and value.args:
            value = value.args[0].value
        return f"{last}.save", [value] if value is not None else [], True
    if call.func.attr == "save_pretrained":
        return "save_pretrained", [receiver], True
    if not (set(words(last)) & _TRAINERS or _made_by(facts, receiver).rpartition(".")[2] in _TRAINER_CLASSES):
        return None
    if where is None:
        return f"{last}.{call.func.attr}", _given_models(facts, receiver), True
    value = _argument(call, *where)
    if call.func.attr == "save" and set(words(last)) & {"fabric"}:
        value = _argument(call, 1, "state")
    if value is None:
        return f"{last}.{call.func.attr}", _given_models(facts, receiver), True
    contents = [value] if not _is_path(facts, value) else _given_models(facts, receiver)
    return f"{last}.{call.func.attr}", contents, True


def _is_given(entry: SavedEntry) -> bool:
    return entry.what == "state_dict" or is_model_entry(entry)


def _is_path(facts: ModuleFacts, node: ir.Expr) -> bool:
    if isinstance(node, ir.FString) or isinstance(facts.values.constant(node), str):
        return True
    name = ir.last_name(node)
    return bool(set(words(name)) & {"path", "dir", "file", "filename", "folder", "directory"})


def _argument(call: ir.Call, position: int, keyword: str) -> ir.Expr | None:
    for number, arg in enumerate(call.args):
        if arg.star:
            return None
        if arg.keyword == keyword or (arg.keyword is None and number == position):
            return arg.value
    return None


def _made_by(facts: ModuleFacts, node: ir.Expr) -> str:
    """The dotted name of what makes an object that is kept in a variable or an attribute of ``self``."""
    bound = facts.names.bindings(node) if isinstance(node, ir.Name) else []
    bound = facts.names.self_attribute(node) if isinstance(node, ir.Attr) else bound
    made = [b.value.func for b in bound if b.how == "value" and isinstance(b.value, ir.Call)]
    return next((name for func in made if (name := facts.qualified(func)) is not None), "")


def _given_models(facts: ModuleFacts, receiver: ir.Expr) -> list[ir.Expr]:
    """What ``trainer.fit(model)``, ``accelerator.prepare(model, …)`` or ``Trainer(model=model)`` was given."""
    found: list[ir.Expr] = []
    text = facts.source(receiver)
    for call in facts.calls:
        match call.func:
            case ir.Attr(value=value, attr=attr) if attr in _GIVEN and facts.source(value) == text:
                found += [a.value for a in call.args if a.keyword in (None, "model")]
            case ir.Name(id=name) | ir.Attr(attr=name) if name in _GIVEN:
                above = facts.names.parent(call)
                if isinstance(above, ir.Assign) and any(facts.source(t) == text for t in above.targets):
                    found += [a.value for a in call.args if a.keyword == "model"]
                    found += [a.value for a in call.args[:1] if a.keyword is None]
    return found


# -- what goes into the file --------------------------------------------------------------------------------------


def _described(
    facts: ModuleFacts, call: ir.Call, saver: str, contents: list[ir.Expr], whole_state: bool
) -> Iterable[Save]:
    function = facts.names.enclosing_function(call)
    if len(contents) == 1 and isinstance(contents[0], ir.Name) and function is not None:
        handed_on = saver not in _FUNCTIONS and any(_is_given(e) for e in entries_of(facts, contents[0]))
        if not handed_on and _is_parameter(facts, contents[0]):
            yield from _callers(facts, call, saver, function, contents[0].id)
            return
    yield _save(facts, call, saver, contents, whole_state)


def _is_parameter(facts: ModuleFacts, node: ir.Name) -> bool:
    bindings = facts.names.reaching(node)
    return len(bindings) == 1 and bindings[0].how == "param" and node.id not in ("self", "cls")


def _callers(facts: ModuleFacts, save: ir.Call, saver: str, function: ir.FunctionDef, name: str) -> Iterable[Save]:
    found = passing(facts, function, name)
    for call, value in found:
        yield _save(facts, call, saver, [value], False)
    if not found:
        entries = (SavedEntry("object", name),)
        unknown = _save(facts, save, saver, [], False)
        yield replace(unknown, entries=entries, mentions=frozenset({name}), is_given=True)


def _save(facts: ModuleFacts, call: ir.Call, saver: str, contents: list[ir.Expr], whole_state: bool) -> Save:
    entries: list[SavedEntry] = []
    mentions: set[str] = set()
    for content in contents:
        found = entries_of(facts, content, "", 0)
        if whole_state:
            # A trainer writes the state dicts of its models, never the objects.
            found = [SavedEntry("state_dict", e.of, e.key) if e.what == "object" else e for e in found]
        entries += found
        collect_mentions(facts, content, mentions, 0)
    owner = facts.names.enclosing_class(call)
    function = facts.names.enclosing_function(call)
    place = _assembled(facts, contents[0]) if len(contents) == 1 and not whole_state else None
    method = only_method(facts, contents[0]) if len(contents) == 1 and owner is None else None
    if method is not None:
        # ``torch.save(run.checkpoint(), path)``: the object is saved as if by itself.
        owner = facts.names.enclosing_class(method)
        place = next((value for value in facts.names.returned(method) if isinstance(value, ir.Keyed)), None)
    return Save(
        call.nid,
        place.nid if place is not None else call.nid,
        saver,
        owner.name if owner is not None else "",
        owner.nid if owner is not None else 0,
        function.name if function is not None else "",
        function.nid if function is not None else 0,
        tuple(dict.fromkeys(entries)),
        frozenset(mentions),
    )


def _assembled(facts: ModuleFacts, node: ir.Expr) -> ir.Expr | None:
    """Where a dict or a list of parameters that is saved by name is put together."""
    if isinstance(node, ir.Name):
        values = [b.value for b in facts.names.reaching(node) if b.how == "value"]
        if len(values) == 1 and isinstance(values[0], ir.Keyed | ir.Call | ir.Comprehension | ir.Sequence):
            value = values[0]
            if not isinstance(value, ir.Call) or any(
                e.what in ("state_dict", "part") for e in entries_of(facts, value, "", 0)
            ):
                return value
    return None
