"""What is compared with what: cosines on the spot, and calls of functions that take the cosine of their parameters."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from fa_lint.rules._alignments import alignments, last_name
from fa_lint.rules._measure_words import is_measure_name, may_call_measure
from fa_lint.semantics import ir
from fa_lint.semantics.aliases import aliases
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.words import words

__all__ = ["Comparison", "comparisons", "given"]

# These give the matrix of all pairs.
_PAIRWISE = frozenset({"sklearn.metrics.pairwise.cosine_similarity"})
_PAIRS = frozenset(
    "pairwise matrix sim sims similarity similarities sequence sequences token tokens text image".split()
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """``node`` compares ``left`` with ``right``. ``proven`` is False where only the name of a function says so, and
    ``measured`` where then nothing says that gradients or weights are compared.

    ``of_gradients``: what enters the cosine are the gradients of what is given.
    """

    node: ir.Expr
    left: ir.Expr
    right: ir.Expr
    label: str
    proven: bool = True
    measured: bool = True
    of_gradients: bool = False


def comparisons(facts: ModuleFacts) -> Iterator[Comparison]:
    """Every place of the module where two values meet in a cosine, in source order."""
    known = alignments(facts)
    helpers = {function.nid: found for function in facts.names.functions if (found := _helper(function, facts))}
    for node in facts.nodes():
        if not isinstance(node, ir.Expr):
            continue
        if isinstance(node, ir.Call) and facts.qualified(node.func) in _PAIRWISE:
            continue
        pair = known.operands(node)
        if pair is not None:
            label = last_name(node.func) if isinstance(node, ir.Call) and last_name(node.func) != "div" else "a cosine"
            yield Comparison(node, *pair, label)
        elif isinstance(node, ir.Call):
            yield from _call(node, helpers, facts)


@dataclass(frozen=True, slots=True)
class _Helper:
    """Positions of the parameters whose cosine a function takes, and whether it is that of their gradients."""

    left: int
    right: int
    of_gradients: bool


def _call(node: ir.Call, helpers: dict[int, list[_Helper]], facts: ModuleFacts) -> Iterator[Comparison]:
    function = facts.names.function_called(node)
    name = last_name(node.func)
    if function is not None:
        for helper in helpers.get(function.nid, ()):
            left, right = (given(node, function.params, position) for position in (helper.left, helper.right))
            if left is not None and right is not None:
                yield Comparison(node, left, right, name, of_gradients=helper.of_gradients)
        return
    # What begins with a capital makes a layer: it compares nothing.
    if (
        name[:1].isupper()
        or not is_measure_name(name)
        or set(words(name)) & _PAIRS
        or any(arg.star for arg in node.args)
    ):
        return
    if not may_call_measure(facts.text.encode()):
        return
    positional = [arg.value for arg in node.args if arg.keyword is None]
    if len(positional) >= 2:
        measured = alignments(facts).of(node).is_measured
        yield Comparison(node, positional[0], positional[1], name, proven=False, measured=measured)


def given(call: ir.Call, params: list[ir.Param], position: int) -> ir.Expr | None:
    """What a call gives one of the parameters of its function."""
    param = params[position]
    first = int(params[0].name in ("self", "cls") and isinstance(call.func, ir.Attr))
    for number, arg in enumerate(call.args):
        if arg.star:
            return None
        if arg.keyword == param.name or (arg.keyword is None and number == position - first):
            return arg.value
    return None


def _helper(function: ir.FunctionDef, facts: ModuleFacts) -> list[_Helper]:
    """The pairs of parameters that a function compares, in the same way on either side."""
    known, traced = alignments(facts), aliases(facts)
    found = []
    numbers = {("bound", param.nid, param.name): number for number, param in enumerate(function.params)}
    for node in ir.walk(function.body):
        if not isinstance(node, ir.Call | ir.Binary):
            continue
        pair = known.operands(node)
        if pair is None:
            continue
        keys = [traced.trace(side).key for side in pair]
        sides = [[key for key in numbers if _contains(side, key)] for side in keys]
        if len(sides[0]) == len(sides[1]) == 1 and sides[0] != sides[1]:
            one, two = sides[0][0], sides[1][0]
            if _replaced(keys[0], one, two) == keys[1]:
                found.append(_Helper(numbers[one], numbers[two], "'grad'" in repr(keys[0])))
    return found


def _contains(key: Hashable, part: Hashable) -> bool:
    stack = [key]
    while stack:
        top = stack.pop()
        if top == part:
            return True
        if isinstance(top, tuple):
            stack.extend(top)
    return False


def _replaced(key: Hashable, old: Hashable, new: Hashable) -> Hashable:
    if key == old:
        return new
    return tuple(_replaced(part, old, new) for part in key) if isinstance(key, tuple) else key
