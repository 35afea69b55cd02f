"""What the rules about feedback share: their gates, and the evidence of a site as related locations."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.astwalk import last_name
from fa_lint.findings import Related
from fa_lint.gate import Outline
from fa_lint.rules.base import Gate
from fa_lint.semantics import ir
from fa_lint.semantics.draws import DRAWING
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback import FeedbackSite
from fa_lint.semantics.feedback_names import VOCABULARY, is_feedback_name, is_possible_name, speaks_of_feedback

__all__ = ["FEEDBACK", "evidence", "is_guarded_draw", "is_repeatable", "may_hold_feedback", "may_speak"]

# Each starts with letters, so that it runs at memory speed; the vocabulary itself, which does not, is asked only of the
# lines where one of them is found.
_LOWER = tuple(
    re.compile(pattern)
    for pattern in (
        rb"feed[ _-]?back",
        rb"drtp",
        rb"pepita",
        rb"fb_?(?:weight|matri)",
        rb"bwd_?(?:weight|matri)",
        rb"back(?:ward)?_?(?:weight|matri)",
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


@dataclass(frozen=True, slots=True)
class _FeedbackGate(Gate):
    """Open where a file of tensors speaks of feedback."""

    def open_for(self, data: bytes) -> bool:
        assert self.pattern is not None
        if not any(literal in data for literal in self.literals):
            return False
        # What is said stands on one line, around what was found cheaply.
        for at in _candidates(data):
            end = data.find(b"\n", at)
            if self.pattern.search(data, data.rfind(b"\n", 0, at) + 1, end if end >= 0 else len(data)):
                return True
        return False


def may_speak(data: bytes) -> bool:
    """True wherever the vocabulary of feedback has a match, and cheap."""
    return any(True for _ in _candidates(data))


def _candidates(data: bytes) -> Iterator[int]:
    lower = data.lower()
    for pattern in _LOWER:
        yield from (match.start() for match in pattern.finditer(lower))
    for pattern in _AS_WRITTEN:
        yield from (match.start() for match in pattern.finditer(data))


# A module has to name a library that makes tensors, and to speak of feedback.
FEEDBACK: tuple[Gate, ...] = (_FeedbackGate((b"torch",), re.compile(VOCABULARY.encode())),)
_KEEPS = frozenset({"append", "extend", "insert", "setdefault"})
_REGISTERS = frozenset({"register_buffer", "register_parameter"})


_TELLING = (
    *(ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.For, ast.comprehension),
    *(ast.FunctionDef, ast.Call, ast.ClassDef),
)


def may_hold_feedback(outline: Outline) -> bool:
    """Is anything stored under a name that feedback can have, or passed to a custom autograd function?"""
    return outline.derived(_may_hold)


def _may_hold(outline: Outline) -> bool:
    kept: list[tuple[set[str], ast.AST]] = []
    function = applied = registered = False
    for node in outline.every(*_TELLING):
        match node:
            case ast.Assign(targets=targets, value=value):
                kept.append(({name for target in targets for name in _names(target)}, value))
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                kept.append((_names(target), value))
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                kept.append((_names(target), value))
            case ast.FunctionDef(name=name):
                kept.append(({name}, node))
            case ast.Call(func=ast.Attribute(attr=attr, value=receiver), args=args, keywords=keywords):
                if attr in _KEEPS and args:
                    kept.append((_names(receiver), args[-1]))
                if attr in _REGISTERS:
                    given = [*args[:1], *(k.value for k in keywords if k.arg == "name")]
                    named = {str(n.value) for n in given if isinstance(n, ast.Constant)}
                    registered = registered or any(_is_candidate(name) for name in named)
                applied = applied or attr == "apply"
            case ast.ClassDef(bases=bases):
                function = function or any(last_name(base).endswith("Function") for base in bases)
    return (function and applied) or registered or any(_is_candidate(name) for name in _drawn(kept))


def _drawn(kept: list[tuple[set[str], ast.AST]]) -> set[str]:
    """The names that a draw can reach: directly, or through other names and functions of the file."""
    reads = [(names, _mentioned(value)) for names, value in kept]
    found: set[str] = set()
    waiting = True
    while waiting:
        waiting = False
        for names, mentioned in reads:
            if not names <= found and (mentioned & found or mentioned & DRAWING or any(map(_makes, mentioned))):
                found |= names
                waiting = True
    return found


def _mentioned(value: ast.AST) -> frozenset[str]:
    return frozenset(last_name(node) for node in ast.walk(value) if isinstance(node, ast.Name | ast.Attribute))


def _makes(name: str) -> bool:
    return name[:1].isupper() and speaks_of_feedback(name)


def _names(target: ast.expr) -> set[str]:
    found = set()
    stack = [target]
    while stack:
        match stack.pop():
            case ast.Name(id=name) | ast.Attribute(attr=name):
                found.add(name)
            case ast.Subscript(value=inner) | ast.Starred(value=inner):
                stack.append(inner)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                stack += parts
    return found


def _is_candidate(name: str) -> bool:
    return is_feedback_name(name) or is_possible_name(name)


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
    """Is a draw made only the first time: under ``if self.B is None``, ``if not self.ready``, ``hasattr``?

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
