"""Library cosines with a built-in floor: where they are called, on what, and whether something guards them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.analysis import terms as t
from fa_lint.analysis.frames import Frame
from fa_lint.analysis.program import Module
from fa_lint.analysis.values import Values, values_of
from fa_lint.findings import Applicability, Edit, Fix
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = [
    "CosineCall",
    "LibraryCosine",
    "clamped_by_call",
    "clamped_cosines",
    "eps_fix",
    "library_cosines",
    "operand_role",
    "runtime_fix",
    "safe_cosine_fix",
    "tiny",
]

_FUNCTIONAL = "torch.nn.functional.cosine_similarity"
_FUNCTIONAL_LOSS = "torch.nn.functional.cosine_embedding_loss"
_MODULE = "torch.nn.CosineSimilarity"
_MODULE_LOSS = "torch.nn.CosineEmbeddingLoss"
_SKLEARN = frozenset({"sklearn.metrics.pairwise.cosine_similarity", "sklearn.metrics.pairwise.cosine_distances"})
_NAMES = ("cosine_similarity", "CosineSimilarity", "cosine_embedding_loss", "CosineEmbeddingLoss")
# What each spelling does to small norms, in words for the messages.
FLOORS = {
    "similarity": "each norm is clamped at eps=1e-8: the result is cos·min(1, ‖a‖/1e-8)·min(1, ‖b‖/1e-8)",
    "loss": "1e-12 is added to each squared norm: 0.71 of the cosine is left at ‖g‖ = 1e-6, 0.10 at 1e-7",
    "sklearn": "rows with a norm below 1.2e-6 (float32) are not normalised at all",
}


@dataclass(frozen=True, slots=True)
class CosineCall:
    """A call of a floored library cosine. ``kind`` is similarity, loss or sklearn; ``maker`` builds the module."""

    call: ir.Call
    kind: str
    label: str
    left: ir.Expr
    right: ir.Expr
    maker: ir.Call | None


def clamped_cosines(facts: ModuleFacts) -> Iterator[CosineCall]:
    """Cosines of the module that run with the library's own floor, i.e. without an explicit eps."""
    for call in facts.calls:
        found = _direct(call, facts) or _through_module(call, facts)
        if found is not None:
            yield found


def clamped_by_call(facts: ModuleFacts) -> dict[int, CosineCall]:
    """Return the clamped cosines by the number of their call."""
    return facts.derived(_by_call)


def _by_call(facts: ModuleFacts) -> dict[int, CosineCall]:
    return {found.call.nid: found for found in clamped_cosines(facts)}


def _operands(call: ir.Call, names: tuple[str, str]) -> tuple[ir.Expr, ir.Expr] | None:
    if any(arg.star for arg in call.args):
        return None
    positional = [arg.value for arg in call.args if arg.keyword is None]
    keywords = {arg.keyword: arg.value for arg in call.args if arg.keyword}
    found = [*positional[:2]]
    for name in names[len(found) :]:
        if name in keywords:
            found.append(keywords[name])
    return (found[0], found[1]) if len(found) == 2 else None


def _keyword(call: ir.Call, name: str) -> ir.Arg | None:
    return next((arg for arg in call.args if arg.keyword == name), None)


def _direct(call: ir.Call, facts: ModuleFacts) -> CosineCall | None:
    name = facts.qualified(call.func)
    if name == _FUNCTIONAL:
        pair = _operands(call, ("x1", "x2"))
        explicit = _keyword(call, "eps") or len([a for a in call.args if a.keyword is None]) > 3
        if pair and not explicit:
            return CosineCall(call, "similarity", "F.cosine_similarity", *pair, None)
    elif name == _FUNCTIONAL_LOSS:
        pair = _operands(call, ("input1", "input2"))
        if pair:
            return CosineCall(call, "loss", "F.cosine_embedding_loss", *pair, None)
    elif name in _SKLEARN:
        pair = _operands(call, ("X", "Y"))
        if pair:
            return CosineCall(call, "sklearn", "sklearn's cosine_similarity", *pair, None)
    return None


def _maker(func: ir.Expr, facts: ModuleFacts) -> ir.Call | None:
    """The one ``nn.CosineSimilarity(...)`` that a callee is."""
    match func:
        case ir.Call():
            return func if facts.qualified(func.func) in (_MODULE, _MODULE_LOSS) else None
        case ir.Name():
            bindings = facts.names.reaching(func)
        case ir.Attr():
            bindings = facts.names.self_attribute(func)
        case _:
            return None
    values = [b.value for b in bindings if b.how == "value"]
    if len(values) != 1 or len(bindings) != 1 or not isinstance(values[0], ir.Call):
        return None
    return _maker(values[0], facts)


def _through_module(call: ir.Call, facts: ModuleFacts) -> CosineCall | None:
    maker = _maker(call.func, facts)
    if maker is None or any(arg.star for arg in maker.args):
        return None
    kind = "similarity" if facts.qualified(maker.func) == _MODULE else "loss"
    if kind == "similarity" and (_keyword(maker, "eps") or (len(maker.args) > 1 and maker.args[1].keyword is None)):
        return None
    pair = _operands(call, ("x1", "x2"))
    label = "nn.CosineSimilarity" if kind == "similarity" else "nn.CosineEmbeddingLoss"
    return CosineCall(call, kind, label, *pair, maker) if pair else None


def operand_role(cosine: CosineCall, facts: ModuleFacts) -> t.Vector:
    """What the operands say together: a gradient on either side, else a value of order one, else nothing."""
    roles = [values_of(facts).vector(side) for side in (cosine.left, cosine.right)]
    gradients = sorted((r for r in roles if r.role.is_gradient), key=lambda r: not r.computed)
    if gradients:
        return gradients[0]
    return next((r for r in roles if r.role.is_order_one), roles[0])


@dataclass(slots=True)
class LibraryCosine:
    """A call of a library's cosine with an eps, and what enters it in every function that calls it.

    ``pairs`` are the frames with the floor as it is there.
    """

    module: Module
    call: ir.Call
    label: str
    pairs: list[tuple[Frame, t.Floor]]

    @property
    def of_order_one(self) -> bool:
        """Return True where one of the vectors is known not to be tiny."""
        return any(vector.role.is_order_one for _, floor in self.pairs for vector in floor.on)

    def gradients(self) -> list[tuple[Frame, t.Vector, t.Floor]]:
        """Return the gradients that meet the floor, the surest first.

        Where calls show what enters, the names of parameters count for nothing.
        """
        found = [
            (frame, vector, floor) for frame, floor in self.pairs for vector in floor.on if vector.role.is_gradient
        ]
        if any(frame.calls and vector.computed for frame, vector, _ in found):
            found = [way for way in found if way[1].computed]
        elif any(frame.calls for frame, _, _ in found):
            found = [way for way in found if way[0].calls or way[1].computed]
        return sorted(found, key=lambda way: (not way[1].computed, way[1].name == t.WHOLE))


def library_cosines(values: Values) -> Iterator[LibraryCosine]:
    """The library cosines with a floor, in source order."""
    found: dict[tuple[int, int], LibraryCosine] = {}
    for made in values.made():
        if not isinstance(made.term, t.Monomial) or not isinstance(made.node, ir.Call):
            continue
        for floor in made.term.floors_below:
            if floor.kind == "library" and floor.site == t.Site(made.module.number, made.node.nid):
                key = (floor.site.module, floor.site.node)
                new = LibraryCosine(made.module, made.node, made.term.label, [])
                found.setdefault(key, new).pairs.append((made.frame, floor))
    yield from (found[key] for key in sorted(found))


# -- fixes --------------------------------------------------------------------------------------------------------


def runtime_fix(facts: ModuleFacts, function: str, edits: tuple[Edit, ...], message: str) -> Fix | None:
    """A fix that calls ``fa_lint_runtime.<function>``; None where the module gives that name another meaning.

    Unsafe: the code needs one more package, and a zero vector gives NaN.
    """
    for scope in facts.names.scopes.values():
        for binding in scope.bindings.get(function, ()):
            if binding.target != f"fa_lint_runtime.{function}":
                return None
    return Fix(Applicability.UNSAFE, message, edits, (function,))


def tiny(facts: ModuleFacts) -> str:
    """The smallest floor that every dtype but fp16 holds, in the words of the module."""
    for name, bindings in facts.names.module_scope.bindings.items():
        if any(b.how == "import" and b.target == "torch" for b in bindings):
            return f"{name}.finfo({name}.float32).tiny"
    return "1.2e-38"


def eps_fix(cosine: CosineCall, facts: ModuleFacts, certain: bool) -> Fix | None:
    """``F.cosine_similarity(a, b)`` → the same with the smallest eps: equal wherever its floor was idle."""
    if cosine.kind != "similarity":
        return None
    call = cosine.maker or cosine.call
    eps = f"eps={tiny(facts)}"
    if call.args:
        end = facts.span(call.args[-1])[1]
        edit = Edit(end, end, f", {eps}")
    else:
        end = facts.span(call)[1] - 1
        edit = Edit(end, end, eps)
    message = "Set eps to the smallest normal float32, below the norm of any gradient; a zero vector still gives 0"
    return Fix(Applicability.SAFE if certain else Applicability.UNSAFE, message, (edit,))


def safe_cosine_fix(cosine: CosineCall, facts: ModuleFacts) -> Fix | None:
    """``F.cosine_similarity(a, b)`` → ``safe_cosine(a, b, dim=1)``: its default dimension is spelled out."""
    if cosine.kind != "similarity":
        return None
    call, last = cosine.call, cosine.call.args[-1]
    edits = [Edit(*facts.span(call.func), "safe_cosine")]
    renamed = {"x1": "a", "x2": "b"}
    for arg in call.args:
        if arg.keyword in renamed:
            start = facts.span(arg)[0]
            edits.append(Edit(start, start + 2, renamed[arg.keyword]))
    dim = "1"
    if cosine.maker is not None:
        given = next((a for a in cosine.maker.args if a.keyword in (None, "dim")), None)
        if given is not None:
            if facts.values.number(given.value) is None:
                return None
            dim = f"{facts.values.number(given.value):g}"
    if cosine.maker is not None or not (_keyword(call, "dim") or len([a for a in call.args if not a.keyword]) > 2):
        end = facts.span(last)[1]
        edits.append(Edit(end, end, f", dim={dim}"))
    return runtime_fix(
        facts,
        "safe_cosine",
        tuple(edits),
        "Call fa_lint_runtime.safe_cosine: no eps, NaN where a vector is zero",
    )
