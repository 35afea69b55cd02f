"""Classes of one module: which are torch modules, which of them share attributes, which methods a call reaches."""

from __future__ import annotations

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = [
    "chain",
    "family",
    "is_module",
    "is_set_on_module",
    "methods",
    "names_torch_module",
    "owner_of",
    "reached",
    "unknown_bases",
]

_MODULES = frozenset(
    {
        "torch.jit.ScriptModule",
        "lightning.LightningModule",
        "lightning.pytorch.LightningModule",
        "pytorch_lightning.LightningModule",
        "transformers.PreTrainedModel",
        "transformers.modeling_utils.PreTrainedModel",
    }
)
_WALKS = frozenset({"modules", "named_modules", "children", "named_children"})
# Classes of ``torch.nn`` that hold no state of their own.
_NOT_MODULES = frozenset({"Parameter", "UninitializedParameter", "Buffer"})


def chain(facts: ModuleFacts, owner: ir.ClassDef) -> list[ir.ClassDef]:
    """The class and its bases that this module defines, nearest first."""
    found: list[ir.ClassDef] = []
    waiting = [owner]
    while waiting:
        here = waiting.pop(0)
        if here in found:
            continue
        found.append(here)
        for base in here.bases:
            named = _plain(base.value)
            if base.keyword is None and isinstance(named, ir.Name):
                above = facts.names.class_named(named)
                if above is not None:
                    waiting.append(above)
    return found


def _plain(base: ir.Expr) -> ir.Expr:
    """``Base`` of ``Base[int]``."""
    return base.value if isinstance(base, ir.Subscript) else base


def family(facts: ModuleFacts, owner: ir.ClassDef) -> list[ir.ClassDef]:
    """The class, its bases and its subclasses in this module: the code that can see one object's attributes."""
    return list(dict.fromkeys([*chain(facts, owner), *facts.derived(_Below).classes.get(owner.nid, ())]))


class _Below:
    """The classes of a module that derive from each of them, itself included."""

    def __init__(self, facts: ModuleFacts) -> None:
        self.classes: dict[int, list[ir.ClassDef]] = {}
        for below in facts.names.classes:
            for above in chain(facts, below):
                self.classes.setdefault(above.nid, []).append(below)


def is_module(facts: ModuleFacts, owner: ir.ClassDef) -> bool:
    """True if the bases say that the class is a ``torch.nn.Module``. An unknown base is no evidence."""
    bases = (_plain(base.value) for here in chain(facts, owner) for base in here.bases if base.keyword is None)
    return any(names_torch_module(facts.qualified(base) or "") for base in bases)


def names_torch_module(name: str) -> bool:
    """True if a dotted name is that of ``torch.nn.Module``, or of a library's class that is one."""
    if name in _MODULES:
        return True
    last = name.rpartition(".")[2]
    inside = name.startswith("torch.nn.") and not name.startswith(("torch.nn.functional.", "torch.nn.init."))
    return inside and last[:1].isupper() and last not in _NOT_MODULES


def is_set_on_module(facts: ModuleFacts, store: ir.Node) -> bool:
    """``m.B = …`` in a loop over ``net.modules()``, under ``isinstance(m, nn.Conv2d)``, for ``m: nn.Module``."""
    match store:
        case ir.Assign(targets=[ir.Attr(value=ir.Name() as holder)]):
            bound = facts.names.reaching(holder)
        case _:
            return False
    over = [part for b in bound if b.how == "iterate" and b.value is not None for part in ir.walk(b.value)]
    types = [part for b in bound if isinstance(b.node, ir.Param) for part in ir.walk(b.node.annotation or holder)]
    for above in facts.names.ancestors(store):
        match above:
            case ir.If(test=ir.Call(func=ir.Name(id="isinstance"), args=[ir.Arg(value=asked), ir.Arg(value=kinds)])):
                types += ir.walk(kinds) if ir.same(asked, holder) else ()
    return any(isinstance(part, ir.Attr) and part.attr in _WALKS for part in over) or any(
        isinstance(part, ir.Expr) and names_torch_module(facts.qualified(part) or "") for part in types
    )


def unknown_bases(facts: ModuleFacts, owner: ir.ClassDef) -> tuple[str, ...]:
    """Dotted names of bases that are defined neither here nor in torch: their methods are out of sight."""
    found = []
    for here in chain(facts, owner):
        for base in here.bases:
            if base.keyword is not None:
                continue
            named = _plain(base.value)
            if isinstance(named, ir.Name) and facts.names.class_named(named) is not None:
                continue
            name = facts.qualified(named) or facts.source(named)
            if name not in ("object", "abc.ABC") and not name.startswith(("torch.", "typing.")):
                found.append(name)
    return tuple(dict.fromkeys(found))


def methods(facts: ModuleFacts, owner: ir.ClassDef) -> dict[str, ir.FunctionDef]:
    """The methods of a class, inherited ones of this module included."""
    found: dict[str, ir.FunctionDef] = {}
    for here in chain(facts, owner):
        for statement in here.body.body:
            if isinstance(statement, ir.FunctionDef):
                found.setdefault(statement.name, statement)
    return found


def owner_of(facts: ModuleFacts, function: ir.FunctionDef) -> ir.ClassDef | None:
    """The class whose body defines a method; None for other functions."""
    block = facts.names.parent(function)
    above = facts.names.parent(block) if isinstance(block, ir.Block) else None
    return above if isinstance(above, ir.ClassDef) else None


def reached(facts: ModuleFacts, owner: ir.ClassDef, *entries: str) -> dict[ir.FunctionDef, ir.Call | None]:
    """The methods that a call of ``entries`` enters through ``self``, each with the call that leads there."""
    table = methods(facts, owner)
    found: dict[ir.FunctionDef, ir.Call | None] = {}
    waiting: list[tuple[ir.FunctionDef, ir.Call | None]] = [(table[e], None) for e in entries if e in table]
    while waiting:
        function, via = waiting.pop()
        if function in found:
            continue
        found[function] = via
        for node in ir.walk(function.body):
            match node:
                case ir.Call(func=ir.Attr(value=ir.Name(id="self"), attr=attr)) if attr in table:
                    waiting.append((table[attr], via or node))
    return found
