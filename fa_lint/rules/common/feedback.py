"""What the rules about feedback share: their gates, and the evidence of a site as related locations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.findings import Related
from fa_lint.rules.base import Gate
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import FeedbackSite
from fa_lint.semantics.feedback_names import ATTRIBUTE, VOCABULARY

__all__ = [
    "FEEDBACK",
    "FEEDBACK_PART",
    "SENDS",
    "evidence",
    "is_guarded_draw",
    "is_repeatable",
]

# Each starts with letters, so that it runs at memory speed; the vocabulary itself, which does not, is asked only of the
# lines where one of them is found.
_LOWER = tuple(
    re.compile(pattern)
    for pattern in (
        rb"feed[ _-]?back",
        rb"drtp",
        rb"pepita",
        rb"fb_?(?:weight|matri)",
        rb"bwd_?(?:weight|mat)",
        rb"back(?:ward)?_?(?:weight|mat)",
        rb"weights?_?(?:fb|bwd|backward)\b",
        rb"matrix_?(?:fb|bwd|backward)\b",
        rb"bias_?(?:fb|bwd|backward)\b",
    )
)
_AS_WRITTEN = (
    re.compile(rb"DFA"),
    re.compile(rb"dfa(?:(?<=\bdfa)|(?<=_dfa))"),
    re.compile(rb"FA(?:(?<=[a-z\d]FA)\b|(?<=\bFA)(?:[A-Z][a-z]|_))"),
    re.compile(rb"fa_(?<=\bfa_)[wmlc]"),
    re.compile(rb"_fa\b"),
)


# What sends an error through a drawn matrix names a draw, a product, and an error or what makes one.
_DRAWS = (b"rand", b"normal", b"uniform", b"orthogonal", b"Linear(")
_DRAWN_ELSEWHERE = re.compile(rb"(?:draw|make|init|sample|create|generate)_\w+\(")
_CALLED = (b"mm(", b"matmul(", b"linear(", b"dot(", b"einsum(", b"mv(", b"inner(")
_ERROR = re.compile(rb"(?<![^\W_])(?:errors?|errs?|deltas?|e|d)(?![^\W_])|\.grad\b")
_KEPT_DRAW = re.compile(rb"self\.\w+(?:: ?[\w.]+)? ?= ?[^\n]*\brandn?\(|self\.\w+\.append\([^\n]*\brandn?\(")
_ONE_HOT = re.compile(rb"one_?hot", re.IGNORECASE)
_RESIDUALS = (
    re.compile(rb"- ?(?:self\.|F\.)?(?:[a-z_]*targets?|[a-z_]*labels?|y|ys|yb|t|tgt|y_\w+)\b[^(]"),
    re.compile(rb"autograd\.grad\(|eye\([^)\n]*\)\[|\] ?-= ?1"),
)


@dataclass(frozen=True, slots=True)
class _FeedbackGate(Gate):
    """Open where a file of tensors names feedback, or can send an error through a drawn matrix."""

    def open_for(self, data: bytes) -> bool:
        return any(literal in data for literal in self.literals) and (self._is_said(data) or _may_send(data))

    def _is_said(self, data: bytes) -> bool:
        assert self.pattern is not None
        # What is said stands on one line, around what was found cheaply.
        for at in _candidates(data):
            if self.pattern.search(_line(data, at)):
                return True
        return False


def _may_send(data: bytes) -> bool:
    if not any(word in data for word in _DRAWS) and _DRAWN_ELSEWHERE.search(data) is None:
        return False
    if b"save_for_backward" in data or any(_KEPT_DRAW.search(line) for line in _lines_with(data, b"rand")):
        # A backward pass of its own may multiply with it, or another file.
        return True
    products = [line for word in _CALLED for line in _lines_with(data, word)]
    products += [line for line in _lines_with(data, b"@") if not line.lstrip().startswith(b"@")]
    if not products and b"Linear(" not in data:
        return False
    if any(_ERROR.search(line) for line in products) or (b"hot" in data and _ONE_HOT.search(data)):
        return True
    return any(residual.search(data) for residual in _RESIDUALS)


def _lines_with(data: bytes, word: bytes) -> Iterator[bytes]:
    at = data.find(word)
    while at >= 0:
        yield _line(data, at)
        at = data.find(word, at + 1)


def _line(data: bytes, at: int) -> bytes:
    end = data.find(b"\n", at)
    return data[data.rfind(b"\n", 0, at) + 1 : end if end >= 0 else len(data)]


def _candidates(data: bytes) -> Iterator[int]:
    lower = data.lower()
    for pattern in _LOWER:
        yield from (match.start() for match in pattern.finditer(lower))
    for pattern in _AS_WRITTEN:
        yield from (match.start() for match in pattern.finditer(data))


# A module has to name a library that makes tensors, and to speak of feedback.
_VOCABULARY = re.compile(VOCABULARY.encode())
FEEDBACK: tuple[Gate, ...] = (_FeedbackGate((b"torch", b"numpy", b"jax"), _VOCABULARY),)
# The same of a part of a module.
FEEDBACK_PART: Gate = _FeedbackGate((b"",), _VOCABULARY)
# A file that sends something through an attribute which may be feedback.
SENDS: Gate = Gate((b"@", *_CALLED), re.compile(ATTRIBUTE.encode()))


def is_repeatable(site: FeedbackSite) -> bool:
    """A constant seed right before the draw gives the same matrix again: nothing is lost."""
    return site.seed == "constant"


def evidence(facts: ModuleFacts, site: FeedbackSite, *, drawn: bool = True) -> tuple[Related, ...]:
    """Where it was drawn and why it is feedback; each place once."""
    places = []
    if drawn:
        what = {"random": "drawn here", "uninitialised": "allocated here", "module": "made here"}[site.drawn]
        places.append((site.draw, what))
    places += [(e.nid, e.text) for e in site.evidence]
    seen: set[tuple[int, int]] = set()
    found = []
    for nid, text in places:
        span = facts.span(facts.node(nid))
        if span not in seen:
            seen.add(span)
            found.append(Related(*span, text))
    return tuple(found)


def is_guarded_draw(facts: ModuleFacts, site: FeedbackSite) -> bool:
    """True if a draw is made only the first time: under ``if self.B is None``, ``if not self.ready``, ``hasattr``.

    The guard may stand around the call of the helper that draws.
    """
    store = facts.node(site.store)
    around = [store]
    owner = facts.node(site.owner_nid)
    method = facts.names.enclosing_function(store)
    if isinstance(owner, ir.ClassDef) and method is not None:
        around += [
            call
            for call in facts.calls
            if facts.names.function_called(call) is method and facts.names.enclosing_class(call) is not None
        ]
    if any(
        isinstance(above, ir.If) and _asks_whether_new(above.test)
        for node in around
        for above in facts.names.ancestors(node)
    ):
        return True
    # ``if self.B is not None: return`` above the draw.
    return method is not None and any(
        isinstance(before, ir.If)
        and before.nid < store.nid
        and not _asks_whether_new(before.test)
        and any(isinstance(inner, ir.Return) for inner in before.body.body)
        and any(isinstance(part, ir.Attr) for part in ir.walk(before.test))
        for before in method.body.body
    )


def _asks_whether_new(test: ir.Expr) -> bool:
    match test:
        case ir.Unary(op="not", operand=operand):
            return not (isinstance(operand, ir.Attr) and operand.attr == "training")
        case ir.Compare(ops=["is" | "=="], comparators=[ir.Const(value=None | 0 | False)]):
            return True
        case ir.Compare(ops=["not in"]):
            return True
        case ir.Bool(left=left, right=right):
            return _asks_whether_new(left) or _asks_whether_new(right)
    return False
