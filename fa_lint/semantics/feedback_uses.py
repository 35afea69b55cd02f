"""How feedback is used: matrices that only a custom backward reads, and matrices an error is sent through."""

from __future__ import annotations

from dataclasses import dataclass

from fa_lint.semantics import ir
from fa_lint.semantics.classes import chain
from fa_lint.semantics.facts import ModuleFacts
from fa_lint.semantics.feedback_names import is_feedback_name, speaks_of_feedback
from fa_lint.semantics.roles import Evidence
from fa_lint.semantics.words import words

__all__ = ["Key", "Uses", "feedback_uses", "key_of", "target_key"]

# ("self", class node, attribute), ("name", scope node, name) or ("other", 0, "receiver.attribute").
Key = tuple[str, int, str]

_PRODUCTS = frozenset(
    "torch.matmul torch.mm torch.bmm torch.einsum torch.nn.functional.linear torch.nn.grad.conv2d_input "
    "torch.nn.functional.conv_transpose2d torch.nn.functional.conv2d numpy.dot numpy.matmul torch.addmm "
    "torch.mul".split()
)
_PRODUCT_METHODS = frozenset({"mm", "matmul", "bmm", "dot", "addmm"})
_ERRORS = frozenset("error errors err errs delta deltas grad grads gradient credit residual".split())
_PEELED_ATTRIBUTES = frozenset({"T", "mT", "data", "H"})
_NOT_PEELED = frozenset({"size", "dim", "numel", "norm", "sum", "mean", "item", "max", "min", "apply"})


@dataclass(frozen=True, slots=True)
class Uses:
    """For each matrix, the first use that says feedback. ``backward``: an argument that only a custom backward reads;
    ``errors``: multiplied with an error signal; ``products``: multiplied with anything."""

    backward: dict[Key, Evidence]
    errors: dict[Key, Evidence]
    products: dict[Key, Evidence]


def key_of(facts: ModuleFacts, node: ir.Expr, depth: int = 0) -> Key | None:
    """What an operand names, through views, items, loops over containers and simple aliases."""
    while True:
        match node:
            case ir.Subscript(value=inner):
                node = inner
            case ir.Attr(value=inner, attr=attr) if attr in _PEELED_ATTRIBUTES:
                node = inner
            case ir.Call(func=ir.Attr(value=inner, attr=attr)) if attr not in _NOT_PEELED:
                if facts.qualified(node.func) is not None or (isinstance(inner, ir.Name) and inner.id == "self"):
                    return None
                node = inner
            case _:
                break
    match node:
        case ir.Attr():
            return target_key(facts, node)
        case ir.Name(id="self" | "cls"):
            return None
        case ir.Name():
            return _name_key(facts, node, depth)
    return None


def target_key(facts: ModuleFacts, node: ir.Attr) -> Key | None:
    """The key of ``self.x`` (held by the nearest class that stores it) or of ``model.x``."""
    match node.value:
        case ir.Name(id="self" | "cls"):
            owner = facts.names.enclosing_class(node)
            if owner is None:
                return None
            for above in chain(facts, owner):
                if (above.nid, node.attr) in facts.names.attributes:
                    return "self", above.nid, node.attr
            return "self", owner.nid, node.attr
        case ir.Name(id=receiver):
            return "other", 0, f"{receiver}.{node.attr}"
    return None


def _name_key(facts: ModuleFacts, node: ir.Name, depth: int) -> Key | None:
    if depth < 4:
        for binding in facts.names.reaching(node):
            value = binding.value
            if value is None:
                continue
            if binding.how == "iterate":
                value = _iterated(value, binding.index)
            elif binding.how != "value" or not isinstance(value, ir.Attr | ir.Subscript | ir.Name):
                continue
            if value is not None:
                found = key_of(facts, value, depth + 1)
                if found is not None:
                    return found
    scope = facts.names.scope_of(node)
    while scope.parent is not None and node.id not in scope.bindings:
        scope = scope.parent
    return "name", scope.node.nid, node.id


def _iterated(value: ir.Expr, index: int | None) -> ir.Expr | None:
    """The container that a loop variable runs over: through ``enumerate``, ``zip``, ``reversed``."""
    while isinstance(value, ir.Call) and isinstance(value.func, ir.Name) and value.args:
        if value.func.id == "zip":
            inside = value.args
            return inside[index].value if index is not None and index < len(inside) else None
        if value.func.id not in ("enumerate", "reversed", "list", "tuple"):
            return None
        value = value.args[0].value
    return value


def feedback_uses(facts: ModuleFacts) -> Uses:
    """One pass over the module's products and ``apply`` calls."""
    uses = Uses({}, {}, {})
    positions = {c.nid: backward_only(facts, c) for c in facts.names.classes if _is_function(facts, c)}
    for node in facts.nodes():
        match node:
            case ir.Binary(op="@" | "*", left=left, right=right):
                _product(facts, node, [left, right], uses)
            case ir.Call(func=ir.Attr(value=receiver, attr="apply"), args=args):
                _applied(facts, node, receiver, args, positions, uses)
            case ir.Call(func=func, args=args):
                if facts.qualified(func) in _PRODUCTS:
                    _product(facts, node, [a.value for a in args], uses)
                elif isinstance(func, ir.Attr) and func.attr in _PRODUCT_METHODS and facts.qualified(func) is None:
                    _product(facts, node, [func.value, *(a.value for a in args)], uses)
    return uses


def _product(facts: ModuleFacts, node: ir.Expr, operands: list[ir.Expr], uses: Uses) -> None:
    elementwise = isinstance(node, ir.Binary) and node.op == "*"
    for number, operand in enumerate(operands):
        key = key_of(facts, operand)
        if key is None:
            continue
        others = [o for n, o in enumerate(operands) if n != number]
        if not elementwise:
            uses.products.setdefault(key, Evidence(node.nid, "multiplied here"))
            if any(_is_error(facts, other) for other in others):
                uses.errors.setdefault(key, Evidence(node.nid, "an error is sent through it here"))


def _is_error(facts: ModuleFacts, node: ir.Expr, depth: int = 0) -> bool:
    role = facts.role(node)
    if role.is_gradient:
        return True
    match node:
        case ir.Name(id=identifier):
            if set(words(identifier)) & _ERRORS:
                return True
            if identifier in ("e", "err", "d") and depth < 3:
                values = [b.value for b in facts.names.reaching(node) if b.how == "value" and b.value is not None]
                function = facts.names.enclosing_function(node)
                if not values:
                    return function is not None and bool(set(words(function.name)) & {"backward", "feedback", "step"})
                return any(_is_error(facts, value, depth + 1) for value in values)
        case ir.Attr(attr="T" | "data", value=inner):
            return _is_error(facts, inner, depth)
        case ir.Attr(attr=identifier):
            return bool(set(words(identifier)) & _ERRORS)
        case ir.Subscript(value=inner) | ir.Unary(operand=inner):
            return _is_error(facts, inner, depth)
        case ir.Call(func=ir.Attr(value=inner, attr=attr)) if attr in ("t", "view", "reshape", "transpose", "detach"):
            return _is_error(facts, inner, depth)
        case ir.Binary(op="-"):
            # ``(prediction - target) @ B``
            return True
        case ir.Binary(op="/" | "*", left=left):
            return _is_error(facts, left, depth)
    return False


# -- custom autograd functions ------------------------------------------------------------------------------------


def _is_function(facts: ModuleFacts, owner: ir.ClassDef) -> bool:
    names = {facts.qualified(base.value) for base in owner.bases if base.keyword is None}
    return bool(names & {"torch.autograd.Function", "torch.autograd.function.Function"})


def backward_only(facts: ModuleFacts, owner: ir.ClassDef) -> dict[int, str]:
    """Positions (after ``ctx``) and names of ``forward``'s parameters that only ``backward`` computes with.

    That is what feedback alignment is: the forward pass ignores the matrix, the backward pass sends the gradient
    through it. A parameter that is also returned a gradient by nobody, like a bias shape, is not multiplied.
    """
    forward, backward = facts.names.method(owner, "forward"), facts.names.method(owner, "backward")
    if forward is None or backward is None or not forward.params:
        return {}
    found = {}
    for position, param in enumerate(forward.params[1:]):
        if param.kind in ("star", "starstar") or not _only_saved(facts, forward, param.name):
            continue
        alias = _saved_name(facts, forward, backward, param.name)
        if alias and _multiplies(facts, backward, alias):
            found[position] = param.name
    return found


def _only_saved(facts: ModuleFacts, forward: ir.FunctionDef, name: str) -> bool:
    context = forward.params[0].name
    saved = False
    for node in ir.walk(forward.body):
        if not (isinstance(node, ir.Name) and node.id == name):
            continue
        for above in facts.names.ancestors(node):
            match above:
                case ir.Call(func=ir.Attr(value=ir.Name(id=holder), attr="save_for_backward")) if holder == context:
                    saved = True
                    break
                case ir.Assign(targets=[ir.Attr(value=ir.Name(id=holder))]) if holder == context:
                    saved = True
                    break
                case ir.Stmt():
                    return False
    return saved


def _saved_name(facts: ModuleFacts, forward: ir.FunctionDef, backward: ir.FunctionDef, name: str) -> str:
    """What ``backward`` calls a saved parameter: the unpacked name at its position, or the attribute of ``ctx``."""
    for node in ir.walk(forward.body):
        match node:
            case ir.Assign(targets=[ir.Attr(attr=attr)], value=ir.Name(id=stored)) if stored == name:
                return attr
            case ir.Call(func=ir.Attr(attr="save_for_backward"), args=args):
                held = [a.value.id if isinstance(a.value, ir.Name) else "" for a in args]
                if name not in held:
                    continue
                for statement in ir.walk(backward.body):
                    match statement:
                        case ir.Assign(
                            targets=[ir.Sequence(items=items)],
                            value=ir.Attr(attr="saved_tensors" | "saved_variables"),
                        ) if len(items) > held.index(name):
                            item = items[held.index(name)]
                            return item.id if isinstance(item, ir.Name) else ""
    return ""


def _multiplies(facts: ModuleFacts, backward: ir.FunctionDef, name: str) -> bool:
    def mentions(node: ir.Node) -> bool:
        return any(
            (isinstance(n, ir.Name) and n.id == name) or (isinstance(n, ir.Attr) and n.attr == name)
            for n in ir.walk(node)
        )

    for node in ir.walk(backward.body):
        match node:
            case ir.Binary(op="@", left=left, right=right):
                if mentions(left) or mentions(right):
                    return True
            case ir.Call(func=func, args=args):
                called = facts.qualified(func)
                product = called in _PRODUCTS - {"torch.mul"} or (called or "").startswith("torch.nn.grad.")
                if product or (isinstance(func, ir.Attr) and called is None and func.attr in _PRODUCT_METHODS):
                    if any(mentions(a.value) for a in args) or mentions(func):
                        return True
    return False


def _applied(
    facts: ModuleFacts,
    node: ir.Call,
    receiver: ir.Expr,
    args: list[ir.Arg],
    positions: dict[int, dict[int, str]],
    uses: Uses,
) -> None:
    owner = facts.names.class_named(receiver) if isinstance(receiver, ir.Name) else None
    if owner is not None and owner.nid in positions:
        text = f"only the backward pass of `{owner.name}` reads it"
        wanted = set(positions[owner.nid])
    elif owner is None and isinstance(receiver, ir.Name | ir.Attr):
        # Imported: the name of the function has to say it, and the third argument on can be the feedback.
        name = (facts.qualified(receiver) or "").rpartition(".")[2]
        if not name or not speaks_of_feedback(name):
            return
        text = f"passed to `{name}.apply`"
        wanted = {n for n, a in enumerate(args) if n >= 2 and _says_feedback(a.value)}
    else:
        return
    for position, arg in enumerate(args):
        if position in wanted and not arg.star and arg.keyword is None:
            key = key_of(facts, arg.value)
            if key is not None:
                uses.backward.setdefault(key, Evidence(node.nid, text))


def _says_feedback(node: ir.Expr) -> bool:
    name = node.attr if isinstance(node, ir.Attr) else node.id if isinstance(node, ir.Name) else ""
    return is_feedback_name(name)
