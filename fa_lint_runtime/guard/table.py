"""What the guard can see: event, lint code, and what to do about it. One row an event, used by messages and docs."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["CODES", "EVENTS", "EventKind", "selected"]


@dataclass(frozen=True, slots=True)
class EventKind:
    """A kind of event.

    Attributes:
        name: what happened, as a name.
        code: the lint code of the same mistake.
        known_gradient: the code where the guard *knows* an operand to be a gradient; else the same.
        what: one clause for messages; fields of :class:`GuardEvent` in braces.
        advice: what to do.
        watched: the calls that are watched, for docs/guard.md.

    Example:
        >>> EVENTS["acos-out-of-range"].code
        'FAL204'
    """

    name: str
    code: str
    known_gradient: str
    what: str
    advice: str
    watched: str


_SAFE_COSINE = "use fa_lint_runtime.safe_cosine, and report the norms beside every cosine"

_KINDS = (
    EventKind(
        "clamped-cosine",
        "FAL202",
        "FAL201",
        "{count} of {total} cosines were clamped: a norm of {magnitude} is below eps={detail}",
        _SAFE_COSINE,
        "`F.cosine_similarity`, `torch.cosine_similarity`, `nn.CosineSimilarity`",
    ),
    EventKind(
        "overflowed-cosine",
        "FAL202",
        "FAL201",
        "{count} of {total} cosines were lost: a norm of {magnitude} is inf, as its square exceeds {detail}",
        _SAFE_COSINE,
        "the same, finite operands with a norm of inf",
    ),
    EventKind(
        "floored-embedding-loss",
        "FAL202",
        "FAL201",
        "{count} of {total} cosines were shrunk: 1e-12 is added to each squared norm, the smallest norm is {magnitude}",
        "build the loss from fa_lint_runtime.safe_cosine",
        "`F.cosine_embedding_loss`, `nn.CosineEmbeddingLoss`",
    ),
    EventKind(
        "self-cosine",
        "FAL404",
        "FAL404",
        "a cosine of a tensor with itself (same memory) is 1 whatever it holds",
        "compare two different signals, or report N/A",
        "the same, both operands in the same memory",
    ),
    EventKind(
        "floored-normalize",
        "FAL203",
        "FAL203",
        "{count} of {total} vectors came out shorter than 1: a norm of {magnitude} is below eps={detail}",
        "use fa_lint_runtime.safe_unit",
        "`F.normalize`",
    ),
    EventKind(
        "underflowed-norm",
        "FAL203",
        "FAL203",
        "{count} of {total} norms underflowed: squares of {detail} values this small are zero or subnormal",
        "use fa_lint_runtime.safe_norm",
        "`x.norm()`, `torch.norm`, `torch.linalg.norm`, `torch.linalg.vector_norm`",
    ),
    EventKind(
        "overflowed-norm",
        "FAL203",
        "FAL203",
        "{count} of {total} norms are inf: squares of values this large exceed {detail}",
        "use fa_lint_runtime.safe_norm or safe_unit; where the norm itself exceeds the dtype, a wider one",
        "the same, and `F.normalize`, of finite values",
    ),
    EventKind(
        "negative-norm-order",
        "FAL101",
        "FAL101",
        "the first positional argument of a norm is its order, here {detail}, not a dimension",
        "write dim={detail}, or fa_lint_runtime.safe_norm(x, dim={detail})",
        "the same, `F.normalize`, `F.pairwise_distance`; a keyword (`p=-1`) is read as intent",
    ),
    EventKind(
        "acos-out-of-range",
        "FAL204",
        "FAL204",
        "{count} of {total} angles are NaN: acos of {magnitude}, which is outside [-1, 1]",
        "use fa_lint_runtime.safe_angle",
        "`torch.acos`, `torch.arccos`, `x.acos()`, `x.acos_()`",
    ),
    EventKind(
        "acos-gradient-at-boundary",
        "FAL206",
        "FAL206",
        "{count} of {total} gradients are inf or NaN: the derivative at exactly 1 or -1 is infinite",
        "use fa_lint_runtime.safe_angle, or clamp the argument to [-1 + eps, 1 - eps]; torch.where around the result "
        "is no help, as 0 times inf is NaN",
        "the backward pass of `torch.acos`, `torch.asin` and their methods, if a gradient at its end is not finite",
    ),
    EventKind(
        "root-gradient-at-zero",
        "FAL207",
        "FAL207",
        "{count} of {total} gradients are inf or NaN: the derivative of a root at exactly 0 is infinite",
        "for a norm use torch.linalg.vector_norm or fa_lint_runtime.safe_norm, or add a constant under the root; "
        "torch.where around the result is no help, as 0 times inf is NaN",
        "the same of `torch.sqrt`, `x.sqrt()`, `x ** 0.5`, `torch.pow(x, 0.5)`",
    ),
    EventKind(
        "averaged-scalar-norm",
        "FAL104",
        "FAL104",
        "a mean was taken of one number: the norm before it runs over all {detail} samples of a gradient",
        "take one norm a sample before the mean: gradient.flatten(1).norm(2, dim=1)",
        "`x.mean()` of a norm, or of `(norm - 1) ** 2`, of what `autograd.grad(…, create_graph=True)` gave for a batch",
    ),
    EventKind(
        "cut-to-common-length",
        "FAL409",
        "FAL409",
        "gradients of {detail} entries were cut to the same length: entries of one index have nothing in common",
        "compare gradients of the same parameters, one parameter at a time, and report N/A where the shapes differ",
        "`F.cosine_similarity`, `torch.dot`, `a @ b` of two vectors, at least one of them the beginning of a gradient",
    ),
    EventKind(
        "zero-by-zero",
        "FAL405",
        "FAL405",
        "{count} of {total} quotients are NaN: 0 divided by 0",
        "a zero vector has no direction: count them and report N/A, never a number",
        "`a / b`, `a /= b` of tensors; `F.cosine_similarity(…, eps=0)`",
    ),
    EventKind(
        "half-flush",
        "FAL302",
        "FAL302",
        "a cast to float16 set {count} of {total} non-zero values to zero, the largest of them {magnitude}",
        "keep gradients and credits in float32 or bfloat16, or multiply by a known constant first",
        "`x.half()`, `x.to(torch.float16)`, `x.type(…)`, `module.half()`",
    ),
    EventKind(
        "autocast-flush",
        "FAL301",
        "FAL301",
        "float16 autocast set {count} of {total} non-zero values to zero, the largest of them {magnitude}",
        "measure in float32 or bfloat16 autocast",
        "the casts that float16 autocast makes on its own",
    ),
    EventKind(
        "gradient-flush",
        "FAL301",
        "FAL301",
        "gradients fell below float16: {count} of {total} entries were lost; the largest {detail} is {magnitude}",
        "scale the loss (torch.amp.GradScaler) or use bfloat16",
        "`backward`, `autograd.grad` through float16",
    ),
    EventKind(
        "checkpoint-without-feedback",
        "FAL401",
        "FAL401",
        "a state_dict was saved without the feedback it was trained with: {detail}",
        "use save_checkpoint(..., feedback=...), or register_buffer",
        "`torch.save` of a `state_dict`, against `guard.watch_feedback(…)` and what the saved module holds",
    ),
)

EVENTS: MappingProxyType[str, EventKind] = MappingProxyType({kind.name: kind for kind in _KINDS})
CODES: frozenset[str] = frozenset(code for kind in _KINDS for code in (kind.code, kind.known_gradient))


def selected(code: str, patterns: tuple[str, ...]) -> bool:
    """Whether ``code`` is one of ``patterns`` or starts with one (``"FAL2"``).

    Example:
        >>> selected("FAL202", ("FAL2",)), selected("FAL101", ("FAL201",))
        (True, False)
    """
    return any(code.startswith(pattern.upper()) for pattern in patterns)
