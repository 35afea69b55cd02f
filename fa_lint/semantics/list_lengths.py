"""How long lists are, in terms of one another: ``hs = [embed(x)]`` and one more for each block has one entry more."""

from __future__ import annotations

from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.names import Binding

__all__ = ["Length", "ListLengths"]

_DEPTH = 20
_SAME = frozenset("list tuple enumerate iter sorted ModuleList ParameterList Sequential tqdm".split())


@dataclass(frozen=True, slots=True)
class Length:
    """The length of what ``base`` stands for, and so many entries more before and behind."""

    base: str
    front: int = 0
    back: int = 0

    @property
    def more(self) -> int:
        return self.front + self.back

    def longer(self, front: int, back: int) -> Length:
        return Length(self.base, self.front + front, self.back + back)


class ListLengths:
    """Answers :meth:`of` for the lists of one module."""

    def __init__(self, facts: ModuleFacts) -> None:
        self._facts = facts
        self._names = facts.names
        self._equal: dict[str, Length] = {}
        self._known: dict[int, Length | None] = {}
        self._relate()

    def of(self, node: ir.Expr, depth: int = 0) -> Length | None:
        """Return the length of a list; None where it cannot be said."""
        if depth > _DEPTH:
            return None
        if node.nid not in self._known:
            self._known[node.nid] = None
            self._known[node.nid] = self._of(node, depth + 1)
        found = self._known[node.nid]
        return self._resolved(found) if found is not None else None

    def number(self, node: ir.Expr, depth: int = 0) -> Length | None:
        """Return a number as a length: ``len(x)``, ``L + 1``, a name that is bound once."""
        if depth > _DEPTH:
            return None
        match node:
            case ir.Call(func=ir.Name(id="len"), args=[ir.Arg(value=value)]):
                return self.of(value, depth + 1)
            case ir.Binary(op="+" | "-" as op, left=left, right=ir.Const(value=int() as step)):
                found = self.number(left, depth + 1)
                return found.longer(step if op == "+" else -step, 0) if found is not None else None
            case ir.Binary(op="+", left=ir.Const(value=int() as step), right=right):
                found = self.number(right, depth + 1)
                return found.longer(step, 0) if found is not None else None
            case ir.Name() | ir.Attr():
                bound_to = self._value(node)
                found = self.number(bound_to, depth + 1) if bound_to is not None else None
                return found or self._resolved(Length(self._key(node, "#")))
        return None

    # -- what is known ----------------------------------------------------------------------------------------

    def _relate(self) -> None:
        """Learn from assertions, errors and strict pairs which lengths are equal."""
        for node in self._facts.nodes_of(ir.Assert, ir.If, ir.Call):
            match node:
                case ir.Assert(test=ir.Compare(left=left, ops=["=="], comparators=[right])):
                    self._equate(self.number(left), self.number(right))
                case ir.If(
                    test=ir.Compare(left=left, ops=["!="], comparators=[right]), body=ir.Block(body=[*_, ir.Raise()])
                ):
                    self._equate(self.number(left), self.number(right))
                case ir.Call(func=ir.Name(id="zip"), args=[ir.Arg(value=left), ir.Arg(value=right), *rest]):
                    strict = any(arg.keyword == "strict" for arg in rest)
                    if strict or (_is_plural(left) and _is_plural(right)):
                        self._equate(self.of(left), self.of(right))

    def _equate(self, one: Length | None, other: Length | None) -> None:
        if one is not None and other is not None and one.base and other.base and one.base != other.base:
            self._equal[one.base] = Length(other.base, other.more - one.more)
            self._known.clear()

    def _resolved(self, length: Length) -> Length:
        for _ in range(_DEPTH):
            inner = self._equal.get(length.base)
            if inner is None:
                break
            length = inner.longer(length.front, length.back)
        return length

    # -- lists ------------------------------------------------------------------------------------------------

    def _of(self, node: ir.Expr, depth: int) -> Length | None:
        match node:
            case ir.Sequence(items=items):
                return self._display(items, depth)
            case ir.Comprehension(clause=ir.Clause(conditions=[], inner=None, iter=iterated)):
                return self.of(iterated, depth)
            case ir.Binary(op="+", left=left, right=right):
                return self._joined(self.of(left, depth), self.of(right, depth))
            case ir.Subscript(value=value, index=[ir.Slice(lower=lower, upper=upper, step=None)]):
                return self._part(self.of(value, depth), lower, upper)
            case ir.Call():
                return self._call(node, depth)
            case ir.Name():
                bound = self._names.reaching(node)
                if any(b.how in ("item", "update") and _grows(b) for b in bound):
                    return self._filled(bound, depth)
                return self._bound(node, depth)
            case ir.Attr():
                return self._bound(node, depth)
        return None

    def _bound(self, node: ir.Name | ir.Attr, depth: int) -> Length:
        value = self._value(node)
        found = self.of(value, depth) if value is not None else None
        return found or Length(self._key(node, ""))

    def _display(self, items: list[ir.Expr], depth: int) -> Length | None:
        found: Length | None = Length("")
        for item in items:
            inner = self.of(item.value, depth) if isinstance(item, ir.Starred) else Length("", 1)
            found = self._joined(found, inner)
        return found

    def _joined(self, left: Length | None, right: Length | None) -> Length | None:
        if left is None or right is None or (left.base and right.base):
            return None
        return right.longer(left.more, 0) if not left.base else left.longer(0, right.more)

    def _part(self, whole: Length | None, lower: ir.Expr | None, upper: ir.Expr | None) -> Length | None:
        first = 0 if lower is None else self._facts.values.number(lower)
        last = 0 if upper is None else self._facts.values.number(upper)
        if whole is None or not isinstance(first, int) or not isinstance(last, int) or first < 0 or last > 0:
            return None
        return whole.longer(-first, last)

    def _call(self, node: ir.Call, depth: int) -> Length | None:
        name = self._facts.qualified(node.func)
        last = ir.last_name(node.func)
        values = [arg.value for arg in node.args if arg.keyword is None]
        if name == "torch.autograd.grad":
            inputs = next((arg.value for arg in node.args if arg.keyword == "inputs"), None)
            inputs = inputs or (values[1] if len(values) > 1 else None)
            return self.of(inputs, depth) if inputs is not None else None
        if last == "range" and values:
            if len(values) == 1:
                return self.number(values[0], depth)
            first, end = self._facts.values.number(values[0]), self.number(values[1], depth)
            return end.longer(-first, 0) if end is not None and isinstance(first, int) and len(values) == 2 else None
        if last == "reversed" and values:
            found = self.of(values[0], depth)
            return Length(found.base, found.back, found.front) if found is not None else None
        if last in _SAME and values:
            return self.of(values[0], depth)
        if last == "zip" and values:
            return next((length for value in values if (length := self.of(value, depth)) is not None), None)
        function = self._names.function_called(node)
        returned = self._names.returned(function) if function is not None else []
        if function is None or len(returned) != 1:
            return None
        found_there = self.of(returned[0], depth)
        return self._given(found_there, function, node) if found_there is not None else None

    def _given(self, length: Length, function: ir.FunctionDef, call: ir.Call) -> Length:
        """The length of what a function returns, with the arguments of the call."""
        home, _, text = length.base.partition(":")
        if home != str(function.nid):
            return length
        params = [p.name for p in function.params if p.name not in ("self", "cls")]
        root, dot, rest = text.lstrip("#").partition(".")
        if root not in params:
            return length
        position = params.index(root)
        given = [
            arg.value
            for number, arg in enumerate(call.args)
            if arg.keyword == root or (not arg.keyword and number == position)
        ]
        if not given or not isinstance(given[0], ir.Name | ir.Attr):
            return length
        if not dot and not text.startswith("#"):
            inner = self.of(given[0])
            return inner.longer(length.front, length.back) if inner is not None else length
        key = self._key(given[0], "#" if text.startswith("#") else "")
        return Length(f"{key}{dot}{rest}", length.front, length.back)

    def _filled(self, bound: list[Binding], depth: int) -> Length | None:
        """A list that is made once and gets one entry a turn of one loop, and others before and behind it."""
        made = [b for b in bound if b.how == "value"]
        if len(made) != 1 or made[0].value is None or any(b.how not in ("value", "item", "update") for b in bound):
            return None
        found = self.of(made[0].value, depth)
        outside = {node.nid for node in self._names.ancestors(made[0].node)}
        turned: ir.Expr | None = None
        for binding in bound:
            if not _grows(binding):
                continue
            around = [node for node in self._names.ancestors(binding.node) if node.nid not in outside]
            around = [node for node in around if isinstance(node, ir.For | ir.While | ir.If | ir.Try | ir.FunctionDef)]
            if found is None or any(not isinstance(node, ir.For) for node in around) or len(around) > 1:
                return None
            if around:
                loop = around[0]
                if turned is not None or not isinstance(loop, ir.For) or _stops(loop):
                    return None
                turned = binding.value
                inner = self.of(loop.iter, depth)
                found = self._joined(found, inner)
            else:
                # The last state of `hs.append(h); h = block(h)` behind the loop: the first is the input.
                first = turned is None or (binding.value is not None and ir.same(turned, binding.value))
                found = found.longer(int(first), int(not first))
        return found

    def _value(self, node: ir.Name | ir.Attr) -> ir.Expr | None:
        """What a name or an attribute is bound to, where that is one expression."""
        bound = self._names.reaching(node) if isinstance(node, ir.Name) else self._names.self_attribute(node)
        return bound[0].value if len(bound) == 1 and bound[0].how == "value" else None

    def _key(self, node: ir.Name | ir.Attr, mark: str) -> str:
        """A name for what is not known: of an attribute by its class, else by the function that owns it."""
        text = self._facts.source(node)
        owner: ir.Node | None = self._names.enclosing_class(node) if text.startswith("self.") else None
        if owner is None:
            owner = self._names.enclosing_function(node)
        return f"{owner.nid if owner is not None else 0}:{mark}{text}"


def _grows(binding: Binding) -> bool:
    match binding.node:
        case ir.Call(func=ir.Attr(attr="append" | "insert" | "extend" | "setdefault")):
            return True
        case ir.AugAssign():
            return True
    return False


def _stops(loop: ir.For) -> bool:
    return any(isinstance(node, ir.Simple) and node.kind in ("break", "continue") for node in ir.walk(loop.body))


def _is_plural(node: ir.Expr) -> bool:
    """Return True for a list that is kept: ``blocks``, ``self.Bs``."""
    name = ir.last_name(node)
    return name in ("blocks", "layers", "Bs", "feedbacks") or name.endswith(
        ("_blocks", "_layers", "feedback", "matrices")
    )
