"""Numbers put in the place of an alignment: under a mask, in a branch, as a default, by a library call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fa_lint.findings import Edit
from fa_lint.rules.common.alignments import SHOWN, Alignment, Alignments, alignments
from fa_lint.rules.common.measure_words import TRAINED
from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.names import Binding
from fa_lint.semantics.words import words

__all__ = ["Fabrication", "as_missing", "fabrications", "literal"]

# A state that begins at a number, not a measurement that is missing.
_STATE = frozenset(
    "prev previous last best worst max min maximum minimum old init initial running total sum acc accum accumulated "
    "ema "
    "count counter threshold target loss cost lr weight weights coef scale factor offset".split()
)
_NUMBERS = frozenset("tensor as_tensor array asarray float float32 float64 Tensor".split())
_CONSTANTS = frozenset("zeros ones zeros_like ones_like".split())
_FILLED = frozenset({"full", "full_like"})
_NAN_TESTS = frozenset({"isnan", "isinf", "isfinite", "logical_not", "logical_or", "logical_and", "isclose", "is_nan"})
# The diagonal of a matrix of all pairs is left out on purpose.
_DIAGONAL = frozenset({"eye", "diag", "diagonal", "triu", "tril", "fill_diagonal_"})


@dataclass(frozen=True, slots=True)
class Fabrication:
    """``node`` puts ``constant`` in the place of ``alignment``; ``replaceable`` where NaN can be written instead."""

    node: ir.Node
    constant: ir.Expr | None
    alignment: Alignment
    reason: str
    replaceable: bool = True


def literal(node: ir.Expr | None) -> ir.Expr | None:
    """Return an expression that is one number always: ``0.0``, ``torch.tensor(0.0)``, ``zeros_like(c)``."""
    match node:
        case ir.Call(func=func, args=[ir.Arg(value=inner, keyword=None), *rest]):
            name = ir.last_name(func)
            if name in _CONSTANTS or (name in _NUMBERS and literal(inner) is not None):
                return node
            if name in _FILLED and rest and literal(rest[0].value) is not None:
                return node
            return None
        case ir.Const(value=value):
            return node if isinstance(value, int | float) and not isinstance(value, bool) else None
        case ir.Unary(op="-" | "+", operand=ir.Const() as inner):
            return node if literal(inner) is not None else None
    return None


def fabrications(facts: ModuleFacts) -> Iterator[Fabrication]:
    """Every fabricated alignment of a module, in source order."""
    finder = _Finder(facts)
    for node in facts.nodes_of(ir.Assign, ir.Conditional, ir.Return, ir.Call):
        match node:
            case ir.Assign():
                yield from finder.assigned(node)
            case ir.Conditional():
                yield from finder.conditional(node)
            case ir.Return(value=ir.Expr() as value):
                yield from finder.returned(node, value)
            case ir.Call():
                yield from finder.called(node)


class _Finder:
    def __init__(self, facts: ModuleFacts) -> None:
        self._facts = facts
        self._names = facts.names
        self._known: Alignments = alignments(facts)

    # -- assignments ------------------------------------------------------------------------------------------

    def assigned(self, node: ir.Assign) -> Iterator[Fabrication]:
        if self._in_handler(node):
            return
        for target, value in _pairs(node):
            constant = literal(value)
            if constant is None:
                continue
            match target:
                case ir.Subscript(value=container, index=index):
                    found = self._known.of(container)
                    if found.is_measured and not self._judges_itself(index, container):
                        if any(self._is_mask(part) for part in index):
                            yield Fabrication(node, constant, found, "a mask says that it has no value")
                        elif self._has_sibling(node, target):
                            yield Fabrication(node, constant, found, "the branch has nothing to compare")
                case ir.Name():
                    yield from self._named(node, target, constant)
                case ir.Attr():
                    found = self._known.of(target)
                    if found.is_measured and self._has_sibling(node, target):
                        yield Fabrication(node, constant, found, "the branch has nothing to compare")

    def _named(self, node: ir.Assign, target: ir.Name, constant: ir.Expr) -> Iterator[Fabrication]:
        bindings = self._names.bindings(target)
        if set(words(target.id)) & _STATE or any(b.how in ("update", "param") for b in bindings):
            return
        if any(_adds_to(b.value, target.id) for b in bindings):
            return
        others = [(b, found) for b in bindings if (found := self._known.bound(b)).is_measured]
        if not others or self._is_accounted_for(target, bindings):
            return
        for binding, found in others:
            if self._may_stay(node, binding, target.id):
                yield Fabrication(node, constant, found, "the branch has nothing to compare")
                return

    def _is_accounted_for(self, target: ir.Name, bindings: list[Binding]) -> bool:
        """Return True for an array whose other entries are set as well, or of which a mask keeps those that are set."""
        stored = [b for b in bindings if b.how == "item"]
        if any(not self._known.bound(b).is_measured for b in stored):
            return True
        stores = {id(b.node) for b in stored}
        reads = [
            use
            for use in ir.walk(self._names.scope_of(target).node)
            if isinstance(use, ir.Name) and use.id == target.id and use.nid > target.nid
            if id(self._names.statement(use)) not in stores
        ]
        return bool(stored and reads) and all(self._is_masked(use) for use in reads)

    def _is_masked(self, use: ir.Name) -> bool:
        match self._names.parent(use):
            case ir.Subscript(value=value, index=[ir.Name() | ir.Compare() | ir.Unary(op="~") as index]):
                return value is use and (not isinstance(index, ir.Name) or self._is_mask_name(index))
        return False

    def _is_mask_name(self, name: ir.Name) -> bool:
        """Return True for an array of truth values: entries of it are set, or a comparison makes it."""
        bindings = self._names.bindings(name)
        stored = any(b.how == "item" and isinstance(b.value, ir.Const) and b.value.value is True for b in bindings)
        return stored or self._is_mask(name)

    def _may_stay(self, constant: ir.Stmt, binding: Binding, name: str) -> bool:
        """True if a constant and an alignment reach one use, because a branch decides between them."""
        around = [n.nid for n in self._names.ancestors(constant)]
        deciding: ir.Node | None = None
        for outer in self._names.ancestors(binding.node):
            if isinstance(outer, ir.If | ir.Try | ir.Match):
                deciding = outer
                if isinstance(outer, ir.If) and (self._mentions(outer.test, name) or self._orders_cosines(outer.test)):
                    return False
            if outer.nid in around:
                break
        for outer in self._names.ancestors(constant):
            if isinstance(outer, ir.If) and (self._mentions(outer.test, name) or self._orders_cosines(outer.test)):
                return False
            if isinstance(outer, ir.If) and outer.nid in [n.nid for n in self._names.ancestors(binding.node)]:
                deciding = outer
        if deciding is None and not self._is_guarded(constant, around, binding):
            return False
        scope = self._names.scope_of(constant).node
        for use in ir.walk(scope):
            if isinstance(use, ir.Name) and use.id == name:
                reaching = {id(b.node) for b in self._names.reaching(use)}
                if id(constant) in reaching and id(binding.node) in reaching:
                    return True
        return False

    def _is_guarded(self, constant: ir.Stmt, around: list[int], binding: Binding) -> bool:
        """True if the constant is assigned under an ``if`` that the alignment does not stand under."""
        inside = {n.nid for n in self._names.ancestors(binding.node)}
        return any(
            isinstance(outer, ir.If) and outer.nid not in inside and binding.node.nid < constant.nid
            for outer in self._names.ancestors(constant)
        )

    def _has_sibling(self, node: ir.Stmt, target: ir.Expr) -> bool:
        """True if the other branch of an ``if`` around a statement gives the same target an alignment."""
        inner: ir.Node = node
        for outer in self._names.ancestors(node):
            if isinstance(outer, ir.FunctionDef):
                return False
            if isinstance(outer, ir.If) and inner is not outer.test:
                if self._orders_cosines(outer.test):
                    return False
                other = outer.orelse if inner is outer.body else outer.body
                for part in ir.walk(other) if other is not None else self._behind(outer):
                    if any(
                        ir.same(filled, target) for filled, value in _fillings(part) if self._known.of(value).is_cosine
                    ):
                        return True
            inner = outer
        return False

    def _behind(self, branch: ir.If) -> Iterator[ir.Node]:
        """What runs where a branch that ends its turn is not taken: the statements behind it."""
        block = self._names.parent(branch)
        if not isinstance(block, ir.Block) or not _ends(branch.body):
            return
        for statement in block.body:
            if statement.nid > branch.nid:
                yield from ir.walk(statement)

    # -- expressions ------------------------------------------------------------------------------------------

    def conditional(self, node: ir.Conditional) -> Iterator[Fabrication]:
        if self._in_handler(node) or self._orders_cosines(node.test):
            return
        for constant, other in ((literal(node.body), node.orelse), (literal(node.orelse), node.body)):
            found = self._known.of(other if constant is not None else None)
            if found.is_measured and not self._is_state(node):
                yield Fabrication(node, constant, found, "there is nothing to compare")

    def returned(self, node: ir.Return, value: ir.Expr) -> Iterator[Fabrication]:
        function = self._names.enclosing_function(node)
        if function is None or self._in_handler(node):
            return
        items = list(enumerate(value.items)) if isinstance(value, ir.Sequence) else [(None, value)]
        for index, item in items:
            constant = literal(item)
            if constant is None or self._under_ordered_cosine(node):
                continue
            found = self._known.returned(function, index)
            if found.is_measured and not self._is_start_of_a_sum(function, index, constant):
                yield Fabrication(node, constant, found, "there is nothing to compare")
                return

    def _is_start_of_a_sum(self, function: ir.FunctionDef, index: int | None, constant: ir.Expr) -> bool:
        """Return True if the constant is what the other value begins with: the sum over no pairs is 0."""
        for value in self._names.returned(function, index):
            if isinstance(value, ir.Name):
                bindings = self._names.bindings(value)
                if any(b.how == "update" for b in bindings):
                    return any(
                        b.how == "value" and b.value is not None and ir.same(b.value, constant) for b in bindings
                    )
        return False

    def called(self, node: ir.Call) -> Iterator[Fabrication]:
        if self._is_state(node):
            return
        yield from self._filled(node)
        name = self._facts.qualified(node.func)
        last = (name or "").rpartition(".")[2] or ir.last_name(node.func)
        values = [arg.value for arg in node.args if arg.keyword is None]
        if (
            name is None
            and isinstance(node.func, ir.Attr)
            and last in ("nan_to_num", "nan_to_num_", "masked_fill", "masked_fill_")
        ):
            values = [node.func.value, *values]
        elif name is None:
            return
        match last, values:
            case (("nan_to_num" | "nan_to_num_"), [value, *rest]):
                # NumPy's second argument is ``copy``.
                second = rest[0] if rest and not (name or "").startswith("numpy.") else None
                given = next((a.value for a in node.args if a.keyword == "nan"), second)
                found = self._known.of(value)
                if found.is_measured and (given is None or literal(given) is not None):
                    yield Fabrication(node, literal(given), found, "it is NaN", replaceable=False)
            case (("masked_fill" | "masked_fill_"), [value, mask, filler]):
                found = self._known.of(value)
                if found.is_measured and literal(filler) is not None and not self._judges_itself([mask], value):
                    yield Fabrication(node, literal(filler), found, "a mask says that it has no value")
            case "where", [mask, one, two]:
                for constant, other in ((literal(one), two), (literal(two), one)):
                    found = self._known.of(other if constant is not None else None)
                    if found.is_measured and not self._judges_itself([mask], other):
                        yield Fabrication(node, constant, found, "a mask says that it has no value")

    def _filled(self, node: ir.Call) -> Iterator[Fabrication]:
        """``cosines.append(0.0)`` beside one of a cosine, ``cosines.get(name, 0.0)``."""
        match node:
            case ir.Call(func=ir.Attr(attr="append", value=container), args=[ir.Arg(value=value)]):
                statement = self._names.statement(node)
                if literal(value) is None or statement is None or self._in_handler(node):
                    return
                found = self._known.of(container)
                if found.is_measured and self._has_sibling(statement, container):
                    yield Fabrication(node, value, found, "the branch has nothing to compare")
            case ir.Call(func=ir.Attr(attr="get", value=container), args=[_, ir.Arg(value=value)]):
                found = self._known.of(container if literal(value) is not None else None)
                if found.is_measured and found.strength >= SHOWN:
                    yield Fabrication(node, value, found, "nothing stands under the key")

    # -- tests ------------------------------------------------------------------------------------------------

    def _in_handler(self, node: ir.Node) -> bool:
        """A constant in an ``except`` block is the affair of swallowed-metric-error."""
        return any(isinstance(outer, ir.Handler) for outer in self._names.ancestors(node))

    def _is_state(self, node: ir.Expr) -> bool:
        statement = self._names.statement(node)
        function = self._names.enclosing_function(node)
        if function is not None and set(words(function.name)) & TRAINED:
            return True
        if isinstance(statement, ir.Assign):
            return any(set(words(ir.last_name(target))) & (_STATE | TRAINED) for target in statement.targets)
        return isinstance(statement, ir.AugAssign)

    def _is_mask(self, node: ir.Expr, depth: int = 0) -> bool:
        if depth > 4:
            return False
        match node:
            case ir.Compare() | ir.Bool():
                return not self._is_diagonal(node)
            case ir.Unary(op="~" | "not", operand=operand):
                return not self._is_diagonal(operand)
            case ir.Binary(op="&" | "|", left=left, right=right):
                return self._is_mask(left, depth + 1) or self._is_mask(right, depth + 1)
            case ir.Call(func=func):
                return ir.last_name(func) in _NAN_TESTS
            case ir.Name():
                values = [b.value for b in self._names.reaching(node) if b.how == "value" and b.value is not None]
                return any(self._is_mask(value, depth + 1) for value in values)
        return False

    def _is_diagonal(self, node: ir.Expr) -> bool:
        return any(isinstance(part, ir.Call) and ir.last_name(part.func) in _DIAGONAL for part in ir.walk(node))

    def _judges_itself(self, tests: list[ir.Expr], value: ir.Expr) -> bool:
        """``cos[cos < 0] = 0`` clips a measured value; ``cos[isnan(cos)]`` and ``cos[cos != cos]`` do not."""
        expanded = list(tests)
        for test in tests:
            if isinstance(test, ir.Name):
                expanded += [b.value for b in self._names.reaching(test) if b.value is not None]
        return any(self._orders_cosines(test) or self._is_diagonal(test) for test in expanded)

    def _orders_cosines(self, test: ir.Expr) -> bool:
        for part in ir.walk(test):
            if isinstance(part, ir.Compare) and set(part.ops) & {"<", "<=", ">", ">="}:
                if any(self._known.of(side).is_cosine for side in (part.left, *part.comparators)):
                    return True
        return False

    def _under_ordered_cosine(self, node: ir.Node) -> bool:
        return any(isinstance(n, ir.If) and self._orders_cosines(n.test) for n in self._names.ancestors(node))

    def _mentions(self, test: ir.Expr, name: str) -> bool:
        """Return True where a test reads the value of a name, more than whether it is a number at all."""
        asked = test.operand if isinstance(test, ir.Unary) else test
        if isinstance(asked, ir.Call) and ir.last_name(asked.func) in _NAN_TESTS:
            return False
        return any(isinstance(part, ir.Name) and part.id == name for part in ir.walk(test))


def _fillings(node: ir.Node) -> Iterator[tuple[ir.Expr, ir.Expr]]:
    """What a statement or call puts where: an assignment, an appended element."""
    match node:
        case ir.Assign(targets=targets, value=value):
            yield from ((target, value) for target in targets)
        case ir.Call(func=ir.Attr(attr="append", value=container), args=[ir.Arg(value=value)]):
            yield container, value


def _ends(block: ir.Block) -> bool:
    return bool(block.body) and isinstance(block.body[-1], ir.Simple) and block.body[-1].kind in ("continue", "break")


def as_missing(node: ir.Expr, facts: ModuleFacts) -> Edit | None:
    """Return the edit that makes a number, or an array of one number, NaN and keeps its type and shape."""
    missing = 'float("nan")'
    start, end = facts.span(node)
    if not isinstance(node, ir.Call):
        return Edit(start, end, missing)
    name, args = ir.last_name(node.func), node.args
    library = (facts.qualified(node.func) or "").partition(".")[0]
    if name in _NUMBERS:
        return Edit(*facts.span(args[0].value), missing) if literal(args[0].value) is not None else None
    if name in _FILLED:
        return Edit(*facts.span(args[1].value), missing)
    if library == "torch":
        return Edit(end, end, f".fill_({missing})")
    if library in ("numpy", "jax") and len(args) == 1:
        head = facts.source(node.func).removesuffix(name)
        full = "full_like" if name.endswith("_like") else "full"
        return Edit(start, end, f"{head}{full}({facts.source(args[0].value)}, {missing})")
    return None


def _pairs(node: ir.Assign) -> Iterator[tuple[ir.Expr, ir.Expr]]:
    for target in node.targets:
        if isinstance(target, ir.Sequence):
            if isinstance(node.value, ir.Sequence) and len(node.value.items) == len(target.items):
                yield from zip(target.items, node.value.items, strict=True)
        else:
            yield target, node.value


def _adds_to(value: ir.Expr | None, name: str) -> bool:
    """Return True for ``total + x``, which is bound to ``total``."""
    match value:
        case ir.Binary(op="+" | "-" | "*", left=left, right=right):
            return any(isinstance(side, ir.Name) and side.id == name for side in (left, right))
    return False
