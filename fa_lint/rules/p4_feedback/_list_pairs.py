"""What is paired with what by an index or by ``zip``: lists of feedback, and lists of gradients or hidden states."""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.analysis.interest import interesting
from fa_lint.analysis.values import Values
from fa_lint.semantics import ir
from fa_lint.semantics.calls import given
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback_names import is_feedback_name, is_possible_name
from fa_lint.semantics.list_lengths import ListLengths
from fa_lint.semantics.words import suggests, words

__all__ = [
    "carries_feedback",
    "chosen_item",
    "clamped_index",
    "holds_gradients",
    "enumerated_feedback",
    "is_feedback",
    "is_shifted",
    "is_states",
    "items_with",
    "loop_of",
    "loops_of",
]

_HIDDEN = frozenset("hs hiddens hidden states activations acts".split())
_DEPTH = 4


def is_shifted(states: ir.Expr, matrices: ir.Expr, lengths: ListLengths) -> bool:
    """Return True where the states are more than the matrices, and the first of them has none."""
    one, other = lengths.of(states), lengths.of(matrices)
    if one is None or other is None or not one.base or one.base != other.base:
        return False
    return one.front != other.front and (one.more > other.more or other.back > 0)


def is_feedback(node: ir.Expr, facts: ModuleFacts, depth: int = 0) -> bool:
    """Return True for a list of feedback by its name, also one that is made longer or turned round."""
    if depth > _DEPTH:
        return False
    match node:
        case ir.Name(id=name) | ir.Attr(attr=name) if is_feedback_name(name) or is_possible_name(name):
            return True
        case ir.Name():
            bound = facts.names.reaching(node)
            value = bound[0].value if len(bound) == 1 and bound[0].how == "value" else None
            made = isinstance(value, ir.Binary | ir.Sequence)
            return made and value is not None and is_feedback(value, facts, depth + 1)
        case ir.Binary(op="+", left=left, right=right):
            return is_feedback(left, facts, depth + 1) or is_feedback(right, facts, depth + 1)
        case ir.Sequence(items=items):
            return any(isinstance(item, ir.Starred) and is_feedback(item.value, facts, depth + 1) for item in items)
        case ir.Call(args=[ir.Arg(value=value)], func=ir.Name(id="reversed" | "list" | "tuple")):
            return is_feedback(value, facts, depth + 1)
        case ir.Subscript(value=value, index=[ir.Slice()]):
            return is_feedback(value, facts, depth + 1)
    return False


def is_states(node: ir.Expr, values: Values, *, sure: bool = False) -> bool:
    """Return True for gradients, and where ``sure`` is False for what is named like hidden states or credits."""
    if interesting(values.of(node)) or suggests(ir.last_name(node)) in ("gradient", "credit"):
        return True
    return not sure and bool(set(words(ir.last_name(node))) & _HIDDEN)


def holds_gradients(states: ir.Expr, call: ir.Call, facts: ModuleFacts, values: Values) -> bool:
    """Return True for gradients, and for hidden states whose ``.grad`` is read in the loop."""
    if is_states(states, values, sure=True):
        return True
    for above in facts.names.ancestors(call):
        if isinstance(above, ir.For | ir.Comprehension):
            return any(isinstance(part, ir.Attr) and part.attr == "grad" for part in ir.walk(above))
        if isinstance(above, ir.Stmt):
            break
    return False


def clamped_index(index: ir.Expr, facts: ModuleFacts) -> tuple[ir.Name, ir.Expr] | None:
    """The variable and the bound of ``min(l, L - 1)``, ``l if l < L else L - 1``, also behind a name."""
    if isinstance(index, ir.Name):
        bound = facts.names.reaching(index)
        if len(bound) != 1 or bound[0].how != "value" or bound[0].value is None:
            return None
        index = bound[0].value
    match index:
        case ir.Call(func=ir.Name(id="max"), args=[ir.Arg(value=ir.Const(value=0)), ir.Arg(value=inner)]):
            return clamped_index(inner, facts) if isinstance(inner, ir.Call) else None
        case ir.Call(func=ir.Name(id="int"), args=[ir.Arg(value=inner)]):
            return clamped_index(inner, facts) if isinstance(inner, ir.Call) else None
        case ir.Call(func=ir.Name(id="min") | ir.Attr(attr="minimum" | "min"), args=[ir.Arg(value=a), ir.Arg(value=b)]):
            pairs = [(a, b), (b, a)]
        case ir.Call(
            func=ir.Attr(attr="clip"), args=[ir.Arg(value=a), ir.Arg(value=ir.Const(value=0)), ir.Arg(value=b)]
        ):
            pairs = [(a, b)]
        case ir.Conditional(body=a, orelse=b, test=ir.Compare()):
            pairs = [(a, b), (b, a)]
        case _:
            return None
    return next(((x, y) for x, y in pairs if isinstance(x, ir.Name) and _is_last(y)), None)


def chosen_item(node: ir.Conditional, facts: ModuleFacts) -> tuple[ir.Subscript, ir.Name, ir.Expr] | None:
    """``Bs[l] if l < L else Bs[-1]``: the item, its variable and the bound."""
    match node.body, node.orelse:
        case ir.Subscript(index=[ir.Name() as name]) as item, ir.Subscript(index=[last]) as other:
            pass
        case ir.Subscript(index=[last]) as other, ir.Subscript(index=[ir.Name() as name]) as item:
            pass
        case _:
            return None
    if ir.same(item.value, other.value) and is_feedback(item.value, facts) and _is_last(last):
        return item, name, last
    return None


def loops_of(index: ir.Name, facts: ModuleFacts) -> Iterator[tuple[ir.Name, ir.For | ir.Clause]]:
    """The loops whose variable an index is, or whose variable the calls of its function give for it."""
    loop = loop_of(index, facts)
    if loop is not None:
        yield index, loop
        return
    for bound in facts.names.reaching(index):
        function = facts.names.parent(bound.node)
        if bound.how != "param" or not isinstance(function, ir.FunctionDef):
            continue
        for value in given(facts, function, index.id):
            outer = loop_of(value, facts) if isinstance(value, ir.Name) else None
            if isinstance(value, ir.Name) and outer is not None:
                yield value, outer


def _is_last(node: ir.Expr) -> bool:
    """``L - 1``, ``len(Bs) - 1``, ``-1``, ``last``."""
    match node:
        case ir.Binary(op="-", right=ir.Const(value=1)) | ir.Unary(op="-", operand=ir.Const(value=1)):
            return True
        case ir.Name(id=name) | ir.Attr(attr=name):
            return bool({"last", "max"} & set(words(name)))
    return False


def loop_of(index: ir.Name, facts: ModuleFacts) -> ir.For | ir.Clause | None:
    """The loop whose variable an index is."""
    bound = [b.node for b in facts.names.reaching(index) if b.how == "iterate"]
    loop = bound[-1] if bound else None
    return loop if isinstance(loop, ir.For | ir.Clause) else None


def enumerated_feedback(loop: ir.For | ir.Clause, facts: ModuleFacts) -> ir.Expr | None:
    """``Bs`` of ``for i, B in enumerate(Bs)``, where the loop multiplies by ``B`` or passes it on."""
    match loop.target, loop.iter:
        case ir.Sequence(items=[_, ir.Name(id=name)]), ir.Call(func=ir.Name(id="enumerate"), args=[ir.Arg(value=over)]):
            if is_feedback(over, facts) and any(
                isinstance(part, ir.Name) and part.id == name and _is_taken(part, facts)
                for part in ir.walk(_whole(loop, facts))
            ):
                return over
    return None


def carries_feedback(side: ir.Expr, call: ir.Call, facts: ModuleFacts) -> bool:
    """Return True for ``blocks`` of ``for g, b in zip(grads, blocks)``, where the loop multiplies by ``b.B``."""
    loop = facts.names.parent(call)
    while isinstance(loop, ir.Arg | ir.Call):  # `enumerate(zip(…))`
        loop = facts.names.parent(loop)
    if not isinstance(loop, ir.For | ir.Clause):
        return False
    target = loop.target
    if isinstance(target, ir.Sequence) and len(target.items) == 2 and loop.iter is not call:
        target = target.items[1]
    position = next((number for number, arg in enumerate(call.args) if arg.value is side), 0)
    if not isinstance(target, ir.Sequence) or position >= len(target.items):
        return False
    item = target.items[position]
    return isinstance(item, ir.Name) and any(
        isinstance(part, ir.Attr) and isinstance(part.value, ir.Name) and part.value.id == item.id
        and (is_feedback_name(part.attr) or is_possible_name(part.attr)) and _is_taken(part, facts)
        for part in ir.walk(_whole(loop, facts))
    )  # fmt: skip


def _is_taken(node: ir.Node, facts: ModuleFacts) -> bool:
    return isinstance(facts.names.parent(node), ir.Binary | ir.Arg)


def _whole(loop: ir.For | ir.Clause, facts: ModuleFacts) -> ir.Node:
    """The loop, or the comprehension that a clause belongs to."""
    whole: ir.Node | None = loop
    while isinstance(whole, ir.Clause):
        whole = facts.names.parent(whole)
    return whole or loop


def items_with(index: ir.Name, loop: ir.For | ir.Clause, facts: ModuleFacts) -> Iterator[ir.Subscript]:
    """What a loop takes from lists under an index, or one that is made of it."""
    for part in ir.walk(_whole(loop, facts)):
        match part:
            case ir.Subscript(index=[ir.Name(id=name)]) if name == index.id:
                yield part
            case ir.Subscript(index=[ir.Binary(left=ir.Name(id=name)) | ir.Binary(right=ir.Name(id=name))]) if (
                name == index.id
            ):
                yield part
