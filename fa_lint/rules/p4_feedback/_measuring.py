"""Code that measures an alignment: what it compares, whether it loads the model, and whether it also trains."""

from __future__ import annotations

from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import FeedbackSite
from fa_lint.semantics.words import words

__all__ = ["Measurement", "measurement"]

_MEASURES = frozenset("cosine cos cossim angle angles alignment align gamma similarity".split())
_LOADS = frozenset({"load_state_dict", "load_checkpoint", "load_from_checkpoint", "from_pretrained", "load_model"})
_MODELS = frozenset("model net network module".split())
_WEIGHTS = _MODELS | frozenset("params parameters weights weight trained ckpt checkpoint w ws".split())
_PRODUCTS = frozenset("dot vdot inner einsum mul matmul mm sum".split())
_MANY = frozenset("draws trials seeds runs repeats repetitions samples resamples nulls draw null".split())
# Names of draws that are meant to be fresh.
_FRESH = frozenset("null fresh baseline control chance surrogate shuffled permuted other new resampled".split())


@dataclass(frozen=True, slots=True)
class Measurement:
    measure: ir.Expr
    load: ir.Call | None


def measurement(facts: ModuleFacts, site: FeedbackSite) -> Measurement | None:
    """The comparison that a draw enters in a function, class or script that does not train; None otherwise."""
    scope = facts.node(site.owner_nid) if site.owner_nid else facts.module
    store = facts.node(site.store)
    name = scope.name if isinstance(scope, ir.FunctionDef) else ""
    if set(words(name)) & _FRESH or set(words(site.name)) & _FRESH or _is_one_of_many(facts, store):
        return None
    calls = [node for node in ir.walk(scope) if isinstance(node, ir.Call)]
    if _trains(scope, calls):
        return None
    tainted = _reached_names(scope, site)
    measure = next((node for node in ir.walk(scope) if _measures(facts, node, tainted)), None)
    if not isinstance(measure, ir.Expr):
        return None
    load = next((call for call in calls if _loads(facts, call)), None)
    if load is None:
        given = scope.params if isinstance(scope, ir.FunctionDef) else []
        measuring = set(words(name)) & (_MEASURES | {"measure", "evaluate", "eval"})
        if not measuring or not any(set(words(p.name)) & _MODELS for p in given):
            return None
    return Measurement(measure, load)


def _loads(facts: ModuleFacts, call: ir.Call) -> bool:
    """``net.load_state_dict(…)``, ``model = torch.load(…)``, ``restore(model, path)``."""
    last = ir.last_name(call.func)
    if last in _LOADS:
        return True
    if not set(words(last)) & {"load", "restore"}:
        return False
    statement = facts.names.statement(call)
    targets = statement.targets if isinstance(statement, ir.Assign) else []
    said = {w for part in (*targets, *call.args, call.func) for n in ir.walk(part) for w in words(_said(n))}
    names = {target.id for target in targets if isinstance(target, ir.Name)}
    for node in facts.nodes_of(ir.Subscript) if names else ():
        match node:
            case ir.Subscript(value=ir.Name(id=holder), index=[ir.Const(value=str() as key)]) if holder in names:
                said |= set(words(key))
    return not said.isdisjoint(_WEIGHTS)


def _measures(facts: ModuleFacts, node: ir.Node, tainted: set[str]) -> bool:
    match node:
        case ir.Call():
            return _is_measure(facts, node) and _reads(node, tainted)
        case ir.Binary(op="/", left=left, right=right):
            # A product over norms, written out.
            if not (_reads(left, tainted) and _reads(right, tainted)):
                return False
            return _multiplies(_resolved(facts, left)) and _has_norm(_resolved(facts, right))
        case ir.Binary(op="*" | "@", left=left, right=right):
            # A product of unit vectors.
            return _is_unit(left) and _is_unit(right) and _reads(node, tainted)
    return False


def _resolved(facts: ModuleFacts, node: ir.Expr) -> ir.Expr:
    """The value of a name that is bound once: ``num / den``."""
    bindings = facts.names.reaching(node) if isinstance(node, ir.Name) else []
    values = [b.value for b in bindings if b.how == "value" and b.value is not None]
    return values[0] if len(values) == 1 else node


def _said(node: ir.Node) -> str:
    return node.value if isinstance(node, ir.Const) and isinstance(node.value, str) else ir.last_name(node)


def _multiplies(node: ir.Node) -> bool:
    return any(
        (isinstance(part, ir.Binary) and part.op in ("*", "@"))
        or (isinstance(part, ir.Call) and ir.last_name(part.func) in _PRODUCTS)
        for part in ir.walk(node)
    )


def _has_norm(node: ir.Node) -> bool:
    return any(
        (isinstance(part, ir.Call) and (set(words(ir.last_name(part.func))) & {"norm", "sqrt"}))
        or (isinstance(part, ir.Name) and set(words(part.id)) & {"norm", "norms"})
        or (isinstance(part, ir.Binary) and part.op == "**")
        for part in ir.walk(node)
    )


def _is_unit(node: ir.Expr) -> bool:
    match node:
        case ir.Call(func=func):
            return ir.last_name(func) == "normalize"
        case ir.Binary(op="/", right=right):
            return _has_norm(right)
    return False


def _is_measure(facts: ModuleFacts, call: ir.Call) -> bool:
    last = ir.last_name(call.func)
    if last == "cos":
        # ``cos = nn.CosineSimilarity()``; the function of an angle takes one.
        return len(call.args) > 1 and facts.qualified(call.func) is None
    return bool(set(words(last)) & _MEASURES) and last not in ("gamma", "align_to")


def _reached_names(scope: ir.Node, site: FeedbackSite) -> set[str]:
    """The feedback and the local names computed from it, in source order."""
    names = {site.name}
    for node in ir.walk(scope):
        match node:
            case ir.Assign(targets=targets, value=value) if _reads(value, names):
                names |= {ir.last_name(n) for t in targets for n in ir.walk(t)} - {"", "self"}
            case ir.For(target=target, iter=value) | ir.Clause(target=target, iter=value):
                if _reads(value, names):
                    names |= {n.id for n in ir.walk(target) if isinstance(n, ir.Name)}
            case ir.Call(func=ir.Attr(value=ir.Name(id=kept), attr="append" | "extend"), args=args):
                if any(_reads(a.value, names) for a in args):
                    names.add(kept)
    return names


def _reads(node: ir.Node, names: set[str]) -> bool:
    return any(ir.last_name(part) in names for part in ir.walk(node))


def _is_one_of_many(facts: ModuleFacts, store: ir.Node) -> bool:
    """Drawn again and again: in a loop over trials or seeds, not over layers."""
    for above in facts.names.ancestors(store):
        if isinstance(above, ir.Comprehension) and _counts_draws(above.clause.iter):
            return True
        iterated = above.iter if isinstance(above, ir.For) else None
        if isinstance(iterated, ir.Call) and ir.last_name(iterated.func) == "range":
            inside = {w for part in ir.walk(iterated) for w in words(ir.last_name(part))}
            if not inside & {"len", "layers", "layer", "sizes", "depth", "hidden"}:
                return True
        if iterated is not None and {w for part in ir.walk(iterated) for w in words(ir.last_name(part))} & {
            "seeds",
            "seed",
        }:
            return True
        if isinstance(above, ir.FunctionDef):
            return False
    return False


def _counts_draws(iterated: ir.Expr) -> bool:
    """``range(draws)``, ``range(args.n_trials)``."""
    return bool({w for part in ir.walk(iterated) for w in words(ir.last_name(part))} & _MANY)


def _trains(scope: ir.Node, calls: list[ir.Call]) -> bool:
    for call in calls:
        if ir.last_name(call.func) in ("step", "backward_step", "train_step", "sub_", "addcmul_"):
            return True
        if set(words(ir.last_name(call.func))) & {"fit", "training", "update"}:
            return True
        if "train" in words(ir.last_name(call.func)) and not (
            isinstance(call.func, ir.Attr) and ir.last_name(call.func) == "train"
        ):
            return True
    return any(isinstance(node, ir.AugAssign) and node.op == "-" for node in ir.walk(scope))
