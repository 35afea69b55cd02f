"""fp16 where no cast of a gradient is written: changes of parameters, comparisons below 6e-8, models cast to fp16."""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis import terms as t
from fa_lint.analysis.evaluator import DERIVED
from fa_lint.analysis.passes import Passes
from fa_lint.analysis.values import Values
from fa_lint.rules.p3_half_precision._halves import half_operand, is_half
from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.degrees import operands, short_name
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.gradients import GradientSite, gradient_sites, keyword, read_after
from fa_lint.semantics.slices import function_of, slice_of
from fa_lint.semantics.uses import Uses
from fa_lint.semantics.words import words

__all__ = [
    "changes_parameters",
    "half_models",
    "is_updated_parameter",
    "measures_rounding",
    "names_change",
    "tiny_comparisons",
]

# The least number that fp16 holds.
_LEAST = 2.0**-24
_SAME = frozenset(
    "detach clone flatten reshape view ravel cpu cuda contiguous float double to squeeze data copy numpy".split()
)
_PARAMETERS = frozenset({"parameters", "named_parameters", "state_dict"})
_SAME_MODEL = frozenset("to cuda cpu eval train requires_grad_ half share_memory".split())
_WIDE = frozenset({"float", "double", "bfloat16"})
_WIDE_TYPES = frozenset(f"torch.{name}" for name in (*_WIDE, "float32", "float64"))
_COMPARING = frozenset("lt le gt ge less less_equal greater greater_equal".split())
_NO_COPY = frozenset("mean mu center centre zero noise lr step shift offset".split())
_DEPTH = 6
# What the names of two dicts of parameters say beside ``before`` and ``after``.
_STATES = frozenset("param params parameters weight weights state states dict sd model theta w p".split())


def _bare(node: ir.Expr) -> ir.Expr:
    """Return a value without the methods that keep its numbers."""
    while True:
        match node:
            case ir.Call(func=ir.Attr(attr=attr, value=value)) | ir.Attr(attr=attr, value=value) if attr in _SAME:
                node = value
            case _:
                return node


def changes_parameters(vector: t.Vector, values: Values) -> bool:
    """Return True for the difference of a parameter and a copy of it."""
    if vector.sides is None or vector.name != t.DIFFERENCE:
        return False
    ways = vector.sides, vector.sides[::-1]
    return any(one.role is t.Role.PARAMETER and one.computed and _may_be_copy(other, values) for one, other in ways)


def names_change(operand: ir.Expr, facts: ModuleFacts) -> bool:
    """Return True for ``after[k] - before[k]`` of each name ``k`` of one of two dicts that are called so."""
    match _bare(operand):
        case ir.Binary(op="-", left=left, right=right):
            sides = [_entry_of_each(_bare(side), facts) for side in (left, right)]
        case _:
            return False
    said = [set(words(short_name(side))) - _STATES if side is not None else set() for side in sides]
    return sorted(map(sorted, said)) == [["after"], ["before"]]


def _entry_of_each(node: ir.Expr, facts: ModuleFacts) -> ir.Expr | None:
    """Return the dict whose entry a node is under a name that a loop takes from a dict."""
    key = node.index[0] if isinstance(node, ir.Subscript) else node
    bound = facts.names.reaching(key) if isinstance(key, ir.Name) else []
    if len(bound) != 1 or bound[0].how != "iterate" or bound[0].value is None:
        return None
    over = bound[0].value
    items = isinstance(over, ir.Call) and short_name(over.func) == "items"
    named = over.func.value if isinstance(over, ir.Call) and isinstance(over.func, ir.Attr) else over
    if not set(words(short_name(named))) & {"before", "after"}:
        return None
    if isinstance(node, ir.Subscript):
        return node.value if bound[0].index == (0 if items else None) else None
    return named if items and bound[0].index == 1 else None


def is_updated_parameter(vector: t.Vector) -> bool:
    """Return True for ``p - lr * p.grad``, which is as large as the parameter."""
    return any(side.role is t.Role.PARAMETER and side.computed for side in vector.sides or ())


def _may_be_copy(vector: t.Vector, values: Values) -> bool:
    """Return True for what is stored under a name: no call or operation of this function makes it."""
    said, ident = set(words(vector.name)), vector.ident
    if vector.role.is_gradient or not ident:
        return False
    while True:
        match values.evaluator.identities.key(ident):
            case ("attribute", int() as base, str() as attr, *_):
                ident = base
                said |= set(words(attr))
            case (str() as kind, int() as base, *_) if kind in DERIVED:
                ident = base
            case ("node", int() as frame, int() as nid, *_):
                node = values.evaluator.frames[frame].module.facts.node(nid)
                return isinstance(node, ir.Name | ir.Attr | ir.Subscript) and not said & _NO_COPY
            case _:
                return not said & _NO_COPY


def tiny_comparisons(calls: Calls) -> Iterator[tuple[ir.Expr, ir.Call]]:
    """Yield comparisons of an fp16 value with a number that fp16 cannot hold, and the call that makes the value."""
    facts = calls.facts
    for node in facts.nodes_of(ir.Compare, ir.Call):
        sides: list[ir.Expr] = []
        if isinstance(node, ir.Compare) and len(node.comparators) == 1:
            sides = [node.left, node.comparators[0]]
        elif isinstance(node, ir.Call) and short_name(node.func) in _COMPARING:
            sides = operands(node, calls)[:2]
        if len(sides) != 2 or not isinstance(node, ir.Expr):
            continue
        for value, limit in (sides, sides[::-1]):
            number = facts.values.number(limit)
            made = _half_value(value, calls) if number is not None and 0 < abs(number) < _LEAST else None
            if made is not None:
                yield node, made


def _half_value(node: ir.Expr, calls: Calls, depth: int = 0) -> ir.Call | None:
    if isinstance(node, ir.Call) and short_name(node.func) in ("abs", "max", "min", "amax", "amin"):
        parts = operands(node, calls)
        return _half_value(parts[0], calls, depth + 1) if parts and depth < _DEPTH else None
    if isinstance(node, ir.Call) and half_operand(node, calls) is not None:
        return node
    found: ir.Call | None = None
    for leaf in calls.sources(node):
        inner = leaf
        while isinstance(inner, ir.Call) and half_operand(inner, calls) is None and _bare(inner) is not inner:
            inner = inner.func.value if isinstance(inner.func, ir.Attr) else inner
        if isinstance(inner, ir.Call) and inner is not node and depth < _DEPTH:
            inner = _half_value(inner, calls, depth + 1)
        if not isinstance(inner, ir.Call) or half_operand(inner, calls) is None:
            return None
        found = inner
    return found


def half_models(facts: ModuleFacts) -> Iterator[tuple[ir.Call, GradientSite]]:
    """Yield the casts of models to fp16 whose unscaled gradients are looked at, and where those are computed."""
    passes, calls = facts.derived(Passes), facts.derived(Calls)
    casts = _casts_in_place(calls)
    for site in gradient_sites(facts, calls):
        read = site.call if site.how != "backward" else read_after(site, facts, calls)
        if read is None:
            continue
        for node in passes.of(site):
            cast = _half_model(node, calls, casts) if isinstance(node, ir.Call) else None
            if cast is not None and isinstance(node, ir.Call) and not _is_for_others(site, read, node, facts):
                yield cast, site


def _half_model(call: ir.Call, calls: Calls, casts: list[tuple[ir.Call, bool]]) -> ir.Call | None:
    func = call.func
    candidates = [func, func.value] if isinstance(func, ir.Attr) else [func]
    for candidate in candidates:
        if not isinstance(candidate, ir.Name | ir.Attr) or calls.facts.qualified(candidate) is not None:
            continue
        found = [_cast_of(leaf, calls) for leaf in calls.sources(candidate)]
        if found and all(f is not None for f in found):
            return found[0]
        in_place = _cast_in_place(candidate, call, calls.facts, casts)
        if in_place is not None:
            return in_place
    return None


def _cast_of(made: ir.Expr | None, calls: Calls, depth: int = 0) -> ir.Call | None:
    """Return the cast to fp16 that a model went through last."""
    if not isinstance(made, ir.Call) or depth > _DEPTH:
        return None
    if half_operand(made, calls) is not None:
        return made
    if any(arg.keyword == "torch_dtype" and is_half(arg.value, calls) for arg in made.args):
        return made
    if isinstance(made.func, ir.Attr) and made.func.attr in _SAME_MODEL:
        if any(arg.value for arg in made.args if _names_dtype(arg.value, calls)):
            return None
        found = [_cast_of(leaf, calls, depth + 1) for leaf in calls.sources(made.func.value)]
        return found[0] if found and all(f is not None for f in found) else None
    return None


def _names_dtype(node: ir.Expr, calls: Calls) -> bool:
    name = calls.facts.qualified(node) or ""
    return name.startswith("torch.") and name.rpartition(".")[2] in (
        "float",
        "float32",
        "bfloat16",
        "double",
        "float64",
    )


def _casts_in_place(calls: Calls) -> list[tuple[ir.Call, bool]]:
    """``model.half()`` and ``model.float()`` as statements, which cast the model itself; True for fp16."""
    found: list[tuple[ir.Call, bool]] = []
    for call in calls.facts.calls:
        if isinstance(call.func, ir.Attr) and isinstance(calls.facts.names.parent(call), ir.ExprStmt):
            if half_operand(call, calls) is not None:
                found.append((call, True))
            elif call.func.attr in _WIDE or any(_names_dtype(arg.value, calls) for arg in call.args):
                found.append((call, False))
    return found


def _cast_in_place(
    model: ir.Expr, use: ir.Call, facts: ModuleFacts, casts: list[tuple[ir.Call, bool]]
) -> ir.Call | None:
    """Return the cast to fp16 that a model went through last before it is used."""
    found: ir.Call | None = None
    home, owner = function_of(use, facts), facts.names.enclosing_class(use)
    for call, half in casts:
        if not isinstance(call.func, ir.Attr) or not ir.same(call.func.value, model):
            continue
        here = function_of(call, facts)
        beside = here is home and call.nid < use.nid
        built = isinstance(model, ir.Attr) and owner is not None and here is facts.names.method(owner, "__init__")
        if beside or built:
            found = call if half else None
    return found


def _gives_parameters(node: ir.Node) -> bool:
    return isinstance(node, ir.Call) and isinstance(node.func, ir.Attr) and node.func.attr in _PARAMETERS


def _is_for_others(site: GradientSite, read: ir.Node, use: ir.Call, facts: ModuleFacts) -> bool:
    """Return True if the gradients are those of the parameters of another model only."""
    of = keyword(site.call, "inputs", 1) if site.how == "grad" else read
    if not isinstance(of, ir.Expr):
        return False
    owners = [c.func.value for c in slice_of(of, facts).calls if _gives_parameters(c) and isinstance(c.func, ir.Attr)]
    return bool(owners) and not any(ir.same(owner, use.func) for owner in owners)


def measures_rounding(cast: ir.Call, operand: ir.Expr, facts: ModuleFacts, depth: int = 0) -> bool:
    """Return True if the rounded value is compared with the value before the cast: the rounding is what is asked."""
    base = _bare(operand)
    inside = {node.nid for node in ir.walk(cast)}
    waiting: list[tuple[ir.Expr, int]] = [(cast, 0)]
    seen = {cast.nid}
    while waiting:
        use, steps = waiting.pop()
        below: ir.Node = use
        for above in facts.names.ancestors(use):
            if isinstance(above, ir.Expr) and _compares(above, below, use, facts):
                others = [part for part in _sides(above) if part.nid != below.nid]
                if any(
                    n.nid not in inside and isinstance(n, ir.Expr) and ir.same(n, base)
                    for other in others
                    for n in slice_of(other, facts).nodes
                ):
                    return True
            if isinstance(above, ir.Assign) and isinstance(above.targets[0], ir.Name) and steps < 3:
                for node in facts.derived(Uses).after(above, above.targets[0].id):
                    if node.nid not in seen:
                        seen.add(node.nid)
                        waiting.append((node, steps + 1))
            if isinstance(above, ir.Stmt):
                break
            below = above
    return False


def _compares(node: ir.Expr, below: ir.Node, use: ir.Expr, facts: ModuleFacts) -> bool:
    match node:
        case ir.Compare() | ir.Bool() | ir.Binary(op="-" | "&" | "|"):
            return True
        case ir.Binary(op="/"):
            return isinstance(below, ir.Call) and below is not use
        case ir.Call(args=args):
            return len(args) > 1 and (facts.qualified(node.func) or "").startswith(("torch.", "numpy."))
    return False


def _sides(node: ir.Expr) -> list[ir.Expr]:
    match node:
        case ir.Compare(left=left, comparators=comparators):
            return [left, *comparators]
        case ir.Bool(left=left, right=right) | ir.Binary(left=left, right=right):
            return [left, right]
        case ir.Call(args=args):
            return [arg.value for arg in args]
    return []
