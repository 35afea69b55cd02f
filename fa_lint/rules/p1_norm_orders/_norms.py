"""Norm calls: which library, and what stands in the order and dimension slots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.findings import Applicability, Edit, Fix
from fa_lint.rules.base import occurs
from fa_lint.rules.p1_norm_orders._broadcast import Followed, Meeting, Taken, followed, meeting
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.uses import Uses

__all__ = [
    "NORM_GATE",
    "NORM_NAMES",
    "NORM_PATTERNS",
    "NormCall",
    "dim_fix",
    "norm_calls",
    "pairwise_fix",
    "powers_of",
]

# Starts with a literal, so that it runs at memory speed: ``norm`` and ``normalize`` as words, and ``vector_norm``.
NORM_PATTERNS = (rb"norm(?:(?<!\wnorm)|(?<=vector_norm))(?:alize)?\b", rb"pairwise_distance")
NORM_GATE = (occurs(b"norm", b"pairwise_distance", patterns=NORM_PATTERNS),)
_POWERS = frozenset(
    "torch.pow torch.float_power numpy.power numpy.float_power jax.numpy.power jax.numpy.float_power math.pow".split()
)
NORM_NAMES = ("norm", "vector_norm", "normalize", "pairwise_distance")


@dataclass(frozen=True, slots=True)
class _Signature:
    family: str
    order: int
    dim: int | None
    order_keyword: str
    dim_keyword: str


_LINALG = "linalg"
_SIGNATURES = {
    "torch.norm": _Signature("torch", 1, 2, "p", "dim"),
    "torch.Tensor.norm": _Signature("torch", 1, 2, "p", "dim"),
    "torch.linalg.norm": _Signature(_LINALG, 1, 2, "ord", "dim"),
    "torch.linalg.vector_norm": _Signature("torch", 1, 2, "ord", "dim"),
    "numpy.linalg.norm": _Signature(_LINALG, 1, 2, "ord", "axis"),
    "scipy.linalg.norm": _Signature(_LINALG, 1, 2, "ord", "axis"),
    "jax.numpy.linalg.norm": _Signature(_LINALG, 1, 2, "ord", "axis"),
    "torch.nn.functional.normalize": _Signature("normalize", 1, 2, "p", "dim"),
    "torch.nn.functional.pairwise_distance": _Signature("pairwise", 2, None, "p", ""),
}
_METHOD = _Signature("torch", 0, 1, "p", "dim")


@dataclass(frozen=True, slots=True)
class NormCall:
    """A call that is a norm of an array, by evidence.

    ``order`` is the positional argument in the order slot; ``family`` is torch (L_p of all entries), linalg (a
    matrix norm in 2-D), normalize or pairwise; ``has_dim`` says that a dimension is given, ``dim_is_none`` that
    it is None.
    """

    call: ir.Call
    family: str
    label: str
    order: ir.Arg | None
    order_keyword: ir.Arg | None
    has_dim: bool
    dim_keyword: str
    keepdim: bool
    trailing: bool
    dim_is_none: bool = False

    @property
    def receiver(self) -> ir.Expr | None:
        """The tensor whose norm is taken."""
        if self.label == ".norm" and isinstance(self.call.func, ir.Attr):
            return self.call.func.value
        return self.call.args[0].value if self.call.args else None


def _read(call: ir.Call, signature: _Signature, label: str, facts: ModuleFacts) -> NormCall | None:
    if any(arg.star for arg in call.args):
        return None
    positional = [arg for arg in call.args if arg.keyword is None]
    keywords = {arg.keyword: arg for arg in call.args if arg.keyword is not None}
    order = positional[signature.order] if len(positional) > signature.order else None
    dim = next((keywords[k] for k in ("dim", "axis") if k in keywords), None)
    keepdim = next((keywords[k] for k in ("keepdim", "keepdims") if k in keywords), None)
    if signature.dim is not None:
        dim = dim or next(iter(positional[signature.dim :]), None)
        keepdim = keepdim or next(iter(positional[signature.dim + 1 :]), None)
    return NormCall(
        call=call,
        family=signature.family,
        label=label,
        order=order,
        order_keyword=keywords.get(signature.order_keyword),
        has_dim=dim is not None,
        dim_keyword=signature.dim_keyword,
        keepdim=keepdim is not None and facts.values.constant(keepdim.value) is True,
        trailing=len(positional) > signature.order + 1,
        dim_is_none=dim is not None and isinstance(dim.value, ir.Const) and dim.value.value is None,
    )


def _is_array_method(call: ir.Call, facts: ModuleFacts) -> bool:
    func = call.func
    if not (isinstance(func, ir.Attr) and func.attr == "norm") or facts.qualified(func) is not None:
        return False
    if isinstance(func.value, ir.Name) and func.value.id in ("self", "cls"):
        return False
    if isinstance(facts.names.parent(call), ir.Await):
        return False
    kind = facts.kinds.kind(func.value)
    if kind != "unknown":
        return kind == "array" and facts.kinds.uses_arrays
    return facts.kinds.uses_tensors and not facts.kinds.defines_norm


def norm_calls(facts: ModuleFacts) -> list[NormCall]:
    """The norm calls of a module whose operand is an array, as far as the code shows."""
    return facts.derived(_norm_calls)


def _norm_calls(facts: ModuleFacts) -> list[NormCall]:
    return list(_read_all(facts))


def _read_all(facts: ModuleFacts) -> Iterator[NormCall]:
    for call in facts.calls:
        name = facts.qualified(call.func)
        if name is not None:
            signature = _SIGNATURES.get(name)
            label = name.replace("torch.nn.functional.", "F.").replace("jax.numpy", "jnp").replace("numpy.", "np.")
        else:
            signature = _METHOD if _is_array_method(call, facts) else None
            label = ".norm"
        if signature is not None:
            found = _read(call, signature, label, facts)
            if found is not None:
                yield found


def powers_of(node: ir.Expr, facts: ModuleFacts) -> Iterator[float | None]:
    """The exponents that a value is raised to, at once or through the name it is bound to; None for an unknown one."""
    match facts.names.parent(node):
        case ir.Binary(op="**", left=left, right=right) if left is node:
            yield facts.values.number(right)
        case ir.Attr(attr="pow" | "pow_" | "float_power" | "float_power_") as method:
            match facts.names.parent(method):
                case ir.Call(func=func, args=[ir.Arg(value=exponent)]) if func is method:
                    yield facts.values.number(exponent)
        case ir.Arg() as arg:
            match facts.names.parent(arg):
                case ir.Call(func=func, args=[first, second]) if first is arg and _is_power(func, facts):
                    yield facts.values.number(second.value)
        case ir.Assign(targets=[ir.Name(id=identifier)]) as statement:
            for use in facts.derived(Uses).of(identifier):
                if use.nid > node.nid and any(binding.node is statement for binding in facts.names.reaching(use)):
                    yield from powers_of(use, facts)


def _is_power(func: ir.Expr, facts: ModuleFacts) -> bool:
    if isinstance(func, ir.Name) and not facts.names.bindings(func):
        return func.id == "pow"
    return (facts.qualified(func) or "") in _POWERS


def dim_fix(norm: NormCall, facts: ModuleFacts) -> tuple[str, Fix | None]:
    """The arguments that were meant, in words, and the fix that writes them; without one the words say why."""
    order = norm.order
    if order is None or norm.has_dim:
        return "", None
    start, end = facts.span(order)
    keep = "keepdims" if norm.dim_keyword == "axis" else "keepdim"
    written = next((arg for arg in norm.call.args if arg.keyword == keep), None)
    meant = f"{norm.dim_keyword}={facts.text[start:end]}"
    found = Meeting() if norm.family == "normalize" else facts.derived(_Meetings).of(norm)  # normalize keeps the shape
    if found.withheld:
        also = "" if norm.keepdim else f" (and `{keep}=True` where it meets the value it is taken of)"
        return f"`{meant}`{also}; no fix: {found.withheld}", None
    if found.keepdim and not norm.keepdim:
        meant += f", {keep}=True"
        if written is not None:
            return f"`{meant}`; no fix: `{facts.source(written)}` contradicts it", None
    return f"`{meant}`", Fix(Applicability.UNSAFE, f"Name it: `{meant}`", (Edit(start, end, meant),))


class _Meetings:
    """What the norms of one module meet, by groups of those that meet each other."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._facts = facts
        self._norms = {norm.call.nid: norm for norm in norm_calls(facts)}
        self._followed: dict[int, Followed] = {}

    def of(self, norm: NormCall) -> Meeting:
        group: dict[int, Followed] = {}
        waiting = [norm]
        found = Meeting()
        while waiting and not found.withheld:
            one = waiting.pop()
            if one.call.nid not in group:
                group[one.call.nid] = met = self._follow(one)
                waiting += [self._norms[call.nid] for call in met.met if call.nid in self._norms]
                found = meeting([met])
        return found if found.withheld else meeting(group.values())

    def _follow(self, norm: NormCall) -> Followed:
        nid = norm.call.nid
        if nid not in self._followed and norm.order is not None:
            taken = Taken(norm.call, norm.receiver, norm.order.value, norm.keepdim)
            self._followed[nid] = followed(taken, self._facts)
        return self._followed.get(nid, Followed())


def pairwise_fix(norm: NormCall, facts: ModuleFacts) -> Fix | None:
    """Drop the order of ``F.pairwise_distance``, which already works along the last dimension."""
    if norm.order is None or norm.trailing:
        return None
    edit = Edit(facts.span(norm.call.args[1])[1], facts.span(norm.order)[1], "")
    message = "Drop the order: pairwise_distance already works along the last dimension"
    return Fix(Applicability.UNSAFE, message, (edit,))
