"""Fixed random feedback in one module: where it is drawn, who owns it, and how it is stored.

A matrix is feedback by its name *and* a draw, or by what the code does with it: only the backward pass of a custom
autograd function reads it, or errors alone are sent through it. ``self.B = torch.randn(…)`` alone means nothing
(Fourier features, RBMs), and what is multiplied with anything else is a weight. The sites say what one module
proves; the linker joins them with the saves of other modules (:mod:`fa_lint.semantics.saves`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fa_lint.semantics import ir
from fa_lint.semantics.classes import chain, family, is_module, methods, owner_of, reached, unknown_bases
from fa_lint.semantics.draws import Draw, draw_of
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback_errors import Signal
from fa_lint.semantics.feedback_layers import gives_credit, is_layer, is_penalised
from fa_lint.semantics.feedback_names import is_feedback_name, is_possible_name, names_a_method, speaks_of_feedback
from fa_lint.semantics.feedback_stores import Store, copied_into, is_restored, storage_of, stores
from fa_lint.semantics.feedback_uses import Key, Uses, feedback_uses, trained
from fa_lint.semantics.roles import Evidence
from fa_lint.semantics.words import words

__all__ = ["REGISTERED", "FeedbackSite", "feedback_sites", "unused_sites"]

# Storage that ``state_dict()`` of the owning module contains.
REGISTERED = frozenset({"buffer", "parameter", "parameters", "modules", "module"})
# Methods through which an object writes its own state: what they mention is not lost.
_STATE_METHODS = frozenset(
    "state_dict get_extra_state _save_to_state_dict _load_from_state_dict __getstate__ __reduce__ get_state "
    "get_checkpoint_state on_save_checkpoint save_state".split()
)
_DRAWS = frozenset("draw drawn sample random rand randn make init create generate".split())
_SHAPES = frozenset("shape shapes size sizes dims".split())


@dataclass(frozen=True, slots=True)
class FeedbackSite:
    """One feedback matrix, or one container of them. Nodes are numbers of the module; ``facts.node`` returns the nodes.

    ``owner`` names the class or function, ``owner_nid`` its node (0 for the module itself); ``owner_kind`` is
    ``module`` (a torch module), ``object`` (any other class: a trainer, an optimizer), ``local`` (a variable of a
    function or script) or ``foreign`` (an attribute set from outside, ``model.B = …``: ``owner`` is the receiver).
    ``bases`` are the bases of an owning class that are defined elsewhere: one of them may make an ``object`` a module.
    ``storage``: ``buffer``, ``transient`` (``persistent=False``), ``parameter``, ``parameters``, ``module``,
    ``modules``, ``tensor``, ``variable``, ``list``, ``dict`` or ``unknown``. ``store`` is the statement or call that
    keeps it, ``draw`` the call that makes it, ``drawn`` whether that is ``random``, ``uninitialised`` or a ``module``;
    ``seed`` is ``constant`` or ``argument`` where the draw can be repeated. ``where`` is the function that stores it;
    ``lazy`` is set where ``forward`` reaches that function. ``carried``: the owner's own state method mentions it;
    ``restored``: another assignment takes it from a file, a state or an argument. ``certain`` is False where only a
    common name and a product are evidence for it.
    """

    name: str
    owner: str
    owner_kind: str
    owner_nid: int
    bases: tuple[str, ...]
    storage: str
    drawn: str
    seed: str
    where: str
    lazy: bool
    carried: bool
    restored: bool
    certain: bool
    store: int
    draw: int
    evidence: tuple[Evidence, ...]

    @property
    def registered(self) -> bool:
        """True if it is part of its owner's ``state_dict()``."""
        # Only a torch module has ``register_buffer``, whatever its base classes are called.
        return self.storage == "buffer" or (self.owner_kind == "module" and self.storage in REGISTERED)

    @property
    def may_be_registered(self) -> bool:
        """True where a base class of another file decides whether its owner's ``state_dict()`` contains it."""
        return self.storage in REGISTERED and self.owner_kind == "object" and bool(self.bases)


def feedback_sites(facts: ModuleFacts) -> tuple[FeedbackSite, ...]:
    """The feedback of a module, in source order."""
    table = facts.derived(stores)
    uses = facts.derived(feedback_uses) if table else Uses()
    found = []
    for key, kept in table.items():
        evidence, certain = _evidence(facts, key, kept, uses)
        if evidence:
            site = _site(facts, key, kept, evidence, certain, sends=key in uses.errors and key not in uses.others)
            if site is not None:
                found.append(site)
    return tuple(sorted(found, key=lambda site: site.store))


def unused_sites(facts: ModuleFacts) -> Iterator[FeedbackSite]:
    """The drawn attributes of torch modules, named as feedback may be, that nothing in this file multiplies."""
    uses = facts.derived(feedback_uses)
    known = {site.store for site in facts.derived(feedback_sites)}
    for key, kept in facts.derived(stores).items():
        unused = key[0] == "self" and key not in uses.products and is_possible_name(key[2])
        if unused and is_module(facts, _class(facts, key)):
            site = _site(facts, key, kept, (), False, sends=False)
            if site is not None and site.drawn == "random" and site.store not in known:
                yield site


def _class(facts: ModuleFacts, key: Key) -> ir.ClassDef:
    owner = facts.node(key[1])
    assert isinstance(owner, ir.ClassDef)
    return owner


# -- is it feedback? ----------------------------------------------------------------------------------------------


def _evidence(facts: ModuleFacts, key: Key, kept: list[Store], uses: Uses) -> tuple[tuple[Evidence, ...], bool]:
    """The evidence for feedback, and whether it is enough for an error; no evidence where it is not feedback."""
    name = key[2].rpartition(".")[2]
    place = kept[0].node
    if any(fnmatchcase(name, pattern) for pattern in facts.declared.feedback):
        return (Evidence(place.nid, f"`{name}` is configured as feedback"),), True
    if key in uses.backward:
        return (uses.backward[key],), True
    signal, sent = uses.errors.get(key, (Signal.NONE, None))
    if signal is Signal.NAMED and sent is not None and key not in facts.derived(trained):
        # A fixed matrix, of which an update of something else is made.
        signal = Signal.COMPUTED if gives_credit(facts, facts.node(sent.nid)) else signal
    packages = facts.names.top_packages()
    if packages & {"numpy", "jax"} and "torch" not in packages and (sent is None or key in uses.others):
        # What arrays call feedback is the output that a reservoir, a filter or a controller is given back.
        return (), False
    around = _surroundings(facts, kept)
    # Outputs go through the feedback weights of a reservoir.
    if is_feedback_name(name) and (around or sent is not None or key not in uses.others or name.endswith("layers")):
        product = sent or uses.products.get(key)
        return (Evidence(place.nid, f"named `{name}`"), *([product] if product else [])), True
    possible = is_possible_name(name)
    if sent is not None and (_is_fresh(facts, key, kept, sent) or _is_measured_only(facts, key, sent, uses)):
        return (), False
    if sent is not None and key not in uses.others:
        if signal is Signal.COMPUTED:
            # A matrix that errors alone are sent through is feedback, whatever it is called.
            return (sent, *around), possible or key in uses.layers
        if possible and (around or signal is Signal.NAMED):
            return (sent, *around), bool(around) or _is_telling(name)
    if around and possible:
        used = uses.products.get(key)
        if used is not None and key not in uses.others:
            return (*around, used), _is_telling(name)
        # Only names speak for it: a user's feedback is no matrix, and no method's.
        said = _surroundings(facts, kept, names_a_method) if used is None and not _is_vector(facts, kept) else ()
        if said and (key[0] == "name" or _is_telling(name)):
            return said, _is_telling(name)
    return (), False


def _is_measured_only(facts: ModuleFacts, key: Key, sent: Evidence, uses: Uses) -> bool:
    """Return True where what comes out serves no update: a projected loss, a critic, the next stage of a fit."""
    if key in uses.layers:
        return not gives_credit(facts, uses.layers[key])
    product = facts.node(sent.nid)
    return is_penalised(facts, product) and not gives_credit(facts, product)


def _is_fresh(facts: ModuleFacts, key: Key, kept: list[Store], sent: Evidence) -> bool:
    """Return True where each round of the loop that uses a local draws it again: there is no matrix to keep."""
    if key[0] != "name":
        return False
    around = {
        above.nid for above in facts.names.ancestors(facts.node(sent.nid)) if isinstance(above, ir.For | ir.While)
    }
    return all(
        any(above.nid in around for above in facts.names.ancestors(store.node) if isinstance(above, ir.For | ir.While))
        for store in kept
        if not store.item
    )


def _is_telling(name: str) -> bool:
    return name.strip("_").lower() in (
        "feedback",
        "feedbacks",
        "b_matrix",
        "b_mat",
        "error_projection",
        "fixed_weights",
    )


def _is_vector(facts: ModuleFacts, kept: list[Store]) -> bool:
    """Return True where what is drawn has one dimension: ``torch.rand(n)``."""
    drawn = [draw for store in kept if (draw := draw_of(facts, store.value)) is not None]
    return bool(drawn) and all(_has_one_size(facts.node(draw.nid)) for draw in drawn)


def _has_one_size(draw: ir.Node) -> bool:
    match draw:
        case ir.Call(func=ir.Attr(attr="rand" | "randn"), args=[ir.Arg(value=size, star="", keyword=None), *others]):
            named = ir.last_name(size)
            single = isinstance(size, ir.Const | ir.Name | ir.Attr) and not set(words(named)) & _SHAPES
            return single and all(other.keyword for other in others)
    return False


def _surroundings(
    facts: ModuleFacts, kept: list[Store], speaks: Callable[[str], bool] = speaks_of_feedback
) -> tuple[Evidence, ...]:
    """Classes, functions and options around a store that are named after a feedback method."""
    for store in kept:
        for above in facts.names.ancestors(store.node):
            match above:
                case ir.ClassDef():
                    for here in chain(facts, above):
                        if speaks(here.name):
                            return (Evidence(above.nid, f"in class `{here.name}`"),)
                    for base in above.bases:
                        name = base.value.id if isinstance(base.value, ir.Name) else ""
                        if speaks(name):
                            return (Evidence(above.nid, f"in a subclass of `{name}`"),)
                case ir.FunctionDef(name=name) if speaks(name):
                    return (Evidence(above.nid, f"in function `{name}`"),)
                case ir.If(test=test):
                    for part in ir.walk(test):
                        if isinstance(part, ir.Const) and isinstance(part.value, str) and speaks(part.value):
                            return (Evidence(part.nid, f'drawn for "{part.value}"'),)
    return ()


# -- the site -----------------------------------------------------------------------------------------------------


def _site(
    facts: ModuleFacts, key: Key, kept: list[Store], evidence: tuple[Evidence, ...], certain: bool, *, sends: bool
) -> FeedbackSite | None:
    drawn = [(store, _drawn(facts, store, sends, key[2])) for store in kept]
    with_draw = [(store, draw) for store, draw in drawn if draw is not None]
    if not with_draw:
        return None
    store, draw = next((pair for pair in with_draw if pair[1].kind != "uninitialised"), with_draw[0])
    storage = _storage(facts, kept)
    owner_nid, owner, kind = _owner(facts, key)
    function = facts.names.enclosing_function(store.node)
    lazy = False
    carried = False
    bases: tuple[str, ...] = ()
    if key[0] == "self":
        holder = _class(facts, key)
        carried = _is_carried(facts, holder, key[2])
        bases = unknown_bases(facts, holder)
        if kind == "module" and function is not None:
            initial = set(reached(facts, holder, "__init__"))
            entered = reached(facts, holder, "forward", "__call__", "training_step")
            method = _method_around(facts, store.node)
            lazy = method in entered and method not in initial
    return FeedbackSite(
        name=key[2].rpartition(".")[2],
        owner=owner,
        owner_kind=kind,
        owner_nid=owner_nid,
        bases=bases,
        storage=storage,
        drawn=draw.kind,
        seed=draw.seed,
        where=function.name if function is not None else "",
        lazy=lazy,
        carried=carried,
        restored=key in facts.derived(copied_into)
        or any(is_restored(facts, other) for other in kept if other is not store),
        certain=certain,
        store=store.node.nid,
        draw=draw.nid,
        evidence=evidence,
    )


def _drawn(facts: ModuleFacts, store: Store, sends: bool, name: str) -> Draw | None:
    if store.value is None:
        return None
    draw = draw_of(facts, store.value)
    if draw is not None and draw.kind != "random" and store.filled:
        return Draw("random", draw.nid, draw.seed)
    if draw is not None and draw.kind == "blank":
        return None
    named = is_feedback_name(name)
    listed = named and storage_of(facts, store.value) in ("list", "dict")
    module = _made_module(facts, store.value, any_layer=sends or listed)
    return draw or module or _drawn_elsewhere(facts, store.value, sends or named)


def _drawn_elsewhere(facts: ModuleFacts, node: ir.Expr, sends: bool) -> Draw | None:
    """``make_feedback(dims)`` of another file, where errors are sent through what it gives, or its name says so."""
    match node:
        case ir.Call(func=ir.Attr(value=inner, attr="to" | "cuda" | "float" | "double" | "t")):
            return _drawn_elsewhere(facts, inner, sends)
        case ir.Comprehension(elements=elements):
            return _drawn_elsewhere(facts, elements[-1], sends)
        case ir.Call(func=func) if sends and facts.names.function_called(node) is None:
            name = facts.qualified(func) or ""
            ours = name.partition(".")[0] not in ("torch", "numpy", "jax", "scipy")
            if ours and name and set(words(name.rpartition(".")[2])) & _DRAWS:
                return Draw("random", node.nid)
    return None


def _made_module(facts: ModuleFacts, node: ir.Expr, depth: int = 0, *, any_layer: bool = False) -> Draw | None:
    """``DFAFeedbackMatrix(…).to(device)``: a layer of a class that is named after feedback weights, or any layer."""
    match node:
        case (
            ir.Call(func=ir.Attr(value=inner, attr="to" | "cuda" | "double" | "float"))
            | ir.Call(func=ir.Name(id="list" | "tuple"), args=[ir.Arg(value=inner)])
        ):
            return _made_module(facts, inner, depth, any_layer=any_layer)
        case ir.Call(func=ir.Name(id=name) | ir.Attr(attr=name)) if name[:1].isupper():
            if speaks_of_feedback(name) and not name.endswith(("Hook", "Loss", "Config", "Trainer", "Optimizer")):
                return Draw("module", node.nid)
            if any_layer and is_layer(facts, node):
                return Draw("module", node.nid)
            if any_layer and name in ("ModuleList", "ModuleDict") and node.args:
                return _made_module(facts, node.args[0].value, depth, any_layer=True)
        case ir.Name() if depth < 4:
            for binding in facts.names.reaching(node):
                if binding.how == "value" and binding.value is not None:
                    found = _made_module(facts, binding.value, depth + 1, any_layer=any_layer)
                    if found is not None:
                        return found
        case ir.Comprehension(elements=elements):
            return _made_module(facts, elements[-1], depth, any_layer=any_layer)
        case ir.Sequence(items=[first, *_]):
            return _made_module(facts, first, depth, any_layer=any_layer)
    return None


def _storage(facts: ModuleFacts, kept: list[Store]) -> str:
    """Registered if any store registers: an attribute that is a buffer stays one when it is assigned again."""
    kinds = [store.storage or storage_of(facts, store.value) for store in kept]
    for kind in ("buffer", "parameter", "parameters", "modules", "module", "transient"):
        if kind in kinds:
            return kind
    known = [kind for kind in kinds if kind]
    for kind in ("list", "dict", "variable", "tensor"):
        if kind in known:
            return kind
    return "unknown"


def _owner(facts: ModuleFacts, key: Key) -> tuple[int, str, str]:
    where, number, name = key
    if where == "other":
        return 0, name.partition(".")[0], "foreign"
    if where == "self":
        owner = _class(facts, key)
        # A class that is mixed into a torch module is a part of it.
        modules = any(is_module(facts, here) for here in family(facts, owner))
        return number, owner.name, "module" if modules else "object"
    node = facts.node(number) if number else None
    return number, node.name if isinstance(node, ir.FunctionDef | ir.ClassDef) else "", "local"


def _method_around(facts: ModuleFacts, node: ir.Node) -> ir.FunctionDef | None:
    """The method a statement belongs to, out of any function nested in it."""
    for above in facts.names.ancestors(node):
        if isinstance(above, ir.FunctionDef) and owner_of(facts, above) is not None:
            return above
    return None


def _is_carried(facts: ModuleFacts, owner: ir.ClassDef, attribute: str) -> bool:
    """Return True where a method or a hook that writes the state of the object mentions the attribute."""
    for here in chain(facts, owner):
        writers: list[ir.Node] = [
            function.body
            for function in here.body.body
            if isinstance(function, ir.FunctionDef) and function.name in _STATE_METHODS
        ]
        for call in (node for node in ir.walk(here.body) if isinstance(node, ir.Call)):
            if isinstance(call.func, ir.Attr) and "state_dict" in call.func.attr and call.func.attr.endswith("hook"):
                writers += [_hook(facts, owner, arg.value) for arg in call.args]
        if any(isinstance(node, ir.Attr) and node.attr == attribute for part in writers for node in ir.walk(part)):
            return True
    return False


def _hook(facts: ModuleFacts, owner: ir.ClassDef, given: ir.Expr) -> ir.Node:
    """The function that is registered as a hook: a method, a function of the module, a lambda."""
    match given:
        case ir.Attr(value=ir.Name(), attr=name):
            return methods(facts, owner).get(name, given)
        case ir.Name(id=name):
            return next((function for function in facts.names.functions if function.name == name), given)
    return given
