"""Reaching definitions of one function or module, found on demand.

The statements become basic blocks once; a read walks back from its block to the definitions that reach it. Dotted names
(``self.g``, ``cfg.eps``) are variables like any other, and an update in place (``x.mul_()``, ``x[k] = v``, ``+=``,
``append``) is a definition that reads the one before it. Nothing is copied along the branches, so two thousand of them
cost two thousand steps.

The construction follows M. Braun et al., "Simple and Efficient Construction of Static Single Assignment Form", CC 2013.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from fa_lint.semantics import ir

__all__ = ["Block", "Definition", "Flow", "Join", "container_of", "dotted"]

How = Literal["value", "unpack", "iterate", "context", "update", "method", "store", "delete", "bound"]
# Methods that change what they are called on.
_CHANGING = frozenset({"append", "extend", "insert", "add", "update", "setdefault", "appendleft"})
_IN_PLACE = frozenset(
    "mul_ div_ add_ sub_ clamp_ clamp_min_ clamp_max_ sqrt_ rsqrt_ pow_ neg_ copy_ zero_ fill_ normal_ uniform_ abs_ "
    "square_ reciprocal_ masked_fill_ nan_to_num_ lerp_ addcmul_ addcdiv_ sign_ true_divide_ clip_ squeeze_ unsqueeze_ "
    "t_ transpose_ detach_ requires_grad_ data".split()
)
_SAME_VALUE = frozenset({"requires_grad_", "detach_", "squeeze_", "unsqueeze_", "t_", "transpose_", "data"})


@dataclass(slots=True, eq=False)
class Definition:
    """``node`` gives ``name`` a value; ``path`` are the positions of an unpacking, outermost first."""

    name: str
    how: How
    node: ir.Node
    value: ir.Expr | None
    path: tuple[int, ...] = ()
    block: int = 0
    order: int = 0


@dataclass(slots=True, eq=False)
class Block:
    number: int
    # Where control comes from, and by which arm of which branch.
    before: list[tuple[int, tuple[int, int] | None]] = field(default_factory=list)
    definitions: dict[str, list[Definition]] = field(default_factory=dict)
    loops: tuple[int, ...] = ()
    # The number of blocks that come from outside, where this is the head of a loop, and its statement.
    entries: int = -1
    loop: int = 0


@dataclass(frozen=True, slots=True)
class Join:
    """Several definitions can reach the start of a block."""

    name: str
    block: int
    inside: bool


def dotted(node: ir.Expr) -> str | None:
    """Return ``a.b.c`` for names and attributes of names."""
    parts: list[str] = []
    while isinstance(node, ir.Attr):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ir.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def container_of(node: ir.Expr) -> ir.Expr:
    """Return ``d`` of ``d[k]`` and of ``d.setdefault(k, [])``, whose items are its own."""
    while True:
        match node:
            case ir.Subscript(value=inner) | ir.Call(func=ir.Attr(attr="setdefault", value=inner)):
                node = inner
            case _:
                return node


class Flow:
    """Blocks and definitions of the statements of a function, a module or a class body."""

    def __init__(self, body: ir.Block, root: int) -> None:
        self.blocks: list[Block] = []
        # Statement number → block and order in it.
        self.places: dict[int, tuple[int, int]] = {}
        self.returns: list[tuple[ir.Return, int]] = []
        # The tests of `if` statements, by the number of the statement.
        self.tests: dict[int, ir.Expr] = {}
        self._order = 0
        self._starts: dict[tuple[str, int], Definition | Block | None] = {}
        self._loops: tuple[int, ...] = ()
        self._breaks: list[list[tuple[int, tuple[int, int] | None]]] = []
        self._heads: list[int] = []
        self._root = root
        start = self._block([])
        last = self._statements(body.body, start)
        self.end = self._block([(last, None)] if last is not None else [(start, None)])
        counts = Counter(name for block in self.blocks for name, found in block.definitions.items() for _ in found)
        self.names: set[str] = set(counts)
        # Names that are bound, or whose value is changed, in more than one place.
        self.rebound = frozenset(name for name, count in counts.items() if count > 1)

    # -- reading ----------------------------------------------------------------------------------------------

    def reaching(self, name: str, block: int, order: int) -> Definition | Join | None:
        """Return what gives a name its value at a place, or None where nothing here does."""
        inside = self.blocks[block].loops
        for definition in reversed(self.blocks[block].definitions.get(name, ())):
            if definition.order < order:
                return definition
        found = self._before(name, block)
        return Join(name, found.number, found.number in inside) if isinstance(found, Block) else found

    def _before(self, name: str, block: int) -> Definition | Block | None:
        """What reaches the start of a block: a definition, or the block where several come together."""
        walked: list[tuple[str, int]] = []
        found: Definition | Block | None = None
        while True:
            key = (name, block)
            if key in self._starts:
                found = self._starts[key]
                break
            walked.append(key)
            here = self.blocks[block]
            if not here.before:
                break
            if len(here.before) > 1:
                found = here
                break
            block = here.before[0][0]
            definitions = self.blocks[block].definitions.get(name)
            if definitions:
                found = definitions[-1]
                break
        self._starts.update(dict.fromkeys(walked, found))
        return found

    def before(
        self, join: Join, idle: frozenset[int] = frozenset()
    ) -> Iterator[tuple[Definition | Join | None, tuple[int, int] | None, bool]]:
        """What comes into a join: from where, by which arm, and whether round a loop; nothing from ``idle`` blocks."""
        here = self.blocks[join.block]
        for index, (block, arm) in enumerate(here.before):
            if block in idle:
                continue
            source = self.reaching(join.name, block, self._order + 1)
            yield source, arm or (join.block, index), 0 <= here.entries <= index

    # -- building ---------------------------------------------------------------------------------------------

    def _block(self, before: list[tuple[int, tuple[int, int] | None]]) -> int:
        number = len(self.blocks)
        self.blocks.append(Block(number, before, loops=self._loops))
        return number

    def _define(self, block: int, definition: Definition) -> None:
        self._order += 1
        definition.block, definition.order = block, self._order
        self.blocks[block].definitions.setdefault(definition.name, []).append(definition)

    def _statements(self, body: list[ir.Stmt], block: int | None) -> int | None:
        """Add statements to a block; return the one in which control goes on, or None."""
        for statement in body:
            if block is None:
                # Code behind a return: never run, and nothing reaches it.
                block = self._block([])
            block = self._statement(statement, block)
        return block

    def _statement(self, node: ir.Stmt, block: int) -> int | None:
        self._order += 1
        self.places[node.nid] = (block, self._order)
        match node:
            case ir.If():
                return self._branches(node, block)
            case ir.For():
                self._expressions(node.iter, block)
                return self._loop(node, block, node.target)
            case ir.While():
                self._expressions(node.test, block)
                return self._loop(node, block, None)
            case ir.Try():
                return self._try(node, block)
            case ir.With():
                for item in node.items:
                    self._expressions(item.context, block)
                    if item.target is not None:
                        self._bind(item.target, "context", item.context, item, block)
                return self._statements(node.body.body, block)
            case ir.Match():
                return self._match(node, block)
            case ir.Return():
                if node.value is not None:
                    self._expressions(node.value, block)
                self.returns.append((node, block))
                return None
            case ir.Raise():
                return None
            case ir.Simple(kind="break"):
                if self._breaks:
                    self._breaks[-1].append((block, None))
                return None
            case ir.Simple(kind="continue"):
                if self._heads:
                    self.blocks[self._heads[-1]].before.append((block, None))
                return None
            case ir.FunctionDef() | ir.ClassDef():
                self._define(block, Definition(node.name, "bound", node, None))
            case _:
                self._simple(node, block)
        return block

    def _simple(self, node: ir.Stmt, block: int) -> None:
        for part in ir.children(node):
            if isinstance(part, ir.Expr):
                self._expressions(part, block)
        match node:
            case ir.Assign(targets=targets, value=value):
                for target in targets:
                    self._bind(target, "value", value, node, block)
            case ir.AnnAssign(target=target, value=ir.Expr() as value):
                self._bind(target, "value", value, node, block)
            case ir.AugAssign(target=target, value=value):
                self._bind(target, "update", value, node, block)
            case ir.Import():
                for name, local in node.aliases:
                    self._define(block, Definition(local or name.partition(".")[0], "bound", node, None))
            case ir.ImportFrom(names=list() as names):
                for name, local in names:
                    self._define(block, Definition(local or name, "bound", node, None))
            case ir.Delete(target=target):
                named = dotted(target)
                if named is not None:
                    self._define(block, Definition(named, "delete", node, None))

    def _expressions(self, node: ir.Expr, block: int) -> None:
        """Definitions inside an expression: walruses and methods that change their object."""
        stack: list[ir.Node] = [node]
        while stack:
            part = stack.pop()
            match part:
                case ir.Lambda():
                    continue
                case ir.Walrus(target=target, value=value):
                    self._bind(target, "value", value, part, block)
                case ir.Call(func=ir.Attr(value=receiver, attr=attr)) if attr in _CHANGING or attr in _IN_PLACE:
                    name = dotted(container_of(receiver))
                    if name is not None and attr not in _SAME_VALUE:
                        self._define(block, Definition(name, "method", part, None))
            stack.extend(ir.children(part))

    def _bind(
        self, target: ir.Expr, how: How, value: ir.Expr, node: ir.Node, block: int, path: tuple[int, ...] = ()
    ) -> None:
        match target:
            case ir.Name() | ir.Attr():
                name = dotted(target)
                if name is not None:
                    self._define(block, Definition(name, how, node, value, path))
            case ir.Starred(value=inner):
                self._bind(inner, how, value, node, block, (*path, -1))
            case ir.Sequence(items=items):
                for position, item in enumerate(items):
                    if how == "value" and not path and isinstance(value, ir.Sequence):
                        if len(value.items) == len(items):
                            self._bind(item, how, value.items[position], node, block)
                            continue
                    self._bind(item, "unpack" if how == "value" else how, value, node, block, (*path, position))
            case ir.Subscript(value=container):
                while isinstance(container, ir.Subscript):
                    container = container.value
                name = dotted(container)
                if name is not None:
                    self._define(block, Definition(name, "store" if how != "update" else "update", node, value))

    def _branches(self, node: ir.If, block: int) -> int | None:
        ends: list[tuple[int, tuple[int, int] | None]] = []
        arm = 0
        following: ir.Stmt | ir.Block | None = node
        # An elif chain is a loop here, so that its length is no depth.
        while isinstance(following, ir.If):
            self.places.setdefault(following.nid, (block, self._order))
            self._expressions(following.test, block)
            self.tests[following.nid] = following.test
            label = (following.nid, 0)
            end = self._statements(following.body.body, self._block([(block, label)]))
            if end is not None:
                ends.append((end, (node.nid, arm)))
            arm += 1
            block = self._block([(block, (following.nid, 1))])
            following = following.orelse
        last = self._statements(following.body, block) if isinstance(following, ir.Block) else block
        if last is not None:
            ends.append((last, (node.nid, arm)))
        return self._block(ends) if ends else None

    def _loop(self, node: ir.For | ir.While, block: int, target: ir.Expr | None) -> int:
        outer = self._loops
        head = self._block([(block, None)])
        self._loops = (*outer, head)
        self.blocks[head].loops = self._loops
        self.blocks[head].entries = 1
        self.blocks[head].loop = node.nid
        self._breaks.append([])
        self._heads.append(head)
        body = self._block([(head, None)])
        if target is not None and isinstance(node, ir.For):
            self._bind(target, "iterate", node.iter, node, body)
        end = self._statements(node.body.body, body)
        if end is not None:
            self.blocks[head].before.append((end, None))
        self._heads.pop()
        breaks = self._breaks.pop()
        self._loops = outer
        after = self._block([(head, None)])
        last = self._statements(node.orelse.body, after) if node.orelse is not None else after
        ends = [*breaks, *([(last, None)] if last is not None else [])]
        return self._block(ends) if breaks and ends else after if last is None else last

    def _try(self, node: ir.Try, block: int) -> int | None:
        end = self._statements(node.body.body, self._block([(block, None)]))
        if end is not None and node.orelse is not None:
            end = self._statements(node.orelse.body, end)
        ends: list[tuple[int, tuple[int, int] | None]] = [(end, (node.nid, 0))] if end is not None else []
        for arm, handler in enumerate(node.handlers, 1):
            caught = self._block([(block, None)])
            if handler.name is not None:
                self._define(caught, Definition(handler.name, "bound", handler, None))
            last = self._statements(handler.body.body, caught)
            if last is not None:
                ends.append((last, (node.nid, arm)))
        joined = self._block(ends) if ends else None
        if node.finalbody is None:
            return joined
        after = self._statements(node.finalbody.body, joined if joined is not None else self._block([(block, None)]))
        return after if joined is not None else None

    def _match(self, node: ir.Match, block: int) -> int | None:
        self._expressions(node.subject, block)
        ends: list[tuple[int, tuple[int, int] | None]] = [(block, (node.nid, 0))]
        for arm, case in enumerate(node.cases, 1):
            last = self._statements(case.body.body, self._block([(block, (case.nid, 0))]))
            if last is not None:
                ends.append((last, (node.nid, arm)))
        return self._block(ends)
