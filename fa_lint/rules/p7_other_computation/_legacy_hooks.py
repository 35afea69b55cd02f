"""Where a legacy backward hook does no harm: beside a full hook for newer versions, and on modules of one operation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fa_lint.semantics import ir
from fa_lint.semantics.calls import Calls
from fa_lint.semantics.classes import owner_of
from fa_lint.semantics.words import words

__all__ = ["FULL", "is_fallback", "is_single_operation"]

FULL = {
    "register_backward_hook": "register_full_backward_hook",
    "register_module_backward_hook": "register_module_full_backward_hook",
}
# Modules of one operation: ``grad_input[0]`` of a legacy hook equals that of a full one (measured on torch 2.13). Not
# among them are those that can return their input, so that the hook sits on what came before: Identity, Dropout.
_SINGLE = frozenset(
    "ReLU ReLU6 LeakyReLU ELU SELU CELU GELU SiLU Mish Sigmoid Tanh Softplus Hardtanh Hardswish Hardsigmoid LogSigmoid "
    "Softshrink Hardshrink PReLU RReLU Threshold Softmax LogSoftmax GLU BatchNorm1d BatchNorm2d BatchNorm3d _BatchNorm "
    "LayerNorm GroupNorm Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d _ConvNd MaxPool2d "
    "MaxPool3d AvgPool2d AvgPool3d AdaptiveAvgPool2d AdaptiveMaxPool2d".split()
)
# The first version that has full hooks.
_SINCE = (1, 8)
_NUMBERS = re.compile(r"(\d+)\.(\d+)")
_OLDER = {"<": True, "<=": True, ">": False, ">=": False}
_LEAVES = ("continue", "break")
_DEPTH = 6


# -- beside a full hook -----------------------------------------------------------------------------------------------


def is_fallback(call: ir.Call, calls: Calls, depth: int = 0) -> bool:
    """Return True if ``call`` runs only where torch has no full hooks."""
    names = calls.facts.names
    inner: ir.Node = call
    for outer in names.ancestors(call):
        match outer:
            case ir.If() | ir.Conditional() if inner is not outer.test:
                if _is_old_branch(outer, inner is outer.body, calls):
                    return True
            case ir.Try(body=body, handlers=handlers) if inner in handlers:
                if _registers_full(body):
                    return True
            case ir.Block(body=body):
                if any(_leaves_new(above, calls) for above in body if above.nid < inner.nid):
                    return True
            case ir.FunctionDef():
                callers = calls.callers(outer) if depth < _DEPTH else []
                return bool(callers) and all(is_fallback(caller, calls, depth + 1) for caller in callers)
        inner = outer
    return False


def _is_old_branch(branch: ir.If | ir.Conditional, in_body: bool, calls: Calls) -> bool:
    says_old = _says_old(branch.test, calls)
    other = branch.orelse if in_body else branch.body
    if says_old is None:
        return _names_version(branch.test) and other is not None and _registers_full(other)
    if says_old is not in_body:
        return False
    return not _is_late(branch.test, calls) or (other is not None and _registers_full(other))


def _leaves_new(statement: ir.Stmt, calls: Calls) -> bool:
    """True for ``if hasattr(…): …; return``, after which only old versions are left."""
    if not isinstance(statement, ir.If) or _says_old(statement.test, calls) is not False:
        return False
    last = statement.body.body[-1]
    leaves = isinstance(last, ir.Return | ir.Raise) or (isinstance(last, ir.Simple) and last.kind in _LEAVES)
    return leaves and (not _is_late(statement.test, calls) or _registers_full(statement.body))


def _says_old(test: ir.Expr, calls: Calls, depth: int = 0) -> bool | None:
    """True: where ``test`` holds, torch has no full hooks. False: it has them. None: the test says neither."""
    if depth > _DEPTH:
        return None
    match test:
        case ir.Unary(op="not", operand=operand):
            inner = _says_old(operand, calls, depth + 1)
            return None if inner is None else not inner
        case ir.Bool(left=left, right=right):
            found = _says_old(left, calls, depth + 1)
            return found if found is not None else _says_old(right, calls, depth + 1)
        case ir.Call(func=ir.Name(id="hasattr" | "getattr"), args=[_, ir.Arg(value=name), *_]) if _is_full(name):
            return False
        case ir.Call(func=ir.Name(id="callable" | "bool"), args=[ir.Arg(value=value)]):
            return _says_old(value, calls, depth + 1)
        case ir.Compare(left=left, ops=["in" | "not in" as op]) if _is_full(left):
            return op == "not in"
        case ir.Compare(left=left, ops=["is" | "is not" as op], comparators=[ir.Const(value=None)]):
            found = _says_old(left, calls, depth + 1)
            return found if found is None else found is not (op == "is")
        case ir.Compare(left=left, ops=[op], comparators=[right]) if op in _OLDER:
            if _is_version(left, calls):
                return _OLDER[op]
            return not _OLDER[op] if _is_version(right, calls) else None
        case ir.Name() | ir.Attr() | ir.Call():
            said = {_says_old(value, calls, depth + 1) for value in _values(test, calls)}
            return said.pop() if len(said) == 1 else None
    return None


def _values(node: ir.Expr, calls: Calls) -> list[ir.Expr]:
    """What a name is bound to, or a function of this module returns."""
    if isinstance(node, ir.Call):
        return [value for function in calls.entered(node) for value in calls.facts.names.returned(function)]
    return [leaf for leaf in calls.sources(node) if leaf is not None and leaf is not node]


def _is_version(node: ir.Expr, calls: Calls, depth: int = 0) -> bool:
    for part in ir.walk(node):
        if isinstance(part, ir.Name | ir.Attr) and depth < _DEPTH:
            name = calls.facts.qualified(part)
            if name in ("torch.__version__", "torch.version.__version__"):
                return True
            if name is None and any(_is_version(value, calls, depth + 1) for value in _values(part, calls)):
                return True
    return False


def _is_late(test: ir.Expr, calls: Calls, depth: int = 0) -> bool:
    """True if a test compares with a version that has full hooks for long, so that older ones have them as well."""
    for part in ir.walk(test):
        match part:
            case ir.Const(value=str() as text) if found := _NUMBERS.match(text):
                return (int(found[1]), int(found[2])) > _SINCE
            case ir.Sequence(items=[ir.Const(value=int() as major), ir.Const(value=int() as minor), *_]):
                return (major, minor) > _SINCE
            case ir.Name() | ir.Attr() | ir.Call() if depth < _DEPTH:
                if any(_is_late(value, calls, depth + 1) for value in _values(part, calls)):
                    return True
    return False


def _names_version(test: ir.Expr) -> bool:
    """True if a test asks for a version of torch by its name alone: ``is_torch_ge("1.8")``, ``NEW_TORCH``."""
    parts = (part for part in ir.walk(test) if isinstance(part, ir.Name | ir.Attr))
    said = {word for part in parts for word in words(part.id if isinstance(part, ir.Name) else part.attr)}
    return bool(said & {"version", "torch", "pytorch", "pt"})


def _is_full(node: ir.Expr) -> bool:
    return isinstance(node, ir.Const) and node.value in FULL.values()


def _registers_full(node: ir.Node) -> bool:
    return any(
        (isinstance(part, ir.Attr) and part.attr in FULL.values()) or (isinstance(part, ir.Expr) and _is_full(part))
        for part in ir.walk(node)
    )


# -- modules of one operation -----------------------------------------------------------------------------------------


def is_single_operation(call: ir.Call, calls: Calls) -> bool:
    """Return True if the module that a hook is registered on is surely one operation of one input."""
    return isinstance(call.func, ir.Attr) and _is_single(call.func.value, calls, 0)


def _is_single(module: ir.Expr, calls: Calls, depth: int) -> bool:
    if depth > _DEPTH:
        return False
    return _is_guarded(module, calls) or _is_built(module, calls, depth)


def _is_guarded(module: ir.Expr, calls: Calls) -> bool:
    """Under ``if isinstance(module, nn.ReLU)``, ``if not isinstance(…): continue`` or ``assert isinstance(…)``."""
    inner: ir.Node = module
    for outer in calls.facts.names.ancestors(module):
        match outer:
            case ir.FunctionDef() | ir.Lambda():
                return False
            case ir.If(test=test, body=body) | ir.Conditional(test=test, body=body) if inner is body:
                if _asserts_single(test, module, calls):
                    return True
            case ir.Comprehension(clause=clause) if inner is not clause:
                if any(_asserts_single(test, module, calls) for test in clause.conditions):
                    return True
            case ir.Block(body=body):
                if any(_leaves_others(above, module, calls) for above in body if above.nid < inner.nid):
                    return True
            case ir.Case(pattern=pattern) if inner is outer.body:
                if _matches_single(pattern, outer, module, calls):
                    return True
        inner = outer
    return False


def _leaves_others(statement: ir.Stmt, module: ir.Expr, calls: Calls) -> bool:
    match statement:
        case ir.Assert(test=test):
            return _asserts_single(test, module, calls)
        case ir.If(test=ir.Unary(op="not", operand=test), body=ir.Block(body=[*_, last])):
            leaves = isinstance(last, ir.Return | ir.Raise) or (isinstance(last, ir.Simple) and last.kind in _LEAVES)
            return leaves and _asserts_single(test, module, calls)
    return False


def _matches_single(pattern: ir.Expr, case: ir.Case, module: ir.Expr, calls: Calls) -> bool:
    above = calls.facts.names.parent(case)
    if not isinstance(above, ir.Match) or not ir.same(above.subject, module) or not isinstance(pattern, ir.Opaque):
        return False
    classes = [part for part in pattern.parts if isinstance(part, ir.Name | ir.Attr)]
    return bool(classes) and all(_is_single_class(each, calls) for each in classes)


def _asserts_single(test: ir.Expr, module: ir.Expr, calls: Calls) -> bool:
    match test:
        case ir.Bool(op="and", left=left, right=right):
            return _asserts_single(left, module, calls) or _asserts_single(right, module, calls)
        case ir.Bool(op="or", left=left, right=right):
            return _asserts_single(left, module, calls) and _asserts_single(right, module, calls)
        case ir.Call(func=ir.Name(id="isinstance" | "issubclass"), args=[ir.Arg(value=tested), ir.Arg(value=classes)]):
            return ir.same(tested, module) and _are_single(classes, calls)
        case ir.Compare(left=left, ops=["is" | "==" | "in"], comparators=[right]):
            return _is_type_of(left, module) and _are_single(right, calls)
    return False


def _is_type_of(node: ir.Expr, module: ir.Expr) -> bool:
    """``type(m)``, ``m.__class__`` or the name of either."""
    match node:
        case ir.Attr(attr="__name__", value=value):
            return _is_type_of(value, module)
        case ir.Attr(attr="__class__", value=value):
            return ir.same(value, module)
        case ir.Call(func=ir.Name(id="type"), args=[ir.Arg(value=value)]):
            return ir.same(value, module)
    return False


def _are_single(classes: ir.Expr, calls: Calls) -> bool:
    """True if every class of a class, a name of one, a tuple or a union is of one operation."""
    match classes:
        case ir.Sequence(items=items):
            return bool(items) and all(_are_single(item, calls) for item in items)
        case ir.Binary(op="|" | "+", left=left, right=right):
            return _are_single(left, calls) and _are_single(right, calls)
        case ir.Const(value=str() as name):
            return name in _SINGLE
    if _is_single_class(classes, calls):
        return True
    values = _values(classes, calls) if isinstance(classes, ir.Name | ir.Attr) else []
    return bool(values) and all(not isinstance(v, ir.Name) and _are_single(v, calls) for v in values)


def _is_single_class(node: ir.Expr, calls: Calls) -> bool:
    name = calls.facts.qualified(node) or ""
    return name.startswith("torch.nn.") and name.rpartition(".")[2] in _SINGLE


def _is_built(module: ir.Expr, calls: Calls, depth: int) -> bool:
    """True if a module is made as one operation, annotated as one, or an item of a collection of such."""
    facts = calls.facts
    if isinstance(module, ir.Name):
        if module.id == "self":
            return _is_own_single(module, calls)
        bindings = facts.names.reaching(module)
        kinds = [b.node.annotation for b in bindings if isinstance(b.node, ir.Param) and b.node.annotation is not None]
        if kinds and len(kinds) == len(bindings):
            return all(_is_single_class(kind, calls) for kind in kinds)
        items = [b for b in bindings if b.how == "iterate" and b.value is not None]
        if items and len(items) == len(bindings):
            return all(_holds_single(b.value, calls, depth + 1) for b in items if b.value is not None)
    leaves = [inner for leaf in calls.sources(module) for inner in _parts(leaf, calls, depth)]
    return bool(leaves) and all(isinstance(leaf, ir.Call) and _is_single_class(leaf.func, calls) for leaf in leaves)


def _parts(leaf: ir.Expr | None, calls: Calls, depth: int) -> list[ir.Expr | None]:
    """What ``net.relu`` is in the class of ``net``, and ``net[1]`` in a ``Sequential`` that is written out."""
    match leaf:
        case ir.Attr(value=owner, attr=attr):
            model = calls.class_of(owner)
            for each in calls.lineage(model) if model is not None else ():
                bound = calls.facts.names.attributes.get((each.nid, attr))
                if bound:
                    return [inner for b in bound for inner in _sources(b.value if b.how == "value" else None, calls)]
        case ir.Subscript(value=collection, index=[place]) if depth <= _DEPTH:
            index = calls.facts.values.number(place)
            if index is None or index != int(index):
                return [leaf]
            found: list[ir.Expr | None] = []
            for made in calls.sources(collection):
                for inner in _parts(made, calls, depth + 1):
                    found += _sources(_item(inner, int(index), calls), calls)
            return found
        case ir.Call(
            func=ir.Name(id="getattr"), args=[ir.Arg(value=owner), ir.Arg(value=ir.Const(value=str() as attr))]
        ):
            return _parts(ir.Attr(leaf.nid, owner, attr), calls, depth + 1)
    return [leaf]


def _sources(node: ir.Expr | None, calls: Calls) -> list[ir.Expr | None]:
    return list(calls.sources(node))


def _item(collection: ir.Expr | None, index: int, calls: Calls) -> ir.Expr | None:
    """A module of ``nn.Sequential(…)``, ``nn.ModuleList([…])`` or a list, all of whose modules are in sight."""
    items: list[ir.Expr] = []
    match collection:
        case ir.Call(func=func, args=args) if calls.facts.qualified(func) == "torch.nn.Sequential":
            if any(arg.star or arg.keyword for arg in args):
                return None
            items = [arg.value for arg in args]
        case ir.Call(func=func, args=[ir.Arg(value=ir.Sequence(items=parts))]):
            items = parts if calls.facts.qualified(func) == "torch.nn.ModuleList" else []
        case ir.Sequence(items=parts):
            items = parts
    if any(isinstance(item, ir.Starred) for item in items):
        return None
    return items[index] if -len(items) <= index < len(items) else None


def _is_own_single(module: ir.Name, calls: Calls) -> bool:
    """``self`` in a class that inherits the forward pass of one operation."""
    function = calls.facts.names.enclosing_function(module)
    owner = owner_of(calls.facts, function) if function is not None else None
    if owner is None or calls.method(owner, "forward") is not None:
        return False
    bases = calls.bases(owner)
    return any(base.startswith("torch.nn.") and base.rpartition(".")[2] in _SINGLE for base in bases)


def _holds_single(collection: ir.Expr, calls: Calls, depth: int) -> bool:
    """True if every element of a collection is a module of one operation."""
    match collection:
        case ir.Comprehension(elements=[element]):
            return _is_single(element, calls, depth)
        case ir.Call(func=ir.Name(id="list" | "tuple" | "reversed" | "iter"), args=[ir.Arg(value=inner)]):
            return _holds_single(inner, calls, depth)
        case ir.Call(func=ir.Name(id="filter"), args=[ir.Arg(value=ir.Lambda(params=[_], body=test)), _]):
            subjects = (part for part in ir.walk(test) if isinstance(part, ir.Name))
            return any(_asserts_single(test, subject, calls) for subject in subjects)
        case ir.Sequence(items=items):
            return bool(items) and all(_is_single(item, calls, depth) for item in items)
        case ir.Name() | ir.Attr() if depth <= _DEPTH:
            elements = list(_elements(collection, calls, depth))
            return bool(elements) and all(elements)
    return False


def _elements(collection: ir.Name | ir.Attr, calls: Calls, depth: int) -> Iterator[bool]:
    names = calls.facts.names
    bound = names.reaching(collection) if isinstance(collection, ir.Name) else names.self_attribute(collection)
    for binding in bound:
        match binding.value:
            case ir.Sequence(items=[]):
                continue
            case ir.Expr() as value if binding.how == "item":
                yield _is_single(value, calls, depth + 1)
            case ir.Expr() as value if binding.how == "value":
                yield _holds_single(value, calls, depth + 1)
            case _:
                yield False
