"""Values that an error leaves marked as missing: recorded as NaN before the attempt, or looked for behind it."""

from __future__ import annotations

from collections.abc import Iterator

from fa_lint.semantics import ir
from fa_lint.semantics.facts import ModuleFacts

__all__ = ["is_accounted", "is_missing", "is_retried", "starts_missing"]

_FILLED = frozenset("full full_like fromkeys defaultdict Series".split())
_FILLS = frozenset("fill fill_ fill_value".split())
_WITH_DEFAULT = frozenset("get setdefault reindex pop".split())
_DIFFERENCES = frozenset("difference symmetric_difference".split())
_SHOWN = frozenset("print warn warning error exception info debug critical log write echo add_scalar".split())


def starts_missing(body: ir.Block, facts: ModuleFacts) -> bool:
    """True if all that a block binds held None or NaN before, so that an error leaves the value marked."""
    targets = [t for s in body.body if isinstance(s, ir.Assign) for t in s.targets]
    return bool(targets) and all(_was_missing(target, body, facts) for target in targets)


def is_accounted(body: ir.Block, facts: ModuleFacts) -> bool:
    """True if what is missing in the containers that a block fills is looked for afterwards."""
    names = [name for statement in body.body if (name := _container(statement)) is not None]
    return bool(names) and all(_is_looked_through(name, body, facts) for name in names)


def is_retried(attempt: ir.Node, body: ir.Block, facts: ModuleFacts) -> bool:
    """True for an attempt that returns from a loop, behind which an error or NaN stands for no success."""
    if not body.body or not isinstance(body.body[-1], ir.Return):
        return False
    loop = next((n for n in facts.names.ancestors(attempt) if isinstance(n, ir.For | ir.While)), None)
    block = facts.names.parent(loop) if loop is not None else None
    if not isinstance(block, ir.Block):
        return False
    match next((s for s in block.body if loop is not None and s.nid > loop.nid), None):
        case ir.Raise():
            return True
        case ir.Return(value=value):
            return value is not None and is_missing(value, facts)
    return False


def is_missing(node: ir.Expr | None, facts: ModuleFacts) -> bool:
    """Return True for None and NaN."""
    match node:
        case ir.Const(value=None):
            return True
        case ir.Call(func=ir.Name(id="float"), args=[ir.Arg(value=ir.Const(value=str() as text))]):
            return "nan" in text.lower()
        case ir.Call(func=func, args=[ir.Arg(value=value), *_]) if ir.last_name(func) in ("tensor", "array", "float32"):
            return is_missing(value, facts)
        case ir.Attr(attr="nan" | "NaN") | ir.Name(id="nan" | "NaN" | "NAN"):
            return True
    number = facts.values.number(node) if node is not None else None
    return number is not None and number != number


def _was_missing(target: ir.Expr, body: ir.Block, facts: ModuleFacts) -> bool:
    match target:
        case ir.Name():
            before = [b for b in facts.names.bindings(target) if b.node.nid < body.nid and b.how == "value"]
            return bool(before) and is_missing(before[-1].value, facts)
        case ir.Subscript(value=ir.Name() as container):
            return _is_filled(container, body, facts) or _is_set_before(target, body, facts)
    return False


def _is_filled(container: ir.Name, body: ir.Block, facts: ModuleFacts) -> bool:
    """True for a container that was made full of missing values, or filled with them before."""
    before = [b for b in facts.names.bindings(container) if b.node.nid < body.nid and b.how == "value"]
    if before and before[-1].value is not None and _is_made_missing(before[-1].value, facts):
        return True
    for node in ir.walk(facts.names.scope_of(body).node):
        if node.nid >= body.nid:
            break
        match node:
            case ir.Call(func=ir.Attr(attr=attr, value=ir.Name(id=name)), args=[ir.Arg(value=value)]):
                if attr in _FILLS and name == container.id and is_missing(value, facts):
                    return True
            case ir.Assign(targets=[ir.Subscript(value=ir.Name(id=name), index=[index])], value=value):
                everything = isinstance(index, ir.Slice) or (isinstance(index, ir.Const) and index.value is ...)
                if everything and name == container.id and is_missing(value, facts):
                    return True
    return False


def _is_made_missing(node: ir.Expr, facts: ModuleFacts) -> bool:
    match node:
        case ir.Comprehension(elements=[*_, value]):
            return is_missing(value, facts)
        case ir.Keyed(values=values) if values:
            return all(is_missing(value, facts) for value in values)
        case ir.Sequence(items=items) if items:
            return all(is_missing(item, facts) for item in items)
        case ir.Binary(op="*", left=left, right=right):
            return any(is_missing(side, facts) or _is_made_missing(side, facts) for side in (left, right))
        case ir.Lambda(body=body):
            return is_missing(body, facts)
        case ir.Call(func=func, args=args):
            if ir.last_name(func) == "fromkeys" and len(args) == 1:
                return True  # None for each
            if ir.last_name(func) in _FILLED | _FILLS | {"dict", "new_full"}:
                return any(is_missing(a.value, facts) or _is_made_missing(a.value, facts) for a in args)
            if isinstance(func, ir.Attr) and func.attr in ("to", "cuda", "fill_"):
                return _is_made_missing(func.value, facts)
    return False


def _is_set_before(target: ir.Subscript, body: ir.Block, facts: ModuleFacts) -> bool:
    """``found[name] = nan`` before the attempt, for the same key."""
    for node in ir.walk(facts.names.scope_of(body).node):
        if isinstance(node, ir.Assign) and node.nid < body.nid and is_missing(node.value, facts):
            if any(ir.same(other, target) for other in node.targets):
                return True
    return False


def _container(statement: ir.Stmt) -> ir.Name | None:
    match statement:
        case ir.Assign(targets=[ir.Subscript(value=ir.Name() as name)]):
            return name
        case ir.ExprStmt(value=ir.Call(func=ir.Attr(attr="append" | "add" | "update", value=ir.Name() as name))):
            return name
    return None


def _is_looked_through(name: ir.Name, body: ir.Block, facts: ModuleFacts) -> bool:
    inside = {node.nid for node in ir.walk(body)}
    for use in ir.walk(facts.names.scope_of(body).node):
        if isinstance(use, ir.Name) and use.id == name.id and use.nid > body.nid and use.nid not in inside:
            if any(_shows_missing(above, below, facts) for above, below in _above(use, facts)):
                return True
    return False


def _above(use: ir.Node, facts: ModuleFacts) -> Iterator[tuple[ir.Node, ir.Node]]:
    below = use
    for above in facts.names.ancestors(use):
        if isinstance(above, ir.Stmt):
            return
        yield above, below
        below = above


def _shows_missing(node: ir.Node, below: ir.Node, facts: ModuleFacts) -> bool:
    match node:
        case ir.Compare(ops=ops):
            return bool({"in", "not in"} & set(ops)) or _counts(below)
        case ir.Binary(op="-" | "^"):
            return _counts(below)
        case ir.Call(func=ir.Attr(attr=attr) as func, args=args) if attr in _WITH_DEFAULT and func is below:
            return any(is_missing(arg.value, facts) for arg in args) or attr == "reindex" or len(args) == 1
        case ir.Call(func=ir.Attr(attr=attr)) if attr in _DIFFERENCES:
            return True
        case ir.Call(func=func) if ir.last_name(func) in _SHOWN:
            return any(isinstance(part, ir.Call) and ir.last_name(part.func) == "len" for part in ir.walk(below))
    return False


def _counts(node: ir.Node) -> bool:
    """``len(found)``, ``set(found)``, ``found.keys()``."""
    match node:
        case ir.Call(func=ir.Name(id="len" | "set" | "sorted" | "list")) | ir.Call(func=ir.Attr(attr="keys")):
            return True
    return False
